//! What a new process does between its birth and the job's program, laid out beforehand so that nothing but
//! system calls is left to do: it may share its parent's memory ([`crate::raw`]).
//!
//! It dies with its parent (the supervisor, or the job's keeper), leads a session of its own, joins the job's
//! cgroup where it was not born in it, takes its files, and becomes the program. What it has to say
//! goes through a pipe:
//!
//! ```text
//! report := READY            (then the pipe closes: the exec succeeded)
//!         | READY? · FAILED · step u8 · errno i32
//! ```
//!
//! A process that shares the supervisor's memory says READY there ([`Plan::is_ready`]), and wakes nobody.
//!
//! A program without a slash is looked for as `execvp` does it, in the job's own `PATH`; a file that is
//! executable and no program is a script for the shell.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, chdir, getppid, getrlimit, set_parent_process_death_signal, setrlimit, setsid, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::clone::leave;
use crate::procs::MARK_VARIABLE;
use crate::raw;
use crate::report::{READY, failure};
use crate::wire::{Start, Step};

/// What a process ends with that can't become the program. Its report says more.
const EXIT_STATUS: u8 = 127;
/// Where a program is looked for that has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/bin:/usr/bin";
/// What runs a script without an interpreter line.
const SHELL: &CStr = c"/bin/sh";

/// Strings as the kernel takes them: pointers, and a null behind the last.
#[derive(Debug)]
struct Strings {
    pointers: Vec<AtomicPtr<c_char>>,
    _owned: Vec<CString>,
}

/// All that the new process needs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where the program may be, in the order in which it is looked for.
    programs: Vec<CString>,
    args: Strings,
    /// The same for the shell; the second one is the script.
    script_args: Strings,
    env: Strings,
    cwd: CString,
    /// The list of processes of the cgroup that it is to join.
    cgroup: Option<CString>,
    umask: Mode,
    limits: Limits,
    /// Who makes it.
    parent: Option<Pid>,
    descriptors: Descriptors,
    ready: Ready,
    is_ready: AtomicBool,
}

/// How a new process says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// In memory that it shares with the supervisor.
    Shared,
    /// In its report.
    Reported,
}

/// What is the same for all jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Soft limit of open files.
    pub(crate) nofile: Option<u64>,
    /// The signals that are not as a program expects to find them.
    pub(crate) signals: u64,
}

/// The descriptors of a new process, by number: it has copies of its parent's, which it need not close.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptors {
    pub(crate) stdin: RawFd,
    pub(crate) stdout: RawFd,
    pub(crate) stderr: RawFd,
    pub(crate) report: RawFd,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let mut pointers: Vec<AtomicPtr<c_char>> =
            owned.iter().map(|text| AtomicPtr::new(text.as_ptr().cast_mut())).collect();
        pointers.push(AtomicPtr::new(ptr::null_mut()));
        Self { pointers, _owned: owned }
    }

    fn as_ptr(&self) -> *const *const c_char {
        // An atomic pointer is laid out as a pointer.
        self.pointers.as_ptr().cast()
    }
}

impl Plan {
    /// Lays out how to start a job. The error: what of it can't be passed to a program.
    pub(crate) fn new(start: &Start, mark: &str, limits: Limits, cgroup: Option<&Path>) -> Result<Self, Step> {
        let text = |bytes: &[u8], step| CString::new(bytes).map_err(|_| step);
        let mut env: BTreeMap<&OsStr, &OsStr> =
            start.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())).collect();
        env.insert(OsStr::new(MARK_VARIABLE), OsStr::new(mark));
        let path = env.get(OsStr::new("PATH")).map_or(PATH_DEFAULT, |path| path.as_bytes());
        let program = start.argv.first().map_or(&b""[..], |program| program.as_bytes());
        let programs: Result<Vec<_>, _> =
            candidates(program, path).into_iter().map(|path| text(&path, Step::Exec)).collect();
        let args: Result<Vec<_>, _> = start.argv.iter().map(|arg| text(arg.as_bytes(), Step::Exec)).collect();
        let args = args?;
        let script_args = [SHELL.to_owned(), CString::default()].into_iter().chain(args.iter().skip(1).cloned());
        let variables: Result<Vec<_>, _> = env
            .iter()
            .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat(), Step::Exec))
            .collect();
        let list = |folder: &Path| text(folder.join("cgroup.procs").as_os_str().as_bytes(), Step::Setup);
        Ok(Self {
            programs: programs?,
            script_args: Strings::new(script_args.collect()),
            args: Strings::new(args),
            env: Strings::new(variables?),
            cwd: text(start.cwd.as_os_str().as_bytes(), Step::Cwd)?,
            cgroup: cgroup.map(list).transpose()?,
            umask: Mode::from_raw_mode(start.umask & 0o777),
            limits,
            parent: None,
            descriptors: Descriptors { stdin: -1, stdout: -1, stderr: -1, report: -1 },
            ready: Ready::Reported,
            is_ready: AtomicBool::new(false),
        })
    }

    /// Says who makes the process, and with which descriptors.
    pub(crate) fn set(&mut self, parent: Pid, descriptors: Descriptors) {
        self.parent = Some(parent);
        self.descriptors = descriptors;
    }

    /// Says who makes the process.
    pub(crate) fn set_parent(&mut self, parent: Pid) {
        self.parent = Some(parent);
    }

    /// Says how it is to say that it is ready.
    pub(crate) fn set_ready(&mut self, ready: Ready) {
        self.ready = ready;
    }

    /// Whether the process was ready to become the program, where it says so in memory.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// What the new process does, to its end. Only for that one.
    pub(crate) fn carry_out(&self) -> ! {
        let (step, errno) = self.become_program();
        // Where the supervisor is gone nobody wants to know.
        rustix::io::write(borrow(self.descriptors.report), &failure(step, errno.raw_os_error())).ok();
        leave(EXIT_STATUS)
    }

    /// What comes back is why it did not work.
    fn become_program(&self) -> (Step, Errno) {
        if let Err(error) = self.set_up() {
            return (Step::Setup, error);
        }
        if let Err(error) = chdir(self.cwd.as_c_str()) {
            return (Step::Cwd, error);
        }
        // Handlers first: what was held back until now is for the job, not for them.
        raw::set_defaults(self.limits.signals);
        raw::unblock_all();
        if self.ready == Ready::Shared {
            self.is_ready.store(true, Ordering::Release);
        } else if let Err(error) = rustix::io::write(borrow(self.descriptors.report), &[READY]) {
            return (Step::Setup, error);
        }
        (Step::Exec, self.exec())
    }

    fn set_up(&self) -> rustix::io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that took hold.
        if getppid() != self.parent {
            return Err(Errno::SRCH);
        }
        setsid()?;
        if let Some(list) = &self.cgroup {
            rustix::io::write(open(list.as_c_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?, b"0")?;
        }
        umask(self.umask);
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = match (self.limits.nofile, maximum) {
            (Some(current), Some(maximum)) => Some(current.min(maximum)),
            (current, maximum) => current.or(maximum),
        };
        setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
        let Descriptors { stdin, stdout, stderr, .. } = self.descriptors;
        dup2_stdin(borrow(stdin))?;
        dup2_stdout(borrow(stdout))?;
        dup2_stderr(borrow(stderr))
    }

    fn exec(&self) -> Errno {
        let (mut last, mut was_refused) = (Errno::NOENT, false);
        for program in &self.programs {
            last = raw::exec(program, self.args.as_ptr(), self.env.as_ptr());
            if last == Errno::NOEXEC {
                if let Some(script) = self.script_args.pointers.get(1) {
                    script.store(program.as_ptr().cast_mut(), Ordering::Relaxed);
                }
                last = raw::exec(SHELL, self.script_args.as_ptr(), self.env.as_ptr());
            }
            match last {
                Errno::ACCESS => was_refused = true,
                Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::NODEV | Errno::TIMEDOUT => {}
                error => return error,
            }
        }
        // One that is there and may not be run says more than one that is not there.
        if was_refused { Errno::ACCESS } else { last }
    }
}

/// As a [`raw::Task`]: carries out the plan that `plan` points to.
pub(crate) extern "C" fn carry_out(plan: *const c_void) -> ! {
    #[expect(unsafe_code, reason = "a new process is given its task as a pointer")]
    // SAFETY: whoever makes the process keeps the plan for as long as it is needed.
    let plan = unsafe { &*plan.cast::<Plan>() };
    plan.carry_out()
}

fn borrow<'a>(number: RawFd) -> BorrowedFd<'a> {
    #[expect(unsafe_code, reason = "a new process knows the copies that it was born with by their numbers")]
    // SAFETY: they were open when the process was made; nothing closes its copies before it becomes the program.
    unsafe {
        BorrowedFd::borrow_raw(number)
    }
}

/// Where a program may be.
fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_owned()];
    }
    let folders = path.split(|byte| *byte == b':');
    // No name stands for the working folder.
    folders
        .map(|folder| if folder.is_empty() { program.to_owned() } else { [folder, b"/", program].concat() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_in_order() {
        let found = |program: &str, path: &str| -> Vec<String> {
            let found = candidates(program.as_bytes(), path.as_bytes());
            found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect()
        };
        assert_eq!(found("ls", "/a::/b"), ["/a/ls", "ls", "/b/ls"]);
        assert_eq!(found("./ls", "/a"), ["./ls"]);
        assert_eq!(found("ls", ""), ["ls"]);
    }

    #[test]
    fn what_a_program_can_t_be_given_is_an_error() {
        let limits = Limits { nofile: None, signals: 0 };
        let start = |argv: &str, cwd: &str| Start::new("k", vec![argv.into()], cwd.into(), "/o".into());
        assert_eq!(Plan::new(&start("a\0b", "/"), "m", limits, None).unwrap_err(), Step::Exec);
        assert_eq!(Plan::new(&start("a", "/\0"), "m", limits, None).unwrap_err(), Step::Cwd);
        assert!(Plan::new(&start("a", "/"), "m", limits, None).is_ok());
    }

    #[test]
    fn strings_end_with_a_null() {
        let strings = Strings::new(vec![c"a".to_owned()]);
        assert_eq!(strings.pointers.len(), 2);
        assert!(strings.pointers[1].load(Ordering::Relaxed).is_null());
    }
}
