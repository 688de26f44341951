//! Where a supervisor keeps what: its state folder, which nobody else writes to.
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while a supervisor lives |
//! | `socket` | where it listens, unless told another path |
//! | `log` | what it has to say; written anew at each start |
//! | `jobs/KEY` | the record of one job, see `records` |

use std::path::{Path, PathBuf};

/// The socket of the supervisor of this state folder, where it was not told another.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("socket")
}

pub(crate) fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

pub(crate) fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join("log")
}

pub(crate) fn jobs_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("jobs")
}
