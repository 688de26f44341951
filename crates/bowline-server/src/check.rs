//! Looking at the artifacts in a data folder: every blob that the store names is read to its end.

use std::collections::HashSet;
use std::path::Path;

use bowline_blob::Digest;
use bowline_blob::blob::{Soundness, examine};
use bowline_core::row::ArtifactRow;
use bowline_store_sqlite::{OpenError, each_artifact};

use crate::backup::{BLOBS, STORE_FILE};

/// Most artifacts that are named one by one.
const NAMED_MAX: usize = 1_000;

/// Says of each artifact whose bytes are damaged or gone whose it is. Changes nothing, and may be called
/// beside a server that is at work on the folder. Blocks.
pub fn artifacts(data: &Path) -> Result<Vec<String>, OpenError> {
    let (store, blobs) = (data.join(STORE_FILE), data.join(BLOBS));
    let (mut bad, mut last) = (Vec::new(), None);
    each_artifact(&store, |row| {
        let soundness = match &last {
            Some((digest, soundness)) if *digest == row.digest => *soundness,
            _ => row.digest.parse::<Digest>().map_or(Soundness::Damaged, |digest| examine(&blobs, digest)),
        };
        last = Some((row.digest.clone(), soundness));
        if soundness != Soundness::Sound {
            bad.push((row, soundness));
        }
    })?;
    if bad.is_empty() {
        return Ok(Vec::new());
    }
    // What retention removed while the blobs were read is not missing.
    let digests: HashSet<String> = bad.iter().map(|(row, _)| row.digest.clone()).collect();
    let mut named = HashSet::new();
    each_artifact(&store, |row| {
        if digests.contains(&row.digest) {
            named.insert((row.attempt, row.name));
        }
    })?;
    bad.retain(|(row, _)| named.contains(&(row.attempt, row.name.clone())));
    let mut said: Vec<String> = bad.iter().take(NAMED_MAX).map(|(row, soundness)| line(row, *soundness)).collect();
    if let Some(more @ 1..) = bad.len().checked_sub(NAMED_MAX) {
        said.push(format!("{more} more artifacts are damaged or gone."));
    }
    Ok(said)
}

fn line(row: &ArtifactRow, soundness: Soundness) -> String {
    let what = match soundness {
        Soundness::Sound => "sound",
        Soundness::Damaged => "damaged",
        Soundness::Missing => "gone",
    };
    let (of, name) = (row.attempt.task, row.name.escape_default());
    let attempt = row.attempt.fence.attempt.0;
    format!("The bytes of `{name}` of task {of}, attempt {attempt} (blob {}) are {what}.", row.digest)
}
