//! What a worker is and has, as it says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{Key, WorkerName};
use crate::placement::WORKER_CAPABILITY;
use crate::spec::Requirement;

/// Capabilities: a key, with a value or without.
pub type Capabilities = BTreeMap<Key, Option<String>>;

/// Room for attempts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// Slots.
    pub slots: u32,
    /// Amounts by name.
    #[serde(default)]
    pub amounts: BTreeMap<Key, u64>,
}

/// What a worker offers: fixed for the length of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What it can do. `action=NAME` for every driver is in it as [`Offer::actions`].
    pub capabilities: Capabilities,
    /// The actions that it has drivers for.
    pub actions: Vec<String>,
    /// All its room.
    pub room: Room,
}

impl Offer {
    /// With the capability that every worker has: its own name.
    #[must_use]
    pub fn named(mut self, worker: &WorkerName) -> Self {
        let key = Key::new(WORKER_CAPABILITY).expect("a fixed, good name");
        self.capabilities.insert(key, Some(worker.as_str().to_owned()));
        self
    }

    /// The value of a capability.
    pub fn value_of(&self, key: &str) -> Option<&str> {
        self.capabilities.iter().find(|(name, _)| name.as_str() == key).and_then(|(_, value)| value.as_deref())
    }

    /// Whether one requirement is met. `action=NAME` is met by a driver.
    pub fn has(&self, requirement: &Requirement) -> bool {
        if requirement.key.as_str() == "action" {
            return requirement.value.as_ref().is_some_and(|name| self.actions.contains(name));
        }
        match (self.capabilities.get(&requirement.key), &requirement.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(has), Some(wanted)) => has.as_ref() == Some(wanted),
        }
    }
}

/// How a worker is doing, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Fit for work.
    #[default]
    Ok,
    /// Not fit, and why. Claims nothing.
    Broken(String),
}

/// What the server knows of where a worker acts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The state directory's own id: random, made with it.
    pub state_dir: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The process's own id: random, made at its start.
    pub process: String,
    /// When its newest Hello was said, by the clock of its machine since that boot. `None`: an older worker does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_at: Option<Duration>,
}

impl Seat {
    /// Whether a Hello of this seat was overtaken by one of the other: both come from the same state directory, of which one
    /// process at a time has the lock, under the same boot; so their moments are of one clock, and whoever said the earlier
    /// one has died or let go of that connection.
    pub fn is_overtaken_by(&self, other: &Self) -> bool {
        let is_of_one_clock = self.state_dir == other.state_dir && self.boot_id == other.boot_id;
        is_of_one_clock && self.said_at.zip(other.said_at).is_some_and(|(own, other)| own < other)
    }

    /// Whether both are the same process, whenever each was said.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.state_dir, &self.boot_id, &self.process) == (&other.state_dir, &other.boot_id, &other.process)
    }
}
