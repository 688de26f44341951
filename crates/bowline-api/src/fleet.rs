//! What can be done with workers, one or many.

use bowline_core::message::DrainMode;
use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a worker lets go of everything. It is given nothing more until it is undrained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DrainRequest {
    /// What becomes of running attempts: `finish` (the default) lets them run to their end, `release` stops
    /// them and gives them back, `handoff` leaves them to their supervisor and ends the worker's process at
    /// once, for the next one to take over.
    #[schema(value_type = String)]
    pub mode: DrainMode,
    /// With `finish`: after so long, as `release`. Without an end where not said.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// Whether the worker's process ends when it holds nothing any more. With `handoff` it always does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<bool>,
}

/// A verb on workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerVerbName {
    /// Given nothing new; what runs, runs on.
    Pause,
    /// Given work again, after a pause.
    Resume,
    /// To let go of everything.
    Drain,
    /// Given work again, after a drain or having been put aside.
    Undrain,
    /// Removed. Whoever says so vouches that nothing of it runs any more: its attempts are lost.
    Forget,
}

impl WorkerVerbName {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Forget => "forget",
        }
    }
}

/// A verb on many workers: named, or chosen by a filter; never both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkerBulk {
    /// What to do with each.
    pub verb: WorkerVerbName,
    /// These. At most 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// All that match; an empty filter means all that there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<WorkerFilter>,
    /// With `drain`: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainRequest>,
    /// Only say which it would touch.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which workers. Everything given must apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerFilter {
    /// With all these capabilities, as each said last: `key` or `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Of this pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// What became of a verb on many workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerBulkAnswer {
    /// Workers that were touched, or would be.
    pub touched: u64,
    /// Workers that could not be served; `items` says why.
    pub refused: u64,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Each of them.
    pub items: Vec<WorkerBulkItem>,
}

/// One worker of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerBulkItem {
    /// Which.
    pub name: String,
    /// Why it was refused: stable, for programs. Absent: it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
