//! The one place of this crate that reads the wall clock. It is written down with messages, so that the
//! next process knows how old they are; nothing is decided by it.

use std::time::{Duration, SystemTime};

use bowline_core::time::micros;

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub(crate) fn wall_us() -> u64 {
    micros(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// How long ago something was that happened then. 0: that is not known.
pub(crate) fn age(since_us: u64) -> Duration {
    if since_us == 0 { Duration::ZERO } else { Duration::from_micros(wall_us().saturating_sub(since_us)) }
}
