//! Workers' durable parts.

use bowline_core::id::{Incarnation, WorkerId};
use bowline_core::name::{PoolName, WorkerName};
use bowline_core::row::WorkerRow;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Written;
use crate::codec::Columns;
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO workers (id, version, name, key, incarnation, seat, offer, paused, \
     enrolled_at, pool, drain, aside) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const UPDATE: &str = "UPDATE OR IGNORE workers SET version = ?2, name = ?3, key = ?4, incarnation = ?5, seat = ?6, \
     offer = ?7, paused = ?8, enrolled_at = ?9, pool = ?10, drain = ?11, aside = ?12 WHERE id = ?1 AND version = ?2 - 1";
const FORGET: &str = "DELETE FROM workers WHERE id = ?1";
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, version, name, key, incarnation, seat, offer, paused, enrolled_at, pool, drain, aside \
             FROM workers ",
            $rest
        )
    };
}
const BY_ID: &str = select!("ORDER BY id");
const NAMED: &str = select!("WHERE name = ?1");
const BY_NAME: &str = select!("ORDER BY name");

pub(crate) fn put(writer: &mut Writer<'_>, row: &WorkerRow) -> Written {
    let touched = writer
        .bind(if row.version == 1 { INSERT } else { UPDATE })?
        .put(row.id.0)?
        .put(row.version)?
        .put(row.name.as_str())?
        .put(row.key)?
        .put(row.incarnation.0)?
        .json_if_any(row.seat.as_ref())?
        .json_if_any(row.offer.as_ref())?
        .json_if_any(row.paused.as_ref())?
        .time(row.enrolled_at)?
        .put(row.pool.as_ref().map(PoolName::as_str))?
        .json_if_any(row.drain.as_ref())?
        .json_if_any(row.aside.as_ref())?
        .run()?;
    Ok(one(touched, "workers", &row.name)?)
}

/// A worker is forgotten.
pub(crate) fn remove(writer: &mut Writer<'_>, id: WorkerId) -> Written {
    let touched = writer.bind(FORGET)?.put(id.0)?.run()?;
    Ok(one(touched, "workers", id)?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<WorkerRow> {
    let mut columns = Columns::of(row);
    Ok(WorkerRow {
        id: WorkerId(columns.get()?),
        version: columns.get()?,
        name: columns.name()?,
        key: columns.get()?,
        incarnation: Incarnation(columns.get()?),
        seat: columns.json_if_any()?,
        offer: columns.json_if_any()?,
        paused: columns.json_if_any()?,
        enrolled_at: columns.time()?,
        pool: columns.name_if_any()?,
        drain: columns.json_if_any()?,
        aside: columns.json_if_any()?,
    })
}

pub(crate) fn by_id(connection: &Connection) -> rusqlite::Result<Vec<WorkerRow>> {
    connection.prepare_cached(BY_ID)?.query_map([], read)?.collect()
}

pub(crate) fn by_name(connection: &Connection) -> rusqlite::Result<Vec<WorkerRow>> {
    connection.prepare_cached(BY_NAME)?.query_map([], read)?.collect()
}

/// The one of this name.
pub(crate) fn named(connection: &Connection, name: &WorkerName) -> rusqlite::Result<Option<WorkerRow>> {
    connection.prepare_cached(NAMED)?.query_row([name.as_str()], read).optional()
}
