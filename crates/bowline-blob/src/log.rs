//! Logs of attempts: append-only files, one for each attempt and stream, that any number of readers
//! follow without polling.
//!
//! A segment names its offset, so that sending it again changes nothing; one that would leave a gap
//! is refused with what is expected. A log is *sealed* with its length when its job has written its
//! last byte. Appending is not durable by itself: [`LogStore::sync`] makes everything durable that
//! was appended before it was called, and callers at the same time share one round of syncs.
//!
//! On disk: `TASK/1000 / TASK / INDEX.GENERATION.ATTEMPT.STREAM`, with `.sealed` at the end once it is (one that
//! is sealed without a byte is a mark in a file that it shares: `empty.rs`);
//! beside it, without that, `.index` holds what it says of itself ([`LogMarks`]) and when what was
//! written. Bytes that are left out are holes in the file: offsets are those of the job's own output.

mod empty;
mod entry;
mod key;
mod marks;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk;
use crate::error::LogError;
use empty::Empties;
use entry::Entry;
use sync::Syncer;

pub use empty::{is_empties, merge_empties};
pub use key::{LogKey, LogStream, index, log_of, sealed};
pub use marks::{LogMarks, records_for_copy};

/// Most logs that are kept open at a time; more only while somebody writes or follows each of them.
pub const OPEN_LOGS_MAX: usize = 512;
/// Most bytes that one [`LogStore::read`] gives.
pub const READ_BYTES_MAX: usize = 1 << 20;

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// Bytes that are there.
    pub length: u64,
    /// Whether more can come.
    pub end: LogEnd,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogEnd {
    /// It can.
    #[default]
    Open,
    /// It is complete.
    Sealed,
}

/// Bytes of a log, with what goes with them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment<'a> {
    /// Where they begin.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
    /// What lies between there and `offset` will never come.
    pub left_out_from: Option<u64>,
    /// Offsets, with the milliseconds since 1970 at which the bytes from there on were written.
    pub times: &'a [(u64, u64)],
    /// Whether the job truncated its output just before `offset`.
    pub truncated: bool,
    /// First and last bytes that are kept of a log that is longer than both together.
    pub keep: Option<(u64, u64)>,
}

impl LogState {
    /// Whether the log is complete.
    pub fn is_sealed(&self) -> bool {
        self.end == LogEnd::Sealed
    }
}

/// The logs in one folder.
#[derive(Debug)]
pub struct LogStore {
    root: PathBuf,
    open: Mutex<HashMap<(LogKey, LogStream), Arc<Entry>>>,
    uses: AtomicU64,
    syncer: Syncer,
    empties: Arc<Empties>,
}

impl LogStore {
    /// Opens the folder, and makes it where it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LogError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|source| LogError::io("create", &root, source))?;
        disk::spread(&root);
        let syncer = Syncer::new(root.clone());
        let empties = Arc::new(Empties::new(root.clone()));
        Ok(Self { root, open: Mutex::new(HashMap::new()), uses: AtomicU64::new(0), syncer, empties })
    }

    /// Appends a segment that begins at `offset`. What is there already is skipped; a gap is refused
    /// with what is expected. The answer may be acknowledged after [`LogStore::sync`]. Blocks.
    pub fn append(&self, key: LogKey, stream: LogStream, offset: u64, bytes: &[u8]) -> Result<LogState, LogError> {
        self.append_segment(key, stream, &Segment { offset, bytes, ..Segment::default() })
    }

    /// As [`LogStore::append`], with what goes with the bytes.
    pub fn append_segment(&self, key: LogKey, stream: LogStream, segment: &Segment<'_>) -> Result<LogState, LogError> {
        let entry = self.entry(key, stream);
        let state = entry.append(segment)?;
        self.syncer.mark(&entry);
        Ok(state)
    }

    /// Says that the log is complete with this length. Again with the same length changes nothing.
    /// Blocks.
    pub fn seal(&self, key: LogKey, stream: LogStream, length: u64) -> Result<LogState, LogError> {
        let entry = self.entry(key, stream);
        let state = entry.seal(length)?;
        self.syncer.mark(&entry);
        Ok(state)
    }

    /// Makes everything durable that was appended or sealed before this call. Callers at the same
    /// time share one round. After a failure every later call fails too: nobody knows any more what
    /// is on the disk, until the store is opened anew. Blocks.
    pub fn sync(&self) -> Result<(), LogError> {
        self.syncer.sync()
    }

    /// At most `length` bytes from `offset`, and never more than [`READ_BYTES_MAX`]. Empty: there are
    /// none (yet). Blocks.
    pub fn read(&self, key: LogKey, stream: LogStream, offset: u64, length: usize) -> Result<Vec<u8>, LogError> {
        self.read_behind(0, key, stream, (offset, length))
    }

    /// As [`LogStore::read`], behind `room` bytes that are left to the caller: what goes in front of the bytes
    /// needs no copy of them. Blocks.
    pub fn read_behind(
        &self,
        room: usize,
        key: LogKey,
        stream: LogStream,
        (offset, length): (u64, usize),
    ) -> Result<Vec<u8>, LogError> {
        let Some(file) = self.file_to_read(key, stream)? else { return Ok(vec![0; room]) };
        let mut bytes = vec![0; room + length.min(READ_BYTES_MAX)];
        let mut filled = room;
        while filled < bytes.len() {
            let at = offset.saturating_add((filled - room) as u64);
            match file.read_at(&mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LogError::io("read", &key.path(&self.root, stream), source)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// How far a log is; one of which nothing is there is empty and open. Blocks.
    pub fn state(&self, key: LogKey, stream: LogStream) -> Result<LogState, LogError> {
        self.entry(key, stream).state()
    }

    /// What is left out of a log, and where its job truncated it. Blocks.
    pub fn marks(&self, key: LogKey, stream: LogStream) -> Result<LogMarks, LogError> {
        self.entry(key, stream).marks()
    }

    /// When what was written: offsets, each with the milliseconds since 1970 at which the bytes from
    /// there on were written, by the clock of their worker; and the place from which to go on. Begins at
    /// place 0; nothing new: the same place. Blocks.
    pub fn times(&self, key: LogKey, stream: LogStream, place: u64) -> Result<(Vec<(u64, u64)>, u64), LogError> {
        let (records, place) = marks::read(&index(&key.path(&self.root, stream)), place)?;
        let time = |record| match record {
            marks::Record::Time(at, ms) => Some((at, ms)),
            marks::Record::Gap(..) | marks::Record::Truncated(_) | marks::Record::Keep(..) => None,
        };
        Ok((records.into_iter().filter_map(time).collect(), place))
    }

    /// How far a log is, and each change of it. Ends with an error when the log is deleted. Blocks.
    pub fn follow(&self, key: LogKey, stream: LogStream) -> Result<watch::Receiver<LogState>, LogError> {
        self.entry(key, stream).follow()
    }

    /// Removes all logs of these tasks. One that has none is no error; one whose logs can't be removed hinders no
    /// other one, and is told. Blocks.
    pub fn delete(&self, tasks: &[u64]) -> Vec<(u64, LogError)> {
        let gone: HashSet<u64> = tasks.iter().copied().collect();
        self.open.lock().retain(|(key, _), entry| {
            let stays = !gone.contains(&key.task);
            if !stays {
                entry.delete();
            }
            stays
        });
        let mut left = self.empties.forget(tasks);
        left.extend(tasks.iter().filter_map(|task| Some((*task, self.remove_folder(*task).err()?))));
        left
    }

    fn remove_folder(&self, task: u64) -> Result<(), LogError> {
        let folder = LogKey::folder_of(&self.root, task);
        match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LogError::io("remove", &folder, source)),
            _ => Ok(()),
        }
    }

    fn entry(&self, key: LogKey, stream: LogStream) -> Arc<Entry> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        if open.len() >= OPEN_LOGS_MAX && !open.contains_key(&(key, stream)) {
            close_idle(&mut open);
        }
        let make = || Arc::new(Entry::new(key, stream, (key.path(&self.root, stream), Arc::clone(&self.empties))));
        let entry = Arc::clone(open.entry((key, stream)).or_insert_with(make));
        entry.touch(used);
        entry
    }

    /// A log changes its name once, when it is sealed: looked for under the old name, the new one,
    /// and once more under the old one, it is found whatever happens meanwhile.
    fn file_to_read(&self, key: LogKey, stream: LogStream) -> Result<Option<File>, LogError> {
        let path = key.path(&self.root, stream);
        for path in [&path, &sealed(&path), &path] {
            match File::open(path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(LogError::io("open", path, source)),
            }
        }
        Ok(None)
    }
}

/// Closes the half that was used longest ago, of those that nobody writes, syncs or follows.
fn close_idle(open: &mut HashMap<(LogKey, LogStream), Arc<Entry>>) {
    let mut idle: Vec<_> = open
        .iter()
        .filter(|(_, entry)| Arc::strong_count(entry) == 1 && entry.is_idle())
        .map(|(key, entry)| (entry.used(), *key))
        .collect();
    idle.sort_unstable_by_key(|(used, _)| *used);
    idle.truncate(OPEN_LOGS_MAX / 2);
    for (_, key) in idle {
        open.remove(&key);
    }
}
