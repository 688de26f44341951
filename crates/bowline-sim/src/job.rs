//! Jobs as facts of the world: what in fact runs on which machine, whatever anybody believes of it.
//!
//! How a job behaves is drawn by the workload and written into its command ([`Plan::to_argv`]); the
//! supervisor's adapter reads it back when it starts the job, as a kernel would load a program.

use std::collections::BTreeMap;

use crate::process::{MachineId, ProcId};

/// The program that every simulated job names.
pub const PROGRAM: &str = "sim-job";

/// How a job behaves once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// It ends by itself after so long, in microseconds. `None`: never.
    pub length_us: Option<u64>,
    /// Its exit status then.
    pub status: u8,
    /// What it does at TERM.
    pub at_term: AtTerm,
    /// From KILL to its end, in microseconds: a process in an uninterruptible wait.
    pub dies_in_us: u64,
    /// It has left its process group and does not die with its supervisor.
    pub escapes: Escapes,
    /// Bytes that it writes to its log.
    pub log_bytes: u32,
}

/// What a job does at TERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtTerm {
    /// Ends at once.
    Ends,
    /// Nothing.
    Ignores,
    /// Cleans up, and ends well.
    Succeeds,
}

/// Whether a job outlives the supervisor that is its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    /// It dies with it.
    No,
    /// Somebody has to kill it.
    Yes,
}

impl Plan {
    /// Ends well after so long.
    pub const fn short(length_us: u64) -> Self {
        Self {
            length_us: Some(length_us),
            status: 0,
            at_term: AtTerm::Ends,
            dies_in_us: 0,
            escapes: Escapes::No,
            log_bytes: 0,
        }
    }

    /// As a command.
    pub fn to_argv(self) -> Vec<String> {
        let term = match self.at_term {
            AtTerm::Ends => "ends",
            AtTerm::Ignores => "ignores",
            AtTerm::Succeeds => "succeeds",
        };
        let escapes = if self.escapes == Escapes::Yes { "escapes" } else { "stays" };
        let length = self.length_us.map_or_else(|| "endless".to_owned(), |length| length.to_string());
        vec![
            PROGRAM.to_owned(),
            length,
            self.status.to_string(),
            term.to_owned(),
            self.dies_in_us.to_string(),
            escapes.to_owned(),
            self.log_bytes.to_string(),
        ]
    }

    /// From a command. `None`: it is none of ours.
    pub fn from_argv(argv: &[impl AsRef<std::ffi::OsStr>]) -> Option<Self> {
        let words: Vec<&str> = argv.iter().map(|word| word.as_ref().to_str()).collect::<Option<_>>()?;
        let [PROGRAM, length, status, term, dies, escapes, log] = words[..] else { return None };
        Some(Self {
            length_us: if length == "endless" { None } else { Some(length.parse().ok()?) },
            status: status.parse().ok()?,
            at_term: match term {
                "ends" => AtTerm::Ends,
                "ignores" => AtTerm::Ignores,
                "succeeds" => AtTerm::Succeeds,
                _ => return None,
            },
            dies_in_us: dies.parse().ok()?,
            escapes: if escapes == "escapes" { Escapes::Yes } else { Escapes::No },
            log_bytes: log.parse().ok()?,
        })
    }
}

/// How a job's first process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a status.
    Status(u8),
    /// By TERM.
    Term,
    /// By KILL.
    Kill,
}

/// A signal to all processes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Term,
    /// Ends it, unless it cannot be killed for now.
    Kill,
}

/// Names a job: where it runs, for which cluster's worker, and the supervisor's key for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId {
    /// The machine.
    pub machine: MachineId,
    /// The state directory of the worker that it belongs to.
    pub dir: String,
    /// The supervisor's key.
    pub key: String,
}

/// A job, in fact.
#[derive(Debug, Clone)]
pub struct Job {
    /// How it behaves.
    pub plan: Plan,
    /// Counts all jobs of the world: a second one of the same name is another one.
    pub number: u64,
    /// The supervisor that is its parent. `None`: that is gone.
    pub parent: Option<(ProcId, u32)>,
    /// When it began, in the world's time.
    pub began_at: u64,
    /// When it ended, and how.
    pub ended: Option<(u64, Ended)>,
    /// KILL has been sent.
    pub killed: bool,
}

impl Job {
    /// Whether a process of it is there.
    pub const fn is_alive(&self) -> bool {
        self.ended.is_none()
    }
}

/// All jobs that ever ran.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    /// By name: the newest of each.
    pub all: BTreeMap<JobId, Job>,
    /// How many began.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_command() {
        let plan = Plan {
            length_us: None,
            status: 3,
            at_term: AtTerm::Ignores,
            dies_in_us: 9,
            escapes: Escapes::Yes,
            log_bytes: 77,
        };
        assert_eq!(Plan::from_argv(&plan.to_argv()), Some(plan));
        assert_eq!(Plan::from_argv(&Plan::short(5).to_argv()), Some(Plan::short(5)));
        assert_eq!(Plan::from_argv(&["true"]), None);
    }
}
