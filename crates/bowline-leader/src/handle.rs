//! What the server holds of the leader: cheap to clone, usable from any task.

use std::sync::Arc;

use bowline_core::answer::{Refusal, RefusalCode, Reply};
use bowline_core::id::{CommitNo, Epoch, Generation, RunId, SessionId, TaskRef, WorkerId};
use bowline_core::input::Request;
use bowline_core::message::{FromWorker, Hello, ToWorker};
use bowline_core::name::{Actor, Namespace, StepName};
use bowline_core::row::HistoryRow;
use bowline_core::spec::Work;
use bowline_store::{ReadStore, StoreError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::command::{Command, not_leading};
use crate::config::{INBOX_MAX, INBOX_WAIT_MAX};
use crate::stats::{Counters, LeaderStats};
use crate::works::{self, Works};

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
    /// Not leading, and not before `accept-rollback` has raised the store's generation: a worker has seen
    /// a newer state than the store holds, so the store was put back to an earlier one.
    RolledBack {
        /// Where the store stands.
        store: (Generation, CommitNo),
        /// What the worker has seen.
        seen: (Generation, CommitNo),
    },
    /// Leading.
    Leading {
        /// The epoch.
        epoch: Epoch,
        /// The store's generation.
        generation: Generation,
        /// The last durable commit. Kept up to date without a wake-up of who watches.
        commit_no: CommitNo,
    },
}

/// A session that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its number.
    pub session: SessionId,
    /// The identity that it speaks for: of a pool, the one that it was given. `None`: it is turned away.
    pub worker: Option<WorkerId>,
}

/// What goes with an assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// The work.
    pub work: Arc<Work>,
    /// The task's namespace.
    pub namespace: Namespace,
    /// The run that it belongs to.
    pub run: Option<RunId>,
    /// The step that it belongs to.
    pub step: Option<StepName>,
}

/// The handle.
#[derive(Clone)]
pub struct Leader {
    pub(crate) inbox: mpsc::Sender<Command>,
    pub(crate) status: watch::Receiver<LeaderStatus>,
    pub(crate) events: broadcast::Sender<Committed>,
    pub(crate) reader: Arc<dyn ReadStore>,
    pub(crate) works: Arc<Works>,
    pub(crate) counters: Arc<Counters>,
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
        self.check_leading()?;
        let (reply, answer) = oneshot::channel();
        let command = Command::Request { actor, request, reply };
        match tokio::time::timeout(INBOX_WAIT_MAX, self.inbox.send(command)).await {
            Err(_) => return Err(Refusal::new(RefusalCode::Busy, "this server is busy: try again in a few seconds")),
            Ok(Err(_)) => return Err(not_leading()),
            Ok(Ok(())) => {}
        }
        answer.await.unwrap_or_else(|_| Err(not_leading()))
    }

    /// Opens a session: gives it a number and says its Hello to the engine, with the BLAKE3 hash of the
    /// key that opened the door. Messages to the worker come through `outbox`.
    pub async fn connect(&self, hello: Hello, key: [u8; 32], outbox: SessionOutbox) -> Result<Opened, Refusal> {
        self.check_leading()?;
        let (opened, session) = oneshot::channel();
        self.send(Command::Connect { hello: Box::new(hello), key, outbox, opened }).await?;
        session.await.map_err(|_| not_leading())
    }

    /// Passes on what a worker says. Waits while the inbox is full: that is the back-pressure.
    pub async fn from_worker(&self, session: SessionId, message: FromWorker) -> Result<(), Refusal> {
        self.send(Command::FromWorker { session, message }).await
    }

    /// Says that a session's connection is gone.
    pub async fn disconnect(&self, session: SessionId) {
        // Where nobody leads any more there is no session to end.
        drop(self.send(Command::Disconnect { session }).await);
    }

    /// What goes with tasks and elements that were assigned, in their order: from what was submitted lately, and of
    /// all others together from the store.
    pub async fn assigned(&self, tasks: &[TaskRef]) -> Result<Vec<Option<Assigned>>, StoreError> {
        let mut found: Vec<_> = tasks.iter().map(|task| self.works.take(*task)).collect();
        let missing: Vec<_> = (0..found.len()).filter(|place| found[*place].is_none()).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<_> = missing.iter().map(|place| tasks[*place]).collect();
        let reader = Arc::clone(&self.reader);
        let read = tokio::task::spawn_blocking(move || reader.assigned(&wanted)).await;
        let read = read.unwrap_or_else(|panic| Err(StoreError::new("reading the work of assignments", panic)))?;
        for (place, read) in missing.into_iter().zip(read) {
            found[place] = read.map(works::assigned);
        }
        Ok(found)
    }

    /// The store was put back to an earlier state ([`LeaderStatus::RolledBack`]), and that is to stand:
    /// raises its generation, and leads again. Says the new generation. Refused with `conflict` where the
    /// store was not put back, as far as anybody knows.
    pub async fn accept_rollback(&self) -> Result<Generation, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::AcceptRollback { reply }).await?;
        answer.await.map_err(|_| not_leading())?
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

    /// What it has counted so far.
    pub fn stats(&self) -> LeaderStats {
        self.counters.snapshot(INBOX_MAX - self.inbox.capacity().min(INBOX_MAX))
    }

    fn check_leading(&self) -> Result<(), Refusal> {
        let refused = |code, why: &str| Err(Refusal::new(code, format!("this server does not lead: {why}")));
        match &*self.status.borrow() {
            LeaderStatus::Leading { .. } => Ok(()),
            LeaderStatus::Loading(why) => refused(RefusalCode::NotLeading, why),
            LeaderStatus::RolledBack { .. } => refused(
                RefusalCode::RolledBack,
                "its store was put back to an earlier state; put the newest copy back, or accept the earlier one by \
                 `bowline server accept-rollback`",
            ),
        }
    }

    async fn send(&self, command: Command) -> Result<(), Refusal> {
        self.inbox.send(command).await.map_err(|_| not_leading())
    }
}
