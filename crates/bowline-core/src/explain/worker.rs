//! Why a worker is given nothing more, and what each lane that waits misses on it.

use serde::{Deserialize, Serialize};

use super::{PausedThing, WaitReason};
use crate::id::{AttemptRef, TaskRef};
use crate::message::DrainMode;
use crate::name::{Key, Namespace, WorkerName};
use crate::spec::Requirement;
use crate::time::Timestamp;
use crate::worker::Room;

/// Lanes listed at most.
pub const LANES_LISTED_MAX: usize = 10;

/// Why a worker is idle, or takes no more than it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerExplanation {
    /// Which.
    pub worker: WorkerName,
    /// Slots and amounts that may be used now: what it offers, and no more than it demands.
    pub room: Room,
    /// What is used of them.
    pub used: Room,
    /// Attempts that it holds.
    pub attempts: u64,
    /// Of these, held beyond its slots, to begin when there is room.
    pub beyond: u64,
    /// Every reason for which it is given nothing more now. None of them alone would give it work.
    pub reasons: Vec<WorkerReason>,
    /// What each lane with ready tasks misses on it, nearest first. At most [`LANES_LISTED_MAX`].
    pub lanes: Vec<LaneMiss>,
    /// Lanes not listed.
    pub more: u64,
    /// Tasks that have been granted all, or ask for nothing, and wait for a worker.
    pub ready: u64,
    /// Tasks that wait for resources.
    pub waiting: u64,
}

/// One reason for which a worker is given nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum WorkerReason {
    /// No session is open.
    NotConnected {
        /// When it was heard last, or this server began to lead.
        since: Timestamp,
    },
    /// Its session is open, and no heartbeat comes.
    Suspect {
        /// When it was heard last.
        since: Timestamp,
    },
    /// It says that it is not fit.
    Broken {
        /// Why.
        why: String,
    },
    /// It still delivers what happened while it was away.
    Delivering {
        /// Of so many attempts.
        attempts: u64,
    },
    /// It is paused.
    Paused {
        /// By whom.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// It is to let go of everything, or has.
    Drained {
        /// By whom.
        by: String,
        /// Since when.
        since: Timestamp,
        /// How.
        mode: DrainMode,
        /// What it still holds.
        left: u64,
    },
    /// Too many different tasks failed quickly on it.
    PutAside {
        /// Since when.
        since: Timestamp,
        /// It is tried with one task from here on.
        until: Timestamp,
        /// Why.
        why: String,
    },
    /// Everything is paused.
    EverythingPaused {
        /// By whom.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// All its slots are taken.
    NoSlot {
        /// Its slots.
        slots: u64,
        /// Attempts that it holds beyond.
        beyond: u64,
        /// How many it may.
        prefetch: u64,
        /// Who has them. At most 10; `more` counts the rest.
        held_by: Vec<AttemptRef>,
        /// Attempts not listed.
        more: u64,
    },
    /// It asked for no more attempts than it holds.
    NoMoreAsked {
        /// So many.
        at_most: u64,
        /// What it holds. At most 10; `more` counts the rest.
        held_by: Vec<AttemptRef>,
        /// Attempts not listed.
        more: u64,
    },
    /// No task is ready for any worker.
    NothingReady {
        /// Tasks that wait for resources.
        waiting: u64,
        /// For dependencies.
        blocked: u64,
        /// For a time.
        scheduled: u64,
    },
    /// Gangs wait until there is room for all of their members at once.
    GangsWait {
        /// A member of each of the first of them.
        first: Vec<TaskRef>,
        /// Gangs that are not listed.
        more: u64,
    },
    /// Tasks are ready, and none of them can be given to it now: the lanes say what each misses.
    NothingFits {
        /// Lanes with ready tasks.
        lanes: u64,
    },
}

/// What a lane's tasks miss on a worker. With everything empty they miss nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneMiss {
    /// What they ask for, for people.
    pub lane: String,
    /// Where they live.
    pub namespace: Namespace,
    /// Ready tasks and elements in it.
    pub ready: u64,
    /// The first of them.
    pub first: TaskRef,
    /// What is paused of them, by whom, since when.
    pub paused: Option<(PausedThing, String, Timestamp)>,
    /// Capabilities that the worker does not have.
    pub missing: Vec<Requirement>,
    /// Capabilities that it has and must not have.
    pub excluded: Vec<Requirement>,
    /// The first of them failed or was lost on it last, and waits for another worker for a while.
    pub away: bool,
    /// Another member of the gang of the first, which runs there: each must be on a worker of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_its_gang: Option<TaskRef>,
    /// It has room, and is kept free for this task.
    pub kept_for: Option<TaskRef>,
    /// Amounts (and `slots`) of which it has too little even when empty: wanted, has.
    pub too_small: Vec<(Key, u64, u64)>,
    /// What there is too little of now: wanted, free, in all.
    pub short_of: Vec<(Key, u64, u64, u64)>,
    /// What the worker holds beyond its slots, which comes before.
    pub behind: u64,
    /// What keeps them from any worker, or lets others go before them: a quota, shares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fairness: Vec<WaitReason>,
}
