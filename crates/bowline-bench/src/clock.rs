//! Time, read in one place.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_core::time::{Timestamp, micros};

/// A moment, and a stopwatch that was started then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the bench measures time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// From another moment until this one; nothing where this one was before.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// How many of something there were in each second since the start.
    pub(crate) fn per_second(self, count: u64) -> f64 {
        as_f64(count) / self.elapsed().as_secs_f64()
    }
}

/// Now, on the wall clock.
#[expect(clippy::disallowed_methods, reason = "the bench plays the leader, which has the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp(micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}

/// Lets time pass: for what makes a steady load, and for what is watched while it does nothing.
#[expect(clippy::disallowed_methods, reason = "a load over time needs time")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

pub(crate) fn millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}
