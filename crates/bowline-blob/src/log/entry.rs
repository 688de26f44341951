//! One log that is in use: its file, how far it is, and who follows it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::key::{LogKey, LogStream, sealed};
use super::{LogEnd, LogState};
use crate::error::LogError;

/// One log that is in use.
#[derive(Debug)]
pub(super) struct Entry {
    key: LogKey,
    stream: LogStream,
    /// While it is open; see [`sealed`].
    path: PathBuf,
    used: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: not looked at yet, or deleted.
    state: Option<watch::Sender<LogState>>,
    file: Option<Arc<File>>,
    sync: SyncState,
    life: Life,
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Kept,
    Deleted,
}

/// What a round of syncs needs of an entry.
pub(super) struct ToSync {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
}

impl Entry {
    pub(super) fn new(key: LogKey, stream: LogStream, path: PathBuf) -> Self {
        let inner = Inner { state: None, file: None, sync: SyncState::Unknown, life: Life::Kept };
        Self { key, stream, path, used: AtomicU64::new(0), inner: Mutex::new(inner) }
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

    pub(super) fn append(&self, offset: u64, bytes: &[u8]) -> Result<LogState, LogError> {
        let mut inner = self.inner.lock();
        let state = *self.look(&mut inner)?.borrow();
        if offset > state.length {
            let (key, stream) = (self.key, self.stream);
            return Err(LogError::Gap { key, stream, offset, expected: state.length });
        }
        let there = usize::try_from(state.length - offset).unwrap_or(usize::MAX);
        let Some(new) = bytes.get(there..).filter(|new| !new.is_empty()) else { return Ok(state) };
        if state.is_sealed() {
            return Err(LogError::Sealed { key: self.key, stream: self.stream, sealed: state.length });
        }
        let file = self.writable(&mut inner)?;
        file.write_all_at(new, state.length).map_err(|source| LogError::io("append to", &self.path, source))?;
        let state = LogState { length: state.length + new.len() as u64, end: LogEnd::Open };
        inner.changed(state);
        Ok(state)
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
        self.writable(&mut inner)?;
        fs::rename(&self.path, sealed(&self.path)).map_err(|source| LogError::io("seal", &self.path, source))?;
        let state = LogState { length, end: LogEnd::Sealed };
        inner.changed(state);
        Ok(state)
    }

    /// Followers are told by the end of their watch.
    pub(super) fn delete(&self) {
        let mut inner = self.inner.lock();
        inner.life = Life::Deleted;
        inner.state = None;
        inner.file = None;
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
        let file = match &inner.file {
            Some(file) => Arc::clone(file),
            None => match File::open(&path) {
                Ok(file) => Arc::new(file),
                // Nothing was ever written.
                Err(error) if error.kind() == io::ErrorKind::NotFound && state == LogState::default() => {
                    return Ok(None);
                }
                Err(source) => return Err(LogError::io("open", &path, source)),
            },
        };
        inner.sync = SyncState::Durable;
        Ok(Some(ToSync { file, path }))
    }

    /// How far it is, from the disk where that is not known yet.
    fn look<'a>(&self, inner: &'a mut Inner) -> Result<&'a watch::Sender<LogState>, LogError> {
        if inner.state.is_none() {
            let sealed = length_of(&sealed(&self.path))?;
            let state = match sealed {
                Some(length) => LogState { length, end: LogEnd::Sealed },
                None => LogState { length: length_of(&self.path)?.unwrap_or(0), end: LogEnd::Open },
            };
            inner.state = Some(watch::Sender::new(state));
        }
        Ok(inner.state.as_ref().expect("it was filled in just above"))
    }

    fn writable(&self, inner: &mut Inner) -> Result<Arc<File>, LogError> {
        if let Some(file) = &inner.file {
            return Ok(Arc::clone(file));
        }
        let folder = self.path.parent().expect("a log lies in its task's folder");
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&self.path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder).map_err(|source| LogError::io("create", folder, source))?;
                open()
            }
            other => other,
        };
        let file = Arc::new(file.map_err(|source| LogError::io("open", &self.path, source))?);
        inner.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl Inner {
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
