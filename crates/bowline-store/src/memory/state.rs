//! The tables, and how each kind of row is written.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bowline_core::effect::Batch;
use bowline_core::fair::{NamespaceRow, RateRow};
use bowline_core::gang::GangRow;
use bowline_core::id::{
    AttemptNo, AttemptRef, CommitNo, Fence, Generation, NodeIndex, RunId, TaskId, TaskRef, WorkerId,
};
use bowline_core::input::Token;
use bowline_core::name::{LimitKey, Namespace, ResourceName};
use bowline_core::resource::ResourceRow;
use bowline_core::row::{
    ArtifactRow, AttemptRow, Counters, ElementRow, HistoryRow, KeyRow, NewRunRow, NewTaskRow, NodeRow, PauseMark,
    ResultRow, Row, RunRow, Subject, TaskRow, WorkerRow,
};
use bowline_core::spec::{TaskSpec, Work};
use bowline_core::time::Timestamp;

use super::table::Table;
use crate::write::{CommitError, Leadership};

/// A task with what never changes.
#[derive(Debug, Clone)]
pub(super) struct StoredTask {
    pub(super) row: TaskRow,
    pub(super) spec: Arc<TaskSpec>,
    pub(super) works: Arc<Vec<Work>>,
}

/// A key, and when a sweep looks at it next.
#[derive(Debug, Clone)]
pub(super) struct StoredKey {
    pub(super) row: KeyRow,
    pub(super) looked_at: Timestamp,
}

/// Events of one commit.
#[derive(Debug, Clone)]
pub(super) struct StoredEvents {
    pub(super) at: Timestamp,
    pub(super) rows: Vec<HistoryRow>,
}

/// Everything that the store holds.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) leadership: Leadership,
    pub(super) counters: Table<(), Counters>,
    pub(super) tasks: Table<TaskId, StoredTask>,
    pub(super) elements: Table<(TaskId, u32), ElementRow>,
    pub(super) attempts: Table<AttemptRef, AttemptRow>,
    pub(super) results: Table<AttemptRef, ResultRow>,
    pub(super) artifacts: Table<(AttemptRef, String), ArtifactRow>,
    pub(super) runs: Table<RunId, NewRunRow>,
    pub(super) nodes: Table<(RunId, NodeIndex), NodeRow>,
    pub(super) workers: Table<WorkerId, WorkerRow>,
    pub(super) keys: Table<(Namespace, String), StoredKey>,
    pub(super) pauses: Table<Option<Namespace>, PauseMark>,
    pub(super) resources: Table<ResourceName, ResourceRow>,
    pub(super) namespaces: Table<Namespace, NamespaceRow>,
    pub(super) rates: Table<(Namespace, LimitKey), RateRow>,
    pub(super) gangs: Table<TaskId, GangRow>,
    pub(super) tokens: Table<[u8; 32], Token>,
    pub(super) history: Table<(Subject, u64), HistoryRow>,
    pub(super) events: Table<CommitNo, StoredEvents>,
    /// The last event that retention removed.
    pub(super) swept: Option<(CommitNo, u32)>,
}

/// Everything between the first and the last attempt that a task can have.
pub(super) fn all_attempts(from: TaskRef, to: TaskRef) -> RangeInclusive<AttemptRef> {
    let first = Fence { generation: Generation(0), attempt: AttemptNo(0) };
    let last = Fence { generation: Generation(u32::MAX), attempt: AttemptNo(u32::MAX) };
    AttemptRef { task: from, fence: first }..=AttemptRef { task: to, fence: last }
}

/// A task as a whole, its elements included.
pub(super) fn with_elements(task: TaskId) -> RangeInclusive<AttemptRef> {
    all_attempts(TaskRef::whole(task), TaskRef::element(task, u32::MAX))
}

fn wrong(table: &str, key: impl Display) -> CommitError {
    CommitError::RowCount { table: format!("{table} {key}"), touched: 0, expected: 1 }
}

/// The one rule of writing: version 1 is new, version *n* follows *n* - 1.
fn follows(stored: Option<u32>, version: u32) -> bool {
    match stored {
        None => version == 1,
        Some(stored) => version > 1 && stored == version - 1,
    }
}

fn check(fits: bool, table: &str, key: impl Display) -> Result<(), CommitError> {
    if fits { Ok(()) } else { Err(wrong(table, key)) }
}

impl State {
    /// Keeps or takes back what was done since the last time.
    pub(super) fn settle<T>(&mut self, done: Result<T, CommitError>) -> Result<T, CommitError> {
        macro_rules! all {
            ($method:ident) => {{
                self.counters.$method();
                self.tasks.$method();
                self.elements.$method();
                self.attempts.$method();
                self.results.$method();
                self.artifacts.$method();
                self.runs.$method();
                self.nodes.$method();
                self.workers.$method();
                self.keys.$method();
                self.pauses.$method();
                self.resources.$method();
                self.namespaces.$method();
                self.rates.$method();
                self.gangs.$method();
                self.tokens.$method();
                self.history.$method();
                self.events.$method();
            }};
        }
        if done.is_ok() {
            all!(keep);
        } else {
            all!(take_back);
        }
        done
    }

    /// Writes a batch; [`State::settle`] comes after.
    pub(super) fn write(&mut self, commit: CommitNo, now: Timestamp, batch: &Batch) -> Result<(), CommitError> {
        for line in &batch.history {
            let subject = line.subject.clone();
            let of_subject = (subject.clone(), 0)..=(subject.clone(), u64::MAX);
            let number = self.history.range(of_subject).next_back().map_or(1, |((_, number), _)| number + 1);
            self.history.put((subject, number), line.clone());
        }
        if !batch.history.is_empty() {
            self.events.put(commit, StoredEvents { at: now, rows: batch.history.clone() });
        }
        batch.rows.iter().try_for_each(|row| self.write_row(row))
    }

    #[expect(clippy::too_many_lines, reason = "one arm a kind of row")]
    fn write_row(&mut self, row: &Row) -> Result<(), CommitError> {
        match row {
            Row::Counters(counters) => self.counters.put((), *counters),
            Row::NewTask(new) => return self.new_task(new),
            Row::Task(row) => return self.task(row),
            Row::Element(row) => {
                let key = (row.task, row.index);
                let stored = self.elements.get(&key).map(|row| row.version);
                check(follows(stored, row.version), "elements", TaskRef::element(row.task, row.index))?;
                self.elements.put(key, row.as_ref().clone());
            }
            Row::Attempt(row) => {
                let stored = self.attempts.get(&row.attempt).map(|row| row.version);
                check(follows(stored, row.version), "attempts", row.attempt)?;
                self.attempts.put(row.attempt, row.as_ref().clone());
            }
            Row::Result(row) => {
                if !self.results.contains(&row.attempt) {
                    self.results.put(row.attempt, row.clone());
                }
            }
            Row::Artifact(row) => self.artifacts.put((row.attempt, row.name.clone()), row.clone()),
            Row::NewRun(new) => {
                let fits = !self.runs.contains(&new.row.id) && new.row.version == 1;
                check(fits, "runs", new.row.id)?;
                self.runs.put(new.row.id, new.as_ref().clone());
            }
            Row::Run(row) => return self.run(row),
            Row::Node(row) => {
                let key = (row.run, row.node);
                let stored = self.nodes.get(&key).map(|row| row.version);
                check(follows(stored, row.version), "nodes", format_args!("{} of run {}", row.node, row.run))?;
                self.nodes.put(key, row.as_ref().clone());
            }
            Row::Worker(row) => return self.worker(row),
            Row::WorkerGone(id) => check(self.workers.remove(id), "workers", id)?,
            Row::Resource(row) => {
                let stored = self.resources.get(&row.name).map(|row| row.version);
                check(follows(stored, row.version), "resources", &row.name)?;
                self.resources.put(row.name.clone(), row.as_ref().clone());
            }
            Row::Namespace(row) => {
                let stored = self.namespaces.get(&row.name).map(|row| row.version);
                check(follows(stored, row.version), "namespaces", &row.name)?;
                self.namespaces.put(row.name.clone(), row.as_ref().clone());
            }
            Row::Rate(row) => {
                let key = (row.namespace.clone(), row.key.clone());
                if row.starts.is_empty() {
                    self.rates.remove(&key);
                } else {
                    self.rates.put(key, row.clone());
                }
            }
            Row::ResourceGone(name) => check(self.resources.remove(name), "resources", name)?,
            Row::Gang(row) => {
                let stored = self.gangs.get(&row.id).map(|row| row.version);
                check(follows(stored, row.version), "gangs", row.id)?;
                self.gangs.put(row.id, row.as_ref().clone());
            }
            Row::GangGone(id) => check(self.gangs.remove(id), "gangs", *id)?,
            Row::Key(row) => {
                let key = (row.namespace.clone(), row.key.clone());
                check(!self.keys.contains(&key), "keys", &row.key)?;
                self.keys.put(key, StoredKey { row: row.clone(), looked_at: row.at });
            }
            Row::Pause(row) => match &row.mark {
                Some(mark) => self.pauses.put(row.namespace.clone(), mark.clone()),
                None => drop(self.pauses.remove(&row.namespace)),
            },
            Row::Token(token) => self.tokens.put(token.hash, token.clone()),
            Row::TokenGone(hash) => check(self.tokens.remove(hash), "tokens", "to be used up")?,
            Row::TaskGone(task) => check(self.forget_task(*task), "tasks", task)?,
        }
        Ok(())
    }

    fn new_task(&mut self, new: &NewTaskRow) -> Result<(), CommitError> {
        let id = new.row.id;
        check(!self.tasks.contains(&id) && new.row.version == 1, "tasks", id)?;
        let (spec, works) = (Arc::clone(&new.spec), Arc::clone(&new.elements));
        self.tasks.put(id, StoredTask { row: new.row.clone(), spec, works });
        Ok(())
    }

    /// What a task is called and where it belongs stays as it was inserted.
    fn task(&mut self, row: &TaskRow) -> Result<(), CommitError> {
        let Some(old) = self.tasks.get(&row.id) else { return Err(wrong("tasks", row.id)) };
        check(follows(Some(old.row.version), row.version), "tasks", row.id)?;
        let mut stored = old.clone();
        stored.row = TaskRow {
            namespace: stored.row.namespace,
            name: stored.row.name,
            action: stored.row.action,
            run: stored.row.run,
            step: stored.row.step,
            created_by: stored.row.created_by,
            submitted_at: stored.row.submitted_at,
            ..row.clone()
        };
        self.tasks.put(row.id, stored);
        Ok(())
    }

    /// What a run is called and where it belongs stays as it was inserted.
    fn run(&mut self, row: &RunRow) -> Result<(), CommitError> {
        let Some(old) = self.runs.get(&row.id) else { return Err(wrong("runs", row.id)) };
        check(follows(Some(old.row.version), row.version), "runs", row.id)?;
        let mut stored = old.clone();
        stored.row = RunRow {
            namespace: stored.row.namespace,
            workflow: stored.row.workflow,
            created_by: stored.row.created_by,
            ..row.clone()
        };
        self.runs.put(row.id, stored);
        Ok(())
    }

    fn worker(&mut self, row: &WorkerRow) -> Result<(), CommitError> {
        let stored = self.workers.get(&row.id).map(|row| row.version);
        let taken = self.workers.values().any(|other| other.name == row.name && other.id != row.id);
        check(follows(stored, row.version) && !taken, "workers", &row.name)?;
        self.workers.put(row.id, row.clone());
        Ok(())
    }

    /// Removes a task with everything that hangs on it. Whether it was there.
    pub(super) fn forget_task(&mut self, task: TaskId) -> bool {
        self.elements.remove_range((task, 0)..=(task, u32::MAX));
        self.attempts.remove_range(with_elements(task));
        self.results.remove_range(with_elements(task));
        let attempts = with_elements(task);
        let after_all = (*attempts.end(), char::MAX.to_string());
        self.artifacts.remove_range((*attempts.start(), String::new())..=after_all);
        let history =
            (Subject::Task(TaskRef::whole(task)), 0)..=(Subject::Task(TaskRef::element(task, u32::MAX)), u64::MAX);
        self.history.remove_range(history);
        self.tasks.remove(&task)
    }

    /// Removes a run with its nodes and history, its tasks left out.
    pub(super) fn forget_run(&mut self, run: RunId) {
        self.nodes.remove_range((run, NodeIndex(0))..=(run, NodeIndex(u32::MAX)));
        self.history.remove_range((Subject::Run(run), 0)..=(Subject::Run(run), u64::MAX));
        self.runs.remove(&run);
    }
}
