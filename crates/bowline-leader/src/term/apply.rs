//! What comes in, turned into inputs.

use bowline_core::Input;
use bowline_core::answer::{Refusal, RefusalCode};
use bowline_core::id::{CommitNo, Generation, ParkId, ReplyTo, SessionId};
use bowline_core::input::{Evaluation, Fact, Request};
use bowline_core::message::{FromWorker, Hello, ToWorker};
use bowline_core::mutant::{self, Mutant};
use bowline_core::name::Actor;
use bowline_core::probe::{self, Path};
use bowline_core::time::Timestamp;

use super::{Asked, Due, Output, Posted, Term};
use crate::config::REQUESTS_MAX;
use crate::handle::Opened;
use crate::stats;

impl Term {
    /// Looks at the clock. After a gap longer than a heartbeat whoever drives this stood still (it was
    /// stopped, or starved): nobody was heard meanwhile, and that is held against nobody.
    pub fn look(&mut self, now: Timestamp) {
        let gap = now.since(self.looked_at);
        self.looked_at = self.looked_at.max(now);
        if gap > self.heartbeat() && !mutant::is(Mutant::StandstillNotCounted) {
            let length_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(length_ms, "the writer stood still: every lease is longer by that");
            if self.is_due(now) {
                probe::reached(Path::StandstillWithTimersDue);
            }
            self.apply(now, Input::StoodStill { length: gap });
        }
    }

    /// Somebody asks for something. The answer comes as [`Output::Reply`] with this number; refused where
    /// too many wait already.
    pub fn request(&mut self, now: Timestamp, actor: Actor, request: Request) -> Result<ReplyTo, Refusal> {
        self.look(now);
        if self.waiting >= REQUESTS_MAX {
            let busy = "too many requests wait for this server already: try again in a few seconds";
            return Err(Refusal::new(RefusalCode::Busy, busy));
        }
        let reply = ReplyTo(self.next_reply);
        self.next_reply += 1;
        self.waiting += 1;
        self.asked = Asked::Yes;
        self.apply(now, Input::Request { reply, actor, request });
        Ok(reply)
    }

    /// A worker has connected. Messages to it come as [`Output::Send`] with this session's number. The
    /// number alone lets nobody in: nothing is said to the session before it may be.
    pub fn connect(&mut self, now: Timestamp, hello: Box<Hello>, key: [u8; 32]) -> Opened {
        self.look(now);
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session);
        let newer = hello.seen.filter(|seen| *seen > self.position() && !mutant::is(Mutant::RollbackNotDetected));
        if let Some(seen) = newer {
            self.turn_away(session, &hello, seen);
        } else {
            self.apply(now, Input::Connected { session, hello, key });
        }
        Opened { session, worker: self.engine.worker_of(session) }
    }

    /// A worker says something. Of a session that is over nothing is heard.
    pub fn from_worker(&mut self, now: Timestamp, session: SessionId, message: FromWorker) {
        self.look(now);
        if self.sessions.contains(&session) {
            self.apply(now, Input::FromWorker { session, message });
        }
    }

    /// A session's connection is gone.
    pub fn disconnect(&mut self, now: Timestamp, session: SessionId) {
        self.look(now);
        if self.sessions.remove(&session) {
            self.apply(now, Input::Disconnected { session });
        }
    }

    /// A message did not fit into a session's queue, and the session was closed for it.
    pub fn unposted(&mut self, session: SessionId, posted: Posted) {
        match posted {
            Posted::Done => return,
            Posted::Overrun => {
                tracing::warn!(%session, "session closed: its queue is full");
                probe::reached(Path::SessionOverrun);
                stats::add(&self.counters.sessions_overrun, 1);
            }
            Posted::Away => {}
        }
        self.lose_session(session);
    }

    /// A session was closed by whoever drives this: the engine is told at the next turn.
    pub fn lose_session(&mut self, session: SessionId) {
        if self.sessions.remove(&session) {
            self.lost_sessions.push_back(session);
        }
    }

    /// Time has passed. Whatever came in before this moment must have been passed on before: who has spoken
    /// in time is heard before anything is held against him.
    pub fn tick(&mut self, now: Timestamp) {
        self.look(now);
        if self.is_due(now) {
            self.apply(now, Input::Tick);
        }
    }

    /// The rows that a parked input waits for. Whoever asked what was parked waits no longer than others who ask.
    pub fn facts(&mut self, now: Timestamp, park: ParkId, facts: Vec<Fact>) {
        self.look(now);
        if self.waiting > 0 {
            self.asked = Asked::Yes;
        }
        self.apply(now, Input::Facts { park, facts });
    }

    /// What was due.
    pub fn evaluated(&mut self, now: Timestamp, due: Due, outcome: Evaluation) {
        self.look(now);
        let Due { run, what, version } = due;
        stats::add(&self.counters.evaluations, 1);
        self.apply(now, Input::Evaluated { run, what, version, outcome });
    }

    pub(super) fn apply_lost_sessions(&mut self, now: Timestamp) {
        while let Some(session) = self.lost_sessions.pop_front() {
            self.apply(now, Input::Disconnected { session });
        }
    }

    fn position(&self) -> (Generation, CommitNo) {
        (self.leadership.generation, self.leadership.commit_no)
    }

    /// The worker has seen what this store does not hold: the store was put back to an earlier state, or
    /// is another one. What anybody is told here may contradict what was told before: the leadership ends.
    fn turn_away(&mut self, session: SessionId, hello: &Hello, seen: (Generation, CommitNo)) {
        probe::reached(Path::RollbackSeenAtHello);
        let (generation, commit_no) = self.position();
        let (seen_generation, seen_commit) = seen;
        tracing::error!(
            worker = %hello.name,
            %generation, %commit_no, %seen_generation, %seen_commit,
            "a worker has seen a newer state than the store holds: the store was put back to an earlier state. \
             This server leads no more. Put the newest copy of the store back, or accept the earlier one by \
             `bowline server accept-rollback`"
        );
        let why = format!(
            "the server's store is at commit {commit_no} of generation {generation}, and this worker has seen commit \
             {seen_commit} of generation {seen_generation}: the store was put back to an earlier state"
        );
        // Its queue is new; and nobody else waits for this message.
        let message = ToWorker::TryLater { why, left: Vec::new() };
        self.outputs.push(Output::Send { session, message });
        self.sessions.remove(&session);
        self.outputs.push(Output::Close { session });
        self.rolled_back = self.rolled_back.max(Some(seen));
    }
}
