//! The numbers by which things are known. A newtype each, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number after this one. Saturates, which no deployment reaches.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A task, single or array. Starts at 1, never used again.
    TaskId(u64)
);
number!(
    /// An execution of a workflow. Written `r12`; see [`RunId::parse`].
    RunId(u64)
);
number!(
    /// A worker's identity, as a small number; its name is what people see.
    WorkerId(u32)
);
number!(
    /// One connection of one incarnation. Grows over the server's life and across restarts.
    SessionId(u64)
);
number!(
    /// The count of processes that have acted under one identity. 0: none yet.
    Incarnation(u32)
);
number!(
    /// Counts how often the store was put back to an earlier state.
    Generation(u32)
);
number!(
    /// Proves leadership in every commit. Raised at each take-over.
    Epoch(u64)
);
number!(
    /// Counts the commits of a store. Each adds one.
    CommitNo(u64)
);
number!(
    /// A round's place in the one order of all lines and lanes.
    Ticket(u64)
);
number!(
    /// One execution of a task, counted from 1 within the task, on through its rounds. 0: none yet.
    AttemptNo(u32)
);
number!(
    /// One life of a task, from submit or `retry` to its end. Counted from 1.
    Round(u32)
);
number!(
    /// A node of a run's graph: the step's place in its workflow file, from 0.
    NodeIndex(u32)
);
impl NodeIndex {
    /// In the place of a node: the task that holds what its run asks for as a whole.
    pub const KEEPER: Self = Self(u32::MAX);
}

number!(
    /// Who waits for an answer: opaque to the engine, chosen by the leader.
    ReplyTo(u64)
);
number!(
    /// An input that waits for rows from the store: chosen by the engine.
    ParkId(u64)
);

impl RunId {
    /// Reads `r12`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        digits(text.strip_prefix('r')?).map(Self)
    }
}

/// A number of digits alone: the library's own reading takes `+5` too.
fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What can be claimed: a single task, or one element of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRef {
    /// The task.
    pub task: TaskId,
    /// The element's index, where the task is an array.
    pub index: Option<u32>,
}

impl TaskRef {
    /// The task as a whole.
    pub const fn whole(task: TaskId) -> Self {
        Self { task, index: None }
    }

    /// An element of an array.
    pub const fn element(task: TaskId, index: u32) -> Self {
        Self { task, index: Some(index) }
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.task),
            Some(index) => write!(f, "{}.{index}", self.task),
        }
    }
}

/// Text that is no task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no task id: write a number such as `4711`, or `4711.7` for an array's element")]
pub struct BadTaskRef(String);

impl FromStr for TaskRef {
    type Err = BadTaskRef;

    fn from_str(text: &str) -> Result<Self, BadTaskRef> {
        let bad = || BadTaskRef(text.to_owned());
        let (task, index) = match text.split_once('.') {
            None => (text, None),
            Some((task, index)) => (task, Some(digits(index).ok_or_else(bad)?)),
        };
        let task = TaskId(digits(task).ok_or_else(bad)?);
        Ok(Self { task, index })
    }
}

impl Serialize for TaskRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = TaskRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task id: a number, or text such as \"4711\" or \"4711.7\"")
            }

            fn visit_u64<E: serde::de::Error>(self, task: u64) -> Result<TaskRef, E> {
                Ok(TaskRef::whole(TaskId(task)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TaskRef, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What proves that a message speaks for the attempt that the server means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fence {
    /// The store's generation when the attempt was claimed.
    pub generation: Generation,
    /// The attempt's number.
    pub attempt: AttemptNo,
}

/// One attempt, in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptRef {
    /// Whose attempt.
    pub task: TaskRef,
    /// Which one.
    pub fence: Fence,
}

impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.fence.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_digits_and_nothing_else() {
        assert_eq!(RunId::parse("r12"), Some(RunId(12)));
        assert_eq!("4711.7".parse(), Ok(TaskRef::element(TaskId(4_711), 7)));
        for text in ["+5", "5.+7", "-0", "", ".", "5.", ".5", "5 ", "5.7.1", "18446744073709551616"] {
            assert_eq!(text.parse::<TaskRef>(), Err(BadTaskRef(text.to_owned())));
            assert_eq!(RunId::parse(&format!("r{text}")), None, "`{text}`");
        }
    }
}
