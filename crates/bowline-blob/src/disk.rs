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

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
