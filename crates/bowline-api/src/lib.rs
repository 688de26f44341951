//! The REST documents that server and client share: what is sent, what comes back, and how errors
//! look. Names here are the public interface; they change only with a new API version.
//!
//! * Ids are text: a task `"4711"`, an array's element `"4711.7"`, a run `"r12"`. A task's id may
//!   be sent as a number too.
//! * Times are RFC 3339 in UTC, durations are written `90s`, `1h30m`, sizes are bytes.
//! * Lists are [`List`]: `items`, and `next_cursor` while there is more.
//! * Errors are [`Problem`] documents with a stable `code`.
//!
//! **Invariant:** no IO, and no rule of the model: a document is turned into the engine's types in
//! one place ([`resolve`]), which checks form only.

pub mod action;
pub mod decode;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod gang;
pub mod list;
pub mod log;
pub mod namespace;
pub mod new_task;
pub mod placement;
pub mod problem;
pub mod query;
pub mod resolve;
pub mod resource;
pub mod run;
pub mod system;
pub mod task;
pub mod time;
pub mod why;
pub mod worker;

pub use event::{Event, EventId, EventKind};
pub use explain::{LaneMiss, RunExplanation, ShortOf, StepExplanation, TooSmall, WaitingFor, WorkerExplanation};
pub use fleet::{DrainRequest, WorkerBulk, WorkerBulkAnswer, WorkerBulkItem, WorkerFilter, WorkerVerbName};
pub use gang::{Arrive, GangBarrier, GangLock, GangPeer, GangPeers, GangQuery, GangValue, NewGang, SetValue};
pub use list::List;
pub use log::{LOG_TRUNCATED, log_left_out};
pub use namespace::{Concurrency, Had, LimitInUse, NamespaceChange, NamespaceDoc, Rate};
pub use new_task::{After, AfterWhat, Amount, Array, NewElement, NewTask, Retry, Submit, Submitted, Timeouts};
pub use placement::Placement;
pub use problem::{Mistake, PROBLEM_TYPE, Problem};
pub use query::{
    ElementQuery, EventQuery, LogQuery, PageQuery, RunQuery, SubmitQuery, TaskQuery, WaitQuery, WriteQuery,
};
pub use resource::{
    Ask, NewUnit, Resource, ResourceChange, ResourceEntry, ResourceHolder, ResourcePlace, ResourceUnit, TaskResource,
};
pub use run::{NewRun, Progress, Run, RunArtifact, RunStarted, Step, StepState, Workflow};
pub use system::{Lane, NewGeneration, NewToken, PauseRequest, PausedNamespace, Queue, Token, TokenIssued, Version};
pub use task::{
    ArrayProgress, Artifact, Attempt, Bulk, BulkAnswer, BulkFilter, BulkItem, Complete, DependsOn, Explanation,
    HistoryEntry, OutcomeDoc, PausedDoc, Reason, Task, TaskVerbName, Verdict, Why, WorkDoc,
};
pub use time::{from_core_time, to_core_time};
pub use worker::{
    AsideDoc, ConnectionState, DrainDoc, Enrol, Enrolled, HeldAttempt, HeldTask, MessageCounts, StuckDoc, Worker,
    WorkerVitals,
};

/// Largest body of a request, in bytes. 8 MiB.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Items of a page where none are asked for.
pub const PAGE_DEFAULT: usize = 100;
/// Most items of one page.
pub const PAGE_MAX: usize = 1_000;
/// Longest `?wait=`. 5 min.
pub const WAIT_MAX: std::time::Duration = std::time::Duration::from_mins(5);
