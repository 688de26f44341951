//! Backups: a tar file that holds a server's store as it was at one moment, its secrets, where asked
//! for its logs and artifacts, and at its end a manifest with the digest of everything. What breaks off
//! has no manifest, and is no backup.
//!
//! ```text
//! bowline.db  token  secret  [logs/…  blobs/…]  manifest.json
//! ```
//!
//! [`write()`] makes one beside a server that goes on, [`check()`] reads one to its end, [`restore()`] puts one
//! into a data folder and begins a later generation there, so that nothing from before it is taken for
//! something newer.

mod error;
mod manifest;
mod read;
mod restore;
mod write;

pub use error::BackupError;
pub use manifest::{Contents, FileEntry, Manifest};
pub use read::check;
pub use restore::{Force, Restored, half_restored, restore};
pub use write::write;

pub(crate) use write::remove_leftovers;

/// In a data folder: the store.
pub(crate) const STORE_FILE: &str = "bowline.db";
/// The store's log and the index of that.
const STORE_LOGS: [&str; 2] = ["bowline.db-wal", "bowline.db-shm"];
/// In a data folder: what holds logs.
const LOGS: &str = "logs";
/// In a data folder: what holds artifacts.
pub(crate) const BLOBS: &str = "blobs";
/// Both.
const FOLDERS: [&str; 2] = [LOGS, BLOBS];
/// The last file of a backup.
const MANIFEST_FILE: &str = "manifest.json";
/// Bytes read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Largest manifest, in bytes: some five million files. 1 GiB.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests;
