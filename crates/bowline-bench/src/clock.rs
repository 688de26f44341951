//! Time, read in one place.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bowline_core::time::{Timestamp, micros};

/// A stopwatch that has been started.
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

    /// How many of something there were in each second since the start.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn per_second(self, count: u64) -> f64 {
        count as f64 / self.elapsed().as_secs_f64()
    }
}

/// Now, on the wall clock.
#[expect(clippy::disallowed_methods, reason = "the bench plays the leader, which has the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp(micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()))
}
