//! The one place that reads time: `CLOCK_BOOTTIME`, which runs on while the machine is suspended.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How long the machine has been up, suspends included.
pub fn boottime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// As the kernel takes it.
pub(crate) fn timespec(length: Duration) -> Timespec {
    Timespec { tv_sec: length.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: length.subsec_nanos().into() }
}
