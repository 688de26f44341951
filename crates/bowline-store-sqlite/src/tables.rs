//! The tables, one module each: its statements, how a row is written and how one is read.

pub(crate) mod artifacts;
pub(crate) mod attempts;
pub(crate) mod counters;
pub(crate) mod elements;
pub(crate) mod events;
pub(crate) mod firsts;
pub(crate) mod gangs;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod leadership;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod pauses;
pub(crate) mod resources;
pub(crate) mod results;
pub(crate) mod runs;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod unit;
pub(crate) mod workers;

use bowline_store::{CommitError, StoreError};

/// A write that failed: SQLite's doing, or a row that was not as it must be.
pub(crate) enum WriteError {
    Sql(rusqlite::Error),
    Refused(CommitError),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<CommitError> for WriteError {
    fn from(error: CommitError) -> Self {
        Self::Refused(error)
    }
}

impl WriteError {
    /// As the caller of the store sees it.
    pub(crate) fn during(self, operation: &str) -> CommitError {
        match self {
            Self::Sql(error) => StoreError::new(operation, error).into(),
            Self::Refused(error) => error,
        }
    }
}

pub(crate) type Written = Result<(), WriteError>;
