//! Decides from what is known: pure, so that it can be shown to find each kind of wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{AttemptFact, TaskFact};
use super::marks::{Done, amounts, done};
use super::{Broken, Case, Findings, find, order};
use crate::job;
use crate::load::{Acked, Want};

/// What a task's history may say as its end.
const ENDS: [&str; 4] = ["succeeded", "failed", "cancelled", "skipped"];
/// A task that was lost so often is given up, as the guarantees say.
const LOSSES_MAX: usize = 6;
/// Or on so many different workers.
const LOST_ON_MAX: usize = 3;

/// What attempts did in fact, by task and number.
pub(super) type Deeds = BTreeMap<(String, u64), Done>;

/// All that is wrong.
pub(crate) fn judge(case: &Case) -> Findings {
    let mut findings = Findings::new();
    let deeds = done(&case.marks);
    for fault in &case.ledger.faults {
        find(&mut findings, Broken::Other, fault.clone());
    }
    for left in &case.unended {
        find(&mut findings, Broken::Lost, format!("not ended when all was well again: {left}"));
    }
    for task in &case.ledger.tasks {
        acknowledged(case, &deeds, task, &mut findings);
    }
    runs(case, &deeds, &mut findings);
    unknown(case, &deeds, &mut findings);
    for (id, attempts) in &case.attempts {
        sequence(id, attempts, &mut findings);
    }
    order::check(case, &deeds, &mut findings);
    amounts(case, &mut findings);
    findings
}

/// Whatever was acknowledged is there, has ended as it had to, and once.
fn acknowledged(case: &Case, deeds: &Deeds, task: &Acked, findings: &mut Findings) {
    let Some((count, _)) = task.spec.array else {
        return one(case, deeds, (&task.id, task), findings);
    };
    let of_it = format!("{}.", task.id);
    let elements: Vec<&String> = case.tasks.keys().filter(|id| id.starts_with(&of_it)).collect();
    if elements.len() as u64 != count {
        find(findings, Broken::Lost, format!("array {} has {} elements and not {count}", task.id, elements.len()));
    }
    for id in elements {
        one(case, deeds, (id, task), findings);
    }
}

fn one(case: &Case, deeds: &Deeds, (id, task): (&str, &Acked), findings: &mut Findings) {
    let name = &task.spec.name;
    let Some(fact) = case.tasks.get(id) else {
        return find(findings, Broken::Lost, format!("task {id} ({name}) was acknowledged and is not there"));
    };
    let attempts = case.attempts.get(id).map_or(&[][..], Vec::as_slice);
    if let Some(wrong) = wrong_end(case, task, fact, attempts) {
        let about = format!("task {id} ({name}) {wrong}; it is {} {} `{}`", fact.state, fact.outcome, fact.message);
        find(findings, Broken::Lost, about);
    }
    ended_once(case, id, name, findings);
    if fact.state == "succeeded" && !case.resolved.iter().any(|resolved| resolved == id) {
        work_was_done(deeds, (id, name), attempts, findings);
    }
    if task.spec.want == Want::Skipped && deeds.keys().any(|(of, _)| of == id) {
        find(findings, Broken::OutOfOrder, format!("task {id} ({name}) was to be skipped, and began"));
    }
    let may_overlap = !task.spec.forbid || (task.spec.stop_after && case.froze_supervisor);
    for ((of, attempt), done) in deeds.iter().filter(|((of, _), done)| of == id && done.was_beside) {
        if !may_overlap {
            find(
                findings,
                Broken::Doubled,
                format!("attempt {attempt} of task {of} ({name}) ran beside another one: {done:?}"),
            );
        }
    }
    if task.spec.artifact {
        artifact(case, deeds, (id, name), findings);
    }
}

/// What is wrong about how it ended.
fn wrong_end(case: &Case, task: &Acked, fact: &TaskFact, attempts: &[AttemptFact]) -> Option<String> {
    if fact.state == "failed" && fact.outcome == "lost" {
        let lost: Vec<&AttemptFact> = attempts.iter().filter(|attempt| attempt.end == "lost").collect();
        let on: BTreeSet<&str> = lost.iter().map(|attempt| attempt.worker.as_str()).collect();
        let is_poison = lost.len() >= LOSSES_MAX || on.len() >= LOST_ON_MAX;
        return (!is_poison).then(|| format!("was given up after {} losses on {} workers", lost.len(), on.len()));
    }
    let failed = attempts.iter().filter(|attempt| attempt.end == "failed").count() as u64;
    let is_right = match task.spec.want {
        Want::Succeeds | Want::SucceedsOrDoubt => fact.state == "succeeded",
        Want::FailsAfter(count) => {
            fact.state == "failed"
                && fact.outcome == "error"
                && fact.exit_status == Some(i64::from(job::FAILS_WITH))
                && failed == count
        }
        Want::TimesOut => fact.state == "failed" && fact.outcome == "timeout",
        // What it depends on may have been given up.
        Want::Skipped => fact.state == "skipped",
        Want::CancelledOrNot if task.is_cancelled => fact.state == "cancelled",
        Want::CancelledOrNot => matches!(fact.state.as_str(), "cancelled" | "succeeded"),
    };
    if is_right || depends_on_what_was_given_up(case, task) {
        return None;
    }
    Some(format!("was to end as {:?}, with {failed} failed attempts", task.spec.want))
}

fn depends_on_what_was_given_up(case: &Case, task: &Acked) -> bool {
    let given_up =
        |id: &String| case.tasks.get(id).is_some_and(|fact| fact.outcome == "lost" || fact.state == "skipped");
    task.after.iter().any(|(id, _)| given_up(id))
}

fn ended_once(case: &Case, id: &str, name: &str, findings: &mut Findings) {
    let history = case.histories.get(id).map_or(&[][..], Vec::as_slice);
    let ends: Vec<&str> = history.iter().map(|line| line.what.as_str()).filter(|what| ENDS.contains(what)).collect();
    if ends.len() > 1 {
        find(findings, Broken::Doubled, format!("task {id} ({name}) ended {} times: {}", ends.len(), ends.join(", ")));
    }
}

/// A success is one of an attempt whose job came to its end.
fn work_was_done(deeds: &Deeds, (id, name): (&str, &str), attempts: &[AttemptFact], findings: &mut Findings) {
    let good: Vec<u64> =
        attempts.iter().filter(|attempt| attempt.end == "succeeded").map(|attempt| attempt.number).collect();
    let [good] = good[..] else {
        return find(findings, Broken::Doubled, format!("task {id} ({name}) succeeded by the attempts {good:?}"));
    };
    let done = deeds.get(&(id.to_owned(), good)).copied().unwrap_or_default();
    if !done.ended_well {
        find(
            findings,
            Broken::Lost,
            format!("task {id} ({name}) succeeded by attempt {good}, whose job did not come to its end: {done:?}"),
        );
    }
}

fn artifact(case: &Case, deeds: &Deeds, (id, name): (&str, &str), findings: &mut Findings) {
    let attempts = case.attempts.get(id).into_iter().flatten();
    let Some(good) = attempts.clone().find(|attempt| attempt.end == "succeeded") else { return };
    let done = deeds.get(&(id.to_owned(), good.number)).copied().unwrap_or_default();
    let undelivered = case.histories.get(id).into_iter().flatten().any(|line| line.what == "artifact_undelivered");
    if done.had_no_room || (undelivered && case.had_full_disks) {
        return;
    }
    let bytes = case.artifacts.get(id).and_then(|artifact| artifact.bytes.as_deref());
    match bytes {
        None => find(
            findings,
            Broken::Lost,
            format!("the artifact of task {id} ({name}), attempt {}, is not there", good.number),
        ),
        Some(bytes) if bytes != job::artifact(id, &good.number.to_string()).as_bytes() => {
            find(
                findings,
                Broken::Lost,
                format!("the artifact of task {id} ({name}) has {} bytes that are not its own", bytes.len()),
            );
        }
        Some(_) => {}
    }
    if case
        .artifacts
        .get(id)
        .is_some_and(|artifact| artifact.attempts.iter().filter(|of| **of == good.number).count() > 1)
    {
        find(findings, Broken::Doubled, format!("the artifact of task {id} ({name}) is there more than once"));
    }
}

/// Runs end well, each of their tasks once.
fn runs(case: &Case, deeds: &Deeds, findings: &mut Findings) {
    for run in &case.ledger.runs {
        let state = case.runs.get(&run.id).map_or("not there", |fact| fact.state.as_str());
        let own = || case.tasks.iter().filter(|(_, task)| task.run.as_deref() == Some(run.id.as_str()));
        let is_given_up = own().any(|(_, task)| task.outcome == "lost");
        if state != "succeeded" && !is_given_up {
            find(findings, Broken::Lost, format!("run {} is {state} and not succeeded", run.id));
        }
        let jobs: Vec<&String> = own().filter(|(_, task)| !task.is_array).map(|(id, _)| id).collect();
        if jobs.len() != run.elements + 2 && !is_given_up {
            find(
                findings,
                Broken::Lost,
                format!("run {} has {} tasks and not {}", run.id, jobs.len(), run.elements + 2),
            );
        }
        for id in jobs {
            ended_once(case, id, &run.id, findings);
            let attempts = case.attempts.get(id).map_or(&[][..], Vec::as_slice);
            if case.tasks.get(id).is_some_and(|task| task.state == "succeeded") {
                work_was_done(deeds, (id, &run.id), attempts, findings);
            }
        }
    }
}

/// Tasks that nobody submitted, and executions that nobody asked for.
fn unknown(case: &Case, deeds: &Deeds, findings: &mut Findings) {
    let acknowledged: BTreeSet<&str> = case.ledger.tasks.iter().map(|task| task.id.as_str()).collect();
    for (id, fact) in case.tasks.iter().filter(|(id, _)| !id.contains('.')) {
        if !acknowledged.contains(id.as_str()) && fact.run.is_none() && fact.name != "probe" {
            find(findings, Broken::Doubled, format!("task {id} ({}) is there and was never acknowledged", fact.name));
        }
    }
    for ((id, attempt), done) in deeds {
        let is_known = case.attempts.get(id).is_some_and(|all| all.iter().any(|one| one.number == *attempt));
        if !is_known {
            find(findings, Broken::Doubled, format!("attempt {attempt} of task {id} ran, and the server knows none"));
        }
        if done.begins > 1 {
            find(findings, Broken::Doubled, format!("attempt {attempt} of task {id} began {} times", done.begins));
        }
    }
}

/// Attempts are numbered without gap, and none was given out before the one before it was over.
fn sequence(id: &str, attempts: &[AttemptFact], findings: &mut Findings) {
    let mut attempts: Vec<&AttemptFact> = attempts.iter().collect();
    attempts.sort_by_key(|attempt| attempt.number);
    for (place, attempt) in attempts.iter().enumerate() {
        if attempt.number != place as u64 + 1 {
            find(
                findings,
                Broken::Doubled,
                format!("task {id} has the attempts {:?}", attempts.iter().map(|one| one.number).collect::<Vec<_>>()),
            );
            return;
        }
    }
    for pair in attempts.windows(2) {
        // What came too late is evidence, and was superseded when the next one was given out.
        if pair[0].end != "superseded" && (pair[0].ended_at.is_none() || pair[0].ended_at > pair[1].assigned_at) {
            let (first, second) = (pair[0].number, pair[1].number);
            find(
                findings,
                Broken::Doubled,
                format!("task {id}: attempt {second} was given out while {first} was live: {pair:?}"),
            );
        }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
