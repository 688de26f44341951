//! What is known of each job, on disk: one file a job, `jobs/KEY`, written in place so that it can be
//! filled to its end on a full disk.
//!
//! ```text
//! entry := length u32 · kind u8 · body · checksum u64 (FNV-1a of kind and body)
//! file  := Begun · [Spawned] · [Ended · [Clean]] · zeros, set aside when the file was made
//! ```
//!
//! Entries are only ever added. `Begun` is there before the job's first process; `Ended` before its first
//! process is reaped; `Clean` when none of its processes is left. A crash of the supervisor leaves a
//! prefix of that. Only a crash of the machine can leave a torn entry, because only
//! the worker syncs, in groups ([`sync_records`]); such a file is named and kept.

mod entry;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::paths;
use crate::wire::is_valid_key;
pub(crate) use entry::{Begun, Entry, Spawned, checksum};

/// Set aside for the entries after the first, in bytes; they need about half of it.
const ROOM_BYTES: usize = 1024;
/// Larger files are no records.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The record of one job, open to be added to.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    at: u64,
}

impl Record {
    /// Makes the record of a job that is about to begin.
    pub(crate) fn create(state_dir: &Path, begun: &Begun) -> io::Result<Self> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(paths::jobs_dir(state_dir).join(&begun.key))?;
        let mut block = Entry::Begun(begun.clone()).framed();
        let at = block.len() as u64;
        block.resize(block.len() + ROOM_BYTES, 0);
        file.write_all_at(&block, 0)?;
        Ok(Self { file, at })
    }

    /// Opens a record that another supervisor left, to be added to.
    pub(crate) fn reopen(state_dir: &Path, loaded: &Loaded) -> io::Result<Self> {
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

/// What a record says.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) begun: Begun,
    pub(crate) spawned: Option<Spawned>,
    pub(crate) ended: Option<crate::wire::Ended>,
    pub(crate) is_clean: Clean,
    bytes: u64,
}

/// Whether it is known that no process of the job is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clean {
    Yes,
    Unknown,
}

/// All records of a state folder.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) whole: Vec<Loaded>,
    /// File names of what can't be read.
    pub(crate) damaged: Vec<String>,
}

/// Reads all records. What can't be read is named and kept.
pub(crate) fn load(state_dir: &Path) -> io::Result<Records> {
    let mut records = Records::default();
    let folder = match std::fs::read_dir(paths::jobs_dir(state_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
        other => other?,
    };
    for file in folder {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        match read(&file.path()) {
            Some(loaded) if loaded.begun.key == name => records.whole.push(loaded),
            _ => records.damaged.push(name),
        }
    }
    records.whole.sort_by(|a, b| a.begun.key.cmp(&b.begun.key));
    records.damaged.sort();
    Ok(records)
}

fn read(path: &Path) -> Option<Loaded> {
    if std::fs::symlink_metadata(path).ok().is_none_or(|meta| !meta.is_file() || meta.len() > FILE_BYTES_MAX) {
        return None;
    }
    parse(&std::fs::read(path).ok()?)
}

/// Reads entries up to the first zero length. `None`: the file's order or an entry is damaged.
fn parse(bytes: &[u8]) -> Option<Loaded> {
    let (Entry::Begun(begun), mut at) = Entry::parse(bytes)? else { return None };
    let mut loaded = Loaded { begun, spawned: None, ended: None, is_clean: Clean::Unknown, bytes: 0 };
    while !bytes[at..].iter().take(4).all(|byte| *byte == 0) {
        let (entry, length) = Entry::parse(&bytes[at..])?;
        at += length;
        match entry {
            Entry::Begun(_) => return None,
            Entry::Spawned(spawned) => loaded.spawned = Some(spawned),
            Entry::Ended(ended) => loaded.ended = Some(ended),
            Entry::Clean => loaded.is_clean = Clean::Yes,
        }
    }
    loaded.bytes = at as u64;
    Some(loaded)
}

/// Removes a job's record. Fine where there is none.
pub(crate) fn remove(state_dir: &Path, key: &str) -> io::Result<()> {
    match std::fs::remove_file(paths::jobs_dir(state_dir).join(key)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A record that could not be synced.
#[derive(Debug)]
pub struct SyncError {
    /// The file.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

impl std::fmt::Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the record {} could not be synced to disk", self.path.display())
    }
}

impl std::error::Error for SyncError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Syncs the records of these jobs, and the folder that names them, to disk: for the worker, in groups,
/// before it passes on how they ended. Blocks for as long as the disk takes. A record that is
/// forgotten already is passed over.
pub fn sync_records<'a>(state_dir: &Path, keys: impl IntoIterator<Item = &'a str>) -> Result<(), SyncError> {
    sync_in(&paths::jobs_dir(&paths::own(state_dir)), keys)
}

fn sync_in<'a>(folder: &Path, keys: impl IntoIterator<Item = &'a str>) -> Result<(), SyncError> {
    for key in keys {
        let path = folder.join(key);
        let synced = if is_valid_key(key) {
            File::open(&path).and_then(|file| file.sync_data())
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        };
        match synced {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(SyncError { path, source }),
            _ => {}
        }
    }
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| SyncError { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests;
