//! Reading: every piece is checked before it is given out.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::tree;
use super::upload::{hash_file, write_sums};
use super::{BlobStore, Digest, PIECE_BYTES, length_of};
use crate::error::BlobError;

/// What a look at a blob finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// Its bytes are what they were.
    Sound,
    /// Its bytes have another digest, or cannot be read.
    Damaged,
    /// It is not there, and was not found damaged before.
    Missing,
}

/// Reads all of a blob in a store's folder, and changes nothing there. Blocks.
pub fn examine(root: &Path, digest: Digest) -> Soundness {
    let hex = digest.to_string();
    match hash_file(&root.join(&hex[..2]).join(&hex)) {
        Ok(hashed) if hashed.whole == digest => Soundness::Sound,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !root.join("damaged").join(hex).exists() => {
            Soundness::Missing
        }
        Ok(_) | Err(_) => Soundness::Damaged,
    }
}

/// A blob that is read piece by piece.
#[derive(Debug)]
pub struct BlobReader<'a> {
    store: &'a BlobStore,
    digest: Digest,
    file: File,
    size: u64,
    sums: Vec<u8>,
}

impl BlobStore {
    /// Opens a blob to be read. `None`: there is no such blob. Blocks.
    pub fn read(&self, digest: Digest) -> Result<Option<BlobReader<'_>>, BlobError> {
        let path = self.path(digest);
        let failed = |source| BlobError::io("open", &path, source);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let size = file.metadata().map_err(failed)?.len();
        let mut reader = BlobReader { store: self, digest, file, size, sums: digest.as_bytes().to_vec() };
        if size > PIECE_BYTES {
            reader.read_sums()?;
        }
        Ok(Some(reader))
    }

    /// All bytes of a blob, checked. `None`: there is no such blob. Blocks.
    pub fn get(&self, digest: Digest) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(reader) = self.read(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        loop {
            let piece = reader.piece(bytes.len() as u64)?;
            if piece.is_empty() {
                return Ok(Some(bytes));
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// Keeps a damaged blob from being given out or taken for there.
    fn put_aside(&self, digest: Digest) -> Result<(), BlobError> {
        let _step = self.steps.lock();
        let (path, aside) = (self.path(digest), self.damaged(digest));
        if length_of(&path)?.is_some() {
            fs::rename(&path, &aside).map_err(|source| BlobError::io("put aside", &path, source))?;
        }
        super::remove(&self.sums(digest))
    }
}

impl BlobReader<'_> {
    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes from this offset on: at most to the end of their mebibyte, checked. Empty: that is the
    /// end. A damaged blob is put aside, and never given out again. Blocks.
    pub fn piece(&self, offset: u64) -> Result<Vec<u8>, BlobError> {
        if offset >= self.size && self.size > 0 || offset > 0 && self.size == 0 {
            return Ok(Vec::new());
        }
        let number = offset / PIECE_BYTES;
        let from = number * PIECE_BYTES;
        let mut bytes = self.read_at(from)?;
        if self.sum(number, &bytes) != self.sums[usize::try_from(number).unwrap_or(0) * 32..][..32] {
            self.examine(number, &bytes)?;
        }
        bytes.drain(..usize::try_from(offset - from).unwrap_or(0));
        Ok(bytes)
    }

    fn read_at(&self, from: u64) -> Result<Vec<u8>, BlobError> {
        let length = usize::try_from((self.size - from).min(PIECE_BYTES)).unwrap_or(0);
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, from)
            .map_err(|source| BlobError::io("read", &self.store.path(self.digest), source))?;
        Ok(bytes)
    }

    fn sum(&self, number: u64, piece: &[u8]) -> [u8; 32] {
        if self.size > PIECE_BYTES { tree::sum(number, piece) } else { *Digest::of(piece).as_bytes() }
    }

    /// A piece is not what it should be: it is, or its sum, which versions before this one made otherwise.
    fn examine(&self, number: u64, piece: &[u8]) -> Result<(), BlobError> {
        let path = self.store.path(self.digest);
        let hashed = hash_file(&path).map_err(|source| BlobError::io("read", &path, source))?;
        let own = self.sum(number, piece);
        if hashed.whole == self.digest && hashed.sums.chunks(32).any(|sum| sum == own) {
            return write_sums(&self.store.sums(self.digest), &hashed.sums);
        }
        self.store.put_aside(self.digest)?;
        Err(BlobError::Damaged { expected: self.digest, actual: hashed.whole })
    }

    /// Sums that are not there, or not as many as there must be, are made again from bytes that have
    /// the blob's hash.
    fn read_sums(&mut self) -> Result<(), BlobError> {
        let pieces = usize::try_from(self.size.div_ceil(PIECE_BYTES)).unwrap_or(usize::MAX);
        let path = self.store.sums(self.digest);
        match fs::read(&path) {
            Ok(sums) if sums.len() == pieces.saturating_mul(32) => self.sums = sums,
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BlobError::io("read", &path, error));
            }
            Ok(_) | Err(_) => {
                let whole = self.store.path(self.digest);
                let hashed = hash_file(&whole).map_err(|source| BlobError::io("read", &whole, source))?;
                if hashed.whole != self.digest {
                    self.store.put_aside(self.digest)?;
                    return Err(BlobError::Damaged { expected: self.digest, actual: hashed.whole });
                }
                write_sums(&path, &hashed.sums)?;
                self.sums = hashed.sums;
            }
        }
        Ok(())
    }
}
