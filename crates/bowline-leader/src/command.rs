//! What handles say to the writer.

use bowline_core::answer::{Refusal, RefusalCode, Reply};
use bowline_core::id::{Generation, SessionId};
use bowline_core::input::Request;
use bowline_core::message::{FromWorker, Hello};
use bowline_core::name::Actor;
use tokio::sync::oneshot;

use crate::handle::{Opened, SessionOutbox};

/// What handles say to the writer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Somebody asks for something.
    Request { actor: Actor, request: Request, reply: oneshot::Sender<Reply> },
    /// A worker has connected.
    Connect { hello: Box<Hello>, key: [u8; 32], outbox: SessionOutbox, opened: oneshot::Sender<Opened> },
    /// A worker says something.
    FromWorker { session: SessionId, message: FromWorker },
    /// A connection is gone.
    Disconnect { session: SessionId },
    /// The store was put back to an earlier state, and that is to stand.
    AcceptRollback { reply: oneshot::Sender<Result<Generation, Refusal>> },
}

impl Command {
    /// Answers what asks for an answer; nothing of it has been done, nor will it be.
    pub(crate) fn refuse(self) {
        match self {
            Self::Request { reply, .. } => drop(reply.send(Err(not_leading()))),
            Self::AcceptRollback { reply } => drop(reply.send(Err(not_rolled_back()))),
            // Whoever waits is told by the end of the channel.
            Self::Connect { .. } | Self::FromWorker { .. } | Self::Disconnect { .. } => {}
        }
    }
}

/// The refusal of a server whose store was not put back to an earlier state, as far as it knows.
pub(crate) fn not_rolled_back() -> Refusal {
    let message = "no worker has seen a newer state than this server's store holds: there is nothing to accept";
    Refusal::new(RefusalCode::Conflict, message)
}

/// The refusal of a server that does not lead.
pub(crate) fn not_leading() -> Refusal {
    let message = "this server does not lead at the moment; whether the request was carried out is not known: \
                   ask again in a moment, under the same idempotency key";
    Refusal::new(RefusalCode::NotLeading, message)
}
