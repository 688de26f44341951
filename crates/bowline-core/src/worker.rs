//! What a worker is and has, as it says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Key;
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
}
