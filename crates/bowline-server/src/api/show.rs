//! From rows to documents: tasks and what hangs on them. These block where names are looked up.

use bowline_api::action::work_doc;
use bowline_api::{
    ArrayProgress, Artifact, Attempt, Concurrency, DependsOn, Event, EventId, EventKind, HistoryEntry, List,
    OutcomeDoc, PausedDoc, Placement, Rate, Retry, Task, Timeouts, from_core_time, resource,
};
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, HistoryRow, PauseMark, ResultRow, Subject, TaskRow, Unit,
};
use bowline_core::spec::{ArraySpec, TaskSpec};
use bowline_core::state::{Outcome, Phase, StateKind};
use bowline_core::time::Timestamp;
use bowline_store::{ReadStore, StoreError, TaskDetail};
use serde_json::Value;

use super::shell::Names;

/// How much of a task is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Without its result and what it does.
    List,
    /// All of it.
    Full,
}

/// A whole task.
pub(crate) fn task(found: &TaskDetail, depth: Depth, names: &Names, store: &dyn ReadStore) -> Result<Task, StoreError> {
    let row = &found.row;
    let mut doc = skeleton(row, &found.spec);
    unit(&mut doc, &row.unit, names, store)?;
    doc.array = found.spec.array.as_ref().zip(row.array).map(|(spec, counts)| {
        let ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
        let begun = counts.cursor.max(ended);
        ArrayProgress {
            first: spec.first,
            count: counts.count,
            step: spec.step,
            at_most: spec.at_most,
            waiting: counts.count.saturating_sub(begun),
            running: begun - ended,
            succeeded: counts.succeeded,
            failed: counts.failed,
            cancelled: counts.cancelled,
            skipped: counts.skipped,
        }
    });
    if depth == Depth::Full {
        doc.result = found.result.as_ref().map(result);
        doc.work = Some(work_doc(&found.spec.work));
    }
    Ok(doc)
}

/// An element of an array. `row`: where it has begun or ended; one that has not is as its array is.
pub(crate) fn element(
    found: &TaskDetail,
    index: u32,
    row: Option<&ElementRow>,
    names: &Names,
    store: &dyn ReadStore,
) -> Result<Task, StoreError> {
    let mut doc = skeleton(&found.row, &found.spec);
    doc.id.index = Some(index);
    let mut own = found.row.unit.clone();
    match row {
        Some(row) => own = row.unit.clone(),
        None if own.state.is_live() => {
            let asks = found.spec.asks();
            own.state = if asks { StateKind::Waiting } else { StateKind::Ready };
            (own.started_at, own.worker) = (None, None);
            own.held = Vec::new();
        }
        None => {}
    }
    unit(&mut doc, &own, names, store)?;
    Ok(doc)
}

/// The place of an element within its array.
pub(crate) fn has_element(spec: &TaskSpec, index: u32) -> bool {
    spec.array.as_ref().is_some_and(|array: &ArraySpec| array.place_of(index).is_some())
}

/// All that a task and its elements have in common.
fn skeleton(row: &TaskRow, spec: &TaskSpec) -> Task {
    Task {
        id: bowline_core::id::TaskRef::whole(row.id),
        namespace: row.namespace.to_string(),
        name: row.name.clone(),
        labels: spec.labels.clone(),
        state: row.unit.state,
        since: from_core_time(row.unit.since),
        phase: None,
        round: row.round.0,
        attempt: row.unit.attempt.0,
        action: row.action.clone(),
        worker: None,
        priority: row.priority,
        ticket: row.ticket.0,
        created_by: row.created_by.0.to_string(),
        submitted_at: from_core_time(row.submitted_at),
        ready_at: None,
        started_at: None,
        ended_at: None,
        outcome: None,
        requires: spec.requires.clone(),
        slots: spec.slots,
        amounts: spec.amounts.iter().map(|(name, amount)| (name.to_string(), *amount)).collect(),
        resources: resource::of_task(&spec.resources),
        release_while_retrying: spec.release_while_retrying,
        placement: Placement::shown(&spec.placement),
        concurrency: spec.concurrency.as_ref().map(Concurrency::of),
        rate: spec.rate.as_ref().map(Rate::of),
        depends_on: spec.after.iter().map(|after| DependsOn { task: after.task, on: after.on }).collect(),
        timeouts: Timeouts {
            queue: spec.timeouts.queue,
            setup: spec.timeouts.setup,
            run: spec.timeouts.run,
            total: spec.timeouts.total,
        },
        at: spec.at.map(from_core_time),
        deadline: spec.deadline.map(from_core_time),
        retry: Retry {
            extra: Some(spec.retry.extra),
            backoff: Some(spec.retry.backoff),
            backoff_max: Some(spec.retry.backoff_max),
        },
        failures: 0,
        losses: 0,
        on_worker_loss: spec.on_worker_loss,
        overlap: spec.overlap,
        lost_after: spec.lost_after,
        stop_after: spec.stop_after,
        run: row.run.map(|(run, _)| run_text(run)),
        step: row.step.as_ref().map(ToString::to_string),
        result: None,
        paused: paused(row.paused.as_ref()),
        why: None,
        array: None,
        work: None,
    }
}

fn unit(doc: &mut Task, unit: &Unit, names: &Names, store: &dyn ReadStore) -> Result<(), StoreError> {
    doc.state = unit.state;
    doc.since = from_core_time(unit.since);
    doc.phase = Some(unit.phase).filter(|phase| *phase != Phase::Ended);
    doc.attempt = unit.attempt.0;
    doc.worker = unit.worker.map(|worker| names.of(worker, store)).transpose()?;
    doc.ready_at = time(unit.ready_at);
    doc.started_at = time(unit.started_at);
    doc.ended_at = time(unit.ended_at);
    doc.outcome = unit.outcome.as_ref().map(outcome);
    doc.failures = unit.failures;
    doc.losses = unit.losses;
    for resource in &mut doc.resources {
        resource.ticket = doc.ticket;
        if let Some(grant) = unit.held.iter().find(|grant| grant.name.as_str() == resource.name) {
            "granted".clone_into(&mut resource.state);
            resource.granted_at = Some(from_core_time(grant.at));
            resource.units = resource::unit_names(&grant.units);
        } else if unit.state.is_ended() {
            "ended".clone_into(&mut resource.state);
        }
    }
    Ok(())
}

/// A run's id as it is written.
pub(crate) fn run_text(run: bowline_core::id::RunId) -> String {
    format!("r{run}")
}

/// A moment, where there is one.
pub(crate) fn time(at: Option<Timestamp>) -> Option<jiff::Timestamp> {
    at.map(from_core_time)
}

/// By whom something is paused.
pub(crate) fn paused(mark: Option<&PauseMark>) -> Option<PausedDoc> {
    mark.map(|mark| PausedDoc { by: mark.by.0.to_string(), since: from_core_time(mark.since) })
}

/// How something ended.
pub(crate) fn outcome(outcome: &Outcome) -> OutcomeDoc {
    let mut doc = OutcomeDoc { kind: outcome.kind().to_owned(), message: outcome.message(), ..OutcomeDoc::default() };
    match outcome {
        Outcome::Error(error) => (doc.exit_status, doc.signal) = (error.exit_status, error.signal),
        Outcome::Timeout { which } => doc.which = Some(which.name().to_owned()),
        Outcome::Succeeded
        | Outcome::Lost { .. }
        | Outcome::Rejected { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. } => {}
    }
    doc
}

/// A result. What is stored is JSON; were it not, its text is shown.
pub(crate) fn result(row: &ResultRow) -> Value {
    json(&row.json)
}

/// Stored JSON.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// An attempt.
pub(crate) fn attempt(row: &AttemptRow, names: &Names, store: &dyn ReadStore) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        task: row.attempt.task,
        attempt: row.attempt.fence.attempt.0,
        generation: row.attempt.fence.generation.0,
        round: row.round.0,
        worker: row.worker.map(|worker| names.of(worker, store)).transpose()?,
        incarnation: row.incarnation.0,
        assigned_at: from_core_time(row.assigned_at),
        started_at: time(row.started_at),
        ended_at: time(row.ended_at),
        end: row.end,
        outcome: row.outcome.as_ref().map(outcome),
    })
}

/// A file that an attempt left.
pub(crate) fn artifact(row: &ArtifactRow) -> Artifact {
    Artifact {
        task: row.attempt.task,
        attempt: row.attempt.fence.attempt.0,
        name: row.name.clone(),
        digest: row.digest.clone(),
        bytes: row.bytes,
        at: from_core_time(row.at),
    }
}

/// One page of a history, oldest first.
pub(crate) fn history_page(
    store: &dyn ReadStore,
    of: &Subject,
    cursor: Option<&str>,
    limit: usize,
) -> Result<List<HistoryEntry>, StoreError> {
    let page = store.history(of, cursor, limit)?;
    let items = page.items.iter().map(|(number, row)| history(*number, row)).collect();
    Ok(List { items, next_cursor: page.next })
}

/// One line of a history.
fn history(number: u64, row: &HistoryRow) -> HistoryEntry {
    HistoryEntry {
        number,
        at: from_core_time(row.at),
        what: row.what.clone(),
        attempt: Some(row.attempt.0).filter(|attempt| *attempt > 0),
        actor: row.actor.0.to_string(),
        reason: row.reason.clone(),
    }
}

/// One event.
pub(crate) fn event(id: EventId, row: &HistoryRow) -> Event {
    let (kind, task, run, worker) = match &row.subject {
        Subject::Task(task) => (EventKind::Task, Some(task.to_string()), None, None),
        Subject::Run(run) => (EventKind::Run, None, Some(run_text(*run)), None),
        Subject::Worker(worker) => (EventKind::Worker, None, None, Some(worker.to_string())),
        Subject::Namespace(_) => (EventKind::Namespace, None, None, None),
        Subject::Resource(_) => (EventKind::Resource, None, None, None),
    };
    let resource = if let Subject::Resource(name) = &row.subject { Some(name.to_string()) } else { None };
    Event {
        id: id.to_string(),
        kind,
        namespace: row.namespace.as_ref().map(ToString::to_string),
        task,
        run,
        worker,
        resource,
        at: from_core_time(row.at),
        what: row.what.clone(),
        attempt: Some(row.attempt.0).filter(|attempt| *attempt > 0),
        actor: row.actor.0.to_string(),
        reason: row.reason.clone(),
    }
}
