//! Rounds of syncs: everything that was appended before a round begins becomes durable by it, and
//! whoever asks while a round runs waits for the next one.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::entry::{Entry, Names};
use crate::disk;
use crate::error::LogError;

#[derive(Debug)]
pub(super) struct Syncer {
    root: PathBuf,
    state: Mutex<State>,
    round_done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queued: Vec<Arc<Entry>>,
    asked: u64,
    done: u64,
    round: Round,
    failed: Option<(PathBuf, io::ErrorKind, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Round {
    #[default]
    Idle,
    Running,
}

impl Syncer {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, state: Mutex::default(), round_done: Condvar::new() }
    }

    /// The next round sees to this log, where it is not known to be durable.
    pub(super) fn mark(&self, entry: &Arc<Entry>) {
        let mut state = self.state.lock();
        if entry.queue_for_sync() {
            state.queued.push(Arc::clone(entry));
        }
    }

    pub(super) fn sync(&self) -> Result<(), LogError> {
        let mut state = self.state.lock();
        state.asked += 1;
        let mine = state.asked;
        loop {
            if let Some((path, kind, message)) = &state.failed {
                return Err(LogError::io("sync", path, io::Error::new(*kind, message.clone())));
            }
            if state.done >= mine {
                return Ok(());
            }
            if state.round == Round::Running {
                self.round_done.wait(&mut state);
                continue;
            }
            state.round = Round::Running;
            let (queued, upto) = (mem::take(&mut state.queued), state.asked);
            drop(state);
            let synced = self.round(&queued);
            state = self.state.lock();
            state.round = Round::Idle;
            match synced {
                Ok(()) => state.done = upto,
                Err((path, error)) => state.failed = Some((path, error.kind(), error.to_string())),
            }
            self.round_done.notify_all();
        }
    }

    fn round(&self, queued: &[Arc<Entry>]) -> Result<(), (PathBuf, io::Error)> {
        let mut to_sync = Vec::with_capacity(queued.len());
        for entry in queued {
            match entry.begin_sync() {
                Ok(found) => to_sync.extend(found),
                Err(error) => return Err((self.root.clone(), io::Error::other(error))),
            }
        }
        // Logs without a byte share a file.
        to_sync.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        to_sync.dedup_by(|one, other| {
            let is_same = one.index.is_none() && one.path == other.path;
            if is_same && one.names == Names::Unknown {
                other.names = Names::Unknown;
            }
            is_same
        });
        // The disk writes all of them at once, and the file system's journal goes with the first: the others have little to
        // wait for. To sync the file system as a whole would write what others have in it too, jobs' files above all, and
        // commits would wait for that.
        if to_sync.len() > 1 {
            for log in &to_sync {
                disk::begin_writing_back(&log.file, log.new.clone());
            }
        }
        let mut folders = BTreeSet::new();
        for log in &to_sync {
            if let Some((index, path)) = &log.index {
                index.sync_data().map_err(|error| (path.clone(), error))?;
            }
            log.file.sync_data().map_err(|error| (log.path.clone(), error))?;
            if log.names == Names::Unknown {
                folders.extend(log.path.ancestors().skip(1).take(3).map(Path::to_owned));
            }
        }
        for folder in folders {
            sync_folder(&folder).map_err(|error| (folder, error))?;
        }
        Ok(())
    }
}

/// A folder that was deleted meanwhile has nothing left to lose.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match disk::sync_folder(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
