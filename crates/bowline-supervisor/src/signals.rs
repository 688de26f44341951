//! Signals: caught by number into a pipe in the supervisor; which of them a job must find set back.
//!
//! Neither std nor rustix has calls for this, so three functions of the C library are declared here.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

/// `SIG_DFL`.
#[cfg(not(target_arch = "x86_64"))]
const DEFAULT: usize = 0;
/// `SIG_IGN`.
const IGNORE: usize = 1;
/// `SIG_ERR`.
const ERROR: usize = usize::MAX;
/// `SIG_SETMASK`, on the architectures that Bowline is built for.
const SET_MASK: i32 = 2;

/// A `sigset_t`: 1024 bits in glibc and in musl.
#[repr(C)]
#[derive(Debug)]
struct SignalSet([u64; 16]);

#[expect(unsafe_code, reason = "neither std nor rustix can set a signal's disposition or the mask")]
// SAFETY: these are the C library's, as POSIX declares them; a handler is passed as its address.
unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn sigprocmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
}

static PIPE: AtomicI32 = AtomicI32::new(-1);
/// Whether the end of a child was told and not asked for since: of many, one is told.
static CHILD_TOLD: AtomicBool = AtomicBool::new(false);

/// The ends of children are looked at now: the next one is told again.
pub(crate) fn children_are_looked_at() {
    CHILD_TOLD.store(false, Ordering::SeqCst);
}

/// The signals that were caught, as bytes to read.
#[derive(Debug)]
pub(crate) struct Caught {
    read: OwnedFd,
    _write: OwnedFd,
}

impl Caught {
    /// Catches TERM, INT and CHLD, and ignores HUP. Once a process.
    pub(crate) fn install() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        PIPE.store(write.as_raw_fd(), Ordering::SeqCst);
        clear_mask();
        let handler: extern "C" fn(i32) = on_signal;
        #[expect(clippy::fn_to_numeric_cast_any, reason = "the C library takes a handler by its address")]
        let handler = handler as usize;
        for (number, disposition) in
            [(Signal::TERM, handler), (Signal::INT, handler), (Signal::CHILD, handler), (Signal::HUP, IGNORE)]
        {
            if set(number.as_raw(), disposition) == ERROR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { read, _write: write })
    }

    /// Takes what was caught.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut numbers = [0; 256];
        // An empty pipe is an error too: nothing was caught.
        let count = rustix::io::read(&self.read, &mut numbers).unwrap_or(0);
        numbers[..count].to_vec()
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.read
    }
}

extern "C" fn on_signal(number: i32) {
    if number == Signal::CHILD.as_raw() && CHILD_TOLD.swap(true, Ordering::SeqCst) {
        return;
    }
    let fd = PIPE.load(Ordering::SeqCst);
    if fd >= 0 {
        #[expect(unsafe_code, reason = "a handler can reach the pipe only through a global")]
        // SAFETY: `Caught` keeps the descriptor open, and is dropped only when the process ends.
        let pipe = unsafe { BorrowedFd::borrow_raw(fd) };
        // A full pipe wakes the loop just as well. `write` may be called in a handler.
        rustix::io::write(pipe, &[u8::try_from(number).unwrap_or(0)]).ok();
    }
}

/// The signals that this process ignores or catches (bit 0: the first): a program expects to find them at
/// their defaults. Where nobody can tell: all.
pub(crate) fn not_default() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().and_then(|status| parse_not_default(&status)).unwrap_or(u64::MAX)
}

fn parse_not_default(status: &str) -> Option<u64> {
    let mask = |name| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    Some(mask("SigIgn:")? | mask("SigCgt:")?)
}

/// For a copy of this process: sets a signal to its default.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn set_default(number: usize) {
    set(i32::try_from(number).unwrap_or(0), DEFAULT);
}

/// Holds back all signals of this thread until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(SignalSet);

/// See [`Held`].
pub(crate) fn hold() -> Held {
    let mut old = SignalSet([0; 16]);
    set_mask(&SignalSet([u64::MAX; 16]), &raw mut old);
    Held(old)
}

impl Drop for Held {
    fn drop(&mut self) {
        set_mask(&self.0, std::ptr::null_mut());
    }
}

fn set(number: i32, handler: usize) -> usize {
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: `handler` is a default, or `on_signal`, which does only what a handler may do.
    unsafe {
        signal(number, handler)
    }
}

pub(crate) fn clear_mask() {
    set_mask(&SignalSet([0; 16]), std::ptr::null_mut());
}

fn set_mask(mask: &SignalSet, old: *mut SignalSet) {
    #[expect(unsafe_code, reason = "see the module's doc")]
    // SAFETY: `mask` is a valid set that lives through the call; `old` is null, or the caller's own
    // set, which it has borrowed for this call.
    unsafe {
        sigprocmask(SET_MASK, &raw const *mask, old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_or_caught_is_known() {
        let status = "SigBlk:\t0000000000000004\nSigIgn:\t0000000000001001\nSigCgt:\t0000000180000002\n";
        assert_eq!(parse_not_default(status), Some(0x1_8000_1003));
        assert_eq!(parse_not_default("SigIgn:\t1\n"), None);
        // Rust's own start ignores PIPE.
        assert_ne!(not_default() & 1 << (Signal::PIPE.as_raw() - 1), 0);
    }
}
