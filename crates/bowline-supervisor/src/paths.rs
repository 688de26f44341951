//! Where a supervisor keeps what. A state folder has one folder for each version of the wire, because a
//! supervisor of another version may be busy in it still: `vN`, and for version 1 the state folder itself.
//! Nobody but its supervisor writes to one, unless that one is gone.
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while a supervisor lives |
//! | `socket` | where it listens, unless told another path |
//! | `log` | what it has to say; written anew at each start |
//! | `jobs/KEY` | the record of one job, see `records` |
//! | `spare/N` | records of jobs that are forgotten, to be written over |
//! | `ends` | the ends of jobs that were synced |

use std::path::{Path, PathBuf};

use crate::wire::version;

/// The socket of the supervisor of this state folder that speaks this program's version, where it was not
/// told another.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    socket_in(&own(state_dir))
}

/// The folder of this program's version.
pub fn own(state_dir: &Path) -> PathBuf {
    folder_of(state_dir, version())
}

/// The folder of a version.
fn folder_of(state_dir: &Path, version: u32) -> PathBuf {
    if version == 1 { state_dir.to_owned() } else { state_dir.join(format!("v{version}")) }
}

/// The folders of all other versions that have been here, the newest last.
pub(crate) fn others(state_dir: &Path) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix('v')?.parse().ok());
    let mut versions: Vec<u32> =
        named.filter(|found| *found > 1).chain([1]).filter(|found| *found != version()).collect();
    versions.sort_unstable();
    let folders = versions.into_iter().map(|version| (version, folder_of(state_dir, version)));
    folders.filter(|(_, folder)| lock_path(folder).exists()).collect()
}

pub(crate) fn socket_in(folder: &Path) -> PathBuf {
    folder.join("socket")
}

pub(crate) fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

pub(crate) fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

pub(crate) fn jobs_dir(folder: &Path) -> PathBuf {
    folder.join("jobs")
}

pub(crate) fn spares_dir(folder: &Path) -> PathBuf {
    folder.join("spare")
}

pub(crate) fn ends_path(folder: &Path) -> PathBuf {
    folder.join("ends")
}
