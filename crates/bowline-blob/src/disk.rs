//! What blobs and logs both ask of the disk.

use std::fs::File;
use std::io;
use std::path::Path;

/// With more files than this to be made durable at once, the file system is synced as a whole.
pub(crate) const FILES_ONE_BY_ONE_MAX: usize = 16;

/// Makes everything durable that was written to the file system of this folder.
#[cfg(target_os = "linux")]
pub(crate) fn sync_file_system(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Makes everything durable that was written.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sync_file_system(_folder: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// Asks the disk to begin writing what lies there of a file, and waits for nothing. Whether it is durable is told by a sync
/// alone, which then has less to wait for.
#[cfg(target_os = "linux")]
pub(crate) fn begin_writing_back(file: &File, range: std::ops::Range<u64>) {
    let length = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
    // What is said of the bytes, that nobody needs them in memory soon, holds only for those that were written long ago;
    // the others are on their way to the disk, and stay.
    let _refused = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed);
}

/// Other systems begin when they see fit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn begin_writing_back(_file: &File, _range: std::ops::Range<u64>) {}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Asks the file system to give each folder in this one a place of its own. By itself ext4 puts them all into one region, and
/// whoever makes a file there searches past all that anybody removed from it in the last minutes. Where a file system
/// knows nothing of it, nothing is lost.
#[cfg(target_os = "linux")]
pub(crate) fn spread(folder: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(folder) = File::open(folder) else { return };
    if let Ok(flags) = ioctl_getflags(&folder) {
        let _refused = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
}

/// Other systems place folders as they see fit.
#[cfg(not(target_os = "linux"))]
pub(crate) fn spread(_folder: &Path) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

    use super::*;

    #[test]
    fn folders_of_a_store_lie_apart_where_the_file_system_knows_how() {
        let folder = tempfile::tempdir().unwrap();
        let own = File::open(folder.path()).unwrap();
        let can = ioctl_getflags(&own).and_then(|flags| ioctl_setflags(&own, flags | IFlags::TOPDIR)).is_ok();
        let (logs, blobs) = (folder.path().join("logs"), folder.path().join("blobs"));
        crate::LogStore::open(&logs).unwrap();
        crate::BlobStore::open(&blobs).unwrap();
        for root in [logs, blobs] {
            let flags = ioctl_getflags(File::open(&root).unwrap());
            assert_eq!(flags.is_ok_and(|flags| flags.contains(IFlags::TOPDIR)), can, "{}", root.display());
        }
    }
}
