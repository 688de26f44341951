//! What can go wrong with a backup. Each says what to do.

use std::io;
use std::path::{Path, PathBuf};

use bowline_store_sqlite::OpenError;

/// A backup could not be made, read or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refused.
    #[error("could not {operation} `{}`", .path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The file is no backup, or not all of one.
    #[error("`{}` is no whole backup: {detail}. Take another one", .path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Something is in the data folder.
    #[error(
        "the data folder `{}` is not empty (it holds `{found}`): nothing was changed. Choose an empty folder with \
         `--data`, or say `--force`: then what the backup replaces is put aside there",
        .path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// A restore was begun and did not come to its end.
    #[error(
        "a restore into the data folder `{}` did not come to its end: run `bowline server restore FILE --force` on it \
         again",
        .path.display()
    )]
    HalfRestored {
        /// The folder.
        path: PathBuf,
    },
}

impl BackupError {
    /// Whether it was refused, for a reason that the caller can do something about.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotEmpty { .. } | Self::HalfRestored { .. } | Self::Store(OpenError::InUse { .. }) => true,
            Self::Io { .. } | Self::Store(_) | Self::NotWhole { .. } => false,
        }
    }
}

/// The error of an operation on a file.
pub(super) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { operation, path, source }
}
