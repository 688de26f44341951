//! Why a task, a worker or a run is where it is: answers from the engine itself, complete and typed. Words for people
//! are made from them in one place, by whoever shows them.

mod run;
mod worker;

use serde::{Deserialize, Serialize};

pub use run::{RunExplanation, StepExplanation, StepWait, WHY_LISTED_MAX, Waiting};
pub use worker::{LANES_LISTED_MAX, LaneMiss, WorkerExplanation, WorkerReason};

use crate::fair::Lead;
use crate::id::{AttemptRef, TaskRef, Ticket};
use crate::name::{Key, LimitKey, Namespace, ResourceName, UnitName, WorkerName};
use crate::resource::Mode;
use crate::spec::{Condition, Requirement};
use crate::state::StateKind;
use crate::time::{Span, Timestamp};

/// Tasks ahead of one in its lane are counted up to so many: the engine stands still meanwhile.
pub const AHEAD_MAX: u64 = 1_000;

/// Why a task is in its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Which.
    pub task: TaskRef,
    /// Where it is.
    pub state: StateKind,
    /// Since when.
    pub since: Timestamp,
    /// Every reason for which it waits: none of them alone would let it start. Empty where it does
    /// not wait.
    pub reasons: Vec<WaitReason>,
}

/// One reason for which a task waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum WaitReason {
    /// A delay or `--at`.
    NotBefore {
        /// Until then.
        until: Timestamp,
    },
    /// The backoff after a failure.
    Backoff {
        /// Until then.
        until: Timestamp,
        /// The attempt that failed.
        attempt: u32,
        /// How.
        failure: String,
        /// Attempts left after it.
        left: u32,
    },
    /// A dependency.
    Dependency {
        /// On which.
        task: TaskRef,
        /// How it must end.
        on: Condition,
        /// Where it is.
        state: StateKind,
    },
    /// The task, its run, its namespace or everything is paused.
    Paused {
        /// What is paused.
        what: PausedThing,
        /// By whom.
        by: String,
        /// Since when.
        since: Timestamp,
    },
    /// No worker has what it requires.
    NoWorkerFits {
        /// The workers known.
        workers: u32,
        /// The worker that lacks least.
        nearest: Option<Nearest>,
    },
    /// Workers that fit are not connected, suspect, paused or broken.
    WorkersUnavailable {
        /// Each with why.
        workers: Vec<(WorkerName, String)>,
    },
    /// Workers fit, but have no room now.
    NoRoom {
        /// Each with what it has, what is used and by whom. At most 10; `more` counts the rest.
        workers: Vec<FullWorker>,
        /// Workers not listed.
        more: u32,
    },
    /// Workers fit and have room, but it is kept free for who stands before it and needs much.
    KeptFree {
        /// Each with for whom. At most 10.
        workers: Vec<(WorkerName, TaskRef)>,
    },
    /// It needs much, and this worker is kept free for it: it begins when enough of what runs there has ended.
    KeptForIt {
        /// Which.
        worker: WorkerName,
        /// Since when.
        since: Timestamp,
    },
    /// Its last attempt failed, or was lost, on this worker: it waits for another one for a while.
    AwayFrom {
        /// Which.
        worker: WorkerName,
        /// From then on it takes that one too.
        until: Timestamp,
    },
    /// This worker had what it holds last, and has what goes with it at hand: it waits for that one for a while.
    WarmOn {
        /// Which.
        worker: WorkerName,
        /// From then on it takes any.
        until: Timestamp,
    },
    /// Workers fit, but run tasks of another resource, of which they serve one at a time.
    RunsForAnother {
        /// Each with that resource. At most 10.
        workers: Vec<(WorkerName, ResourceName)>,
    },
    /// Workers fit, and run another member of its gang, whose members are each on a worker of their own.
    OfItsGang {
        /// At most 10, each with the member that it has.
        workers: Vec<(WorkerName, TaskRef)>,
    },
    /// Others stand before it in its lane.
    Behind {
        /// How many; counted no further than [`AHEAD_MAX`], where it is that many at least.
        ahead: u64,
    },
    /// The array's own limit of elements at a time.
    ArrayWindow {
        /// The limit.
        at_most: u32,
        /// How many are under way.
        running: u32,
    },
    /// Of an array of which every element has begun once: the first of them that waits.
    Element {
        /// Which.
        element: TaskRef,
        /// Where it is.
        state: StateKind,
        /// A reason for which it waits.
        why: Box<WaitReason>,
    },
    /// Its worker is silent: the attempt may still run, and nobody knows.
    WorkerSilent {
        /// The worker.
        worker: WorkerName,
        /// The attempt.
        attempt: AttemptRef,
        /// Since when nothing was heard.
        since: Timestamp,
        /// When it is lost, where the worker stays silent. `None`: only by proof.
        lost_at: Option<Timestamp>,
    },
    /// Its last attempt was lost, or given back after it had begun, and it must not rerun by itself.
    InDoubt {
        /// That attempt.
        attempt: AttemptRef,
        /// Who had it.
        worker: Option<WorkerName>,
        /// What is known.
        why: String,
    },
    /// A resource that is not free, or in whose line others stand before it.
    Resource {
        /// Which.
        name: ResourceName,
        /// How it asks for it.
        mode: Mode,
        /// For how much of the capacity; 0 where exclusive or shared.
        amount: u64,
        /// Its own ticket.
        ticket: Ticket,
        /// How many stand before it in the line; counted no further than [`AHEAD_MAX`], where it is that many at least.
        ahead: u64,
        /// The first of those.
        behind: Option<TaskRef>,
        /// The run for which that one stands there, where it does that for a whole run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        behind_run: Option<crate::id::RunId>,
        /// How much there is.
        capacity: u64,
        /// How much of that is free now.
        free: u64,
        /// Where it asks for units with attributes: which, and how many such there are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suit: Option<SuitableUnits>,
        /// Who holds it, longest first. At most 10; `more` counts the rest.
        holders: Vec<ResourceHolder>,
        /// Holders not listed.
        more: u32,
    },
    /// Its ticket stands aside: it keeps its number, holds nothing and delays nobody.
    Aside {
        /// Its ticket.
        ticket: Ticket,
        /// Why, and what ends it.
        why: AsideWhy,
    },
    /// As many of its namespace's tasks are on workers as may be.
    Quota {
        /// Which namespace.
        namespace: Namespace,
        /// How many are.
        running: u64,
        /// How many may be.
        at_most: u64,
    },
    /// It is the turn of others: they have had less of the workers, by their shares.
    Share {
        /// Whose turn it is: a namespace.
        namespace: Namespace,
        /// And a user in it, where that is its own namespace.
        user: Option<String>,
        /// How far ahead those are of their share.
        theirs: Lead,
        /// How far its own are.
        own: Lead,
    },
    /// Its gang waits: for a member, or for room for all of them at once.
    Gang {
        /// Its first member.
        first: TaskRef,
        /// How many members have not ended.
        members: u32,
        /// Members that cannot be claimed yet, each with its state. At most 10.
        absent: Vec<(TaskRef, StateKind)>,
        /// How many could be given to workers now, all at once.
        placed: u32,
        /// Members for which there was no room then. At most 10.
        lacking: Vec<TaskRef>,
        /// Whether each has a worker of its own.
        distinct: bool,
        /// Workers kept free for it.
        kept: Vec<WorkerName>,
    },
    /// Held by the server itself: a `sleep` until then, a `wait` until somebody completes it.
    Held {
        /// Until then, where it has a time.
        until: Option<Timestamp>,
    },
}

/// Units that suit who asks for units with attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuitableUnits {
    /// The attributes, as in `--device`, one for each unit: `model=x,os=14; any`.
    pub with: String,
    /// How many there are.
    pub units: u64,
    /// How many of them nobody holds.
    pub free: u64,
}

/// Who holds a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceHolder {
    /// Which task.
    pub task: TaskRef,
    /// The run for which it holds, where it does that for a whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<crate::id::RunId>,
    /// How.
    pub mode: Mode,
    /// Which units.
    pub units: Vec<UnitName>,
    /// Since when.
    pub since: Timestamp,
}

/// Why a ticket stands aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsideWhy {
    /// The task, its run, its namespace or everything is paused.
    Paused,
    /// A resource is out of service.
    OutOfService {
        /// Which.
        name: ResourceName,
        /// Why.
        reason: String,
    },
    /// A resource has less than is asked for, since it was changed.
    TooMuch {
        /// Which.
        name: ResourceName,
    },
    /// No connected worker was able to run it for too long.
    NoWorker {
        /// Since when.
        since: Timestamp,
    },
    /// As many elements of its array are under way as may be.
    Window,
    /// As many tasks under its concurrency key are at work as may be.
    Concurrency {
        /// The key.
        key: LimitKey,
        /// How many may be. `None`: one task alone.
        at_most: Option<u32>,
        /// Who is, and since when. At most 10; `more` counts the rest.
        holders: Vec<(TaskRef, Timestamp)>,
        /// Others.
        more: u32,
        /// Who was let through before it, and has not begun: they wait for something else. At most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        first: Vec<TaskRef>,
    },
    /// As many tasks under its key have begun as may begin.
    Rate {
        /// The key.
        key: LimitKey,
        /// So many starts,
        count: u32,
        /// within so long.
        per: Span,
        /// The next one may begin then. `None`: those that may begin have not yet.
        until: Option<Timestamp>,
        /// Those that may begin before it, and have not. At most 10.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        first: Vec<TaskRef>,
    },
    /// As many of its namespace's tasks are on workers, or about to be, as may be.
    Running {
        /// How many are.
        running: u64,
        /// How many may be.
        at_most: u64,
    },
    /// Its namespace's tasks hold as much of a resource as they may.
    Held {
        /// Which.
        name: ResourceName,
        /// How much they hold.
        held: u64,
        /// How much they may hold.
        at_most: u64,
    },
}

impl AsideWhy {
    /// Whether the reason is the same, whatever the figures.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Concurrency { key: one, .. }, Self::Concurrency { key: other, .. })
            | (Self::Rate { key: one, .. }, Self::Rate { key: other, .. }) => one == other,
            (Self::Running { .. }, Self::Running { .. }) => true,
            (Self::Held { name: one, .. }, Self::Held { name: other, .. }) => one == other,
            (one, other) => one == other,
        }
    }
}

/// What is paused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PausedThing {
    /// The task itself.
    Task,
    /// Another member of its gang, which goes together or not at all.
    Member(TaskRef),
    /// Its run.
    Run(crate::id::RunId),
    /// Its namespace.
    Namespace(Namespace),
    /// Everything.
    Everything,
}

/// The worker that lacks least.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Nearest {
    /// Its name.
    pub worker: WorkerName,
    /// Capabilities that it does not have.
    pub missing: Vec<Requirement>,
    /// Capabilities that it has and must not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Requirement>,
    /// Amounts (and `slots`) of which it has too little even when empty: wanted, has.
    pub too_small: Vec<(Key, u64, u64)>,
}

/// A worker without room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FullWorker {
    /// Its name.
    pub worker: WorkerName,
    /// What there is too little of now: name (`slots` among them), wanted, free, in all.
    pub short_of: Vec<(Key, u64, u64, u64)>,
    /// Who has it. At most 10.
    pub held_by: Vec<AttemptRef>,
}
