//! Blobs by the BLAKE3 hash of their bytes.
//!
//! | name | what |
//! |---|---|
//! | `xx/HEX` | a whole blob, `xx` being the first two digits |
//! | `xx/HEX.sums` | of one larger than a mebibyte: the sum of each mebibyte, a branch of the tree whose root is the digest, so that any range is checked as it is read |
//! | `incoming/HEX` | the bytes that have come of an upload; what is cut off goes on from there |
//! | `damaged/HEX` | a blob whose bytes are not what they were; never given out, replaced when it comes again |
//!
//! A blob appears under its name only when its bytes are synced and have its hash. Whoever puts or
//! names a blob *touches* it; what nobody names is collected when it was not touched for long enough
//! ([`BlobStore::collect`]). So a crash between any two steps leaves nothing but what is collected
//! later, and nothing is collected that somebody is about to name.

mod collect;
mod digest;
mod many;
mod read;
#[cfg(test)]
mod tests;
mod tree;
mod upload;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::disk::spread;
use crate::error::BlobError;
use tree::Tree;

pub use collect::Collected;
pub use digest::Digest;
pub use read::{BlobReader, Soundness, examine};
pub use upload::Upload;

/// Bytes that are checked at a time when a blob is read: 1 MiB.
pub const PIECE_BYTES: u64 = 1 << 20;

/// Blobs in one folder.
#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    /// Uploads under way: one at a time for each blob.
    uploading: Mutex<HashSet<Digest>>,
    /// Of those that are not under way just now: what was hashed of what has come.
    trees: Mutex<HashMap<Digest, Tree>>,
    /// Held while many small files are made.
    creating: Mutex<()>,
    /// Held while a blob is put in place, touched, or collected.
    steps: Mutex<()>,
}

impl BlobStore {
    /// Opens the folder, and makes it where it is not there. What interrupted uploads left stays: they
    /// go on from there, or it is collected.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|source| BlobError::io("create", &root, source))?;
        spread(&root);
        for folder in [root.join("incoming"), root.join("damaged")] {
            fs::create_dir_all(&folder).map_err(|source| BlobError::io("create", &folder, source))?;
        }
        Ok(Self {
            root,
            uploading: Mutex::default(),
            trees: Mutex::default(),
            creating: Mutex::default(),
            steps: Mutex::default(),
        })
    }

    /// A blob's size in bytes. `None`: there is no such blob, whole. Blocks.
    pub fn size(&self, digest: Digest) -> Result<Option<u64>, BlobError> {
        length_of(&self.path(digest))
    }

    /// Whether there is such a blob. Blocks.
    pub fn exists(&self, digest: Digest) -> Result<bool, BlobError> {
        Ok(self.size(digest)?.is_some())
    }

    /// Whether a blob of this name was found damaged, and has not come again since. Blocks.
    pub fn is_damaged(&self, digest: Digest) -> Result<bool, BlobError> {
        Ok(!self.exists(digest)? && length_of(&self.damaged(digest))?.is_some())
    }

    /// As [`BlobStore::size`]; from now on it counts as wanted for as long as [`BlobStore::collect`] is
    /// told to wait. Blocks.
    pub fn touch(&self, digest: Digest) -> Result<Option<u64>, BlobError> {
        let _step = self.steps.lock();
        let path = self.path(digest);
        let Some(size) = length_of(&path)? else { return Ok(None) };
        touch(&path)?;
        Ok(Some(size))
    }

    /// Stores bytes; they are durable when this returns. Blocks.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        if self.touch(digest)?.is_none() {
            let mut upload = self.upload(digest, bytes.len() as u64)?;
            let from = usize::try_from(upload.offset()).unwrap_or(usize::MAX);
            upload.write(bytes.get(from..).unwrap_or_default())?;
            upload.finish()?;
        }
        Ok(digest)
    }

    /// Removes a blob, whoever names it. One that is not there is no error. Blocks.
    pub fn delete(&self, digest: Digest) -> Result<(), BlobError> {
        let _step = self.steps.lock();
        remove(&self.path(digest))?;
        remove(&self.sums(digest))
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join(&hex[..2]).join(hex)
    }

    fn sums(&self, digest: Digest) -> PathBuf {
        self.path(digest).with_extension("sums")
    }

    fn incoming(&self, digest: Digest) -> PathBuf {
        self.root.join("incoming").join(digest.to_string())
    }

    fn damaged(&self, digest: Digest) -> PathBuf {
        self.root.join("damaged").join(digest.to_string())
    }
}

fn length_of(path: &Path) -> Result<Option<u64>, BlobError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BlobError::io("look at", path, source)),
    }
}

/// Its time of change is now.
fn touch(path: &Path) -> Result<(), BlobError> {
    use rustix::fs::{CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps { last_access: special(UTIME_OMIT), last_modification: special(UTIME_NOW) };
    let done = rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty());
    done.map_err(|error| BlobError::io("touch", path, error.into()))
}

fn remove(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BlobError::io("remove", path, source)),
        _ => Ok(()),
    }
}
