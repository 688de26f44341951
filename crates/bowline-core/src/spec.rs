//! What is asked for: a task as its submitter described it. Immutable once accepted, kept in the
//! store; the engine keeps in memory only what it decides by.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fair::{Concurrency, Rate};
use crate::id::TaskRef;
use crate::name::Key;
use crate::placement::Placement;
use crate::resource::Ask;
use crate::time::{Span, Timestamp};

/// Largest task description, as JSON, in bytes. 1 MiB.
pub const SPEC_BYTES_MAX: usize = 1 << 20;
/// Largest result of an attempt, as JSON, in bytes. 1 MiB.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// Most elements in one array.
pub const ARRAY_ELEMENTS_MAX: u32 = 1_000_000;
/// Most tasks in one submit.
pub const SUBMIT_TASKS_MAX: usize = 10_000;
/// Most dependencies of one task.
pub const DEPENDENCIES_MAX: usize = 1_000;
/// Most labels, capabilities required, amounts and artifact patterns of one task, each.
pub const ITEMS_MAX: usize = 64;
/// Most slots that one task may ask for.
pub const SLOTS_MAX: u32 = 10_000;
/// The smallest limit of a log, in bytes.
pub const LOG_BYTES_MIN: u64 = 4 << 10;
/// Longest wait between TERM and KILL when a job is stopped, and what is used by default.
pub const GRACE_DEFAULT: Span = Span::secs(10);

/// A task as its submitter described it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Shown in lists; need not be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free labels to find tasks by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What to do.
    pub work: Work,
    /// Capabilities that the worker must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Requirement>,
    /// Slots taken while an attempt lives. At least 1, except for what the server holds itself.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub slots: u32,
    /// Amounts taken while an attempt lives: cpu, memory in bytes, any name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub amounts: BTreeMap<Key, u64>,
    /// Resources held while an attempt lives: all of them, or none. At most [`ITEMS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Ask>,
    /// Between a failure and its retry the resources are given up; the ticket is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub release_while_retrying: bool,
    /// Which of several workers it is given to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// How many of those under one key are at work at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How often those under one key begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Each level counts as so much earlier a ticket: see [`crate::engine::Timing::ageing`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Tasks that must end before this one may begin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Dependency>,
    /// Not before this long after the submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// The round fails where it has not ended by this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Limits in time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
    /// What follows a failure.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: RetryPolicy,
    /// What follows the loss of its worker.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_worker_loss: OnWorkerLoss,
    /// Whether a second attempt may begin while a lost first one may still live. `None`: the
    /// default that follows from what the task holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// Without a heartbeat for so long, the attempt is lost. `None`: 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after: Option<Span>,
    /// The supervisor kills the job where no answered heartbeat is younger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_after: Option<Span>,
    /// Many alike: an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<ArraySpec>,
    /// Its place in a gang. Set by the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<crate::gang::Member>,
    /// Whether its run holds what it needs. Set by the engine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub under_run: bool,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TaskSpec {
    /// Whether it waits for anything but a worker before it is ready: resources, a key, a rate.
    pub fn asks(&self) -> bool {
        !self.resources.is_empty() || self.concurrency.is_some() || self.rate.is_some()
    }

    /// Asks for nothing but the work itself.
    pub fn new(work: Work) -> Self {
        Self {
            name: None,
            labels: BTreeMap::new(),
            work,
            requires: Vec::new(),
            slots: 1,
            amounts: BTreeMap::new(),
            resources: Vec::new(),
            release_while_retrying: false,
            placement: Placement::default(),
            concurrency: None,
            rate: None,
            priority: 0,
            after: Vec::new(),
            delay: None,
            at: None,
            deadline: None,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            on_worker_loss: OnWorkerLoss::default(),
            overlap: None,
            lost_after: None,
            stop_after: None,
            array: None,
            gang: None,
            under_run: false,
        }
    }
}

/// What a worker gets to do for one attempt: the part of a task that it needs, and no more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What to do.
    pub action: Action,
    /// Environment of the job, beside what every job sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working folder on the worker. `None`: an own, empty one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Files that the worker writes before the job starts, by path within the working folder. A path
    /// is relative, has no `..`, no empty and no `.` parts ([`file_path_is_good`]). Missing folders are
    /// made (mode 0755), the files have mode 0644 and hold exactly this text. They are written anew
    /// before every attempt, in place of what is there; a symbolic link on the way fails the attempt.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Files of the working folder that are kept, as globs. What is put into `BOWLINE_ARTIFACTS` is
    /// kept without being named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Where the result comes from. `None`: `BOWLINE_OUTPUT` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputFormat>,
    /// Standard output and standard error in logs of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub split_output: bool,
    /// Variables that hold a secret: the variable's name, and the secret's, which the worker knows. The
    /// secret itself never leaves the worker; in the job's logs it is masked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Of a longer log only its first and last bytes are kept, so many together. `None`: the worker's
    /// own limit, which is also the most that counts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes_max: Option<u64>,
    /// Between TERM and KILL when the job is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<Span>,
}

impl Work {
    /// The action, with nothing beside it.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            env: BTreeMap::new(),
            dir: None,
            files: BTreeMap::new(),
            artifacts: Vec::new(),
            output: None,
            split_output: false,
            secrets: BTreeMap::new(),
            log_bytes_max: None,
            grace: None,
        }
    }
}

/// Longest path of one of [`Work::files`], in bytes.
pub const FILE_PATH_BYTES_MAX: usize = 255;

/// Whether a path may stand in [`Work::files`]: relative, no `..`, no empty or `.` parts, no NUL, at
/// most [`FILE_PATH_BYTES_MAX`] bytes.
pub fn file_path_is_good(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= FILE_PATH_BYTES_MAX
        && !path.contains('\0')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Longest name of a secret, in bytes.
pub const SECRET_NAME_BYTES_MAX: usize = 64;

/// Whether a name can be a secret's: letters, digits, `.`, `_` and `-`, not beginning with a dot.
pub fn secret_name_is_good(name: &str) -> bool {
    (1..=SECRET_NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// How standard output becomes the attempt's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// Standard output is one JSON document.
    Json,
    /// A list of its lines, without their ends.
    Lines,
    /// A list of its NUL-ended strings: for names that may hold newlines.
    Nul,
    /// Its text, without the last line end.
    Text,
}

/// What a task does. Each kind is one small driver, and a capability `action=NAME` of the workers
/// that have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Runs a program.
    Command(Command),
    /// Does nothing, at once.
    Noop,
    /// Sends an HTTP request from the worker.
    Http(HttpRequest),
    /// Held by the server until somebody says `task complete`.
    Wait,
    /// Held by the server for this long.
    Sleep(Span),
}

/// A program and its arguments, or a shell script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The program, looked up in PATH, and its arguments. Never empty.
    Argv(Vec<String>),
    /// Text for `/bin/sh`, run as a script file with `-e`.
    Shell(String),
}

/// An HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// `http://` or `https://`.
    pub url: String,
    /// GET where not said.
    #[serde(default = "get", skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Statuses that count as success. Empty: 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<u16>,
    /// Largest answer kept, in bytes; a larger one fails the attempt. `None`: 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_bytes_max: Option<u64>,
}

fn get() -> String {
    "GET".to_owned()
}

impl Action {
    /// The action's name, as in the capability `action=NAME`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Noop => "noop",
            Self::Http(_) => "http",
            Self::Wait => "wait",
            Self::Sleep(_) => "sleep",
        }
    }

    /// Whether the server holds it itself, without a worker and without a slot.
    pub fn is_held_by_server(&self) -> bool {
        match self {
            Self::Wait | Self::Sleep(_) => true,
            Self::Command(_) | Self::Noop | Self::Http(_) => false,
        }
    }
}

/// A capability that a worker must have: the key alone, or with this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    /// The capability's key.
    pub key: Key,
    /// The value that it must have. `None`: any, or none.
    pub value: Option<String>,
}

impl TryFrom<String> for Requirement {
    type Error = crate::name::BadName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl std::str::FromStr for Requirement {
    type Err = crate::name::BadName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = match text.split_once('=') {
            None => (text, None),
            Some((key, value)) => (key, Some(value.to_owned())),
        };
        Ok(Self { key: Key::new(key)?, value })
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            None => write!(f, "{}", self.key),
            Some(value) => write!(f, "{}={value}", self.key),
        }
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

/// A task that must have ended first, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Which task: a whole array ends when its last element does.
    pub task: TaskRef,
    /// How it must have ended.
    #[serde(default)]
    pub on: Condition,
}

/// How a dependency must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Succeeded.
    #[default]
    Ok,
    /// However.
    Any,
    /// Failed or cancelled.
    Fail,
}

/// Limits in time. `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// From first entering `waiting`, in `waiting` and `ready` only, before the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Span>,
    /// From the claim to the start. `None`: 10 min.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Span>,
    /// From the start to the end of an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Span>,
    /// From the start of the round to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Span>,
}

/// The set-up limit where a task names none.
pub const SETUP_TIMEOUT_DEFAULT: Duration = Duration::from_mins(10);

/// What follows a failure: extra attempts, with capped exponential backoff and jitter between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Extra attempts after the first failed one.
    #[serde(default)]
    pub extra: u32,
    /// The first wait.
    #[serde(default = "backoff_first")]
    pub backoff: Span,
    /// The longest wait.
    #[serde(default = "backoff_max")]
    pub backoff_max: Span,
}

fn backoff_first() -> Span {
    Span::secs(1)
}

fn backoff_max() -> Span {
    Span::secs(300)
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { extra: 0, backoff: backoff_first(), backoff_max: backoff_max() }
    }
}

/// What follows the loss of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnWorkerLoss {
    /// The task runs again.
    #[default]
    Rerun,
    /// The task becomes `in_doubt`: only who knows may decide.
    Fail,
}

/// Whether a second attempt may begin while a lost first one may still live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It may.
    Allow,
    /// It may not.
    Forbid,
}

/// An array: elements alike in what they ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArraySpec {
    /// First index.
    pub first: u32,
    /// How many elements, 1 to [`ARRAY_ELEMENTS_MAX`].
    pub count: u32,
    /// Between one index and the next. At least 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub step: u32,
    /// At most so many elements at a time. `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
}

impl ArraySpec {
    /// Elements 0 to `count` - 1.
    pub fn of(count: u32) -> Self {
        Self { first: 0, count, step: 1, at_most: None }
    }

    /// The index of the element at `place` (from 0), where there is one.
    pub fn index_at(&self, place: u32) -> Option<u32> {
        (place < self.count).then(|| self.first.saturating_add(place.saturating_mul(self.step)))
    }

    /// The place (from 0) of an index, where the array has it.
    pub fn place_of(&self, index: u32) -> Option<u32> {
        let offset = index.checked_sub(self.first)?;
        let place = offset / self.step.max(1);
        (offset.is_multiple_of(self.step.max(1)) && place < self.count).then_some(place)
    }
}
