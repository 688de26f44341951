//! A set in order for what mostly comes at its end and leaves at its beginning: small sorted runs, full ones where
//! everything came in order. A set of the standard library keeps half of its places free there.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

/// Most in a run.
const RUN_MAX: usize = 64;
/// A run of fewer is put together with the one beside it, where both are short.
const RUN_SHORT: usize = RUN_MAX / 4;

/// A set in order. Each run lies under a key that is no greater than its first, and greater than the last of the run
/// before it. No run is empty.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    runs: BTreeMap<T, VecDeque<T>>,
    len: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), len: 0 }
    }
}

impl<T: Ord + Copy> Sorted<T> {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The least one.
    pub(super) fn first(&self) -> Option<T> {
        self.runs.values().next()?.front().copied()
    }

    /// The one after the least.
    pub(super) fn second(&self) -> Option<T> {
        self.runs.values().flatten().nth(1).copied()
    }

    /// Whether it is there.
    pub(super) fn contains(&self, item: &T) -> bool {
        self.runs.range(..=item).next_back().is_some_and(|(_, run)| run.binary_search(item).is_ok())
    }

    /// How many lie before it, counted up to `most` or a little more.
    pub(super) fn count_before(&self, item: &T, most: u64) -> u64 {
        let mut count: u64 = 0;
        for run in self.runs.range(..=item).map(|(_, run)| run) {
            let before = if run.back().is_some_and(|last| last < item) {
                run.len()
            } else {
                run.binary_search(item).unwrap_or_else(|place| place)
            };
            count += before as u64;
            if count >= most {
                break;
            }
        }
        count
    }

    /// Puts it in.
    pub(super) fn insert(&mut self, item: T) {
        let Some((_, run)) = self.runs.range_mut(..=item).next_back() else { return self.insert_first(item) };
        let Err(place) = run.binary_search(&item) else { return };
        self.len += 1;
        if run.len() < RUN_MAX {
            run.insert(place, item);
        } else if place == RUN_MAX {
            self.runs.insert(item, VecDeque::from([item]));
        } else {
            let mut tail = run.split_off(RUN_MAX / 2);
            match place.checked_sub(RUN_MAX / 2) {
                Some(place) if place > 0 => tail.insert(place, item),
                Some(_) | None => run.insert(place, item),
            }
            if let Some(first) = tail.front().copied() {
                self.runs.insert(first, tail);
            }
        }
    }

    /// It goes before all others.
    fn insert_first(&mut self, item: T) {
        self.len += 1;
        let mut run = VecDeque::new();
        if let Some(first) = self.runs.first_entry()
            && first.get().len() < RUN_MAX
        {
            run = first.remove();
        }
        run.push_front(item);
        self.runs.insert(item, run);
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, item: &T) {
        let Some((key, run)) = self.runs.range_mut(..=item).next_back() else { return };
        let Ok(place) = run.binary_search(item) else { return };
        let (key, left) = (*key, run.len() - 1);
        self.len -= 1;
        run.remove(place);
        if left == 0 {
            self.runs.remove(&key);
        } else if left < RUN_SHORT {
            self.join(key, left);
        }
    }

    /// A short run takes in the next one, where that is short too.
    fn join(&mut self, key: T, len: usize) {
        let next = self.runs.range((Bound::Excluded(key), Bound::Unbounded)).next();
        let Some(next) = next.filter(|(_, run)| run.len() + len <= RUN_MAX / 2).map(|(key, _)| *key) else { return };
        let next = self.runs.remove(&next).unwrap_or_default();
        if let Some(run) = self.runs.get_mut(&key) {
            run.extend(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::rng::splitmix;

    fn check(sorted: &Sorted<u64>, set: &BTreeSet<u64>) {
        assert!(sorted.runs.values().flatten().eq(set.iter()));
        assert_eq!((sorted.len(), sorted.is_empty()), (set.len(), set.is_empty()));
        assert_eq!((sorted.first(), sorted.second()), (set.first().copied(), set.iter().nth(1).copied()));
        let mut last = None;
        for (key, run) in &sorted.runs {
            assert!(last < Some(*key) && run.front().is_some_and(|first| key <= first) && run.len() <= RUN_MAX);
            last = run.back().copied();
        }
    }

    #[test]
    fn it_does_what_a_set_does() {
        for (seed, spread) in [(1, 300), (2, 3_000), (3, 100_000)] {
            let (mut sorted, mut set) = (Sorted::default(), BTreeSet::new());
            for step in 0..20_000_u64 {
                let item = splitmix(splitmix(step) ^ seed) % spread;
                // It grows, then shrinks.
                if splitmix(step ^ seed) % 10 < if step < 10_000 { 7 } else { 3 } {
                    sorted.insert(item);
                    set.insert(item);
                } else {
                    let item = set.range(item..).next().copied().unwrap_or(item);
                    sorted.remove(&item);
                    set.remove(&item);
                }
                assert_eq!(sorted.contains(&item), set.contains(&item));
                assert_eq!(sorted.count_before(&item, u64::MAX), set.range(..item).count() as u64);
                if step % 500 == 0 {
                    check(&sorted, &set);
                }
            }
            check(&sorted, &set);
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_runs() {
        let mut sorted = Sorted::default();
        (0..6_400_u64).for_each(|item| sorted.insert(item));
        assert_eq!(sorted.runs.len(), 100);
        (0..6_400_u64).for_each(|item| sorted.remove(&item));
        assert!(sorted.runs.is_empty() && sorted.is_empty());
        (0..6_400_u64).rev().for_each(|item| sorted.insert(item));
        check(&sorted, &(0..6_400).collect());
        assert_eq!(sorted.runs.len(), 100, "nor does it matter where the order is the other way round");
    }
}
