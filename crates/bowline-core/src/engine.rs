//! The engine: one method moves it.

use std::time::Duration;

use crate::effect::Batch;
use crate::id::{Epoch, Generation, ParkId};
use crate::input::{Input, Need};
use crate::row::Loaded;
use crate::time::Timestamp;

/// What can be set about the engine. Bounds and defaults are the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Who leads.
    pub epoch: Epoch,
    /// The store's generation: part of every fence.
    pub generation: Generation,
    /// Seeds the jitter of backoffs.
    pub seed: u64,
    /// Workers say that they are there this often.
    pub heartbeat: Duration,
    /// Without a heartbeat for so long a worker is suspect and given nothing new.
    pub suspect_after: Duration,
    /// An assignment not begun this long after it arrived is given back.
    pub start_by: Duration,
}

impl EngineConfig {
    /// The model's defaults.
    pub fn new(epoch: Epoch, generation: Generation, seed: u64) -> Self {
        Self {
            epoch,
            generation,
            seed,
            heartbeat: Duration::from_secs(5),
            suspect_after: Duration::from_secs(15),
            start_by: Duration::from_secs(30),
        }
    }
}

/// All hot state and every rule. See the crate's documentation.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
}

impl Engine {
    /// An empty engine.
    pub fn new(config: EngineConfig) -> Self {
        Self { config }
    }

    /// Takes one row at a take-over. Rows come in the order of [`Loaded`].
    pub fn load(&mut self, row: Loaded) {
        drop((row, &self.config));
    }

    /// All rows are loaded: indexes are built, leases start afresh, what is due is due again.
    pub fn loaded(&mut self, now: Timestamp) {
        drop((now, &self.config));
    }

    /// Moves the engine. Whatever is due by `now` happens first.
    pub fn apply(&mut self, now: Timestamp, input: Input) {
        drop((now, input, &self.config));
    }

    /// When [`Input::Tick`] should be applied, if nothing else comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// Everything that changed since the last call, to be committed; and what follows from it.
    pub fn take_batch(&mut self) -> Batch {
        Batch::default()
    }

    /// Rows that parked inputs wait for, to be read and answered by [`Input::Facts`]. They wait for
    /// no batch.
    pub fn take_needs(&mut self) -> Vec<(ParkId, Vec<Need>)> {
        Vec::new()
    }

    /// Every batch up to this one is durable: what ended in them may leave memory.
    pub fn durable(&mut self, batch: u64) {
        drop((batch, &self.config));
    }
}
