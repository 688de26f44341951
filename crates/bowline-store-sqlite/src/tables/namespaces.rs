//! What is set about namespaces, and starts that rates count.

use bowline_core::fair::{NamespaceRow, RateRow};
use bowline_core::time::{Span, micros};
use rusqlite::{Connection, Row};

use super::Written;
use crate::codec::Columns;
use crate::writer::{Writer, one};

const INSERT: &str =
    "INSERT OR IGNORE INTO namespaces (version, room, changed_by, changed_at, name) VALUES (?1, ?2, ?3, ?4, ?5)";
const UPDATE: &str = "UPDATE namespaces SET version = ?1, room = ?2, changed_by = ?3, changed_at = ?4 \
     WHERE name = ?5 AND version = ?1 - 1";
const ALL: &str = "SELECT name, version, room, changed_by, changed_at FROM namespaces ORDER BY name";
const PUT_RATE: &str = "INSERT OR REPLACE INTO rates (namespace, key, per, starts) VALUES (?1, ?2, ?3, ?4)";
const FORGET_RATE: &str = "DELETE FROM rates WHERE namespace = ?1 AND key = ?2";
const RATES: &str = "SELECT namespace, key, per, starts FROM rates ORDER BY namespace, key";

pub(crate) fn put(writer: &mut Writer<'_>, row: &NamespaceRow) -> Written {
    let touched = writer
        .bind(if row.version == 1 { INSERT } else { UPDATE })?
        .put(row.version)?
        .json(&row.room)?
        .put(&*row.changed_by.0)?
        .time(row.changed_at)?
        .put(row.name.as_str())?
        .run()?;
    Ok(one(touched, "namespaces", &row.name)?)
}

pub(crate) fn put_rate(writer: &mut Writer<'_>, row: &RateRow) -> Written {
    let (namespace, key) = (row.namespace.as_str(), row.key.as_str());
    if row.starts.is_empty() {
        writer.bind(FORGET_RATE)?.put(namespace)?.put(key)?.run()?;
    } else {
        let per = micros(row.per.0);
        writer.bind(PUT_RATE)?.put(namespace)?.put(key)?.u64(per)?.json(&row.starts)?.run()?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<NamespaceRow> {
    let mut columns = Columns::of(row);
    Ok(NamespaceRow {
        name: columns.name()?,
        version: columns.get()?,
        room: columns.json()?,
        changed_by: columns.actor()?,
        changed_at: columns.time()?,
    })
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<NamespaceRow>> {
    connection.prepare_cached(ALL)?.query_map([], read)?.collect()
}

fn read_rate(row: &Row<'_>) -> rusqlite::Result<RateRow> {
    let mut columns = Columns::of(row);
    Ok(RateRow {
        namespace: columns.name()?,
        key: columns.name()?,
        per: Span(std::time::Duration::from_micros(columns.u64()?)),
        starts: columns.json()?,
    })
}

pub(crate) fn rates(connection: &Connection) -> rusqlite::Result<Vec<RateRow>> {
    connection.prepare_cached(RATES)?.query_map([], read_rate)?.collect()
}
