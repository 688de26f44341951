//! Fairness: what a task says of others like it (how many at a time, how often), and what is set about a namespace
//! (quotas and shares).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::TaskRef;
use crate::name::{Actor, LimitKey, Namespace, ResourceName};
use crate::row::PauseMark;
use crate::time::{Span, Timestamp};

/// Most tasks at a time that a concurrency key may allow.
pub const AT_MOST_MAX: u32 = 1_000_000;
/// Most starts that a rate may count: each is remembered.
pub const RATE_COUNT_MAX: u32 = 1_000;
/// The shortest time in which starts are counted.
pub const RATE_PER_MIN: Duration = Duration::from_millis(100);
/// The longest time in which starts are counted.
pub const RATE_PER_MAX: Duration = Duration::from_hours(24 * 31);
/// Largest share.
pub const SHARE_MAX: u32 = 1_000_000;
/// Most users, and most resources, of which something is set in one namespace.
pub const SET_MAX: usize = 1_000;
/// Longest name of a user, in bytes.
pub const USER_BYTES_MAX: usize = 256;
/// Limits, and users, that are listed at most.
pub const LISTED_MAX: usize = 100;

/// Tasks of one namespace under one key are not all at work at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// The key; within its namespace.
    pub key: LimitKey,
    /// What becomes of those that are too many.
    pub rule: Rule,
}

/// What becomes of tasks under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// So many at a time; the others wait, first come, first served. Of an array: of its elements. The newest unfinished
    /// task under the key says how many.
    AtMost(u32),
    /// A new task cancels whatever has not ended under the key, and begins when the processes of that are gone.
    NewestWins,
    /// While one under the key has not ended, a new one is skipped.
    Drop,
}

impl Rule {
    /// Whether a second attempt must not begin while the first may live.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::AtMost(1) | Self::NewestWins | Self::Drop)
    }
}

/// Tasks of one namespace under one key begin no more often than this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The key; within its namespace, and apart from concurrency keys.
    pub key: LimitKey,
    /// So many starts, 1 to [`RATE_COUNT_MAX`]; retries count.
    pub count: u32,
    /// Within any time as long as this.
    pub per: Span,
}

/// What is set about a namespace. What is not set has no bound.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamespaceRoom {
    /// Its share of the workers, where shares count: 1 where not set. Shares count as soon as one namespace sets its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u32>,
    /// Shares of its users within it. They count where at least one is set; 1 for the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_shares: BTreeMap<String, u32>,
    /// Tasks and elements that have not begun, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_queued: Option<u64>,
    /// Tasks and elements on workers at a time, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u64>,
    /// How much of a resource its tasks hold at a time, at most; a lock counts as 1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max_held: BTreeMap<ResourceName, u64>,
}

/// What changes about a namespace. What is `None`, or not named, stays; `Some(None)` takes it away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamespaceChange {
    /// Its share.
    pub share: Option<Option<u32>>,
    /// Users' shares within it.
    pub user_shares: BTreeMap<String, Option<u32>>,
    /// Tasks that have not begun, at most.
    pub max_queued: Option<Option<u64>>,
    /// Tasks on workers, at most.
    pub max_running: Option<Option<u64>>,
    /// Of resources, at most.
    pub max_held: BTreeMap<ResourceName, Option<u64>>,
}

impl NamespaceRoom {
    /// Changed so.
    #[must_use]
    pub fn with(mut self, change: NamespaceChange) -> Self {
        self.share = change.share.unwrap_or(self.share);
        self.max_queued = change.max_queued.unwrap_or(self.max_queued);
        self.max_running = change.max_running.unwrap_or(self.max_running);
        put_all(&mut self.user_shares, change.user_shares);
        put_all(&mut self.max_held, change.max_held);
        self
    }
}

fn put_all<K: Ord, V>(into: &mut BTreeMap<K, V>, change: BTreeMap<K, Option<V>>) {
    for (key, value) in change {
        match value {
            Some(value) => into.insert(key, value),
            None => into.remove(&key),
        };
    }
}

/// A namespace of which something was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRow {
    /// Its name.
    pub name: Namespace,
    /// See [`crate::row`]'s rule of writing.
    pub version: u32,
    /// What is set.
    pub room: NamespaceRoom,
    /// Who set it last.
    pub changed_by: Actor,
    /// When.
    pub changed_at: Timestamp,
}

/// Starts that count under a key. Replaced; removed where none is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateRow {
    /// In which namespace.
    pub namespace: Namespace,
    /// Under which key.
    pub key: LimitKey,
    /// Within which time they count.
    pub per: Span,
    /// When they were, oldest first.
    pub starts: Vec<Timestamp>,
}

/// A namespace at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceView {
    /// Its name.
    pub name: Namespace,
    /// What is set.
    pub room: NamespaceRoom,
    /// Who set it last, and when. `None`: nobody set anything.
    pub changed: Option<(Actor, Timestamp)>,
    /// Who paused it.
    pub paused: Option<PauseMark>,
    /// Tasks and elements that have not begun.
    pub queued: u64,
    /// Tasks and elements on workers.
    pub running: u64,
    /// How much its tasks hold of each resource that has a quota in it.
    pub held: BTreeMap<ResourceName, u64>,
    /// What it has had of the workers. `None`: no shares count.
    pub share: Option<ShareView>,
    /// The same of its users, by name. Empty where no users' shares count in it. At most [`LISTED_MAX`].
    pub users: Vec<(String, ShareView)>,
    /// Its concurrency keys and rates in use. At most [`LISTED_MAX`].
    pub limits: Vec<LimitView>,
}

/// What somebody has had of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareView {
    /// His weight.
    pub weight: u32,
    /// Slots that he has now.
    pub slots: u64,
    /// How far ahead he is of what was due to him. Whoever is behind most goes first.
    pub lead: Lead,
}

/// How much more than was due to him somebody has had of the workers: microseconds of a slot, by his share. Below nothing
/// where it was less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Lead(pub i64);

impl Lead {
    /// Without its sign, to a tenth of a second.
    pub fn length(self) -> Duration {
        Duration::from_millis(self.0.unsigned_abs() / 100_000 * 100)
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = Span(self.length());
        if length.0.is_zero() {
            return f.write_str("even with its share");
        }
        write!(f, "{length} {} its share", if self.0 < 0 { "behind" } else { "ahead of" })
    }
}

/// A concurrency key, or a rate, in use.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitView {
    /// The key.
    pub key: LimitKey,
    /// How many at a time, or how many starts. `None`: one task alone.
    pub most: Option<u64>,
    /// A rate: within this.
    pub per: Option<Span>,
    /// How many there are: at work, or begun within that time.
    pub used: u64,
    /// Who holds the key. At most 10.
    pub holders: Vec<TaskRef>,
    /// Tasks and elements that wait because of it.
    pub waiting: u64,
}
