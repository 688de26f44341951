//! Time: one timer a unit, one a worker. Heartbeats move no timer; a worker's is looked at again when
//! it fires.

use std::time::Duration;

use crate::id::{AttemptRef, TaskRef, WorkerId};
use crate::machine::{Event, Holder, State};
use crate::message::JobEnd;
use crate::spec::SETUP_TIMEOUT_DEFAULT;
use crate::state::TimeoutKind;
use crate::time::Timestamp;

use super::Engine;
use super::element::is_rounds;
use super::out::Cause;
use super::table::{At, Hot, Task};
use super::worker::Suspect;

/// Workers measure set-up and run limits themselves; the server steps in so much later.
const BACKSTOP: Duration = Duration::from_secs(30);
/// Without a heartbeat for so long an attempt is lost, where its task names nothing else.
const LOST_AFTER_DEFAULT: Duration = Duration::from_mins(1);
/// Nothing is lost for so long after a take-over, except by boot id.
const TAKE_OVER_GRACE: Duration = Duration::from_secs(30);

/// What fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A unit's earliest limit.
    Unit(TaskRef),
    /// A worker's silence.
    Worker(WorkerId),
}

/// What a unit's timer stands for.
enum Fires {
    Due,
    Sleep,
    Limit(TimeoutKind),
}

impl Engine {
    /// Everything that is due by now happens, in order.
    pub(super) fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > self.now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Unit(unit) => self.fire_unit(unit),
                Timer::Worker(id) => self.fire_worker(id),
            }
        }
    }

    /// Sets the unit's timer to its earliest limit.
    pub(super) fn retime(&mut self, unit: TaskRef) {
        let next = self.tasks.get(&unit.task).and_then(|task| {
            let hot = task.unit(unit)?;
            earliest(task, hot, unit).map(|(at, _)| at)
        });
        let Some(hot) = self.tasks.get_mut(&unit.task).and_then(|task| task.unit_mut(unit)) else { return };
        let old = std::mem::replace(&mut hot.timer, At::from(next));
        if let Some(old) = old.get() {
            self.timers.remove(&(old, Timer::Unit(unit)));
        }
        if let Some(next) = At::from(next).get() {
            self.timers.insert((next, Timer::Unit(unit)));
        }
    }

    fn fire_unit(&mut self, unit: TaskRef) {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        if let Some(hot) = task.unit_mut(unit) {
            hot.timer = At::default();
        }
        let Some(hot) = task.unit(unit) else { return };
        let due = earliest(task, hot, unit).filter(|(at, _)| *at <= now);
        if let Some((_, fires)) = due {
            self.fire(unit, &fires);
        }
        self.retime(unit);
    }

    fn fire(&mut self, unit: TaskRef, fires: &Fires) {
        match fires {
            Fires::Due => {
                self.shift(unit, Event::Due, &Cause::server("its time has come")).ok();
            }
            Fires::Sleep => {
                self.shift(unit, Event::Finished(JobEnd::Success), &Cause::server("its time has come")).ok();
            }
            Fires::Limit(which) => {
                let cause = Cause::server(format!("the {} limit ran out", which.name()));
                let event = Event::Expired(*which);
                let is_array = self.tasks.get(&unit.task).is_some_and(|task| task.array.is_some());
                if is_array && unit.index.is_none() && is_rounds(*which) {
                    self.stop_array(unit.task, &event, &cause).ok();
                } else {
                    self.shift(unit, event, &cause).ok();
                }
            }
        }
    }

    /// Sets the worker's timer.
    pub(super) fn retime_worker(&mut self, id: WorkerId) {
        let next = self.worker_deadline(id);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let old = std::mem::replace(&mut worker.timer, At::from(next));
        if old == worker.timer {
            return;
        }
        if let Some(old) = old.get() {
            self.timers.remove(&(old, Timer::Worker(id)));
        }
        if let Some(next) = next {
            self.timers.insert((next, Timer::Worker(id)));
        }
    }

    fn worker_deadline(&self, id: WorkerId) -> Option<Timestamp> {
        let worker = self.workers.get(&id)?;
        let suspect = (worker.suspect == Suspect::No && worker.session.is_some())
            .then(|| worker.lease_from.plus(self.config.suspect_after));
        let is_silent = worker.session.is_none() || worker.suspect == Suspect::Yes;
        let lost =
            if is_silent { worker.held.attempts().filter_map(|held| self.lost_at(id, held)).min() } else { None };
        [suspect, lost].into_iter().flatten().min()
    }

    /// When a silent worker's attempt is lost. `None`: never by silence.
    fn lost_at(&self, id: WorkerId, attempt: AttemptRef) -> Option<Timestamp> {
        let policy = &self.tasks.get(&attempt.task.task)?.policy;
        if !policy.overlaps() {
            return None;
        }
        let after = policy.lost_after.map_or(LOST_AFTER_DEFAULT, |after| after.0);
        let lease = self.workers.get(&id)?.lease_from.plus(after);
        Some(lease.max(self.led_from.plus(TAKE_OVER_GRACE)))
    }

    fn fire_worker(&mut self, id: WorkerId) {
        let now = self.now;
        let suspect_after = self.config.suspect_after;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.timer = At::default();
        if worker.suspect == Suspect::No && worker.session.is_some() && worker.lease_from.plus(suspect_after) <= now {
            worker.suspect = Suspect::Yes;
            self.refresh_free(id);
        }
        let Some(worker) = self.workers.get(&id) else { return };
        if worker.session.is_none() || worker.suspect == Suspect::Yes {
            let lost: Vec<AttemptRef> = worker.held.attempts().collect();
            for attempt in lost {
                if self.lost_at(id, attempt).is_some_and(|at| at <= now) {
                    self.lose_attempt(attempt, "its worker was silent for too long");
                }
            }
        }
        self.retime_worker(id);
    }
}

/// The earliest limit of a unit in its state.
fn earliest(task: &Task, hot: &Hot, unit: TaskRef) -> Option<(Timestamp, Fires)> {
    let policy = &task.policy;
    let limits = &policy.timeouts;
    let own = match &hot.state {
        State::Scheduled { until } => Some((*until, Fires::Due)),
        State::Waiting | State::Ready => hot
            .waiting_at
            .get()
            .zip(limits.queue)
            .map(|(from, limit)| (from.plus(limit.0), Fires::Limit(TimeoutKind::Queue))),
        State::Assigned { .. } => {
            let limit = limits.setup.map_or(SETUP_TIMEOUT_DEFAULT, |limit| limit.0);
            Some((hot.since.plus(limit).plus(BACKSTOP), Fires::Limit(TimeoutKind::Setup)))
        }
        State::Running { on: Holder::Worker(_) } => limits
            .run
            .map(|run| (hot.since.plus(run.0).plus(policy.grace.0).plus(BACKSTOP), Fires::Limit(TimeoutKind::Run))),
        State::Running { on: Holder::Server { until } } => {
            let run = limits.run.map(|run| (hot.since.plus(run.0), Fires::Limit(TimeoutKind::Run)));
            let sleep = until.map(|until| (until, Fires::Sleep));
            [sleep, run].into_iter().flatten().min_by_key(|(at, _)| *at)
        }
        State::Running { on: Holder::Elements } | State::Blocked | State::InDoubt => None,
        State::Stopping { .. } | State::Ended { .. } => return None,
    };
    let of_round = if unit.index.is_none() { round_limits(task) } else { [None, None] };
    let [total, deadline] = of_round;
    [total, deadline, own].into_iter().flatten().min_by_key(|(at, _)| *at)
}

fn round_limits(task: &Task) -> [Option<(Timestamp, Fires)>; 2] {
    let total = task.policy.timeouts.total;
    let total = total.map(|total| (task.round_at.plus(total.0), Fires::Limit(TimeoutKind::Total)));
    let deadline = task.policy.deadline.map(|deadline| (deadline, Fires::Limit(TimeoutKind::Deadline)));
    [total, deadline]
}
