//! The one source of chance: the same seed gives the same plan.

/// `SplitMix64`: small, and good enough to choose with.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `from..to`.
    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// Whether it is one of so many in a hundred.
    pub(crate) fn percent(&mut self, of_hundred: u64) -> bool {
        self.within(0, 100) < of_hundred
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = usize::try_from(self.next() % all.len() as u64).unwrap_or_default();
        all[at]
    }

    /// All of them, in another order.
    pub(crate) fn shuffled<T: Copy>(&mut self, all: &[T]) -> Vec<T> {
        let mut all = all.to_vec();
        for last in (1..all.len()).rev() {
            let with = usize::try_from(self.next() % (last as u64 + 1)).unwrap_or_default();
            all.swap(last, with);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_same_seed_is_the_same_chance_and_another_is_another() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.shuffled(&[1, 2, 3, 4, 5, 6, 7, 8]), random.within(10, 20), random.next())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let (mut all, within, _) = draw(7);
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!((10..20).contains(&within));
    }
}
