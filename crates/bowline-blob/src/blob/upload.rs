//! Uploads: bytes are appended to what has come before; when all are there they are read back, hashed
//! and put in place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::{BlobStore, Digest, PIECE_BYTES, length_of, remove, touch};
use crate::disk::sync_folder;
use crate::error::BlobError;

/// One blob's upload. Nobody else uploads the same blob while this lives; dropped before its end, it
/// leaves what has come, to be gone on with.
#[derive(Debug)]
pub struct Upload<'a> {
    store: &'a BlobStore,
    digest: Digest,
    total: u64,
    file: File,
    offset: u64,
}

/// What reading a file in full tells of it.
pub(super) struct Hashed {
    pub(super) whole: Digest,
    /// The hashes of its pieces, one after another.
    pub(super) sums: Vec<u8>,
}

impl BlobStore {
    /// Goes on with the upload of a blob of so many bytes, or begins it. Refused with
    /// [`BlobError::Busy`] while somebody else uploads it. Blocks.
    pub fn upload(&self, digest: Digest, total: u64) -> Result<Upload<'_>, BlobError> {
        if !self.uploading.lock().insert(digest) {
            return Err(BlobError::Busy(digest));
        }
        let path = self.incoming(digest);
        let opened = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new().append(true).read(true).create(true).open(&path)?;
            let mut length = file.metadata()?.len();
            if length > total {
                // It cannot be the beginning of those bytes.
                file.set_len(0)?;
                length = 0;
            }
            Ok((file, length))
        };
        match opened() {
            Ok((file, offset)) => Ok(Upload { store: self, digest, total, file, offset }),
            Err(source) => {
                self.uploading.lock().remove(&digest);
                Err(BlobError::io("open", &path, source))
            }
        }
    }

    /// How many bytes of a blob have come, where it is not whole. Blocks.
    pub fn come(&self, digest: Digest) -> Result<u64, BlobError> {
        Ok(length_of(&self.incoming(digest))?.unwrap_or(0))
    }
}

impl Upload<'_> {
    /// How many bytes have come.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether all bytes have come.
    pub fn is_whole(&self) -> bool {
        self.offset == self.total
    }

    /// Appends bytes. More than announced are refused. Blocks.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if self.offset.saturating_add(bytes.len() as u64) > self.total {
            return Err(BlobError::TooMany { digest: self.digest, total: self.total });
        }
        let written = self.file.write_all(bytes);
        written.map_err(|source| {
            // Nobody knows how much of it is there: what was there before is.
            drop(self.file.set_len(self.offset));
            BlobError::io("write", &self.store.incoming(self.digest), source)
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Checks all bytes against the name and puts the blob in place: from here on it is durable. Bytes
    /// that do not have the name are thrown away. Blocks.
    pub fn finish(self) -> Result<(), BlobError> {
        let incoming = self.store.incoming(self.digest);
        let failed = |source| BlobError::io("store", &incoming, source);
        self.file.sync_all().map_err(failed)?;
        let hashed = hash_file(&incoming).map_err(failed)?;
        if hashed.whole != self.digest || !self.is_whole() {
            remove(&incoming)?;
            return Err(BlobError::Damaged { expected: self.digest, actual: hashed.whole });
        }
        let path = self.store.path(self.digest);
        let folder = path.parent().expect("a blob lies in a folder of the store");
        let _step = self.store.steps.lock();
        fs::create_dir_all(folder).map_err(|source| BlobError::io("create", folder, source))?;
        if self.total > PIECE_BYTES {
            write_sums(&self.store.sums(self.digest), &hashed.sums)?;
        }
        // Its age, by which it is collected, begins now.
        touch(&incoming)?;
        let placed = fs::rename(&incoming, &path)
            .and_then(|()| sync_folder(folder))
            .and_then(|()| sync_folder(&self.store.root));
        placed.map_err(|source| BlobError::io("put in place", &path, source))?;
        remove(&self.store.damaged(self.digest))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.store.uploading.lock().remove(&self.digest);
    }
}

/// Reads a file in full.
pub(super) fn hash_file(path: &Path) -> io::Result<Hashed> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; usize::try_from(PIECE_BYTES).unwrap_or(1 << 20)];
    let (mut whole, mut sums) = (blake3::Hasher::new(), Vec::new());
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match file.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled > 0 {
            whole.update(&piece[..filled]);
            sums.extend_from_slice(blake3::hash(&piece[..filled]).as_bytes());
        }
        if filled < piece.len() {
            return Ok(Hashed { whole: Digest(*whole.finalize().as_bytes()), sums });
        }
    }
}

/// Writes them whole or not at all. They are worth nothing without their blob, whose folder is synced
/// after this.
pub(super) fn write_sums(path: &Path, sums: &[u8]) -> Result<(), BlobError> {
    let temporary = path.with_extension("sums-new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(sums)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| BlobError::io("write", path, source))
}
