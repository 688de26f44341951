//! Pauses of namespaces, and of everything, which stands under the empty name.

use bowline_core::name::Namespace;
use bowline_core::row::PauseRow;
use rusqlite::Connection;

use super::Written;
use crate::codec::{Columns, unreadable};
use crate::writer::Writer;

const PUT: &str = "INSERT OR REPLACE INTO pauses (namespace, mark) VALUES (?1, ?2)";
const FORGET: &str = "DELETE FROM pauses WHERE namespace = ?1";
const ALL: &str = "SELECT mark, namespace FROM pauses ORDER BY namespace";

pub(crate) fn put(writer: &mut Writer<'_>, row: &PauseRow) -> Written {
    let name = row.namespace.as_ref().map_or("", Namespace::as_str);
    match &row.mark {
        Some(mark) => writer.bind(PUT)?.put(name)?.json(mark)?.run()?,
        None => writer.bind(FORGET)?.put(name)?.run()?,
    };
    Ok(())
}

pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<PauseRow>> {
    let mut statement = connection.prepare_cached(ALL)?;
    let rows = statement.query_map([], |row| {
        let mut columns = Columns::of(row);
        let mark = Some(columns.json()?);
        let name = columns.text()?;
        let namespace = if name.is_empty() { Ok(None) } else { Namespace::new(name).map(Some) };
        Ok(PauseRow { namespace: namespace.map_err(|error| unreadable(1, error))?, mark })
    })?;
    rows.collect()
}
