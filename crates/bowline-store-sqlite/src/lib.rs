//! The embedded store on SQLite: one writer connection, a small pool of readers, and a thread that
//! checkpoints.
//!
//! **Invariant:** what [`SqliteStore`] has committed is on the disk (`synchronous = FULL`), and a
//! reader never sees anything that is not.

mod open;
mod reader;
mod store;

pub use open::{OpenError, Opened, open};
pub use reader::SqliteReader;
pub use store::SqliteStore;
