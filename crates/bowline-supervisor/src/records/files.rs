//! The records' files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::spares::Spares;
use super::{Begun, Entry, FILE_BYTES_MAX, Loaded, Records, SLOT_BYTES, Slots, Tail, opening, read_all, slot};
use crate::paths;
use crate::wire::Ended;

/// Slots are added so many at once.
const SLOTS_AT_ONCE: usize = 64;
/// A longer file of slots is none, in bytes: more ends than a million are not kept.
const ENDS_BYTES_MAX: u64 = 512 << 20;

/// The record of one job, open to be added to.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    at: u64,
}

impl Record {
    /// Makes the record of a job that is about to begin.
    pub(crate) fn create(state_dir: &Path, begun: &Begun, spares: &mut Spares) -> io::Result<Self> {
        let path = paths::jobs_dir(state_dir).join(&begun.key);
        let (block, at) = opening(begun);
        if let Some(file) = spares.take(&block, &path) {
            return Ok(Self { file, at });
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all_at(&block, 0)?;
        Ok(Self { file, at })
    }

    /// Opens a record that another supervisor left, to be added to. One that is damaged is left alone.
    pub(crate) fn reopen(state_dir: &Path, loaded: &Loaded) -> io::Result<Self> {
        if loaded.tail == Tail::Damaged {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let file = File::options().write(true).open(paths::jobs_dir(state_dir).join(&loaded.begun.key))?;
        Ok(Self { file, at: loaded.bytes })
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let bytes = entry.framed();
        self.file.write_all_at(&bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Reads all records. What can't be read is named and kept.
pub(crate) fn load(state_dir: &Path) -> io::Result<Records> {
    let ends = read_ends(state_dir)?;
    let folder = match std::fs::read_dir(paths::jobs_dir(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(read_all([], &ends)),
        other => other?,
    };
    let mut files = Vec::new();
    for file in folder {
        let file = file?;
        files.push((file.file_name().to_string_lossy().into_owned(), read(&file.path())));
    }
    Ok(read_all(files, &ends))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    if std::fs::symlink_metadata(path).ok().is_none_or(|meta| !meta.is_file() || meta.len() > FILE_BYTES_MAX) {
        return None;
    }
    std::fs::read(path).ok()
}

fn read_ends(state_dir: &Path) -> io::Result<Vec<u8>> {
    let path = paths::ends_path(state_dir);
    match std::fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(meta) if !meta.is_file() || meta.len() > ENDS_BYTES_MAX => Err(io::ErrorKind::InvalidData.into()),
        Ok(_) => std::fs::read(path),
    }
}

/// Removes a job's record. Fine where there is none.
pub(crate) fn remove(state_dir: &Path, key: &str, spares: &mut Spares) -> io::Result<()> {
    match spares.keep(&paths::jobs_dir(state_dir).join(key)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The file of synced ends, open.
#[derive(Debug)]
pub(crate) struct EndsFile {
    file: File,
    slots: Slots,
}

impl EndsFile {
    /// Opens it, or makes it so that it is found after a crash of the machine.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = paths::ends_path(state_dir);
        let is_new = !path.exists();
        let (slots, _, _) = Slots::read(&read_ends(state_dir)?);
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        if is_new {
            File::open(state_dir)?.sync_all()?;
        }
        Ok(Self { file, slots })
    }

    /// Makes sure that so many ends have a place, on a full disk too.
    pub(crate) fn reserve(&mut self, ends: usize) -> io::Result<()> {
        let mut slots = self.slots.clone();
        let before = slots.count();
        if !slots.grow(ends) {
            return Ok(());
        }
        slots.grow(ends.next_multiple_of(SLOTS_AT_ONCE));
        let zeros = vec![0; (slots.count() - before) * SLOT_BYTES];
        self.file.write_all_at(&zeros, (before * SLOT_BYTES) as u64)?;
        self.slots = slots;
        Ok(())
    }

    /// Writes ends to their slots. What is written is not synced.
    pub(crate) fn write(&mut self, ends: &[Ended]) -> io::Result<()> {
        self.reserve(self.slots.used() + ends.len())?;
        for ended in ends {
            let place = slot(ended).zip(self.slots.take(ended.key()));
            let (bytes, at) = place.ok_or(io::ErrorKind::InvalidInput)?;
            self.file.write_all_at(&bytes, (at * SLOT_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Lets go of a job's end, where it has one.
    pub(crate) fn remove(&mut self, key: &str) -> io::Result<()> {
        match self.slots.give_back(key) {
            Some(at) => self.file.write_all_at(&[0; SLOT_BYTES], (at * SLOT_BYTES) as u64),
            None => Ok(()),
        }
    }
}

impl AsFd for EndsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
