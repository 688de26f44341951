//! Resources: named things that tasks hold while they run, in the whole fleet. What can be asked for, what is
//! declared, and what is held.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::explain::WaitReason;
use crate::id::{RunId, TaskRef, Ticket};
use crate::name::{Actor, Key, ResourceName, UnitName, WorkerName};
use crate::state::StateKind;
use crate::time::Timestamp;

/// Largest capacity of one resource.
pub const CAPACITY_MAX: u64 = 1_000_000_000;
/// Most named units of one resource.
pub const UNITS_MAX: usize = 10_000;
/// Most attributes of one unit, and in one ask.
pub const ATTRIBUTES_MAX: usize = 64;
/// Longest value of an attribute, and longest reason for which a resource is out of service, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// Holders, and places of a line, that are listed at most.
pub const VIEW_LISTED_MAX: usize = 100;
/// The attribute that every unit has: its own name.
pub const NAME_ATTRIBUTE: &str = "name";

/// How a resource is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nobody else holds any of it.
    Exclusive,
    /// Beside others, but not beside an exclusive one.
    Shared,
    /// So much of its capacity.
    Counted,
    /// Named units of it.
    Unit,
}

impl Mode {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exclusive => "exclusive",
            Self::Shared => "shared",
            Self::Counted => "counted",
            Self::Unit => "unit",
        }
    }
}

/// One thing that a task asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// A lock. The resource is created by its first use.
    Exclusive {
        /// Of which.
        name: ResourceName,
    },
    /// A shared lock. The resource is created by its first use.
    Shared {
        /// Of which.
        name: ResourceName,
    },
    /// A part of a declared capacity: a licence.
    Counted {
        /// Of which.
        name: ResourceName,
        /// How much. At least 1.
        amount: u64,
    },
    /// A unit: a device.
    Unit {
        /// Of which. `None`: of the one resource that has such units; found when the task is taken in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<ResourceName>,
        /// Attributes that it must have; `name` is the unit's own name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        with: BTreeMap<Key, String>,
    },
}

impl Ask {
    /// Of which resource, where that is said.
    pub fn name(&self) -> Option<&ResourceName> {
        match self {
            Self::Exclusive { name } | Self::Shared { name } | Self::Counted { name, .. } => Some(name),
            Self::Unit { name, .. } => name.as_ref(),
        }
    }

    /// How it would be held.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Exclusive { .. } => Mode::Exclusive,
            Self::Shared { .. } => Mode::Shared,
            Self::Counted { .. } => Mode::Counted,
            Self::Unit { .. } => Mode::Unit,
        }
    }

    /// Whether nobody else may hold the same meanwhile: a second attempt must not begin while the first may live.
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Exclusive { .. } | Self::Unit { .. })
    }
}

/// Whether tasks that ask for a resource rather go to the worker that had it last: it has what goes with it at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// They go to any.
    #[default]
    No,
    /// They wait for that worker, for [`WARM_FOR`] per ticket.
    Prefer,
    /// That too; and a worker runs tasks of one such resource at a time.
    Exclusive,
}

impl Sticky {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Prefer => "prefer",
            Self::Exclusive => "exclusive",
        }
    }
}

/// So long a task waits for the worker that had its sticky resource last. 30 s.
pub const WARM_FOR: Duration = Duration::from_secs(30);

/// A named unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSpec {
    /// Its name; unique within its resource.
    pub name: UnitName,
    /// What it is like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<Key, String>,
}

impl UnitSpec {
    /// Whether it has these attributes.
    pub fn has(&self, wanted: &BTreeMap<Key, String>) -> bool {
        wanted.iter().all(|(key, value)| match self.attributes.get(key) {
            Some(own) => own == value,
            None => key.as_str() == NAME_ATTRIBUTE && self.name.as_str() == value,
        })
    }
}

/// A declared resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRow {
    /// Its name; unique in the fleet.
    pub name: ResourceName,
    /// See [`crate::row`]'s rule of writing.
    pub version: u32,
    /// How much of it there is. With units: how many.
    pub capacity: u64,
    /// Its units, where it has named ones.
    pub units: Vec<UnitSpec>,
    /// Why nobody is granted any of it now. `None`: it is in service.
    pub out_of_service: Option<String>,
    /// Whether who asks for it rather goes to the worker that had it last.
    pub sticky: Sticky,
    /// Who declared or changed it last.
    pub changed_by: Actor,
    /// When.
    pub changed_at: Timestamp,
}

/// What changes about a declared resource. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResourceChange {
    /// How much of it there is. Takes its units away, where it had some.
    pub capacity: Option<u64>,
    /// Its units.
    pub units: Option<Vec<UnitSpec>>,
    /// Out of service for this reason, or in service again.
    pub service: Option<Service>,
    /// Whether who asks for it rather goes to the worker that had it last.
    pub sticky: Option<Sticky>,
}

/// Whether a resource is in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// It is.
    In,
    /// It is not, for this reason.
    Out(String),
}

/// What a task holds of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Of which.
    pub name: ResourceName,
    /// How.
    pub mode: Mode,
    /// How much of the capacity. 0 where it is exclusive or shared; the number of units.
    pub amount: u64,
    /// Which units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitName>,
    /// Since when.
    pub at: Timestamp,
}

/// A resource at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceView {
    /// Its name.
    pub name: ResourceName,
    /// As it was declared. `None`: it was made by its first use, and lasts as long as somebody holds it or waits for it.
    pub declared: Option<ResourceRow>,
    /// How much of it there is.
    pub capacity: u64,
    /// How much of that is held; all of it while somebody holds it exclusively.
    pub used: u64,
    /// The worker that had it last, where it is sticky.
    pub warm_on: Option<WorkerName>,
    /// Its units, each with who holds it.
    pub units: Vec<(UnitSpec, Option<TaskRef>)>,
    /// Who holds it. At most [`VIEW_LISTED_MAX`].
    pub holders: Vec<HolderView>,
    /// Holders in all.
    pub held_by: u64,
    /// Who stands in its line, first the first. At most [`VIEW_LISTED_MAX`].
    pub line: Vec<PlaceView>,
    /// Places in all.
    pub waiting: u64,
    /// What the first in line waits for besides this resource.
    pub next: Vec<WaitReason>,
    /// Who stands aside, with why. At most [`VIEW_LISTED_MAX`].
    pub aside: Vec<(PlaceView, String)>,
    /// Asides in all.
    pub asides: u64,
}

/// Who holds a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct HolderView {
    /// Which task.
    pub task: TaskRef,
    /// The run for which it holds it.
    pub run: Option<RunId>,
    /// Its ticket.
    pub ticket: Ticket,
    /// Its state.
    pub state: StateKind,
    /// What it holds.
    pub grant: Grant,
    /// What keeps it from going on, where something does.
    pub why: Option<WaitReason>,
}

/// Who waits for a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceView {
    /// Which task.
    pub task: TaskRef,
    /// The run for which it asks.
    pub run: Option<RunId>,
    /// Its ticket.
    pub ticket: Ticket,
    /// How it asks.
    pub mode: Mode,
    /// For how much of the capacity; 0 where exclusive or shared.
    pub amount: u64,
    /// When it became `waiting`.
    pub since: Timestamp,
}

/// A resource in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceSummary {
    /// Its name.
    pub name: ResourceName,
    /// Whether it was declared.
    pub is_declared: bool,
    /// How much of it there is.
    pub capacity: u64,
    /// How much of that is held; all of it while somebody holds it exclusively.
    pub used: u64,
    /// Holders.
    pub held_by: u64,
    /// Places in its line.
    pub waiting: u64,
    /// Who stands aside.
    pub asides: u64,
    /// Why it is out of service.
    pub out_of_service: Option<String>,
}
