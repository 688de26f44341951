//! Making a backup. First the store as it is at one moment, then whatever it speaks of: a log or an
//! artifact is never removed before the store has forgotten it, so all that the copied store names is
//! still there, save what retention removes meanwhile.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bowline_blob::log;
use tempfile::TempDir;

use super::error::failed;
use super::{BLOBS, BackupError, Contents, FileEntry, LOGS, MANIFEST_FILE, Manifest, PIECE_BYTES, STORE_FILE};
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
        Contents::All => {
            pack.folder(data, Path::new(LOGS), Kept::Logs)?;
            pack.folder(data, Path::new(BLOBS), Kept::Blobs)?;
        }
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

/// Which files of a folder belong into a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Logs, each with what it says of itself.
    Logs,
    /// Whole blobs: no uploads that are under way, nothing damaged, and no sums, which are made again.
    Blobs,
}

impl Kept {
    fn enters(self, folder: &str) -> bool {
        match self {
            Self::Logs => true,
            Self::Blobs => !["incoming", "damaged"].contains(&folder),
        }
    }

    /// The file, or the log to which the file belongs.
    fn file(self, name: &str) -> Option<String> {
        match self {
            Self::Logs => Some(log::log_of(name).to_owned()),
            Self::Blobs => (!name.contains('.')).then(|| name.to_owned()),
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
        self.open_file(name, path, &file).map(drop)
    }

    /// As long as it is now: what is appended meanwhile belongs to the next backup. Answers how long that is.
    fn open_file(&mut self, name: &str, path: &Path, file: &File) -> Result<u64, BackupError> {
        let bytes = file.metadata().map_err(failed("read", path))?.len();
        self.sized(name, path, (file, bytes))?;
        Ok(bytes)
    }

    fn sized(&mut self, name: &str, path: &Path, (from, bytes): (impl Read, u64)) -> Result<(), BackupError> {
        let mut header = self.header(bytes);
        let mut hashing = Hashing::new(from.take(bytes));
        self.tar.append_data(&mut header, name, &mut hashing).map_err(failed("back up", path))?;
        if hashing.bytes != bytes {
            let shorter = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile");
            return Err(failed("back up", path)(shorter));
        }
        let blake3 = hashing.hash.finalize().to_hex().to_string();
        self.manifest.files.push(FileEntry { name: name.to_owned(), bytes, blake3 });
        Ok(())
    }

    /// What is kept below a folder, in order of the names. What is removed meanwhile is left out.
    fn folder(&mut self, data: &Path, below: &Path, kept: Kept) -> Result<(), BackupError> {
        let path = data.join(below);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            let (name, kind) =
                entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))).map_err(failed("read", &path))?;
            let name = name.to_string_lossy();
            if kind.is_dir() && kept.enters(&name) {
                folders.insert(below.join(&*name));
            } else if kind.is_file() {
                files.extend(kept.file(&name).map(|name| below.join(name)));
            }
        }
        for file in files {
            match kept {
                Kept::Logs => self.log(data, &file)?,
                Kept::Blobs => self.maybe_file(data, &file).map(drop)?,
            }
        }
        folders.iter().try_for_each(|folder| self.folder(data, folder, kept))
    }

    /// A log, and then what it says of itself: that is written before the bytes, so that nothing of it is
    /// missing for those that were copied. A log changes its name once, when it is sealed: looked for under
    /// the old name, the new one, and the old one again, it is found.
    fn log(&mut self, data: &Path, log: &Path) -> Result<(), BackupError> {
        let sealed = log::sealed(log);
        for name in [log, &sealed, log] {
            let Some((file, copied)) = self.maybe_file(data, name)? else { continue };
            let length = file.metadata().map_err(failed("read", &data.join(name)))?.len();
            let index = log::index(log);
            let path = data.join(&index);
            let records = log::records_for_copy(&path, copied, length)
                .map_err(|error| failed("back up", &path)(io::Error::other(error)))?;
            let Some(records) = records else { return Ok(()) };
            return self.sized(&index.to_string_lossy(), &path, (records.as_slice(), records.len() as u64));
        }
        Ok(())
    }

    /// A file that may be gone; and how much of it was taken.
    fn maybe_file(&mut self, data: &Path, below: &Path) -> Result<Option<(File, u64)>, BackupError> {
        let path = data.join(below);
        match File::open(&path) {
            Ok(file) => self.open_file(&below.to_string_lossy(), &path, &file).map(|bytes| Some((file, bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
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
