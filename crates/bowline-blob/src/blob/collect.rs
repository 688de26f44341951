//! Collecting what nobody names any more.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{BlobStore, Digest, remove};
use crate::error::BlobError;

/// Blobs that are asked about at a time.
const ASKED_MAX: usize = 256;
/// A damaged blob is kept for so long, for whoever wants to look into it: 30 days.
const DAMAGED_KEPT: Duration = Duration::from_hours(30 * 24);

/// What was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What interrupted uploads had left.
    pub uploads: u64,
}

impl BlobStore {
    /// Removes what was not touched for so long and is named by nobody. `named` says which of some
    /// blobs are named; it is asked while nobody can begin to name one. Blocks.
    pub fn collect<E: From<BlobError>>(
        &self,
        (now, kept): (SystemTime, Duration),
        mut named: impl FnMut(&[Digest]) -> Result<HashSet<Digest>, E>,
    ) -> Result<Collected, E> {
        let mut collected = Collected::default();
        let old = |entry: &DirEntry, kept| is_older(entry, now, kept);
        for folder in entries(&self.root)? {
            let is_blobs = folder.file_name().to_str().is_some_and(|name| name.len() == 2);
            if !is_blobs {
                continue;
            }
            let mut some = Vec::new();
            for entry in entries(&folder.path())?.filter(|entry| old(entry, kept)) {
                match entry.file_name().to_str().map(|name| (name.parse::<Digest>(), name.contains("sums"))) {
                    Some((Ok(digest), _)) => some.push(digest),
                    // Sums without a blob, or half of them.
                    Some((Err(_), true)) if !entry.path().with_extension("").exists() => remove(&entry.path())?,
                    Some(_) | None => {}
                }
            }
            for some in some.chunks(ASKED_MAX) {
                self.collect_some(some, (now, kept), &mut named, &mut collected)?;
            }
        }
        self.collect_uploads((now, kept), &mut collected)?;
        for entry in entries(&self.root.join("damaged"))?.filter(|entry| old(entry, kept.max(DAMAGED_KEPT))) {
            remove(&entry.path())?;
        }
        Ok(collected)
    }

    fn collect_some<E: From<BlobError>>(
        &self,
        some: &[Digest],
        (now, kept): (SystemTime, Duration),
        named: &mut impl FnMut(&[Digest]) -> Result<HashSet<Digest>, E>,
        collected: &mut Collected,
    ) -> Result<(), E> {
        // Nobody touches one between the question and its removal.
        let _step = self.steps.lock();
        let named = named(some)?;
        for digest in some.iter().filter(|digest| !named.contains(digest)) {
            let path = self.path(*digest);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if age(&metadata, now) >= kept {
                remove(&path)?;
                remove(&self.sums(*digest))?;
                collected.blobs += 1;
                collected.bytes += metadata.len();
            }
        }
        Ok(())
    }

    fn collect_uploads(&self, (now, kept): (SystemTime, Duration), collected: &mut Collected) -> Result<(), BlobError> {
        for entry in entries(&self.root.join("incoming"))?.filter(|entry| is_older(entry, now, kept)) {
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            // None begins while this is held.
            let uploading = self.uploading.lock();
            if digest.is_none_or(|digest| !uploading.contains(&digest)) {
                remove(&entry.path())?;
                if let Some(digest) = digest {
                    self.trees.lock().remove(&digest);
                }
                collected.uploads += 1;
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<impl Iterator<Item = DirEntry>, BlobError> {
    let entries = fs::read_dir(folder).map_err(|source| BlobError::io("look through", folder, source))?;
    Ok(entries.flatten())
}

fn is_older(entry: &DirEntry, now: SystemTime, kept: Duration) -> bool {
    // What cannot be looked at is gone, or left to the next round.
    entry.metadata().is_ok_and(|metadata| age(&metadata, now) >= kept)
}

fn age(metadata: &fs::Metadata, now: SystemTime) -> Duration {
    metadata.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default()
}
