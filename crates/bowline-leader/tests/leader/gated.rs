//! A store that can be held back, and that can fail in every way that matters: before it has
//! written, after it has (so that nobody knows), by a panic, and for good.

use std::sync::Arc;
use std::time::Duration;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch, Generation};
use bowline_core::row::Loaded;
use bowline_core::time::Timestamp;
use bowline_store::{
    CommitError, LeaderStore, Leadership, MemoryStore, RetentionPolicy, RetentionStore, RollbackStore, StoreError,
    Swept,
};
use parking_lot::{Condvar, Mutex};

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing is written.
    Before,
    /// Everything is written, and the writer is not told so.
    After,
    /// The store panics.
    Panic,
}

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    begun: u64,
    done: u64,
    fail: Option<Failure>,
}

/// What a test does to the store.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// Longest wait for anything in these tests.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

impl Gate {
    /// Commits wait from here on.
    pub(crate) fn hold(&self) {
        self.state.lock().is_held = true;
    }

    /// Commits go on.
    pub(crate) fn release(&self) {
        self.state.lock().is_held = false;
        self.changed.notify_all();
    }

    /// The next commit fails so.
    pub(crate) fn fail(&self, failure: Failure) {
        self.state.lock().fail = Some(failure);
    }

    /// Commits begun.
    pub(crate) fn begun(&self) -> u64 {
        self.state.lock().begun
    }

    /// Commits done.
    pub(crate) fn done(&self) -> u64 {
        self.state.lock().done
    }

    fn enter(&self) -> Option<Failure> {
        let mut state = self.state.lock();
        state.begun += 1;
        while state.is_held {
            assert!(!self.changed.wait_for(&mut state, WAIT_MAX).timed_out(), "the gate was never opened");
        }
        state.fail.take()
    }
}

/// The store behind its gate.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) inner: MemoryStore,
    pub(crate) gate: Arc<Gate>,
}

impl LeaderStore for Gated {
    fn take_leadership(&mut self, now: Timestamp) -> Result<Leadership, StoreError> {
        self.inner.take_leadership(now)
    }

    fn load(&mut self, each: &mut dyn FnMut(Loaded)) -> Result<(), StoreError> {
        self.inner.load(each)
    }

    fn commit(&mut self, epoch: Epoch, now: Timestamp, batch: &Batch) -> Result<CommitNo, CommitError> {
        let failed = || CommitError::from(StoreError::new("committing a batch", "the disk is full"));
        match self.gate.enter() {
            Some(Failure::Before) => Err(failed()),
            Some(Failure::Panic) => panic!("the store has a bug"),
            Some(Failure::After) => {
                self.inner.commit(epoch, now, batch)?;
                Err(failed())
            }
            None => {
                let committed = self.inner.commit(epoch, now, batch)?;
                self.gate.state.lock().done += 1;
                Ok(committed)
            }
        }
    }
}

impl RollbackStore for Gated {
    fn note_rollback(&mut self, epoch: Epoch, seen: (Generation, CommitNo)) -> Result<(), CommitError> {
        self.inner.note_rollback(epoch, seen)
    }

    fn accept_rollback(&mut self, above: Option<Generation>) -> Result<Generation, StoreError> {
        self.inner.accept_rollback(above)
    }
}

impl RetentionStore for Gated {
    fn sweep(&mut self, epoch: Epoch, now: Timestamp, policy: &RetentionPolicy) -> Result<Swept, CommitError> {
        self.inner.sweep(epoch, now, policy)
    }
}
