//! Putting a backup back, into the data folder of a server that is stopped.
//!
//! ```text
//! own the folder ► unpack and check beside ► raise the generation ► mark ► put aside, move in ► unmark
//! ```
//!
//! Up to the mark nothing of the folder has changed; from there to its removal no server starts on it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use bowline_blob::log;
use bowline_core::id::Generation;
use bowline_store::RollbackStore as _;
use bowline_store_sqlite::{OpenError, Opened, Ownership, state_of};

use super::error::failed;
use super::read::{Unpack, unpack};
use super::{BackupError, FOLDERS, Manifest, STORE_FILE, STORE_LOGS};
use crate::start::{SECRET_FILE, TOKEN_FILE};

/// There while files are moved into place.
const MARK_FILE: &str = "restore-under-way";
/// Where the backup is unpacked.
const FRESH_FOLDER: &str = ".restore";
/// Most restores within one second that are told apart.
const ASIDE_MAX: u32 = 1_000;
/// What a folder may hold and still be called empty: an owner's lock.
const NOTHING: [&str; 2] = ["bowline.db.lock", FRESH_FOLDER];

/// Whether a folder with something in it may be restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Only an empty one.
    No,
    /// Any: what is replaced is put aside.
    Yes,
}

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// The generation that begins with the next start.
    pub generation: u32,
    /// Where what was replaced is now. `None`: there was nothing.
    pub aside: Option<PathBuf>,
}

/// Puts a backup into a data folder, which is made where it is not there. `at` names the folder for
/// what is put aside. Logs and artifacts that are there stay; those of the backup come to them. Blocks.
pub fn restore(file: &Path, data: &Path, force: Force, at: jiff::Timestamp) -> Result<Restored, BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed("make", data))?;
    let store = data.join(STORE_FILE);
    let _owned = Ownership::take(&store)?;
    if let (Force::No, Some(found)) = (force, first_thing(data)?) {
        return Err(BackupError::NotEmpty { path: data.to_owned(), found });
    }
    let fresh = data.join(FRESH_FOLDER);
    remove_folder(&fresh)?;
    fs::DirBuilder::new().mode(0o700).create(&fresh).map_err(failed("make", &fresh))?;
    let manifest = unpack(file, &fresh, Unpack::All).inspect_err(|_| drop(fs::remove_dir_all(&fresh)))?;
    // One that cannot be read any more says nothing: then the workers will.
    let was = state_of(&store).ok().map(|(generation, _)| generation);
    let raised = raise(&fresh.join(STORE_FILE), was)?;
    let mark = data.join(MARK_FILE);
    File::create(&mark).and_then(|mark| mark.sync_all()).map_err(failed("write", &mark))?;
    sync(data)?;
    let aside = put_aside(data, at)?;
    move_in(&fresh, data)?;
    fs::remove_file(&mark).map_err(failed("remove", &mark))?;
    remove_folder(&fresh)?;
    sync(data)?;
    Ok(Restored { manifest, generation: raised.0, aside })
}

/// Refuses a folder where a restore broke off: a server does not start on it.
pub fn half_restored(data: &Path) -> Result<(), BackupError> {
    if data.join(MARK_FILE).exists() { Err(BackupError::HalfRestored { path: data.to_owned() }) } else { Ok(()) }
}

fn first_thing(data: &Path) -> Result<Option<String>, BackupError> {
    let entries = fs::read_dir(data).map_err(failed("read", data))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names.filter(|name| !NOTHING.contains(&name.as_str())).min())
}

fn raise(store: &Path, was: Option<Generation>) -> Result<Generation, BackupError> {
    let Opened { store: mut writer, reader } = bowline_store_sqlite::open(store)?;
    let raised = writer.accept_rollback(was).map_err(OpenError::from)?;
    // Whoever closes it last moves its log into it, and a reader cannot.
    drop(reader);
    drop(writer);
    for log in STORE_LOGS {
        let log = store.with_file_name(log);
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            let left = io::Error::other("the store's log could not be moved into the store");
            return Err(failed("close", &log)(left));
        }
    }
    File::open(store).and_then(|file| file.sync_all()).map_err(failed("sync", store))?;
    Ok(raised)
}

/// Moves what will be replaced into a folder of its own. The store's log goes with its store.
fn put_aside(data: &Path, at: jiff::Timestamp) -> Result<Option<PathBuf>, BackupError> {
    let replaced = [STORE_FILE, TOKEN_FILE, SECRET_FILE].into_iter().chain(STORE_LOGS);
    let there: Vec<&str> = replaced.filter(|name| data.join(name).exists()).collect();
    if there.is_empty() {
        return Ok(None);
    }
    let stamp = at.strftime("%Y%m%dT%H%M%SZ");
    let free = |number: u32| match number {
        0 => data.join(format!("replaced-{stamp}")),
        more => data.join(format!("replaced-{stamp}-{more}")),
    };
    let folder = (0..ASIDE_MAX).map(free).find(|folder| !folder.exists()).unwrap_or_else(|| free(ASIDE_MAX));
    fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed("make", &folder))?;
    for name in there {
        let from = data.join(name);
        fs::rename(&from, folder.join(name)).map_err(failed("put aside", &from))?;
    }
    sync(&folder)?;
    sync(data)?;
    Ok(Some(folder))
}

fn move_in(fresh: &Path, data: &Path) -> Result<(), BackupError> {
    for folder in FOLDERS {
        merge(&fresh.join(folder), &data.join(folder))?;
    }
    // The store last: without it there is no server.
    for name in [TOKEN_FILE, SECRET_FILE, STORE_FILE] {
        let to = data.join(name);
        fs::rename(fresh.join(name), &to).map_err(failed("write", &to))?;
    }
    sync(data)
}

/// Moves files to where none is. Where one is, it is the same artifact, or the same log and the longer
/// of the two stays, with what it says of itself.
fn merge(from: &Path, to: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("read", from)(error)),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(failed("make", to))?;
    let mut files = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(failed("read", from))?;
        let (from, name) = (entry.path(), entry.file_name());
        if entry.file_type().map_err(failed("read", &from))?.is_dir() {
            merge(&from, &to.join(name))?;
        } else {
            // Of an artifact: itself.
            files.insert(log::log_of(&name.to_string_lossy()).to_owned());
        }
    }
    for file in files {
        let (from, to) = (from.join(&file), to.join(&file));
        if log::is_empties(&file) {
            log::merge_empties(&from, &to).map_err(failed("write", &to))?;
        } else {
            merge_file(&from, &to)?;
        }
    }
    sync(to)
}

/// Of two logs that are equally long a sealed one is the newer.
fn merge_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let length = |path: &Path| fs::metadata(path).map(|data| data.len()).ok();
    let state = |path: &Path| {
        length(&log::sealed(path)).map(|bytes| (bytes, true)).max(length(path).map(|bytes| (bytes, false)))
    };
    if state(from) <= state(to) {
        return Ok(());
    }
    for name in [log::index, log::sealed, |path: &Path| path.to_owned()] {
        let (from, to) = (name(from), name(to));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::remove_file(&to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace", &to)(error)),
                _ => {}
            },
            moved => moved.map_err(failed("write", &to))?,
        }
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}
