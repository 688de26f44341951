//! Blobs by the BLAKE3 hash of their bytes: `xx/<64 hex digits>`, written under a temporary name,
//! synced, then renamed. The same bytes again change nothing.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::BlobError;

/// The BLAKE3 hash of a blob's bytes: its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| BlobError::BadDigest(text.chars().take(80).collect()))?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// Blobs in one folder.
#[derive(Debug)]
pub struct BlobStore {
    root: PathBuf,
    temporary: AtomicU64,
}

impl BlobStore {
    /// Opens the folder, makes it where it is not there, and removes what an interrupted `put` left.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let root = root.into();
        let incoming = root.join("incoming");
        match fs::remove_dir_all(&incoming) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(BlobError::io("clear", &incoming, source));
            }
            _ => {}
        }
        fs::create_dir_all(&incoming).map_err(|source| BlobError::io("create", &incoming, source))?;
        Ok(Self { root, temporary: AtomicU64::new(0) })
    }

    /// Stores bytes; they are durable when this returns. Blocks.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let digest = Digest::of(bytes);
        self.put_as(digest, bytes)?;
        Ok(digest)
    }

    /// Stores bytes that were announced with a digest; refused where they do not have it. Blocks.
    pub fn put_verified(&self, expected: Digest, bytes: &[u8]) -> Result<(), BlobError> {
        let actual = Digest::of(bytes);
        if actual != expected {
            return Err(BlobError::Damaged { expected, actual });
        }
        self.put_as(expected, bytes)
    }

    fn put_as(&self, digest: Digest, bytes: &[u8]) -> Result<(), BlobError> {
        let path = self.path(digest);
        let folder = path.parent().expect("a blob lies in a folder of the store");
        if path.exists() {
            // Whoever put it may not have synced its name yet.
            return sync_folder(folder).map_err(|source| BlobError::io("sync", folder, source));
        }
        fs::create_dir_all(folder).map_err(|source| BlobError::io("create", folder, source))?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join("incoming").join(number.to_string());
        let written = write_synced(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| sync_folder(folder))
            .and_then(|()| sync_folder(&self.root));
        written.map_err(|source| {
            // What is left of it is removed at the next start at the latest.
            drop(fs::remove_file(&temporary));
            BlobError::io("store blob", &path, source)
        })
    }

    /// All bytes of a blob, checked against its digest. `None`: there is no such blob. Blocks.
    pub fn get(&self, digest: Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.path(digest);
        match fs::read(&path) {
            Ok(bytes) => {
                let actual = Digest::of(&bytes);
                if actual == digest { Ok(Some(bytes)) } else { Err(BlobError::Damaged { expected: digest, actual }) }
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::io("read", &path, source)),
        }
    }

    /// A blob's size in bytes. `None`: there is no such blob. Blocks.
    pub fn size(&self, digest: Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::io("look at", &path, source)),
        }
    }

    /// Whether there is such a blob. Blocks.
    pub fn exists(&self, digest: Digest) -> Result<bool, BlobError> {
        Ok(self.size(digest)?.is_some())
    }

    /// Removes a blob. One that is not there is no error. Blocks.
    pub fn delete(&self, digest: Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(BlobError::io("remove", &path, source)),
            _ => Ok(()),
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join(&hex[..2]).join(hex)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_got_and_the_same_bytes_again_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path().join("blobs")).unwrap();
        let digest = store.put(b"census").unwrap();
        assert_eq!(store.put(b"census").unwrap(), digest);
        assert_eq!(store.get(digest).unwrap().unwrap(), b"census");
        assert_eq!(store.size(digest).unwrap(), Some(6));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        store.delete(digest).unwrap();
        store.delete(digest).unwrap();
        assert!(!store.exists(digest).unwrap());
        assert_eq!(store.get(digest).unwrap(), None);
    }

    #[test]
    fn bytes_with_another_digest_are_refused_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let announced = Digest::of(b"one thing");
        let refused = store.put_verified(announced, b"another thing").unwrap_err();
        assert!(matches!(refused, BlobError::Damaged { expected, .. } if expected == announced));
        assert!(!store.exists(announced).unwrap());
        assert!(!store.exists(Digest::of(b"another thing")).unwrap());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_other_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path()).unwrap();
        let digest = store.put(b"whole").unwrap();
        fs::write(store.path(digest), b"whale").unwrap();
        assert!(matches!(store.get(digest), Err(BlobError::Damaged { .. })));
    }

    #[test]
    fn no_name_leads_out_of_the_store() {
        for name in ["", "../../etc/passwd", "abc", &"g".repeat(64), &"a".repeat(63), &"a".repeat(65)] {
            assert!(matches!(name.parse::<Digest>(), Err(BlobError::BadDigest(_))), "{name}");
        }
    }

    #[test]
    fn what_an_interrupted_put_left_is_gone_after_the_next_open() {
        let folder = tempfile::tempdir().unwrap();
        drop(BlobStore::open(folder.path()).unwrap());
        fs::write(folder.path().join("incoming/7"), b"half").unwrap();
        drop(BlobStore::open(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }
}
