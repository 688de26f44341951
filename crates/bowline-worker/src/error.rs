//! What ends a worker, or keeps it from starting.

use std::io;
use std::path::PathBuf;

/// Why a worker could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Another worker uses the state directory.
    #[error(
        "another worker (process {pid}) uses the state directory {}: stop it, or give this one a directory of its own with `--state`",
        path.display()
    )]
    StateDirBusy {
        /// The directory.
        path: PathBuf,
        /// The other process; `?` where it has not said.
        pid: String,
    },
    /// The state directory cannot be used.
    #[error("{what} failed for {}", path.display())]
    StateDir {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The state directory belongs to another identity, or to a pool, or to another one.
    #[error(
        "the state directory {} belongs to a {theirs}, not to a {ours}: start it with `{flag}`, or give this one a directory of its own with `--state`",
        path.display()
    )]
    OtherIdentity {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who asked.
        ours: String,
        /// How the one that it belongs to is started.
        flag: String,
    },
    /// The journal cannot be used.
    #[error("the worker's journal {} cannot be used", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: crate::journal::JournalError,
    },
    /// The server's address is none.
    #[error("`{0}` is no address of a server: write `http://HOST:PORT`")]
    ServerAddress(String),
    /// A server is named twice.
    #[error("the server `{0}` is named twice: name each one once")]
    SameServer(String),
    /// No key, and nothing to get one with.
    #[error(
        "this worker has no key yet, and no token to enrol with: give it the server's token file with `--token-file`, or one that `bowline token create --enrol` wrote"
    )]
    NoToken,
    /// The server refused the enrolment.
    #[error("the server refused to enrol this worker: {0}")]
    EnrolRefused(String),
    /// HTTP cannot be used at all.
    #[error("the HTTP client could not be set up")]
    HttpClient(#[source] reqwest::Error),
    /// The state directory's key is not usable.
    #[error("the key in {} is damaged: remove the file to enrol anew", .0.display())]
    DamagedKey(PathBuf),
    /// The state directory's id is not usable.
    #[error(
        "{} is damaged, so that nobody knows whose state directory this is: remove the file, and the worker is taken \
         for one with a new directory, which waits until what it had before is settled", .0.display()
    )]
    DamagedId(PathBuf),
    /// A thread could not be started.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
}

/// Whether an error says that the disk has no room: then it is worth trying again.
pub(crate) fn is_for_want_of_room(error: &(dyn std::error::Error + 'static)) -> bool {
    /// `SQLITE_IOERR_SHMSIZE`: no room for what it shares with others.
    const NO_SHARED_ROOM: i32 = 4874;
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let sqlite = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
        if matches!(io, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
            || sqlite.is_some_and(|sqlite| {
                sqlite.code == rusqlite::ErrorCode::DiskFull || sqlite.extended_code == NO_SHARED_ROOM
            })
        {
            return true;
        }
        next = error.source();
    }
    false
}
