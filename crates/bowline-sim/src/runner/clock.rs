//! The one place that looks at the real clock: how long the runs took.

use std::time::Instant;

/// Now.
#[expect(clippy::disallowed_methods, reason = "the runner tells how long its runs took; no run sees this")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// A seed to begin with that no run before had: from the real clock.
#[expect(clippy::disallowed_methods, reason = "fresh seeds must differ from call to call; they are printed")]
pub(super) fn fresh_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1_000_000, |since| since.as_secs() * 1_000)
}
