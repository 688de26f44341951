//! Tasks as they are shown, and what can be done with them.

use std::collections::BTreeMap;

use bowline_core::id::TaskRef;
use bowline_core::spec::{Condition, OnWorkerLoss, OutputFormat, Overlap, Requirement};
use bowline_core::state::{AttemptEnd, Phase, StateKind};
use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::namespace::{Concurrency, Rate};
use crate::new_task::{Retry, Timeouts};
use crate::placement::Placement;
use crate::resource::TaskResource;

/// A task, or an element of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// `4711`, or `4711.7` for an element.
    #[schema(value_type = String)]
    pub id: TaskRef,
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its state.
    #[schema(value_type = String)]
    pub state: StateKind,
    /// Since when it is in that state.
    pub since: jiff::Timestamp,
    /// Where its live attempt is. Absent where none lives.
    #[schema(value_type = Option<String>)]
    pub phase: Option<Phase>,
    /// Its round: one life from submit or `retry` to its end, from 1.
    pub round: u32,
    /// Its newest attempt; 0 for none yet.
    pub attempt: u32,
    /// What it does: `command`, `http`, `noop`, `wait`, `sleep`.
    pub action: String,
    /// Who has it, or had it last.
    pub worker: Option<String>,
    /// Higher goes first.
    pub priority: i32,
    /// Its place in the one order of all lines; 0 until it has one.
    pub ticket: u64,
    /// By whom it was submitted.
    pub created_by: String,
    /// When.
    pub submitted_at: jiff::Timestamp,
    /// When it last became ready.
    pub ready_at: Option<jiff::Timestamp>,
    /// When its newest attempt started.
    pub started_at: Option<jiff::Timestamp>,
    /// When its round ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// How it ended. Before that: its last failure, or what its stopping will bring.
    pub outcome: Option<OutcomeDoc>,
    /// What its worker must have.
    #[schema(value_type = Vec<String>)]
    pub requires: Vec<Requirement>,
    /// Slots that it takes while it runs.
    pub slots: u32,
    /// Amounts that it takes while it runs.
    pub amounts: BTreeMap<String, u64>,
    /// Resources that it asks for and holds.
    pub resources: Vec<TaskResource>,
    /// Whether it gives them up between a failure and its retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub release_while_retrying: bool,
    /// Which of several workers it is given to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How many tasks under its key are at work at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How often tasks under its key begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What must have ended before.
    pub depends_on: Vec<DependsOn>,
    /// Its limits in time.
    pub timeouts: Timeouts,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
    /// It fails where it has not ended by this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<jiff::Timestamp>,
    /// What follows a failure.
    pub retry: Retry,
    /// Failed attempts in this round.
    pub failures: u32,
    /// Lost attempts in this round.
    pub losses: u32,
    /// What follows the loss of its worker.
    #[schema(value_type = String)]
    pub on_worker_loss: OnWorkerLoss,
    /// Whether a second attempt may begin while a lost first one may still live.
    #[schema(value_type = Option<String>)]
    pub overlap: Option<Overlap>,
    /// Without a heartbeat for so long an attempt is lost.
    #[schema(value_type = Option<String>)]
    pub lost_after: Option<Span>,
    /// The job is killed where no answered heartbeat is younger than this.
    #[schema(value_type = Option<String>)]
    pub stop_after: Option<Span>,
    /// The run that it belongs to: `r12`.
    pub run: Option<String>,
    /// The step of that run.
    pub step: Option<String>,
    /// Its result. Absent in lists.
    pub result: Option<Value>,
    /// Paused by whom. Absent: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedDoc>,
    /// Why it waits, in short. Absent where it does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Where it is an array: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<ArrayProgress>,
    /// What it does, in full. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<WorkDoc>,
}

/// Why something waits, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// For programs: `no_room`, `dependency`, `paused`, …
    pub reason: String,
    /// For people.
    pub sentence: String,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct OutcomeDoc {
    /// `succeeded`, `error`, `timeout`, `lost`, `rejected`, `cancelled` or `skipped`.
    pub kind: String,
    /// The program's exit status.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    #[serde(default)]
    pub signal: Option<i32>,
    /// Which limit ran out: `queue`, `setup`, `run`, `total` or `deadline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub which: Option<String>,
    /// For people.
    #[serde(default)]
    pub message: String,
}

/// By whom something was paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PausedDoc {
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: jiff::Timestamp,
}

/// What must have ended before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DependsOn {
    /// Which task.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// How: `ok`, `any` or `fail`.
    #[schema(value_type = String)]
    pub on: Condition,
}

/// How far an array is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArrayProgress {
    /// Its first index.
    pub first: u32,
    /// Elements in all.
    pub count: u32,
    /// Between one index and the next.
    pub step: u32,
    /// At most so many at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
    /// Not started, not ended.
    pub waiting: u32,
    /// Started, not ended.
    pub running: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended badly.
    pub failed: u32,
    /// Ended by a cancel.
    pub cancelled: u32,
    /// Ended before they began.
    pub skipped: u32,
}

/// What a task does, in full.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct WorkDoc {
    /// The program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Text for `/bin/sh`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// What any other action is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<Value>,
    /// Environment, beside what every job sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working folder on the worker. Absent: an own, empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Files that are written into the working folder before the job starts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Files that are kept, as globs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// How standard output becomes the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub output: Option<OutputFormat>,
    /// Standard output and standard error in logs of their own.
    #[serde(default)]
    pub split_output: bool,
    /// Variables that hold a secret: each by the name of the secret that its worker knows. The secret is
    /// masked in the logs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// So many bytes of a log are kept at most. Absent: as many as its worker keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<u64>,
    /// Between TERM and KILL when it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub grace: Option<Span>,
}

/// One execution of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The task or element.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// Its number within the task.
    pub attempt: u32,
    /// The store's generation when it was claimed.
    pub generation: u32,
    /// In which round.
    pub round: u32,
    /// By which worker. Absent: held by the server itself.
    pub worker: Option<String>,
    /// By which of its incarnations.
    pub incarnation: u32,
    /// When it was claimed.
    pub assigned_at: jiff::Timestamp,
    /// When its job began.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// How: `succeeded`, `failed`, `timed_out`, `cancelled`, `lost`, `released`, `superseded`.
    /// Absent while it lives.
    #[schema(value_type = Option<String>)]
    pub end: Option<AttemptEnd>,
    /// What its job said.
    pub outcome: Option<OutcomeDoc>,
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// Its number within the subject.
    pub number: u64,
    /// When.
    pub at: jiff::Timestamp,
    /// What: a state's name, or another word such as `submitted`, `retried`, `artifact`.
    pub what: String,
    /// The attempt that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// By whom.
    pub actor: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A file that an attempt left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// The task or element.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// The attempt.
    pub attempt: u32,
    /// Its name within the attempt.
    pub name: String,
    /// BLAKE3 of its bytes, in hex.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// When it was committed.
    pub at: jiff::Timestamp,
}

/// Why a task is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Which.
    #[schema(value_type = String)]
    pub task: TaskRef,
    /// Where it is.
    #[schema(value_type = String)]
    pub state: StateKind,
    /// Since when.
    pub since: jiff::Timestamp,
    /// Every reason for which it waits. Empty where it does not wait.
    pub reasons: Vec<Reason>,
}

/// One reason for which a task waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// For programs: `not_before`, `backoff`, `dependency`, `paused`, `no_worker_fits`, `workers_unavailable`, `no_room`,
    /// `kept_free`, `kept_for_it`, `away_from`, `warm_on`, `runs_for_another`, `of_its_gang`, `behind`, `array_window`,
    /// `element`, `worker_silent`, `in_doubt`, `resource`, `aside`, `quota`, `share`, `gang`, `held`, `stuck`.
    pub reason: String,
    /// For people.
    pub sentence: String,
    /// What is known, by name.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A verb on tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskVerbName {
    /// End it.
    Cancel,
    /// A new round of an ended task.
    Retry,
    /// Not claimed until resumed.
    Pause,
    /// Claimed again.
    Resume,
    /// Remove an ended task with all that it left.
    Delete,
}

impl TaskVerbName {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

/// A verb on many tasks: named by ids, or by a filter; never by both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// What to do with each.
    pub verb: TaskVerbName,
    /// These. At most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<TaskRef>,
    /// All that match, oldest first. At most 2,000 at a time: `next` in the answer says where the others begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<BulkFilter>,
    /// With `filter`: where to begin, as the answer before said in `next`. Each is touched once, whatever the verb changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Say how many it would touch, and touch none.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which tasks. Everything given must apply; an empty filter means all of the namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkFilter {
    /// In one of these states. Empty: all on which the verb can act.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub states: Vec<StateKind>,
    /// Of this name; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With all these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// That ask for this resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Last given to this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Submitted at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<jiff::Timestamp>,
    /// Submitted by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Of this run: `r12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// What became of a verb on many tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    /// Tasks that were touched, or would be.
    pub touched: u64,
    /// Tasks that could not be served; `items` says why.
    pub refused: u64,
    /// Whether more match the filter: ask again, with `next` as `cursor`.
    pub more: bool,
    /// Where they begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Each of them.
    pub items: Vec<BulkItem>,
}

/// One task of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkItem {
    /// Which.
    #[schema(value_type = String)]
    pub id: TaskRef,
    /// Its state after it. Absent where it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub state: Option<StateKind>,
    /// Why it was refused: stable, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of a verb on one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Which.
    #[schema(value_type = String)]
    pub id: TaskRef,
    /// Its state after it.
    #[schema(value_type = String)]
    pub state: StateKind,
}

/// How a `wait`, or a task in doubt, ends. Without a failure: well.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// The task's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// It failed, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
