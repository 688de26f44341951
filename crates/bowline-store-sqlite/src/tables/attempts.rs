//! Attempts, but for those that lie in their task's row: see `firsts.rs`.

use bowline_core::id::{
    AttemptNo, AttemptRef, Fence, Generation, Incarnation, Round, SessionId, TaskId, TaskRef, WorkerId,
};
use bowline_core::row::{AttemptRow, Loaded};
use bowline_core::state::AttemptEnd;
use bowline_store::AttemptFilter;
use rusqlite::{Connection, Row, params};

use super::tasks::About;
use super::{Written, firsts};
use crate::codec::{Columns, element_code, int};
use crate::writer::{Writer, one};

macro_rules! insert {
    ($where:literal) => {
        concat!(
            "INSERT OR IGNORE INTO attempts (task, element, generation, attempt, version, round, worker, incarnation, \
             session, assigned_at, started_at, ended_at, how, outcome) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14",
            $where
        )
    };
}
const INSERT: &str = insert!("");
/// Of what may lie in its task's row.
const INSERT_FIRST: &str =
    insert!(" WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND (first_key >> 32) & 4294967295 = ?3)");
const IS_THERE: &str = "SELECT 1 FROM attempts WHERE task = ?1 AND element = ?2 AND generation = ?3 AND attempt = ?4";
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

/// Writes what no task's row took along.
pub(crate) fn put(writer: &mut Writer<'_>, row: &AttemptRow) -> Written {
    if firsts::update(writer, row)? {
        return Ok(());
    }
    let sql = match row.version {
        1 if firsts::may_lie(row.attempt) => INSERT_FIRST,
        1 => INSERT,
        _ => UPDATE,
    };
    let touched = run(writer, sql, row)?;
    Ok(one(touched, "attempts", row.attempt)?)
}

/// Inserts it as it is, at whatever version.
pub(super) fn insert(writer: &mut Writer<'_>, row: &AttemptRow) -> rusqlite::Result<()> {
    run(writer, INSERT, row).map(drop)
}

/// Whether it has a row of its own.
pub(super) fn is_there(connection: &Connection, attempt: AttemptRef) -> rusqlite::Result<bool> {
    let AttemptRef { task, fence } = attempt;
    let key = params![int(task.task.0), element_code(task.index), fence.generation.0, fence.attempt.0];
    connection.prepare_cached(IS_THERE)?.exists(key)
}

fn run(writer: &mut Writer<'_>, sql: &'static str, row: &AttemptRow) -> rusqlite::Result<usize> {
    writer
        .bind(sql)?
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
        .run()
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
    let (AttemptFilter::Of(task) | AttemptFilter::One(AttemptRef { task, .. })) = filter;
    let first = if task.index.is_none() { firsts::of(connection, task.task)? } else { None };
    let mut found: Vec<AttemptRow> = match filter {
        AttemptFilter::Of(TaskRef { task, index: None }) => {
            connection.prepare_cached(OF_TASK)?.query_map([int(task.0)], read)?.collect::<rusqlite::Result<_>>()?
        }
        AttemptFilter::Of(TaskRef { task, index }) => connection
            .prepare_cached(OF_ELEMENT)?
            .query_map(params![int(task.0), element_code(*index)], read)?
            .collect::<rusqlite::Result<_>>()?,
        AttemptFilter::One(wanted) if first.as_ref().is_some_and(|first| first.attempt == *wanted) => Vec::new(),
        AttemptFilter::One(AttemptRef { task, fence }) => {
            let key = params![int(task.task.0), element_code(task.index), fence.generation.0, fence.attempt.0];
            return connection.prepare_cached(ONE)?.query_map(key, read)?.collect();
        }
    };
    if let Some(first) = first {
        found.push(first);
        found.sort_by_key(|row| (row.assigned_at, row.attempt));
    }
    Ok(found)
}

/// Whether a take-over needs to know of it: it lives, or was lost.
pub(super) fn is_wanted(row: &AttemptRow) -> bool {
    matches!(row.end, None | Some(AttemptEnd::Lost | AttemptEnd::Superseded))
}

/// Hands over those of unfinished tasks that live, or were lost.
pub(crate) fn load(connection: &Connection, about: &mut About, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    let mut found = std::mem::take(&mut about.firsts);
    let mut of_task = connection.prepare_cached(LIVE)?;
    about.each_with_rows(&mut connection.prepare_cached(NEXT)?, |task| {
        for row in of_task.query_map([int(task.0)], read)? {
            found.push(row?);
        }
        Ok(())
    })?;
    found.sort_by_key(|row| row.attempt);
    for row in found {
        each(Loaded::Attempt(Box::new(row)));
    }
    Ok(())
}
