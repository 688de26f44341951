//! The ends that were synced: one file of slots, so that one sync does for any number of them, and a torn
//! write spoils none but its own.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use crate::wire::Ended;

/// One slot, in bytes: a disk writes so much whole or not at all, as a rule.
pub const SLOT_BYTES: usize = 512;

/// Which slot has whose end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    by_key: BTreeMap<String, usize>,
    free: BTreeSet<usize>,
    count: usize,
}

/// An end as it stands in its slot. `None`: it does not fit, which none does that a supervisor writes.
pub fn slot(ended: &Ended) -> Option<[u8; SLOT_BYTES]> {
    let bytes = Entry::Ended(ended.clone()).framed();
    let mut slot = [0; SLOT_BYTES];
    slot.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(slot)
}

impl Slots {
    /// Reads a file of slots: who has which, the ends by key, and the slots that are damaged, which stay as
    /// they are.
    pub fn read(bytes: &[u8]) -> (Self, Vec<Ended>, Vec<usize>) {
        let (mut slots, mut ends, mut damaged) = (Self::default(), BTreeMap::new(), Vec::new());
        for (at, slot) in bytes.chunks(SLOT_BYTES).enumerate() {
            slots.count = at + 1;
            match Entry::parse(slot) {
                _ if slot.iter().all(|byte| *byte == 0) => drop(slots.free.insert(at)),
                Some((Entry::Ended(ended), _)) => {
                    let key = ended.key().to_owned();
                    slots.by_key.insert(key.clone(), at);
                    ends.insert(key, ended);
                }
                Some((Entry::Begun(_) | Entry::Spawned(_) | Entry::Clean, _)) | None => damaged.push(at),
            }
        }
        (slots, ends.into_values().collect(), damaged)
    }

    /// How many there are, used and free.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many have an end.
    pub fn used(&self) -> usize {
        self.by_key.len()
    }

    /// Adds free ones until so many ends have a place. Tells whether any had to be added.
    pub fn grow(&mut self, ends: usize) -> bool {
        let wanted = ends.saturating_sub(self.by_key.len() + self.free.len());
        self.free.extend(self.count..self.count + wanted);
        self.count += wanted;
        wanted > 0
    }

    /// The slot for a job's end: the one that it has, or a free one. `None`: there is none.
    pub fn take(&mut self, key: &str) -> Option<usize> {
        if let Some(slot) = self.by_key.get(key) {
            return Some(*slot);
        }
        let slot = self.free.pop_first()?;
        self.by_key.insert(key.to_owned(), slot);
        Some(slot)
    }

    /// The slot that a job's end had, which is to be filled with zeros.
    pub fn give_back(&mut self, key: &str) -> Option<usize> {
        let slot = self.by_key.remove(key)?;
        self.free.insert(slot);
        Some(slot)
    }
}
