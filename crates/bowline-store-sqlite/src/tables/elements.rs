//! Elements of arrays that were started or have ended.

use bowline_core::id::{TaskId, TaskRef};
use bowline_core::row::{ElementRow, Loaded};
use rusqlite::{Connection, Row, params};

use super::tasks::About;
use super::unit::unit_columns;
use super::{Written, unit};
use crate::codec::{Columns, int};
use crate::writer::{Writer, one};

const INSERT: &str = concat!(
    "INSERT OR IGNORE INTO elements (",
    unit_columns!(),
    ", version, task, element) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
);
const UPDATE: &str = concat!(
    "UPDATE elements SET (",
    unit_columns!(),
    ", version) = (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
     WHERE task = ?17 AND element = ?18 AND version = ?16 - 1"
);
const OF_TASK: &str = concat!(
    "SELECT task, element, version, ",
    unit_columns!(),
    " FROM elements WHERE task = ?1 AND element > ?2 ORDER BY element LIMIT ?3"
);
const NEXT: &str = "SELECT task FROM elements WHERE task >= ?1 ORDER BY task LIMIT 1";
const STATE: &str = "SELECT state FROM elements WHERE task = ?1 AND element = ?2";
const FORGET: &str = "DELETE FROM elements WHERE task BETWEEN ?1 AND ?2";

pub(crate) fn put(writer: &mut Writer<'_>, row: &ElementRow) -> Written {
    let sql = if row.version == 1 { INSERT } else { UPDATE };
    let binding = writer.bind(sql)?.unit(&row.unit)?.put(row.version)?;
    let touched = binding.u64(row.task.0)?.put(row.index)?.run()?;
    Ok(one(touched, "elements", TaskRef::element(row.task, row.index))?)
}

pub(crate) fn forget(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    writer.bind(FORGET)?.u64(first.0)?.u64(last.0)?.run()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ElementRow> {
    let mut columns = Columns::of(row);
    Ok(ElementRow {
        task: TaskId(columns.u64()?),
        index: columns.get()?,
        version: columns.get()?,
        unit: unit::read(&mut columns)?,
    })
}

/// At most `limit` elements after one; a negative limit means all.
pub(crate) fn of_task(
    connection: &Connection,
    task: TaskId,
    after: Option<u32>,
    limit: i64,
) -> rusqlite::Result<Vec<ElementRow>> {
    let after = after.map_or(-1, i64::from);
    connection.prepare_cached(OF_TASK)?.query_map(params![int(task.0), after, limit], read)?.collect()
}

pub(crate) fn state(
    connection: &Connection,
    task: TaskId,
    index: u32,
) -> rusqlite::Result<Option<bowline_core::state::StateKind>> {
    use rusqlite::OptionalExtension;
    let mut statement = connection.prepare_cached(STATE)?;
    statement.query_row(params![int(task.0), index], |row| Columns::of(row).state()).optional()
}

/// Hands over those of unfinished arrays.
pub(crate) fn load(connection: &Connection, about: &About, each: &mut dyn FnMut(Loaded)) -> rusqlite::Result<()> {
    let mut of_task = connection.prepare_cached(OF_TASK)?;
    about.each_with_rows(&mut connection.prepare_cached(NEXT)?, |task| {
        for row in of_task.query_map(params![int(task.0), -1, -1], read)? {
            each(Loaded::Element(Box::new(row?)));
        }
        Ok(())
    })
}
