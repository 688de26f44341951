//! What must follow from a batch, and only once it is durable.

use crate::answer::Reply;
use crate::id::{ReplyTo, RunId, SessionId};
use crate::message::ToWorker;
use crate::row::{HistoryRow, Row};
use crate::run::DueKind;

/// One effect. They leave in the order in which they were made.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// An answer to whoever asked.
    Reply {
        /// To whom.
        to: ReplyTo,
        /// What.
        reply: Reply,
    },
    /// A message to a worker.
    Send {
        /// By which session.
        session: SessionId,
        /// What.
        message: ToWorker,
    },
    /// A session is over: nothing more is read from it or sent to it after what was sent before.
    Close {
        /// Which.
        session: SessionId,
    },
    /// Something of a run is due: evaluate it and come back with the same version.
    Evaluate {
        /// Which run.
        run: RunId,
        /// What of it.
        what: DueKind,
        /// As it stands.
        version: u32,
    },
}

/// What one commit makes durable, and what may leave once it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Counts the batches of one leadership, from 1.
    pub number: u64,
    /// Rows to write, the newest state of each, in a fixed order.
    pub rows: Vec<Row>,
    /// Transitions, in the order in which they happened. They are the events too.
    pub history: Vec<HistoryRow>,
    /// What follows.
    pub effects: Vec<Effect>,
}

impl Batch {
    /// Nothing to write and nothing to release.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.history.is_empty() && self.effects.is_empty()
    }

    /// Nothing to write: its effects still wait for every earlier batch.
    pub fn is_rowless(&self) -> bool {
        self.rows.is_empty() && self.history.is_empty()
    }
}
