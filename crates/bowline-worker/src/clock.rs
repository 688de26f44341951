//! The clocks of a worker, and the one place of this crate that reads them. What decides is told the time
//! ([`Now`]) with everything that happens.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bowline_core::time::micros;
use tokio::time::Instant;

/// A moment on the worker's own clock, which never goes back. Nothing but lengths is made of it, so that it may count
/// from anywhere, but from long before the worker's begin: see [`Moment::BEGIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub Duration);

/// What time it is, on each of the clocks that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// What everything is measured by.
    pub at: Moment,
    /// `CLOCK_BOOTTIME`, by which the supervisor counts the leases of its jobs.
    pub boot: Duration,
    /// Microseconds since 1970 of the wall clock. It is written down with messages, so that the next process
    /// knows how old they are; nothing is decided by it.
    pub wall_us: u64,
}

impl Moment {
    /// Where a clock may begin: what was said by an earlier process lies before it, by ten years at most.
    pub const BEGIN: Self = Self(Duration::from_hours(10 * 365 * 24));

    /// So long after this one. `None`: beyond what can be counted, which is never.
    pub fn after(self, length: Duration) -> Option<Self> {
        self.0.checked_add(length).map(Self)
    }

    /// So long before this one; the first moment of all where there is none.
    #[must_use]
    pub fn before(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(length))
    }

    /// How long after that other one it is; zero where it is not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// How long ago something was that was written down with this wall clock. 0: that is not known.
    pub(crate) fn age(&self, since_us: u64) -> Duration {
        if since_us == 0 { Duration::ZERO } else { Duration::from_micros(self.wall_us.saturating_sub(since_us)) }
    }
}

/// Reads all clocks.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub(crate) fn now() -> Now {
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Now { at: moment(), boot: bowline_supervisor::boottime(), wall_us: micros(wall) }
}

/// Reads the clock that everything is measured by: that of the timers.
pub(crate) fn moment() -> Moment {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    Moment(Moment::BEGIN.0 + now.saturating_duration_since(*FIRST.get_or_init(|| now)))
}
