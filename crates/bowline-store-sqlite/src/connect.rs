//! Connections, each set up for what it is there for.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements kept prepared by each connection.
const STATEMENTS_MAX: usize = 96;
/// Memory of the writer's page cache, in KiB.
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// Bytes of the log's file that are kept when it begins anew: what was longer, beside a backup for one, is cut off.
const LOG_KEPT_MAX: i64 = 128 << 20;
/// Memory of each reader's page cache, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;

/// A connection that may write. Sets nothing that would change the file.
pub(crate) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // The first statement reads the tables' list: where that fails, closing must not change the file.
    log_on_close(&connection, LogOnClose::Leave)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    let connection = common(connection)?;
    log_on_close(&connection, LogOnClose::Fold)?;
    Ok(connection)
}

/// A connection that can only read.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    common(connection)
}

/// A connection to a file that nobody writes to: it makes no file beside it.
pub(crate) fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut uri = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'%' => uri.push_str("%25"),
            b'?' => uri.push_str("%3f"),
            b'#' => uri.push_str("%23"),
            byte => uri.push(char::from(byte)),
        }
    }
    uri.push_str("?immutable=1");
    common(Connection::open_with_flags(uri, flags)?)
}

fn common(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // A statement's plan does not depend on what is bound to it: else some are made anew at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// What the last connection does with the write-ahead log when it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogOnClose {
    /// Nothing: both files stay as they are.
    Leave,
    /// It moves what is in the log into the file, and removes the log.
    Fold,
}

/// Does something that waits no longer than this for others' locks.
pub(crate) fn impatiently<T>(
    connection: &Connection,
    busy_max: Duration,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_timeout(busy_max)?;
    let done = work(connection);
    connection.busy_timeout(BUSY_TIMEOUT)?;
    done
}

/// Sets what closing this connection does with the log.
pub(crate) fn log_on_close(connection: &Connection, what: LogOnClose) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, what == LogOnClose::Leave).map(drop)
}

/// Every commit is on the disk before it is answered, and nobody but the checkpoint thread
/// checkpoints.
pub(crate) fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT_MAX, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))
}
