//! The writer's side.

use std::time::Duration;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_core::row::Loaded;
use bowline_core::time::Timestamp;

/// A store could not do what was asked. Names the operation and keeps the source.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct StoreError {
    /// What was being done, to which file or table.
    pub operation: String,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    /// This operation failed for this reason.
    pub fn new(operation: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { operation: operation.into(), source: source.into() }
    }
}

/// A commit did not happen, or nobody knows whether it did. Either ends the leadership.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another server leads, or the store was put back.
    #[error("this server's leadership (epoch {epoch}) is over")]
    Deposed {
        /// The epoch that it believed in.
        epoch: Epoch,
    },
    /// A fenced write touched another number of rows than it must.
    #[error("a write to {table} touched {touched} rows where it must touch {expected}")]
    RowCount {
        /// Which table and key.
        table: String,
        /// Rows touched.
        touched: usize,
        /// Rows that it must touch.
        expected: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A leadership, as taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Raised by the take-over.
    pub epoch: Epoch,
    /// The store's generation.
    pub generation: Generation,
    /// The last commit.
    pub commit_no: CommitNo,
    /// The store's time: no `now` may lie before it.
    pub now: Timestamp,
    /// The newest position that a worker has seen and that this store does not hold: it was put back to an
    /// earlier state. Nobody leads until that is accepted.
    pub rolled_back: Option<(Generation, CommitNo)>,
}

/// What the leader's one writer does.
pub trait LeaderStore: Send {
    /// Raises the epoch and commits that; from here on nobody with an older one can commit. `now`
    /// is the caller's wall clock; the leadership's time is the later of it and the store's.
    fn take_leadership(&mut self, now: Timestamp) -> Result<Leadership, StoreError>;

    /// Hands over everything that has not ended, in the order of [`Loaded`].
    fn load(&mut self, each: &mut dyn FnMut(Loaded)) -> Result<(), StoreError>;

    /// Makes one batch durable, all or nothing: rows, history, and the history again as this
    /// commit's events. Raises the commit number by one, under this epoch, or fails.
    /// `now` becomes the store's time.
    fn commit(&mut self, epoch: Epoch, now: Timestamp, batch: &Batch) -> Result<CommitNo, CommitError>;
}

/// A store that was put back to an earlier state, by a restore or by a file system.
pub trait RollbackStore {
    /// A worker has seen this position, and the store does not hold it: remembered until it is accepted.
    fn note_rollback(&mut self, epoch: Epoch, seen: (Generation, CommitNo)) -> Result<(), CommitError>;

    /// The earlier state is to stand: the generation becomes greater than the store's own, than any that
    /// a worker is known to have seen, and than `above`; what was noted is forgotten; whoever leads is
    /// deposed. Attempts that were claimed before, and their reports, have old fences from then on. Says
    /// the new generation. A restore does it too, with the generation of the store that it replaces.
    fn accept_rollback(&mut self, above: Option<Generation>) -> Result<Generation, StoreError>;
}

/// How long what has ended is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Ended tasks and runs with all that hangs on them. 30 days.
    pub ended: Duration,
    /// Events for `/events`. 24 hours.
    pub events: Duration,
    /// Idempotency keys whose task is gone. 7 days.
    pub keys: Duration,
    /// Most tasks, runs, commits' events or keys removed in one batch. 500.
    pub batch_max: usize,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { ended: day * 30, events: day, keys: day * 7, batch_max: 500 }
    }
}

/// What one batch of retention removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Tasks removed: their logs and blobs may go.
    pub tasks: Vec<bowline_core::id::TaskId>,
    /// Runs removed.
    pub runs: Vec<bowline_core::id::RunId>,
    /// Commits whose events were removed.
    pub events: usize,
    /// Keys removed.
    pub keys: usize,
}

impl Swept {
    /// Whether there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.runs.is_empty() && self.events == 0 && self.keys == 0
    }
}

/// Removes what has been kept long enough. A task that belongs to a run goes with its run, never
/// before; one that an unfinished task depends on stays. Shares the writer's connection: one small
/// batch, between two commits.
pub trait RetentionStore {
    /// Removes at most one batch.
    fn sweep(&mut self, epoch: Epoch, now: Timestamp, policy: &RetentionPolicy) -> Result<Swept, CommitError>;
}
