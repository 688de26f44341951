//! Sessions: Hello and what it settles, the end of a connection, and the room that follows.
//!
//! Only the newest session of the newest incarnation speaks.

use std::collections::BTreeMap;

use crate::effect::Effect;
use crate::id::{AttemptRef, SessionId, WorkerId};
use crate::machine::{Event, Intent, State};
use crate::message::{Fate, Hello, JobEnd, KnownAs, LEFT_MAX, Left, Paused, ToWorker, Verdict};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::state::{AttemptEnd, JobError};
use crate::worker::Health;

use super::Engine;
use super::identity::Moved;
use super::out::Cause;
use super::worker::{Claim, Session, Suspect};

impl Engine {
    pub(super) fn open_session(&mut self, id: WorkerId, session: SessionId, hello: Hello, moved: Moved) {
        let now = self.now;
        let Hello { version, prefetch, health, attempts, .. } = hello;
        let broken = if let Health::Broken(why) = &health { Some(Cause::server(why.clone())) } else { None };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.session = Some(Session {
            id: session,
            from: now,
            prefetch,
            demand: None,
            health,
            version,
            pending: std::collections::BTreeSet::new(),
        });
        worker.heard_at = Some(now);
        worker.lease_from = now;
        worker.suspect = Suspect::No;
        let room = worker.room();
        worker.held.move_up(&room);
        let (incarnation, name) = (worker.row.incarnation, worker.row.name.clone());
        let paused = worker.paused();
        self.sessions.insert(session, id);
        self.note_offer(id);
        let cause = Cause::server(format!("session {session}, incarnation {incarnation}"));
        self.tell_worker(id, "connected", &cause);
        if let Some(why) = broken {
            self.tell_worker(id, "broken", &why);
        }
        let held: Vec<AttemptRef> =
            self.workers.get(&id).map(|worker| worker.held.attempts().collect()).unwrap_or_default();
        let verdicts = self.reconcile(id, &held, &attempts, moved);
        let left = if moved.is_new_process { self.what_was_left(id, &held) } else { Vec::new() };
        let welcome = ToWorker::Welcome {
            epoch: self.config.epoch,
            name,
            incarnation,
            generation: self.config.generation,
            heartbeat: self.config.timing.heartbeat,
            verdicts,
            left,
        };
        self.out.effects.push(Effect::Send { session, message: welcome });
        if paused == Paused::Yes {
            self.out.effects.push(Effect::Send { session, message: ToWorker::Pause { paused } });
        }
        self.carry_out_drain(id);
        self.retime_worker(id);
        self.refresh_free(id);
        self.note_ability(id);
    }

    /// What became of the attempts that the last process held.
    fn what_was_left(&self, id: WorkerId, held: &[AttemptRef]) -> Vec<Left> {
        let fate = |attempt: &AttemptRef| {
            let pending = self.workers.get(&id).and_then(|worker| worker.session.as_ref());
            if self.attempts.contains_key(attempt) {
                let is_pending = pending.is_some_and(|session| session.pending.contains(attempt));
                return if is_pending { Fate::Ended } else { Fate::Adopted };
            }
            match self.out.attempts.get(attempt).and_then(|row| row.end) {
                Some(AttemptEnd::Released) => Fate::GivenBack,
                Some(AttemptEnd::Failed | AttemptEnd::TimedOut | AttemptEnd::Cancelled) => Fate::Failed,
                Some(AttemptEnd::Succeeded) => Fate::Ended,
                Some(AttemptEnd::Lost | AttemptEnd::Superseded) | None => Fate::Lost,
            }
        };
        held.iter().take(LEFT_MAX).map(|attempt| Left { attempt: *attempt, fate: fate(attempt) }).collect()
    }

    /// Every attempt that either side knows of is settled.
    fn reconcile(
        &mut self,
        id: WorkerId,
        held: &[AttemptRef],
        named: &[(AttemptRef, KnownAs)],
        moved: Moved,
    ) -> Vec<(AttemptRef, Verdict)> {
        let by_attempt: BTreeMap<AttemptRef, KnownAs> = named.iter().copied().collect();
        for attempt in held {
            if !by_attempt.contains_key(attempt) {
                self.settle_unnamed(*attempt, moved);
            }
        }
        named.iter().map(|(attempt, known)| (*attempt, self.settle_named(id, *attempt, *known, moved))).collect()
    }

    fn settle_unnamed(&mut self, attempt: AttemptRef, moved: Moved) {
        let is_assigned = self.state_of(attempt).is_some_and(|state| matches!(state, State::Assigned { .. }));
        if is_assigned && moved.is_same_boot && moved.is_same_dir {
            probe::reached(Path::HelloWithUnjournaledAssignment);
            self.give_back(attempt, &Cause::server("the worker never journaled it"));
        } else {
            let why = if moved.is_same_boot { "its worker knows nothing of it" } else { "its machine was restarted" };
            self.lose_attempt(attempt, why);
        }
    }

    fn settle_named(&mut self, id: WorkerId, attempt: AttemptRef, known: KnownAs, moved: Moved) -> Verdict {
        let is_held = self.attempts.get(&attempt).is_some_and(|row| row.worker == Some(id));
        if !is_held {
            return self.settle_stranger(id, attempt, known, moved);
        }
        let (is_assigned, is_stopping) = self.state_of(attempt).map_or((false, false), |state| {
            let is_stopping = matches!(state, State::Stopping { intent: Intent::End(_), .. });
            (matches!(state, State::Assigned { .. }), is_stopping)
        });
        match known {
            KnownAs::Gone => {
                self.lose_attempt(attempt, "its worker found that its job is gone");
                self.note_gone(id, attempt.task.task);
                Verdict::Gone
            }
            KnownAs::GivenBack => {
                probe::reached(Path::HelloGivesBackWhatWasLeft);
                self.give_back(attempt, &Cause::server("its worker's next process gave it back"));
                Verdict::Gone
            }
            KnownAs::Failed => {
                let message = "its worker's next process could not go on with it".to_owned();
                let how = JobEnd::Error(JobError { exit_status: None, signal: None, message: message.clone() });
                self.shift(attempt.task, Event::Finished(how), &Cause::server(message)).ok();
                Verdict::Gone
            }
            KnownAs::Running if !moved.is_same_boot => {
                probe::reached(Path::HelloAfterAReboot);
                self.lose_attempt(attempt, "its machine was restarted");
                Verdict::Superseded
            }
            KnownAs::EndedPending if mutant::is(Mutant::HelloRequeuesWhatIsPending) => {
                self.give_back(attempt, &Cause::server("its worker does not run it"));
                Verdict::Gone
            }
            KnownAs::EndedPending => {
                probe::reached(Path::HelloWithAReportPending);
                self.expect_report(id, attempt);
                Verdict::Continue
            }
            KnownAs::Running | KnownAs::Assigned if is_stopping => {
                probe::reached(Path::HelloWhileStopping);
                Verdict::Stop
            }
            KnownAs::Running => {
                if is_assigned {
                    self.expect_report(id, attempt);
                }
                Verdict::Continue
            }
            KnownAs::Assigned => {
                probe::reached(Path::HelloWithUnbegunAssignment);
                Verdict::Continue
            }
        }
    }

    /// What a worker named that is not its own, or lives no more as far as the server knows.
    fn settle_stranger(&mut self, id: WorkerId, attempt: AttemptRef, known: KnownAs, moved: Moved) -> Verdict {
        if attempt.task.task >= self.counters.task || self.tasks_gone.contains_key(&attempt.task.task) {
            probe::reached(Path::HelloNamesWhatTheStoreLacks);
            return Verdict::Gone;
        }
        let newest =
            self.tasks.get(&attempt.task.task).and_then(|task| task.unit(attempt.task)).map(super::table::Hot::fence);
        match known {
            KnownAs::Gone | KnownAs::GivenBack | KnownAs::Failed => Verdict::Gone,
            KnownAs::EndedPending => {
                self.expect_report(id, attempt);
                Verdict::Continue
            }
            KnownAs::Running if moved.is_same_boot && self.revive(id, attempt) => Verdict::Continue,
            KnownAs::Assigned | KnownAs::Running if newest.is_some_and(|fence| fence > attempt.fence) => {
                probe::reached(Path::HelloNamesASupersededAttempt);
                Verdict::Superseded
            }
            KnownAs::Assigned | KnownAs::Running => Verdict::Stop,
        }
    }

    fn expect_report(&mut self, id: WorkerId, attempt: AttemptRef) {
        if let Some(session) = self.workers.get_mut(&id).and_then(|worker| worker.session.as_mut()) {
            session.pending.insert(attempt);
        }
    }

    /// The state of the attempt's unit, where the attempt is the newest.
    pub(super) fn state_of(&self, attempt: AttemptRef) -> Option<&State> {
        let hot = self.tasks.get(&attempt.task.task)?.unit(attempt.task)?;
        (hot.fence() == attempt.fence).then_some(&hot.state)
    }

    pub(super) fn give_back(&mut self, attempt: AttemptRef, cause: &Cause) {
        self.tell(attempt.task, attempt.fence.attempt, "given_back", cause);
        self.shift(attempt.task, Event::Released, cause).ok();
    }

    pub(super) fn lose_attempt(&mut self, attempt: AttemptRef, why: &str) {
        self.lose(attempt, &Cause::server(why));
    }

    /// The attempt is lost, for this reason.
    pub(super) fn lose(&mut self, attempt: AttemptRef, cause: &Cause) {
        self.tell(attempt.task, attempt.fence.attempt, "lost", cause);
        self.shift(attempt.task, Event::Lost(cause.reason.clone()), cause).ok();
    }

    /// A connection is gone. The attempts stay: the lease decides.
    pub(super) fn disconnected(&mut self, session: SessionId, why: &str) {
        let Some(id) = self.sessions.remove(&session) else { return };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.session = None;
        }
        self.tell_worker(id, "disconnected", &Cause::server(why));
        self.retime_worker(id);
        self.refresh_free(id);
        self.note_ability(id);
    }

    /// The worker's place among those with room.
    pub(super) fn refresh_free(&mut self, id: WorkerId) {
        self.replace_free(id);
        if self.workers.get(&id).is_some_and(|worker| worker.free.is_some()) {
            self.freed.insert(id);
        }
    }

    fn replace_free(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let key = worker.free_key();
        if worker.free == key {
            return;
        }
        if let Some(old) = worker.free.take() {
            self.free.remove(&(old, id));
        }
        worker.free = key;
        if let Some(key) = key {
            self.free.insert((key, id));
        }
    }

    pub(super) fn load_worker(&mut self, id: WorkerId, attempt: AttemptRef, claim: Claim) {
        self.begin_share(attempt, &claim, id);
        if let Some(worker) = self.workers.get_mut(&id) {
            let room = worker.room();
            worker.held.add(attempt, claim, &room);
            if let Some(kept) = &mut worker.kept {
                kept.beside.insert(attempt);
            }
            self.retime_worker(id);
            self.replace_free(id);
        }
    }

    pub(super) fn unload_worker(&mut self, id: WorkerId, attempt: &AttemptRef) {
        self.shares.end(attempt, self.now);
        if let Some(worker) = self.workers.get_mut(&id) {
            let room = worker.room();
            worker.held.remove(attempt, &room);
            if let Some(kept) = &mut worker.kept {
                kept.beside.remove(attempt);
            }
            if let Some(session) = &mut worker.session {
                session.pending.remove(attempt);
            }
            self.refresh_free(id);
        }
    }
}
