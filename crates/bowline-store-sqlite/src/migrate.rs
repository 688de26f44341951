//! Versions of the store's form, and the steps from one to the next. Forward only; each step is one
//! transaction. The file says its version, the oldest version of the program's that may still use
//! it, and which release wrote it.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// Marks the file as Bowline's.
pub(crate) const APPLICATION_ID: i32 = 0x426f_774c;

/// One step.
#[derive(Debug)]
pub(crate) struct Migration {
    /// The version that it leads to.
    pub(crate) version: u32,
    /// What it does, for people.
    pub(crate) name: &'static str,
    /// The oldest version of the program's that may use the file after it.
    pub(crate) oldest_reader: u32,
    sql: &'static str,
}

/// All steps, oldest first.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "first form", oldest_reader: 1, sql: include_str!("sql/0001_first.sql") },
    Migration { version: 2, name: "pools and drains", oldest_reader: 2, sql: include_str!("sql/0002_fleet.sql") },
    Migration { version: 3, name: "blobs by name", oldest_reader: 2, sql: include_str!("sql/0003_blobs.sql") },
    Migration { version: 4, name: "resources", oldest_reader: 2, sql: include_str!("sql/0004_resources.sql") },
    Migration { version: 5, name: "lines", oldest_reader: 2, sql: include_str!("sql/0005_lines.sql") },
    // An older program would look for unfinished tasks by an index that is another one now.
    Migration { version: 6, name: "fewer rows a task", oldest_reader: 6, sql: include_str!("sql/0006_rows.sql") },
    // An older program would not find attempts.
    Migration {
        version: 7,
        name: "first attempts in rows",
        oldest_reader: 7,
        sql: include_str!("sql/0007_firsts.sql"),
    },
];

/// The version that this program writes.
pub(crate) const CURRENT: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// What a file says of its version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    /// 0: empty.
    pub(crate) version: u32,
    pub(crate) oldest_reader: u32,
    pub(crate) release: String,
}

/// What a file is.
pub(crate) enum Kind {
    /// Bowline's, or empty.
    Store(Found),
    /// Some other database.
    Foreign,
}

/// Reads what a file is. Changes nothing.
pub(crate) fn inspect(connection: &Connection) -> rusqlite::Result<Kind> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Kind::Store(Found::default()));
    }
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Ok(Kind::Foreign);
    }
    let number =
        |key: &str| connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, u32>(0));
    let release = connection
        .query_row("SELECT value FROM meta WHERE key = 'release'", [], |row| row.get(0))
        .optional()?
        .unwrap_or_default();
    Ok(Kind::Store(Found { version: number("schema_version")?, oldest_reader: number("oldest_reader")?, release }))
}

/// Steps that a file of this version still needs.
pub(crate) fn pending(version: u32, migrations: &[Migration]) -> impl Iterator<Item = &Migration> {
    migrations.iter().filter(move |step| step.version > version)
}

/// Takes every step that is still needed.
pub(crate) fn run(connection: &mut Connection, from: u32, migrations: &[Migration]) -> rusqlite::Result<()> {
    for step in pending(from, migrations) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute_batch(step.sql)?;
        let put = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)";
        transaction.execute(put, params!["schema_version", step.version])?;
        transaction.execute(put, params!["oldest_reader", step.oldest_reader])?;
        transaction.execute(put, params!["release", env!("CARGO_PKG_VERSION")])?;
        transaction.commit()?;
        tracing::info!(version = step.version, step = step.name, "store migrated");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn step(version: u32, sql: &'static str) -> Migration {
    Migration { version, name: "a step of a test", oldest_reader: 1, sql }
}
