//! `bowline task show`, `history`, `artifacts`.

use std::path::PathBuf;

use bowline_api::{Attempt, HistoryEntry, PageQuery, Task, TaskResource};
use bowline_core::placement::Fill;
use bowline_core::size::{format_amount, format_size};
use bowline_core::spec::Requirement;
use serde::Serialize;

use super::Setting;
use crate::artifacts;
use crate::exit::Exit;
use crate::ids::Id;
use crate::output::{clean, clean_lines};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task show 4711
  bowline task history 4711.7
  bowline task show last --json")]
pub(crate) struct Args {
    /// A task, an array's element, or `last`
    id: Id,
}

/// Arguments of `artifacts`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task artifacts 4711
  bowline task artifacts 4711 --out results/")]
pub(crate) struct Artifacts {
    /// A task, an array's element, or `last`
    id: Id,
    /// Fetch them into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    task: Task,
    attempts: Vec<Attempt>,
}

/// Shows everything.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let id = args.id.task(&on.config)?;
    let client = on.client()?;
    let shown = Shown { task: client.task(id).await?, attempts: client.attempts(id).await?.items };
    if on.out.is_json() {
        on.out.document(&shown)?;
        return Ok(Exit::GOOD);
    }
    for (name, value) in facts(&shown.task) {
        on.out.line(format!("{name:<12} {}", clean(&value)))?;
    }
    if !shown.attempts.is_empty() {
        on.out.line("")?;
        on.out.table(&["attempt", "worker", "began", "ended", "how", "message"], attempts(&shown.attempts))?;
    }
    Ok(Exit::GOOD)
}

fn facts(task: &Task) -> Vec<(&'static str, String)> {
    let mut facts = vec![("id", task.id.to_string()), ("state", task.state.to_string())];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("name", task.name.clone());
    add("why", task.why.as_ref().map(|why| why.sentence.clone()));
    add("outcome", task.outcome.as_ref().map(|outcome| outcome.message.clone()));
    add("action", Some(task.action.clone()));
    if let Some(work) = &task.work {
        add("command", work.command.as_ref().map(|words| words.join(" ")));
        add("shell", work.shell.clone());
        add("folder", work.dir.clone());
    }
    add("worker", task.worker.clone());
    add("run", task.run.clone());
    add("step", task.step.clone());
    add("paused", task.paused.as_ref().map(|paused| format!("by {} since {:.0}", paused.by, paused.since)));
    add("labels", join(task.labels.iter().map(|(key, value)| format!("{key}={value}"))));
    add("requires", join(task.requires.iter().map(ToString::to_string)));
    if let Some(placement) = &task.placement {
        let all = |what: &str, all: &[Requirement]| all.iter().map(|one| format!("{what} {one}")).collect::<Vec<_>>();
        let fill = (placement.fill == Fill::Pack).then(|| "packed".to_owned());
        let (prefer, avoid) = (all("rather", &placement.prefer), all("rather not", &placement.avoid));
        add("placement", join(fill.into_iter().chain(prefer).chain(avoid).chain(all("never", &placement.excludes))));
    }
    add("amounts", join(task.amounts.iter().map(|(name, amount)| format!("{name}={}", format_amount(name, *amount)))));
    for resource in &task.resources {
        add("resource", Some(asked(resource)));
    }
    add("concurrency", task.concurrency.as_ref().map(|said| format!("{} ({})", said.key, rule(said))));
    add("rate", task.rate.as_ref().map(|rate| format!("{}: {} within {}", rate.key, rate.count, rate.per)));
    add("ticket", (task.ticket > 0).then(|| task.ticket.to_string()));
    add("after", join(task.depends_on.iter().map(|on| on.task.to_string())));
    add("submitted", Some(format!("{:.0} by {}", task.submitted_at, task.created_by)));
    add("started", task.started_at.map(|at| format!("{at:.0}")));
    add("ended", task.ended_at.map(|at| format!("{at:.0}")));
    add("result", task.result.as_ref().map(ToString::to_string));
    facts
}

/// What becomes of those under a key.
fn rule(said: &bowline_api::Concurrency) -> String {
    match (said.newest_wins, said.drop) {
        (Some(true), _) => "the newest wins".to_owned(),
        (_, Some(true)) => "skipped while there is another".to_owned(),
        _ => format!("at most {}", said.at_most.unwrap_or(1)),
    }
}

/// How a resource is asked for, and whether it is held.
fn asked(resource: &TaskResource) -> String {
    let how = match resource.mode.as_str() {
        "exclusive" | "shared" => resource.mode.clone(),
        "unit" if resource.amount == 1 => "1 unit".to_owned(),
        "unit" => format!("{} units", resource.amount),
        _ => resource.amount.to_string(),
    };
    let with: Vec<String> = resource.with.iter().flatten().map(|(key, value)| format!(" {key}={value}")).collect();
    let units = if resource.units.is_empty() { String::new() } else { format!(": {}", resource.units.join(", ")) };
    let since = resource.granted_at.map_or_else(String::new, |at| format!(" since {at:.0}"));
    format!("{} ({how}{}) {}{since}{units}", resource.name, with.concat(), resource.state)
}

fn join(words: impl Iterator<Item = String>) -> Option<String> {
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn attempts(attempts: &[Attempt]) -> Vec<Vec<String>> {
    let time = |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
    attempts
        .iter()
        .map(|attempt| {
            vec![
                format!("{}#{}", attempt.task, attempt.attempt),
                attempt.worker.clone().unwrap_or_else(|| "server".to_owned()),
                time(attempt.started_at),
                time(attempt.ended_at),
                attempt.end.map_or("running", bowline_core::state::AttemptEnd::name).to_owned(),
                attempt.outcome.as_ref().map(|outcome| outcome.message.clone()).unwrap_or_default(),
            ]
        })
        .collect()
}

/// Shows what happened.
pub(super) async fn history(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let id = args.id.task(&on.config)?;
    let client = on.client()?;
    let mut page = PageQuery { limit: Some(bowline_api::PAGE_MAX), ..PageQuery::default() };
    let mut entries = Vec::new();
    loop {
        let answer = client.history(id, &page).await?;
        entries.extend(answer.items);
        page.cursor = answer.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    tell_history(on, entries)
}

/// A history for people or programs.
pub(crate) fn tell_history(on: &Setting, entries: Vec<HistoryEntry>) -> anyhow::Result<Exit> {
    if on.out.is_json() {
        on.out.document(&entries)?;
        return Ok(Exit::GOOD);
    }
    let rows = entries
        .into_iter()
        .map(|entry| {
            let attempt = entry.attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
            vec![format!("{:.3}", entry.at), entry.what, attempt, entry.actor, clean_lines(&entry.reason)]
        })
        .collect();
    on.out.table(&["time", "what", "attempt", "by", "why"], rows)?;
    Ok(Exit::GOOD)
}

/// Lists or fetches what it left.
pub(super) async fn artifacts(on: &Setting, args: Artifacts) -> anyhow::Result<Exit> {
    let id = args.id.task(&on.config)?;
    let client = on.client()?;
    let found = client.artifacts(id).await?.items;
    if let Some(folder) = &args.out {
        let fetched = artifacts::fetch(&client, folder, found.iter()).await?;
        for file in &fetched.files {
            on.out.line(clean(&file.display().to_string()))?;
        }
        for failed in &fetched.failed {
            on.out.note(failed);
        }
        return Ok(if fetched.failed.is_empty() { Exit::GOOD } else { Exit::FAILED });
    }
    if on.out.is_json() {
        on.out.document(&found)?;
        return Ok(Exit::GOOD);
    }
    let rows = found
        .into_iter()
        .map(|file| vec![file.task.to_string(), file.attempt.to_string(), file.name, format_size(file.bytes)])
        .collect();
    on.out.table(&["task", "attempt", "name", "size"], rows)?;
    Ok(Exit::GOOD)
}
