//! The store alone: batches of the engine, committed one by one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_core::effect::Batch;
use bowline_core::id::Epoch;
use bowline_core::{Engine, EngineConfig};
use bowline_store::{LeaderStore, ReadStore};

use crate::clock::{self, Stopwatch, millis};
use crate::engine::submit;

/// Commits one task each, as a submit does, with so long a pause before each: milliseconds of each commit. A disk that has
/// just been idle may take several times as long as one that is kept busy.
pub(crate) fn of_one_task(folder: &Path, count: u64, pause: Duration) -> Result<Vec<f64>> {
    let mut store = bowline_store_sqlite::open(&folder.join(format!("commits-{}.db", pause.as_micros())))?.store;
    let led = store.take_leadership(clock::now())?;
    let mut engine = Engine::new(EngineConfig::new(led.epoch, led.generation, 1));
    store.load(&mut |row| engine.load(row))?;
    engine.loaded(clock::now());
    let mut each = Vec::new();
    for _ in 0..count {
        engine.apply(clock::now(), submit(1));
        let batch = engine.take_batch();
        rest(pause);
        let watch = Stopwatch::start();
        store.commit(led.epoch, clock::now(), &batch)?;
        each.push(millis(watch.elapsed()));
        engine.durable(batch.number);
    }
    Ok(each)
}

#[expect(clippy::disallowed_methods, reason = "the pace is what is measured, and nothing is waited for")]
fn rest(pause: Duration) {
    std::thread::sleep(pause);
}

/// Commits these batches to a fresh store. How many tasks a second that is.
pub(crate) fn of_batches(folder: &Path, batches: &[Batch], tasks: u64) -> Result<f64> {
    let mut opened = bowline_store_sqlite::open(&folder.join("batches.db"))?;
    let epoch: Epoch = opened.store.take_leadership(clock::now())?.epoch;
    let watch = Stopwatch::start();
    for batch in batches {
        opened.store.commit(epoch, clock::now(), batch)?;
    }
    let figure = watch.per_second(tasks);
    let commits = opened.reader.commit_no()?.0;
    ensure!(commits == batches.len() as u64, "{commits} of {} batches were committed", batches.len());
    Ok(figure)
}
