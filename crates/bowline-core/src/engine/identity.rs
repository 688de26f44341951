//! Who may act under which identity: the newer incarnation wins, another state directory waits until
//! what the last holder left has ended, is lost or goes on, and a pool gives out whichever is free.
//!
//! Taking an identity is a commit; its answer lists what the last holder left.

use std::time::Duration;

use crate::effect::Effect;
use crate::id::{AttemptRef, SessionId, WorkerId};
use crate::message::{Fate, Hello, KnownAs, LEFT_MAX, Left, ToWorker};
use crate::mutant::{self, Mutant};
use crate::name::{PoolName, WorkerName};
use crate::probe::{self, Path};
use crate::worker::Seat;

use super::Engine;
use super::worker::{Claimed, Leaving, Worker};

/// What Hello makes of the identity.
enum Seating {
    /// Another session of the same process.
    Same,
    /// A new process takes the identity.
    New,
    /// Not now: these are in the way.
    Later(Vec<Left>),
    /// A later Hello from the same state directory came first.
    Overtaken,
    /// Never.
    Fenced(&'static str),
}

/// How the new seat lies to the old one.
#[derive(Clone, Copy)]
pub(super) struct Moved {
    pub is_same_boot: bool,
    pub is_same_dir: bool,
    pub is_new_process: bool,
}

impl Engine {
    /// A worker says Hello.
    pub(super) fn connected(&mut self, session: SessionId, hello: Hello, key: [u8; 32]) {
        let chosen = match &hello.pool {
            Some(pool) => Some(self.choose(&pool.clone(), &hello)),
            None => self.worker_names.get(&hello.name).copied(),
        };
        let Some(id) = chosen else {
            let why =
                format!("no worker named {} is enrolled here: enrol it with `worker start` and a token", hello.name);
            return self.turn_away(session, ToWorker::Fenced { why });
        };
        match self.seating(id, &hello) {
            Seating::Fenced(why) => self.turn_away(session, ToWorker::Fenced { why: why.to_owned() }),
            Seating::Later(left) => self.turn_away(session, later(left)),
            Seating::Overtaken => self.turn_away(session, overtaken()),
            seating @ (Seating::Same | Seating::New) => {
                let moved = self.take_seat(id, &hello, key, &seating);
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
        // It lay in a connection that stood still, and whoever said it is gone: it must not take the seat of whoever is there,
        // nor settle what that one was given since.
        if hello.seat.is_overtaken_by(seat) {
            probe::reached(Path::HelloOvertaken);
            return Seating::Overtaken;
        }
        if seat.process == hello.seat.process {
            return Seating::Same;
        }
        // Of two of one directory the later one is newer, whatever their numbers: after one of them was given its own, the
        // store may have been put back from there, or to there.
        if seat.is_overtaken_by(&hello.seat) {
            return Seating::New;
        }
        // One that is newer than the store knows is of a state that the store was put back from.
        if hello.incarnation.0 != 0 && hello.incarnation <= worker.row.incarnation {
            probe::reached(Path::OlderProcessFenced);
            return Seating::Fenced("a newer process acts under this identity");
        }
        if seat.state_dir == hello.seat.state_dir {
            return Seating::New;
        }
        let left = self.in_the_way(id, seat, hello);
        if left.is_empty() || mutant::is(Mutant::SeatTakenOverTheLiving) {
            return Seating::New;
        }
        probe::reached(Path::NewcomerMustWait);
        Seating::Later(left)
    }

    /// What keeps a newcomer from another state directory out: attempts of which it says nothing, or
    /// which it cannot have.
    fn in_the_way(&self, id: WorkerId, seat: &Seat, hello: &Hello) -> Vec<Left> {
        let Some(worker) = self.workers.get(&id) else { return Vec::new() };
        let is_same_boot = seat.boot_id == hello.seat.boot_id;
        let is_settled = |attempt: &AttemptRef| {
            let known = hello.attempts.iter().find(|(of, _)| of == attempt).map(|(_, known)| *known);
            match known {
                Some(KnownAs::Running) => is_same_boot,
                Some(KnownAs::EndedPending | KnownAs::Gone | KnownAs::GivenBack | KnownAs::Failed) => true,
                // What was assigned was journaled in the other directory.
                Some(KnownAs::Assigned) | None => false,
            }
        };
        let waits = worker.held.attempts().filter(|attempt| !is_settled(attempt));
        let left = waits.map(|attempt| Left { attempt, fate: Fate::InTheWay { lost_in: self.lost_in(id, attempt) } });
        left.take(LEFT_MAX).collect()
    }

    /// How long until the attempt is lost, were its worker silent from now on.
    fn lost_in(&self, id: WorkerId, attempt: AttemptRef) -> Option<Duration> {
        self.lost_at(id, attempt).map(|at| at.since(self.now))
    }

    fn take_seat(&mut self, id: WorkerId, hello: &Hello, key: [u8; 32], seating: &Seating) -> Moved {
        let is_new = matches!(seating, Seating::New);
        let Some(worker) = self.workers.get_mut(&id) else {
            return Moved { is_same_boot: true, is_same_dir: true, is_new_process: is_new };
        };
        let old = worker.row.seat.as_ref();
        let moved = Moved {
            is_same_boot: old.is_none_or(|seat| seat.boot_id == hello.seat.boot_id),
            is_same_dir: old.is_none_or(|seat| seat.state_dir == hello.seat.state_dir),
            is_new_process: is_new,
        };
        let row = &mut worker.row;
        let is_same = row.seat.as_ref().is_some_and(|seat| seat.is_same(&hello.seat));
        let offer = hello.offer.clone().named(&row.name);
        let changes = is_new || !is_same || row.offer.as_ref() != Some(&offer);
        if is_new {
            if row.drain.as_ref().is_some_and(|mark| mark.mode == crate::message::DrainMode::Handoff) {
                probe::reached(Path::SecondIncarnationDuringHandoff);
            }
            if worker.held.len() > 0 {
                probe::reached(Path::SecondIncarnationTakesAttemptsOver);
            }
            row.incarnation = row.incarnation.max(hello.incarnation).next();
            if row.pool.is_some() {
                row.key = key;
            }
            // A new process was handed over to, and may be free of what ailed the last one.
            row.drain = row.drain.take().filter(|mark| mark.mode != crate::message::DrainMode::Handoff);
            row.aside = None;
            worker.trial = super::aside::Trial::default();
        }
        let row = &mut worker.row;
        row.seat = Some(hello.seat.clone());
        row.offer = Some(offer);
        worker.leaving = Leaving::No;
        if changes {
            self.touch_worker(id);
        }
        moved
    }

    /// The session before this one is over.
    fn replace_session(&mut self, id: WorkerId, seating: &Seating) {
        let old = self.workers.get_mut(&id).and_then(|worker| worker.session.take());
        let Some(old) = old else { return };
        if mutant::is(Mutant::OldSessionHeard) {
            return;
        }
        self.sessions.remove(&old.id);
        if matches!(seating, Seating::New) {
            let why = "a newer process acts under this identity".to_owned();
            self.out.effects.push(Effect::Send { session: old.id, message: ToWorker::Fenced { why } });
        }
        self.out.effects.push(Effect::Close { session: old.id });
    }

    /// The identity of a pool that this Hello is to have: the one that its process or its state directory
    /// had last; a free one; that of the holder gone longest; or a new one.
    fn choose(&mut self, pool: &PoolName, hello: &Hello) -> WorkerId {
        let of_pool = || self.workers.values().filter(|worker| worker.row.pool.as_ref() == Some(pool));
        let seated = |is_his: fn(&Seat, &Seat) -> bool| {
            of_pool().find(|worker| worker.row.seat.as_ref().is_some_and(|seat| is_his(seat, &hello.seat)))
        };
        let his = seated(|seat, own| seat.process == own.process)
            .or_else(|| seated(|seat, own| seat.state_dir == own.state_dir));
        // A process that was somebody before is told so, and becomes nobody else.
        let was = (hello.incarnation.0 != 0).then(|| of_pool().find(|worker| worker.row.name == hello.name)).flatten();
        let free = || of_pool().filter(|worker| worker.is_free()).min_by_key(|worker| worker.row.id);
        let gone = || {
            let gone_after = self.config.timing.pool_gone_after;
            let is_gone = |worker: &&Worker| worker.is_vacant() && worker.lease_from.plus(gone_after) <= self.now;
            of_pool().filter(is_gone).min_by_key(|worker| (worker.lease_from, worker.row.id))
        };
        let found = his.or(was).or_else(free).or_else(gone).map(|worker| worker.row.id);
        if found.is_none() {
            probe::reached(Path::PoolGrows);
        }
        found.unwrap_or_else(|| self.new_of_pool(pool))
    }

    /// `lab-1`, `lab-2`, …: the first that nobody has.
    fn new_of_pool(&mut self, pool: &PoolName) -> WorkerId {
        let names = (1_u32..).filter_map(|number| WorkerName::new(format!("{pool}-{number}")).ok());
        let name = names.into_iter().find(|name| !self.worker_names.contains_key(name));
        let name = name.expect("a pool's name leaves room for a number, and there are more numbers than workers");
        self.make_worker(&crate::name::Actor::server(), &name, Claimed { key: [0; 32], pool: Some(pool.clone()) })
    }
}

fn overtaken() -> ToWorker {
    let why = "a later Hello from the same state directory was heard before this one".to_owned();
    ToWorker::TryLater { why, left: Vec::new() }
}

fn later(left: Vec<Left>) -> ToWorker {
    let named: Vec<String> = left.iter().take(3).map(|left| left.attempt.to_string()).collect();
    let more = left.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let why = format!(
        "attempts of this identity may live on in another state directory: {}{more}. They must end, be lost, or be \
         adopted first; `bowline worker forget` says that none of them lives",
        named.join(", ")
    );
    ToWorker::TryLater { why, left }
}
