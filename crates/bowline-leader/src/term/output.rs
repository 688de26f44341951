//! What a leadership asks to be done.

use bowline_core::answer::Reply;
use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Generation, ParkId, ReplyTo, RunId, SessionId, TaskId};
use bowline_core::input::Need;
use bowline_core::message::ToWorker;
use bowline_core::row::HistoryRow;
use bowline_core::run::DueKind;
use bowline_core::time::Timestamp;
use bowline_store::RetentionPolicy;

/// One thing to be done. In their order.
#[derive(Debug)]
pub enum Output {
    /// Make this durable, and come back with [`super::Term::committed`] or [`super::Term::failed`]. Until
    /// then nothing else is asked of the store's writing side.
    Commit {
        /// The store's time.
        now: Timestamp,
        /// What: rows and history; effects have been taken out.
        batch: Batch,
    },
    /// Remove what has been kept long enough, and come back with [`super::Term::swept`] or
    /// [`super::Term::failed`].
    Sweep {
        /// The store's time.
        now: Timestamp,
        /// How long it is kept.
        policy: RetentionPolicy,
    },
    /// Read these rows, not before now, and come back with [`super::Term::facts`].
    Fetch {
        /// For which parked input.
        park: ParkId,
        /// What it needs.
        needs: Vec<Need>,
    },
    /// Evaluate this, reading not before now, and come back with [`super::Term::evaluated`].
    Evaluate(Due),
    /// An answer to whoever asked.
    Reply {
        /// To whom.
        to: ReplyTo,
        /// What.
        reply: Reply,
    },
    /// Into a session's queue. What became of it where it did not fit: [`super::Term::unposted`].
    Send {
        /// Which.
        session: SessionId,
        /// What.
        message: ToWorker,
    },
    /// A session is over: its connection ends after what was sent before.
    Close {
        /// Which.
        session: SessionId,
    },
    /// A batch is durable, and its effects were asked for before this.
    Durable {
        /// Which commit.
        commit_no: CommitNo,
        /// Its history: the commit's events.
        events: Vec<HistoryRow>,
        /// Tasks that it removed: their logs may go.
        gone: Vec<TaskId>,
    },
    /// Retention removed these tasks: their logs may go.
    Swept(Vec<TaskId>),
    /// The leadership is over. The last output.
    End(End),
}

/// Something of a run that is due to be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Which run.
    pub run: RunId,
    /// What of it.
    pub what: DueKind,
    /// The version that was due.
    pub version: u32,
}

/// What became of a message to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It is in its queue, or there is no such session any more.
    Done,
    /// The queue was full: the session is closed.
    Overrun,
    /// Nobody takes messages out of it: the session is closed.
    Away,
}

/// Why a leadership is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was asked to stop, and everything that was applied is durable.
    Stopped,
    /// Another server leads.
    Deposed(String),
    /// It failed; why.
    Failed(String),
    /// A worker has seen what the store does not hold.
    RolledBack {
        /// Where the store stands.
        store: (Generation, CommitNo),
        /// What the worker has seen.
        seen: (Generation, CommitNo),
    },
}
