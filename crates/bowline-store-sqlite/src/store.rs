//! The writer.

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch};
use bowline_core::row::Loaded;
use bowline_core::time::Timestamp;
use bowline_store::{CommitError, LeaderStore, Leadership, RetentionPolicy, RetentionStore, StoreError, Swept};

/// The one writer of a store file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: rusqlite::Connection,
}

impl SqliteStore {
    pub(crate) fn new(connection: rusqlite::Connection) -> Self {
        Self { connection }
    }

    fn unready(&self) -> StoreError {
        StoreError::new(format!("using {:?}", self.connection.path()), "this store is still being built")
    }
}

impl LeaderStore for SqliteStore {
    fn take_leadership(&mut self, _now: Timestamp) -> Result<Leadership, StoreError> {
        Err(self.unready())
    }

    fn load(&mut self, _each: &mut dyn FnMut(Loaded)) -> Result<(), StoreError> {
        Err(self.unready())
    }

    fn commit(&mut self, _epoch: Epoch, _now: Timestamp, _batch: &Batch) -> Result<CommitNo, CommitError> {
        Err(self.unready().into())
    }
}

impl RetentionStore for SqliteStore {
    fn sweep(&mut self, _: Epoch, _: Timestamp, _: &RetentionPolicy) -> Result<Swept, CommitError> {
        Err(self.unready().into())
    }
}
