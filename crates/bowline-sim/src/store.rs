//! The stores that servers share: one for each cluster. Commits take time, fail before or after they are done, and
//! are seen by whoever watches when they are done.

use bowline_core::effect::Batch;
use bowline_core::id::Epoch;
use bowline_core::time::Timestamp;
use bowline_store::MemoryStore;

use crate::process::ProcId;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Done,
    /// It fails, and nothing of it is there.
    Fails,
    /// It is done, and whoever asked hears that it failed.
    DoneUnheard,
}

/// A commit that is under way.
#[derive(Debug)]
pub struct Commit {
    /// Who asked for it, in which life.
    pub by: (ProcId, u32),
    /// Under which epoch.
    pub epoch: Epoch,
    /// The leader's time.
    pub now: Timestamp,
    /// What.
    pub batch: Batch,
    /// What becomes of it.
    pub fate: Fate,
}

/// A store, with the servers that share it.
#[derive(Debug)]
pub struct Cluster {
    /// The store.
    pub store: MemoryStore,
    /// Where the cluster's address leads.
    pub route: Option<ProcId>,
    /// The mean length of a commit, in microseconds.
    pub commit_us: u64,
    /// What becomes of the next commit.
    pub next_fate: Option<Fate>,
}
