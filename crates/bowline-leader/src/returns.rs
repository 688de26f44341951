//! What the threads beside the writer hand back to it. Each return answers one thing that the
//! writer gave out, so their number is bounded by what is under way.

use std::time::Duration;

use bowline_core::id::{CommitNo, ParkId, RunId, TaskId};
use bowline_core::input::{Evaluation, Fact};
use bowline_core::row::HistoryRow;
use bowline_core::run::DueKind;
use bowline_store::{CommitError, Swept};

/// What comes back to the writer.
#[derive(Debug)]
pub(crate) enum Return {
    /// The batch under way is durable.
    Committed(Durable),
    /// A batch of retention is durable.
    Swept(Swept),
    /// The commit or the sweep failed, or nobody knows.
    CommitFailed(CommitError),
    /// What a parked input waits for.
    Facts { park: ParkId, facts: Vec<Fact> },
    /// What was due.
    Evaluated { run: RunId, what: DueKind, version: u32, outcome: Evaluation },
    /// A thread beside the writer can't go on; why.
    Broken(String),
}

/// A batch that is durable.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) commit_no: CommitNo,
    /// The batch's history, back from the committer: the commit's events.
    pub(crate) events: Vec<HistoryRow>,
    /// Tasks that this batch removed.
    pub(crate) gone: Vec<TaskId>,
    pub(crate) took: Duration,
}
