//! The in-memory store: the model that every other store must agree with.
//!
//! Nothing of it is durable, and nothing of it is quick: it is there to be plainly right. A handle
//! can be cloned; all clones share one state, so that one can lead while another reads, or takes
//! the leadership over.

mod load;
mod read;
mod state;
mod sweep;
mod table;

use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_core::mutant::{self, Mutant};
use bowline_core::row::Loaded;
use bowline_core::time::Timestamp;
use parking_lot::Mutex;

use self::state::State;
use crate::write::{
    CommitError, LeaderStore, Leadership, RetentionPolicy, RetentionStore, RollbackStore, StoreError, Swept,
};

/// A store in memory. See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own that holds what this one holds now: a backup.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state.lock().clone())) }
    }

    /// Puts this store, in all its handles, back to what a copy of it holds: as a file system does, without a
    /// word. Whoever leads by then does not commit any more where its epoch was younger.
    pub fn put_back(&self, copy: &Self) {
        let earlier = copy.state.lock().clone();
        *self.state.lock() = earlier;
    }
}

impl State {
    fn fence(&self, epoch: Epoch) -> Result<(), CommitError> {
        if self.leadership.epoch == epoch || mutant::is(Mutant::EpochNotChecked) {
            Ok(())
        } else {
            Err(CommitError::Deposed { epoch })
        }
    }
}

impl LeaderStore for MemoryStore {
    fn take_leadership(&mut self, now: Timestamp) -> Result<Leadership, StoreError> {
        let mut state = self.state.lock();
        state.leadership.epoch = state.leadership.epoch.next();
        state.leadership.now = state.leadership.now.max(now);
        Ok(state.leadership)
    }

    fn load(&mut self, each: &mut dyn FnMut(Loaded)) -> Result<(), StoreError> {
        self.state.lock().load(each);
        Ok(())
    }

    fn commit(&mut self, epoch: Epoch, now: Timestamp, batch: &Batch) -> Result<CommitNo, CommitError> {
        let mut state = self.state.lock();
        state.fence(epoch)?;
        let commit = state.leadership.commit_no.next();
        let now = state.leadership.now.max(now);
        let written = state.write(commit, now, batch);
        state.settle(written)?;
        state.leadership.commit_no = commit;
        state.leadership.now = now;
        Ok(commit)
    }
}

impl RollbackStore for MemoryStore {
    fn note_rollback(&mut self, epoch: Epoch, seen: (Generation, CommitNo)) -> Result<(), CommitError> {
        let mut state = self.state.lock();
        state.fence(epoch)?;
        state.leadership.rolled_back = state.leadership.rolled_back.max(Some(seen));
        Ok(())
    }

    fn accept_rollback(&mut self, above: Option<Generation>) -> Result<Generation, StoreError> {
        let mut state = self.state.lock();
        let leadership = &mut state.leadership;
        let seen = leadership.rolled_back.take().map(|(generation, _)| generation);
        let generation = seen.max(above).unwrap_or_default().max(leadership.generation).next();
        if !mutant::is(Mutant::GenerationNotRaised) {
            leadership.generation = generation;
        }
        leadership.epoch = leadership.epoch.next();
        Ok(generation)
    }
}

impl RetentionStore for MemoryStore {
    fn sweep(&mut self, epoch: Epoch, now: Timestamp, policy: &RetentionPolicy) -> Result<Swept, CommitError> {
        let mut state = self.state.lock();
        state.fence(epoch)?;
        let swept = state.sweep(now, policy);
        state.leadership.now = state.leadership.now.max(now);
        state.settle(Ok(swept))
    }
}
