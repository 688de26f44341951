//! What is stored: the rows that a batch writes and a take-over reads. Stores keep, guard and list
//! them; they decide nothing.
//!
//! **One rule of writing for every row with a `version`:** version 1 is inserted, and must add
//! exactly one row; version *n* > 1 replaces the row whose stored version is *n* - 1, and must
//! touch exactly one. Anything else means that somebody else wrote: the commit fails, and the
//! leader steps down. The engine writes each row at most once a batch, in its newest state.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fair::{NamespaceRow, RateRow};
use crate::gang::GangRow;
use crate::id::{
    AttemptNo, AttemptRef, Fence, Generation, Incarnation, NodeIndex, Round, RunId, SessionId, TaskId, TaskRef, Ticket,
    WorkerId,
};
use crate::input::Token;
use crate::message::{DrainMode, Exit};
use crate::name::{Actor, Namespace, PoolName, ResourceName, StepName, WorkerName, WorkflowName};
use crate::resource::{Grant, ResourceRow};
use crate::run::{Graph, NodeState, RunState};
use crate::spec::{TaskSpec, Work};
use crate::state::{AttemptEnd, Outcome, Phase, StateKind};
use crate::time::Timestamp;
use crate::worker::{Offer, Seat};

/// One row to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// Where the numbers stand. One row in all; replaced.
    Counters(Counters),
    /// A new task: its row at version 1, and what never changes.
    NewTask(Box<NewTaskRow>),
    /// A task.
    Task(Box<TaskRow>),
    /// An element of an array that has been started, or has ended without.
    Element(Box<ElementRow>),
    /// An attempt.
    Attempt(Box<AttemptRow>),
    /// What an attempt left as its result. Inserted once; the same again changes nothing.
    Result(ResultRow),
    /// A file that an attempt left. The same name again replaces it.
    Artifact(ArtifactRow),
    /// A run at version 1, and what never changes.
    NewRun(Box<NewRunRow>),
    /// A run.
    Run(Box<RunRow>),
    /// A node of a run.
    Node(Box<NodeRow>),
    /// A worker.
    Worker(Box<WorkerRow>),
    /// A declared resource.
    Resource(Box<ResourceRow>),
    /// A declared resource is removed, and must have been there.
    ResourceGone(ResourceName),
    /// What is set about a namespace.
    Namespace(Box<NamespaceRow>),
    /// Starts that count under a key. Replaced; removed where none is left.
    Rate(RateRow),
    /// A worker is forgotten: its row is removed, and must have been there.
    WorkerGone(WorkerId),
    /// A gang of which a member has not ended.
    Gang(Box<GangRow>),
    /// The last member of a gang has ended: its row is removed, and must have been there.
    GangGone(TaskId),
    /// What was done under an idempotency key. Inserted once.
    Key(KeyRow),
    /// A namespace's pause, or everything's. Replaced, or removed where the mark is `None`.
    Pause(PauseRow),
    /// A token. Inserted.
    Token(Token),
    /// A token is used up: removed, and must have been there.
    TokenGone([u8; 32]),
    /// An ended task is removed with everything that hangs on it: description, elements, attempts,
    /// results, artifacts' rows, history. Must have been there.
    TaskGone(TaskId),
}

/// Where the numbers stand: the next free ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The next task's id.
    pub task: TaskId,
    /// The next run's id.
    pub run: RunId,
    /// The next ticket.
    pub ticket: Ticket,
    /// The next worker's number.
    pub worker: WorkerId,
}

impl Default for Counters {
    fn default() -> Self {
        Self { task: TaskId(1), run: RunId(1), ticket: Ticket(1), worker: WorkerId(1) }
    }
}

/// A new task with what never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTaskRow {
    /// Its row, at version 1.
    pub row: TaskRow,
    /// As described. Dependencies on earlier tasks of the same submit are resolved in it.
    pub spec: Arc<TaskSpec>,
    /// Work by place, where elements differ.
    pub elements: Arc<Vec<Work>>,
}

/// A task as it stands. Small: what never changes lies elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// See the module's rule of writing.
    pub version: u32,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: Option<String>,
    /// Its action's name.
    pub action: String,
    /// Each level counts as so much earlier a ticket: see [`crate::engine::Timing::ageing`].
    pub priority: i32,
    /// The run and node that it belongs to.
    pub run: Option<(RunId, NodeIndex)>,
    /// That node's step.
    pub step: Option<StepName>,
    /// By whom.
    pub created_by: Actor,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Its current round.
    pub round: Round,
    /// When that began.
    pub round_at: Timestamp,
    /// Its place in the one order; 0 until it has one.
    pub ticket: Ticket,
    /// When it took that place. `None`: it has none yet, or a program wrote it that did not keep this.
    pub ticket_at: Option<Timestamp>,
    /// Whether it is paused, and by whom.
    pub paused: Option<PauseMark>,
    /// Its state. Of an array: `running` from its first element's start, until its last one's end.
    pub unit: Unit,
    /// Where it is an array.
    pub array: Option<ArrayCounts>,
}

/// What changes about whatever can be claimed: a single task, or an element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its state.
    pub state: StateKind,
    /// Since when.
    pub since: Timestamp,
    /// Where the live attempt is; `Ended` where none lives.
    pub phase: Phase,
    /// The newest attempt; 0 for none yet.
    pub attempt: AttemptNo,
    /// The generation in which that was claimed.
    pub generation: Generation,
    /// Who has it.
    pub worker: Option<WorkerId>,
    /// `scheduled`: until then. Held by the server: until then. Of a task that stands aside because no connected worker
    /// has been able to run it (`waiting`; an array's `ready` or `running` too): since when.
    pub until: Option<Timestamp>,
    /// Failed attempts in this round.
    pub failures: u32,
    /// Lost attempts in this round.
    pub losses: u32,
    /// The last failure; while `stopping`: the outcome that its stop will bring. Ended: the outcome.
    pub outcome: Option<Outcome>,
    /// When it first entered `waiting` in this round: the queue limit counts from here.
    pub waiting_at: Option<Timestamp>,
    /// When it last became `ready`.
    pub ready_at: Option<Timestamp>,
    /// When its newest attempt started.
    pub started_at: Option<Timestamp>,
    /// When the round ended.
    pub ended_at: Option<Timestamp>,
    /// The resources that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Grant>,
}

impl Unit {
    /// The newest attempt's fence.
    pub fn fence(&self) -> Fence {
        Fence { generation: self.generation, attempt: self.attempt }
    }
}

/// How far an array is, without its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayCounts {
    /// Elements in all.
    pub count: u32,
    /// The first place that was never started: elements begin in the order of their places.
    pub cursor: u32,
    /// Elements that ended well.
    pub succeeded: u32,
    /// Badly.
    pub failed: u32,
    /// By a cancel.
    pub cancelled: u32,
    /// Unstarted.
    pub skipped: u32,
}

/// Who paused something, and since when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PauseMark {
    /// By whom.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
}

/// An element of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ElementRow {
    /// The array.
    pub task: TaskId,
    /// Its index.
    pub index: u32,
    /// See the module's rule of writing.
    pub version: u32,
    /// Its state.
    pub unit: Unit,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Which.
    pub attempt: AttemptRef,
    /// See the module's rule of writing.
    pub version: u32,
    /// In which round.
    pub round: Round,
    /// Who has it. `None`: the server itself.
    pub worker: Option<WorkerId>,
    /// Which of its incarnations claimed it.
    pub incarnation: Incarnation,
    /// For which session.
    pub session: SessionId,
    /// When it was claimed.
    pub assigned_at: Timestamp,
    /// When its job began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How.
    pub end: Option<AttemptEnd>,
    /// What its job said, where it said something.
    pub outcome: Option<Outcome>,
}

/// What an attempt left as its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// Whose.
    pub attempt: AttemptRef,
    /// As JSON.
    pub json: String,
}

/// A file that an attempt left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactRow {
    /// Whose.
    pub attempt: AttemptRef,
    /// Its name within the attempt.
    pub name: String,
    /// BLAKE3 of its bytes, in hex.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
    /// When it was committed.
    pub at: Timestamp,
}

/// A new run with what never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRunRow {
    /// Its row, at version 1.
    pub row: RunRow,
    /// The workflow's text.
    pub source: Arc<str>,
    /// The inputs, as a JSON object.
    pub inputs: Arc<str>,
    /// The shape.
    pub graph: Arc<Graph>,
}

/// A run as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// See the module's rule of writing.
    pub version: u32,
    /// Where it lives.
    pub namespace: Namespace,
    /// Its workflow's name.
    pub workflow: WorkflowName,
    /// Its state.
    pub state: RunState,
    /// By whom.
    pub created_by: Actor,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How. While `stopping`: how it will.
    pub outcome: Option<Outcome>,
    /// Its result, as JSON.
    pub result: Option<String>,
    /// Whether it is paused, and by whom.
    pub paused: Option<PauseMark>,
    /// Raised each time its result falls due; names the evaluation.
    pub due_version: u32,
}

/// A node of a run as it stands. All nodes of a run are inserted with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeIndex,
    /// See the module's rule of writing.
    pub version: u32,
    /// Its state.
    pub state: NodeState,
    /// Why it ended so, where no task tells.
    pub outcome: Option<Outcome>,
    /// Raised each time it falls due; names the evaluation.
    pub due_version: u32,
}

/// A worker's durable part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its number.
    pub id: WorkerId,
    /// See the module's rule of writing.
    pub version: u32,
    /// Its name; unique.
    pub name: WorkerName,
    /// BLAKE3 of its own key.
    pub key: [u8; 32],
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// Where that acts from. `None`: never came.
    pub seat: Option<Seat>,
    /// What it offered last.
    pub offer: Option<Offer>,
    /// Whether it is paused, and by whom.
    pub paused: Option<PauseMark>,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// The pool to which the identity belongs. Its key is then that of its newest holder.
    pub pool: Option<PoolName>,
    /// Whether it is drained, by whom and how.
    pub drain: Option<DrainMark>,
    /// Whether it was put aside as a black hole.
    pub aside: Option<AsideMark>,
}

/// Who drained a worker, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainMark {
    /// By whom.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// What becomes of running attempts.
    pub mode: DrainMode,
    /// `finish`: from here on as `release`.
    pub release_at: Option<Timestamp>,
    /// Whether its process ends.
    pub exit: Exit,
}

/// A worker on which too many different tasks failed too quickly: it is given nothing, but for one task
/// at a time to try it, until one does well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AsideMark {
    /// Since when.
    pub since: Timestamp,
    /// It is tried with one task from here on.
    pub try_at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What was done under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Where.
    pub namespace: Namespace,
    /// The key.
    pub key: String,
    /// BLAKE3 of the request's body.
    pub body: [u8; 32],
    /// What it made.
    pub made: Made,
    /// When.
    pub at: Timestamp,
}

/// What a request made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// Tasks.
    Tasks(Vec<TaskId>),
    /// A run.
    Run(RunId),
}

/// A pause of a namespace, or of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PauseRow {
    /// Which namespace; `None`: everything.
    pub namespace: Option<Namespace>,
    /// By whom; `None`: no more.
    pub mark: Option<PauseMark>,
}

/// Whom a line of history tells of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A task or an element.
    Task(TaskRef),
    /// A run.
    Run(RunId),
    /// A worker.
    Worker(WorkerName),
    /// A namespace; `None`: everything.
    Namespace(Option<Namespace>),
    /// A resource.
    Resource(ResourceName),
}

/// One transition: what, when, by whom and why. Appended, never changed. An event too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Of whom.
    pub subject: Subject,
    /// Where that lives. `None`: it is of no namespace (workers).
    pub namespace: Option<Namespace>,
    /// When.
    pub at: Timestamp,
    /// What: the new state's name (`ready`, `running`, …), or one of `submitted`, `given_back`,
    /// `paused`, `resumed`, `retried`, `connected`, `disconnected`, `enrolled`, `artifact`,
    /// `evidence`, `due`, …
    pub what: String,
    /// The attempt that it is about; 0 for none.
    pub attempt: AttemptNo,
    /// By whom.
    pub actor: Actor,
    /// Why, for people. May be empty.
    pub reason: String,
}

/// What a store hands over at a take-over: first the counters, then everything that has not ended.
/// In the order of this list; within each kind by key.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// The counters.
    Counters(Counters),
    /// A worker.
    Worker(Box<WorkerRow>),
    /// A pause.
    Pause(PauseRow),
    /// A token.
    Token(Token),
    /// A declared resource.
    Resource(Box<ResourceRow>),
    /// What is set about a namespace.
    Namespace(Box<NamespaceRow>),
    /// Starts that count under a key.
    Rate(RateRow),
    /// A gang of which a member has not ended.
    Gang(Box<GangRow>),
    /// An unfinished run with its shape.
    Run(Box<RunRow>, Arc<Graph>),
    /// A node of one.
    Node(Box<NodeRow>),
    /// An unfinished task with its description.
    Task(Box<TaskRow>, Arc<TaskSpec>),
    /// An element of one, ended or not.
    Element(Box<ElementRow>),
    /// An attempt of one that lives, or that was lost: its worker may come back with it.
    Attempt(Box<AttemptRow>),
    /// An ended task that an unfinished one still depends on: its id, state.
    Ended(TaskRef, StateKind),
    /// All idempotency keys that there are, as [`key_hash`] gives them, in order. Not there where there are more than
    /// [`KEYS_LOADED_MAX`].
    Keys(Vec<u64>),
}

/// Most idempotency keys of which a take-over is told.
pub const KEYS_LOADED_MAX: usize = 1 << 20;

/// What an idempotency key is known by where only its absence matters. The same for each within one process alone.
pub fn key_hash(namespace: &str, key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, key).hash(&mut hasher);
    hasher.finish()
}

/// An ended task with what a retry and a dependency need.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedTask {
    /// Its row.
    pub row: TaskRow,
    /// Its description.
    pub spec: Arc<TaskSpec>,
    /// Its elements, by index.
    pub elements: Vec<ElementRow>,
}

/// An ended run with what a retry needs.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRun {
    /// Its row.
    pub row: RunRow,
    /// Its shape.
    pub graph: Arc<Graph>,
    /// Its nodes, by index.
    pub nodes: Vec<NodeRow>,
}
