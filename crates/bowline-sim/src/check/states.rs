//! What a state may follow upon: every end is backed by what was said of it, attempts are counted, and what waits
//! (for a dependency, a pause, a window, somebody who knows) is not claimed before.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, Round, TaskId, TaskRef};
use bowline_core::name::{Actor, Namespace};
use bowline_core::row::{AttemptRow, Row, Subject, Unit};
use bowline_core::spec::{Condition, OnWorkerLoss};
use bowline_core::state::{AttemptEnd, Outcome, StateKind, TimeoutKind};
use bowline_core::time::Timestamp;

use super::book::Book;
use super::{Found, Invariant};

/// What the rules of this file remember of a cluster.
#[derive(Debug, Clone, Default)]
pub struct States {
    namespaces: BTreeMap<TaskId, Namespace>,
    /// Pauses of namespaces and (`None`) of everything: since when.
    pauses: BTreeMap<Option<Namespace>, Timestamp>,
    /// The same of tasks.
    paused_tasks: BTreeMap<TaskId, Timestamp>,
    /// How each unit has ended, in any of its rounds.
    ends: BTreeMap<TaskRef, BTreeSet<StateKind>>,
    /// Rounds that have ended.
    rounds: BTreeSet<(TaskRef, Round)>,
    /// Attempts that failed, by unit and round.
    failed: BTreeMap<(TaskRef, Round), BTreeSet<AttemptRef>>,
}

impl States {
    /// So many rounds of tasks and elements have ended.
    pub(super) fn ended(&self) -> usize {
        self.rounds.len()
    }
}

/// One batch that is in the books.
struct Turn<'a> {
    states: &'a mut States,
    book: &'a Book,
    found: &'a mut Found,
    at: u64,
    /// Units to which people did something in it.
    by_people: BTreeSet<TaskRef>,
}

/// Takes a batch that the book has already. `succeeded`: attempts of which some worker said that they succeeded.
pub fn commit(
    states: &mut States,
    book: &Book,
    (found, at): (&mut Found, u64),
    batch: &Batch,
    succeeded: impl Fn(AttemptRef) -> bool,
) {
    let is_worker = |actor: &Actor| book.workers.values().any(|worker| Actor::from(&worker.name) == *actor);
    let by_people = batch.history.iter().filter(|line| line.actor != Actor::server() && !is_worker(&line.actor));
    let by_people = by_people.filter_map(|line| match &line.subject {
        Subject::Task(unit) => Some(*unit),
        Subject::Run(_) | Subject::Worker(_) | Subject::Namespace(_) | Subject::Resource(_) => None,
    });
    let by_people = by_people.collect();
    let mut turn = Turn { states, book, found, at, by_people };
    batch.rows.iter().for_each(|row| turn.note(row));
    batch.history.iter().for_each(|line| turn.passed(&line.subject, &line.what));
    for row in &batch.rows {
        match row {
            Row::Attempt(row) => turn.attempt(row, &succeeded),
            Row::NewTask(new) => turn.unit(TaskRef::whole(new.row.id), new.row.round, &new.row.unit),
            Row::Task(row) => turn.unit(TaskRef::whole(row.id), row.round, &row.unit),
            Row::Element(row) => {
                if let Some(round) = turn.book.tasks.get(&row.task).map(|task| task.unit.round) {
                    turn.unit(TaskRef::element(row.task, row.index), round, &row.unit);
                }
            }
            Row::Counters(_)
            | Row::Result(_)
            | Row::Artifact(_)
            | Row::NewRun(_)
            | Row::Run(_)
            | Row::Node(_)
            | Row::Worker(_)
            | Row::WorkerGone(_)
            | Row::Resource(_)
            | Row::ResourceGone(_)
            | Row::Namespace(_)
            | Row::Rate(_)
            | Row::Gang(_)
            | Row::GangGone(_)
            | Row::Key(_)
            | Row::Pause(_)
            | Row::Token(_)
            | Row::TokenGone(_)
            | Row::TaskGone(_) => {}
        }
    }
}

/// Retention has removed these: nothing that has not ended may need them.
pub fn swept(book: &Book, found: &mut Found, at: u64, tasks: &[TaskId]) {
    for (id, task) in book.open_tasks() {
        let needed = task.spec.after.iter().find(|dependency| tasks.contains(&dependency.task.task));
        if let Some(needed) = needed {
            found
                .add(at, Invariant::States, || format!("task {} is removed, and task {id} depends on it", needed.task));
        }
    }
}

impl Turn<'_> {
    /// What the rules need to know of the whole batch.
    fn note(&mut self, row: &Row) {
        match row {
            Row::NewTask(new) => {
                self.states.namespaces.insert(new.row.id, new.row.namespace.clone());
                self.end(TaskRef::whole(new.row.id), new.row.round, &new.row.unit);
            }
            Row::Task(row) => {
                self.end(TaskRef::whole(row.id), row.round, &row.unit);
                match &row.paused {
                    Some(mark) => drop(self.states.paused_tasks.insert(row.id, mark.since)),
                    None => drop(self.states.paused_tasks.remove(&row.id)),
                }
            }
            Row::Element(row) => {
                let round = self.book.tasks.get(&row.task).map_or(Round(1), |task| task.unit.round);
                self.end(TaskRef::element(row.task, row.index), round, &row.unit);
            }
            Row::Attempt(row) => self.failure(row),
            Row::Pause(row) => match &row.mark {
                Some(mark) => drop(self.states.pauses.insert(row.namespace.clone(), mark.since)),
                None => drop(self.states.pauses.remove(&row.namespace)),
            },
            Row::Counters(_)
            | Row::Result(_)
            | Row::Artifact(_)
            | Row::NewRun(_)
            | Row::Run(_)
            | Row::Node(_)
            | Row::Worker(_)
            | Row::WorkerGone(_)
            | Row::Resource(_)
            | Row::ResourceGone(_)
            | Row::Namespace(_)
            | Row::Rate(_)
            | Row::Gang(_)
            | Row::GangGone(_)
            | Row::Key(_)
            | Row::Token(_)
            | Row::TokenGone(_)
            | Row::TaskGone(_) => {}
        }
    }

    fn end(&mut self, unit: TaskRef, round: Round, row: &Unit) {
        if row.state.is_ended() {
            self.states.rounds.insert((unit, round));
            self.states.ends.entry(unit).or_default().insert(row.state);
        }
    }

    /// What has ended and begun a new round in the same batch has ended all the same: the history alone says so.
    fn passed(&mut self, subject: &Subject, what: &str) {
        let ends = [StateKind::Succeeded, StateKind::Failed, StateKind::Cancelled, StateKind::Skipped];
        let end = ends.into_iter().find(|end| end.name() == what);
        if let (Subject::Task(unit), Some(end)) = (subject, end) {
            self.states.ends.entry(*unit).or_default().insert(end);
        }
    }

    /// Counts attempts that failed: a loss while the attempt's own limit was enforced is one too.
    fn failure(&mut self, row: &AttemptRow) {
        let counts = match (row.end, &row.outcome) {
            (Some(AttemptEnd::Failed | AttemptEnd::TimedOut), None) => true,
            (Some(AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Lost), Some(outcome)) => {
                is_attempts_own(outcome)
            }
            (
                Some(
                    AttemptEnd::Lost
                    | AttemptEnd::Succeeded
                    | AttemptEnd::Cancelled
                    | AttemptEnd::Released
                    | AttemptEnd::Superseded,
                )
                | None,
                _,
            ) => false,
        };
        let failed = self.states.failed.entry((row.attempt.task, row.round)).or_default();
        if counts {
            failed.insert(row.attempt);
        } else {
            failed.remove(&row.attempt);
        }
    }

    fn attempt(&mut self, row: &AttemptRow, succeeded: impl Fn(AttemptRef) -> bool) {
        let attempt = row.attempt;
        if row.end == Some(AttemptEnd::Succeeded) && row.worker.is_some() {
            self.found.unless(succeeded(attempt), self.at, Invariant::I2, || {
                format!("{attempt} has ended as succeeded, and no worker ever said so")
            });
        }
        if row.end == Some(AttemptEnd::Lost) {
            self.doubt(attempt);
        }
        if row.end.is_none() && row.version == 1 {
            self.claimed(attempt, row.assigned_at);
        }
    }

    /// What must not be rerun waits for somebody who knows.
    fn doubt(&mut self, attempt: AttemptRef) {
        let Some(task) = self.book.tasks.get(&attempt.task.task) else { return };
        if task.spec.on_worker_loss != OnWorkerLoss::Fail || self.by_people.contains(&attempt.task) {
            return;
        }
        let Some(unit) = self.book.unit(attempt.task).filter(|unit| unit.fence == attempt.fence) else { return };
        let goes_back = matches!(unit.state, StateKind::Waiting | StateKind::Ready);
        self.found.unless(!goes_back, self.at, Invariant::States, || {
            format!("{attempt} of a task that must not rerun is lost, and that is {} again", unit.state)
        });
    }

    /// A claim: nothing that is paused, and no more of an array than may.
    fn claimed(&mut self, attempt: AttemptRef, at: Timestamp) {
        let id = attempt.task.task;
        let namespace = self.states.namespaces.get(&id).cloned();
        let since = [
            self.states.pauses.get(&None),
            namespace.and_then(|namespace| self.states.pauses.get(&Some(namespace))),
            self.states.paused_tasks.get(&id),
        ];
        let paused = since.into_iter().flatten().find(|since| **since < at);
        self.found.unless(paused.is_none(), self.at, Invariant::States, || {
            format!("{attempt} is claimed at {at:?}, and its task is paused since {paused:?}")
        });
        let array = self.book.tasks.get(&id).and_then(|task| task.spec.array.as_ref());
        let Some(most) = array.and_then(|array| array.at_most) else { return };
        let elements = self.book.live.range(TaskRef::element(id, 0)..=TaskRef::element(id, u32::MAX));
        let live = elements.filter(|(_, live)| !live.is_empty()).count();
        self.found.unless(live <= most as usize, self.at, Invariant::States, || {
            format!("{live} elements of array {id} live, and at most {most} may")
        });
    }

    fn unit(&mut self, unit: TaskRef, round: Round, row: &Unit) {
        match row.state {
            StateKind::Waiting | StateKind::Ready | StateKind::Assigned | StateKind::Running => {
                if unit.index.is_none() && round == Round(1) {
                    self.dependencies(unit.task);
                }
            }
            StateKind::Stopping => self.stopping(unit),
            StateKind::Failed => self.counted(unit, round, row),
            StateKind::Cancelled => self.undone(unit, round, row),
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::InDoubt
            | StateKind::Succeeded
            | StateKind::Skipped => {}
        }
    }

    /// I2: whose newest attempt has succeeded is not cancelled after that.
    fn undone(&mut self, unit: TaskRef, round: Round, row: &Unit) {
        let newest = AttemptRef { task: unit, fence: row.fence() };
        let end =
            self.book.attempts.get(&newest).filter(|attempt| attempt.round == round).and_then(|attempt| attempt.end);
        self.found.unless(end != Some(AttemptEnd::Succeeded), self.at, Invariant::I2, || {
            format!("{newest} has succeeded, and {unit} ends as cancelled")
        });
    }

    /// What depends on others begins when each of them has ended as it must.
    fn dependencies(&mut self, id: TaskId) {
        let Some(task) = self.book.tasks.get(&id) else { return };
        for dependency in &task.spec.after {
            // An element that never began has no row of its own; and what was removed had ended.
            if dependency.task.index.is_some() || self.book.gone.contains(&dependency.task.task) {
                continue;
            }
            let ends = self.states.ends.get(&dependency.task);
            let met = ends.is_some_and(|ends| ends.iter().any(|end| meets(dependency.on, *end)));
            self.found.unless(met, self.at, Invariant::States, || {
                format!("task {id} goes on, and task {}, on which it depends, has ended as {ends:?}", dependency.task)
            });
        }
    }

    /// An array that is being stopped stops every element.
    fn stopping(&mut self, unit: TaskRef) {
        let is_array = self.book.tasks.get(&unit.task).is_some_and(|task| task.count.is_some());
        if !is_array || unit.index.is_some() {
            return;
        }
        let elements = self.book.elements.range((unit.task, 0)..=(unit.task, u32::MAX));
        let mut left = elements.filter(|(_, seen)| !seen.state.is_ended() && seen.state != StateKind::Stopping);
        if let Some(((_, index), seen)) = left.next() {
            self.found.add(self.at, Invariant::I10, || {
                format!("array {} is being stopped, and its element {index} is {}", unit.task, seen.state)
            });
        }
    }

    /// A task that failed by its attempts had as many of them as it may.
    fn counted(&mut self, unit: TaskRef, round: Round, row: &Unit) {
        let Some(task) = self.book.tasks.get(&unit.task) else { return };
        let is_whole_array = task.count.is_some() && unit.index.is_none();
        let is_own = row.outcome.as_ref().is_some_and(is_attempts_own);
        if is_whole_array || !is_own || self.by_people.contains(&unit) {
            return;
        }
        let failed = self.states.failed.get(&(unit, round)).map_or(0, BTreeSet::len);
        let may = task.spec.retry.extra as usize + 1;
        self.found.unless(failed == may, self.at, Invariant::States, || {
            format!("{unit} has failed after {failed} failed attempts, and may have {may}")
        });
    }
}

fn is_attempts_own(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Error(_) | Outcome::Timeout { which: TimeoutKind::Setup | TimeoutKind::Run } => true,
        Outcome::Timeout { which: TimeoutKind::Queue | TimeoutKind::Total | TimeoutKind::Deadline }
        | Outcome::Succeeded
        | Outcome::Lost { .. }
        | Outcome::Rejected { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. } => false,
    }
}

fn meets(on: Condition, end: StateKind) -> bool {
    match on {
        Condition::Ok => end == StateKind::Succeeded,
        Condition::Any => end.is_ended(),
        Condition::Fail => matches!(end, StateKind::Failed | StateKind::Cancelled),
    }
}
