//! The clocks of a machine: they drift, stand still with it, and the wall's one jumps.

use std::time::Duration;

/// One million: rates are in millionths.
const MILLION: u64 = 1_000_000;
/// The wall clock of a machine that nobody has set wrong, at the beginning: 2026-01-01, in microseconds.
pub const WALL_START_US: u64 = 1_767_225_600_000_000;

/// A moment as a machine's clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// `CLOCK_MONOTONIC`: stands still while the machine is suspended.
    pub mono: Duration,
    /// `CLOCK_BOOTTIME`: goes on.
    pub boot: Duration,
    /// The wall clock, in microseconds since 1970.
    pub wall_us: u64,
}

/// By which clock a timer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `CLOCK_MONOTONIC`, as that of the workers' and servers' runtime.
    Monotonic,
    /// `CLOCK_BOOTTIME`, as the supervisor's: leases pass while the machine is suspended.
    Boot,
}

impl Local {
    /// What this clock shows.
    pub const fn of(&self, which: Which) -> Duration {
        match which {
            Which::Monotonic => self.mono,
            Which::Boot => self.boot,
        }
    }
}

/// A machine's clocks. Times of the world are microseconds since its beginning.
#[derive(Debug, Clone)]
pub struct Clock {
    /// How fast it goes, in millionths of the world's time.
    rate: u64,
    /// When the machine was started, in the world's time.
    started_at: u64,
    /// Since when it goes so fast, and what the boot clock showed then.
    rate_since: (u64, u64),
    /// How long it has been suspended since, by its own boot clock. In microseconds.
    suspended_us: u64,
    /// How far the wall clock was set off, in microseconds.
    wall_off_us: i64,
}

impl Clock {
    /// Of a machine started now, `ppm` millionths fast (or slow).
    pub const fn new(now: u64, ppm: i64) -> Self {
        let rate = MILLION.saturating_add_signed(ppm);
        Self { rate, started_at: now, rate_since: (now, 0), suspended_us: 0, wall_off_us: 0 }
    }

    const fn local_us(&self, now: u64) -> u64 {
        let (since, shown) = self.rate_since;
        // Runs are far shorter than 2^64 millionths of a microsecond.
        shown + now.saturating_sub(since).saturating_mul(self.rate) / MILLION
    }

    /// What it shows at this moment of the world.
    pub const fn local(&self, now: u64) -> Local {
        let boot = self.local_us(now);
        let wall = WALL_START_US.saturating_add(self.started_at).saturating_add(boot);
        Local {
            mono: Duration::from_micros(boot.saturating_sub(self.suspended_us)),
            boot: Duration::from_micros(boot),
            wall_us: wall.saturating_add_signed(self.wall_off_us),
        }
    }

    /// The first moment of the world at which this clock shows that.
    pub fn world_at(&self, which: Which, at: Duration) -> u64 {
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX / MILLION);
        let (since, shown) = self.rate_since;
        let boot = match which {
            Which::Monotonic => at.saturating_add(self.suspended_us),
            Which::Boot => at,
        };
        since.saturating_add(boot.saturating_sub(shown).saturating_mul(MILLION).div_ceil(self.rate))
    }

    /// The machine is started anew: the boot clock begins at zero; the wall clock goes on.
    pub const fn reboot(&mut self, now: u64) {
        let before = self.local(now).wall_us;
        *self = Self { rate: self.rate, started_at: now, rate_since: (now, 0), suspended_us: 0, wall_off_us: 0 };
        self.wall_off_us = before.cast_signed() - self.local(now).wall_us.cast_signed();
    }

    /// From now on it is so many millionths fast (or slow).
    pub const fn drift(&mut self, now: u64, ppm: i64) {
        self.rate_since = (now, self.local_us(now));
        self.rate = MILLION.saturating_add_signed(ppm);
    }

    /// The machine was suspended for so long, of the world's time.
    pub const fn suspended(&mut self, length: u64) {
        self.suspended_us += length.saturating_mul(self.rate) / MILLION;
    }

    /// Somebody sets the wall clock.
    pub const fn jump_wall(&mut self, by_us: i64) {
        self.wall_off_us = self.wall_off_us.saturating_add(by_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_when_the_clock_shows_its_time() {
        for ppm in [-20_000, 0, 20_000] {
            let mut clock = Clock::new(500, ppm);
            clock.suspended(3_000);
            clock.drift(40_000_000, ppm / 2);
            for mono in [0, 1, 999_999, 60_000_000] {
                let mono = Duration::from_micros(mono);
                let due = clock.world_at(Which::Monotonic, mono);
                assert!(clock.local(due).mono >= mono, "{ppm} {mono:?}");
            }
        }
    }

    #[test]
    fn a_reboot_keeps_the_wall_clock_alone() {
        let mut clock = Clock::new(0, 0);
        clock.jump_wall(-5_000_000);
        let before = clock.local(9_000_000);
        clock.reboot(9_000_000);
        let after = clock.local(9_000_000);
        assert_eq!(before.wall_us, after.wall_us);
        assert_eq!(after.boot, Duration::ZERO);
    }
}
