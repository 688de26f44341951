//! Who waits for something from the writer: requests for their answers, sessions for their messages. Only
//! their channels; which of them there are, and how many may be, is the leadership's own business.
//!
//! Lives as long as one leadership. When that ends everybody is told, by the end of their channels,
//! that nothing more will come.

use std::collections::HashMap;

use bowline_core::answer::Reply;
use bowline_core::id::{ReplyTo, SessionId};
use bowline_core::message::ToWorker;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use crate::handle::SessionOutbox;
use crate::term::Posted;

/// Who waits for something from the writer.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    waiting: HashMap<ReplyTo, oneshot::Sender<Reply>>,
    sessions: HashMap<SessionId, SessionOutbox>,
}

impl Desk {
    /// Somebody waits for this answer.
    pub(crate) fn wait(&mut self, to: ReplyTo, reply: oneshot::Sender<Reply>) {
        self.waiting.insert(to, reply);
    }

    /// Gives an answer. Whoever asked may have left.
    pub(crate) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        if let Some(waiting) = self.waiting.remove(&to) {
            drop(waiting.send(reply));
        }
    }

    /// Messages of this session go there.
    pub(crate) fn open(&mut self, session: SessionId, outbox: SessionOutbox) {
        self.sessions.insert(session, outbox);
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

    /// Forgets a session whose connection is gone.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_closes_its_session_and_no_other() {
        let mut desk = Desk::default();
        let (outbox, mut slow_end) = tokio::sync::mpsc::channel(1);
        let (slow, quick) = (SessionId(1), SessionId(2));
        desk.open(slow, outbox);
        let (outbox, mut quick_end) = tokio::sync::mpsc::channel(8);
        desk.open(quick, outbox);
        assert_eq!(desk.post(slow, ToWorker::HeartbeatAck), Posted::Done);
        assert_eq!(desk.post(slow, ToWorker::HeartbeatAck), Posted::Overrun);
        assert_eq!(desk.post(quick, ToWorker::HeartbeatAck), Posted::Done);
        assert_eq!(desk.post(slow, ToWorker::HeartbeatAck), Posted::Done, "there is no such session any more");
        assert_eq!(slow_end.blocking_recv(), Some(Some(ToWorker::HeartbeatAck)));
        assert_eq!(slow_end.blocking_recv(), None);
        desk.close(quick);
        assert_eq!(quick_end.blocking_recv(), Some(Some(ToWorker::HeartbeatAck)));
        assert_eq!(quick_end.blocking_recv(), Some(None));
    }
}
