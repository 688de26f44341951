//! The one place of this crate that reads clocks.
//!
//! The leader's `now` is the store's time at the take-over plus a monotonic clock: it never goes
//! back, whatever happens to the machine's wall clock.

use std::time::{Duration, Instant, SystemTime};

use bowline_core::time::{Timestamp, micros};

/// The clock of one leadership.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    base: Timestamp,
    started: Instant,
}

impl Clock {
    /// It was this moment when the monotonic clock showed that.
    pub(crate) fn starting_at(base: Timestamp, started: Instant) -> Self {
        Self { base, started }
    }

    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    /// When the monotonic clock will show this moment.
    pub(crate) fn instant_of(&self, moment: Timestamp) -> Instant {
        // A year ahead is as good as never, and can't overflow.
        let ahead = moment.since(self.base).min(self.started.elapsed() + Duration::from_hours(8_760));
        self.started + ahead
    }
}

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub(crate) fn wall() -> Timestamp {
    Timestamp(micros(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO)))
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on_from_the_store_s_time_and_never_back() {
        let ahead = Timestamp(wall().0 + 3_600_000_000);
        let clock = Clock::starting_at(ahead, monotonic());
        let (first, second) = (clock.now(), clock.now());
        assert!(ahead <= first && first <= second);
        assert!(clock.instant_of(Timestamp(u64::MAX)) > clock.instant_of(first));
    }
}
