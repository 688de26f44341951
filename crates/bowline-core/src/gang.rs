//! Gangs: tasks that are claimed together or not at all, and what their members have among themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptRef, TaskId, TaskRef};

/// Most members of a gang.
pub const GANG_MEMBERS_MAX: usize = 1_000;
/// Most locks, barriers and values that the members of a gang have among themselves, each.
pub const GANG_ITEMS_MAX: usize = 1_000;
/// Longest name of a lock, a barrier or a value, in bytes.
pub const GANG_NAME_BYTES_MAX: usize = 128;
/// Largest value, in bytes.
pub const GANG_VALUE_BYTES_MAX: usize = 64 << 10;
/// All values of a gang together, in bytes.
pub const GANG_VALUES_BYTES_MAX: usize = 256 << 10;
/// Longest key under which somebody arrives at a barrier, in bytes.
pub const GANG_KEY_BYTES_MAX: usize = 128;

/// How the members of a gang are given to workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// All at once, wherever there is room.
    #[default]
    Together,
    /// All at once, each on a worker of its own.
    Distinct,
    /// One after the other on one worker: the next has the slot of the one before, without a gap.
    Chain,
}

/// What it means to the others when a member is lost, or given back, after all have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// The others are stopped and given back, and the whole gang is claimed anew.
    #[default]
    RerunAll,
    /// The others are stopped, and the gang ends.
    StopAll,
    /// The others run on; the lost member goes back to its place alone.
    Continue,
}

impl OnLost {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::RerunAll, Self::StopAll, Self::Continue];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::RerunAll => "rerun_all",
            Self::StopAll => "stop_all",
            Self::Continue => "continue",
        }
    }
}

/// What a gang agrees on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How its members are given to workers.
    #[serde(default)]
    pub form: Form,
    /// What a lost member means.
    #[serde(default)]
    pub on_lost: OnLost,
}

/// A task's place in its gang. The members of a gang have ids in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The first member: the gang is named by it.
    pub first: TaskId,
    /// Its place, from 0.
    pub index: u32,
    /// How many members there are.
    pub size: u32,
    /// What was agreed.
    pub terms: Terms,
}

impl Member {
    /// All members.
    pub fn all(&self) -> impl Iterator<Item = TaskId> + use<> {
        let first = self.first.0;
        (0..u64::from(self.size)).map(move |index| TaskId(first + index))
    }
}

/// How far a gang is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its members wait, until all of them can be claimed in one commit.
    #[default]
    Gathering,
    /// They were claimed, and not all have started.
    Starting,
    /// All have started. From here on each goes its own way, but for what a loss means.
    Together,
}

/// A gang as it stands, until its last member has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangRow {
    /// Its first member.
    pub id: TaskId,
    /// See the rule of writing of [`crate::row`].
    pub version: u32,
    /// How far it is.
    pub stage: Stage,
    /// What its members have among themselves.
    pub board: Board,
}

/// What the members of a gang have among themselves. Empty each time that the gang is claimed together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Board {
    /// Locks that somebody holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<String, Lock>,
    /// Barriers at which somebody has been.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub barriers: BTreeMap<String, Barrier>,
    /// Values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// A lock among the members. It is its holder's attempt's: with that it goes to the next in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Who has it.
    pub holder: AttemptRef,
    /// Who wants it, first come, first served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub line: Vec<AttemptRef>,
}

/// A barrier among the members.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Barrier {
    /// How often it has opened.
    pub opened: u64,
    /// Who has arrived since, each with the key under which it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<(AttemptRef, String)>,
    /// Who went through last, with the key: who asks again is told so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub through: Vec<(AttemptRef, String)>,
}

/// What a member asks of its gang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// To have this lock, or a place in its line.
    Lock(String),
    /// To give the lock up, or the place in its line.
    Unlock(String),
    /// To go through this barrier with the others.
    Arrive {
        /// Which.
        name: String,
        /// The same key again is the same arrival.
        key: String,
        /// How many must come. `None`: all members.
        count: Option<u32>,
        /// Whether only the living count.
        dead: Dead,
    },
    /// Not to wait at this barrier any more.
    Leave {
        /// Which.
        name: String,
        /// Under which key it came.
        key: String,
    },
    /// To set this value.
    Set {
        /// Its key.
        key: String,
        /// The value.
        value: String,
    },
    /// This value.
    Get(String),
    /// Who the members are.
    Peers,
}

/// What the dead mean to a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dead {
    /// Those who wait are told who is missing.
    #[default]
    Missed,
    /// They are not waited for.
    Ignored,
}

/// What a member is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has what it asked for.
    Done,
    /// It is in line, or waits for others.
    Waiting {
        /// A lock: who has it. A barrier: nobody.
        holder: Option<AttemptRef>,
        /// A lock: how many are before it, the holder not counted. A barrier: how many are still to come.
        ahead: u32,
    },
    /// The value. `None`: it was not set yet.
    Value(Option<String>),
    /// The members.
    Peers(Vec<Peer>),
    /// The barrier cannot be gone through: these are missing.
    Missing(Vec<Peer>),
}

/// A member as the others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which task.
    pub task: TaskRef,
    /// Its place, from 0.
    pub index: u32,
    /// Its name.
    pub name: Option<String>,
    /// Where it is. `None`: it has ended, and is no longer in memory.
    pub state: Option<crate::state::StateKind>,
    /// Its worker, while it has one.
    pub worker: Option<crate::name::WorkerName>,
    /// Where that can be reached, as it says by its capability `address`.
    pub address: Option<String>,
    /// Its newest attempt; 0 for none yet.
    pub attempt: u32,
}

/// Whether a lock, a barrier or a value may have this name: 1 to [`GANG_NAME_BYTES_MAX`] bytes, no control characters, no
/// slash.
pub fn name_is_good(name: &str) -> bool {
    (1..=GANG_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == '/')
}
