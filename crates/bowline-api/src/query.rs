//! What may stand behind the `?` of an address. Lists are written with commas.

use bowline_core::time::Span;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Which tasks, and which page of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct TaskQuery {
    /// In this namespace; `*` for all. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// In one of these states, with commas between: `running,ready`. `unfinished` and `ended`
    /// stand for all states of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of this name; `*` stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// With all these labels, with commas between: `team=lab,kind=night`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Last given to this worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// That hold this resource or are going to: unfinished ones that ask for it; with `state` also others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Submitted at or after this time (RFC 3339), or within this long: `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Submitted by whoever asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mine: Option<bool>,
    /// Submitted by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Of this run: `r12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// `newest` (first; the default) or `oldest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// At most so many, 1 to 1,000. 100 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which runs, and which page of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    /// In this namespace; `*` for all. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// In one of these states, with commas between. `unfinished` and `ended` stand for all of that
    /// kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of this workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// At most so many, 1 to 1,000. 100 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which page.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// At most so many, 1 to 1,000. 100 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which elements of an array, and which page of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct ElementQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// In one of these states, with commas between. `unfinished` and `ended` stand for all of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many, 1 to 1,000. 100 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One thing, and how long to wait for its end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Answer when it has ended, or after this long: `30s`, at most `5m`.
    #[param(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

/// How to write.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Check and answer, but change nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// How to submit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct SubmitQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Check and answer, but change nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Refuse what is not possible now: where no known worker fits, or a resource is out of service. It waits, with a
    /// warning, where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// Which bytes of which log.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// In this namespace. `default` where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of this attempt. The newest where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// `out` (standard output and error together; the default) or `err` (of a task with
    /// `split_output`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// From this byte on. 0 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Only the last so many lines, at most 100,000, of what is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Go on as it grows, until it is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// In frames, each a line `KIND OFFSET LENGTH TIME` and, of the kind `bytes`, so many bytes after it.
    /// Kinds: `bytes`; `left_out` (so many bytes of the log are not kept); `truncated` (the job truncated
    /// its own output); `end` (nothing more will come, or not now where the log is not followed).
    /// TIME is in milliseconds since 1970 by the worker's clock, 0 where it is not asked for or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<bool>,
    /// With `frames`: a frame for each time at which something was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<bool>,
}

/// Which events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// In this namespace; `*` for all, with workers and what concerns everything. `default` where
    /// not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of this task, or of an array and all its elements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of this run and its tasks: `r12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// After this event: the same as the header `Last-Event-ID`. Only what is new where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}
