//! Attempts.

use bowline_core::id::{
    AttemptNo, AttemptRef, Fence, Generation, Incarnation, Round, SessionId, TaskId, TaskRef, WorkerId,
};
use bowline_core::row::{AttemptRow, Loaded};
use bowline_store::AttemptFilter;
use rusqlite::{Connection, Row, params};

use super::Written;
use super::tasks::About;
use crate::codec::{Columns, element_code, int};
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO attempts (task, element, generation, attempt, version, round, worker, \
     incarnation, session, assigned_at, started_at, ended_at, how, outcome) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
const UPDATE: &str = "UPDATE attempts SET version = ?5, round = ?6, worker = ?7, incarnation = ?8, session = ?9, \
     assigned_at = ?10, started_at = ?11, ended_at = ?12, how = ?13, outcome = ?14 \
     WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4 AND version = ?5 - 1";
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT task, element, generation, attempt, version, round, worker, incarnation, session, assigned_at, \
             started_at, ended_at, how, outcome FROM attempts ",
            $rest
        )
    };
}
const OF_TASK: &str = select!("WHERE task = ?1 ORDER BY assigned_at, element, generation, attempt");
const OF_ELEMENT: &str = select!("WHERE task = ?1 AND element = ?2 ORDER BY assigned_at, generation, attempt");
const ONE: &str = select!("WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4");
// 4 and 6: lost, superseded; see codec.rs.
const LIVE: &str = select!("WHERE task = ?1 AND (how IS NULL OR how IN (4, 6)) ORDER BY element, generation, attempt");
const NEXT: &str = "SELECT task FROM attempts WHERE task >= ?1 ORDER BY task LIMIT 1";
const FORGET: &str = "DELETE FROM attempts WHERE task BETWEEN ?1 AND ?2";

pub(crate) fn put(writer: &mut Writer<'_>, row: &AttemptRow) -> Written {
    let touched = writer
        .bind(if row.version == 1 { INSERT } else { UPDATE })?
        .attempt(row.attempt)?
        .put(row.version)?
        .put(row.round.0)?
        .put(row.worker.map(|worker| worker.0))?
        .put(row.incarnation.0)?
        .u64(row.session.0)?
        .time(row.assigned_at)?
        .time_if_any(row.started_at)?
        .time_if_any(row.ended_at)?
        .end_if_any(row.end)?
        .json_if_any(row.outcome.as_ref())?
        .run()?;
    Ok(one(touched, "attempts", row.attempt)?)
}

pub(crate) fn forget(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    writer.bind(FORGET)?.u64(first.0)?.u64(last.0)?.run()?;
    Ok(())
}

/// The four columns that name an attempt.
pub(super) fn read_ref(columns: &mut Columns<'_, '_>) -> rusqlite::Result<AttemptRef> {
    let task = columns.task_ref()?;
    let fence = Fence { generation: Generation(columns.get()?), attempt: AttemptNo(columns.get()?) };
    Ok(AttemptRef { task, fence })
}

fn read(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    let mut columns = Columns::of(row);
    Ok(AttemptRow {
        attempt: read_ref(&mut columns)?,
        version: columns.get()?,
        round: Round(columns.get()?),
        worker: columns.get::<Option<u32>>()?.map(WorkerId),
        incarnation: Incarnation(columns.get()?),
        session: SessionId(columns.u64()?),
        assigned_at: columns.time()?,
        started_at: columns.time_if_any()?,
        ended_at: columns.time_if_any()?,
        end: columns.end_if_any()?,
        outcome: columns.json_if_any()?,
    })
}

pub(crate) fn list(connection: &Connection, filter: &AttemptFilter) -> rusqlite::Result<Vec<AttemptRow>> {
    match filter {
        AttemptFilter::Of(TaskRef { task, index: None }) => {
            connection.prepare_cached(OF_TASK)?.query_map([int(task.0)], read)?.collect()
        }
        AttemptFilter::Of(TaskRef { task, index }) => connection
            .prepare_cached(OF_ELEMENT)?
            .query_map(params![int(task.0), element_code(*index)], read)?
            .collect(),
        AttemptFilter::One(AttemptRef { task, fence }) => connection
            .prepare_cached(ONE)?
            .query_map(params![int(task.task.0), element_code(task.index), fence.generation.0, fence.attempt.0], read)?
            .collect(),
    }
}

/// Hands over those of unfinished tasks that live, or were lost.
pub(crate) fn load(connection: &Connection, about: &About, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    let mut of_task = connection.prepare_cached(LIVE)?;
    about.each_with_rows(&mut connection.prepare_cached(NEXT)?, |task| {
        for row in of_task.query_map([int(task.0)], read)? {
            each(Loaded::Attempt(Box::new(row?)));
        }
        Ok(())
    })
}
