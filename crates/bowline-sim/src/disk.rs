//! Disks: what is not synced is lost when the machine crashes, a write may be torn in its middle, and a disk fills up.
//!
//! Two kinds of files: plain ones of bytes, appended and replaced; and files of batches, as a database
//! with a write-ahead log keeps them, each all or nothing.

use std::any::Any;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::random::Random;

/// A write that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no room.
    #[error("no space left on the device")]
    Full,
    /// It fails now; it may work later.
    #[error("the disk refused the write")]
    Refused,
}

/// A plain file.
#[derive(Debug, Clone, Default)]
struct Plain {
    bytes: Vec<u8>,
    /// So many of them are safe.
    synced: usize,
}

/// A file of batches.
#[derive(Debug, Clone, Default)]
struct Batches {
    all: Vec<Rc<dyn Any>>,
    /// So many of them are durable.
    durable: usize,
}

/// Copied files.
#[derive(Debug, Clone)]
pub struct Copied {
    plain: Vec<(String, Plain)>,
    batches: Vec<(String, Batches)>,
}

/// A machine's disk.
#[derive(Debug, Clone)]
pub struct Disk {
    plain: BTreeMap<String, Plain>,
    batches: BTreeMap<String, Batches>,
    /// Writes fail for want of room.
    pub full: bool,
    /// Bytes that are free where it is not full.
    pub free: u64,
}

/// What a disk of a simulated machine has room for: 1 GiB.
const ROOM_BYTES: u64 = 1 << 30;

impl Default for Disk {
    fn default() -> Self {
        Self { plain: BTreeMap::new(), batches: BTreeMap::new(), full: false, free: ROOM_BYTES }
    }
}

impl Disk {
    /// Bytes that are free.
    pub const fn free(&self) -> u64 {
        if self.full { 0 } else { self.free }
    }

    /// Appends.
    pub fn append(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        if self.full {
            return Err(DiskError::Full);
        }
        self.plain.entry(file.to_owned()).or_default().bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends to a file whose room was set aside before: a full disk takes it too.
    pub fn append_in_place(&mut self, file: &str, bytes: &[u8]) {
        self.plain.entry(file.to_owned()).or_default().bytes.extend_from_slice(bytes);
    }

    /// Replaces at once, synced.
    pub fn replace(&mut self, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        if self.full {
            return Err(DiskError::Full);
        }
        self.plain.insert(file.to_owned(), Plain { bytes: bytes.to_vec(), synced: bytes.len() });
        Ok(())
    }

    /// Everything written so far to files whose names begin so is safe.
    pub fn sync(&mut self, files: &str) {
        for (_, file) in self.plain.range_mut(files.to_owned()..).take_while(|(name, _)| name.starts_with(files)) {
            file.synced = file.bytes.len();
        }
    }

    /// What a file holds.
    pub fn read(&self, file: &str) -> Option<Vec<u8>> {
        self.plain.get(file).map(|file| file.bytes.clone())
    }

    /// The batch of a file that became durable last.
    pub fn newest_durable(&self, file: &str) -> Option<Rc<dyn Any>> {
        let file = self.batches.get(file)?;
        file.all.get(file.durable.checked_sub(1)?).cloned()
    }

    /// Files of batches whose names begin so are removed.
    pub fn lose_batches(&mut self, prefix: &str) {
        self.batches.retain(|name, _| !name.starts_with(prefix));
    }

    /// Files by the beginning of their names.
    pub fn files(&self, prefix: &str) -> Vec<String> {
        self.plain.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// What is durable of the files whose names begin so, without that beginning.
    pub fn copied(&self, prefix: &str) -> Copied {
        let own = |name: &str| name.strip_prefix(prefix).map(str::to_owned);
        let plain = self.plain.iter().filter_map(|(name, file)| {
            Some((own(name)?, Plain { bytes: file.bytes[..file.synced].to_vec(), synced: file.synced }))
        });
        let batches = self.batches.iter().filter_map(|(name, file)| {
            let all = file.all.iter().take(file.durable).cloned().collect();
            Some((own(name)?, Batches { all, durable: file.durable }))
        });
        Copied { plain: plain.collect(), batches: batches.collect() }
    }

    /// Puts copied files under this beginning, in place of all that is there.
    pub fn restore(&mut self, prefix: &str, copied: Copied) {
        self.plain.retain(|name, _| !name.starts_with(prefix));
        self.batches.retain(|name, _| !name.starts_with(prefix));
        self.plain.extend(copied.plain.into_iter().map(|(name, file)| (prefix.to_owned() + &name, file)));
        self.batches.extend(copied.batches.into_iter().map(|(name, file)| (prefix.to_owned() + &name, file)));
    }

    /// Removes one.
    pub fn remove(&mut self, file: &str) {
        self.plain.remove(file);
        self.batches.remove(file);
    }

    /// A batch is handed over; [`Disk::durable`] says when it is safe. Its place among those of the file.
    pub fn put(&mut self, file: &str, batch: Rc<dyn Any>) -> usize {
        let all = &mut self.batches.entry(file.to_owned()).or_default().all;
        all.push(batch);
        all.len() - 1
    }

    /// The place of the batch that becomes durable next.
    pub fn next_place(&self, file: &str) -> Option<usize> {
        self.batches.get(file).map(|batches| batches.durable)
    }

    /// One more batch of this file is durable.
    pub fn durable(&mut self, file: &str) -> Result<(), DiskError> {
        if self.full {
            return Err(DiskError::Full);
        }
        if let Some(batches) = self.batches.get_mut(file) {
            batches.durable = (batches.durable + 1).min(batches.all.len());
        }
        Ok(())
    }

    /// The batches of a file that are durable.
    pub fn batches<T: 'static>(&self, file: &str) -> Vec<Rc<T>> {
        let Some(batches) = self.batches.get(file) else { return Vec::new() };
        let durable = batches.all.iter().take(batches.durable);
        durable.filter_map(|batch| Rc::clone(batch).downcast::<T>().ok()).collect()
    }

    /// The process that wrote dies: a batch that was under way is there as a whole, or it and all after it are not.
    /// Says which batches are there that nobody was told of.
    pub fn process_died(&mut self, files: &str, random: &mut Random) -> Vec<(String, Rc<dyn Any>)> {
        let mut unheard = Vec::new();
        for (name, batches) in
            self.batches.range_mut(files.to_owned()..).take_while(|(name, _)| name.starts_with(files))
        {
            let under_way = batches.all.len() - batches.durable;
            let landed = random.below(under_way.min(2) as u64 + 1);
            let before = batches.durable;
            batches.durable += usize::try_from(landed).unwrap_or(0);
            batches.all.truncate(batches.durable);
            unheard.extend(batches.all[before..].iter().map(|batch| (name.clone(), Rc::clone(batch))));
        }
        unheard
    }

    /// The machine dies: of what was not synced a part is there, cut anywhere.
    pub fn machine_died(&mut self, random: &mut Random) {
        self.process_died("", random);
        for file in self.plain.values_mut() {
            let unsafe_bytes = file.bytes.len() - file.synced;
            let kept = usize::try_from(random.below(unsafe_bytes as u64 + 1)).unwrap_or(0);
            let kept = if random.per_mille(500) { 0 } else { kept };
            file.bytes.truncate(file.synced + kept);
            if kept > 0 && random.per_mille(200) {
                // The last block was allocated, and never written.
                let from = file.synced + usize::try_from(random.below(kept as u64)).unwrap_or(0);
                file.bytes[from..].fill(0);
            }
            file.synced = file.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_or_tears_what_was_not_synced_and_nothing_else() {
        for seed in 0..100 {
            let mut disk = Disk::default();
            disk.append("a", b"safe").unwrap();
            disk.sync("");
            disk.append("a", b"unsafe").unwrap();
            disk.machine_died(&mut Random::new(seed, 0));
            let left = disk.read("a").unwrap();
            assert!(left.starts_with(b"safe") && left.len() <= 10);
        }
    }

    #[test]
    fn batches_survive_in_order_and_whole() {
        for seed in 0..100 {
            let mut disk = Disk::default();
            for number in 0..4 {
                assert_eq!(disk.put("j", Rc::new(number)), usize::try_from(number).unwrap());
            }
            disk.durable("j").unwrap();
            disk.process_died("", &mut Random::new(seed, 0));
            let left: Vec<i32> = disk.batches::<i32>("j").iter().map(|batch| **batch).collect();
            assert!(!left.is_empty() && left.iter().zip(0..).all(|(batch, number)| *batch == number));
        }
    }

    #[test]
    fn a_full_disk_refuses() {
        let mut disk = Disk { full: true, ..Disk::default() };
        assert_eq!(disk.append("a", b"x"), Err(DiskError::Full));
        assert_eq!(disk.free(), 0);
    }
}
