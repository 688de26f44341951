//! A task's states, and how attempts and rounds end.

use serde::{Deserialize, Serialize};

/// A task's states, by name. The machine's own state carries its data; this is what is stored and
/// shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// Waits for a time: delay, or backoff after a failure.
    Scheduled,
    /// Waits for dependencies.
    Blocked,
    /// Waits for resources: it has its ticket.
    Waiting,
    /// Waits for a worker: it is in a lane.
    Ready,
    /// Waits for its worker to begin.
    Assigned,
    /// Runs.
    Running,
    /// Waits for the worker's report that no process of the job is left.
    Stopping,
    /// Waits for somebody who knows.
    InDoubt,
    /// Ended well.
    Succeeded,
    /// Ended badly; the outcome says why.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Ended before it began: a dependency can no longer be met.
    Skipped,
}

impl StateKind {
    /// All of them, in the order of a task's life.
    pub const ALL: [Self; 12] = [
        Self::Scheduled,
        Self::Blocked,
        Self::Waiting,
        Self::Ready,
        Self::Assigned,
        Self::Running,
        Self::Stopping,
        Self::InDoubt,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Blocked => "blocked",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::InDoubt => "in_doubt",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the round is over.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether an attempt lives.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Assigned | Self::Running | Self::Stopping)
    }
}

impl std::fmt::Display for StateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutKind {
    /// Too long in line.
    Queue,
    /// Too long to begin.
    Setup,
    /// Too long at work.
    Run,
    /// The round took too long.
    Total,
    /// The moment has passed.
    Deadline,
}

impl TimeoutKind {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Setup => "setup",
            Self::Run => "run",
            Self::Total => "total",
            Self::Deadline => "deadline",
        }
    }
}

/// How an ended round ended: the closed list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Succeeded,
    /// The work itself failed.
    Error(JobError),
    /// A limit ran out.
    Timeout {
        /// Which.
        which: TimeoutKind,
    },
    /// Its workers were lost too often, or it was lost and must not rerun.
    Lost {
        /// What is known.
        message: String,
    },
    /// Never possible.
    Rejected {
        /// Why.
        message: String,
    },
    /// By a cancel.
    Cancelled {
        /// By whom or why.
        message: String,
    },
    /// A dependency can no longer be met.
    Skipped {
        /// Which.
        message: String,
    },
}

impl Outcome {
    /// The ended state that goes with it.
    pub fn state(&self) -> StateKind {
        match self {
            Self::Succeeded => StateKind::Succeeded,
            Self::Error(_) | Self::Timeout { .. } | Self::Lost { .. } | Self::Rejected { .. } => StateKind::Failed,
            Self::Cancelled { .. } => StateKind::Cancelled,
            Self::Skipped { .. } => StateKind::Skipped,
        }
    }

    /// The kind's name: `succeeded`, `error`, `timeout`, `lost`, `rejected`, `cancelled`, `skipped`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Error(_) => "error",
            Self::Timeout { .. } => "timeout",
            Self::Lost { .. } => "lost",
            Self::Rejected { .. } => "rejected",
            Self::Cancelled { .. } => "cancelled",
            Self::Skipped { .. } => "skipped",
        }
    }

    /// A sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::Succeeded => "succeeded".to_owned(),
            Self::Error(error) => error.message.clone(),
            Self::Timeout { which } => format!("the {} limit ran out", which.name()),
            Self::Lost { message }
            | Self::Rejected { message }
            | Self::Cancelled { message }
            | Self::Skipped { message } => message.clone(),
        }
    }
}

/// Why the work itself failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct JobError {
    /// The program's exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// A sentence for people. At most 4 KiB.
    pub message: String,
}

/// How an attempt ended, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// Well.
    Succeeded,
    /// Badly.
    Failed,
    /// A limit ran out.
    TimedOut,
    /// By a cancel.
    Cancelled,
    /// With its worker.
    Lost,
    /// Given back unharmed.
    Released,
    /// A newer attempt was claimed meanwhile.
    Superseded,
}

impl AttemptEnd {
    /// Whether its worker may still come back with it, or has when it was too late.
    pub fn is_loss(self) -> bool {
        match self {
            Self::Lost | Self::Superseded => true,
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Cancelled | Self::Released => false,
        }
    }

    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Succeeded, Self::Failed, Self::TimedOut, Self::Cancelled, Self::Lost, Self::Released, Self::Superseded];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            Self::Released => "released",
            Self::Superseded => "superseded",
        }
    }
}

/// Where a live attempt is. The phases in which messages may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Given to the worker, not begun.
    Assigned,
    /// Folder, assets, code.
    Preparing,
    /// The job runs.
    Running,
    /// The job has ended, its artifacts are on their way.
    Uploading,
    /// Being stopped.
    Stopping,
    /// Over.
    Ended,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Assigned, Self::Preparing, Self::Running, Self::Uploading, Self::Stopping, Self::Ended];
}
