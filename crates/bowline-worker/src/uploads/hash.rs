//! A file's digest. Of a large one several threads hash a part each, and little of it is in memory. Everything here blocks.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use blake3::Hasher;

use super::Look;

/// Bytes read at a time: enough for several threads to be worth their while.
const READ_BYTES: u64 = 4 << 20;
/// Fewer are hashed by one thread.
const ALONE_MAX: usize = 1 << 20;

/// A file as it was hashed.
pub(super) struct Hashed {
    pub(super) digest: String,
    pub(super) look: Look,
}

/// Of one that grows or becomes shorter meanwhile, what was hashed is sent.
pub(super) fn hash(path: &Path) -> io::Result<Hashed> {
    let mut file = File::open(path)?;
    let look = Look::of(&file.metadata()?);
    let (mut hasher, mut part) = (Hasher::new(), Vec::new());
    while (&mut file).take(READ_BYTES).read_to_end(&mut part)? > 0 {
        if part.len() > ALONE_MAX {
            hasher.update_rayon(&part)
        } else {
            hasher.update(&part)
        };
        part.clear();
    }
    let look = Look { size: hasher.count(), ..look };
    Ok(Hashed { digest: hasher.finalize().to_hex().to_string(), look })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hash_of_its_bytes_whatever_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let read = usize::try_from(READ_BYTES).unwrap();
        for length in [0, 1, ALONE_MAX, ALONE_MAX + 1, read - 1, read, read + 1, 2 * read, 2 * read + ALONE_MAX + 5] {
            let mut bytes = vec![0; length];
            Hasher::new().finalize_xof().fill(&mut bytes);
            std::fs::write(&path, &bytes).unwrap();
            let hashed = hash(&path).unwrap();
            assert_eq!(hashed.digest, blake3::hash(&bytes).to_hex().to_string(), "{length}");
            assert_eq!(hashed.look.size, length as u64);
        }
    }
}
