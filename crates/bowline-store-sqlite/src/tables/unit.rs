//! The columns that tasks and elements have in common.

use bowline_core::id::{AttemptNo, Generation, WorkerId};
use bowline_core::row::Unit;

use crate::codec::Columns;

/// The columns of a unit, in the order in which they are bound and read.
macro_rules! unit_columns {
    () => {
        "state, since, phase, attempt, generation, until, failures, losses, outcome, waiting_at, ready_at, \
         started_at, ended_at, held, worker"
    };
}
pub(crate) use unit_columns;

pub(crate) fn read(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Unit> {
    Ok(Unit {
        state: columns.state()?,
        since: columns.time()?,
        phase: columns.phase()?,
        attempt: AttemptNo(columns.get()?),
        generation: Generation(columns.get()?),
        until: columns.time_if_any()?,
        failures: columns.get()?,
        losses: columns.get()?,
        outcome: columns.json_if_any()?,
        waiting_at: columns.time_if_any()?,
        ready_at: columns.time_if_any()?,
        started_at: columns.time_if_any()?,
        ended_at: columns.time_if_any()?,
        held: columns.json_if_any()?.unwrap_or_default(),
        worker: columns.get::<Option<u32>>()?.map(WorkerId),
    })
}
