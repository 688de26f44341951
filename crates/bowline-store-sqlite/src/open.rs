//! Opening a store file: who owns it, whether it is sound, which version it has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_store::StoreError;

use crate::reader::SqliteReader;
use crate::store::SqliteStore;

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// The one writer: [`bowline_store::LeaderStore`] and [`bowline_store::RetentionStore`].
    pub store: SqliteStore,
    /// The readers: [`bowline_store::ReadStore`].
    pub reader: Arc<SqliteReader>,
}

/// A store file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("`{path}` is in use by another Bowline server{}: stop that one first, or give this one a folder of its own with `--data`", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The file.
        path: PathBuf,
        /// Who has it, where that is known.
        pid: Option<u32>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store in this file, and makes it where there is none.
pub fn open(path: &Path) -> Result<Opened, OpenError> {
    let failed = |error: rusqlite::Error| StoreError::new(format!("opening `{}`", path.display()), error);
    let connection = rusqlite::Connection::open(path).map_err(failed)?;
    Ok(Opened { store: SqliteStore::new(connection), reader: Arc::new(SqliteReader {}) })
}
