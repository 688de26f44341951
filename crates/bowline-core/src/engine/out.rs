//! What changed since the last batch, and what follows from it. Each row is written at most once a
//! batch: its version is raised at its first change, its newest state is taken at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::{Batch, Effect};
use crate::id::{AttemptNo, AttemptRef, NodeIndex, RunId, TaskId, TaskRef, WorkerId};
use crate::input::Token;
use crate::name::{Actor, LimitKey, Namespace, ResourceName};
use crate::row::{
    ArtifactRow, AttemptRow, ElementRow, HistoryRow, KeyRow, NewRunRow, NewTaskRow, NodeRow, PauseRow, ResultRow, Row,
    Subject, TaskRow,
};
use crate::spec::{TaskSpec, Work};

use super::Engine;
use super::table::Task;

/// Who moves something, and why.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    pub actor: Actor,
    pub reason: String,
}

impl Cause {
    pub(super) fn new(actor: &Actor, reason: impl Into<String>) -> Self {
        Self { actor: actor.clone(), reason: reason.into() }
    }

    pub(super) fn server(reason: impl Into<String>) -> Self {
        Self { actor: Actor::server(), reason: reason.into() }
    }
}

/// What never changes about a new run.
#[derive(Debug)]
pub(super) struct NewRunParts {
    pub source: Arc<str>,
    pub inputs: Arc<str>,
}

/// Work of a new task's elements, where they differ, with its description.
type NewTaskParts = (Arc<TaskSpec>, Arc<Vec<Work>>);

/// Changed and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// The last batch taken.
    pub number: u64,
    pub counters: Changed,
    pub new_tasks: BTreeMap<TaskId, NewTaskParts>,
    pub tasks: BTreeSet<TaskId>,
    pub elements: BTreeMap<(TaskId, u32), ElementRow>,
    pub attempts: BTreeMap<AttemptRef, AttemptRow>,
    pub results: BTreeMap<AttemptRef, ResultRow>,
    pub artifacts: BTreeMap<(AttemptRef, String), ArtifactRow>,
    pub new_runs: BTreeMap<RunId, NewRunParts>,
    pub runs: BTreeSet<RunId>,
    pub nodes: BTreeSet<(RunId, NodeIndex)>,
    pub workers: BTreeSet<WorkerId>,
    pub workers_gone: BTreeSet<WorkerId>,
    pub keys: Vec<KeyRow>,
    pub pauses: BTreeMap<Option<Namespace>, PauseRow>,
    pub resources: BTreeSet<ResourceName>,
    pub resources_gone: BTreeSet<ResourceName>,
    pub namespaces: BTreeSet<Namespace>,
    pub rates: BTreeSet<(Namespace, LimitKey)>,
    pub gangs: BTreeSet<TaskId>,
    pub gangs_gone: BTreeSet<TaskId>,
    pub tokens: Vec<Token>,
    pub tokens_gone: Vec<[u8; 32]>,
    pub tasks_gone: BTreeSet<TaskId>,
    pub history: Vec<HistoryRow>,
    pub effects: Vec<Effect>,
    /// Attempts that were given to workers, who hear of them once this is durable.
    pub given: usize,
}

/// Whether something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Changed {
    #[default]
    No,
    Yes,
}

impl Engine {
    /// Whether nothing has changed since the last batch was taken.
    pub(super) fn has_no_rows(&self) -> bool {
        let out = &self.out;
        let about_tasks = out.tasks.is_empty() && out.elements.is_empty() && out.tasks_gone.is_empty();
        let about_attempts = out.attempts.is_empty() && out.results.is_empty() && out.artifacts.is_empty();
        let about_runs = out.runs.is_empty() && out.nodes.is_empty();
        let about_workers = out.workers.is_empty() && out.workers_gone.is_empty();
        let about_doors = out.tokens.is_empty() && out.tokens_gone.is_empty() && out.keys.is_empty();
        about_tasks
            && about_attempts
            && about_runs
            && about_workers
            && about_doors
            && out.pauses.is_empty()
            && out.resources.is_empty()
            && out.resources_gone.is_empty()
            && out.namespaces.is_empty()
            && out.rates.is_empty()
            && out.gangs.is_empty()
            && out.gangs_gone.is_empty()
            && out.counters == Changed::No
            && out.history.is_empty()
    }

    /// The batch that is being filled.
    pub(super) fn filling(&self) -> u64 {
        self.out.number + 1
    }

    /// The task's row is to be written.
    pub(super) fn touch_task(&mut self, id: TaskId) {
        let filling = self.filling();
        if let Some(task) = self.tasks.get_mut(&id) {
            task.written = filling;
            if self.out.tasks.insert(id) {
                task.version += 1;
            }
        }
    }

    /// The element's row is to be written as it is now.
    pub(super) fn touch_element(&mut self, task: TaskId, index: u32) {
        let element = self.tasks.get_mut(&task).and_then(|task| task.array_mut()?.elements.get_mut(&index));
        if let Some(element) = element {
            if !self.out.elements.contains_key(&(task, index)) {
                element.version += 1;
            }
            let row = ElementRow { task, index, version: element.version, unit: element.hot.row() };
            self.out.elements.insert((task, index), row);
        }
    }

    /// The unit's row is to be written.
    pub(super) fn touch_unit(&mut self, unit: TaskRef) {
        match unit.index {
            None => self.touch_task(unit.task),
            Some(index) => self.touch_element(unit.task, index),
        }
    }

    /// The attempt's row is to be written as it is now.
    pub(super) fn touch_attempt(&mut self, attempt: AttemptRef) {
        if let Some(row) = self.attempts.get_mut(&attempt) {
            if !self.out.attempts.contains_key(&attempt) {
                row.version += 1;
            }
            self.out.attempts.insert(attempt, row.clone());
        }
    }

    pub(super) fn touch_worker(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && self.out.workers.insert(id)
        {
            worker.row.version += 1;
        }
    }

    pub(super) fn touch_run(&mut self, id: RunId) {
        let filling = self.filling();
        if let Some(run) = self.runs.get_mut(&id) {
            run.written = filling;
            if self.out.runs.insert(id) {
                run.row.version += 1;
            }
        }
    }

    pub(super) fn touch_node(&mut self, run: RunId, node: NodeIndex) {
        if let Some(state) = self.runs.get_mut(&run).and_then(|run| run.nodes.get_mut(node.0 as usize))
            && self.out.nodes.insert((run, node))
        {
            state.version += 1;
        }
    }

    /// A line of a task's or element's history.
    pub(super) fn tell(&mut self, unit: TaskRef, attempt: AttemptNo, what: &str, cause: &Cause) {
        let namespace = self.tasks.get(&unit.task).map(|task| task.policy.namespace.clone());
        self.tell_of(Subject::Task(unit), namespace, attempt, what, cause);
    }

    /// A line of anything's history.
    #[expect(clippy::too_many_arguments, reason = "a line of history is all of these")]
    pub(super) fn tell_of(
        &mut self,
        subject: Subject,
        namespace: Option<Namespace>,
        attempt: AttemptNo,
        what: &str,
        cause: &Cause,
    ) {
        self.out.history.push(HistoryRow {
            subject,
            namespace,
            at: self.now,
            what: what.to_owned(),
            attempt,
            actor: cause.actor.clone(),
            reason: cause.reason.clone(),
        });
    }

    /// Takes everything as one batch. An empty one is not counted.
    pub(super) fn collect(&mut self) -> Batch {
        let number = self.filling();
        let rows = self.collect_rows();
        let batch = Batch {
            number,
            rows,
            history: std::mem::take(&mut self.out.history),
            effects: std::mem::take(&mut self.out.effects),
        };
        if !batch.is_empty() {
            self.out.number = number;
        }
        batch
    }

    fn task_row(&self, id: TaskId, task: &Task) -> TaskRow {
        let mut row = task.row(id);
        row.unit.until = row.unit.until.or_else(|| self.aside_since(task));
        row
    }

    fn collect_rows(&mut self) -> Vec<Row> {
        let out = std::mem::take(&mut self.out);
        let mut rows = Vec::with_capacity(out.tasks.len() + out.attempts.len() + out.elements.len() + 4);
        if out.counters == Changed::Yes {
            rows.push(Row::Counters(self.counters));
        }
        let mut new_tasks = out.new_tasks;
        let mut changed_tasks = Vec::new();
        for id in out.tasks {
            let Some(task) = self.tasks.get(&id) else { continue };
            match new_tasks.remove(&id) {
                Some((spec, elements)) => {
                    rows.push(Row::NewTask(Box::new(NewTaskRow { row: self.task_row(id, task), spec, elements })));
                }
                None => changed_tasks.push(Row::Task(Box::new(self.task_row(id, task)))),
            }
        }
        rows.append(&mut changed_tasks);
        rows.extend(out.elements.into_values().map(|row| Row::Element(Box::new(row))));
        rows.extend(out.attempts.into_values().map(|row| Row::Attempt(Box::new(row))));
        rows.extend(out.results.into_values().map(Row::Result));
        rows.extend(out.artifacts.into_values().map(Row::Artifact));
        self.collect_runs(out.new_runs, &out.runs, &mut rows);
        rows.extend(out.nodes.iter().filter_map(|(run, node)| self.node_row(*run, *node)).map(Row::Node));
        // Before the workers: a name that was forgotten may be taken again.
        rows.extend(out.workers_gone.into_iter().map(Row::WorkerGone));
        rows.extend(out.workers.iter().filter_map(|id| Some(Row::Worker(Box::new(self.workers.get(id)?.row.clone())))));
        rows.extend(out.keys.into_iter().map(Row::Key));
        rows.extend(out.pauses.into_values().map(Row::Pause));
        rows.extend(out.resources_gone.into_iter().map(Row::ResourceGone));
        let resources = out.resources.iter().filter_map(|name| self.lines.get(name)?.row.clone());
        rows.extend(resources.map(|row| Row::Resource(Box::new(row))));
        let rooms = out.namespaces.iter().filter_map(|name| Some(self.rooms.get(name)?.row.clone()));
        rows.extend(rooms.map(|row| Row::Namespace(Box::new(row))));
        rows.extend(out.rates.iter().map(|key| Row::Rate(self.rate_row(key))));
        rows.extend(out.gangs_gone.into_iter().map(Row::GangGone));
        rows.extend(self.gang_rows(&out.gangs).into_iter().map(|row| Row::Gang(Box::new(row))));
        rows.extend(out.tokens.into_iter().map(Row::Token));
        rows.extend(out.tokens_gone.into_iter().map(Row::TokenGone));
        rows.extend(out.tasks_gone.into_iter().map(Row::TaskGone));
        self.out = Out { number: out.number, history: out.history, effects: out.effects, ..Out::default() };
        rows
    }

    fn collect_runs(&self, mut new: BTreeMap<RunId, NewRunParts>, changed: &BTreeSet<RunId>, rows: &mut Vec<Row>) {
        let mut updates = Vec::new();
        for id in changed {
            let Some(run) = self.runs.get(id) else { continue };
            match new.remove(id) {
                Some(parts) => rows.push(Row::NewRun(Box::new(NewRunRow {
                    row: run.row.clone(),
                    source: parts.source,
                    inputs: parts.inputs,
                    graph: Arc::clone(&run.graph),
                }))),
                None => updates.push(Row::Run(Box::new(run.row.clone()))),
            }
        }
        rows.append(&mut updates);
    }

    fn node_row(&self, run: RunId, node: NodeIndex) -> Option<Box<NodeRow>> {
        let state = self.runs.get(&run)?.nodes.get(node.0 as usize)?;
        Some(Box::new(NodeRow {
            run,
            node,
            version: state.version,
            state: state.state,
            outcome: state.outcome.clone(),
            due_version: state.due_version,
        }))
    }
}
