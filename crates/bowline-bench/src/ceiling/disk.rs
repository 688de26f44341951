//! Files alone: written, copied, hashed, and durable.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Result;

use crate::clock::{Stopwatch, as_f64};

/// Written and read in pieces of so many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes in what is called MB.
pub(crate) const MB: f64 = 1e6;

/// A file of so many bytes, none of which the disk could leave out.
pub(crate) fn make(path: &Path, bytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut piece = vec![0_u8; PIECE_BYTES];
    let mut left = bytes;
    let mut hash = blake3::Hasher::new();
    hash.update(path.to_string_lossy().as_bytes());
    while left > 0 {
        // Other bytes in every piece.
        hash.update(&left.to_le_bytes());
        hash.finalize_xof().fill(&mut piece);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.write_all(&piece[..length])?;
        left -= length as u64;
    }
    Ok(file.sync_all()?)
}

/// Writes so many bytes to a file that is durable at the end. MB a second.
pub(crate) fn write(path: &Path, bytes: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    let mut file = File::create(path)?;
    let piece = vec![b'x'; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        file.write_all(&piece[..length])?;
        left -= length as u64;
    }
    file.sync_data()?;
    let figure = as_f64(bytes) / MB / watch.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(figure)
}

/// Copies a file, makes the copy durable, and hashes it. MB a second.
pub(crate) fn copy_and_hash(from: &Path, to: &Path) -> Result<f64> {
    let watch = Stopwatch::start();
    let bytes = std::fs::copy(from, to)?;
    let mut file = File::open(to)?;
    file.sync_data()?;
    let mut hash = blake3::Hasher::new();
    let mut piece = vec![0_u8; PIECE_BYTES];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        hash.update(&piece[..length]);
    }
    std::hint::black_box(hash.finalize());
    let figure = as_f64(bytes) / MB / watch.elapsed().as_secs_f64();
    std::fs::remove_file(to)?;
    Ok(figure)
}
