//! Content-addressed blobs and log segments on disk. Uses nothing of ours: whose attempt a log is of
//! is a few plain numbers here.
//!
//! All calls **block** on the disk: async callers use a blocking pool.
//!
//! **Invariant:** what was acknowledged as durable is read back byte for byte, or as an error; a
//! blob's bytes are checked against its name whenever they are read in full.

pub mod blob;
mod error;
pub mod log;

pub use blob::{BlobStore, Digest};
pub use error::{BlobError, LogError};
pub use log::{LogKey, LogState, LogStore, LogStream};
