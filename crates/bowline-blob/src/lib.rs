//! Content-addressed blobs and log segments on disk. Uses nothing of ours: whose attempt a log is of
//! is a few plain numbers here.
//!
//! All calls **block** on the disk: async callers use a blocking pool.
//!
//! **Invariant:** what was acknowledged as durable is read back byte for byte, or as an error; a
//! blob's bytes are checked whenever they are read.

pub mod blob;
mod disk;
mod error;
pub mod log;

pub use blob::{BlobReader, BlobStore, Collected, Digest, Upload};
pub use error::{BlobError, LogError};
pub use log::{LogKey, LogMarks, LogState, LogStore, LogStream, Segment};
