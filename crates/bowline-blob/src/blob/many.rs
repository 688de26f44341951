//! Many small blobs at once: written one after the other, and made durable together.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{BlobStore, Digest, PIECE_BYTES, remove, touch};
use crate::disk::{FILES_ONE_BY_ONE_MAX, sync_file_system, sync_folder};
use crate::error::BlobError;

/// Blobs that are being put; nobody else uploads them meanwhile.
struct Claimed<'a> {
    store: &'a BlobStore,
    digests: Vec<Digest>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut uploading = self.store.uploading.lock();
        for digest in &self.digests {
            uploading.remove(digest);
        }
    }
}

impl BlobStore {
    /// Stores blobs of at most [`PIECE_BYTES`] each, and tells which of them are there, and durable, when this
    /// returns. Not among them are those whose bytes have another digest, that are larger, and that somebody else
    /// is uploading just now. Blocks.
    pub fn put_many(&self, blobs: &[(Digest, &[u8])]) -> Result<Vec<Digest>, BlobError> {
        let (mut there, mut new, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let mut claimed = Claimed { store: self, digests: Vec::new() };
        for (digest, bytes) in blobs {
            if !seen.insert(*digest) {
                continue;
            }
            if self.touch(*digest)?.is_some() {
                there.push(*digest);
            } else if bytes.len() as u64 <= PIECE_BYTES
                && Digest::of(bytes) == *digest
                && self.uploading.lock().insert(*digest)
            {
                claimed.digests.push(*digest);
                new.push((*digest, *bytes));
            }
        }
        self.write_many(&new)?;
        self.place_many(&claimed.digests)?;
        there.extend(&claimed.digests);
        Ok(there)
    }

    /// Writes them where uploads lie, and syncs them.
    fn write_many(&self, blobs: &[(Digest, &[u8])]) -> Result<(), BlobError> {
        let mut files = Vec::new();
        // The file system makes one file at a time in a folder, and who waits there keeps a processor busy.
        let creating = self.creating.lock();
        for (digest, bytes) in blobs {
            let path = self.incoming(*digest);
            let written = File::create(&path).and_then(|mut file| file.write_all(bytes).map(|()| file));
            let file = written.map_err(|source| BlobError::io("write", &path, source))?;
            if blobs.len() <= FILES_ONE_BY_ONE_MAX {
                files.push((file, path));
            }
        }
        drop(creating);
        if blobs.len() > FILES_ONE_BY_ONE_MAX {
            return sync_file_system(&self.root).map_err(|source| BlobError::io("sync", &self.root, source));
        }
        for (file, path) in files {
            file.sync_all().map_err(|source| BlobError::io("sync", &path, source))?;
        }
        Ok(())
    }

    /// Gives them their names, and makes those durable.
    fn place_many(&self, digests: &[Digest]) -> Result<(), BlobError> {
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        let _step = self.steps.lock();
        for digest in digests {
            let (incoming, path) = (self.incoming(*digest), self.path(*digest));
            let folder = path.parent().expect("a blob lies in a folder of the store");
            if folders.insert(folder.to_owned()) {
                fs::create_dir_all(folder).map_err(|source| BlobError::io("create", folder, source))?;
            }
            // Its age, by which it is collected, begins now.
            touch(&incoming)?;
            fs::rename(&incoming, &path).map_err(|source| BlobError::io("put in place", &path, source))?;
        }
        self.sync_names(&folders).map_err(|source| BlobError::io("sync", &self.root, source))?;
        for digest in digests {
            remove(&self.damaged(*digest))?;
        }
        Ok(())
    }

    fn sync_names(&self, folders: &BTreeSet<PathBuf>) -> io::Result<()> {
        if folders.len() > FILES_ONE_BY_ONE_MAX {
            return sync_file_system(&self.root);
        }
        let root: &Path = &self.root;
        folders.iter().map(PathBuf::as_path).chain((!folders.is_empty()).then_some(root)).try_for_each(sync_folder)
    }
}
