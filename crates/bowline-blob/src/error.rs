//! What can go wrong on disk, each with the operation that failed.

use std::io;
use std::path::{Path, PathBuf};

use crate::blob::Digest;
use crate::log::{LogKey, LogStream};

/// A blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk failed.
    #[error("could not {operation} {path}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The bytes do not have the digest that they were announced with, or that they are stored under.
    #[error("the bytes of blob {expected} have the digest {actual}")]
    Damaged {
        /// The announced digest, or the name of the stored file.
        expected: Digest,
        /// The digest that the bytes have.
        actual: Digest,
    },
    /// Somebody else uploads the same blob.
    #[error("the blob {0} is being uploaded by somebody else: ask again in a moment how much of it has come")]
    Busy(Digest),
    /// More bytes came than were announced.
    #[error("the blob {digest} was announced with {total} bytes, and more came")]
    TooMany {
        /// The announced digest.
        digest: Digest,
        /// The announced size.
        total: u64,
    },
    /// Not 64 hexadecimal digits.
    #[error("`{0}` is no digest: write the 64 hexadecimal digits of a BLAKE3 hash")]
    BadDigest(String),
}

impl BlobError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}

/// A log could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed.
    #[error("could not {operation} {path}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Bytes are missing before this segment: they must be sent first.
    #[error("a segment of log {key} ({stream}) begins at {offset}, and only {expected} bytes are there")]
    Gap {
        /// Whose log.
        key: LogKey,
        /// Which stream.
        stream: LogStream,
        /// Where the segment begins.
        offset: u64,
        /// Where it would have to begin, at the latest.
        expected: u64,
    },
    /// The log was sealed with a length, and this would change it.
    #[error("log {key} ({stream}) is sealed with {sealed} bytes")]
    Sealed {
        /// Whose log.
        key: LogKey,
        /// Which stream.
        stream: LogStream,
        /// Its length.
        sealed: u64,
    },
}

impl LogError {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }
}
