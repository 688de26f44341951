//! Folders of attempts that are done with, kept for those that come: `spare/N`. To make a folder where many were just
//! removed costs a file system more than the job itself.
//!
//! Only a folder is kept in which nothing is but what was made with it, and as it was made. Its files are removed: a job
//! may have handed its output to somebody outside of it, who would write into the next one's.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

/// More are removed. As many as end while as many begin, and some.
const SPARES_MAX: usize = 256;
/// What an attempt's folder holds, at most.
const FOLDERS: [&str; 2] = ["work", "artifacts"];
const FILES: [&str; 5] = ["output", "script", "output.log", "error.log", "masked"];
/// As they are made.
pub(crate) const FOLDER_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;

/// The spare folders of one place.
#[derive(Debug)]
pub(crate) struct Spares {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    free: Vec<PathBuf>,
    next: u64,
}

/// What became of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// It is where it was.
    Refused,
}

impl Spares {
    /// None are there at first: what the process before left is removed.
    pub(crate) fn open(folder: PathBuf) -> Self {
        // Where it can't be made, none are kept.
        fs::remove_dir_all(&folder).ok();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).ok();
        Self { folder, kept: Mutex::default() }
    }

    /// Makes a spare folder this one. `false`: there is none.
    pub(super) fn take(&self, to: &Path) -> bool {
        let spare = self.kept.lock().unwrap_or_else(PoisonError::into_inner).free.pop();
        let Some(spare) = spare else { return false };
        let taken = fs::rename(&spare, to);
        if taken.is_err() {
            fs::remove_dir_all(&spare).ok();
        }
        taken.is_ok()
    }

    /// Keeps a folder that nobody uses any more.
    pub(crate) fn put(&self, folder: &Path) -> Fate {
        if !is_as_made(folder).unwrap_or(false) {
            return Fate::Refused;
        }
        let spare = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.free.len() >= SPARES_MAX {
                return Fate::Refused;
            }
            kept.next += 1;
            self.folder.join(kept.next.to_string())
        };
        // First of all: who looks for a log of it must not find an emptied one.
        if fs::rename(folder, &spare).is_err() {
            return Fate::Refused;
        }
        match empty(&spare) {
            Ok(()) => self.kept.lock().unwrap_or_else(PoisonError::into_inner).free.push(spare),
            Err(_) => drop(fs::remove_dir_all(&spare)),
        }
        Fate::Kept
    }
}

fn is_as_made(folder: &Path) -> io::Result<bool> {
    if !is_private_folder(folder, &fs::symlink_metadata(folder)?) {
        return Ok(false);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, found) = (entry.file_name(), entry.metadata()?);
        let is_good = if FOLDERS.iter().any(|known| name == *known) {
            is_private_folder(&entry.path(), &found) && fs::read_dir(entry.path())?.next().is_none()
        } else {
            let is_plain = found.is_file() && found.nlink() == 1 && found.mode() & 0o7777 == FILE_MODE;
            is_plain && FILES.iter().any(|known| name == *known)
        };
        if !is_good {
            return Ok(false);
        }
    }
    Ok(FOLDERS.iter().all(|name| folder.join(name).exists()))
}

fn is_private_folder(path: &Path, found: &Metadata) -> bool {
    // A list of who else may come in, for one. Where there is any the byte is too small.
    let has_no_more = || matches!(rustix::fs::listxattr(path, &mut [0_u8; 1]), Ok(0) | Err(Errno::NOTSUP));
    found.is_dir() && found.mode() & 0o7777 == FOLDER_MODE && has_no_more()
}

/// Removes its files.
fn empty(spare: &Path) -> io::Result<()> {
    for name in FILES {
        match fs::remove_file(spare.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    fn folder(at: &Path) -> PathBuf {
        let folder = at.join("job");
        for name in ["", "work", "artifacts"] {
            DirBuilder::new().mode(FOLDER_MODE).create(folder.join(name)).unwrap();
        }
        for name in ["output.log", "masked"] {
            fs::write(folder.join(name), "a secret").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(FILE_MODE)).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_comes_back_with_nothing_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::open(dir.path().join("spare"));
        assert!(!spares.take(&dir.path().join("next")), "there is none yet");
        assert_eq!(spares.put(&folder(dir.path())), Fate::Kept);
        assert!(!dir.path().join("job").exists());
        assert!(spares.take(&dir.path().join("next")));
        let left: Vec<_> =
            fs::read_dir(dir.path().join("next")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "its folders are: {left:?}");
        assert!(!spares.take(&dir.path().join("another")));
    }

    #[test]
    fn who_still_has_a_file_of_it_open_writes_into_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::open(dir.path().join("spare"));
        let job = folder(dir.path());
        let mut held = fs::File::options().append(true).open(job.join("output.log")).unwrap();
        assert_eq!(spares.put(&job), Fate::Kept);
        let next = dir.path().join("next");
        assert!(spares.take(&next));
        fs::write(next.join("output.log"), "its own").unwrap();
        held.write_all(b"of another job").unwrap();
        assert_eq!(fs::read_to_string(next.join("output.log")).unwrap(), "its own");
    }

    #[test]
    fn what_a_job_has_changed_is_not_kept() {
        let changes: [fn(&Path); 8] = [
            |job| setxattr(job.join("work"), "user.more", b"1", XattrFlags::empty()).unwrap(),
            |job| fs::write(job.join("work/file"), "").unwrap(),
            |job| fs::write(job.join("artifacts/file"), "").unwrap(),
            |job| fs::write(job.join("more"), "").unwrap(),
            |job| fs::hard_link(job.join("output.log"), job.join("work.log")).unwrap(),
            |job| fs::set_permissions(job.join("work"), fs::Permissions::from_mode(0o777)).unwrap(),
            |job| fs::set_permissions(job.join("output.log"), fs::Permissions::from_mode(0o4600)).unwrap(),
            |job| {
                fs::remove_dir(job.join("work")).unwrap();
                symlink("/", job.join("work")).unwrap();
            },
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let spares = Spares::open(dir.path().join("spare"));
            let job = folder(dir.path());
            change(&job);
            assert_eq!(spares.put(&job), Fate::Refused, "change {at}");
            assert!(job.exists());
        }
    }

    #[test]
    fn what_the_process_before_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::open(dir.path().join("spare"));
        assert_eq!(spares.put(&folder(dir.path())), Fate::Kept);
        let spares = Spares::open(dir.path().join("spare"));
        assert!(!spares.take(&dir.path().join("next")));
        assert_eq!(fs::read_dir(dir.path().join("spare")).unwrap().count(), 0);
    }
}
