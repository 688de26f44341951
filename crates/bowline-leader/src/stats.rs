//! What the leader counts, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of [`LeaderStats::commit_seconds`]'s buckets, in seconds; one more counts the rest.
pub const COMMIT_SECONDS: [f64; 12] = [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Counts of one server, since it started.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LeaderStats {
    /// Leaderships taken.
    pub leaderships: u64,
    /// Leaderships that ended by a failure.
    pub failures: u64,
    /// Inputs applied.
    pub inputs: u64,
    /// Batches committed.
    pub batches: u64,
    /// Batches released without a commit.
    pub rowless_batches: u64,
    /// Rows and lines of history committed.
    pub rows: u64,
    /// Effects released.
    pub effects: u64,
    /// Tasks removed by retention.
    pub swept_tasks: u64,
    /// Evaluations done.
    pub evaluations: u64,
    /// Sessions closed because their queues were full.
    pub sessions_overrun: u64,
    /// Commands that wait for the writer, now.
    pub inbox_depth: u64,
    /// Commits by the time they took: one count for each bound of [`COMMIT_SECONDS`], and one for
    /// those that took longer. Not cumulative.
    pub commit_buckets: [u64; 13],
    /// The time of all commits together, in seconds.
    pub commit_seconds: f64,
}

/// The same, while they are counted.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) leaderships: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) inputs: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) rowless_batches: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) effects: AtomicU64,
    pub(crate) swept_tasks: AtomicU64,
    pub(crate) evaluations: AtomicU64,
    pub(crate) sessions_overrun: AtomicU64,
    commit_buckets: [AtomicU64; 13],
    commit_micros: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

impl Counters {
    /// A commit took so long.
    pub(crate) fn commit_took(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = COMMIT_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(COMMIT_SECONDS.len());
        add(&self.batches, 1);
        add(&self.commit_buckets[bucket], 1);
        self.commit_micros.fetch_add(bowline_core::time::micros(took), Ordering::Relaxed);
    }

    /// As they are now, with so many commands that wait.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a process's life fit")]
    pub fn snapshot(&self, inbox_depth: usize) -> LeaderStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LeaderStats {
            leaderships: read(&self.leaderships),
            failures: read(&self.failures),
            inputs: read(&self.inputs),
            batches: read(&self.batches),
            rowless_batches: read(&self.rowless_batches),
            rows: read(&self.rows),
            effects: read(&self.effects),
            swept_tasks: read(&self.swept_tasks),
            evaluations: read(&self.evaluations),
            sessions_overrun: read(&self.sessions_overrun),
            inbox_depth: inbox_depth as u64,
            commit_buckets: std::array::from_fn(|bucket| read(&self.commit_buckets[bucket])),
            commit_seconds: read(&self.commit_micros) as f64 / 1e6,
        }
    }
}
