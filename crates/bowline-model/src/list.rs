//! A short sorted list without an allocation: millions of states are copied, compared and hashed.

use std::fmt;
use std::hash::{Hash, Hasher};

/// At most `N` items, in order, each once. One more than that is a mistake in the model's bounds, and panics.
#[derive(Clone, Copy)]
pub struct List<T, const N: usize> {
    len: u8,
    items: [T; N],
}

impl<T: Copy + Default + Ord, const N: usize> List<T, N> {
    /// What is in it.
    pub fn as_slice(&self) -> &[T] {
        &self.items[..usize::from(self.len)]
    }

    /// What is in it, to be changed without changing the order.
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.items[..usize::from(self.len)]
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.as_slice().iter()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts one in its place, where it is not there yet.
    pub(super) fn insert(&mut self, item: T) {
        let Err(place) = self.as_slice().binary_search(&item) else { return };
        let len = usize::from(self.len);
        self.items.copy_within(place..len, place + 1);
        self.items[place] = item;
        self.len += 1;
    }

    /// Keeps some.
    pub(super) fn retain(&mut self, keeps: impl Fn(&T) -> bool) {
        let mut kept = 0;
        for place in 0..usize::from(self.len) {
            if keeps(&self.items[place]) {
                self.items[kept] = self.items[place];
                kept += 1;
            }
        }
        self.len = u8::try_from(kept).unwrap_or(self.len);
    }

    /// Brings them into order again.
    pub(super) fn sort(&mut self) {
        self.as_mut_slice().sort_unstable();
    }
}

impl<'list, T: Copy + Default + Ord, const N: usize> IntoIterator for &'list List<T, N> {
    type Item = &'list T;
    type IntoIter = std::slice::Iter<'list, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self { len: 0, items: [T::default(); N] }
    }
}

impl<T: Copy + Default + Ord, const N: usize> PartialEq for List<T, N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Copy + Default + Ord, const N: usize> Eq for List<T, N> {}

impl<T: Copy + Default + Ord, const N: usize> PartialOrd for List<T, N> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Copy + Default + Ord, const N: usize> Ord for List<T, N> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl<T: Copy + Default + Ord + Hash, const N: usize> Hash for List<T, N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl<T: Copy + Default + Ord + fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.as_slice()).finish()
    }
}
