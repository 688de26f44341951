//! A job's processes, as the supervisor's loop holds them. What becomes of the job, [`crate::machine`]
//! decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::cradle::Cradle;
use crate::keeper;
use crate::procs::Process;
use crate::wire::Exit;

/// All jobs that are not over, by key.
pub(super) type Bodies = BTreeMap<String, Body>;

/// A job's processes.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) key: String,
    /// Of its birth, from 1.
    pub(super) number: u64,
    pub(super) mark: String,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) main: Main,
    pub(super) first: First,
    /// Processes that have got their TERM.
    pub(super) termed: Vec<Process>,
}

/// What is known of a job's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// Nothing says that it has ended.
    Alive,
    Ended,
}

/// The supervisor's own child: the job's first process, or its keeper.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) process: Process,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
    pub(super) reaped: Reaped,
    /// What it says of itself before it is the program.
    pub(super) report: Option<ReportPipe>,
    /// Where the child is a keeper.
    pub(super) kept: Option<Kept>,
}

/// Whether a child has ended and is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaped {
    Yes,
    No,
}

/// What is known of a first process that has a keeper.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) home: keeper::Home,
    /// The first process's end comes here.
    pub(super) end: File,
    /// Known when the program runs.
    pub(super) first: Option<Process>,
}

/// A report that is not complete.
#[derive(Debug)]
pub(super) struct ReportPipe {
    pub(super) pipe: File,
    pub(super) bytes: Vec<u8>,
    /// The process uses it until the report is complete.
    pub(super) cradle: Option<Cradle>,
}

impl Body {
    /// The job's first process, as far as it is known.
    pub(super) fn first(&self) -> &Process {
        self.main.kept.as_ref().and_then(|kept| kept.first.as_ref()).unwrap_or(&self.main.process)
    }

    /// The job's keeper, while it lives.
    pub(super) fn keeper(&self) -> Option<(&Process, keeper::Home)> {
        let kept = self.main.kept.as_ref().filter(|_| self.main.reaped == Reaped::No)?;
        Some((&self.main.process, kept.home))
    }
}

/// How a process ended, as `waitid` says it.
pub(super) fn exit_of(status: &rustix::process::WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}
