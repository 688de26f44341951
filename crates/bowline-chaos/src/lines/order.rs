//! The judge of the order, from what anyone outside can see: the events in their total order, what REST tells of
//! tasks and resources, and what was submitted and declared. It asks nobody, and shares no code with what it judges.
//!
//! **What may be concluded from events.** Their ids are one order: by commit, and within a commit by index. A commit
//! is all or nothing, so between two commits everything that the model promises holds; within one the index tells in which
//! order things were done. So the events are played, one by one, in books of its own: who stands in which line,
//! who stands aside, who holds what. A grant (`ready`, or `running` of a late attempt) is judged against the books at
//! its own index. Only when a commit is over is it asked whether somebody who is first in all its lines, and for whom
//! all is free, was left waiting.
//!
//! **What may not.** An event tells neither ticket nor units; REST does, a moment later, when the task may be in
//! another round already. So tickets are taken by task *and* round, and units by the moment of their grant; where REST came
//! too late they stay unknown. What is unknown is never held against anybody, and is counted, so that it is seen
//! if nothing was judged. What a resource was declared to be may change at any moment between request and answer: in
//! between, either is right.
//!
//! Memory is bounded by what has not ended, and a fixed number of ended tasks that may be retried.

mod ask;
mod judge;
mod resource;
mod wrong;

#[cfg(test)]
mod tests;

pub(crate) use ask::{Ask, Attributes, Device, Mode};
pub(crate) use judge::{Array, Event, Judge, Key, Quota, Shape, Snapshot, Told};
pub(crate) use resource::Declared;
pub(crate) use wrong::{Kind, Wrong};

use serde::{Deserialize, Serialize};

/// A place in the order of all events: commit, and index within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct At {
    pub(crate) commit: u64,
    pub(crate) index: u64,
}

impl At {
    /// `12-3`.
    pub(crate) fn read(id: &str) -> Option<Self> {
        let (commit, index) = id.split_once('-')?;
        Some(Self { commit: commit.parse().ok()?, index: index.parse().ok()? })
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.commit, self.index)
    }
}

/// A task, or an element of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Unit {
    pub(crate) task: u64,
    pub(crate) index: Option<u64>,
}

impl Unit {
    /// `7`, `7.2`.
    pub(crate) fn read(id: &str) -> Option<Self> {
        match id.split_once('.') {
            None => Some(Self { task: id.parse().ok()?, index: None }),
            Some((task, index)) => Some(Self { task: task.parse().ok()?, index: Some(index.parse().ok()?) }),
        }
    }
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            None => write!(f, "{}", self.task),
            Some(index) => write!(f, "{}.{index}", self.task),
        }
    }
}

impl From<Unit> for String {
    fn from(unit: Unit) -> Self {
        unit.to_string()
    }
}

impl TryFrom<String> for Unit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text).ok_or_else(|| format!("`{text}` is no task"))
    }
}
