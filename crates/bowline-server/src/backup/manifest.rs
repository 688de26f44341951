//! What a backup says of itself.

use bowline_core::id::{CommitNo, Generation};
use serde::{Deserialize, Serialize};

/// The format's name, in every manifest.
const FORMAT: &str = "bowline-backup";
/// Its version. A later one is not read.
const VERSION: u32 = 1;

/// What is in a backup beside the store and the secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contents {
    /// Nothing: logs and the bytes of artifacts stay where they are.
    #[default]
    Store,
    /// Logs and artifacts.
    All,
}

/// The last file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// The release that made it.
    pub release: String,
    /// When it was begun.
    pub made_at: jiff::Timestamp,
    /// What is in it.
    pub contents: Contents,
    /// The store's generation.
    pub generation: u32,
    /// The store's last commit.
    pub commit_no: u64,
    /// Every file, in the order of the tar.
    pub files: Vec<FileEntry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, as in the data folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub blake3: String,
}

impl Manifest {
    pub(super) fn new(made_at: jiff::Timestamp, contents: Contents, at: (Generation, CommitNo)) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            contents,
            generation: at.0.0,
            commit_no: at.1.0,
            files: Vec::new(),
        }
    }

    /// What is wrong with it, where it was read.
    pub(super) fn unfit(&self) -> Option<String> {
        if self.format != FORMAT {
            return Some("its manifest is not one of a Bowline backup".to_owned());
        }
        (self.version > VERSION).then(|| {
            format!(
                "its format has version {} (made by Bowline {}), and this program knows versions up to {VERSION}",
                self.version, self.release
            )
        })
    }

    /// All bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}
