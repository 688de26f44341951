//! Sessions: Hello and what it settles, the end of a connection, and the room that follows.
//!
//! Only the newest session of the newest incarnation speaks. Taking an identity is a commit.

use std::collections::BTreeMap;

use crate::effect::Effect;
use crate::id::{AttemptRef, SessionId, WorkerId};
use crate::machine::{Event, State};
use crate::message::{Hello, KnownAs, Paused, ToWorker, Verdict};
use crate::worker::Health;

use super::Engine;
use super::out::Cause;
use super::worker::{Claim, Session, Suspect};

/// What Hello makes of the identity.
enum Seating {
    /// Another session of the same process.
    Same,
    /// A new process takes the identity.
    New,
    /// Not now.
    Later(&'static str),
    /// Never.
    Fenced(&'static str),
}

/// How the new seat lies to the old one.
#[derive(Clone, Copy)]
struct Moved {
    is_same_boot: bool,
    is_same_dir: bool,
}

impl Engine {
    /// A worker says Hello.
    pub(super) fn connected(&mut self, session: SessionId, hello: Hello) {
        let known = self.worker_names.get(&hello.name).copied();
        let Some(id) = known else {
            return self.turn_away(
                session,
                ToWorker::Fenced {
                    why: format!(
                        "no worker named {} is enrolled here: enrol it with `worker start` and a token",
                        hello.name
                    ),
                },
            );
        };
        match self.seating(id, &hello) {
            Seating::Fenced(why) => self.turn_away(session, ToWorker::Fenced { why: why.to_owned() }),
            Seating::Later(why) => {
                self.turn_away(session, ToWorker::TryLater { why: why.to_owned(), left: Vec::new() })
            }
            seating @ (Seating::Same | Seating::New) => {
                let moved = self.take_seat(id, &hello, &seating);
                self.replace_session(id, &seating);
                self.open_session(id, session, hello, moved);
            }
        }
    }

    fn turn_away(&mut self, session: SessionId, message: ToWorker) {
        self.out.effects.push(Effect::Send { session, message });
        self.out.effects.push(Effect::Close { session });
    }

    fn seating(&self, id: WorkerId, hello: &Hello) -> Seating {
        let Some(worker) = self.workers.get(&id) else { return Seating::Fenced("it was forgotten") };
        let Some(seat) = &worker.row.seat else { return Seating::New };
        if seat.process == hello.seat.process {
            return Seating::Same;
        }
        if hello.incarnation.0 != 0 {
            return Seating::Fenced("a newer process acts under this identity");
        }
        if seat.state_dir != hello.seat.state_dir && worker.held.len() > 0 {
            return Seating::Later(
                "attempts of this identity live on in another state directory: they must end or be lost first",
            );
        }
        Seating::New
    }

    fn take_seat(&mut self, id: WorkerId, hello: &Hello, seating: &Seating) -> Moved {
        let Some(worker) = self.workers.get_mut(&id) else { return Moved { is_same_boot: true, is_same_dir: true } };
        let old = worker.row.seat.as_ref();
        let moved = Moved {
            is_same_boot: old.is_none_or(|seat| seat.boot_id == hello.seat.boot_id),
            is_same_dir: old.is_none_or(|seat| seat.state_dir == hello.seat.state_dir),
        };
        let is_new = matches!(seating, Seating::New);
        let row = &mut worker.row;
        let changes = is_new || row.seat.as_ref() != Some(&hello.seat) || row.offer.as_ref() != Some(&hello.offer);
        if is_new {
            row.incarnation = row.incarnation.next();
        }
        row.seat = Some(hello.seat.clone());
        row.offer = Some(hello.offer.clone());
        if changes {
            self.touch_worker(id);
        }
        moved
    }

    /// The session before this one is over.
    fn replace_session(&mut self, id: WorkerId, seating: &Seating) {
        let old = self.workers.get_mut(&id).and_then(|worker| worker.session.take());
        let Some(old) = old else { return };
        self.sessions.remove(&old.id);
        if matches!(seating, Seating::New) {
            let why = "a newer process acts under this identity".to_owned();
            self.out.effects.push(Effect::Send { session: old.id, message: ToWorker::Fenced { why } });
        }
        self.out.effects.push(Effect::Close { session: old.id });
    }

    fn open_session(&mut self, id: WorkerId, session: SessionId, hello: Hello, moved: Moved) {
        let now = self.now;
        let Hello { offer, version, prefetch, attempts, name: hello_name, .. } = hello;
        drop(offer);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.session = Some(Session {
            id: session,
            prefetch,
            demand: None,
            health: Health::Ok,
            version,
            pending: std::collections::BTreeSet::new(),
        });
        worker.heard_at = Some(now);
        worker.lease_from = now;
        worker.suspect = Suspect::No;
        let room = worker.room();
        worker.held.move_up(&room);
        let incarnation = worker.row.incarnation;
        let paused = worker.paused();
        self.sessions.insert(session, id);
        let cause = Cause::server(format!("session {session}, incarnation {incarnation}"));
        self.tell_worker(id, "connected", &cause);
        let verdicts = self.reconcile(id, &attempts, moved);
        let welcome = ToWorker::Welcome {
            epoch: self.config.epoch,
            name: hello_name,
            incarnation,
            generation: self.config.generation,
            heartbeat: self.config.heartbeat,
            verdicts,
            left: Vec::new(),
        };
        self.out.effects.push(Effect::Send { session, message: welcome });
        if paused == Paused::Yes {
            self.out.effects.push(Effect::Send { session, message: ToWorker::Pause { paused } });
        }
        self.retime_worker(id);
        self.refresh_free(id);
    }

    /// Every attempt that either side knows of is settled.
    fn reconcile(&mut self, id: WorkerId, named: &[(AttemptRef, KnownAs)], moved: Moved) -> Vec<(AttemptRef, Verdict)> {
        let by_attempt: BTreeMap<AttemptRef, KnownAs> = named.iter().copied().collect();
        let held: Vec<AttemptRef> =
            self.workers.get(&id).map(|worker| worker.held.attempts().collect()).unwrap_or_default();
        for attempt in held {
            if !by_attempt.contains_key(&attempt) {
                self.settle_unnamed(attempt, moved);
            }
        }
        named.iter().map(|(attempt, known)| (*attempt, self.settle_named(id, *attempt, *known, moved))).collect()
    }

    fn settle_unnamed(&mut self, attempt: AttemptRef, moved: Moved) {
        let is_assigned = self.state_of(attempt).is_some_and(|state| matches!(state, State::Assigned { .. }));
        if is_assigned && moved.is_same_boot && moved.is_same_dir {
            self.give_back(attempt, &Cause::server("the worker never journaled it"));
        } else {
            let why = if moved.is_same_boot { "its worker knows nothing of it" } else { "its machine was restarted" };
            self.lose_attempt(attempt, why);
        }
    }

    fn settle_named(&mut self, id: WorkerId, attempt: AttemptRef, known: KnownAs, moved: Moved) -> Verdict {
        let is_held = self.attempts.get(&attempt).is_some_and(|row| row.worker == Some(id));
        if !is_held {
            return self.verdict_on_stranger(attempt, known);
        }
        let (is_assigned, is_stopping) = self.state_of(attempt).map_or((false, false), |state| {
            (matches!(state, State::Assigned { .. }), matches!(state, State::Stopping { .. }))
        });
        match known {
            KnownAs::Gone | KnownAs::GivenBack | KnownAs::Failed => {
                self.lose_attempt(attempt, "its worker found that its job is gone");
                Verdict::Gone
            }
            KnownAs::Running if !moved.is_same_boot => {
                self.lose_attempt(attempt, "its machine was restarted");
                Verdict::Superseded
            }
            KnownAs::EndedPending => {
                self.expect_report(id, attempt);
                Verdict::Continue
            }
            KnownAs::Running | KnownAs::Assigned if is_stopping => Verdict::Stop,
            KnownAs::Running => {
                if is_assigned {
                    self.expect_report(id, attempt);
                }
                Verdict::Continue
            }
            KnownAs::Assigned => Verdict::Continue,
        }
    }

    /// What a worker named that is not its own, or lives no more.
    fn verdict_on_stranger(&self, attempt: AttemptRef, known: KnownAs) -> Verdict {
        if attempt.task.task >= self.counters.task || self.tasks_gone.contains_key(&attempt.task.task) {
            return Verdict::Gone;
        }
        let newest =
            self.tasks.get(&attempt.task.task).and_then(|task| task.unit(attempt.task)).map(super::table::Hot::fence);
        match known {
            KnownAs::Gone | KnownAs::GivenBack | KnownAs::Failed => Verdict::Gone,
            KnownAs::EndedPending => Verdict::Continue,
            KnownAs::Assigned | KnownAs::Running if newest.is_some_and(|fence| fence > attempt.fence) => {
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
        self.tell(attempt.task, attempt.fence.attempt, "lost", &Cause::server(why));
        self.shift(attempt.task, Event::Lost(why.to_owned()), &Cause::server(why)).ok();
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
        if let Some(worker) = self.workers.get_mut(&id) {
            let room = worker.room();
            worker.held.add(attempt, claim, &room);
            self.retime_worker(id);
            self.replace_free(id);
        }
    }

    pub(super) fn unload_worker(&mut self, id: WorkerId, attempt: &AttemptRef) {
        if let Some(worker) = self.workers.get_mut(&id) {
            let room = worker.room();
            worker.held.remove(attempt, &room);
            if let Some(session) = &mut worker.session {
                session.pending.remove(attempt);
            }
            self.refresh_free(id);
        }
    }
}
