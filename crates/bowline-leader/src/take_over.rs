//! The beginning of a leadership, and what follows from its end: functions over a store, without a clock.

use std::time::Duration;

use bowline_core::id::{CommitNo, Generation};
use bowline_core::time::Timestamp;
use bowline_core::{Engine, EngineConfig};
use bowline_store::{CommitError, Leadership, StoreError};

use crate::config::{BACKOFF_FIRST, BACKOFF_MAX, LeaderConfig, WriterStore};
use crate::fetch::chain;
use crate::term::End;

/// What a take-over gives: [`crate::Term::begin`] goes on from here.
#[derive(Debug)]
pub struct Taken {
    /// As it was taken. Its `now` is where the leader's clock begins.
    pub leadership: Leadership,
    /// With every row in it.
    pub engine: Engine,
}

/// Takes the leadership at this moment of the wall clock, and loads everything that has not ended. Not where
/// the store was put back to an earlier state that nobody has accepted.
pub fn take_over(store: &mut dyn WriterStore, wall: Timestamp, config: &LeaderConfig) -> Result<Taken, End> {
    let failed = |error: StoreError| End::Failed(chain(&error));
    let leadership = store.take_leadership(wall).map_err(failed)?;
    if let Some(seen) = leadership.rolled_back {
        return Err(End::RolledBack { store: (leadership.generation, leadership.commit_no), seen });
    }
    let seed = config.seed.unwrap_or(leadership.now.0);
    let timing = config.timing.clone();
    let engine = EngineConfig { timing, ..EngineConfig::new(leadership.epoch, leadership.generation, seed) };
    let mut engine = Engine::new(engine);
    let mut rows: u64 = 0;
    let loaded = store.load(&mut |row| {
        rows += 1;
        engine.load(row);
    });
    loaded.map_err(failed)?;
    tracing::info!(epoch = %leadership.epoch, rows, "leading");
    Ok(Taken { leadership, engine })
}

/// A worker has seen what the store does not hold: notes it in the store, so that no other process leads
/// either before that is accepted.
pub fn note_rollback(
    store: &mut dyn WriterStore,
    wall: Timestamp,
    seen: (Generation, CommitNo),
) -> Result<(), CommitError> {
    let led = store.take_leadership(wall)?;
    store.note_rollback(led.epoch, seen)
}

/// What follows from the end of a leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the server stops.
    Stop,
    /// Nothing but refusals until the server is stopped: another one leads.
    Follow(String),
    /// The state is loaded anew after so long; everything is refused meanwhile.
    Again(Duration, String),
    /// [`note_rollback`], and then refusals until the earlier state is accepted.
    WaitForAccept {
        /// Where the store stands.
        store: (Generation, CommitNo),
        /// What a worker has seen.
        seen: (Generation, CommitNo),
    },
}

/// Waits between failed leaderships: longer each time, until one has lasted.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: BACKOFF_FIRST }
    }
}

impl Backoff {
    /// A leadership that lasted so long has ended so.
    pub fn after(&mut self, end: End, lasted: Duration) -> Next {
        match end {
            End::Stopped => Next::Stop,
            End::Deposed(why) => Next::Follow(why),
            End::RolledBack { store, seen } => Next::WaitForAccept { store, seen },
            End::Failed(why) => {
                if lasted > BACKOFF_MAX {
                    self.next = BACKOFF_FIRST;
                }
                let wait = self.next;
                self.next = (wait * 2).min(BACKOFF_MAX);
                Next::Again(wait, why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_begin_anew_after_a_leadership_that_lasted() {
        let mut backoff = Backoff::default();
        let failed = || End::Failed("x".to_owned());
        let mut wait = |lasted| match backoff.after(failed(), lasted) {
            Next::Again(wait, _) => wait,
            other => panic!("{other:?}"),
        };
        assert_eq!([wait(Duration::ZERO), wait(Duration::ZERO)], [BACKOFF_FIRST, BACKOFF_FIRST * 2]);
        for _ in 0..20 {
            wait(Duration::ZERO);
        }
        assert_eq!(wait(Duration::ZERO), BACKOFF_MAX);
        assert_eq!(wait(BACKOFF_MAX * 2), BACKOFF_FIRST);
    }
}
