//! Drains: a worker lets go of everything and is given nothing, until it is undrained. And forgetting:
//! an identity is removed, and what it held is lost, because somebody vouches that none of it lives.

use crate::answer::{Answer, Refusal, RefusalCode, Reply};
use crate::effect::Effect;
use crate::id::{AttemptRef, WorkerId};
use crate::machine::{Event, State};
use crate::message::{Drain, DrainMode, Exit, Paused, StopWhy, ToWorker};
use crate::mutant::{self, Mutant};
use crate::name::{Actor, WorkerName};
use crate::probe::{self, Path};
use crate::row::DrainMark;

use super::Engine;
use super::out::Cause;
use super::timer::Timer;
use super::worker::Suspect;

impl Engine {
    /// The worker of this name.
    pub(super) fn known_worker(&self, name: &WorkerName) -> Result<WorkerId, Refusal> {
        self.worker_names.get(name).copied().ok_or_else(|| {
            let message = format!("There is no worker named {name}; `bowline worker list` shows those that are known.");
            Refusal::new(RefusalCode::NotFound, message)
        })
    }

    pub(super) fn drain_worker(&mut self, actor: &Actor, name: &WorkerName, drain: Drain) -> Reply {
        let id = self.known_worker(name)?;
        if drain.mode == DrainMode::Handoff && drain.exit == Exit::No {
            let message =
                "A handoff leaves the jobs to the worker's next process, so this one must end: drain with --exit.";
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        let now = self.now;
        let release_at = drain.within.filter(|_| drain.mode == DrainMode::Finish).map(|within| now.plus(within));
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(Answer::Done) };
        let (by, since) = match worker.row.drain.take() {
            Some(mark) => (mark.by, mark.since),
            None => (actor.clone(), now),
        };
        worker.row.drain = Some(DrainMark { by, since, mode: drain.mode, release_at, exit: drain.exit });
        self.touch_worker(id);
        self.tell_worker(id, "drained", &Cause::new(actor, drain.mode.name()));
        self.carry_out_drain(id);
        self.retime_worker(id);
        self.refresh_free(id);
        self.note_ability(id);
        Ok(Answer::Done)
    }

    /// Tells the worker of its drain, and takes back what it is to let go of. Said anew after each Hello.
    pub(super) fn carry_out_drain(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let Some(mark) = worker.row.drain.clone() else { return };
        let held: Vec<AttemptRef> = worker.held.attempts().collect();
        let within = mark.release_at.map(|at| at.since(self.now));
        self.send(id, ToWorker::Drain(Drain { mode: mark.mode, within, exit: mark.exit }));
        for attempt in held {
            match mark.mode {
                DrainMode::Handoff => {}
                DrainMode::Finish => self.recall(id, attempt),
                DrainMode::Release => self.release_for_drain(id, attempt),
            }
        }
    }

    /// What has not begun is called back. What has begun meanwhile goes on: its worker knows.
    fn recall(&mut self, id: WorkerId, attempt: AttemptRef) {
        if self.state_of(attempt).is_some_and(|state| matches!(state, State::Assigned { .. })) {
            probe::reached(Path::DrainCrossingAnAssignment);
            self.send(id, ToWorker::Cancel { attempt, why: StopWhy::Recall });
        }
    }

    fn release_for_drain(&mut self, id: WorkerId, attempt: AttemptRef) {
        let cause = Cause::server("its worker is drained");
        if self.shift(attempt.task, Event::Drained, &cause).is_err() {
            // It is being stopped already; the worker may not have heard.
            let intent = self.state_of(attempt).and_then(|state| match state {
                State::Stopping { intent, .. } => Some(super::unit::stop_why(intent)),
                State::Scheduled { .. }
                | State::Blocked
                | State::Waiting
                | State::Ready
                | State::Assigned { .. }
                | State::Running { .. }
                | State::InDoubt
                | State::Ended { .. } => None,
            });
            if let Some(why) = intent {
                probe::reached(Path::DrainOfWhatIsBeingStopped);
                self.send(id, ToWorker::Cancel { attempt, why });
            }
        }
    }

    /// The time for finishing is over.
    pub(super) fn end_finishing(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(mark) = self.workers.get_mut(&id).and_then(|worker| worker.row.drain.as_mut()) else { return };
        if mark.release_at.is_none_or(|at| at > now) {
            return;
        }
        probe::reached(Path::FinishingEndsByItsLimit);
        mark.mode = DrainMode::Release;
        mark.release_at = None;
        self.touch_worker(id);
        self.tell_worker(id, "drained", &Cause::server("the time to finish is over: what runs is given back"));
        self.carry_out_drain(id);
    }

    pub(super) fn undrain_worker(&mut self, actor: &Actor, name: &WorkerName) -> Reply {
        let id = self.known_worker(name)?;
        let was_aside = self.bring_back(id);
        let Some(worker) = self.workers.get_mut(&id) else { return Ok(Answer::Done) };
        let was_drained = worker.row.drain.take().is_some();
        if was_aside || was_drained {
            self.touch_worker(id);
            self.tell_worker(id, "undrained", &Cause::new(actor, ""));
            self.send(id, ToWorker::Undrain);
            self.retime_worker(id);
            self.refresh_free(id);
            self.note_ability(id);
        }
        Ok(Answer::Done)
    }

    pub(super) fn pause_worker(&mut self, actor: &Actor, name: &WorkerName, paused: Paused) -> Reply {
        let id = self.known_worker(name)?;
        let was_aside = paused == Paused::No && self.bring_back(id);
        let is_marked = self.workers.get(&id).is_some_and(|worker| worker.row.paused.is_some());
        let mark = self.new_mark(is_marked, paused, actor);
        if mark.is_none() && !was_aside {
            return Ok(Answer::Done);
        }
        if let (Some(mark), Some(worker)) = (mark, self.workers.get_mut(&id)) {
            worker.row.paused = mark;
            self.send(id, ToWorker::Pause { paused });
        }
        self.touch_worker(id);
        self.tell_worker(id, super::pause::word(paused), &Cause::new(actor, ""));
        self.retime_worker(id);
        self.refresh_free(id);
        self.note_ability(id);
        Ok(Answer::Done)
    }

    /// Somebody vouches that nothing of it runs any more.
    pub(super) fn forget_worker(&mut self, actor: &Actor, name: &WorkerName) -> Reply {
        let id = self.known_worker(name)?;
        let Some(worker) = self.workers.get(&id) else { return Ok(Answer::Done) };
        if worker.session.is_some() && worker.suspect == Suspect::No {
            let message = format!(
                "Worker {name} is connected, so it may still run what it holds; drain it with --exit, or stop it, and forget \
                 it then."
            );
            return Err(Refusal::new(RefusalCode::Conflict, message));
        }
        let held: Vec<AttemptRef> = worker.held.attempts().collect();
        let session = worker.session.as_ref().map(|session| session.id);
        let cause = Cause::new(actor, format!("its worker {name} was forgotten"));
        if !held.is_empty() {
            probe::reached(Path::ForgottenWorkerHeldAttempts);
        }
        for attempt in held.into_iter().filter(|_| !mutant::is(Mutant::ForgottenWorkerKeepsItsAttempts)) {
            self.lose(attempt, &cause);
        }
        if let Some(session) = session {
            let why = "it was forgotten".to_owned();
            self.out.effects.push(Effect::Send { session, message: ToWorker::Fenced { why } });
            self.out.effects.push(Effect::Close { session });
            self.sessions.remove(&session);
        }
        self.tell_worker(id, "forgotten", &Cause::new(actor, ""));
        self.remove_worker(id);
        Ok(Answer::Done)
    }

    fn remove_worker(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        self.worker_names.remove(&worker.row.name);
        if let Some(free) = worker.free {
            self.free.remove(&(free, id));
        }
        self.freed.remove(&id);
        if let Some(at) = worker.timer.get() {
            self.timers.remove(&(at, Timer::Worker(id)));
        }
        // A pool's key is its newest holder's, and goes with the identity.
        if worker.row.pool.is_some() && self.tokens.remove(&worker.row.key).is_some() {
            self.out.tokens_gone.push(worker.row.key);
        }
        let was_written = worker.row.version > 1 || !self.out.workers.contains(&id);
        self.out.workers.remove(&id);
        if was_written && worker.row.version > 0 {
            self.out.workers_gone.insert(id);
        }
    }
}
