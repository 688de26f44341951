//! One log that is in use: its file, how far it is, and who follows it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::empty::{Empties, Marked};
use super::key::{LogKey, LogStream, index, sealed};
use super::marks::{self, LogMarks, Record};
use super::{LogEnd, LogState, Segment};
use crate::error::LogError;

/// One log that is in use.
#[derive(Debug)]
pub(super) struct Entry {
    key: LogKey,
    stream: LogStream,
    /// While it is open; see [`sealed`].
    path: PathBuf,
    used: AtomicU64,
    empties: Arc<Empties>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: not looked at yet, or deleted.
    state: Option<watch::Sender<LogState>>,
    file: Option<Arc<File>>,
    index: Option<Index>,
    marks: LogMarks,
    /// The time that was recorded last, in milliseconds.
    last_ms: Option<u64>,
    /// Where its records end.
    index_end: u64,
    /// The disk has nothing any more from the first byte that is left out up to here.
    punched: u64,
    sync: SyncState,
    /// Up to here the disk was asked to write it.
    written_back: u64,
    /// Whether its names are known to be durable: they are synced with the folders, which is not done each time.
    names: Names,
    life: Life,
}

#[derive(Debug)]
struct Index {
    file: Arc<File>,
    path: PathBuf,
}

/// Blocks of the disk are given back in such pieces.
const PUNCH_BYTES: u64 = 64 << 10;

/// Whether what is in the file is known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SyncState {
    /// Not known: written since, or not looked at since the store was opened.
    Unknown,
    /// Not known, and the next round will see to it.
    Queued,
    /// It is.
    Durable,
}

/// Whether the names of a log's files are known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// One was given since, or they were not looked at since the store was opened.
    Unknown,
    /// They are.
    Durable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Kept,
    Deleted,
}

/// What a round of syncs needs of an entry.
pub(super) struct ToSync {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    /// What the disk was not asked to write yet.
    pub(super) new: Range<u64>,
    pub(super) names: Names,
    /// Its records, where there are new ones.
    pub(super) index: Option<(Arc<File>, PathBuf)>,
}

impl Entry {
    pub(super) fn new(key: LogKey, stream: LogStream, (path, empties): (PathBuf, Arc<Empties>)) -> Self {
        let inner = Inner {
            state: None,
            file: None,
            index: None,
            marks: LogMarks::default(),
            last_ms: None,
            index_end: 0,
            punched: 0,
            sync: SyncState::Unknown,
            written_back: 0,
            names: Names::Unknown,
            life: Life::Kept,
        };
        Self { key, stream, path, used: AtomicU64::new(0), empties, inner: Mutex::new(inner) }
    }

    pub(super) fn touch(&self, used: u64) {
        self.used.fetch_max(used, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether nobody follows it and nothing of it waits for a sync.
    pub(super) fn is_idle(&self) -> bool {
        let inner = self.inner.lock();
        inner.sync != SyncState::Queued && inner.state.as_ref().is_none_or(|state| state.receiver_count() == 0)
    }

    pub(super) fn state(&self) -> Result<LogState, LogError> {
        let mut inner = self.inner.lock();
        Ok(*self.look(&mut inner)?.borrow())
    }

    pub(super) fn follow(&self) -> Result<watch::Receiver<LogState>, LogError> {
        let mut inner = self.inner.lock();
        Ok(self.look(&mut inner)?.subscribe())
    }

    pub(super) fn marks(&self) -> Result<LogMarks, LogError> {
        let mut inner = self.inner.lock();
        self.look(&mut inner)?;
        Ok(inner.marks.clone())
    }

    pub(super) fn append(&self, segment: &Segment<'_>) -> Result<LogState, LogError> {
        let mut inner = self.inner.lock();
        let state = *self.look(&mut inner)?.borrow();
        let (key, stream, offset) = (self.key, self.stream, segment.offset);
        let skips = segment.left_out_from.is_some_and(|from| from <= state.length);
        if offset > state.length && !skips {
            return Err(LogError::Gap { key, stream, offset, expected: state.length });
        }
        let begins = offset.max(state.length);
        let there = usize::try_from(begins - offset).unwrap_or(usize::MAX);
        let new = segment.bytes.get(there..).unwrap_or_default();
        // That a job truncated its output is news even where it wrote nothing more.
        if new.is_empty() && begins == state.length && segment.keep.is_none() && !segment.truncated {
            return Ok(state);
        }
        if state.is_sealed() {
            let is_new = !new.is_empty() || begins > state.length;
            return if is_new { Err(LogError::Sealed { key, stream, sealed: state.length }) } else { Ok(state) };
        }
        let file = self.writable(&mut inner)?;
        self.record(&mut inner, segment, (state.length, begins, begins + new.len() as u64))?;
        let failed = |source| LogError::io("append to", &self.path, source);
        if new.is_empty() && begins > state.length {
            file.set_len(begins).map_err(failed)?;
        }
        file.write_all_at(new, begins).map_err(failed)?;
        let state = LogState { length: begins + new.len() as u64, end: LogEnd::Open };
        inner.punch(&file, state.length);
        inner.changed(state);
        Ok(state)
    }

    /// Writes down what a segment says beside its bytes, before they are written.
    fn record(
        &self,
        inner: &mut Inner,
        segment: &Segment<'_>,
        (length, begins, ends): (u64, u64, u64),
    ) -> Result<(), LogError> {
        let mut records = Vec::new();
        if begins > length {
            records.push(Record::Gap(length, begins));
        }
        if segment.truncated && segment.offset >= length {
            records.push(Record::Truncated(segment.offset));
        }
        records.extend(segment.keep.map(|(head, tail)| Record::Keep(head, tail)));
        records.retain(|record| !inner.marks.has(*record));
        // The time that holds for the first new byte, and those of later ones.
        let earlier = segment.times.iter().rev().find(|time| time.0 <= begins).map(|time| (begins, time.1));
        let later = segment.times.iter().copied().filter(|time| begins < time.0 && time.0 < ends);
        for (at, ms) in earlier.into_iter().chain(later) {
            if begins < ends && inner.last_ms != Some(ms) {
                inner.last_ms = Some(ms);
                records.push(Record::Time(at, ms));
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        let file = self.index(inner)?;
        if inner.index_end == 0 {
            inner.names = Names::Unknown;
        }
        inner.index_end = marks::append(&file, inner.index_end, &records)
            .map_err(|source| LogError::io("append to", &index(&self.path), source))?;
        for record in records {
            inner.marks.add(record);
        }
        Ok(())
    }

    fn index(&self, inner: &mut Inner) -> Result<Arc<File>, LogError> {
        if let Some(index) = &inner.index {
            return Ok(Arc::clone(&index.file));
        }
        let path = index(&self.path);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = Arc::new(opened.map_err(|source| LogError::io("open", &path, source))?);
        inner.index = Some(Index { file: Arc::clone(&file), path });
        Ok(file)
    }

    pub(super) fn seal(&self, length: u64) -> Result<LogState, LogError> {
        let mut inner = self.inner.lock();
        let state = *self.look(&mut inner)?.borrow();
        let (key, stream) = (self.key, self.stream);
        if length > state.length {
            return Err(LogError::Gap { key, stream, offset: length, expected: state.length });
        }
        if length < state.length {
            return Err(LogError::Sealed { key, stream, sealed: state.length });
        }
        if state.is_sealed() {
            return Ok(state);
        }
        if length == 0 && inner.file.is_none() && length_of(&self.path)?.is_none() {
            self.seal_empty()?;
        } else {
            let file = self.writable(&mut inner)?;
            inner.punch(&file, length);
            fs::rename(&self.path, sealed(&self.path)).map_err(|source| LogError::io("seal", &self.path, source))?;
            inner.names = Names::Unknown;
        }
        let state = LogState { length, end: LogEnd::Sealed };
        inner.changed(state);
        Ok(state)
    }

    /// Most logs of a stream are empty: one that was never written is a mark among others, or gets its last
    /// name at once.
    fn seal_empty(&self) -> Result<(), LogError> {
        match self.empties.mark(self.key, self.stream)? {
            Marked::Yes => Ok(()),
            Marked::NoRoom => {
                let made = self.make(&sealed(&self.path));
                made.map(drop).map_err(|source| LogError::io("seal", &self.path, source))
            }
        }
    }

    /// Followers are told by the end of their watch.
    pub(super) fn delete(&self) {
        let mut inner = self.inner.lock();
        inner.life = Life::Deleted;
        inner.state = None;
        inner.file = None;
        inner.index = None;
    }

    /// Whether it has now been queued, and was not before.
    pub(super) fn queue_for_sync(&self) -> bool {
        let mut inner = self.inner.lock();
        let queue = inner.sync == SyncState::Unknown;
        if queue {
            inner.sync = SyncState::Queued;
        }
        queue
    }

    /// Called by the round that will sync it. What is written from here on queues it again.
    pub(super) fn begin_sync(&self) -> Result<Option<ToSync>, LogError> {
        let mut inner = self.inner.lock();
        if inner.life == Life::Deleted {
            return Ok(None);
        }
        let state = *self.look(&mut inner)?.borrow();
        let path = if state.is_sealed() { sealed(&self.path) } else { self.path.clone() };
        let found = match &inner.file {
            Some(file) => Some((Arc::clone(file), path)),
            None => self.file_to_sync(state, path)?,
        };
        let Some((file, path)) = found else { return Ok(None) };
        inner.sync = SyncState::Durable;
        let index = inner.index.take().map(|index| (index.file, index.path));
        let new = inner.written_back..state.length.max(inner.written_back);
        inner.written_back = new.end;
        let names = mem::replace(&mut inner.names, Names::Durable);
        Ok(Some(ToSync { file, path, new, names, index }))
    }

    /// The file that holds what is said of it. `None`: nothing was ever written.
    fn file_to_sync(&self, state: LogState, path: PathBuf) -> Result<Option<(Arc<File>, PathBuf)>, LogError> {
        if state == (LogState { length: 0, end: LogEnd::Sealed }) && self.empties.has(self.key, self.stream)? {
            return self.empties.to_sync(self.key);
        }
        match File::open(&path) {
            Ok(file) => Ok(Some((Arc::new(file), path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && state == LogState::default() => Ok(None),
            Err(source) => Err(LogError::io("open", &path, source)),
        }
    }

    /// How far it is, from the disk where that is not known yet.
    fn look<'a>(&self, inner: &'a mut Inner) -> Result<&'a watch::Sender<LogState>, LogError> {
        if inner.state.is_none() {
            let state = self.state_on_disk()?;
            let (marks, index_end, last_ms) = marks::load(&index(&self.path), state.length)?;
            (inner.marks, inner.index_end, inner.last_ms) = (marks, index_end, last_ms);
            inner.state = Some(watch::Sender::new(state));
        }
        Ok(inner.state.as_ref().expect("it was filled in just above"))
    }

    fn state_on_disk(&self) -> Result<LogState, LogError> {
        if let Some(length) = length_of(&sealed(&self.path))? {
            return Ok(LogState { length, end: LogEnd::Sealed });
        }
        if let Some(length) = length_of(&self.path)? {
            return Ok(LogState { length, end: LogEnd::Open });
        }
        let end = if self.empties.has(self.key, self.stream)? { LogEnd::Sealed } else { LogEnd::Open };
        Ok(LogState { length: 0, end })
    }

    fn writable(&self, inner: &mut Inner) -> Result<Arc<File>, LogError> {
        if let Some(file) = &inner.file {
            return Ok(Arc::clone(file));
        }
        let file = self.make(&self.path).map_err(|source| LogError::io("open", &self.path, source))?;
        inner.names = Names::Unknown;
        inner.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Opens the log's file under this name, and makes it, and its folder, where they are not there.
    fn make(&self, path: &Path) -> io::Result<Arc<File>> {
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.path.parent().expect("a log lies in its task's folder"))?;
                open()
            }
            other => other,
        };
        file.map(Arc::new)
    }
}

impl Inner {
    /// Gives back the disk's blocks between the first and the last bytes that are kept.
    fn punch(&mut self, file: &File, length: u64) {
        let Some((from, to)) = self.marks.middle(length) else { return };
        self.marks.forget_within((from, to));
        let from = self.punched.max(from.next_multiple_of(PUNCH_BYTES));
        let to = to / PUNCH_BYTES * PUNCH_BYTES;
        if from >= to {
            return;
        }
        self.punched = to;
        // Where the file system cannot do it the bytes stay, and are not shown.
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::FallocateFlags;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _refused = rustix::fs::fallocate(file, flags, from, to - from);
        }
        #[cfg(not(target_os = "linux"))]
        let _cannot = file;
    }

    fn changed(&mut self, state: LogState) {
        if let Some(sender) = &self.state {
            sender.send_replace(state);
        }
        if state.is_sealed() {
            self.file = None;
        }
        if self.sync == SyncState::Durable {
            self.sync = SyncState::Unknown;
        }
    }
}

fn length_of(path: &Path) -> Result<Option<u64>, LogError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::io("look at", path, source)),
    }
}
