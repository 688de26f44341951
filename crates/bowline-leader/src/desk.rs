//! Who waits for something from the writer: requests for their answers, sessions for their messages.
//!
//! Lives as long as one leadership. When that ends everybody is told, by the end of their channels,
//! that nothing more will come.

use std::collections::HashMap;

use bowline_core::answer::Reply;
use bowline_core::id::{Epoch, ReplyTo, SessionId};
use bowline_core::message::ToWorker;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::config::REQUESTS_MAX;
use crate::handle::SessionOutbox;

/// Low bits of a session's number: its place within the epoch.
const SESSION_BITS: u32 = 32;

/// Who waits for something from the writer.
#[derive(Debug)]
pub(crate) struct Desk {
    waiting: HashMap<ReplyTo, oneshot::Sender<Reply>>,
    next_reply: u64,
    sessions: HashMap<SessionId, SessionOutbox>,
    next_session: u64,
}

/// What became of a message to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It is in its queue, or there is no such session any more.
    Done,
    /// The queue was full: the session is closed.
    Overrun,
    /// Nobody takes messages out of it: the session is closed.
    Away,
}

impl Desk {
    pub(crate) fn new(epoch: Epoch) -> Self {
        let next_session = (epoch.0 << SESSION_BITS) + 1;
        Self { waiting: HashMap::new(), next_reply: 1, sessions: HashMap::new(), next_session }
    }

    /// A place for an answer, unless too many wait already.
    pub(crate) fn wait(&mut self, reply: oneshot::Sender<Reply>) -> Result<ReplyTo, oneshot::Sender<Reply>> {
        if self.waiting.len() >= REQUESTS_MAX {
            return Err(reply);
        }
        let to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        self.waiting.insert(to, reply);
        Ok(to)
    }

    /// Gives an answer. Whoever asked may have left.
    pub(crate) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&to) {
            drop(waiting.send(reply));
        }
    }

    /// Opens a session.
    pub(crate) fn open(&mut self, outbox: SessionOutbox) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session, outbox);
        session
    }

    /// Whether the session is open.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Puts a message into a session's queue.
    pub(crate) fn post(&mut self, session: SessionId, message: ToWorker) -> Posted {
        let Some(outbox) = self.sessions.get(&session) else { return Posted::Done };
        match outbox.try_send(Some(message)) {
            Ok(()) => Posted::Done,
            Err(TrySendError::Full(_)) => {
                self.sessions.remove(&session);
                Posted::Overrun
            }
            Err(TrySendError::Closed(_)) => {
                self.sessions.remove(&session);
                Posted::Away
            }
        }
    }

    /// Closes a session in order.
    pub(crate) fn close(&mut self, session: SessionId) {
        if let Some(outbox) = self.sessions.remove(&session) {
            // Where the queue is full, its end says the same.
            drop(outbox.try_send(None));
        }
    }

    /// Forgets a session whose connection is gone. Whether it was open.
    pub(crate) fn forget(&mut self, session: SessionId) -> bool {
        self.sessions.remove(&session).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_closes_its_session_and_no_other() {
        let mut desk = Desk::new(Epoch(3));
        let (slow, mut slow_end) = tokio::sync::mpsc::channel(1);
        let (quick, mut quick_end) = tokio::sync::mpsc::channel(8);
        let (slow, quick) = (desk.open(slow), desk.open(quick));
        assert_eq!(slow.0 >> SESSION_BITS, 3);
        assert_ne!(slow, quick);
        assert_eq!(desk.post(slow, ToWorker::HeartbeatAck), Posted::Done);
        assert_eq!(desk.post(slow, ToWorker::HeartbeatAck), Posted::Overrun);
        assert_eq!(desk.post(quick, ToWorker::HeartbeatAck), Posted::Done);
        assert!(!desk.has(slow) && desk.has(quick));
        assert_eq!(slow_end.blocking_recv(), Some(Some(ToWorker::HeartbeatAck)));
        assert_eq!(slow_end.blocking_recv(), None);
        desk.close(quick);
        assert_eq!(quick_end.blocking_recv(), Some(Some(ToWorker::HeartbeatAck)));
        assert_eq!(quick_end.blocking_recv(), Some(None));
    }
}
