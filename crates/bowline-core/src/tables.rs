//! The rows as tables in memory: what a store must do with batches, without a store. Crash tests
//! build a new engine from it, and stores may be compared with it.
//!
//! It asserts the rule of writing (see [`crate::row`]) and panics where a batch breaks it: a broken
//! batch is a mistake in the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::effect::Batch;
use crate::fair::{NamespaceRow, RateRow};
use crate::gang::GangRow;
use crate::id::{AttemptRef, NodeIndex, RunId, TaskId, TaskRef, WorkerId};
use crate::input::{Fact, Need, Token};
use crate::name::{LimitKey, Namespace, ResourceName};
use crate::resource::ResourceRow;
use crate::row::{
    ArtifactRow, AttemptRow, Counters, ElementRow, EndedRun, EndedTask, HistoryRow, KeyRow, Loaded, NodeRow, PauseRow,
    ResultRow, Row, RunRow, TaskRow, WorkerRow, key_hash,
};
use crate::run::Graph;
use crate::spec::{TaskSpec, Work};
use crate::state::{AttemptEnd, StateKind};

/// All rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// The last batch.
    pub batch: u64,
    /// Where the numbers stand.
    pub counters: Counters,
    /// Tasks.
    pub tasks: BTreeMap<TaskId, TaskRow>,
    /// Their descriptions, and their elements' work.
    pub specs: BTreeMap<TaskId, (Arc<TaskSpec>, Arc<Vec<Work>>)>,
    /// Elements.
    pub elements: BTreeMap<(TaskId, u32), ElementRow>,
    /// Attempts.
    pub attempts: BTreeMap<AttemptRef, AttemptRow>,
    /// Results.
    pub results: BTreeMap<AttemptRef, ResultRow>,
    /// Artifacts.
    pub artifacts: BTreeMap<(AttemptRef, String), ArtifactRow>,
    /// Runs.
    pub runs: BTreeMap<RunId, RunRow>,
    /// Their shapes.
    pub graphs: BTreeMap<RunId, Arc<Graph>>,
    /// Nodes.
    pub nodes: BTreeMap<(RunId, NodeIndex), NodeRow>,
    /// Workers.
    pub workers: BTreeMap<WorkerId, WorkerRow>,
    /// Keys.
    pub keys: BTreeMap<(Namespace, String), KeyRow>,
    /// Pauses.
    pub pauses: BTreeMap<Option<Namespace>, PauseRow>,
    /// Gangs of which a member has not ended.
    pub gangs: BTreeMap<TaskId, GangRow>,
    /// Declared resources.
    pub resources: BTreeMap<ResourceName, ResourceRow>,
    /// What is set about namespaces.
    pub namespaces: BTreeMap<Namespace, NamespaceRow>,
    /// Starts that count under keys.
    pub rates: BTreeMap<(Namespace, LimitKey), RateRow>,
    /// Tokens by hash.
    pub tokens: BTreeMap<[u8; 32], Token>,
    /// Every line.
    pub history: Vec<HistoryRow>,
}

/// Version 1 is inserted, *n* replaces *n* - 1.
fn write<K: Ord + std::fmt::Debug, V>(table: &mut BTreeMap<K, V>, key: K, row: V, version: impl Fn(&V) -> u32) {
    let (new, old) = (version(&row), table.get(&key).map_or(0, &version));
    assert_eq!(new, old + 1, "the version of {key:?}");
    table.insert(key, row);
}

impl Tables {
    /// Makes a batch durable.
    pub fn commit(&mut self, batch: &Batch) {
        assert_eq!(batch.number, self.batch + 1, "batches come in order");
        self.batch = batch.number;
        let mut keys = BTreeSet::new();
        for row in &batch.rows {
            assert!(keys.insert(row_key(row)), "a row is written at most once a batch: {row:?}");
            self.write(row);
        }
        self.history.extend(batch.history.iter().cloned());
    }

    fn write(&mut self, row: &Row) {
        match row {
            Row::Counters(counters) => self.counters = *counters,
            Row::NewTask(new) => {
                assert_eq!(new.row.version, 1, "a new task begins at version 1");
                write(&mut self.tasks, new.row.id, new.row.clone(), |row| row.version);
                self.specs.insert(new.row.id, (Arc::clone(&new.spec), Arc::clone(&new.elements)));
            }
            Row::Task(row) => {
                assert!(row.version > 1, "a task is inserted with its description");
                write(&mut self.tasks, row.id, (**row).clone(), |row| row.version);
            }
            Row::Element(row) => {
                write(&mut self.elements, (row.task, row.index), (**row).clone(), |row| row.version);
            }
            Row::Attempt(row) => write(&mut self.attempts, row.attempt, (**row).clone(), |row| row.version),
            Row::Result(row) => {
                self.results.entry(row.attempt).or_insert_with(|| row.clone());
            }
            Row::Artifact(row) => {
                self.artifacts.insert((row.attempt, row.name.clone()), row.clone());
            }
            Row::NewRun(new) => {
                assert_eq!(new.row.version, 1, "a new run begins at version 1");
                write(&mut self.runs, new.row.id, new.row.clone(), |row| row.version);
                self.graphs.insert(new.row.id, Arc::clone(&new.graph));
            }
            Row::Run(row) => write(&mut self.runs, row.id, (**row).clone(), |row| row.version),
            Row::Node(row) => write(&mut self.nodes, (row.run, row.node), (**row).clone(), |row| row.version),
            Row::Worker(row) => write(&mut self.workers, row.id, (**row).clone(), |row| row.version),
            Row::WorkerGone(id) => assert!(self.workers.remove(id).is_some(), "the worker was there"),
            Row::Key(row) => {
                let old = self.keys.insert((row.namespace.clone(), row.key.clone()), row.clone());
                assert_eq!(old, None, "a key is inserted once");
            }
            Row::Pause(row) => {
                if row.mark.is_some() {
                    self.pauses.insert(row.namespace.clone(), row.clone());
                } else {
                    self.pauses.remove(&row.namespace);
                }
            }
            Row::Resource(row) => {
                write(&mut self.resources, row.name.clone(), (**row).clone(), |row| row.version);
            }
            Row::Namespace(row) => {
                write(&mut self.namespaces, row.name.clone(), (**row).clone(), |row| row.version);
            }
            Row::Rate(row) => {
                let key = (row.namespace.clone(), row.key.clone());
                if row.starts.is_empty() {
                    self.rates.remove(&key);
                } else {
                    self.rates.insert(key, row.clone());
                }
            }
            Row::ResourceGone(name) => assert!(self.resources.remove(name).is_some(), "the resource was there"),
            Row::Gang(row) => write(&mut self.gangs, row.id, (**row).clone(), |row| row.version),
            Row::GangGone(id) => assert!(self.gangs.remove(id).is_some(), "the gang was there"),
            Row::Token(token) => {
                self.tokens.insert(token.hash, token.clone());
            }
            Row::TokenGone(hash) => assert!(self.tokens.remove(hash).is_some(), "the token was there"),
            Row::TaskGone(id) => self.remove_task(*id),
        }
    }

    fn remove_task(&mut self, id: TaskId) {
        assert!(self.tasks.remove(&id).is_some_and(|row| row.unit.state.is_ended()), "{id} was there, and ended");
        self.specs.remove(&id);
        self.elements.retain(|(task, _), _| *task != id);
        self.attempts.retain(|attempt, _| attempt.task.task != id);
        self.results.retain(|attempt, _| attempt.task.task != id);
        self.artifacts.retain(|(attempt, _), _| attempt.task.task != id);
    }

    /// What a take-over reads, in the order of [`Loaded`].
    pub fn load(&self) -> Vec<Loaded> {
        let mut rows = vec![Loaded::Counters(self.counters)];
        rows.extend(self.workers.values().map(|row| Loaded::Worker(Box::new(row.clone()))));
        rows.extend(self.pauses.values().map(|row| Loaded::Pause(row.clone())));
        rows.extend(self.tokens.values().map(|token| Loaded::Token(token.clone())));
        rows.extend(self.resources.values().map(|row| Loaded::Resource(Box::new(row.clone()))));
        rows.extend(self.namespaces.values().map(|row| Loaded::Namespace(Box::new(row.clone()))));
        rows.extend(self.rates.values().map(|row| Loaded::Rate(row.clone())));
        rows.extend(self.gangs.values().map(|row| Loaded::Gang(Box::new(row.clone()))));
        let runs: Vec<&RunRow> = self.runs.values().filter(|run| !run.state.is_ended()).collect();
        rows.extend(runs.iter().map(|run| Loaded::Run(Box::new((*run).clone()), Arc::clone(&self.graphs[&run.id]))));
        let is_open_run = |run: &RunId| self.runs.get(run).is_some_and(|run| !run.state.is_ended());
        let nodes = self.nodes.values().filter(|node| is_open_run(&node.run));
        rows.extend(nodes.map(|row| Loaded::Node(Box::new(row.clone()))));
        let open: Vec<&TaskRow> = self.tasks.values().filter(|task| !task.unit.state.is_ended()).collect();
        rows.extend(open.iter().map(|row| Loaded::Task(Box::new((*row).clone()), Arc::clone(&self.specs[&row.id].0))));
        let is_open = |task: &TaskId| self.tasks.get(task).is_some_and(|task| !task.unit.state.is_ended());
        let elements = self.elements.values().filter(|element| is_open(&element.task));
        rows.extend(elements.map(|row| Loaded::Element(Box::new(row.clone()))));
        let wanted = |row: &&AttemptRow| row.end.is_none_or(AttemptEnd::is_loss) && is_open(&row.attempt.task.task);
        let live = self.attempts.values().filter(wanted);
        rows.extend(live.map(|row| Loaded::Attempt(Box::new(row.clone()))));
        let targets: BTreeSet<TaskRef> =
            open.iter().flat_map(|row| self.specs[&row.id].0.after.iter().map(|dependency| dependency.task)).collect();
        rows.extend(targets.into_iter().filter_map(|target| Some(Loaded::Ended(target, self.ended_state(target)?))));
        let mut keys: Vec<u64> = self.keys.keys().map(|(namespace, key)| key_hash(namespace.as_str(), key)).collect();
        keys.sort_unstable();
        rows.push(Loaded::Keys(keys));
        rows
    }

    fn ended_state(&self, target: TaskRef) -> Option<StateKind> {
        let task = self.tasks.get(&target.task)?;
        let element = target.index.and_then(|index| self.elements.get(&(target.task, index)));
        let state = element.map_or(task.unit.state, |element| element.unit.state);
        (task.unit.state.is_ended() && state.is_ended()).then_some(state)
    }

    /// Answers one need of a parked input.
    pub fn fact(&self, need: &Need) -> Fact {
        match need {
            Need::Task(id) => Fact::Task(self.tasks.get(id).filter(|row| row.unit.state.is_ended()).map(|row| {
                let elements = self.elements.range((*id, 0)..=(*id, u32::MAX)).map(|(_, row)| row.clone()).collect();
                Box::new(EndedTask { row: row.clone(), spec: Arc::clone(&self.specs[id].0), elements })
            })),
            Need::Run(id) => Fact::Run(self.runs.get(id).filter(|row| row.state.is_ended()).map(|row| {
                let range = (*id, NodeIndex(0))..=(*id, NodeIndex(u32::MAX));
                let nodes = self.nodes.range(range).map(|(_, row)| row.clone()).collect();
                Box::new(EndedRun { row: row.clone(), graph: Arc::clone(&self.graphs[id]), nodes })
            })),
            Need::Key { namespace, key } => Fact::Key(self.keys.get(&(namespace.clone(), key.clone())).cloned()),
        }
    }
}

/// What a row is, as text, to tell whether it is written twice.
fn row_key(row: &Row) -> String {
    match row {
        Row::Counters(_) => "counters".to_owned(),
        Row::NewTask(new) => format!("task {}", new.row.id),
        Row::Task(row) => format!("task {}", row.id),
        Row::Element(row) => format!("element {}.{}", row.task, row.index),
        Row::Attempt(row) => format!("attempt {:?}", row.attempt),
        Row::Result(row) => format!("result {:?}", row.attempt),
        Row::Artifact(row) => format!("artifact {:?} {}", row.attempt, row.name),
        Row::NewRun(new) => format!("run {}", new.row.id),
        Row::Run(row) => format!("run {}", row.id),
        Row::Node(row) => format!("node {} {}", row.run, row.node),
        Row::Worker(row) => format!("worker {}", row.id),
        Row::WorkerGone(id) => format!("worker gone {id}"),
        Row::Key(row) => format!("key {} {}", row.namespace, row.key),
        Row::Pause(row) => format!("pause {:?}", row.namespace),
        Row::Token(token) => format!("token {:?}", token.hash),
        Row::TokenGone(hash) => format!("token gone {hash:?}"),
        Row::TaskGone(id) => format!("task gone {id}"),
        Row::Resource(row) => format!("resource {}", row.name),
        Row::Namespace(row) => format!("namespace {}", row.name),
        Row::Rate(row) => format!("rate {} {}", row.namespace, row.key),
        Row::ResourceGone(name) => format!("resource gone {name}"),
        Row::Gang(row) => format!("gang {}", row.id),
        Row::GangGone(id) => format!("gang gone {id}"),
    }
}
