//! What the engine answers to requests. A refusal is the caller's doing, and says what to do.

use crate::explain::{Explanation, RunExplanation, WaitReason, WorkerExplanation};
use crate::fair::NamespaceView;
use crate::id::{Incarnation, RunId, TaskId, TaskRef, WorkerId};
use crate::message::Paused;
use crate::name::{Namespace, PoolName, WorkerName};
use crate::resource::{ResourceSummary, ResourceView};
use crate::row::{AsideMark, DrainMark, PauseMark};
use crate::state::StateKind;
use crate::worker::{Health, Offer, Room};

/// What follows from a request.
pub type Reply = Result<Answer, Refusal>;

/// A request was served.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The tasks made, in order; or those made earlier under the same key.
    Submitted {
        /// Their ids. Empty for a dry run.
        tasks: Vec<TaskId>,
        /// Made now, or earlier under the same key.
        replayed: Replayed,
        /// What the submitter should know: no worker fits now, for example.
        warnings: Vec<String>,
    },
    /// The run.
    RunStarted {
        /// Its id.
        run: RunId,
        /// Made now, or earlier under the same key.
        replayed: Replayed,
        /// What the submitter should know: what the run asks for as a whole is not possible now.
        warnings: Vec<String>,
    },
    /// Verbs on tasks, each with what became of it.
    Tasks(Vec<(TaskRef, Result<StateKind, Refusal>)>),
    /// Done; there is nothing to add.
    Done,
    /// The identity is there.
    Enrolled(WorkerId),
    /// Why a task is where it is.
    Explained(Box<Explanation>),
    /// Why a worker is given nothing more.
    WorkerExplained(Box<WorkerExplanation>),
    /// Why a run has not ended.
    RunExplained(Box<RunExplanation>),
    /// Why each of these waits.
    WhyWaiting(Vec<(TaskRef, WaitReason)>),
    /// Counts, workers and lanes.
    Overview(Box<Overview>),
    /// A resource with its line.
    Resource(Box<ResourceView>),
    /// What a member is answered by its gang.
    Gang(crate::gang::Told),
    /// All resources, by name.
    Resources(Vec<ResourceSummary>),
    /// A namespace, with what it uses.
    Namespace(Box<NamespaceView>),
    /// Namespaces, by name.
    Namespaces(Vec<NamespaceView>),
}

/// Whether a request was done now or earlier under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// Now.
    No,
    /// Earlier.
    Yes,
}

/// A request that was not served, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// From the closed list.
    pub code: RefusalCode,
    /// A whole sentence: what was refused, and what to do next.
    pub message: String,
}

impl Refusal {
    /// With this code and sentence.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why a request was not served: the closed list. Its names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// The request itself is wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// It does not go with the thing's state.
    Conflict,
    /// Another body under the same key.
    KeyReused,
    /// Larger than a stated bound.
    TooLarge,
    /// The token does not open this door.
    Forbidden,
    /// This server does not lead, or has just stopped leading.
    NotLeading,
    /// The store was put back to an earlier state, and nobody has accepted that.
    RolledBack,
    /// Too much at once: try again.
    Busy,
}

impl RefusalCode {
    /// As it is written in `code`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::KeyReused => "idempotency_key_reused",
            Self::TooLarge => "too_large",
            Self::Forbidden => "forbidden",
            Self::NotLeading => "not_leading",
            Self::RolledBack => "rolled_back",
            Self::Busy => "busy",
        }
    }
}

/// The engine at one moment, in counts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overview {
    /// Unfinished tasks and elements by state.
    pub states: Vec<(StateKind, u64)>,
    /// Ready tasks by lane.
    pub lanes: Vec<LaneView>,
    /// Known workers, by name.
    pub workers: Vec<WorkerView>,
    /// Runs that have not ended.
    pub runs: u64,
    /// Paused namespaces, each with who paused it.
    pub paused: Vec<(Namespace, PauseMark)>,
    /// Who paused everything. `None`: nobody.
    pub all_paused: Option<PauseMark>,
}

/// A lane at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneView {
    /// What its tasks ask for, for people: `action=command, slots 1`.
    pub name: String,
    /// Ready tasks and elements in it.
    pub ready: u64,
    /// When the oldest became ready.
    pub oldest_ready_at: Option<crate::time::Timestamp>,
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerView {
    /// Its number.
    pub id: WorkerId,
    /// Its name.
    pub name: WorkerName,
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// Whether a session is open, answering or not.
    pub has_session: bool,
    /// How it stands.
    pub connection: Connection,
    /// What it offers, as it said last.
    pub offer: Option<Offer>,
    /// Room that is taken.
    pub used: Room,
    /// Its live attempts.
    pub attempts: Vec<crate::id::AttemptRef>,
    /// Whether it is paused.
    pub paused: Paused,
    /// How it is.
    pub health: Health,
    /// The version that it runs.
    pub version: Option<String>,
    /// When it was heard last. `None`: not since this server leads.
    pub heard_at: Option<crate::time::Timestamp>,
    /// The pool to which the identity belongs.
    pub pool: Option<PoolName>,
    /// Drained by whom and how. What is in `attempts` then is what the drain waits for.
    pub drain: Option<DrainMark>,
    /// Put aside, and why.
    pub aside: Option<AsideMark>,
    /// It has been silent since then: without a session, or suspect. `None`: it is heard.
    pub silent_since: Option<crate::time::Timestamp>,
    /// Live attempts of a silent worker: nobody knows how they are.
    pub doubtful: Vec<Doubtful>,
}

/// A live attempt of a silent worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubtful {
    /// Which.
    pub attempt: crate::id::AttemptRef,
    /// It is lost then, where the worker stays silent. `None`: only by proof.
    pub lost_at: Option<crate::time::Timestamp>,
}

/// Whether a worker is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// A session is open and answers.
    Connected,
    /// No heartbeat for 15 s, with or without a session: shown, given nothing, until what it has is lost.
    Suspect,
    /// No session, and it holds nothing or has been silent for less.
    Away,
}
