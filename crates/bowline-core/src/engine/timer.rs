//! Time: one timer a unit, one a worker. Heartbeats move no timer; a worker's is looked at again when
//! it fires.

use std::time::Duration;

use crate::effect::Effect;
use crate::id::{AttemptRef, TaskRef, WorkerId};
use crate::machine::{Event, Holder, Intent, State};
use crate::message::JobEnd;
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::spec::SETUP_TIMEOUT_DEFAULT;
use crate::state::{Outcome, TimeoutKind};
use crate::time::Timestamp;

use super::Engine;
use super::element::is_rounds;
use super::lane::LaneId;
use super::out::Cause;
use super::table::{At, Hot, Task};
use super::worker::Suspect;

/// Workers measure set-up and run limits themselves; the server steps in so much later, and only where a worker
/// has been heard for so long: what was done in time while nobody heard of it is on its way.
const BACKSTOP: Duration = Duration::from_secs(30);

/// What fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A unit's earliest limit.
    Unit(TaskRef),
    /// A worker's silence.
    Worker(WorkerId),
    /// Nobody is able to run the tasks of a lane.
    Lane(LaneId),
    /// Somebody who needs much has been the first of a lane for too long.
    Keep,
    /// A unit has stood long enough in a lane beside its task's.
    Side(TaskRef),
    /// A start that a rate counts no longer counts.
    Rates,
    /// Who wants which workers is looked at, for the sake of shares.
    Race,
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
                Timer::Lane(lane) => self.fire_lane(lane),
                Timer::Keep => self.fire_keep(),
                Timer::Side(unit) => self.fire_side(unit),
                Timer::Rates => self.fire_rates(),
                Timer::Race => self.fire_race(),
            }
        }
    }

    /// Sets the unit's timer to its earliest limit.
    pub(super) fn retime(&mut self, unit: TaskRef) {
        let next = self.tasks.get(&unit.task).and_then(|task| {
            let hot = task.unit(unit)?;
            earliest(task, hot, unit, self.stepping_in(hot)).map(|(at, _)| at)
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
        if let Some(hot) = self.tasks.get_mut(&unit.task).and_then(|task| task.unit_mut(unit)) {
            hot.timer = At::default();
        }
        let Some(task) = self.tasks.get(&unit.task) else { return };
        let Some(hot) = task.unit(unit) else { return };
        let due = earliest(task, hot, unit, self.stepping_in(hot)).filter(|(at, _)| *at <= now);
        if let Some((_, fires)) = due {
            self.fire(unit, &fires);
        }
        self.retime(unit);
    }

    /// From when on the server steps in for the worker that measures the limits of an attempt. A worker that is not heard
    /// is stopped by nobody anyway, and may have done in time what it has to say.
    fn stepping_in(&self, hot: &Hot) -> Timestamp {
        let (State::Assigned { worker } | State::Running { on: Holder::Worker(worker) }) = &hot.state else {
            return Timestamp(0);
        };
        let heard = self.workers.get(worker).filter(|worker| worker.silent_since().is_none());
        let from = heard.and_then(|worker| worker.session.as_ref()).map_or(self.now, |session| session.from);
        from.plus(BACKSTOP)
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
                let is_array = self.tasks.get(&unit.task).is_some_and(|task| task.array().is_some());
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
            .then(|| worker.lease_from.plus(self.config.timing.suspect_after));
        let lost = if worker.silent_since().is_some() {
            worker.held.attempts().filter_map(|held| self.lost_at(id, held)).min()
        } else {
            None
        };
        let release = worker.row.drain.as_ref().and_then(|mark| mark.release_at);
        let aside = worker.row.aside.as_ref().filter(|_| !worker.trial.is_due()).map(|mark| mark.try_at);
        [suspect, lost, release, aside].into_iter().flatten().min()
    }

    /// When a silent worker's attempt is lost. `None`: never by silence, only by proof.
    ///
    /// Where a second attempt may overlap: `lost_after` after the worker was heard last. Where it may not,
    /// but the supervisor kills the job by itself: when it must have done so, counted from this server's
    /// own last answer, or its take-over.
    pub(super) fn lost_at(&self, id: WorkerId, attempt: AttemptRef) -> Option<Timestamp> {
        let policy = &self.tasks.get(&attempt.task.task)?.policy;
        let timing = &self.config.timing;
        let heard = self.workers.get(&id)?.lease_from;
        let at = match (policy.overlaps(), policy.stop_after) {
            (true, _) => heard.plus(policy.lost_after.map_or(timing.lost_after, |after| after.0)),
            (false, Some(stop_after)) => {
                heard.max(self.led_from).plus(stop_after.0).plus(policy.grace.0).plus(timing.stop_margin)
            }
            (false, None) if mutant::is(Mutant::ForbidLostBySilence) => heard.plus(timing.lost_after),
            (false, None) => return None,
        };
        if mutant::is(Mutant::LostRightAfterATakeOver) {
            return Some(at);
        }
        Some(at.max(self.led_from.plus(timing.take_over_grace)))
    }

    fn fire_worker(&mut self, id: WorkerId) {
        let now = self.now;
        let suspect_after = self.config.timing.suspect_after;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.timer = At::default();
        if worker.suspect == Suspect::No && worker.session.is_some() && worker.lease_from.plus(suspect_after) <= now {
            worker.suspect = Suspect::Yes;
            self.tell_worker(id, "suspect", &Cause::server("no heartbeat came from it for too long"));
            self.refresh_free(id);
        }
        self.lose_what_is_due(id);
        self.end_finishing(id);
        self.try_aside(id);
        self.retime_worker(id);
    }

    fn lose_what_is_due(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.silent_since().is_some()) else { return };
        let held = worker.held.attempts();
        let due: Vec<AttemptRef> =
            held.filter(|attempt| self.lost_at(id, *attempt).is_some_and(|at| at <= now)).collect();
        if due.is_empty() {
            return;
        }
        // Whoever comes back must say what it still has before it is given anything.
        if let Some(session) = worker.session.as_ref().map(|session| session.id) {
            self.disconnected(session, "it was silent for too long");
            self.out.effects.push(Effect::Close { session });
        }
        for attempt in due {
            self.lose_attempt(attempt, "its worker was silent for too long");
        }
    }

    /// This server heard nobody for so long, and that was its own doing.
    pub(super) fn stood_still(&mut self, length: Duration) {
        if self.timers.first().is_some_and(|(at, timer)| *at <= self.now && matches!(timer, Timer::Worker(_))) {
            probe::reached(Path::StandstillWithALeaseDue);
        }
        self.led_from = self.led_from.plus(length).min(self.now);
        let workers: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in workers {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.lease_from = worker.lease_from.plus(length).min(self.now);
            }
            self.retime_worker(id);
        }
    }
}

/// The earliest limit of a unit in its state. What its worker measures itself is not due before `stepping_in`.
fn earliest(task: &Task, hot: &Hot, unit: TaskRef, stepping_in: Timestamp) -> Option<(Timestamp, Fires)> {
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
            Some((hot.since.plus(limit).plus(BACKSTOP).max(stepping_in), Fires::Limit(TimeoutKind::Setup)))
        }
        State::Running { on: Holder::Worker(_) } => limits.run.map(|run| {
            let at = hot.since.plus(run.0).plus(policy.grace.0).plus(BACKSTOP);
            (at.max(stepping_in), Fires::Limit(TimeoutKind::Run))
        }),
        State::Running { on: Holder::Server { until } } => {
            let run = limits.run.map(|run| (hot.since.plus(run.0), Fires::Limit(TimeoutKind::Run)));
            let sleep = until.map(|until| (until, Fires::Sleep));
            [sleep, run].into_iter().flatten().min_by_key(|(at, _)| *at)
        }
        // What cannot take the place of this stop does not count while it is under way.
        State::Stopping { intent, .. } if !may_be_replaced(intent, task, hot) => return None,
        State::Running { on: Holder::Elements } | State::Stopping { .. } | State::Blocked | State::InDoubt => None,
        State::Ended { .. } => return None,
    };
    let of_round = if unit.index.is_none() { round_limits(task) } else { [None, None] };
    let [total, deadline] = of_round;
    [total, deadline, own].into_iter().flatten().min_by_key(|(at, _)| *at)
}

/// Whether the round's own limit may take the place of this stop: as the machine says.
fn may_be_replaced(intent: &Intent, task: &Task, hot: &Hot) -> bool {
    match intent {
        Intent::GiveBack => true,
        Intent::End(outcome) => {
            let is_own = matches!(**outcome, Outcome::Timeout { which: TimeoutKind::Setup | TimeoutKind::Run });
            is_own && task.policy.retry.extra > hot.failures
        }
    }
}

fn round_limits(task: &Task) -> [Option<(Timestamp, Fires)>; 2] {
    let total = task.policy.timeouts.total.filter(|_| !mutant::is(Mutant::TotalLimitForgotten));
    let total = total.map(|total| (task.round_at.plus(total.0), Fires::Limit(TimeoutKind::Total)));
    let deadline = task.policy.deadline.map(|deadline| (deadline, Fires::Limit(TimeoutKind::Deadline)));
    [total, deadline]
}
