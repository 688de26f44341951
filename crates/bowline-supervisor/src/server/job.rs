//! A job, as the supervisor knows it.
//!
//! ```text
//!  Starting ── the exec succeeded ──► Running
//!     │                                  │
//!     ├── stopped (asked, run limit, shutdown) ──► Term{kill_at} ── kill_at ──► Kill{since}
//!     │                                  │              ▲
//!     └── the first process ends ────────┴── leaves others behind, who get a moment ──┘
//!
//!  from every phase: the first process has ended and nothing is left ──► Ended
//! ```
//!
//! The end of the first process (`end`) comes on its own: before, within or after a stop.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::keeper;
use crate::procs::Process;
use crate::records::Record;
use crate::stage::Report;
use crate::wire::{Ended, Event, Exit, LostWhy, StopReason};

/// What the supervisor keeps of a job.
#[derive(Debug)]
pub(super) enum Job {
    Live(Box<Live>),
    Ended(Ended),
    Lost(LostWhy),
}

/// A job that is not over.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) key: String,
    /// Of its birth, from 1.
    pub(super) number: u64,
    pub(super) record: Record,
    pub(super) mark: String,
    pub(super) cgroup: Option<PathBuf>,
    pub(super) run_limit: Option<Duration>,
    /// See [`crate::wire::Start::lease`].
    pub(super) lease: String,
    pub(super) stop_after: Option<Duration>,
    /// When the newest answered heartbeat of its lease group was sent.
    pub(super) renewed_at: Duration,
    pub(super) grace: Duration,
    pub(super) main: Main,
    pub(super) phase: Phase,
    /// What the stage said, when it has said all.
    pub(super) report: Option<Report>,
    pub(super) started_at: Option<Duration>,
    pub(super) stopped: Option<StopReason>,
    pub(super) end: Option<MainEnd>,
    /// Processes that have got their TERM.
    pub(super) termed: Vec<Process>,
    /// Processes that the first one left behind and that were killed.
    pub(super) leftovers: Vec<u32>,
    /// When to look at it again without being told.
    pub(super) wake_at: Option<Duration>,
    /// Between two looks; grows.
    pub(super) look_every: Duration,
}

/// The supervisor's own child: the job's first process, or its keeper.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) process: Process,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
    pub(super) reaped: Reaped,
    /// The stage's report.
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
}

/// What is being done with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The stage is at work.
    Starting,
    /// The program runs.
    Running,
    /// What is left of it has until then to end by itself.
    Term { kill_at: Duration },
    /// All of it is being killed.
    Kill { since: Duration, told: Told },
}

/// Whether somebody was told that a job can't be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    No,
}

/// How the first process ended. It is reaped, and its end is on disk unless the disk refused.
#[derive(Debug, Clone)]
pub(super) struct MainEnd {
    pub(super) ended: Ended,
}

impl Phase {
    /// Whether nobody has asked for its end.
    pub(super) fn may_run(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }

    /// Whether it was told that it can't be killed.
    pub(super) fn is_stuck(self) -> bool {
        matches!(self, Self::Kill { told: Told::Yes, .. })
    }
}

impl Job {
    /// What a `List` says of it.
    pub(super) fn event(&self, key: &str) -> Event {
        match self {
            Self::Ended(ended) => ended.event(),
            Self::Lost(why) => Event::Lost { key: key.to_owned(), why: *why },
            Self::Live(live) => match live.started_at {
                None => Event::Starting { key: key.to_owned() },
                Some(started_at) => Event::Started { key: key.to_owned(), pid: live.first().pid, started_at },
            },
        }
    }
}

impl Live {
    /// The job's first process, as far as it is known.
    pub(super) fn first(&self) -> &Process {
        self.main.kept.as_ref().and_then(|kept| kept.first.as_ref()).unwrap_or(&self.main.process)
    }

    /// The job's keeper, while it lives.
    pub(super) fn keeper(&self) -> Option<(&Process, keeper::Home)> {
        let kept = self.main.kept.as_ref().filter(|_| self.main.reaped == Reaped::No)?;
        Some((&self.main.process, kept.home))
    }

    /// Whether its first process has not ended, as far as is known.
    pub(super) fn is_main_alive(&self) -> bool {
        self.end.is_none()
    }

    /// When its run limit passes.
    fn run_limit_at(&self) -> Option<Duration> {
        Some(self.started_at?.saturating_add(self.run_limit?))
    }

    /// When its lease is over.
    fn lease_limit_at(&self) -> Option<Duration> {
        Some(self.renewed_at.saturating_add(self.stop_after?))
    }

    /// When it must be looked at although nothing happens.
    pub(super) fn next_limit(&self) -> Option<Duration> {
        self.run_limit_at().into_iter().chain(self.lease_limit_at()).min()
    }

    /// Why it may not run on.
    pub(super) fn limit_passed(&self, now: Duration) -> Option<StopReason> {
        let has_passed = |at: Option<Duration>| at.is_some_and(|at| now >= at);
        if has_passed(self.lease_limit_at()) {
            Some(StopReason::LeaseExpired)
        } else {
            has_passed(self.run_limit_at()).then_some(StopReason::RunLimit)
        }
    }

    /// So many processes that it left behind had to be killed: for the record and the event.
    pub(super) fn ended(&self) -> Option<Ended> {
        let mut ended = self.end.as_ref()?.ended.clone();
        if let Ended::Exited(exited) = &mut ended {
            exited.leftovers = u32::try_from(self.leftovers.len()).unwrap_or(u32::MAX);
        }
        Some(ended)
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
