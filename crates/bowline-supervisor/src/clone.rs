//! Making processes in ways that std and rustix have no calls for: straight into a cgroup, or as the
//! first of a PID namespace. A few functions of the C library are declared here.
//!
//! The new process is a copy of this one, as after `fork`. That is safe to go on in because the
//! supervisor has one thread; whoever has more may only do what [`try_once`] does. Or it shares this one's memory
//! until it becomes a program ([`share_memory`]), and may do next to nothing until then.

use std::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::procs::to_pid;
use crate::raw::{self, Task};

/// The number of `clone3` and of `close_range`, the same on every architecture.
const CLONE3: c_long = 435;
const CLOSE_RANGE: c_long = 436;

const CLONE_VM: u64 = 0x100;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_NEWNS: u64 = 0x2_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGCHLD: u64 = 17;

const MS_NOSUID: c_ulong = 2;
const MS_NODEV: c_ulong = 4;
const MS_NOEXEC: c_ulong = 8;
const MS_REC: c_ulong = 0x4000;
const MS_SLAVE: c_ulong = 0x8_0000;

/// `struct clone_args`, as far as `cgroup`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

#[expect(unsafe_code, reason = "neither std nor rustix has these")]
// SAFETY: these are the C library's, as its manual declares them.
unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// Where a new process begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Beside this one.
    Here,
    /// In this cgroup, from its first instruction on.
    Cgroup(BorrowedFd<'a>),
    /// As the first process of a PID namespace and of a mount namespace.
    Namespace,
}

/// Which of the two is speaking.
#[derive(Debug)]
pub(crate) enum Born {
    /// The one that was there before.
    Parent { pid: u32, pidfd: OwnedFd },
    /// The new one. It must end in [`leave`] or in an exec.
    Child,
}

/// What a process that shares another one's memory has for itself until it becomes a program.
pub(crate) struct Stack(Vec<Line>);

/// A stack begins at a multiple of its size.
#[derive(Debug)]
#[repr(C, align(16))]
struct Line([u8; 16]);

/// Many times what is needed. Only what is used takes memory.
const STACK_BYTES: usize = 64 << 10;

impl Stack {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(STACK_BYTES / size_of::<Line>()))
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("bytes", &(self.0.capacity() * size_of::<Line>())).finish()
    }
}

impl Place<'_> {
    fn args(self, pidfd: &mut c_int) -> CloneArgs {
        let (flags, cgroup) = match self {
            Place::Here => (0, 0),
            Place::Cgroup(folder) => (CLONE_INTO_CGROUP, u64::try_from(folder.as_raw_fd()).unwrap_or(0)),
            Place::Namespace => (CLONE_NEWPID | CLONE_NEWNS, 0),
        };
        CloneArgs {
            flags: flags | CLONE_PIDFD,
            pidfd: ptr::from_mut(pidfd).expose_provenance() as u64,
            exit_signal: SIGCHLD,
            cgroup,
            ..CloneArgs::default()
        }
    }
}

/// Makes a process that shares this one's memory and does this task. Nobody waits for it.
///
/// # Safety
///
/// As for [`raw::share`]: the stack and what `data` leads to must stay until the new process has become a program
/// or has ended, and `task` makes system calls only.
#[expect(unsafe_code, reason = "what is to be upheld is said above")]
pub(crate) unsafe fn share_memory(
    place: Place<'_>,
    stack: &mut Stack,
    task: Task,
    data: *const c_void,
) -> io::Result<(u32, OwnedFd)> {
    let mut pidfd: c_int = -1;
    let mut args = place.args(&mut pidfd);
    args.flags |= CLONE_VM;
    args.stack = stack.0.as_mut_ptr().expose_provenance() as u64;
    args.stack_size = STACK_BYTES as u64;
    // SAFETY: as the caller promises; `args` and `pidfd` live through the call.
    let pid = unsafe { raw::share(&args, task, data) };
    match u32::try_from(pid) {
        Ok(pid) => Ok((pid, owned(pidfd))),
        Err(_) => Err(io::Error::from_raw_os_error(i32::try_from(-pid).unwrap_or(0))),
    }
}

fn owned(pidfd: c_int) -> OwnedFd {
    #[expect(unsafe_code, reason = "the kernel hands out the descriptor by its number")]
    // SAFETY: the kernel has just made it for this process, and nobody else knows it.
    unsafe {
        OwnedFd::from_raw_fd(pidfd)
    }
}

/// Makes a process that is a copy of this one.
pub(crate) fn copy_process(place: Place<'_>) -> io::Result<Born> {
    let mut pidfd: c_int = -1;
    let args = place.args(&mut pidfd);
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: without CLONE_VM the child has its own copy of all memory and of this stack, as after
    // fork; `args` and `pidfd` live through the call, and the size given is that of `args`.
    let pid = unsafe { syscall(CLONE3, &raw const args, size_of::<CloneArgs>()) };
    match (pid, place) {
        // Some sandboxes know no `clone3`.
        (..0, Place::Here) => copy_process_the_old_way(),
        (..0, Place::Cgroup(_) | Place::Namespace) => Err(io::Error::last_os_error()),
        (0, _) => Ok(Born::Child),
        (pid, _) => Ok(Born::Parent { pid: u32::try_from(pid).unwrap_or(0), pidfd: owned(pidfd) }),
    }
}

fn copy_process_the_old_way() -> io::Result<Born> {
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: it takes nothing; what the child may do is said in the module's doc.
    let pid = unsafe { fork() };
    match u32::try_from(pid) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(0) => Ok(Born::Child),
        // Nobody reaps it meanwhile: the number is its own.
        Ok(pid) => Ok(Born::Parent { pid, pidfd: pidfd_open(to_pid(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())? }),
    }
}

/// Ends this process at once: no destructors, no exit handlers. For copies of another one.
pub(crate) fn leave(status: u8) -> ! {
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: it takes any number, and does not come back.
    unsafe {
        _exit(c_int::from(status))
    }
}

/// Whether a process can be made there: makes one that ends at once. May be called with other threads
/// about: the new process only makes system calls.
pub(crate) fn try_once(place: Place<'_>) -> io::Result<()> {
    match copy_process(place)? {
        Born::Child => {
            let set_up = match place {
                Place::Namespace => make_private_mounts(),
                Place::Here | Place::Cgroup(_) => Ok(()),
            };
            leave(
                set_up.map_or_else(
                    |error| error.raw_os_error().and_then(|no| u8::try_from(no).ok()).unwrap_or(1),
                    |()| 0,
                ),
            )
        }
        Born::Parent { pidfd, .. } => {
            let ended = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED)?;
            match ended.and_then(|ended| ended.exit_status()) {
                Some(0) => Ok(()),
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => Err(io::Error::other("the process that was to try it was killed")),
            }
        }
    }
}

/// In a mount namespace of its own: what is mounted elsewhere shows here too, what is mounted here
/// stays here; and `/proc` shows the PID namespace.
pub(crate) fn make_private_mounts() -> io::Result<()> {
    mount_at(c"none", c"/", None, MS_REC | MS_SLAVE)?;
    mount_at(c"proc", c"/proc", Some(c"proc"), MS_NOSUID | MS_NODEV | MS_NOEXEC)
}

fn mount_at(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: c_ulong) -> io::Result<()> {
    let kind = kind.map_or(ptr::null(), CStr::as_ptr);
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: all strings end with a NUL and live through the call; there is no data.
    let done = unsafe { mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor from 3 on but one. Only for a process that owns none of them any more: a
/// copy of another one, which will not use what it has in memory.
pub(crate) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = c_long::from(kept.as_raw_fd());
    for (first, last) in [(3, kept - 1), (kept + 1, c_long::from(i32::MAX))] {
        if first <= last {
            #[expect(unsafe_code, reason = "see the module's doc")]
            // SAFETY: it takes numbers only. A kernel without it leaves them open until this
            // process ends, which it does with the one that it was copied from.
            unsafe {
                syscall(CLOSE_RANGE, first, last, 0 as c_long);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_and_its_end_is_seen() {
        try_once(Place::Here).unwrap();
    }

    #[test]
    fn a_copy_is_made_where_clone3_is_not_known() {
        match copy_process_the_old_way().unwrap() {
            Born::Child => leave(7),
            Born::Parent { pidfd, .. } => {
                let ended = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED).unwrap();
                assert_eq!(ended.and_then(|ended| ended.exit_status()), Some(7));
            }
        }
    }

    #[test]
    fn a_place_that_cannot_be_is_an_error() {
        let plain = std::fs::File::open("/").unwrap();
        assert!(try_once(Place::Cgroup(std::os::fd::AsFd::as_fd(&plain))).is_err());
    }
}
