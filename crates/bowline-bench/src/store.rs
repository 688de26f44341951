//! The store alone: the rows that the engine made, committed again as they were.

use anyhow::{Context, Result};
use bowline_core::effect::Batch;
use bowline_store::{LeaderStore, ReadStore};

use crate::Noop;
use crate::clock::{self, Stopwatch};

/// Commits the batches to a fresh store. Tasks a second.
pub(crate) fn replay(noop: &Noop, batches: &[Batch]) -> Result<f64> {
    let folder = noop.data().context("making a data folder")?;
    let mut opened = bowline_store_sqlite::open(&folder.path().join("bowline.db"))?;
    let epoch = opened.store.take_leadership(clock::now())?.epoch;
    let watch = Stopwatch::start();
    for batch in batches {
        opened.store.commit(epoch, clock::now(), batch)?;
    }
    let figure = watch.per_second(noop.tasks);
    let commits = opened.reader.commit_no()?.0;
    anyhow::ensure!(commits == batches.len() as u64, "{commits} of {} batches were committed", batches.len());
    Ok(figure)
}
