//! A job's keeper: where there is no cgroup, a process between the supervisor and the job's first one.
//!
//! It is a copy of the supervisor that does nothing but wait, so that it costs next to no memory. What
//! the job's processes leave behind becomes its child, never another job's: so it is known at any
//! moment whose a process is. In a PID namespace it is the first process, and the kernel kills all
//! others with it. It dies with its supervisor.
//!
//! ```text
//! keeper ──► new process, which becomes the program
//!    │ the program ends: 5 bytes through a pipe (kind u8 · number i32)
//!    └ no child is left: the keeper ends
//! ```

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, set_parent_process_death_signal, wait,
};

use crate::clock::timespec;
use crate::clone::{Place, close_all_but, leave, make_private_mounts};
use crate::cradle::Cradle;
use crate::plan::Ready;
use crate::procs::to_pid;
use crate::report;
use crate::wire::{Exit, Step};

/// How long the end of a first process is, in bytes.
pub(crate) const END_BYTES: usize = 5;

/// What a keeper is made with.
#[derive(Debug)]
pub(crate) struct Keeper<'a> {
    /// Where the first process begins: this copy's own.
    pub(crate) cradle: Cradle,
    /// Where that one reports.
    pub(crate) report: &'a OwnedFd,
    /// Where the first process's end is told.
    pub(crate) end: &'a OwnedFd,
    /// The supervisor's process.
    pub(crate) supervisor: &'a OwnedFd,
    pub(crate) home: Home,
}

/// Where a keeper lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Here,
    Namespace,
}

impl Keeper<'_> {
    /// What the new process does, to its end.
    pub(crate) fn run(mut self) -> ! {
        let status = match self.begin() {
            Ok(first) => self.keep(first),
            Err(error) => {
                // Where the supervisor is gone nobody wants to know.
                let failed = report::failure(Step::Spawn, error.raw_os_error().unwrap_or(0));
                rustix::io::write(self.report, &failed).ok();
                1
            }
        };
        leave(status)
    }

    fn begin(&mut self) -> std::io::Result<Pid> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that took hold.
        let mut supervisor = [PollFd::new(self.supervisor, PollFlags::IN)];
        if poll(&mut supervisor, Some(&timespec(std::time::Duration::ZERO)))? > 0 {
            return Err(rustix::io::Errno::SRCH.into());
        }
        match self.home {
            Home::Namespace => make_private_mounts()?,
            Home::Here => set_child_subreaper(Some(getpid()))?,
        }
        // Only for those who look at the list of processes.
        rustix::thread::set_name(c"bowline-keeper").ok();
        self.cradle.plan.set_parent(getpid());
        let (pid, _) = self.cradle.bear(Place::Here, Ready::Reported)?;
        to_pid(pid).ok_or(rustix::io::Errno::SRCH.into())
    }

    /// Waits until nothing is left.
    fn keep(&self, first: Pid) -> u8 {
        close_all_but(self.end.as_fd());
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == first => {
                    rustix::io::write(self.end, &encode(exit_of(status))).ok();
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return 0,
            }
        }
    }
}

fn exit_of(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}

fn encode(exit: Exit) -> [u8; END_BYTES] {
    let (kind, number) = match exit {
        Exit::Code(code) => (0, code),
        Exit::Signal(signal) => (1, signal),
    };
    let [a, b, c, d] = number.to_le_bytes();
    [kind, a, b, c, d]
}

/// What a keeper told.
pub(crate) fn decode(bytes: [u8; END_BYTES]) -> Exit {
    let [kind, a, b, c, d] = bytes;
    let number = i32::from_le_bytes([a, b, c, d]);
    if kind == 0 { Exit::Code(number) } else { Exit::Signal(number) }
}
