//! The one source of randomness: streams of numbers, each made of the seed and of what it is for.
//!
//! Every kind of fault and every part of the workload draws from a stream of its own, so that switching
//! one of them off leaves what the others draw as it was. That is what makes a failing seed shrink.

use bowline_core::rng::splitmix;

/// A stream of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed for this purpose.
    pub const fn new(seed: u64, purpose: u64) -> Self {
        Self(splitmix(splitmix(seed) ^ purpose.rotate_left(17)))
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        let drawn = splitmix(self.0);
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        drawn
    }

    /// A number below `end`; 0 where that is 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        // The bias is far below what any rate here means.
        if end == 0 { 0 } else { self.next() % end }
    }

    /// A number from `least` to `most`, both included.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True in so many of a thousand draws.
    pub const fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }

    /// A place in a list of this length, where it has one.
    pub fn place(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| usize::try_from(self.below(length as u64)).unwrap_or(0))
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        self.place(list.len()).map(|place| &list[place])
    }

    /// A length of time around `mean`: mostly shorter, now and then several times as long. In microseconds.
    pub const fn around(&mut self, mean: u64) -> u64 {
        let spread = match self.below(8) {
            0 => 4,
            1 | 2 => 2,
            _ => 1,
        };
        self.below(mean.saturating_mul(spread) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_the_seed_and_its_purpose_alone() {
        let drawn = |seed, purpose| {
            let mut random = Random::new(seed, purpose);
            (0..4).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(7, 0);
        for _ in 0..1_000 {
            assert!((3..=5).contains(&random.between(3, 5)));
            assert!(random.below(2) < 2);
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.place(0), None);
    }
}
