//! A file's digest. BLAKE3 is a tree: of a large file several threads hash a branch each, and nothing of it stays in
//! memory. Everything here blocks.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{Hash, Hasher};

use super::Look;

/// Bytes of a branch that one thread hashes: a power of two.
const BRANCH_BYTES: u64 = 4 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Threads that hash one file.
const THREADS_MAX: usize = 4;

/// A file as it was hashed.
pub(super) struct Hashed {
    pub(super) digest: String,
    pub(super) look: Look,
}

/// Of one that grows meanwhile, what was hashed is sent.
pub(super) fn hash(path: &Path) -> io::Result<Hashed> {
    let mut file = File::open(path)?;
    let look = Look::of(&file.metadata()?);
    if look.size > BRANCH_BYTES
        && let Some(hash) = in_branches(&file, look.size)?
    {
        return Ok(Hashed { digest: hash.to_hex().to_string(), look });
    }
    file.rewind()?;
    let mut hasher = Hasher::new();
    let copied = io::copy(&mut file, &mut hasher)?;
    Ok(Hashed { digest: hasher.finalize().to_hex().to_string(), look: Look { size: copied, ..look } })
}

/// So many bytes, more than one branch has. `None`: the file has become shorter than that.
fn in_branches(file: &File, length: u64) -> io::Result<Option<Hash>> {
    let (count, next) = (length.div_ceil(BRANCH_BYTES), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let work = || -> io::Result<Vec<(u64, ChainingValue)>> {
        let (mut buffer, mut done) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(done);
            }
            let from = number * BRANCH_BYTES;
            done.push((number, branch(file, (from, length.min(from + BRANCH_BYTES)), &mut buffer)?));
        }
    };
    let done = thread::scope(|scope| {
        // Where no thread can be had, this one does all of it.
        let others: Vec<_> =
            (1..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let joined =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.chain([own]).collect::<io::Result<Vec<_>>>()
    });
    let mut branches = match done {
        Ok(branches) => branches.concat(),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    branches.sort_unstable_by_key(|(number, _)| *number);
    let branches: Vec<_> = branches.into_iter().map(|(_, value)| value).collect();
    let (left, right) = fork(&branches);
    Ok(Some(merge_subtrees_root(&merged(left), &merged(right), Mode::Hash)))
}

fn branch(file: &File, (from, to): (u64, u64), buffer: &mut [u8]) -> io::Result<ChainingValue> {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(from);
    let mut at = from;
    while at < to {
        let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..length], at)?;
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    Ok(hasher.finalize_non_root())
}

fn merged(branches: &[ChainingValue]) -> ChainingValue {
    if let [one] = branches {
        return *one;
    }
    let (left, right) = fork(branches);
    merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

/// Where a tree of so many branches has its first fork.
fn fork(branches: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    let left = left_subtree_len(branches.len() as u64 * BRANCH_BYTES) / BRANCH_BYTES;
    branches.split_at(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hash_of_its_bytes_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let branch = usize::try_from(BRANCH_BYTES).unwrap();
        let lengths = [0, 1, branch - 1, branch, branch + 1, 2 * branch, 3 * branch + 5, 5 * branch - 1025, 9 * branch];
        for length in lengths {
            let mut bytes = vec![0; length];
            Hasher::new().finalize_xof().fill(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            let hashed = hash(&path).unwrap();
            assert_eq!(hashed.digest, blake3::hash(&bytes).to_hex().to_string(), "{length}");
            assert_eq!(hashed.look.size, length as u64);
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_not_taken_for_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes = vec![7; 9 << 20];
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        assert!(in_branches(&file, (9 << 20) + 1).unwrap().is_none());
        assert!(in_branches(&file, 20 << 20).unwrap().is_none());
        assert_eq!(in_branches(&file, 9 << 20).unwrap(), Some(blake3::hash(&bytes)));
        // What it has by then is what is sent.
        assert_eq!(in_branches(&file, 8 << 20).unwrap(), Some(blake3::hash(&bytes[..8 << 20])));
    }
}
