//! A store file as it is at one moment: copied while its server goes on, and looked at.

use std::path::Path;

use bowline_core::id::{CommitNo, Generation};

use crate::connect;
use crate::lock::OwnerLock;
use crate::open::{OpenError, check_magic, classify, known_version};
use crate::tables::leadership;

/// Owns a store file without opening it. While this lives no server can; where one does, it is
/// refused.
#[derive(Debug)]
pub struct Ownership {
    _lock: OwnerLock,
}

impl Ownership {
    /// Takes it. The folder must exist; the file need not.
    pub fn take(store: &Path) -> Result<Self, OpenError> {
        OwnerLock::take(store).map(|lock| Self { _lock: lock })
    }
}

/// Writes the store as it is now into a new file, beside whoever has it open and without holding up
/// his commits, and says at which generation and commit it is. What is written is not synced. Blocks
/// for as long as reading and writing the whole file takes.
pub fn snapshot(store: &Path, into: &Path) -> Result<(Generation, CommitNo), OpenError> {
    check_magic(store)?;
    let failed = |error| classify(store, "copying", error);
    let connection = connect::reader(store).map_err(failed)?;
    known_version(store, &connection)?;
    // Unlike a copy page by page this reads from one moment, and is never begun anew by a commit.
    connection.execute("VACUUM INTO ?1", [into.to_string_lossy()]).map_err(failed)?;
    state_of(into)
}

/// At which generation and commit a store file is. Changes nothing.
pub fn state_of(store: &Path) -> Result<(Generation, CommitNo), OpenError> {
    check_magic(store)?;
    let failed = |error| classify(store, "reading", error);
    let connection = connect::reader(store).map_err(failed)?;
    known_version(store, &connection)?;
    leadership::state(&connection).map_err(failed)
}
