//! Room on the disk that is kept for what must be written even when the disk is full: the ends of what runs.
//! A file of some size lies in the state directory; when a write is refused it goes, and comes again when
//! there is room.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// How much is kept, in bytes.
pub(crate) const RESERVE_BYTES: u64 = 2 << 20;

/// Where it lies.
fn path(folder: &Path) -> PathBuf {
    folder.join("reserve")
}

/// Makes it where it is missing. Blocks.
pub(crate) fn hold(folder: &Path) -> io::Result<()> {
    let path = path(folder);
    if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_BYTES) {
        return Ok(());
    }
    let held = File::create(&path).and_then(|file| {
        // Not only its length: its blocks.
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES).or_else(|error| {
            if error == rustix::io::Errno::OPNOTSUPP { rustix::fs::ftruncate(&file, RESERVE_BYTES) } else { Err(error) }
        })?;
        Ok(())
    });
    if held.is_err() {
        release(folder);
    }
    held
}

/// Gives it up, so that others may have its room.
pub(crate) fn release(folder: &Path) {
    match fs::remove_file(path(folder)) {
        Ok(()) => tracing::warn!(folder = %folder.display(), "the room kept for the worst is given up"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "the room kept for the worst is not given up"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn it_takes_room_until_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            hold(folder.path()).unwrap();
            assert!(fs::metadata(path(folder.path())).unwrap().blocks() * 512 >= RESERVE_BYTES);
        }
        release(folder.path());
        release(folder.path());
        assert!(!path(folder.path()).exists());
        hold(folder.path()).unwrap();
    }
}
