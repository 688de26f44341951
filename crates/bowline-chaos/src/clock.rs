//! Time, read in one place. Marks of jobs and of faults are on the machine's boot clock, which all processes
//! here share and nobody can set.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A stopwatch that has been started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "this is the clock of a program that measures")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of a bound.
    pub(crate) fn left_of(self, bound: Duration) -> Duration {
        bound.saturating_sub(self.elapsed())
    }
}

/// The time of day, in microseconds since 1970: to be held against what a server on this machine tells.
pub(crate) fn wall_us() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// Nanoseconds since the machine's start.
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// Blocks this thread.
#[expect(clippy::disallowed_methods, reason = "jobs take their time, and the keeper looks again after a while")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}
