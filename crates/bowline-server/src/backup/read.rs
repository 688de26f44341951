//! Reading a backup to its end: every file's bytes against the manifest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::error::failed;
use super::write::Hashing;
use super::{BackupError, FOLDERS, FileEntry, MANIFEST_BYTES_MAX, MANIFEST_FILE, Manifest, PIECE_BYTES, STORE_FILE};
use crate::start::{SECRET_FILE, TOKEN_FILE};

/// Which files are written while a backup is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpack {
    /// All of them.
    All,
    /// The store alone.
    Store,
}

/// Reads a backup to its end, and its store too. Changes nothing; needs room for the store among the
/// temporary files. Blocks.
pub fn check(file: &Path) -> Result<Manifest, BackupError> {
    let scratch = tempfile::tempdir().map_err(failed("make a temporary folder for", file))?;
    unpack(file, scratch.path(), Unpack::Store)
}

/// Reads a backup to its end, and writes its files into a folder. What is written is synced.
pub(super) fn unpack(file: &Path, into: &Path, what: Unpack) -> Result<Manifest, BackupError> {
    let opened = File::open(file).map_err(failed("open", file))?;
    let mut archive = tar::Archive::new(BufReader::with_capacity(PIECE_BYTES, opened));
    let broken = |error: &io::Error| not_whole(file, format!("it cannot be read as a tar file ({error})"));
    let mut seen = Vec::new();
    let mut manifest = None;
    for entry in archive.entries().map_err(failed("read", file))? {
        let entry = entry.map_err(|error| broken(&error))?;
        if manifest.is_some() {
            return Err(not_whole(file, "something follows its manifest"));
        }
        let name = name_of(&entry).ok_or_else(|| not_whole(file, "it holds something that no backup does"))?;
        if name == MANIFEST_FILE {
            manifest = Some(read_manifest(file, entry)?);
            continue;
        }
        let mut hashing = Hashing::new(entry);
        if what == Unpack::All || name == STORE_FILE {
            write_file(&into.join(&name), &mut hashing).map_err(|error| unpacked(file, into, error))?;
        } else {
            hashing.copy(&mut io::sink()).map_err(|error| broken(&error))?;
        }
        seen.push(FileEntry { name, bytes: hashing.bytes, blake3: hashing.hash.finalize().to_hex().to_string() });
    }
    let manifest = manifest.ok_or_else(|| not_whole(file, "its end is missing"))?;
    compare(file, &manifest, &seen)?;
    let report = bowline_store_sqlite::check(&into.join(STORE_FILE))?;
    match report.problems.first() {
        Some(problem) => Err(not_whole(file, format!("its store is damaged ({problem})"))),
        None => Ok(manifest),
    }
}

fn not_whole(file: &Path, detail: impl Into<String>) -> BackupError {
    BackupError::NotWhole { path: file.to_owned(), detail: detail.into() }
}

/// What was wrong: the reading or the writing. An end that comes too soon is the backup's.
fn unpacked(file: &Path, into: &Path, error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::Other | io::ErrorKind::InvalidData => {
            not_whole(file, error.to_string())
        }
        _ => failed("unpack into", into)(error),
    }
}

/// A regular file under one of the names that a backup has; it cannot lead out of the folder.
fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Option<String> {
    if entry.header().entry_type() != tar::EntryType::Regular {
        return None;
    }
    let path = entry.path().ok()?;
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
        })
        .collect();
    let known = match parts?.as_slice() {
        [name] => [STORE_FILE, TOKEN_FILE, SECRET_FILE, MANIFEST_FILE].contains(name),
        [folder, _, ..] => FOLDERS.contains(folder),
        [] => false,
    };
    known.then(|| path.to_string_lossy().into_owned())
}

fn read_manifest(file: &Path, entry: impl Read) -> Result<Manifest, BackupError> {
    let mut bytes = Vec::new();
    entry.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).map_err(|_| not_whole(file, "its end is missing"))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| not_whole(file, format!("its manifest cannot be read ({error})")))?;
    match manifest.unfit() {
        Some(detail) => Err(not_whole(file, detail)),
        None => Ok(manifest),
    }
}

fn compare(file: &Path, manifest: &Manifest, seen: &[FileEntry]) -> Result<(), BackupError> {
    let differs = manifest.files.iter().zip(seen).find(|(said, found)| said != found);
    if let Some((said, _)) = differs {
        return Err(not_whole(file, format!("`{}` in it is not what it was", said.name)));
    }
    if manifest.files.len() != seen.len() {
        return Err(not_whole(file, "its manifest names other files than it holds"));
    }
    let has = |name: &str| seen.iter().any(|found| found.name == name);
    match [STORE_FILE, TOKEN_FILE, SECRET_FILE].into_iter().find(|name| !has(name)) {
        Some(missing) => Err(not_whole(file, format!("`{missing}` is missing in it"))),
        None => Ok(()),
    }
}

fn write_file(path: &PathBuf, from: &mut Hashing<impl Read>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    from.copy(&mut out)?;
    out.sync_all()
}
