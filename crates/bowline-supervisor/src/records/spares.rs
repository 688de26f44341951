//! Records that are forgotten, kept to be written over: `spare/N`. To make a file where many were just removed
//! costs a file system more than the job itself.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::paths;

/// As many as a worker has slots, as a rule. More are removed.
const SPARES_MAX: usize = 64;

/// The spares of one state folder.
#[derive(Debug)]
pub(crate) struct Spares {
    folder: PathBuf,
    free: Vec<PathBuf>,
    /// Names the next one.
    next: u64,
}

impl Spares {
    /// Finds those that are there. Where their folder can't be had there are none.
    pub(crate) fn open(state_dir: &Path) -> Self {
        let folder = paths::spares_dir(state_dir);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).ok();
        let found: Vec<(u64, PathBuf)> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
            .collect();
        let next = found.iter().map(|(name, _)| name + 1).max().unwrap_or(0);
        Self { folder, free: found.into_iter().map(|(_, path)| path).take(SPARES_MAX).collect(), next }
    }

    /// Makes a file of a spare one, with these bytes and no others. `None`: there is none, or it does not go; a file
    /// that is there already stays as it is.
    pub(crate) fn take(&mut self, bytes: &[u8], to: &Path) -> Option<File> {
        let spare = self.free.pop()?;
        let file = write_over(&spare, bytes)
            .and_then(|file| Ok(renameat_with(CWD, &spare, CWD, to, RenameFlags::NOREPLACE).map(|()| file)?));
        if file.is_err() {
            fs::remove_file(spare).ok();
        }
        file.ok()
    }

    /// Takes a file away. The error: it is there still, or there is none.
    pub(crate) fn keep(&mut self, file: &Path) -> io::Result<()> {
        if self.free.len() < SPARES_MAX {
            let spare = self.folder.join(self.next.to_string());
            match fs::rename(file, &spare) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !file.exists() => return Err(error),
                Err(_) => {}
                Ok(()) => {
                    self.next += 1;
                    self.free.push(spare);
                    return Ok(());
                }
            }
        }
        fs::remove_file(file)
    }
}

/// Before it has the name of a record: a crash leaves a whole one, or none.
fn write_over(spare: &Path, bytes: &[u8]) -> io::Result<File> {
    let file = File::options().write(true).open(spare)?;
    let length = bytes.len() as u64;
    file.write_all_at(bytes, 0)?;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_has_nothing_of_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut spares = Spares::open(dir.path());
        assert!(spares.take(b"x", &at("new")).is_none(), "there is none yet");
        fs::write(at("old"), b"much longer").unwrap();
        spares.keep(&at("old")).unwrap();
        assert!(!at("old").exists());
        // The next supervisor finds it.
        let mut spares = Spares::open(dir.path());
        spares.take(b"short", &at("new")).unwrap().write_all_at(b"S", 0).unwrap();
        assert_eq!(fs::read(at("new")).unwrap(), b"Short");
        assert_eq!(fs::read_dir(paths::spares_dir(dir.path())).unwrap().count(), 0);
    }

    #[test]
    fn a_spare_never_takes_the_place_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut spares = Spares::open(dir.path());
        fs::write(at("old"), b"old").unwrap();
        fs::write(at("there"), b"there").unwrap();
        spares.keep(&at("old")).unwrap();
        assert!(spares.take(b"new", &at("there")).is_none());
        assert_eq!(fs::read(at("there")).unwrap(), b"there");
        assert_eq!(spares.keep(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_more_are_kept_than_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut spares = Spares::open(dir.path());
        for _ in 0..SPARES_MAX + 2 {
            fs::write(dir.path().join("old"), b"old").unwrap();
            spares.keep(&dir.path().join("old")).unwrap();
        }
        assert_eq!(fs::read_dir(paths::spares_dir(dir.path())).unwrap().count(), SPARES_MAX);
        assert!(!dir.path().join("old").exists());
    }
}
