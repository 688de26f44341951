//! The way back: gives a store that nobody has open the form of version 5, which earlier releases read.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::connect;
use crate::lock::OwnerLock;
use crate::migrate::{self, CURRENT, MIGRATIONS};
use crate::open::{OpenError, check_magic, classify, known_version, newer};
use crate::tables::{firsts, history};

/// The version that it leads to.
const TO: u32 = 5;
/// Of versions 7 and 6, taken back: see `sql/0007_firsts.sql` and `sql/0006_rows.sql`.
const UNDO: &str = "ALTER TABLE tasks DROP COLUMN first; ALTER TABLE tasks DROP COLUMN first_key; \
     ALTER TABLE tasks DROP COLUMN lines; DROP INDEX tasks_open; \
     CREATE INDEX tasks_open ON tasks (id) WHERE state < 8;";
const _: () = assert!(CURRENT == 7, "a further step of the store's form is to be taken back here too");
/// What an earlier program would neither read nor keep, newest first: the version that brought it, and whether
/// something of it is in the store.
const USES: [(u32, &str); 9] = [
    (6, "SELECT 1 FROM run_specs WHERE json_extract(graph, '$.asks') IS NOT NULL"),
    (6, "SELECT 1 FROM task_specs WHERE json_extract(spec, '$.under_run') IS NOT NULL"),
    (5, "SELECT 1 FROM gangs"),
    (5, "SELECT 1 FROM namespaces"),
    (5, "SELECT 1 FROM resources WHERE sticky IS NOT NULL"),
    (
        5,
        "SELECT 1 FROM task_specs WHERE json_extract(spec, '$.concurrency', '$.rate', '$.placement', '$.gang') <> '[null,null,null,null]'",
    ),
    (4, "SELECT 1 FROM resources"),
    (4, "SELECT 1 FROM task_resources"),
    (4, "SELECT 1 FROM task_specs WHERE json_extract(spec, '$.release_while_retrying') IS NOT NULL"),
];
/// Programs before this version read no form that this one can write.
const OLDEST: u32 = 2;

/// What a store has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downgraded {
    /// The version of its form.
    pub version: u32,
    /// Programs that know this version, or a later one, may use it.
    pub oldest_reader: u32,
}

/// Gives the store in this file the form of version 5, all at once; nothing that is in it is lost. Refused while
/// somebody has it open. One of that form, or an earlier one, stays as it is.
pub fn downgrade(path: &Path) -> Result<Downgraded, OpenError> {
    let _lock = OwnerLock::take(path)?;
    let failed = |error| classify(path, "writing the earlier form of", error);
    check_magic(path)?;
    let mut connection = connect::writer(path).map_err(failed)?;
    let found = known_version(path, &connection)?;
    if found.version <= TO {
        return Ok(Downgraded { version: found.version, oldest_reader: found.oldest_reader });
    }
    if found.version > CURRENT {
        return Err(newer(path, found));
    }
    connect::make_durable(&connection).map_err(failed)?;
    // There is one way back: from the newest form.
    migrate::run(&mut connection, found.version, MIGRATIONS).map_err(failed)?;
    let done = run(&mut connection).map_err(failed)?;
    // Its log is moved into it.
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(done)
}

fn run(connection: &mut Connection) -> rusqlite::Result<Downgraded> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut oldest_reader = OLDEST;
    for (version, used) in USES {
        let is_used: Option<i64> =
            transaction.query_row(&format!("{used} LIMIT 1"), [], |row| row.get(0)).optional()?;
        if is_used.is_some() {
            oldest_reader = oldest_reader.max(version);
        }
    }
    firsts::out_of_rows(&transaction)?;
    history::out_of_rows(&transaction)?;
    transaction.execute_batch(UNDO)?;
    let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
    transaction.execute(put, params!["schema_version", TO])?;
    transaction.execute(put, params!["oldest_reader", oldest_reader])?;
    transaction.commit()?;
    Ok(Downgraded { version: TO, oldest_reader })
}
