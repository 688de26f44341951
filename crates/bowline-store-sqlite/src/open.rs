//! Opening a store file: who owns it, whether it is sound, which version it has.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_store::StoreError;
use rusqlite::{Connection, ErrorCode};

use crate::checkpoint::Checkpoints;
use crate::connect::{self, LogOnClose};
use crate::lock::OwnerLock;
use crate::migrate::{self, CURRENT, Found, Kind, MIGRATIONS};
use crate::reader::SqliteReader;
use crate::store::SqliteStore;

/// A file up to this size is checked as a whole each time it is opened; a larger one by its header,
/// its tables' list and its version. `bowline server check` checks all of it. 32 MiB.
const QUICK_CHECK_BYTES_MAX: u64 = 32 << 20;
/// How every SQLite file begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// The one writer: [`bowline_store::LeaderStore`] and [`bowline_store::RetentionStore`].
    pub store: SqliteStore,
    /// The readers: [`bowline_store::ReadStore`].
    pub reader: Arc<SqliteReader>,
}

/// A store file could not be opened. Each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "`{}` is in use by another Bowline server{}: stop that one first, or give this one a folder of its own with \
         `--data`",
        .path.display(), .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it, where that is known.
        pid: Option<u32>,
    },
    /// It is damaged.
    #[error(
        "`{}` is damaged ({detail}): nothing was changed. Put a backup in its place; or move it and its `-wal` file \
         away, and the server begins with an empty store",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// It is a database, but not one of Bowline's.
    #[error(
        "`{}` is a database of some other program: nothing was changed. Give the server another folder with `--data`",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "`{}` has store version {found} (written by Bowline {release}), and this program, Bowline {}, knows versions \
         up to {known}: nothing was changed. Use a Bowline whose store version is {oldest_reader} or newer",
        .path.display(), env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
        /// The oldest version that may still use the file.
        oldest_reader: u32,
        /// The release that wrote it.
        release: String,
    },
    /// The file system refused.
    #[error("{operation} `{}` failed: check that the folder exists and that this user may write to it", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store in this file, and makes it where there is none. Its folder must exist.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let lock = OwnerLock::take(path)?;
    let failed = |error| classify(path, "opening", error);
    if !check_magic(path)? {
        make(path)?;
    }
    let mut connection = connect::writer(path).map_err(failed)?;
    // Until the file is known to be ours and sound, giving it up must not move its log into it.
    connect::log_on_close(&connection, LogOnClose::Leave).map_err(failed)?;
    let found = known_version(path, &connection)?;
    check_soundness(path, &connection)?;
    connect::make_durable(&connection).map_err(failed)?;
    migrate::run(&mut connection, found.version, MIGRATIONS).map_err(|error| classify(path, "migrating", error))?;
    let reader = Arc::new(SqliteReader::open(path).map_err(failed)?);
    let checkpoints = Checkpoints::start(path)
        .map_err(|error| StoreError::new(format!("starting the checkpoints of `{}`", path.display()), error))?;
    connect::log_on_close(&connection, LogOnClose::Fold).map_err(failed)?;
    Ok(Opened { store: SqliteStore::new(path, connection, checkpoints, lock), reader })
}

/// Makes an empty store: under another name first, so that the file is never there without being one.
fn make(path: &Path) -> Result<(), OpenError> {
    let draft = path.with_extension("db-new");
    let failed = |error| classify(&draft, "making", error);
    for suffix in ["", "-wal", "-shm"] {
        let mut left = draft.clone().into_os_string();
        left.push(suffix);
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io_failed("removing", &draft)(error)),
            Ok(()) | Err(_) => {}
        }
    }
    let mut connection = connect::writer(&draft).map_err(failed)?;
    connect::make_durable(&connection).map_err(failed)?;
    migrate::run(&mut connection, 0, MIGRATIONS).map_err(failed)?;
    // Its log is moved into it.
    connection.close().map_err(|(_, error)| failed(error))?;
    File::open(&draft).and_then(|file| file.sync_all()).map_err(io_failed("syncing", &draft))?;
    std::fs::rename(&draft, path).map_err(io_failed("naming", &draft))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_failed("syncing", folder))
}

fn io_failed(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { operation, path, source }
}

/// Whether the file is there. It must begin as SQLite's do: a store never has no bytes, and where SQLite finds none it
/// throws its log away.
pub(crate) fn check_magic(path: &Path) -> Result<bool, OpenError> {
    let failed = io_failed("reading", path);
    let mut begin = Vec::new();
    let read = match File::open(path) {
        Ok(file) => file.take(MAGIC.len() as u64).read_to_end(&mut begin),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => Err(error),
    };
    read.map_err(failed)?;
    if begin == MAGIC {
        return Ok(true);
    }
    let detail = if begin.is_empty() { "it is empty" } else { "it does not begin as a store file does" };
    Err(OpenError::Damaged { path: path.to_owned(), detail: detail.to_owned() })
}

/// The file's version, where this program may use it.
pub(crate) fn known_version(path: &Path, connection: &Connection) -> Result<Found, OpenError> {
    let kind = migrate::inspect(connection).map_err(|error| classify(path, "reading the version of", error))?;
    let Kind::Store(found) = kind else { return Err(OpenError::Foreign { path: path.to_owned() }) };
    if found.version > CURRENT && found.oldest_reader > CURRENT {
        return Err(newer(path, found));
    }
    Ok(found)
}

/// A newer program wrote it.
pub(crate) fn newer(path: &Path, found: Found) -> OpenError {
    let Found { version: found, oldest_reader, release } = found;
    OpenError::Newer { path: path.to_owned(), found, known: CURRENT, oldest_reader, release }
}

fn check_soundness(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let bytes = std::fs::metadata(path).map_or(0, |data| data.len());
    if bytes > QUICK_CHECK_BYTES_MAX {
        return Ok(());
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| classify(path, "checking", error))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged { path: path.to_owned(), detail: verdict }) }
}

/// Tells a damaged file from a failure of any other kind.
pub(crate) fn classify(path: &Path, operation: &str, error: rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path: path.to_owned(), detail: error.to_string() }
        }
        _ => StoreError::new(format!("{operation} `{}`", path.display()), error).into(),
    }
}
