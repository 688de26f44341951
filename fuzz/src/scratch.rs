//! Folders for what must lie in files, in memory where the machine has a file system there.

use std::path::Path;

use tempfile::TempDir;

/// A folder that goes with what is returned.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}
