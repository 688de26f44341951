//! Uploads: bytes are appended to what has come before, and hashed as they are; when all are there and have the hash
//! they are put in place. What came before this process began is read back, and whatever nobody can be sure of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::tree::{Hashed, Tree};
use super::{BlobStore, Digest, PIECE_BYTES, length_of, remove, touch};
use crate::disk::{begin_writing_back, sync_folder};
use crate::error::BlobError;

/// Cut off or between two of their parts, so many uploads keep what was hashed of them; of others it is read back.
const TREES_MAX: usize = 256;
/// The disk begins to write whenever so many bytes have come, so that little is left to be waited for at the end.
const WRITTEN_BACK_BYTES: u64 = 8 << 20;

/// One blob's upload. Nobody else uploads the same blob while this lives; dropped before its end, it
/// leaves what has come, to be gone on with.
#[derive(Debug)]
pub struct Upload<'a> {
    store: &'a BlobStore,
    digest: Digest,
    total: u64,
    file: File,
    offset: u64,
    /// Of what has come, or less.
    tree: Tree,
    /// So many bytes the disk was told to write.
    written_back: u64,
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
            Ok((file, offset)) => {
                // Bytes that it has seen and the file has not are of another life of that file.
                let tree = self.trees.lock().remove(&digest).filter(|tree| tree.length() <= offset);
                let tree = tree.unwrap_or_else(Tree::new);
                Ok(Upload { store: self, digest, total, file, offset, tree, written_back: offset })
            }
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
        self.catch_up()?;
        let written = self.file.write_all(bytes);
        written.map_err(|source| {
            // Nobody knows how much of it is there: what was there before is, and it is read before it is believed.
            drop(self.file.set_len(self.offset));
            self.tree = Tree::new();
            BlobError::io("write", &self.store.incoming(self.digest), source)
        })?;
        self.tree.update(bytes);
        self.offset += bytes.len() as u64;
        if self.offset - self.written_back >= WRITTEN_BACK_BYTES {
            begin_writing_back(&self.file, self.written_back..self.offset);
            self.written_back = self.offset;
        }
        Ok(())
    }

    /// Hashes what has come and was not hashed.
    fn catch_up(&mut self) -> Result<(), BlobError> {
        let behind = self.offset - self.tree.length();
        if behind == 0 {
            return Ok(());
        }
        let read = self.file.seek(SeekFrom::Start(self.tree.length()));
        let read = read.and_then(|_| self.tree.read(&mut (&self.file).take(behind)));
        read.map_err(|source| BlobError::io("read back", &self.store.incoming(self.digest), source))
    }

    /// Checks all bytes against the name and puts the blob in place: from here on it is durable. Bytes
    /// that do not have the name are thrown away. Blocks.
    pub fn finish(mut self) -> Result<(), BlobError> {
        let incoming = self.store.incoming(self.digest);
        let failed = |source| BlobError::io("store", &incoming, source);
        self.catch_up()?;
        self.file.sync_all().map_err(failed)?;
        let length = self.file.metadata().map_err(failed)?.len();
        let hashed = std::mem::replace(&mut self.tree, Tree::new()).finish();
        if hashed.whole != self.digest || !self.is_whole() || length != self.total {
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
        let mut trees = self.store.trees.lock();
        if self.tree.length() > 0 {
            if trees.len() >= TREES_MAX
                && let Some(other) = trees.keys().next().copied()
            {
                trees.remove(&other);
            }
            trees.insert(self.digest, std::mem::replace(&mut self.tree, Tree::new()));
        }
        drop(trees);
        self.store.uploading.lock().remove(&self.digest);
    }
}

/// Reads a file in full.
pub(super) fn hash_file(path: &Path) -> io::Result<Hashed> {
    let mut tree = Tree::new();
    tree.read(&mut File::open(path)?)?;
    Ok(tree.finish())
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
