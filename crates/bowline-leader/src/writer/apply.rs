//! What comes in, turned into inputs.

use bowline_core::Input;
use bowline_core::answer::{Refusal, RefusalCode};
use bowline_core::id::{CommitNo, Generation, SessionId};
use bowline_core::message::{Hello, ToWorker};
use bowline_core::time::Timestamp;
use tokio::sync::mpsc;

use super::Writer;
use crate::clock;
use crate::command::{Command, not_rolled_back};
use crate::config::BATCH_INPUTS_MAX;
use crate::handle::Opened;

impl Writer<'_> {
    /// Looks at the clock. After a gap longer than a heartbeat this process stood still (it was stopped, or
    /// starved): nobody was heard meanwhile, and that is held against nobody.
    pub(super) fn look_at_clock(&mut self) {
        let now = clock::monotonic();
        let gap = now.duration_since(self.looked_at);
        self.looked_at = now;
        if gap > self.heartbeat {
            let length_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(length_ms, "the writer stood still: every lease is longer by that");
            self.apply(self.clock.now(), Input::StoodStill { length: gap });
        }
    }

    pub(super) fn apply_command(&mut self, now: Timestamp, command: Command) {
        match command {
            Command::Request { actor, request, reply } => match self.desk.wait(reply) {
                Ok(reply) => self.apply(now, Input::Request { reply, actor, request }),
                Err(reply) => {
                    let busy = "too many requests wait for this server already: try again in a few seconds";
                    drop(reply.send(Err(Refusal::new(RefusalCode::Busy, busy))));
                }
            },
            Command::Connect { hello, key, outbox, opened } => {
                let session = self.desk.open(outbox);
                if let Some(seen) = hello.seen.filter(|seen| *seen > self.position()) {
                    self.turn_away(session, &hello, seen);
                } else {
                    self.apply(now, Input::Connected { session, hello, key });
                }
                // The number alone lets nobody in: nothing is said to the session before it may be.
                if opened.send(Opened { session, worker: self.engine.worker_of(session) }).is_err() {
                    self.desk.forget(session);
                    self.lose_session(session);
                }
            }
            Command::FromWorker { session, message } => {
                if self.desk.has(session) {
                    self.apply(now, Input::FromWorker { session, message });
                }
            }
            Command::AcceptRollback { reply } => drop(reply.send(Err(not_rolled_back()))),
            Command::Disconnect { session } => {
                if self.desk.forget(session) {
                    self.apply(now, Input::Disconnected { session });
                }
            }
        }
    }

    /// Time has passed. The inbox is read before timers fire: who has spoken in time is heard.
    pub(super) fn tick(&mut self, inbox: &mut mpsc::Receiver<Command>) {
        while self.filling < BATCH_INPUTS_MAX {
            let Ok(command) = inbox.try_recv() else { break };
            self.apply_command(self.clock.now(), command);
        }
        if self.is_due() {
            self.apply(self.clock.now(), Input::Tick);
        }
    }

    /// Whether some timer is to fire.
    pub(super) fn is_due(&self) -> bool {
        self.engine.next_deadline().is_some_and(|deadline| deadline <= self.clock.now())
    }

    pub(super) fn apply_lost_sessions(&mut self) {
        while let Some(session) = self.lost_sessions.pop_front() {
            self.apply(self.clock.now(), Input::Disconnected { session });
        }
    }

    pub(super) fn lose_session(&mut self, session: SessionId) {
        self.lost_sessions.push_back(session);
    }

    fn position(&self) -> (Generation, CommitNo) {
        (self.leadership.generation, self.leadership.commit_no)
    }

    /// The worker has seen what this store does not hold: the store was put back to an earlier state, or
    /// is another one. What anybody is told here may contradict what was told before: the leadership ends.
    fn turn_away(&mut self, session: SessionId, hello: &Hello, seen: (Generation, CommitNo)) {
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
        self.desk.post(session, ToWorker::TryLater { why, left: Vec::new() });
        self.desk.close(session);
        self.rolled_back = self.rolled_back.max(Some(seen));
    }
}
