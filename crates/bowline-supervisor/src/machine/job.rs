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

use std::time::Duration;

use super::Report;
use crate::wire::{Ended, Event, LostWhy, StopReason};

/// What the supervisor keeps of a job.
#[derive(Debug)]
pub enum Job {
    /// It is not over.
    Live(Box<Live>),
    /// It is over, and how.
    Ended(Ended),
    /// An earlier supervisor took its end with it.
    Lost(LostWhy),
}

/// A job that is not over.
#[derive(Debug)]
pub struct Live {
    pub(super) key: String,
    pub(super) run_limit: Option<Duration>,
    /// See [`crate::wire::Start::lease`].
    pub(super) lease: String,
    pub(super) stop_after: Option<Duration>,
    /// When the newest answered heartbeat of its lease group was sent.
    pub(super) renewed_at: Duration,
    pub(super) grace: Duration,
    pub(super) phase: Phase,
    /// What the new process said, when it has said all.
    pub(super) report: Option<Report>,
    pub(super) started: Option<Started>,
    pub(super) stopped: Option<StopReason>,
    /// How the first process ended. It is on disk unless the disk refused.
    pub(super) end: Option<Ended>,
    /// Processes that the first one left behind and that were killed.
    pub(super) leftovers: Vec<u32>,
    /// When to look at it again without being told.
    pub(super) wake_at: Option<Duration>,
    /// Between two looks; grows.
    pub(super) look_every: Duration,
}

/// A program that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) at: Duration,
}

/// What is being done with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The new process has not become the program.
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

impl Phase {
    /// Whether nobody has asked for its end.
    pub(super) fn may_run(self) -> bool {
        matches!(self, Self::Starting | Self::Running)
    }
}

impl Job {
    /// What a `List` says of it.
    pub(super) fn event(&self, key: &str) -> Event {
        match self {
            Self::Ended(ended) => ended.event(),
            Self::Lost(why) => Event::Lost { key: key.to_owned(), why: *why },
            Self::Live(live) => match live.started {
                None => Event::Starting { key: key.to_owned() },
                Some(Started { pid, at }) => Event::Started { key: key.to_owned(), pid, started_at: at },
            },
        }
    }

    /// The job, while it is not over.
    pub fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Ended(_) | Self::Lost(_) => None,
        }
    }
}

impl Live {
    /// Whether its first process has not ended, as far as is known.
    pub fn is_main_alive(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it was told that it can't be killed.
    pub fn is_stuck(&self) -> bool {
        matches!(self.phase, Phase::Kill { told: Told::Yes, .. })
    }

    /// When its run limit passes.
    fn run_limit_at(&self) -> Option<Duration> {
        Some(self.started?.at.saturating_add(self.run_limit?))
    }

    /// When its lease is over.
    fn lease_limit_at(&self) -> Option<Duration> {
        let stop_after = self.stop_after.filter(|_| !is_mutant!(LeaseNotEnforced))?;
        Some(self.renewed_at.saturating_add(stop_after))
    }

    /// When it must be looked at although nothing happens.
    pub(super) fn next_limit(&self) -> Option<Duration> {
        self.run_limit_at().into_iter().chain(self.lease_limit_at()).min()
    }

    /// Why it may not run on.
    pub(super) fn limit_passed(&self, now: Duration) -> Option<StopReason> {
        let has_passed = |at: Option<Duration>| at.is_some_and(|at| now >= at);
        if has_passed(self.lease_limit_at()) {
            reached!(LeaseStoppedAJob);
            Some(StopReason::LeaseExpired)
        } else {
            has_passed(self.run_limit_at()).then_some(StopReason::RunLimit)
        }
    }

    /// So many processes that it left behind had to be killed: for the record and the event.
    pub(super) fn ended(&self) -> Option<Ended> {
        let mut ended = self.end.clone()?;
        if let Ended::Exited(exited) = &mut ended {
            exited.leftovers = u32::try_from(self.leftovers.len()).unwrap_or(u32::MAX);
        }
        Some(ended)
    }
}
