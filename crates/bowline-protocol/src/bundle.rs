//! Small blobs that go together in one request: of each a line with its digest and its length, then its bytes.

use crate::limits::{SMALL_BLOB_BYTES_MAX, SMALL_BLOBS_BYTES_MAX, SMALL_BLOBS_MAX};

/// The media type of a bundle.
pub const MEDIA_TYPE: &str = "application/octet-stream";
/// Longest head of a blob: 64 digits, a length, a space and the line's end.
const HEAD_BYTES_MAX: usize = 96;
/// Largest bundle, in bytes, heads included.
pub const BYTES_MAX: usize = SMALL_BLOBS_BYTES_MAX + SMALL_BLOBS_MAX * HEAD_BYTES_MAX;

/// What came is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("blob {number} of the bundle cannot be read: {why}")]
pub struct BadBundle {
    /// Which, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// How much has been put into a bundle, or is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    blobs: usize,
    bytes: usize,
}

impl Load {
    /// With another blob of so many bytes. `None`: there is no room for it.
    #[must_use]
    pub fn with(self, bytes: u64) -> Option<Self> {
        let small = usize::try_from(bytes).ok().filter(|bytes| *bytes <= SMALL_BLOB_BYTES_MAX)?;
        let load = Self { blobs: self.blobs + 1, bytes: self.bytes + small };
        (load.blobs <= SMALL_BLOBS_MAX && load.bytes <= SMALL_BLOBS_BYTES_MAX).then_some(load)
    }
}

/// Small blobs, put together to be sent.
#[derive(Debug, Default)]
pub struct Bundle {
    body: Vec<u8>,
    load: Load,
}

impl Bundle {
    /// Whether there is room for a blob of so many bytes.
    pub fn has_room(&self, bytes: u64) -> bool {
        self.load.with(bytes).is_some()
    }

    /// Adds a blob: its digest in hexadecimal digits, and its bytes, for which there must be room.
    pub fn push(&mut self, digest: &str, bytes: &[u8]) {
        let load = self.load.with(bytes.len() as u64);
        debug_assert!(load.is_some(), "a bundle is never larger than its bounds");
        self.load = load.unwrap_or(self.load);
        self.body.extend_from_slice(format!("{digest} {}\n", bytes.len()).as_bytes());
        self.body.extend_from_slice(bytes);
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// As it is sent.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// The blobs of a bundle: what each calls its digest, and its bytes. Errors name the blob.
pub fn split(mut body: &[u8]) -> Result<Vec<(&str, &[u8])>, BadBundle> {
    let mut blobs = Vec::new();
    while !body.is_empty() {
        let bad = |why| BadBundle { number: blobs.len() + 1, why };
        if blobs.len() == SMALL_BLOBS_MAX {
            return Err(bad("there are more than 512 blobs"));
        }
        let end = body.iter().take(HEAD_BYTES_MAX).position(|byte| *byte == b'\n');
        let (head, rest) = body.split_at(end.ok_or_else(|| bad("its first line is too long, or cut off"))?);
        let head = std::str::from_utf8(head).ok().and_then(|head| head.split_once(' '));
        let (digest, length) = head.ok_or_else(|| bad("its first line is not a digest and a length"))?;
        let length: usize = length.parse().map_err(|_| bad("its length is no number"))?;
        if length > SMALL_BLOB_BYTES_MAX {
            return Err(bad("it has more than 64 KiB"));
        }
        let bytes = rest.get(1..=length).ok_or_else(|| bad("its bytes are cut off"))?;
        body = &rest[1 + length..];
        blobs.push((digest, bytes));
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_together_is_taken_apart() {
        let mut bundle = Bundle::default();
        let large = vec![b'x'; SMALL_BLOB_BYTES_MAX];
        assert!(bundle.is_empty() && split(b"").unwrap().is_empty());
        for (digest, bytes) in [("aa", &b""[..]), ("bb", b"one\ntwo\n"), ("cc", &large[..])] {
            bundle.push(digest, bytes);
        }
        let body = bundle.into_body();
        let blobs = split(&body).unwrap();
        assert_eq!(blobs[..2], [("aa", &b""[..]), ("bb", &b"one\ntwo\n"[..])]);
        assert_eq!((blobs.len(), blobs[2].0, blobs[2].1.len()), (3, "cc", SMALL_BLOB_BYTES_MAX));
    }

    #[test]
    fn a_bundle_keeps_to_its_bounds() {
        let mut bundle = Bundle::default();
        assert!(!bundle.has_room(SMALL_BLOB_BYTES_MAX as u64 + 1));
        let piece = vec![0; SMALL_BLOB_BYTES_MAX];
        let mut blobs = 0;
        while bundle.has_room(piece.len() as u64) {
            bundle.push(&"a".repeat(64), &piece);
            blobs += 1;
        }
        assert_eq!(blobs, SMALL_BLOBS_BYTES_MAX / SMALL_BLOB_BYTES_MAX);
        assert!(bundle.into_body().len() <= BYTES_MAX);
    }

    #[test]
    fn what_is_damaged_is_named() {
        for (body, number) in [
            (&b"aa"[..], 1),
            (b"aa\n", 1),
            (b"aa x\n", 1),
            (b"aa 3\nab", 1),
            (b"aa 1\nxbb 70000\n", 2),
            (b"aa 1\nx\xff 0\n", 2),
            (&[b'a'; 200], 1),
        ] {
            assert_eq!(split(body).unwrap_err().number, number, "{body:?}");
        }
        let many = b"a 0\n".repeat(SMALL_BLOBS_MAX + 1);
        assert_eq!(split(&many).unwrap_err().number, SMALL_BLOBS_MAX + 1);
    }
}
