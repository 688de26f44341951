//! A task as people write it. [`crate::resolve`] turns it into the engine's form.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bowline_core::id::{TaskId, TaskRef};
use bowline_core::name::Key;
use bowline_core::size::parse_size;
use bowline_core::spec::{ArraySpec, Condition, OnWorkerLoss, OutputFormat, Overlap, Requirement};
use bowline_core::time::Span;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::namespace::{Concurrency, Rate};
use crate::placement::Placement;
use crate::resource::Ask;

/// Many tasks: all are accepted, or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// 1 to 10,000 of them.
    pub tasks: Vec<NewTask>,
    /// Refuse what is not possible now: where no known worker fits, or a resource is out of service. It waits, with a
    /// warning, where not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// The tasks are a gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<crate::gang::NewGang>,
}

/// A task to submit. Exactly one of `command`, `shell` and `action` says what it does.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewTask {
    /// Shown in lists; need not be unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free labels to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A program, looked up in PATH, and its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Text for `/bin/sh`, run as a script with `-e`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Any other action: `http`, `noop`, `wait`, `sleep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What that action is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub with: Option<Value>,
    /// Environment, beside what every job sees.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working folder on the worker. An own, empty one where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Files that are written into the working folder before the job starts: relative path and text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Files of the working folder that are kept, as globs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// How standard output becomes the result: `json`, `lines`, `nul` or `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub output: Option<OutputFormat>,
    /// Standard output and standard error in logs of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_output: Option<bool>,
    /// Variables that hold a secret: each by the name of the secret that its worker knows. The secret is
    /// masked in the logs.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// Of a longer log only the first and last bytes are kept, so many together: a number, or a size such
    /// as `10MiB`; at least `4KiB`. The worker's own limit where not said, and never more than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub log_limit: Option<Amount>,
    /// Between TERM and KILL when it is stopped. 10 s where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub grace: Option<Span>,
    /// What its worker must have: `key` or `key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub requires: Vec<Requirement>,
    /// Slots that it takes while it runs. 1 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Amounts that it takes while it runs: a number, or a size such as `2GiB`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub amounts: BTreeMap<Key, Amount>,
    /// Resources that it holds while it runs: all of them, or none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Ask>,
    /// Give them up between a failure and its retry; it keeps its place in line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release_while_retrying: Option<bool>,
    /// Which of several workers it is given to. The least loaded one where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// How many tasks under one key are at work at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How often tasks under one key begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Each level counts as a ticket taken ten minutes earlier (the server's `--ageing`). 0 where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What must end before: `4711`, `4711:ok`, `4711:any`, `4711:fail`; in a submit of many also
    /// `#0:ok`, the task at that place in it, which must be an earlier one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub after: Vec<After>,
    /// Not before this long after the submit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub delay: Option<Span>,
    /// Not before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
    /// It fails where it has not ended by this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<jiff::Timestamp>,
    /// Short for `timeouts.run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timeout: Option<Span>,
    /// Limits in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// Short for `retry.extra`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What follows a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What follows the loss of its worker: `rerun` or `fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub on_worker_loss: Option<OnWorkerLoss>,
    /// Whether a second attempt may begin while a lost first one may still live: `allow`, `forbid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub overlap: Option<Overlap>,
    /// Without a heartbeat for so long an attempt is lost. 60 s where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub lost_after: Option<Span>,
    /// The job is killed where no answered heartbeat is younger than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub stop_after: Option<Span>,
    /// Many alike: `1-100`, `0-99:10` (every tenth), `1-100%8` (at most 8 at a time).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub array: Option<Array>,
    /// Many that differ: each its own work, in an array numbered from 0. In place of `command`,
    /// `shell`, `action`. With `array`: as many as that has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elements: Vec<NewElement>,
}

/// The work of one element of an array whose elements differ. What it leaves out is the task's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewElement {
    /// As in the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// As in the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// As in the task. All elements have the same action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// As in the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub with: Option<Value>,
    /// On top of the task's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// Limits in time. No limit where not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// In line, before the first attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub queue: Option<Span>,
    /// From the claim to the start. 10 min where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub setup: Option<Span>,
    /// From the start to the end of an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub run: Option<Span>,
    /// From the start of the round to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub total: Option<Span>,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Extra attempts after the first failed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<u32>,
    /// The first wait. 1 s where not said; doubled each time, with jitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub backoff: Option<Span>,
    /// The longest wait. 5 min where not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub backoff_max: Option<Span>,
}

/// The tasks that were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The id, where one task was submitted. Absent for many and for a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub id: Option<TaskRef>,
    /// The ids in the order of the tasks. Empty for a dry run.
    #[schema(value_type = Vec<String>)]
    pub ids: Vec<TaskRef>,
    /// Whether they were made earlier under the same key.
    pub replayed: bool,
    /// What the submitter should know: that no worker fits now, for example.
    pub warnings: Vec<String>,
}

/// What must end before, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// Which.
    pub what: AfterWhat,
    /// How.
    pub on: Condition,
}

/// What must end before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterWhat {
    /// A task that is there.
    Task(TaskRef),
    /// An earlier one of the same submit, by its place from 0.
    Earlier(usize),
}

/// Text that says nothing about what must end before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no dependency: write a task's id such as `4711`, with `:ok`, `:any` or `:fail` behind it where wanted"
)]
pub struct BadAfter(String);

impl From<TaskRef> for After {
    fn from(task: TaskRef) -> Self {
        Self { what: AfterWhat::Task(task), on: Condition::Ok }
    }
}

impl FromStr for After {
    type Err = BadAfter;

    fn from_str(text: &str) -> Result<Self, BadAfter> {
        let bad = || BadAfter(text.chars().take(64).collect());
        let (what, on) = match text.split_once(':') {
            None => (text, Condition::Ok),
            Some((what, "ok")) => (what, Condition::Ok),
            Some((what, "any")) => (what, Condition::Any),
            Some((what, "fail")) => (what, Condition::Fail),
            Some(_) => return Err(bad()),
        };
        let what = match what.strip_prefix('#') {
            Some(place) => AfterWhat::Earlier(place.parse().map_err(|_| bad())?),
            None => AfterWhat::Task(what.parse().map_err(|_| bad())?),
        };
        Ok(Self { what, on })
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            AfterWhat::Task(task) => write!(f, "{task}")?,
            AfterWhat::Earlier(place) => write!(f, "#{place}")?,
        }
        f.write_str(match self.on {
            Condition::Ok => ":ok",
            Condition::Any => ":any",
            Condition::Fail => ":fail",
        })
    }
}

impl Serialize for After {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = After;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dependency such as \"4711:ok\", or {\"task\": \"4711\", \"on\": \"ok\"}")
            }

            fn visit_u64<E: de::Error>(self, task: u64) -> Result<After, E> {
                Ok(TaskRef::whole(TaskId(task)).into())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<After, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<After, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Long {
                    task: TaskRef,
                    #[serde(default)]
                    on: Condition,
                }
                let long = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(After { what: AfterWhat::Task(long.task), on: long.on })
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// An amount: a number, or a size with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub u64);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a size such as \"2GiB\"")
            }

            fn visit_u64<E: de::Error>(self, amount: u64) -> Result<Amount, E> {
                Ok(Amount(amount))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                parse_size(text).map(Amount).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// An array, as `FIRST-LAST[:STEP][%AT_MOST]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array(pub ArraySpec);

/// Text that describes no array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` describes no array: write `1-100`, `0-99:10` for every tenth, `1-100%8` for at most 8 elements at a time"
)]
pub struct BadArray(String);

impl FromStr for Array {
    type Err = BadArray;

    fn from_str(text: &str) -> Result<Self, BadArray> {
        let bad = || BadArray(text.chars().take(64).collect());
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
        let (range, at_most) = match text.split_once('%') {
            None => (text, None),
            Some((range, at_most)) => (range, Some(number(at_most)?)),
        };
        let (range, step) = match range.split_once(':') {
            None => (range, 1),
            Some((range, step)) => (range, number(step)?),
        };
        let (first, last) = match range.split_once('-') {
            None => (number(range)?, number(range)?),
            Some((first, last)) => (number(first)?, number(last)?),
        };
        if last < first || step == 0 || at_most == Some(0) {
            return Err(bad());
        }
        let count = ((last - first) / step).checked_add(1).ok_or_else(bad)?;
        Ok(Self(ArraySpec { first, count, step, at_most }))
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArraySpec { first, count, step, at_most } = self.0;
        let last = u64::from(first) + u64::from(count.saturating_sub(1)) * u64::from(step);
        write!(f, "{first}-{last}")?;
        if step != 1 {
            write!(f, ":{step}")?;
        }
        if let Some(at_most) = at_most {
            write!(f, "%{at_most}")?;
        }
        Ok(())
    }
}

impl Serialize for Array {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Array {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Array;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array such as \"1-100%8\", or {\"first\": 1, \"count\": 100, \"at_most\": 8}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Array, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Array, A::Error> {
                ArraySpec::deserialize(MapAccessDeserializer::new(map)).map(Array)
            }
        }
        deserializer.deserialize_any(Text)
    }
}
