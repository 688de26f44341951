//! How long to wait before the next try: exponential, with full jitter, capped.

use std::time::Duration;

use bowline_protocol::limits::{RECONNECT_FIRST, RECONNECT_MAX};

/// After so many tries the cap is reached in any case.
const DOUBLINGS_MAX: u32 = 10;

/// Something random.
pub(crate) fn seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

/// Counts the tries to reach a server, and says how long to wait before the next one: 0 up to a bound that is
/// doubled with each try, from 250 ms to 15 s.
#[derive(Debug)]
pub struct Backoff {
    tries: u32,
    random: u64,
}

impl Backoff {
    /// The next wait is the first.
    #[expect(clippy::new_without_default, reason = "each has a seed of its own")]
    pub fn new() -> Self {
        Self::seeded(seed())
    }

    /// The next wait is the first; what follows is the same for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { tries: 0, random: seed | 1 }
    }

    /// It worked: the next wait is the first again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next wait: anything up to the bound of this try.
    #[expect(clippy::should_implement_trait, reason = "it counts tries, and is no iterator")]
    pub fn next(&mut self) -> Duration {
        let bound = RECONNECT_FIRST.saturating_mul(1 << self.tries.min(DOUBLINGS_MAX)).min(RECONNECT_MAX);
        self.tries = self.tries.saturating_add(1);
        // Xorshift: jitter needs no better.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let thousandths = u32::try_from(self.random % 1_000).unwrap_or(0);
        bound * thousandths / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::seeded(7);
        let waits: Vec<_> = (0..200).map(|_| backoff.next()).collect();
        assert!(waits[0] <= RECONNECT_FIRST && waits[1] <= RECONNECT_FIRST * 2);
        assert!(waits.iter().all(|wait| *wait <= RECONNECT_MAX));
        assert!(waits.iter().any(|wait| *wait > RECONNECT_MAX / 2));
        backoff.reset();
        assert!(backoff.next() <= RECONNECT_FIRST);
    }

    #[test]
    fn two_workers_do_not_wait_alike() {
        let (mut one, mut other) = (Backoff::seeded(7), Backoff::seeded(9));
        assert!((0..20).any(|_| one.next() != other.next()));
    }
}
