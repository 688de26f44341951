//! What the server holds of the leader: cheap to clone, usable from any task.

use std::sync::Arc;

use bowline_core::answer::{Refusal, RefusalCode, Reply};
use bowline_core::id::{AttemptRef, CommitNo, Epoch, Generation, SessionId};
use bowline_core::input::Request;
use bowline_core::message::{FromWorker, Hello, ToWorker};
use bowline_core::name::Actor;
use bowline_core::row::HistoryRow;
use bowline_core::spec::Work;
use bowline_store::{ReadStore, StoreError};
use tokio::sync::{broadcast, mpsc, watch};

/// Where a session's messages go, in order, once they may leave. Bounded: a session whose queue is
/// full is closed. `None` closes it in order.
pub type SessionOutbox = mpsc::Sender<Option<ToWorker>>;

/// The events of one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Which commit.
    pub commit_no: CommitNo,
    /// Its events, in order; an event's place is its index.
    pub events: Arc<Vec<HistoryRow>>,
}

/// How the leadership stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderStatus {
    /// Not leading (yet, or any more), and why.
    Loading(String),
    /// Leading.
    Leading {
        /// The epoch.
        epoch: Epoch,
        /// The store's generation.
        generation: Generation,
        /// The last durable commit.
        commit_no: CommitNo,
    },
}

/// The handle.
#[derive(Clone)]
pub struct Leader {
    status: watch::Receiver<LeaderStatus>,
    events: broadcast::Sender<Committed>,
    reader: Arc<dyn ReadStore>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leader").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

impl Leader {
    /// Asks for something, and waits until the answer may be given: its batch and every earlier one
    /// are durable. Refused with `busy` where the inbox stays full, with `not_leading` where the
    /// leadership ends meanwhile (whether it was done is then unknown: ask again under the same
    /// idempotency key).
    pub async fn request(&self, actor: Actor, request: Request) -> Reply {
        drop((actor, request));
        Err(Refusal::new(RefusalCode::NotLeading, "this server does not lead yet"))
    }

    /// Opens a session: gives it a number and says its Hello to the engine. Messages to the worker
    /// come through `outbox`.
    pub async fn connect(&self, hello: Hello, outbox: SessionOutbox) -> Result<SessionId, Refusal> {
        drop((hello, outbox));
        Err(Refusal::new(RefusalCode::NotLeading, "this server does not lead yet"))
    }

    /// Passes on what a worker says. Waits while the inbox is full: that is the back-pressure.
    pub async fn from_worker(&self, session: SessionId, message: FromWorker) -> Result<(), Refusal> {
        drop((session, message));
        Ok(())
    }

    /// Says that a session's connection is gone.
    pub async fn disconnect(&self, session: SessionId) {
        drop(session);
    }

    /// The work of an attempt that was assigned: from what was submitted lately, or from the store.
    pub async fn work(&self, attempt: AttemptRef) -> Result<Option<Arc<Work>>, StoreError> {
        drop(attempt);
        Ok(None)
    }

    /// Every commit's events from now on.
    pub fn events(&self) -> broadcast::Receiver<Committed> {
        self.events.subscribe()
    }

    /// How the leadership stands, and each change of it.
    pub fn status(&self) -> watch::Receiver<LeaderStatus> {
        self.status.clone()
    }

    /// What is durable. Its calls block.
    pub fn reader(&self) -> Arc<dyn ReadStore> {
        Arc::clone(&self.reader)
    }
}
