//! A blob's name.

use std::fmt;
use std::str::FromStr;

use crate::error::BlobError;

/// The BLAKE3 hash of a blob's bytes: its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub(super) [u8; 32]);

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
