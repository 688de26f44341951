//! The hash of a blob, made while its bytes come. BLAKE3 is a tree, and each mebibyte is a branch of it: hashed once, it
//! tells the blob's digest together with all others, and by itself whether those bytes are what they were.

use std::io::{self, Read};

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use super::{Digest, PIECE_BYTES};

/// What all bytes of a blob tell of it.
pub(super) struct Hashed {
    pub(super) whole: Digest,
    /// The sums of its pieces, one after another; of one that has a single piece nobody asks for them.
    pub(super) sums: Vec<u8>,
}

/// A blob that is hashed piece by piece, as far as it has come.
#[derive(Debug)]
pub(super) struct Tree {
    /// Of the pieces that are whole.
    sums: Vec<ChainingValue>,
    piece: Hasher,
    length: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { sums: Vec::new(), piece: Hasher::new(), length: 0 }
    }

    /// How many bytes it has seen.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.piece.count() == PIECE_BYTES {
                // Not before there is more: a single piece is a whole tree, and has no branches.
                self.sums.push(self.piece.finalize_non_root());
                self.piece = Hasher::new();
                self.piece.set_input_offset(self.length);
            }
            let room = usize::try_from(PIECE_BYTES - self.piece.count()).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.update(now);
            self.length += now.len() as u64;
            bytes = later;
        }
    }

    /// Hashes what is left to be read.
    pub(super) fn read(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut piece = vec![0; usize::try_from(PIECE_BYTES).unwrap_or(1 << 20)];
        loop {
            match from.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.update(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn finish(mut self) -> Hashed {
        if self.sums.is_empty() {
            return Hashed { whole: Digest(*self.piece.finalize().as_bytes()), sums: Vec::new() };
        }
        self.sums.push(self.piece.finalize_non_root());
        Hashed { whole: root(&self.sums), sums: self.sums.into_flattened() }
    }
}

/// The sum of this piece of a blob that has more than one.
pub(super) fn sum(number: u64, piece: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(number * PIECE_BYTES).update(piece).finalize_non_root()
}

/// The digest of a blob that has pieces with these sums, more than one.
fn root(sums: &[ChainingValue]) -> Digest {
    let (left, right) = split(sums);
    Digest(*merge_subtrees_root(&branch(left), &branch(right), Mode::Hash).as_bytes())
}

fn branch(sums: &[ChainingValue]) -> ChainingValue {
    if let [one] = sums {
        return *one;
    }
    let (left, right) = split(sums);
    merge_subtrees_non_root(&branch(left), &branch(right), Mode::Hash)
}

/// Where a tree of so many pieces has its first fork: where one of bytes in that number, and of chunks, has it too.
fn split(sums: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    let left = left_subtree_len(sums.len() as u64 * PIECE_BYTES) / PIECE_BYTES;
    sums.split_at(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: usize = 1 << 20;

    fn bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_tree_is_the_hash_of_all_bytes_however_they_come() {
        let edges = [0, 1, 1023, 1024, 1025, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1];
        let more = [3 * PIECE, 4 * PIECE - 7, 5 * PIECE + 1024, 7 * PIECE + 99, 9 * PIECE];
        for length in edges.into_iter().chain(more) {
            let bytes = bytes(length);
            for step in [length.max(1), 4096, PIECE, 300_001] {
                let mut tree = Tree::new();
                bytes.chunks(step).for_each(|some| tree.update(some));
                assert_eq!(tree.length(), length as u64);
                let hashed = tree.finish();
                assert_eq!(hashed.whole, Digest::of(&bytes), "{length} by {step}");
                if length > PIECE {
                    let sums: Vec<_> =
                        (0..).zip(bytes.chunks(PIECE)).map(|(number, piece)| sum(number, piece)).collect();
                    assert_eq!(hashed.sums, sums.concat(), "{length} by {step}");
                }
            }
        }
    }

    #[test]
    fn a_tree_goes_on_with_what_is_read() {
        let bytes = bytes(3 * PIECE + 5);
        for come in [0, 1, PIECE, 2 * PIECE + 9, bytes.len()] {
            let mut tree = Tree::new();
            tree.update(&bytes[..come]);
            tree.read(&mut &bytes[come..]).unwrap();
            assert_eq!(tree.finish().whole, Digest::of(&bytes), "{come}");
        }
    }
}
