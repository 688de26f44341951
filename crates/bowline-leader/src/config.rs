//! What can be set about a leader, and every bound of it.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::Timing;
use bowline_core::id::TaskId;
use bowline_store::{LeaderStore, RetentionPolicy, RetentionStore, RollbackStore};

/// Commands that wait for the writer. Senders wait while it is full: that is the back-pressure.
pub(crate) const INBOX_MAX: usize = 8_192;
/// How long a request waits for room in the inbox before it is refused.
pub(crate) const INBOX_WAIT_MAX: Duration = Duration::from_secs(5);
/// Requests that wait for their answers; more are refused. Bounds what is parked, too.
pub(crate) const REQUESTS_MAX: usize = 16_384;
/// Commands taken out of the inbox at a time.
pub(crate) const DRAIN_MAX: usize = 512;
/// Inputs applied while a commit is under way; then the inbox waits.
pub(crate) const BATCH_INPUTS_MAX: usize = 20_000;
/// Commits whose events are kept for subscribers that lag behind.
pub(crate) const EVENTS_COMMITS_MAX: usize = 1_024;
/// Threads that evaluate what is due.
pub(crate) const EVALUATORS: usize = 2;
/// Checked workflows that are kept.
pub(crate) const WORKFLOWS_MAX: usize = 64;
/// Bytes of all results that one evaluation may read. 64 MiB.
pub(crate) const EVALUATION_RESULT_BYTES_MAX: usize = 64 << 20;
/// Bytes, about, of descriptions of tasks submitted lately. 64 MiB.
pub(crate) const WORKS_BYTES_MAX: u64 = 64 << 20;
/// Tasks submitted lately whose descriptions are kept.
pub(crate) const WORKS_MAX: usize = 65_536;
/// The wait before the first new take-over, doubled each time up to [`BACKOFF_MAX`].
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait before a new take-over.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Between two batches of retention where the last one removed something, but was not full; the most where it was.
pub(crate) const SWEEP_PAUSE: Duration = Duration::from_millis(200);
/// A batch of retention that took no longer may be followed by one twice as large.
pub(crate) const SWEEP_TOOK_GOOD: Duration = Duration::from_millis(50);
/// The largest batch of retention is so many times the one it begins with.
pub(crate) const SWEEP_GROWTH_MAX: usize = 16;
/// How late retention may come under a load without a pause.
pub(crate) const SWEEP_LATE_MAX: Duration = Duration::from_secs(10);
/// The writer looks around at least this often.
pub(crate) const WAKE_MAX: Duration = Duration::from_hours(1);

/// The store as the writer needs it.
pub trait WriterStore: LeaderStore + RetentionStore + RollbackStore + Send {}

impl<S: LeaderStore + RetentionStore + RollbackStore + Send> WriterStore for S {}

/// Is told which tasks are gone, once that is durable: their logs may go. Must not block.
pub type SweptSink = Arc<dyn Fn(&[TaskId]) + Send + Sync>;

/// What can be set about a leader.
#[derive(Clone)]
pub struct LeaderConfig {
    /// How long what has ended is kept.
    pub retention: RetentionPolicy,
    /// Between two looks for something to remove, where the last one found nothing. 10 s.
    pub sweep_every: Duration,
    /// The least time between two commits while batches are filling; a lone input waits for nothing, nor does
    /// whoever asks. 2 ms.
    pub gather: Duration,
    /// How patient it is with workers.
    pub timing: Timing,
    /// Seeds the jitter of backoffs. `None`: from the clock.
    pub seed: Option<u64>,
    /// Is told which tasks are gone.
    pub swept: Option<SweptSink>,
}

impl Default for LeaderConfig {
    fn default() -> Self {
        Self {
            retention: RetentionPolicy::default(),
            sweep_every: Duration::from_secs(10),
            gather: Duration::from_millis(2),
            timing: Timing::default(),
            seed: None,
            swept: None,
        }
    }
}

impl std::fmt::Debug for LeaderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderConfig").field("retention", &self.retention).finish_non_exhaustive()
    }
}
