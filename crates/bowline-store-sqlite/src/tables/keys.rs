//! Idempotency keys. A sweep looks at each in its turn, and no sooner again than after the time for
//! which keys are kept: so each sweep is small however many keys there are.

use bowline_core::name::Namespace;
use bowline_core::row::{KeyRow, key_hash};
use bowline_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Written;
use crate::codec::{Columns, int};
use crate::writer::{Writer, one};

const INSERT: &str = "INSERT OR IGNORE INTO keys (namespace, key, body, made, at, looked_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
const ONE: &str = "SELECT namespace, key, body, made, at FROM keys WHERE namespace = ?1 AND key = ?2";
const DUE: &str = "SELECT namespace, key, body, made, at FROM keys INDEXED BY keys_by_look WHERE looked_at <= ?1 \
     ORDER BY looked_at, namespace, key LIMIT ?2";
const NAMES: &str = "SELECT namespace, key FROM keys INDEXED BY keys_by_look LIMIT ?1";
const LOOKED: &str = "UPDATE keys SET looked_at = ?3 WHERE namespace = ?1 AND key = ?2";
const FORGET: &str = "DELETE FROM keys WHERE namespace = ?1 AND key = ?2";

pub(crate) fn insert(writer: &mut Writer<'_>, row: &KeyRow) -> Written {
    let binding = writer.bind(INSERT)?.put(row.namespace.as_str())?.put(&row.key)?;
    let touched = binding.put(row.body)?.json(&row.made)?.time(row.at)?.run()?;
    Ok(one(touched, "keys", &row.key)?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let mut columns = Columns::of(row);
    Ok(KeyRow {
        namespace: columns.name()?,
        key: columns.get()?,
        body: columns.get()?,
        made: columns.json()?,
        at: columns.time()?,
    })
}

pub(crate) fn get(connection: &Connection, namespace: &Namespace, key: &str) -> rusqlite::Result<Option<KeyRow>> {
    connection.prepare_cached(ONE)?.query_row([namespace.as_str(), key], read).optional()
}

/// All of them, as [`key_hash`] gives them, in order. `None`: there are more.
pub(crate) fn hashes(connection: &Connection, most: usize) -> rusqlite::Result<Option<Vec<u64>>> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(NAMES)?;
    let hash = |row: &Row<'_>| Ok(key_hash(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?));
    let mut all: Vec<u64> = statement.query_map([limit], hash)?.collect::<rusqlite::Result<_>>()?;
    all.sort_unstable();
    Ok((all.len() <= most).then_some(all))
}

/// Keys whose turn it is to be looked at.
pub(crate) fn due(connection: &Connection, by: Timestamp, most: usize) -> rusqlite::Result<Vec<KeyRow>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.prepare_cached(DUE)?.query_map(params![int(by.0), most], read)?.collect()
}

pub(crate) fn looked(writer: &mut Writer<'_>, row: &KeyRow, now: Timestamp) -> Written {
    writer.bind(LOOKED)?.put(row.namespace.as_str())?.put(&row.key)?.time(now)?.run()?;
    Ok(())
}

pub(crate) fn forget(writer: &mut Writer<'_>, row: &KeyRow) -> Written {
    writer.bind(FORGET)?.put(row.namespace.as_str())?.put(&row.key)?.run()?;
    Ok(())
}
