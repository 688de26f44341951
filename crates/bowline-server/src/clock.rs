//! The one place of this crate that reads clocks.

use std::time::{Duration, Instant, SystemTime};

use bowline_core::time::{Timestamp, micros};

/// The wall clock. For what people see; nothing is decided by it.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(micros(since))
}

/// The wall clock, to be compared with times of files.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub(crate) fn system() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the clock module is where clocks are read")]
pub fn monotonic() -> Instant {
    Instant::now()
}
