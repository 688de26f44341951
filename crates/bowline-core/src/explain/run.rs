//! Why a run is where it is: for each step that has not ended what keeps it, in sums.

use serde::{Deserialize, Serialize};

use super::WaitReason;
use crate::id::{RunId, TaskId, TaskRef};
use crate::name::StepName;
use crate::run::RunState;
use crate::time::Timestamp;

/// Reasons of one step that are told at most.
pub const WHY_LISTED_MAX: usize = 10;

/// Why a run is in its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunExplanation {
    /// Which.
    pub run: RunId,
    /// Where it is.
    pub state: RunState,
    /// When it began.
    pub since: Timestamp,
    /// What keeps all of it: pauses, and what it asks for as a whole.
    pub reasons: Vec<WaitReason>,
    /// Its steps that have not ended, in the order of the workflow.
    pub steps: Vec<StepExplanation>,
    /// Steps that have ended.
    pub ended: u64,
}

/// Why a step has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepExplanation {
    /// Its name.
    pub step: StepName,
    /// What it waits for.
    pub state: StepWait,
    /// Its task, single or array, where it has one.
    pub task: Option<TaskId>,
    /// Tasks of it in all.
    pub total: u64,
    /// Of these, ended.
    pub ended: u64,
    /// Under way, with nothing in their way.
    pub running: u64,
    /// That wait.
    pub waiting: u64,
    /// Why, each with how many, the most first. Each task counts once, by its first reason. At most [`WHY_LISTED_MAX`].
    pub why: Vec<Waiting>,
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepWait {
    /// For these steps, which have not ended; or for so many of them.
    Steps {
        /// Which.
        after: Vec<StepName>,
        /// How many more of them must end well. `None`: all.
        at_least: Option<u32>,
    },
    /// For what its run asks for as a whole.
    Hold,
    /// Its expressions are being evaluated.
    Evaluated,
    /// For its tasks.
    Tasks,
}

/// Tasks that wait for the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// How many.
    pub tasks: u64,
    /// The first of them.
    pub first: TaskRef,
    /// For what.
    pub reason: WaitReason,
}

impl WaitReason {
    /// Whether another one keeps its task for the same thing.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Resource { name: one, .. }, Self::Resource { name: two, .. }) => one == two,
            (Self::Dependency { task: one, .. }, Self::Dependency { task: two, .. }) => one == two,
            (Self::Paused { what: one, .. }, Self::Paused { what: two, .. }) => one == two,
            (Self::WorkerSilent { worker: one, .. }, Self::WorkerSilent { worker: two, .. }) => one == two,
            (Self::Aside { why: one, .. }, Self::Aside { why: two, .. }) => one == two,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}
