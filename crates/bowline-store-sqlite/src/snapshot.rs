//! A store file as it is at one moment: copied while its server goes on, looked at, and put back as a
//! later generation.

use std::path::Path;

use bowline_core::id::Generation;
use bowline_store::Leadership;

use crate::connect;
use crate::lock::OwnerLock;
use crate::open::{OpenError, check_magic, classify, known_version};
use crate::tables::leadership;

/// Owns a store file without opening it. While this lives no server can; where one does, it is
/// refused.
#[derive(Debug)]
pub struct Ownership(#[expect(dead_code, reason = "held, not looked at")] OwnerLock);

impl Ownership {
    /// Takes it. The folder must exist; the file need not.
    pub fn take(store: &Path) -> Result<Self, OpenError> {
        OwnerLock::take(store).map(Self)
    }
}

/// Writes the store as it is now into a new file, beside whoever has it open and without holding up
/// his commits. What is written is not synced. Blocks for as long as reading and writing the whole
/// file takes.
pub fn snapshot(store: &Path, into: &Path) -> Result<Leadership, OpenError> {
    check_magic(store)?;
    let failed = |error| classify(store, "copying", error);
    let connection = connect::reader(store).map_err(failed)?;
    known_version(store, &connection)?;
    // Unlike the page by page copy, this reads from one moment and is never begun anew by a commit.
    connection.execute("VACUUM INTO ?1", [into.to_string_lossy()]).map_err(failed)?;
    leadership_of(into)
}

/// Where the leadership stands in a store file that nobody writes to.
pub fn leadership_of(store: &Path) -> Result<Leadership, OpenError> {
    check_magic(store)?;
    let failed = |error| classify(store, "reading", error);
    let connection = connect::reader(store).map_err(failed)?;
    known_version(store, &connection)?;
    leadership::read(&connection).map_err(failed)
}

/// Begins a later generation: one above the store's own and above `seen`. Whatever was claimed before
/// is older than whatever is claimed from now on. The caller owns the file.
pub fn raise_generation(store: &Path, seen: Option<Generation>) -> Result<Leadership, OpenError> {
    check_magic(store)?;
    let failed = |error| classify(store, "raising the generation of", error);
    let connection = connect::writer(store).map_err(failed)?;
    known_version(store, &connection)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    leadership::raise_generation(&connection, seen.unwrap_or_default()).map_err(failed)
}
