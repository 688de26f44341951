//! Descriptors that came with the process: known by number only, so this is where numbers become
//! borrowed descriptors.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::{FdFlags, fcntl_setfd};

/// Sees to it that no process started from here gets a descriptor that nobody meant for it: jobs
/// would hold open what a worker's caller waits to be closed.
pub(crate) fn close_on_exec() -> io::Result<()> {
    let listed = fs::read_dir("/proc/self/fd")?;
    let numbers: Vec<i32> = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        #[expect(unsafe_code, reason = "a descriptor that was passed through exec has no owner to ask")]
        // SAFETY: used for one call, in the only thread; that fails for a number that is closed by now,
        // as the one that read the list is.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(fd, FdFlags::CLOEXEC).ok();
    }
    Ok(())
}
