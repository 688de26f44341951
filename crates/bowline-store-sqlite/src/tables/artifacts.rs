//! Files that attempts left.

use std::collections::HashSet;

use bowline_core::id::{TaskId, TaskRef};
use bowline_core::row::ArtifactRow;
use rusqlite::{Connection, Row, params};

use super::{Written, attempts};
use crate::codec::{Columns, element_code, int};
use crate::writer::Writer;

const PUT: &str = "INSERT OR REPLACE INTO artifacts (task, element, generation, attempt, name, digest, bytes, at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const OF_TASK: &str = "SELECT task, element, generation, attempt, name, digest, bytes, at FROM artifacts \
     WHERE task = ?1 ORDER BY element, generation, attempt, name";
const OF_ELEMENT: &str = "SELECT task, element, generation, attempt, name, digest, bytes, at FROM artifacts \
     WHERE task = ?1 AND element = ?2 ORDER BY generation, attempt, name";
const OF_NAME: &str = "SELECT task, element, generation, attempt, name, digest, bytes, at FROM artifacts \
     WHERE task = ?1 AND name = ?2 AND (?3 IS NULL OR element = ?3) ORDER BY element, generation, attempt";
const ALL: &str = "SELECT task, element, generation, attempt, name, digest, bytes, at FROM artifacts \
     ORDER BY digest, task, element, generation, attempt, name";
const FORGET: &str = "DELETE FROM artifacts WHERE task BETWEEN ?1 AND ?2";

pub(crate) fn put(writer: &mut Writer<'_>, row: &ArtifactRow) -> Written {
    let binding = writer.bind(PUT)?.attempt(row.attempt)?;
    binding.put(&row.name)?.put(&row.digest)?.u64(row.bytes)?.time(row.at)?.run()?;
    Ok(())
}

pub(crate) fn forget(writer: &mut Writer<'_>, (first, last): (TaskId, TaskId)) -> Written {
    writer.bind(FORGET)?.u64(first.0)?.u64(last.0)?.run()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ArtifactRow> {
    let mut columns = Columns::of(row);
    Ok(ArtifactRow {
        attempt: attempts::read_ref(&mut columns)?,
        name: columns.get()?,
        digest: columns.get()?,
        bytes: columns.u64()?,
        at: columns.time()?,
    })
}

/// Which of these blobs an artifact names.
pub(crate) fn named(connection: &Connection, digests: &[String]) -> rusqlite::Result<HashSet<String>> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM artifacts WHERE digest = ?1 LIMIT 1")?;
    let mut named = HashSet::new();
    for digest in digests {
        if statement.exists([digest])? {
            named.insert(digest.clone());
        }
    }
    Ok(named)
}

/// All of them, those of the same blob after each other.
pub(crate) fn each(connection: &Connection, mut visit: impl FnMut(ArtifactRow)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(ALL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(read(row)?);
    }
    Ok(())
}

pub(crate) fn list(connection: &Connection, of: TaskRef) -> rusqlite::Result<Vec<ArtifactRow>> {
    if of.index.is_none() {
        return connection.prepare_cached(OF_TASK)?.query_map([int(of.task.0)], read)?.collect();
    }
    let mut statement = connection.prepare_cached(OF_ELEMENT)?;
    statement.query_map(params![int(of.task.0), element_code(of.index)], read)?.collect()
}

pub(crate) fn of_name(connection: &Connection, of: TaskRef, name: &str) -> rusqlite::Result<Vec<ArtifactRow>> {
    let element = of.index.map(|_| element_code(of.index));
    let mut statement = connection.prepare_cached(OF_NAME)?;
    statement.query_map(params![int(of.task.0), name, element], read)?.collect()
}
