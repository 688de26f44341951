//! What attempts left as their results.

use bowline_core::id::{TaskId, TaskRef};
use bowline_core::row::ResultRow;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Written, attempts};
use crate::codec::{Columns, element_code, int};
use crate::writer::Writer;

const INSERT: &str = "INSERT OR IGNORE INTO results (task, element, generation, attempt, json) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
const NEWEST: &str = "SELECT task, element, generation, attempt, json FROM results \
     WHERE task = ?1 AND element = ?2 ORDER BY generation DESC, attempt DESC LIMIT 1";
const NEWEST_OF_ALL: &str = "SELECT task, element, generation, attempt, json FROM results AS r \
     WHERE task = ?1 AND NOT EXISTS (SELECT 1 FROM results AS newer WHERE newer.task = r.task \
     AND newer.element = r.element AND (newer.generation, newer.attempt) > (r.generation, r.attempt)) \
     ORDER BY element";
const FORGET: &str = "DELETE FROM results WHERE task BETWEEN ?1 AND ?2";

pub(crate) fn put(writer: &mut Writer<'_>, row: &ResultRow) -> Written {
    writer.bind(INSERT)?.attempt(row.attempt)?.put(&row.json)?.run()?;
    Ok(())
}

pub(crate) fn forget(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    writer.bind(FORGET)?.u64(first.0)?.u64(last.0)?.run()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ResultRow> {
    let mut columns = Columns::of(row);
    Ok(ResultRow { attempt: attempts::read_ref(&mut columns)?, json: columns.get()? })
}

pub(crate) fn newest(connection: &Connection, task: TaskRef) -> rusqlite::Result<Option<ResultRow>> {
    let mut statement = connection.prepare_cached(NEWEST)?;
    statement.query_row(params![int(task.task.0), element_code(task.index)], read).optional()
}

pub(crate) fn of_task(connection: &Connection, task: TaskId) -> rusqlite::Result<Vec<ResultRow>> {
    connection.prepare_cached(NEWEST_OF_ALL)?.query_map([int(task.0)], read)?.collect()
}
