//! Gangs of which a member has not ended: how far each is, and what its members have among themselves.

use bowline_core::gang::GangRow;
use bowline_core::id::TaskId;
use rusqlite::{Connection, Row};

use super::Written;
use crate::codec::Columns;
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO gangs (version, gang, id) VALUES (?1, ?2, ?3)";
const UPDATE: &str = "UPDATE gangs SET version = ?1, gang = ?2 WHERE id = ?3 AND version = ?1 - 1";
const FORGET: &str = "DELETE FROM gangs WHERE id = ?1";
const ALL: &str = "SELECT gang FROM gangs ORDER BY id";

pub(crate) fn put(writer: &mut Writer<'_>, row: &GangRow) -> Written {
    let statement = if row.version == 1 { INSERT } else { UPDATE };
    let touched = writer.bind(statement)?.put(row.version)?.json(row)?.u64(row.id.0)?.run()?;
    Ok(one(touched, "gangs", row.id)?)
}

pub(crate) fn remove(writer: &mut Writer<'_>, id: TaskId) -> Written {
    let touched = writer.bind(FORGET)?.u64(id.0)?.run()?;
    Ok(one(touched, "gangs", id)?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<GangRow> {
    Columns::of(row).json()
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<GangRow>> {
    connection.prepare_cached(ALL)?.query_map([], read)?.collect()
}
