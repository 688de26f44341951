//! Declared resources. One that was made by its first use has no row: it is what tasks hold and ask for.

use bowline_core::name::ResourceName;
use bowline_core::resource::{ResourceRow, Sticky};
use rusqlite::{Connection, Row};

use super::Written;
use crate::codec::Columns;
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO resources (version, capacity, units, out_of_service, sticky, \
     changed_by, changed_at, name) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const UPDATE: &str = "UPDATE resources SET version = ?1, capacity = ?2, units = ?3, out_of_service = ?4, sticky = ?5, \
     changed_by = ?6, changed_at = ?7 WHERE name = ?8 AND version = ?1 - 1";
const FORGET: &str = "DELETE FROM resources WHERE name = ?1";
const ALL: &str = "SELECT name, version, capacity, units, out_of_service, sticky, changed_by, changed_at FROM resources ORDER BY name";

pub(crate) fn put(writer: &mut Writer<'_>, row: &ResourceRow) -> Written {
    let touched = writer
        .bind(if row.version == 1 { INSERT } else { UPDATE })?
        .put(row.version)?
        .u64(row.capacity)?
        .json(&row.units)?
        .put(row.out_of_service.as_deref())?
        .put((row.sticky != Sticky::No).then(|| row.sticky.name()))?
        .put(&*row.changed_by.0)?
        .time(row.changed_at)?
        .put(row.name.as_str())?
        .run()?;
    Ok(one(touched, "resources", &row.name)?)
}

pub(crate) fn remove(writer: &mut Writer<'_>, name: &ResourceName) -> Written {
    let touched = writer.bind(FORGET)?.put(name.as_str())?.run()?;
    Ok(one(touched, "resources", name)?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ResourceRow> {
    let mut columns = Columns::of(row);
    Ok(ResourceRow {
        name: columns.name()?,
        version: columns.get()?,
        capacity: columns.u64()?,
        units: columns.json()?,
        out_of_service: columns.get()?,
        sticky: match columns.get::<Option<String>>()?.as_deref() {
            Some("prefer") => Sticky::Prefer,
            Some("exclusive") => Sticky::Exclusive,
            Some(_) | None => Sticky::No,
        },
        changed_by: columns.actor()?,
        changed_at: columns.time()?,
    })
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<ResourceRow>> {
    connection.prepare_cached(ALL)?.query_map([], read)?.collect()
}
