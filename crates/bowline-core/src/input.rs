//! Everything that can move the engine.

use std::sync::Arc;

use crate::fair::NamespaceChange;
use crate::gang::Terms;
use crate::id::{AttemptRef, NodeIndex, ParkId, ReplyTo, RunId, SessionId, TaskId, TaskRef};
use crate::message::{Drain, FromWorker, Hello, Paused};
use crate::name::{Actor, Namespace, PoolName, ResourceName, WorkerName, WorkflowName};
use crate::resource::ResourceChange;
use crate::row::{EndedRun, EndedTask};
use crate::run::{DueKind, Graph};
use crate::spec::{TaskSpec, Work};
use crate::state::JobError;

/// One input. Whatever came from a person carries who it was and where the answer goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time has passed: whatever is due by it happens.
    Tick,
    /// Whoever drives the engine stood still for so long (longer than a heartbeat), and heard nobody: every
    /// lease is longer by that.
    StoodStill {
        /// For how long.
        length: std::time::Duration,
    },
    /// Somebody asks for something.
    Request {
        /// Where the answer goes.
        reply: ReplyTo,
        /// Who asks.
        actor: Actor,
        /// What.
        request: Request,
    },
    /// A worker has connected and said Hello. The shell has checked its key.
    Connected {
        /// A number never used before.
        session: SessionId,
        /// Its Hello.
        hello: Box<Hello>,
        /// BLAKE3 of the key with which it came: a pool's identity is bound to it.
        key: [u8; 32],
    },
    /// A message of a session.
    FromWorker {
        /// Which.
        session: SessionId,
        /// What it says.
        message: FromWorker,
    },
    /// A session's connection is gone.
    Disconnected {
        /// Which.
        session: SessionId,
    },
    /// What was due of a run has been evaluated.
    Evaluated {
        /// Which run.
        run: RunId,
        /// What of it.
        what: DueKind,
        /// The version that the evaluation saw; an older one is dropped.
        version: u32,
        /// What came out.
        outcome: Evaluation,
    },
    /// The rows that a parked input waits for. `apply` then goes on with that input.
    Facts {
        /// Which input.
        park: ParkId,
        /// One for each need, in its order.
        facts: Vec<Fact>,
    },
}

/// What a person or a program asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// New tasks: all or none, in one commit.
    Submit(Submit),
    /// New tasks that are a gang: claimed together, or one after the other on one worker.
    SubmitGang(Submit, Terms),
    /// What a member asks of its gang.
    Gang {
        /// The attempt that asks: heard as long as it lives.
        attempt: AttemptRef,
        /// What.
        ask: crate::gang::Ask,
    },
    /// A new run.
    StartRun(StartRun),
    /// A verb on tasks. Each is answered for itself; ids that cannot be served are named.
    Tasks {
        /// In this namespace; tasks of others are not found.
        namespace: Namespace,
        /// Which: whole tasks or elements.
        tasks: Vec<TaskRef>,
        /// What to do with each.
        verb: TaskVerb,
    },
    /// A verb on a run.
    Run {
        /// In this namespace.
        namespace: Namespace,
        /// Which.
        run: RunId,
        /// What to do with it.
        verb: RunVerb,
    },
    /// Pauses or resumes a namespace, or everything.
    Pause {
        /// Which namespace; `None`: everything.
        namespace: Option<Namespace>,
        /// Whether.
        paused: Paused,
    },
    /// Pauses or resumes a worker.
    PauseWorker {
        /// Which.
        worker: WorkerName,
        /// Whether.
        paused: Paused,
    },
    /// A worker is to let go of everything and is given nothing, until it is undrained. Again: in this
    /// way from now on.
    DrainWorker {
        /// Which.
        worker: WorkerName,
        /// How.
        drain: Drain,
    },
    /// A drained worker, or one that was put aside, is given work again.
    UndrainWorker {
        /// Which.
        worker: WorkerName,
    },
    /// Removes an identity. The caller vouches that nothing of it runs any more: its attempts are lost.
    ForgetWorker {
        /// Which.
        worker: WorkerName,
    },
    /// Records a secret that opens a door, as its BLAKE3 hash.
    PutToken(Token),
    /// Takes a single-use token away and makes the identity, with its own key's hash.
    Enrol {
        /// Hash of the single-use token, or `None` where an administrator enrols.
        token: Option<[u8; 32]>,
        /// The identity.
        worker: WorkerName,
        /// Hash of its own key.
        key: [u8; 32],
    },
    /// Lets a key act under the identities of a pool, whichever is free. A token that is bound to this
    /// pool is not used up by it. The same key again changes nothing.
    EnrolInPool {
        /// Hash of the token, or `None` where an administrator enrols.
        token: Option<[u8; 32]>,
        /// The pool.
        pool: PoolName,
        /// Hash of the worker's own key.
        key: [u8; 32],
    },
    /// Why does it wait?
    Explain {
        /// In this namespace.
        namespace: Namespace,
        /// Which.
        task: TaskRef,
    },
    /// Why is it given nothing more?
    ExplainWorker {
        /// Which.
        worker: WorkerName,
    },
    /// Why has it not ended? Of a run that has, nothing is known here.
    ExplainRun {
        /// In this namespace.
        namespace: Namespace,
        /// Which.
        run: RunId,
    },
    /// Why do these wait? One line each, for lists; what is not in memory is left out.
    WhyWaiting {
        /// Which.
        tasks: Vec<TaskRef>,
    },
    /// Counts, workers and lanes as they are now.
    Overview,
    /// Declares a resource, or changes it. Answered by the resource as it is then.
    SetResource {
        /// Which.
        name: ResourceName,
        /// What changes.
        change: ResourceChange,
    },
    /// Removes a declared resource that nobody holds or waits for.
    DeleteResource {
        /// Which.
        name: ResourceName,
    },
    /// Who holds it, and who is next.
    Resource {
        /// Which.
        name: ResourceName,
    },
    /// All resources: declared, held or waited for.
    Resources,
    /// Sets quotas and shares of a namespace. Answered by the namespace as it is then.
    SetNamespace {
        /// Which.
        name: Namespace,
        /// What changes.
        change: NamespaceChange,
    },
    /// What is set about a namespace, and what it uses.
    Namespace {
        /// Which.
        name: Namespace,
    },
    /// All namespaces of which something is set, or that have tasks.
    Namespaces,
}

/// New tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Submit {
    /// Where.
    pub namespace: Namespace,
    /// The tasks. `after` may name earlier ones of this very submit by [`NewTask::after_earlier`].
    pub tasks: Vec<NewTask>,
    /// The same key again gives the same tasks.
    pub key: Option<IdempotencyKey>,
    /// Checked and answered, but not done.
    pub dry_run: DryRun,
    /// What to do about what is not possible now.
    pub strict: Strict,
}

/// What becomes of a submit that is not possible now: no worker known fits, or a resource is out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strict {
    /// It waits, with a warning.
    #[default]
    No,
    /// It is refused.
    Yes,
}

/// Whether to do it or only to say what would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DryRun {
    /// Do it.
    #[default]
    No,
    /// Only say.
    Yes,
}

/// One new task.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// As described.
    pub spec: Arc<TaskSpec>,
    /// An array whose elements differ: one piece of work each, by place. Empty: all the same.
    pub elements: Arc<Vec<Work>>,
    /// Dependencies on earlier tasks of the same submit, by their place in it.
    pub after_earlier: Vec<(usize, crate::spec::Condition)>,
}

/// A key under which a request is done once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The key; unique within its namespace. 1 to 255 bytes.
    pub key: String,
    /// BLAKE3 of the request's body: another body under the same key is refused.
    pub body: [u8; 32],
}

/// A new run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRun {
    /// Where.
    pub namespace: Namespace,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// Its text as it stands: the run keeps it.
    pub source: Arc<str>,
    /// Its inputs as one JSON object, checked and with defaults filled in.
    pub inputs: Arc<str>,
    /// Its shape.
    pub graph: Arc<Graph>,
    /// The same key again gives the same run.
    pub key: Option<IdempotencyKey>,
    /// Refuse it where what it asks for as a whole is not possible now.
    pub strict: Strict,
}

/// What can be done with a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskVerb {
    /// End it.
    Cancel {
        /// Why, for people.
        why: String,
    },
    /// A new round of an ended task. Of an array: of its elements that did not succeed.
    Retry,
    /// Not claimed until resumed.
    Pause,
    /// Claimed again.
    Resume,
    /// Ends a `wait`.
    Complete {
        /// How.
        how: Completion,
    },
    /// Says how a task that is in doubt really ended.
    Resolve {
        /// How.
        how: Completion,
    },
    /// Removes an ended task with all that it left.
    Delete,
}

/// How a `wait`, or a task in doubt, ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// Well, with this result as JSON.
    Success(Option<String>),
    /// Badly.
    Failure(String),
}

/// What can be done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunVerb {
    /// End it and its tasks.
    Cancel,
    /// Ended: again from the first failure. What succeeded stays.
    Retry,
    /// None of its tasks is claimed, nothing of it is evaluated.
    Pause,
    /// On again.
    Resume,
}

/// A secret's hash, and the door that it opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// BLAKE3 of the secret.
    pub hash: [u8; 32],
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: TokenRole,
    /// The pool to which it is bound.
    pub pool: Option<PoolName>,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenRole {
    /// Everything.
    Admin,
    /// Enrol one worker, once. Bound to a pool: enrol any number of workers, in that pool alone.
    Enrol,
    /// A worker's own key, which acts under the identities of the pool to which it is bound.
    Member,
}

impl TokenRole {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Enrol, Self::Member];

    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Enrol => "enrol",
            Self::Member => "member",
        }
    }
}

/// What came out of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluation {
    /// A node makes this task. The engine adds run and node.
    Task(Box<NewTask>),
    /// A node has nothing to do (an empty list): it has succeeded.
    Nothing,
    /// A run's result, as JSON.
    Result(String),
    /// An expression failed: the node, or the run, fails with this.
    Failed(JobError),
}

/// What the engine needs from the store before it can go on with a parked input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Need {
    /// An ended task: its row, and what a retry needs.
    Task(TaskId),
    /// An ended run.
    Run(RunId),
    /// What was done under an idempotency key.
    Key {
        /// Namespace.
        namespace: Namespace,
        /// Key.
        key: String,
    },
}

/// The answer to a [`Need`].
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The task as it ended. `None`: there is none.
    Task(Option<Box<EndedTask>>),
    /// The run as it ended. `None`: there is none.
    Run(Option<Box<EndedRun>>),
    /// What was done under the key. `None`: nothing.
    Key(Option<crate::row::KeyRow>),
}

/// Names one node of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: NodeIndex,
}
