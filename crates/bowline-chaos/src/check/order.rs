//! What comes after what: dependencies, lines of logs, events.

use std::collections::BTreeMap;

use super::facts::LogFact;
use super::judge::Deeds;
use super::{Broken, Case, Findings, find};
use crate::job;
use crate::watch::Event;

/// All of it.
pub(super) fn check(case: &Case, deeds: &Deeds, findings: &mut Findings) {
    dependencies(case, deeds, findings);
    steps(case, deeds, findings);
    for log in &case.logs {
        lines(case, log, findings);
    }
    events(case, findings);
}

/// A dependent begins, in fact, after what it waits for has ended, in fact.
fn dependencies(case: &Case, deeds: &Deeds, findings: &mut Findings) {
    for task in &case.ledger.tasks {
        let begin = first_begin(deeds, &task.id);
        for (on, _) in &task.after {
            let end = deciding_end(case, deeds, on);
            if let (Some(begin), Some(end)) = (begin, end)
                && begin < end
            {
                let early = (end - begin) / 1_000;
                find(
                    findings,
                    Broken::OutOfOrder,
                    format!("task {} began {early} us before task {on} ended, for which it waits", task.id),
                );
            }
        }
    }
}

/// The steps of a run: `first`, then all of `each`, then `last`.
fn steps(case: &Case, deeds: &Deeds, findings: &mut Findings) {
    let mut places: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (id, task) in case.tasks.iter().filter(|(_, task)| !task.is_array) {
        if let Some(run) = &task.run {
            places.entry((run, &task.step)).or_default().push(id);
        }
    }
    for ((run, step), tasks) in &places {
        let before = match *step {
            "each" => "first",
            "last" => "each",
            _ => continue,
        };
        let begin = tasks.iter().filter_map(|id| first_begin(deeds, id)).min();
        let end =
            places.get(&(*run, before)).into_iter().flatten().filter_map(|id| deciding_end(case, deeds, id)).max();
        if begin < end && begin.is_some() {
            find(findings, Broken::OutOfOrder, format!("run {run}: step `{step}` began before `{before}` had ended"));
        }
    }
}

fn first_begin(deeds: &Deeds, task: &str) -> Option<u64> {
    deeds.iter().filter(|((of, _), _)| of == task).filter_map(|(_, done)| done.begin_ns).min()
}

/// When the attempt came to its end by which the task ended.
fn deciding_end(case: &Case, deeds: &Deeds, task: &str) -> Option<u64> {
    let attempts = case.attempts.get(task)?.iter();
    let deciding = attempts
        .filter(|attempt| matches!(attempt.end.as_str(), "succeeded" | "failed"))
        .map(|attempt| attempt.number)
        .max()?;
    deeds.get(&(task.to_owned(), deciding))?.end_ns
}

/// Lines are numbered from 1 on, without gap or repeat; all of them are there where the attempt succeeded.
fn lines(case: &Case, log: &LogFact, findings: &mut Findings) {
    let (task, attempt) = (&log.task, log.attempt.to_string());
    let whole = task.split('.').next().unwrap_or_default();
    let Some(spec) = case.ledger.tasks.iter().find(|acked| acked.id == whole).map(|acked| &acked.spec) else { return };
    let written: String = (1..=spec.lines).map(|number| job::log_line(task, &attempt, number)).collect();
    let got = &log.bytes[..];
    let is_good =
        case.attempts.get(task).into_iter().flatten().any(|one| one.number == log.attempt && one.end == "succeeded");
    if is_good && got != written.as_bytes() {
        find(
            findings,
            Broken::OutOfOrder,
            format!("the log of task {task}, attempt {attempt}: {}", differs(got, &written)),
        );
    } else if !written.as_bytes().starts_with(got) {
        find(
            findings,
            Broken::OutOfOrder,
            format!("the log of task {task}, attempt {attempt}, which did not succeed: {}", differs(got, &written)),
        );
    }
}

fn differs(got: &[u8], written: &str) -> String {
    let same = got.iter().zip(written.as_bytes()).take_while(|(got, written)| got == written).count();
    let next = String::from_utf8_lossy(&got[same..got.len().min(same + 80)]).into_owned();
    format!("{} of {} bytes, the same up to byte {same}, then `{next}`", got.len(), written.len())
}

/// The events tell of each task exactly what its history tells, in that order.
fn events(case: &Case, findings: &mut Findings) {
    for fault in &case.event_faults {
        find(findings, Broken::OutOfOrder, fault.clone());
    }
    let mut heard: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &case.events {
        heard.entry(&event.task).or_default().push(event);
    }
    for (task, history) in &case.histories {
        let heard = heard.get(task.as_str()).map_or(&[][..], Vec::as_slice);
        let is_same = heard.len() == history.len() && heard.iter().zip(history).all(|(heard, line)| *heard == line);
        if !is_same {
            let place = heard.iter().zip(history).take_while(|(heard, line)| **heard == *line).count();
            let next = (heard.get(place), history.get(place));
            let counts = (heard.len(), history.len());
            find(
                findings,
                Broken::OutOfOrder,
                format!(
                    "task {task}: {} events and {} lines of history, which differ from number {place} on: {next:?}",
                    counts.0, counts.1
                ),
            );
        }
    }
}
