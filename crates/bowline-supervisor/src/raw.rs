//! System calls of a process that shares another one's memory until it becomes a program of its own.
//!
//! Such a process may not call the C library, which keeps what it knows (`errno`, for one) in that memory:
//! here calls go straight to the kernel. Where that is not written for an architecture, no process shares
//! memory ([`share`] says so): it is a copy then, and may call the C library as it likes.

use std::ffi::{CStr, c_char, c_void};

use rustix::io::Errno;

use crate::clone::CloneArgs;

/// What a new process does, to its end.
pub(crate) type Task = extern "C" fn(*const c_void) -> !;

/// Becomes a program. What comes back is why not. Both lists end with a null.
pub(crate) fn exec(program: &CStr, args: *const *const c_char, env: *const *const c_char) -> Errno {
    Errno::from_raw_os_error(arch::exec(program.as_ptr(), args, env))
}

/// Sets these signals (bit 0: the first) to their defaults.
pub(crate) fn set_defaults(signals: u64) {
    for number in (1..=64).filter(|number| signals & (1 << (number - 1)) != 0) {
        arch::set_default(number);
    }
}

/// Holds back no signal any more.
pub(crate) fn unblock_all() {
    arch::unblock_all();
}

/// Makes a process that goes on with `task`. The kernel's answer: a pid, or an error's number below zero.
///
/// # Safety
///
/// `args` asks for shared memory and has a stack that nobody else uses and that stays, with all that `data`
/// leads to and that it needs, until the new process has become a program or has ended. `task` calls neither the C
/// library nor anything that allocates, unwinds or has state of its thread.
#[expect(unsafe_code, reason = "what is to be upheld is said above")]
pub(crate) unsafe fn share(args: &CloneArgs, task: Task, data: *const c_void) -> isize {
    // SAFETY: as the caller promises.
    unsafe { arch::share(args, task, data) }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "see the module's doc")]
mod arch {
    use std::arch::asm;
    use std::ffi::{c_char, c_void};
    use std::ptr;

    use super::Task;
    use crate::clone::CloneArgs;

    const RT_SIGACTION: usize = 13;
    const RT_SIGPROCMASK: usize = 14;
    const EXECVE: usize = 59;
    const CLONE3: usize = 435;
    const SET_MASK: usize = 2;
    /// Bytes of the kernel's signal set.
    const SET_BYTES: usize = 8;

    /// # Safety
    ///
    /// As for the system call.
    unsafe fn call(number: usize, [a, b, c, d]: [usize; 4]) -> isize {
        let answer: isize;
        // SAFETY: the kernel changes these registers only, and the memory that the call is about.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number => answer,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        answer
    }

    pub(super) fn exec(program: *const c_char, args: *const *const c_char, env: *const *const c_char) -> i32 {
        let given = [program.expose_provenance(), args.expose_provenance(), env.expose_provenance(), 0];
        // SAFETY: the kernel reads its own copies of what these lead to, and refuses what it can't read.
        let answer = unsafe { call(EXECVE, given) };
        i32::try_from(-answer).unwrap_or(0)
    }

    pub(super) fn set_default(number: usize) {
        // The kernel's `struct sigaction`: a handler (0: the default), flags, a restorer, a mask.
        let default = [0_u64; 4];
        // SAFETY: the struct lives through the call; no old one is asked for.
        unsafe { call(RT_SIGACTION, [number, (&raw const default).expose_provenance(), 0, SET_BYTES]) };
    }

    pub(super) fn unblock_all() {
        let none = 0_u64;
        // SAFETY: the set lives through the call; no old one is asked for.
        unsafe { call(RT_SIGPROCMASK, [SET_MASK, (&raw const none).expose_provenance(), 0, SET_BYTES]) };
    }

    pub(super) unsafe fn share(args: &CloneArgs, task: Task, data: *const c_void) -> isize {
        let answer: isize;
        // SAFETY: the old process goes on behind the label as after any system call. The new one begins on the
        // stack that it was given, with these same registers, and never comes back from `task`.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r8",
                "call r9",
                "ud2",
                "2:",
                inlateout("rax") CLONE3 => answer,
                in("rdi") ptr::from_ref(args), in("rsi") size_of::<CloneArgs>(),
                in("r8") data, in("r9") task,
                lateout("rcx") _, lateout("r11") _,
            );
        }
        answer
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "see the module's doc")]
mod arch {
    use std::ffi::{c_char, c_int, c_void};
    use std::io;

    use rustix::io::Errno;

    use super::Task;
    use crate::clone::CloneArgs;
    use crate::signals;

    // SAFETY: this is the C library's, as its manual declares it.
    unsafe extern "C" {
        fn execve(program: *const c_char, args: *const *const c_char, env: *const *const c_char) -> c_int;
    }

    pub(super) fn exec(program: *const c_char, args: *const *const c_char, env: *const *const c_char) -> i32 {
        // SAFETY: the kernel reads its own copies of what these lead to, and refuses what it can't read.
        unsafe { execve(program, args, env) };
        io::Error::last_os_error().raw_os_error().unwrap_or(0)
    }

    pub(super) fn set_default(number: usize) {
        signals::set_default(number);
    }

    pub(super) fn unblock_all() {
        signals::clear_mask();
    }

    pub(super) unsafe fn share(_: &CloneArgs, _: Task, _: *const c_void) -> isize {
        -(Errno::NOSYS.raw_os_error() as isize)
    }
}
