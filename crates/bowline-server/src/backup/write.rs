//! Making a backup. First the store as it is at one moment, then whatever it speaks of: a log or an
//! artifact is never removed before the store has forgotten it, so all that the copied store names is
//! still there, save what retention removes meanwhile.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::failed;
use super::{BackupError, Contents, FOLDERS, FileEntry, MANIFEST_FILE, Manifest, PIECE_BYTES, STORE_FILE};
use crate::start::{SECRET_FILE, TOKEN_FILE};

/// Folders in which a store is copied begin so.
const SCRATCH_PREFIX: &str = ".backup-";

/// Writes a backup of a data folder, beside a server that may be at work on it. The folder needs room
/// for another copy of the store meanwhile. Blocks.
pub fn write(
    data: &Path,
    contents: Contents,
    made_at: jiff::Timestamp,
    out: impl Write,
) -> Result<Manifest, BackupError> {
    let scratch = tempfile::Builder::new().prefix(SCRATCH_PREFIX).tempdir_in(data);
    let scratch = scratch.map_err(failed("make a folder in", data))?;
    let copy = scratch.path().join(STORE_FILE);
    let at = bowline_store_sqlite::snapshot(&data.join(STORE_FILE), &copy)?;
    let mut pack = Pack {
        tar: tar::Builder::new(out),
        manifest: Manifest::new(made_at, contents, at),
        modified: u64::try_from(made_at.as_second()).unwrap_or(0),
    };
    pack.file(STORE_FILE, &copy)?;
    for name in [TOKEN_FILE, SECRET_FILE] {
        pack.file(name, &data.join(name))?;
    }
    drop_scratch(scratch);
    match contents {
        Contents::Store => {}
        Contents::All => FOLDERS.iter().try_for_each(|folder| pack.folder(data, Path::new(folder)))?,
    }
    pack.finish()
}

/// The copy is not needed any more; the disk may be short of the room.
fn drop_scratch(scratch: TempDir) {
    let path = scratch.path().to_owned();
    if let Err(error) = scratch.close() {
        tracing::warn!(path = %path.display(), %error, "a backup's copy of the store was left behind");
    }
}

/// Removes what backups left that were killed.
pub(crate) fn remove_leftovers(data: &Path) {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH_PREFIX)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "what a backup left behind could not be removed");
        }
    }
}

/// The tar under way.
struct Pack<W: Write> {
    tar: tar::Builder<W>,
    manifest: Manifest,
    modified: u64,
}

impl<W: Write> Pack<W> {
    /// A file that must be there.
    fn file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let file = File::open(path).map_err(failed("read", path))?;
        self.open_file(name, path, file)
    }

    /// As long as it is now: what is appended meanwhile belongs to the next backup.
    fn open_file(&mut self, name: &str, path: &Path, file: File) -> Result<(), BackupError> {
        let bytes = file.metadata().map_err(failed("read", path))?.len();
        let mut header = self.header(bytes);
        let mut hashing = Hashing::new(file.take(bytes));
        self.tar.append_data(&mut header, name, &mut hashing).map_err(failed("back up", path))?;
        if hashing.bytes != bytes {
            let shorter = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile");
            return Err(failed("back up", path)(shorter));
        }
        let blake3 = hashing.hash.finalize().to_hex().to_string();
        self.manifest.files.push(FileEntry { name: name.to_owned(), bytes, blake3 });
        Ok(())
    }

    /// Everything below a folder, in order of the names. What is removed meanwhile is left out.
    fn folder(&mut self, data: &Path, below: &Path) -> Result<(), BackupError> {
        let path = data.join(below);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut names: Vec<_> = entries
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
            .collect::<io::Result<_>>()
            .map_err(failed("read", &path))?;
        names.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, kind) in names {
            let below = below.join(name);
            if kind.is_dir() {
                self.folder(data, &below)?;
            } else if kind.is_file() {
                self.maybe_file(data, &below)?;
            }
        }
        Ok(())
    }

    fn maybe_file(&mut self, data: &Path, below: &Path) -> Result<(), BackupError> {
        let path = data.join(below);
        match File::open(&path) {
            Ok(file) => self.open_file(&below.to_string_lossy(), &path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    fn finish(mut self) -> Result<Manifest, BackupError> {
        let path = PathBuf::from(MANIFEST_FILE);
        let text = serde_json::to_vec_pretty(&self.manifest).map_err(|error| failed("write", &path)(error.into()))?;
        let mut header = self.header(text.len() as u64);
        self.tar.append_data(&mut header, MANIFEST_FILE, text.as_slice()).map_err(failed("write", &path))?;
        self.tar.into_inner().and_then(|mut out| out.flush()).map_err(failed("write", &path))?;
        Ok(self.manifest)
    }

    fn header(&self, bytes: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(self.modified);
        header.set_entry_type(tar::EntryType::Regular);
        header
    }
}

/// Hashes and counts what is read through it.
pub(super) struct Hashing<R> {
    pub(super) inner: R,
    pub(super) hash: blake3::Hasher,
    pub(super) bytes: u64,
}

impl<R: Read> Hashing<R> {
    /// Over this.
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: blake3::Hasher::new(), bytes: 0 }
    }

    /// Reads it to its end, into nothing or into a file.
    pub(super) fn copy(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = self.read(&mut piece)?;
            if read == 0 {
                return Ok(());
            }
            out.write_all(&piece[..read])?;
        }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
