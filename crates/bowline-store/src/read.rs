//! The readers' side. Calls block: async callers use a blocking pool.

use std::collections::HashSet;
use std::sync::Arc;

use bowline_core::id::{AttemptRef, CommitNo, NodeIndex, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need};
use bowline_core::name::{Namespace, ResourceName, WorkerName};
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, HistoryRow, NodeRow, ResultRow, RunRow, Subject, TaskRow, WorkerRow,
};
use bowline_core::run::{Graph, RunState};
use bowline_core::spec::{TaskSpec, Work};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;

use crate::write::StoreError;

/// One page of a list. The cursor is opaque, and `None` on the last page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Which tasks. Everything given must apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskFilter {
    /// In this namespace. `None`: in all of them.
    pub namespace: Option<Namespace>,
    /// In one of these states. Empty: any.
    pub states: Vec<StateKind>,
    /// Where `in_doubt` is one of the states, arrays too of which an element is in doubt: somebody has to say how that ended.
    pub or_element_in_doubt: bool,
    /// Of this name; `*` stands for anything.
    pub name: Option<String>,
    /// With all these labels.
    pub labels: Vec<(String, String)>,
    /// That ask for this resource.
    pub resource: Option<ResourceName>,
    /// Last given to this worker.
    pub worker: Option<WorkerName>,
    /// Submitted at or after this.
    pub since: Option<Timestamp>,
    /// Submitted by.
    pub created_by: Option<String>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this node of that run.
    pub node: Option<NodeIndex>,
}

impl TaskFilter {
    /// Whether arrays belong to it of which an element is in doubt.
    pub fn takes_element_in_doubt(&self) -> bool {
        self.or_element_in_doubt && self.states.contains(&StateKind::InDoubt)
    }
}

/// In which order tasks are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskSort {
    /// Newest first.
    #[default]
    Newest,
    /// Oldest first.
    Oldest,
}

/// Which attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptFilter {
    /// Those of a single task or an element; of an array as a whole, all its elements'.
    Of(TaskRef),
    /// This one.
    One(AttemptRef),
}

/// Which runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFilter {
    /// In this namespace. `None`: in all of them.
    pub namespace: Option<Namespace>,
    /// In one of these states. Empty: any.
    pub states: Vec<RunState>,
    /// Of this workflow.
    pub workflow: Option<String>,
}

/// The work of a task or element, with the task that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskWork {
    /// The task.
    pub row: TaskRow,
    /// Its work, or the element's.
    pub work: Arc<Work>,
}

/// A task with what never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDetail {
    /// Its row.
    pub row: TaskRow,
    /// As described.
    pub spec: Arc<TaskSpec>,
    /// The newest result of a single task.
    pub result: Option<ResultRow>,
}

/// A run with what never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDetail {
    /// Its row.
    pub row: RunRow,
    /// The workflow's text.
    pub source: Arc<str>,
    /// Its inputs as JSON.
    pub inputs: Arc<str>,
    /// Its shape.
    pub graph: Arc<Graph>,
    /// Its nodes, by index.
    pub nodes: Vec<NodeRow>,
}

/// A page of a history, oldest first, each line with its number within the subject.
pub type HistoryPage = Page<(u64, HistoryRow)>;

/// Events after a place: each with the commit that made it and its place in that commit.
#[derive(Debug, Clone, PartialEq)]
pub enum EventPage {
    /// The events, oldest first. Empty: there are none yet.
    Events(Vec<(CommitNo, u32, HistoryRow)>),
    /// That place lies before what is still kept.
    TooOld,
}

/// Everything that reads.
pub trait ReadStore: Send + Sync {
    /// Answers one need of a parked input.
    fn fact(&self, need: &Need) -> Result<Fact, StoreError>;
    /// The last commit.
    fn commit_no(&self) -> Result<CommitNo, StoreError>;
    /// A list of tasks. `limit` is 1 to 1,000.
    fn tasks(
        &self,
        filter: &TaskFilter,
        sort: TaskSort,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<TaskRow>, StoreError>;
    /// One task.
    fn task(&self, task: TaskId) -> Result<Option<TaskDetail>, StoreError>;
    /// An array's elements that were started or have ended, by index, after `after`.
    fn elements(&self, task: TaskId, after: Option<u32>, limit: usize) -> Result<Vec<ElementRow>, StoreError>;
    /// The work of a task or element.
    fn work(&self, task: TaskRef) -> Result<Option<Arc<Work>>, StoreError>;
    /// What is assigned of tasks and elements: the work of each, with the task that it belongs to. In their order,
    /// all as of one moment.
    fn assigned(&self, tasks: &[TaskRef]) -> Result<Vec<Option<TaskWork>>, StoreError>;
    /// Attempts, oldest first.
    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<AttemptRow>, StoreError>;
    /// Results: of a single task the newest; of an array each element's newest, by index.
    fn results(&self, task: TaskId) -> Result<Vec<ResultRow>, StoreError>;
    /// Artifacts of a task, element or (of an array as a whole) all its elements.
    fn artifacts(&self, task: TaskRef) -> Result<Vec<ArtifactRow>, StoreError>;
    /// Those of this name among them.
    fn artifacts_named(&self, task: TaskRef, name: &str) -> Result<Vec<ArtifactRow>, StoreError> {
        let mut artifacts = self.artifacts(task)?;
        artifacts.retain(|artifact| artifact.name == name);
        Ok(artifacts)
    }
    /// Which of these blobs an artifact names, by their digests in hex. At most 1,000 are asked about.
    fn named_blobs(&self, digests: &[String]) -> Result<HashSet<String>, StoreError>;
    /// A subject's history. Of an array as a whole: its own lines, not its elements'.
    fn history(&self, subject: &Subject, cursor: Option<&str>, limit: usize) -> Result<HistoryPage, StoreError>;
    /// Events after a place. `None`: from the newest on, that is, none.
    fn events(&self, after: Option<(CommitNo, u32)>, limit: usize) -> Result<EventPage, StoreError>;
    /// A list of runs, newest first.
    fn runs(&self, filter: &RunFilter, cursor: Option<&str>, limit: usize) -> Result<Page<RunRow>, StoreError>;
    /// One run.
    fn run(&self, run: RunId) -> Result<Option<RunDetail>, StoreError>;
    /// All workers, by name.
    fn workers(&self) -> Result<Vec<WorkerRow>, StoreError>;
    /// The worker of this name.
    fn worker(&self, name: &WorkerName) -> Result<Option<WorkerRow>, StoreError>;
    /// The token of this hash.
    fn token(&self, hash: &[u8; 32]) -> Result<Option<bowline_core::input::Token>, StoreError>;
    /// All tokens.
    fn tokens(&self) -> Result<Vec<bowline_core::input::Token>, StoreError>;
}
