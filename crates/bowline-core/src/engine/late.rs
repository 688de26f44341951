//! What was lost and comes back: late results, late attempts that go on, and evidence of what was
//! superseded. Lost attempts stay in memory until their round ends.
//!
//! A late result is accepted, and a late attempt goes on under its own fence, while no newer attempt was
//! *claimed*: a claim raises the fence, and fences only grow.

use crate::id::{AttemptNo, AttemptRef, Fence, Generation, TaskRef, WorkerId};
use crate::machine::{Event, State};
use crate::message::{Finished, JobEnd};
use crate::probe::{self, Path};
use crate::row::AttemptRow;
use crate::state::{AttemptEnd, Outcome};

use super::Engine;
use super::out::Cause;

/// Lost while it was simply at work: not while it was being stopped, whose outcome stands.
pub(super) fn is_plainly_lost(row: &AttemptRow) -> bool {
    row.end == Some(AttemptEnd::Lost) && row.outcome.is_none()
}

fn all_of(unit: TaskRef) -> std::ops::RangeInclusive<AttemptRef> {
    let first = Fence { generation: Generation(0), attempt: AttemptNo(0) };
    let last = Fence { generation: Generation(u32::MAX), attempt: AttemptNo(u32::MAX) };
    AttemptRef { task: unit, fence: first }..=AttemptRef { task: unit, fence: last }
}

impl Engine {
    /// Attempts of a unit that were lost in its round.
    pub(super) fn lost_of(&self, unit: TaskRef) -> impl Iterator<Item = &AttemptRow> {
        self.lost.range(all_of(unit)).map(|(_, row)| row)
    }

    /// Their round is over, or a new one begins.
    pub(super) fn forget_lost(&mut self, unit: TaskRef) {
        let lost: Vec<AttemptRef> = self.lost.range(all_of(unit)).map(|(attempt, _)| *attempt).collect();
        for attempt in lost {
            self.lost.remove(&attempt);
        }
    }

    /// Whether the attempt was lost and no newer one claimed.
    pub(super) fn is_late_wanted(&self, attempt: AttemptRef) -> bool {
        let state = self.state_of(attempt);
        self.lost.get(&attempt).is_some_and(is_plainly_lost)
            && state.is_some_and(|state| matches!(state, State::Waiting | State::Ready | State::InDoubt))
    }

    /// The end of an attempt that was lost, told by its worker after all.
    pub(super) fn finished_late(&mut self, finished: Finished, cause: &Cause) {
        let Finished { attempt, how, result } = finished;
        // It was stopped because it was lost: that says nothing of the work.
        if how == JobEnd::Stopped || !self.is_late_wanted(attempt) {
            return;
        }
        let Some(row) = self.lost.get(&attempt).cloned() else { return };
        let is_in_doubt = self.state_of(attempt).is_some_and(|state| matches!(state, State::InDoubt));
        probe::reached(if is_in_doubt { Path::LateResultWhileInDoubt } else { Path::LateResultWhileRequeued });
        if row.worker.is_some_and(|worker| !self.workers.contains_key(&worker)) {
            probe::reached(Path::ResultOfAForgottenWorker);
        }
        self.keep_result(attempt, result);
        let (end, outcome) = ended_so(&how);
        self.shift(attempt.task, Event::Finished(how), cause).ok();
        self.lost.remove(&attempt);
        self.rewrite_end(row, end, outcome);
    }

    /// A newer attempt was claimed meanwhile: what this one says is evidence.
    pub(super) fn superseded(&mut self, attempt: AttemptRef, how: &JobEnd) {
        let Some(row) = self.lost.get(&attempt).filter(|row| is_plainly_lost(row)).cloned() else { return };
        probe::reached(Path::ResultOfASupersededAttempt);
        let (_, outcome) = ended_so(how);
        let row = self.rewrite_end(row, AttemptEnd::Superseded, outcome);
        // It still counts among the losses.
        self.lost.insert(attempt, row);
    }

    /// The row of a lost attempt says how it really ended.
    fn rewrite_end(&mut self, mut row: AttemptRow, end: AttemptEnd, outcome: Outcome) -> AttemptRow {
        row.end = Some(end);
        row.outcome = Some(outcome);
        let attempt = row.attempt;
        self.attempts.insert(attempt, row.clone());
        self.touch_attempt(attempt);
        self.attempts.remove(&attempt).unwrap_or(row)
    }

    /// A worker came back with a running attempt that was lost: it goes on, where no newer one was
    /// claimed. Whether it does.
    pub(super) fn revive(&mut self, id: WorkerId, attempt: AttemptRef) -> bool {
        let is_its_own = self.lost.get(&attempt).is_some_and(|row| row.worker == Some(id));
        let is_wanted = is_its_own
            && self.is_late_wanted(attempt)
            && !self.is_window_full(attempt.task)
            && !self.is_bound(attempt.task.task);
        if !is_wanted || !self.regrant(attempt.task) {
            probe::reached(Path::LateAttemptTurnedAway);
            return false;
        }
        probe::reached(Path::LateAttemptRevived);
        let Some(name) = self.workers.get(&id).map(|worker| worker.row.name.clone()) else { return false };
        let now = self.now;
        let key = self.tasks.get(&attempt.task.task).map(|task| std::sync::Arc::clone(&task.policy.lane_key));
        let cause = Cause::server(format!("{name} came back with it"));
        self.shift(attempt.task, Event::Revived(id), &cause).expect("what is wanted late can go on");
        // Not before: the machine asks whether it is late.
        let Some(row) = self.lost.remove(&attempt) else { return false };
        // Its `Started` may never have been heard: its worker says that it runs.
        let started_at = row.started_at.or(Some(now));
        self.attempts.insert(attempt, AttemptRow { end: None, ended_at: None, started_at, ..row });
        self.touch_attempt(attempt);
        if let Some(key) = key {
            self.load_worker(id, attempt, key);
        }
        if let Some(hot) = self.hot_mut(attempt.task) {
            hot.losses = hot.losses.saturating_sub(1);
            hot.last = None;
            hot.started_at = started_at.into();
        }
        self.touch_unit(attempt.task);
        true
    }

    /// Whether as many elements of its array are under way as may be.
    fn is_window_full(&self, unit: TaskRef) -> bool {
        let array = self.tasks.get(&unit.task).and_then(|task| task.array());
        array.is_some_and(|array| !array.has_window())
    }
}

fn ended_so(how: &JobEnd) -> (AttemptEnd, Outcome) {
    match how {
        JobEnd::Success => (AttemptEnd::Succeeded, Outcome::Succeeded),
        JobEnd::Error(error) => (AttemptEnd::Failed, Outcome::Error(error.clone())),
        JobEnd::Timeout(which) => (AttemptEnd::TimedOut, Outcome::Timeout { which: *which }),
        JobEnd::Stopped => (AttemptEnd::Superseded, Outcome::Cancelled { message: "stopped".to_owned() }),
    }
}
