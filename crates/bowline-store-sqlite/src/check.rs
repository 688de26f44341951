//! Looking at a store file without changing it: what `bowline server check` shows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bowline_core::row::ArtifactRow;
use bowline_store::Leadership;
use rusqlite::Connection;

use crate::connect;
use crate::migrate::{self, CURRENT, MIGRATIONS};
use crate::open::{OpenError, check_magic, classify, known_version};
use crate::tables::{artifacts, leadership};

/// Most damages that are listed.
const PROBLEMS_MAX: usize = 100;
/// Tables whose rows are counted.
const COUNTED: [&str; 13] = [
    "tasks",
    "elements",
    "attempts",
    "results",
    "artifacts",
    "runs",
    "nodes",
    "workers",
    "resources",
    "namespaces",
    "gangs",
    "keys",
    "events",
];

/// Attempts that lie in their tasks' rows.
const FIRSTS: &str = "SELECT count(*) FROM tasks WHERE first IS NOT NULL";
/// Since this version some do.
const FIRSTS_FROM: u32 = 7;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// The file.
    pub path: PathBuf,
    /// Its size, without its log.
    pub bytes: u64,
    /// Its version; 0 where it is empty.
    pub version: u32,
    /// The version that this program writes.
    pub known_version: u32,
    /// The release that wrote it last.
    pub release: String,
    /// Steps that opening it would take, in order.
    pub pending: Vec<String>,
    /// Damage that was found. Empty: it is sound.
    pub problems: Vec<String>,
    /// Rows by table.
    pub counts: Vec<(String, u64)>,
    /// Where the leadership stands. `None`: the file is empty, or of an older version.
    pub leadership: Option<Leadership>,
}

/// Checks a store file, from its header to its last page. Changes nothing, and may run beside the
/// server that has it open.
pub fn check(path: &Path) -> Result<CheckReport, OpenError> {
    let failed = |source| OpenError::Io { operation: "reading", path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    check_magic(path)?;
    let failed = |error| classify(path, "checking", error);
    let connection = if has_log(path) { connect::reader(path) } else { connect::immutable(path) }.map_err(failed)?;
    let found = known_version(path, &connection)?;
    let problems = problems(&connection).map_err(failed)?;
    let counts = if found.version == 0 { Vec::new() } else { counts(&connection, found.version).map_err(failed)? };
    // An older form says less of it.
    let leadership = (found.version == CURRENT).then(|| leadership::read(&connection)).transpose().map_err(failed)?;
    Ok(CheckReport {
        path: path.to_owned(),
        bytes,
        version: found.version,
        known_version: CURRENT,
        release: found.release,
        pending: migrate::pending(found.version, MIGRATIONS)
            .map(|step| format!("version {}: {}", step.version, step.name))
            .collect(),
        problems,
        counts,
        leadership,
    })
}

/// Every file that an attempt left, those of the same blob after each other. Changes nothing, and may
/// run beside the server that has the store open. Of a store of an older version: none.
pub fn each_artifact(path: &Path, visit: impl FnMut(ArtifactRow)) -> Result<(), OpenError> {
    let failed = |error| classify(path, "reading the artifacts of", error);
    let connection = if has_log(path) { connect::reader(path) } else { connect::immutable(path) }.map_err(failed)?;
    if known_version(path, &connection)?.version != CURRENT {
        return Ok(());
    }
    artifacts::each(&connection, visit).map_err(failed)
}

/// Whether a log lies beside the file: then some of its state is in there.
fn has_log(path: &Path) -> bool {
    let mut log = OsString::from(path);
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|data| data.len() > 0)
}

fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    lines.filter(|line| !matches!(line, Ok(text) if text == "ok")).collect()
}

fn counts(connection: &Connection, version: u32) -> rusqlite::Result<Vec<(String, u64)>> {
    let in_rows = if version >= FIRSTS_FROM { connection.query_row(FIRSTS, [], |row| row.get(0))? } else { 0_i64 };
    let count = |table: &&str| {
        let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let rows = if *table == "attempts" { rows + in_rows } else { rows };
        Ok(((*table).to_owned(), rows.unsigned_abs()))
    };
    COUNTED.iter().map(count).collect()
}

impl CheckReport {
    /// Whether the file is sound.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}
