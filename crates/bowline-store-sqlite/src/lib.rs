//! The embedded store on SQLite: one writer connection, a small pool of readers, and a thread that
//! checkpoints.
//!
//! **Invariant:** what [`SqliteStore`] has committed is on the disk (`synchronous = FULL`), and a
//! reader never sees anything that is not. Of secrets the file holds hashes only.
//!
//! `tables/` holds one module a table with all of its SQL; `sql/` the steps of the schema; rules
//! are the core's, and are not written again here.

mod check;
mod checkpoint;
mod codec;
mod connect;
mod downgrade;
mod lock;
mod migrate;
mod open;
mod reader;
mod snapshot;
mod store;
mod sweep;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, check, each_artifact};
pub use downgrade::{Downgraded, downgrade};
pub use open::{OpenError, Opened, open};
pub use reader::SqliteReader;
pub use snapshot::{Ownership, snapshot, state_of};
pub use store::SqliteStore;
