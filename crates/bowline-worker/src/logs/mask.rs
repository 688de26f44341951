//! Takes secrets out of what leaves the worker: every byte of them becomes `*`, so that offsets stay what
//! they are. A secret of several lines is masked line by line; lines shorter than four bytes are left.

use std::path::Path;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;

/// Shorter lines of a secret are not masked: they would be found everywhere.
const MASKED_BYTES_MIN: usize = 4;
/// Longer lines are masked in pieces of this size.
const PIECE_BYTES: usize = 1_024;
/// Most pieces that are looked for.
const PIECES_MAX: usize = 4_096;

/// What is to be masked.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    pieces: Vec<Vec<u8>>,
    /// Made when there is something to look through: a job that writes nothing need not pay for it.
    finder: OnceLock<Option<AhoCorasick>>,
    longest: usize,
}

impl Mask {
    /// Masks these secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = secrets.into_iter().flat_map(|secret| secret.split(['\n', '\r']));
        let pieces = lines.flat_map(|line| line.as_bytes().chunks(PIECE_BYTES));
        let mut pieces: Vec<Vec<u8>> =
            pieces.filter(|piece| piece.len() >= MASKED_BYTES_MIN).map(<[u8]>::to_vec).collect();
        pieces.sort_unstable();
        pieces.dedup();
        pieces.truncate(PIECES_MAX);
        let longest = pieces.iter().map(Vec::len).max().unwrap_or(0);
        Self { pieces, finder: OnceLock::new(), longest }
    }

    /// What an attempt's folder says is to be masked. A file that is not there masks nothing; one that cannot
    /// be read is an error: nothing may leave before it can.
    pub(crate) fn read(path: &Path) -> std::io::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let secrets: Vec<String> = serde_json::from_slice(&text)?;
        Ok(Self::new(secrets.iter().map(String::as_str)))
    }

    /// So many bytes before a range must be looked at with it: a secret may reach into it.
    pub(crate) fn context(&self) -> u64 {
        self.longest.saturating_sub(1) as u64
    }

    /// Masks every secret that lies in there in full.
    pub(crate) fn apply(&self, bytes: &mut [u8]) {
        if bytes.is_empty() || self.pieces.is_empty() {
            return;
        }
        let Some(finder) = self.finder.get_or_init(|| AhoCorasick::new(&self.pieces).ok()) else { return };
        let found: Vec<_> = finder.find_overlapping_iter(&*bytes).map(|found| found.range()).collect();
        for range in found {
            bytes[range].fill(b'*');
        }
    }

    /// How many of the last bytes may be the beginning of a secret that goes on behind them.
    pub(crate) fn held(&self, bytes: &[u8]) -> usize {
        let begun = |piece: &Vec<u8>| {
            let most = bytes.len().min(piece.len() - 1);
            (1..=most).rev().find(|length| bytes.ends_with(&piece[..*length])).unwrap_or(0)
        };
        self.pieces.iter().map(begun).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        mask.apply(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn secrets_are_masked_at_their_length_wherever_they_lie() {
        let mask = Mask::new(["hunter2", "2abcd", "-----BEGIN-----\nMIIBVw\n-----END-----\n", "ab"]);
        assert_eq!(masked(&mask, "a hunter2 b"), "a ******* b");
        // They may overlap.
        assert_eq!(masked(&mask, "hunter2abcd!"), "***********!");
        assert_eq!(masked(&mask, "key MIIBVw\n"), "key ******\n");
        assert_eq!(masked(&mask, "ab hunter"), "ab hunter");
        assert_eq!(masked(&Mask::default(), "hunter2"), "hunter2");
    }

    #[test]
    fn what_may_go_on_as_a_secret_is_held() {
        let mask = Mask::new(["hunter2"]);
        assert_eq!(mask.held(b"a hunt"), 4);
        assert_eq!(mask.held(b"h"), 1);
        assert_eq!(mask.held(b"hunter2"), 0);
        assert_eq!(mask.held(b"a line\n"), 0);
        assert_eq!(Mask::default().held(b"h"), 0);
        assert_eq!(mask.context(), 6);
    }
}
