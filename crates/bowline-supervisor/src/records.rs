//! What is known of each job, on disk: one file a job, `jobs/KEY`, written in place so that it can be
//! filled to its end on a full disk; and one file for the ends that were synced, `ends`.
//!
//! ```text
//! entry := length u32 · kind u8 · body · checksum u64 (FNV-1a of kind and body)
//! file  := Begun · [Spawned] · [Ended · [Ended] · [Clean]] · zeros, set aside when the file was made
//! ends  := slots of 512 bytes, each an Ended and zeros, or zeros
//! ```
//!
//! Entries are only ever added. `Begun` is there before the job's first process; `Ended` before its first
//! process is reaped; `Clean` when none of its processes is left. A crash of the supervisor leaves a
//! prefix of that. A crash of the machine may lose or tear what was not synced: what is whole up to the
//! damage counts, and the damage is named and kept.
//!
//! A job's own file is never synced, because no process of it outlives the machine. Its end goes to `ends` too,
//! with all that ended meanwhile, and is synced there, see [`crate::machine`].
//!
//! What the bytes mean is decided here and in the modules below; [`files`] has the files.

mod ends;
mod entry;
pub(crate) mod files;
pub(crate) mod spares;

use std::collections::BTreeMap;

pub use ends::{SLOT_BYTES, Slots, slot};
pub(crate) use entry::checksum;
pub use entry::{Begun, Entry, Spawned};

use crate::wire::Ended;

/// Set aside for the entries after the first, in bytes; they need about half of it.
const ROOM_BYTES: usize = 1024;
/// Larger files are no records, in bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 10;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// What was known before the first process.
    pub begun: Begun,
    /// What was known of the first process.
    pub spawned: Option<Spawned>,
    /// How the job ended.
    pub ended: Option<Ended>,
    /// Whether none of its processes was left.
    pub is_clean: Clean,
    /// What follows the last whole entry.
    pub tail: Tail,
    /// Where the next entry goes, in bytes from the file's beginning.
    pub bytes: u64,
}

impl Loaded {
    /// Whether processes of the job may be left in this boot of the machine: they must be looked for and killed
    /// before anything else is started.
    pub fn may_have_left_something(&self, boot_id: &str) -> bool {
        self.is_clean == Clean::Unknown && self.begun.boot_id == boot_id && !is_mutant!(LeftoversNotSwept)
    }
}

/// Whether it is known that no process of the job is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clean {
    /// It is on record.
    Yes,
    /// It is not.
    Unknown,
}

/// What follows the last whole entry of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing but room.
    Room,
    /// Bytes that are no entry. They are kept, and nothing is added.
    Damaged,
}

/// All records of a state folder.
#[derive(Debug, Default)]
pub struct Records {
    /// By key.
    pub whole: Vec<Loaded>,
    /// Ends that were synced of jobs whose own records are gone, by key.
    pub ends: Vec<Ended>,
    /// Names of what can't be read to its end: of files, and `ends/N` for a slot.
    pub damaged: Vec<String>,
}

/// The first bytes of a job's record, and where the next entry goes.
pub fn opening(begun: &Begun) -> (Vec<u8>, u64) {
    let mut block = Entry::Begun(begun.clone()).framed();
    let at = block.len() as u64;
    block.resize(block.len() + ROOM_BYTES, 0);
    (block, at)
}

/// Reads entries up to the zeros that were set aside, or up to the first that is damaged or out of order. `None`: not
/// even the first is whole.
pub fn parse(bytes: &[u8]) -> Option<Loaded> {
    let (Entry::Begun(begun), mut at) = Entry::parse(bytes)? else { return None };
    let mut loaded = Loaded { begun, spawned: None, ended: None, is_clean: Clean::Unknown, tail: Tail::Room, bytes: 0 };
    // A length of zero alone is no end: what stands behind it would be lost without a word.
    while bytes[at..].iter().any(|byte| *byte != 0) {
        let Some((entry, length)) = Entry::parse(&bytes[at..]) else {
            loaded.tail = Tail::Damaged;
            break;
        };
        match entry {
            Entry::Begun(_) => {
                loaded.tail = Tail::Damaged;
                break;
            }
            Entry::Spawned(spawned) => loaded.spawned = Some(spawned),
            Entry::Ended(ended) => loaded.ended = Some(ended),
            Entry::Clean => loaded.is_clean = Clean::Yes,
        }
        at += length;
    }
    loaded.bytes = at as u64;
    Some(loaded)
}

/// Puts together what the files say: each record's name and bytes (`None`: it is no plain file, or too long),
/// and the synced ends. Damage is named.
pub fn read_all(files: impl IntoIterator<Item = (String, Option<Vec<u8>>)>, ends: &[u8]) -> Records {
    let mut records = Records::default();
    let mut whole = BTreeMap::new();
    for (name, bytes) in files {
        let loaded = bytes.and_then(|bytes| parse(&bytes)).filter(|loaded| loaded.begun.key == name);
        if loaded.as_ref().is_none_or(|loaded| loaded.tail == Tail::Damaged) {
            reached!(RecordDamaged);
            records.damaged.push(name.clone());
        }
        if let Some(loaded) = loaded {
            whole.insert(name, loaded);
        }
    }
    let (_, synced, damaged) = Slots::read(ends);
    records.damaged.extend(damaged.iter().map(|slot| format!("ends/{slot}")));
    records.damaged.sort();
    for ended in synced {
        match whole.get_mut(ended.key()) {
            // Its own word is as good, and may say more.
            Some(loaded) => drop(loaded.ended.get_or_insert(ended)),
            None => records.ends.push(ended),
        }
    }
    records.whole = whole.into_values().collect();
    records
}

#[cfg(test)]
mod tests;
