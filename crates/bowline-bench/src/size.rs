//! How much of everything: what the figures are taken with, less to try something out, next to nothing to see
//! whether each row runs.

use std::time::Duration;

/// How much of everything.
#[derive(Debug, Clone)]
pub(crate) struct Size {
    /// Tasks of `noop`.
    pub(crate) noop: u64,
    /// Submits one by one from one client, and from many.
    pub(crate) submits: (u64, u64),
    /// Submits of 1,000.
    pub(crate) bulks: u64,
    /// Tasks of `latency`, one at a time.
    pub(crate) latency: u64,
    /// Processes.
    pub(crate) spawn: u64,
    /// A short and a long queue.
    pub(crate) backlog: (u64, u64),
    /// Queued tasks of `memory`, `restart` and `explain`.
    pub(crate) queued: u64,
    /// Elements of an array.
    pub(crate) elements: u32,
    /// Connected workers that do nothing.
    pub(crate) fleet: u32,
    /// How long what does nothing is watched.
    pub(crate) watch: Duration,
    /// Bytes of one log.
    pub(crate) log_bytes: u64,
    /// Jobs that write a log at 1 MB/s each, and for how long.
    pub(crate) log_jobs: (u32, Duration),
    /// Bytes of a large artifact, and how many small ones.
    pub(crate) artifacts: (u64, u32),
    /// How long `churn` goes on.
    pub(crate) churn: Duration,
    /// Resources, and tasks that hold some of them.
    pub(crate) lines: (u64, u64),
    /// Tasks that wait for one resource, and unrelated ones behind them.
    pub(crate) one_line: (u64, u64),
    /// Workers, capability sets and lanes of `match`.
    pub(crate) matching: (u32, u32, u32),
}

impl Size {
    /// What the figures are taken with.
    pub(crate) fn full() -> Self {
        Self {
            noop: 200_000,
            submits: (4_000, 40_000),
            bulks: 200,
            latency: 1_000,
            spawn: 10_000,
            backlog: (10_000, 1_000_000),
            queued: 1_000_000,
            elements: 1_000_000,
            fleet: 1_000,
            watch: Duration::from_secs(20),
            log_bytes: 2 << 30,
            log_jobs: (200, Duration::from_secs(10)),
            artifacts: (1 << 30, 10_000),
            churn: Duration::from_mins(2),
            lines: (1_000, 100_000),
            one_line: (100_000, 50_000),
            matching: (1_000, 50, 10_000),
        }
    }

    /// Less of it.
    pub(crate) fn quick() -> Self {
        Self {
            noop: 50_000,
            submits: (500, 5_000),
            bulks: 30,
            latency: 200,
            spawn: 1_000,
            backlog: (10_000, 100_000),
            queued: 100_000,
            elements: 100_000,
            fleet: 200,
            watch: Duration::from_secs(5),
            log_bytes: 256 << 20,
            log_jobs: (50, Duration::from_secs(3)),
            artifacts: (128 << 20, 1_000),
            churn: Duration::from_secs(15),
            lines: (1_000, 20_000),
            one_line: (20_000, 10_000),
            matching: (1_000, 50, 10_000),
        }
    }

    /// Next to nothing.
    pub(crate) fn tiny() -> Self {
        Self {
            noop: 200,
            submits: (5, 70),
            bulks: 2,
            latency: 5,
            spawn: 4,
            backlog: (20, 100),
            queued: 2_000,
            elements: 1_000,
            fleet: 3,
            watch: Duration::from_millis(200),
            log_bytes: 256 << 10,
            log_jobs: (2, Duration::from_millis(200)),
            artifacts: (1 << 20, 10),
            churn: Duration::from_secs(2),
            lines: (20, 100),
            one_line: (100, 100),
            matching: (20, 5, 50),
        }
    }
}
