//! Runs and workflows.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::resource::Ask;
use crate::task::{Artifact, OutcomeDoc, PausedDoc};

/// A run to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRun {
    /// The workflow file's text.
    pub workflow: String,
    /// The file's name, for messages. `workflow.yaml` where not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The inputs by name. Text is read as the input's declared type, as on a command line.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: serde_json::Map<String, Value>,
    /// Resources that the run holds from before its first step to its end, with those that its file names at its top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Ask>,
    /// Refuse it where a resource that it asks for as a whole is out of service. It waits, with a warning, where not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// A run that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// Its id. Absent for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whether it was started earlier under the same key.
    pub replayed: bool,
    /// What is not possible now: the run waits for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its id: `r12`.
    pub id: String,
    /// Where it lives.
    pub namespace: String,
    /// Its workflow's name.
    pub workflow: String,
    /// `running`, `stopping`, `finishing`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// Whether it is over.
    pub ended: bool,
    /// By whom.
    pub created_by: String,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// How it ended, or how its stopping will end.
    pub outcome: Option<OutcomeDoc>,
    /// Paused by whom. Absent: not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<PausedDoc>,
    /// Its result. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Its inputs, with defaults filled in. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<Value>,
    /// Its steps in the file's order. Empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// All its steps' tasks together. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// A step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: StepState,
    /// The steps that it waits for.
    pub needs: Vec<String>,
    /// Its task: single, or an array. Absent before it has one, or where it had nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The task's state. Absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_state: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeDoc>,
    /// How far it is. `total` is 0 before it has a task.
    pub progress: Progress,
    /// When its task began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<jiff::Timestamp>,
    /// When its task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<jiff::Timestamp>,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Waits for the steps that it needs.
    Pending,
    /// Its expressions are evaluated.
    Due,
    /// Its task is under way.
    Active,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Never begun.
    Skipped,
}

impl StepState {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Due => "due",
            Self::Active => "active",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// How far something is, in tasks and elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// In all, as far as is known now.
    pub total: u64,
    /// Not started, not ended.
    pub waiting: u64,
    /// Started, not ended.
    pub running: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended badly.
    pub failed: u64,
    /// Ended by a cancel.
    pub cancelled: u64,
    /// Ended before they began.
    pub skipped: u64,
}

impl Progress {
    /// Those that have ended.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled + self.skipped
    }
}

/// A workflow, as known from its newest run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// Where it was run.
    pub namespace: String,
    /// Its newest run.
    pub newest_run: String,
    /// That run's state.
    pub newest_state: String,
    /// When that began.
    pub newest_started_at: jiff::Timestamp,
    /// The file's text, as that run keeps it. Absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its steps. Empty in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
}

/// A file that a run's task left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunArtifact {
    /// The step.
    pub step: String,
    /// Whether the workflow names it as its result.
    pub result: bool,
    /// The file.
    #[serde(flatten)]
    pub artifact: Artifact,
}
