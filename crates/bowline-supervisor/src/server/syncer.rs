//! Syncing the ends' file beside the loop: a copy of the supervisor does nothing else and leaves. A disk that
//! takes its time, or for ever, holds up no deadline and no kill. (A second thread would do that too; but
//! the jobs' first processes are copies of a process that may have one thread only.)

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::clone::{Born, Place, close_all_but, copy_process, leave};
use crate::signals;

/// A sync under way.
#[derive(Debug)]
pub(super) struct Syncer {
    pub(super) pid: u32,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
}

impl Syncer {
    /// Begins to sync what was written to a file. `None`: it is done already, because no process could be
    /// made for it.
    pub(super) fn begin(file: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let held = signals::hold();
        match copy_process(Place::Here) {
            Ok(Born::Child) => {
                // Above all not the lock of the state folder, which would be held for as long.
                close_all_but(file);
                rustix::thread::set_name(c"bowline-sync").ok();
                let status = rustix::fs::fdatasync(file).map_or_else(rustix::io::Errno::raw_os_error, |()| 0);
                leave(u8::try_from(status).unwrap_or(u8::MAX))
            }
            Ok(Born::Parent { pid, pidfd }) => {
                drop(held);
                Ok(Some(Self { pid, pidfd }))
            }
            Err(_) => {
                drop(held);
                rustix::fs::fdatasync(file)?;
                Ok(None)
            }
        }
    }

    /// How it ended. `None`: it has not.
    pub(super) fn result(&self) -> Option<io::Result<()>> {
        let status = match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(status) => status?,
            Err(error) => return Some(Err(error.into())),
        };
        Some(match status.exit_status() {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::Error::other("the process that synced it was killed")),
        })
    }
}
