//! Why a worker is given nothing more, and why a run has not ended. What a task waits for is [`crate::Explanation`].

use std::collections::BTreeMap;

use bowline_core::id::TaskRef;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::task::Reason;

/// Why a worker is idle, or takes no more than it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerExplanation {
    /// Its name.
    pub worker: String,
    /// Slots that may be used now.
    pub slots: u32,
    /// Slots that are taken.
    pub slots_used: u32,
    /// Amounts that may be used now.
    pub amounts: BTreeMap<String, u64>,
    /// Amounts that are taken.
    pub amounts_used: BTreeMap<String, u64>,
    /// Attempts that it holds.
    pub attempts: u64,
    /// Of these, held beyond its slots, to begin when there is room.
    pub beyond: u64,
    /// Every reason for which it is given nothing more. By name: `not_connected`, `suspect`, `broken`, `delivering`,
    /// `paused`, `drained`, `put_aside`, `everything_paused`, `no_slot`, `no_more_asked`, `nothing_ready`, `gangs_wait`,
    /// `nothing_fits`.
    pub reasons: Vec<Reason>,
    /// What the tasks of each lane that waits miss on it, nearest first. At most 10.
    pub lanes: Vec<LaneMiss>,
    /// Lanes that are not listed.
    pub lanes_more: u64,
    /// Tasks that are ready for a worker, in the whole fleet.
    pub ready: u64,
    /// Tasks that wait for resources, in the whole fleet.
    pub waiting: u64,
}

/// What the tasks of a lane miss on a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LaneMiss {
    /// What they ask for.
    pub lane: String,
    /// Where they live.
    pub namespace: String,
    /// How many are ready.
    pub ready: u64,
    /// The first of them.
    #[schema(value_type = String)]
    pub first: TaskRef,
    /// What keeps them off this worker, for people.
    pub sentence: String,
    /// Capabilities that the worker does not have.
    pub missing: Vec<String>,
    /// Capabilities that it has and must not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// The task for which it is kept free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kept_for: Option<TaskRef>,
    /// What keeps them from any worker, or lets others go before them: a quota, shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fairness: Vec<Reason>,
    /// Amounts, and slots, of which it has too little even when it is empty.
    pub too_small: Vec<TooSmall>,
    /// The same of what is free now.
    pub short_of: Vec<ShortOf>,
}

/// An amount of which a worker has too little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TooSmall {
    /// Its name; `slots` among them.
    pub name: String,
    /// How much a task wants.
    pub wanted: u64,
    /// How much there is.
    pub has: u64,
}

/// An amount of which too little is free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShortOf {
    /// Its name; `slots` and `attempts` among them.
    pub name: String,
    /// How much a task wants.
    pub wanted: u64,
    /// How much is free.
    pub free: u64,
    /// How much there is.
    pub has: u64,
}

/// Why a run has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunExplanation {
    /// Its id: `r12`.
    pub run: String,
    /// Where it is.
    pub state: String,
    /// Whether it is over. Nothing is told of its steps then.
    pub ended: bool,
    /// When it began.
    pub since: jiff::Timestamp,
    /// What keeps all of it: pauses.
    pub reasons: Vec<Reason>,
    /// Its steps that have not ended, in the file's order.
    pub steps: Vec<StepExplanation>,
    /// How many steps have ended.
    pub steps_ended: u64,
}

/// Why a step has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepExplanation {
    /// Its name.
    pub step: String,
    /// `pending` (for other steps), `due` (its expressions are evaluated) or `active` (for its tasks).
    pub state: String,
    /// All of it for people.
    pub sentence: String,
    /// Steps that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Its task, single or array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Its tasks in all.
    pub total: u64,
    /// Of these, ended.
    pub tasks_ended: u64,
    /// Under way, with nothing in their way.
    pub running: u64,
    /// That wait.
    pub waiting: u64,
    /// Why, each with how many, the most first. A task counts once, by its first reason. At most 10.
    pub why: Vec<WaitingFor>,
}

/// Tasks that wait for the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingFor {
    /// How many.
    pub tasks: u64,
    /// The first of them.
    #[schema(value_type = String)]
    pub first: TaskRef,
    /// For what.
    #[serde(flatten)]
    pub why: Reason,
}
