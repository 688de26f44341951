//! Tasks by their ids, which are given out one after the other. In order when gone through, as a map is, but what lies
//! side by side is found with one look for a group of them, and no place is kept free for what never comes between two
//! that are there, which in a map is half of the memory where numbers only grow.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::id::TaskId;

/// Places in a group.
const SLOTS: usize = 32;

/// The things of `SLOTS` ids.
#[derive(Debug)]
struct Group<T> {
    slots: [Option<Box<T>>; SLOTS],
    used: u32,
}

impl<T> Group<T> {
    fn new() -> Box<Self> {
        Box::new(Self { slots: [const { None }; SLOTS], used: 0 })
    }
}

/// Spreads the numbers of groups, which follow each other. Nobody from outside chooses them.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 over the golden ratio. The upper half goes into the lower, where the table looks for its places.
        let spread = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }
}

/// Things by tasks' ids. One alone in its group takes as much room as it would in a map. Asked a dozen times for each
/// step of a task, and gone through as a whole for nearly nothing: so groups are found with one look, and put in order
/// only where they are gone through.
#[derive(Debug)]
pub(super) struct Dense<T> {
    groups: HashMap<u64, Box<Group<T>>, BuildHasherDefault<Spread>>,
}

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self { groups: HashMap::default() }
    }
}

/// The group of an id, and its place there.
fn place(id: TaskId) -> (u64, usize) {
    (id.0 / SLOTS as u64, usize::try_from(id.0 % SLOTS as u64).unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "called as a map of the standard library is")]
impl<T> Dense<T> {
    /// The one of this id.
    pub(super) fn get(&self, id: &TaskId) -> Option<&T> {
        let (group, slot) = place(*id);
        self.groups.get(&group)?.slots[slot].as_deref()
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, id: &TaskId) -> Option<&mut T> {
        let (group, slot) = place(*id);
        self.groups.get_mut(&group)?.slots[slot].as_deref_mut()
    }

    /// Puts one in, in the place of the one that was there.
    pub(super) fn insert(&mut self, id: TaskId, thing: T) {
        let (group, slot) = place(id);
        let group = self.groups.entry(group).or_insert_with(Group::new);
        if group.slots[slot].replace(Box::new(thing)).is_none() {
            group.used += 1;
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: &TaskId) -> Option<Box<T>> {
        let (key, slot) = place(*id);
        let group = self.groups.get_mut(&key)?;
        let thing = group.slots[slot].take()?;
        group.used -= 1;
        if group.used == 0 {
            self.groups.remove(&key);
        }
        Some(thing)
    }

    /// Whether it is there.
    pub(super) fn contains_key(&self, id: &TaskId) -> bool {
        self.get(id).is_some()
    }

    /// All, by id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &T)> {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_unstable_by_key(|(group, _)| **group);
        groups.into_iter().flat_map(|(group, things)| {
            let ids = ((group * SLOTS as u64)..).map(TaskId);
            ids.zip(&things.slots).filter_map(|(id, thing)| Some((id, thing.as_deref()?)))
        })
    }

    /// The same without their ids.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, thing)| thing)
    }

    /// Their ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = TaskId> {
        self.iter().map(|(id, _)| id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::splitmix;

    #[test]
    fn it_does_what_a_map_does() {
        let (mut dense, mut map) = (Dense::default(), BTreeMap::new());
        for step in 0..20_000_u64 {
            let id = TaskId(splitmix(step) % if step % 3 == 0 { 4_000 } else { 200 });
            match splitmix(step + 1) % 4 {
                0 => assert_eq!(dense.remove(&id).map(|thing| *thing), map.remove(&id)),
                1 => {
                    dense.insert(id, step);
                    map.insert(id, step);
                }
                2 => {
                    if let Some(thing) = dense.get_mut(&id) {
                        *thing += 1;
                    }
                    map.entry(id).and_modify(|thing| *thing += 1);
                }
                _ => assert_eq!(dense.get(&id), map.get(&id)),
            }
        }
        assert!(dense.iter().eq(map.iter().map(|(id, thing)| (*id, thing))));
        for id in map.keys() {
            dense.remove(id);
        }
        assert!(dense.groups.is_empty(), "a group goes with its last thing");
    }
}
