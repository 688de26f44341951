//! Workers for people: the table of all, and everything about one.

use std::io;

use bowline_api::{HeldAttempt, Worker};
use bowline_core::size::format_amount;

use super::{Setting, vitals};
use crate::clock::age;
use crate::exit::Exit;
use crate::output::clean;

/// The table of workers.
pub(crate) fn table(on: &Setting, workers: &[Worker]) -> io::Result<()> {
    let rows = workers
        .iter()
        .map(|worker| {
            vec![
                worker.name.clone(),
                worker.connection.name().to_owned(),
                format!("{}/{}", worker.slots_used, worker.slots),
                worker.attempts.len().to_string(),
                worker.version.clone().unwrap_or_else(|| "-".to_owned()),
                worker.heard_at.map_or_else(|| "-".to_owned(), age),
                notes(worker).join("; "),
            ]
        })
        .collect();
    on.out.table(&["worker", "state", "slots", "attempts", "version", "heard", "note"], rows)
}

/// Everything that keeps it from being a worker like any other.
fn notes(worker: &Worker) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(worker.broken.as_ref().map(|why| format!("broken: {why}")));
    notes.extend(worker.drain.as_ref().map(|drain| {
        let did = if drain.done { "drained" } else { "draining" };
        let until = drain.release_at.map_or_else(String::new, |at| format!(" until {at:.0}"));
        format!("{did} by {} for {} ({}{until})", drain.by, age(drain.since), drain.mode.name())
    }));
    let paused = worker.paused.as_ref();
    notes.extend(paused.map(|paused| format!("paused by {} for {}", paused.by, age(paused.since))));
    notes.extend(worker.aside.as_ref().map(|aside| format!("put aside for {}: {}", age(aside.since), aside.reason)));
    let doubtful = worker.attempts.iter().filter(|attempt| attempt.doubtful).count();
    match (worker.silent_since, doubtful) {
        (None, _) | (Some(_), 0) => {}
        (Some(since), 1) => notes.push(format!("silent for {}: 1 attempt whose state is unknown", age(since))),
        (Some(since), more) => notes.push(format!("silent for {}: {more} attempts whose state is unknown", age(since))),
    }
    notes
}

/// Everything about one.
pub(super) async fn run(on: &Setting, name: &str) -> anyhow::Result<Exit> {
    let worker = on.client()?.worker(name).await?;
    if on.out.is_json() {
        on.out.document(&worker)?;
        return Ok(Exit::GOOD);
    }
    table(on, std::slice::from_ref(&worker))?;
    on.out.line("")?;
    for (name, value) in facts(&worker) {
        on.out.line(format!("{name:<12} {}", clean(&value)))?;
    }
    if !worker.attempts.is_empty() {
        on.out.line("")?;
        let rows = worker.attempts.iter().map(attempt).collect();
        on.out.table(&["attempt", "task", "state", "ran", "until", "note"], rows)?;
    }
    if let Some(vitals) = &worker.vitals {
        on.out.line("")?;
        vitals::print(on, vitals)?;
    }
    Ok(Exit::GOOD)
}

fn facts(worker: &Worker) -> Vec<(&'static str, String)> {
    let amounts = worker.amounts.iter().map(|(name, all)| {
        let used = worker.amounts_used.get(name).copied().unwrap_or_default();
        format!("{name}={}/{}", format_amount(name, used), format_amount(name, *all))
    });
    let session = match (worker.session_since, worker.silent_since) {
        (Some(since), None) => format!("open for {}", age(since)),
        (Some(since), Some(silent)) => format!("open for {}, silent for {}", age(since), age(silent)),
        (None, Some(silent)) => format!("none; silent for {}", age(silent)),
        (None, None) => "none".to_owned(),
    };
    let mut facts = vec![
        ("actions", worker.actions.join(" ")),
        ("capabilities", worker.capabilities.join(" ")),
        ("amounts", amounts.collect::<Vec<_>>().join(" ")),
        ("session", session),
        ("incarnation", worker.incarnation.to_string()),
        ("enrolled", format!("{:.0}", worker.enrolled_at)),
    ];
    facts.extend(worker.pool.clone().map(|pool| ("pool", pool)));
    facts.extend(worker.aside.as_ref().map(|aside| ("tried again", format!("{:.0}", aside.try_at))));
    facts
}

fn attempt(held: &HeldAttempt) -> Vec<String> {
    let dash = || "-".to_owned();
    let of = held.of.as_ref();
    let note = match (held.doubtful, held.lost_at) {
        (false, _) => String::new(),
        (true, Some(at)) => format!("state unknown; lost at {at:.0}"),
        (true, None) => "state unknown; lost only by proof".to_owned(),
    };
    vec![
        format!("{}#{}", held.task, held.attempt),
        of.map_or_else(dash, |of| of.name.clone().unwrap_or_else(|| of.action.clone())),
        of.map_or_else(dash, |of| of.state.to_string()),
        of.and_then(|of| of.started_at).map_or_else(dash, age),
        of.and_then(|of| of.until).map_or_else(dash, |at| format!("{at:.0}")),
        note,
    ]
}
