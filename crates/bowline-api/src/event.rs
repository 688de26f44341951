//! What happened, as told by `/events`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One event: a line of somebody's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place: `COMMIT-INDEX`. Give it as `Last-Event-ID` to go on after it.
    pub id: String,
    /// What it is about.
    pub kind: EventKind,
    /// Where that lives. Absent for workers, for resources and for what concerns everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The task or element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
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

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A task or an element.
    Task,
    /// A run.
    Run,
    /// A worker.
    Worker,
    /// A namespace, or everything.
    Namespace,
    /// A resource.
    Resource,
}

impl EventKind {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Run => "run",
            Self::Worker => "worker",
            Self::Namespace => "namespace",
            Self::Resource => "resource",
        }
    }
}

/// An event's place in the one order of all: the commit that made it, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The commit.
    pub commit: u64,
    /// The index within it, from 0.
    pub index: u32,
}

/// Text that is no event's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no event's id: write it as it was received, such as `1024-3`")]
pub struct BadEventId(String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.commit, self.index)
    }
}

impl FromStr for EventId {
    type Err = BadEventId;

    fn from_str(text: &str) -> Result<Self, BadEventId> {
        let bad = || BadEventId(text.chars().take(64).collect());
        let (commit, index) = text.split_once('-').ok_or_else(bad)?;
        Ok(Self { commit: commit.parse().map_err(|_| bad())?, index: index.parse().map_err(|_| bad())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = EventId { commit: 12, index: 3 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "12", "12-", "-3", "12-x", "a-b-c"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
