//! Random batches, wrong ones among them, sweeps, take-overs and restarts, done to the in-memory
//! store and to this one: after every step, all that can be read of them is the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::effect::Batch;
use bowline_core::fair::{NamespaceRow, RateRow};
use bowline_core::id::{Epoch, NodeIndex, RunId, TaskId, TaskRef, Ticket, WorkerId};
use bowline_core::input::TokenRole;
use bowline_core::resource::ResourceRow;
use bowline_core::row::{
    ArrayCounts, AttemptRow, Counters, ElementRow, HistoryRow, Loaded, NodeRow, PauseRow, Row, RunRow, Subject,
    TaskRow, WorkerRow,
};
use bowline_core::run::{NodeEnd, NodeState, RunState};
use bowline_core::spec::{Dependency, TaskSpec};
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::Timestamp;
use bowline_store::conformance::ok;
use bowline_store::conformance::rows;
use bowline_store::conformance::snapshot::{Questions, Snapshot};
use bowline_store::{CommitError, LeaderStore, MemoryStore, RetentionPolicy, RetentionStore, TaskFilter};
use proptest::prelude::*;
use proptest::sample::Index;

use super::{folder, opened};
use crate::Opened;

/// Ids that things have: few, so that they meet.
const IDS: u64 = 6;

/// One change of one thing.
#[derive(Debug, Clone)]
enum Change {
    /// A new task, or the next version of one that is there.
    Task {
        id: u64,
        state: Index,
        run: Option<u64>,
        needs: Option<u64>,
        label: bool,
        worker: Option<u32>,
    },
    Element {
        task: u64,
        index: u32,
        state: Index,
    },
    Attempt {
        task: u64,
        index: Option<u32>,
        number: u32,
        end: Option<Index>,
    },
    Result {
        task: u64,
        index: Option<u32>,
        number: u32,
    },
    Artifact {
        task: u64,
        number: u32,
        bytes: u64,
    },
    Run {
        id: u64,
        state: Index,
    },
    Node {
        run: u64,
        node: u32,
        state: Index,
    },
    Worker {
        id: u32,
    },
    Resource {
        name: u8,
        gone: bool,
    },
    Namespace {
        name: u8,
    },
    Rate {
        name: u8,
        starts: u8,
    },
    Key {
        name: u8,
        task: u64,
    },
    Pause {
        namespace: Option<bool>,
        marked: bool,
    },
    Token {
        byte: u8,
        gone: bool,
    },
    TaskGone {
        task: u64,
    },
    Counters {
        task: u64,
    },
}

/// One step.
#[derive(Debug, Clone)]
enum Step {
    /// A commit; `off` moves the version of its row at that place, so that it is wrong.
    Commit {
        changes: Vec<Change>,
        lines: Vec<(u8, u64)>,
        off: Option<(Index, bool)>,
        deposed: bool,
    },
    Sweep {
        batch_max: usize,
        ended: u64,
        events: u64,
        keys: u64,
    },
    TakeOver,
    Reopen,
}

fn change() -> impl Strategy<Value = Change> {
    let id = 1..=IDS;
    let place = prop::option::of(0..3_u32);
    prop_oneof![
        6 => (id.clone(), any::<Index>(), prop::option::of(id.clone()), prop::option::of(id.clone()), any::<bool>(), prop::option::of(1..3_u32))
            .prop_map(|(id, state, run, needs, label, worker)| Change::Task { id, state, run, needs, label, worker }),
        2 => (id.clone(), 0..3_u32, any::<Index>()).prop_map(|(task, index, state)| Change::Element { task, index, state }),
        3 => (id.clone(), place.clone(), 1..4_u32, prop::option::of(any::<Index>()))
            .prop_map(|(task, index, number, end)| Change::Attempt { task, index, number, end }),
        1 => (id.clone(), place, 1..4_u32).prop_map(|(task, index, number)| Change::Result { task, index, number }),
        1 => (id.clone(), 1..3_u32, any::<u64>()).prop_map(|(task, number, bytes)| Change::Artifact { task, number, bytes }),
        2 => (id.clone(), any::<Index>()).prop_map(|(id, state)| Change::Run { id, state }),
        2 => (id.clone(), 0..2_u32, any::<Index>()).prop_map(|(run, node, state)| Change::Node { run, node, state }),
        1 => (1..4_u32).prop_map(|id| Change::Worker { id }),
        2 => (0..3_u8, prop::bool::weighted(0.3)).prop_map(|(name, gone)| Change::Resource { name, gone }),
        1 => (0..3_u8).prop_map(|name| Change::Namespace { name }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(name, starts)| Change::Rate { name, starts }),
        1 => (0..4_u8, id.clone()).prop_map(|(name, task)| Change::Key { name, task }),
        1 => (prop::option::of(any::<bool>()), any::<bool>()).prop_map(|(namespace, marked)| Change::Pause { namespace, marked }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(byte, gone)| Change::Token { byte, gone }),
        1 => id.clone().prop_map(|task| Change::TaskGone { task }),
        1 => id.prop_map(|task| Change::Counters { task }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let lines = prop::collection::vec((0..6_u8, 1..=IDS), 0..4);
    let off = prop::option::weighted(0.15, (any::<Index>(), any::<bool>()));
    prop_oneof![
        12 => (prop::collection::vec(change(), 0..8), lines, off, prop::bool::weighted(0.05))
            .prop_map(|(changes, lines, off, deposed)| Step::Commit { changes, lines, off, deposed }),
        2 => (1..5_usize, 0..4_u64, 0..4_u64, 0..4_u64)
            .prop_map(|(batch_max, ended, events, keys)| Step::Sweep { batch_max, ended, events, keys }),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Reopen),
    ]
}

/// What has been written, so that most batches fit.
#[derive(Debug, Clone, Default)]
struct Known {
    tasks: BTreeMap<u64, TaskRow>,
    elements: BTreeMap<(u64, u32), ElementRow>,
    attempts: BTreeMap<(TaskRef, u32), AttemptRow>,
    runs: BTreeMap<u64, RunRow>,
    nodes: BTreeMap<(u64, u32), NodeRow>,
    workers: BTreeMap<u32, WorkerRow>,
    resources: BTreeMap<u8, u32>,
    namespaces: BTreeMap<u8, u32>,
}

impl Known {
    /// The row of a change, in its next version.
    fn row(&mut self, change: &Change, at: u64) -> Row {
        match change {
            Change::Task { .. } => self.task(change, at),
            Change::Element { task, index, state } => {
                let version = self.elements.get(&(*task, *index)).map_or(1, |row| row.version + 1);
                let row = ElementRow { version, ..rows::element(*task, *index, *state.get(&StateKind::ALL)) };
                self.elements.insert((*task, *index), row.clone());
                Row::Element(Box::new(row))
            }
            Change::Attempt { task, index, number, end } => {
                let of = TaskRef { task: TaskId(*task), index: *index };
                let row = match (self.attempts.get(&(of, *number)), end) {
                    (None, _) => rows::attempt(of, *number, at),
                    (Some(old), None) => AttemptRow { version: old.version + 1, ..rows::attempt(of, *number, at) },
                    (Some(old), Some(end)) => rows::ended_attempt(old, *end.get(&AttemptEnd::ALL), at),
                };
                self.attempts.insert((of, *number), row.clone());
                Row::Attempt(Box::new(row))
            }
            Change::Result { task, index, number } => {
                let of = TaskRef { task: TaskId(*task), index: *index };
                Row::Result(rows::result(of, *number, &format!("{{\"at\":{at}}}")))
            }
            Change::Artifact { task, number, bytes } => {
                Row::Artifact(rows::artifact(TaskRef::whole(TaskId(*task)), *number, "report", *bytes))
            }
            Change::Run { id, state } => self.run(*id, *state, at),
            Change::Node { run, node, state } => {
                let states = [
                    NodeState::Pending,
                    NodeState::Due,
                    NodeState::Active { task: TaskId(at) },
                    NodeState::Ended { how: NodeEnd::Failed, task: Some(TaskId(at)) },
                ];
                let version = self.nodes.get(&(*run, *node)).map_or(1, |row| row.version + 1);
                let row = NodeRow { version, ..rows::node(*run, *node, *state.get(&states)) };
                self.nodes.insert((*run, *node), row.clone());
                Row::Node(Box::new(row))
            }
            Change::Worker { id } => {
                let version = self.workers.get(id).map_or(1, |row| row.version + 1);
                let paused = at.is_multiple_of(2).then(|| rows::mark(at));
                let row = WorkerRow { version, paused, ..rows::worker(*id, &format!("lab-{}", 9 - id)) };
                self.workers.insert(*id, row.clone());
                Row::Worker(Box::new(row))
            }
            Change::Resource { name, gone } => self.resource(*name, at, *gone),
            Change::Namespace { name } => self.namespace(*name, at),
            Change::Rate { name, starts } => {
                let starts = (0..*starts).map(|start| Timestamp(at + u64::from(start))).collect();
                Row::Rate(RateRow { starts, ..rows::rate_row(&format!("rate-{name}")) })
            }
            Change::Key { name, task } => Row::Key(rows::key(&format!("key-{name}"), &[*task], at)),
            Change::Pause { namespace, marked } => Row::Pause(PauseRow {
                namespace: namespace.map(|other| rows::namespace(if other { "other" } else { "default" })),
                mark: marked.then(|| rows::mark(at)),
            }),
            Change::Token { byte, gone: false } => Row::Token(rows::token(*byte, TokenRole::Enrol)),
            Change::Token { byte, gone: true } => Row::TokenGone([*byte; 32]),
            Change::TaskGone { task } => {
                self.forget_task(*task);
                Row::TaskGone(TaskId(*task))
            }
            Change::Counters { task } => {
                Row::Counters(Counters { task: TaskId(*task), ticket: Ticket(at), ..Counters::default() })
            }
        }
    }

    fn task(&mut self, change: &Change, at: u64) -> Row {
        let Change::Task { id, state, run, needs, label, worker } = change else { unreachable!("asked for a task") };
        let state = *state.get(&StateKind::ALL);
        let old = self.tasks.get(id);
        let mut row = old.map_or_else(|| rows::task(*id, state, at), |old| rows::moved(old, state, at));
        row.unit.worker = worker.map(WorkerId);
        row.unit.held = worker.iter().map(|worker| rows::grant("resource-1", &format!("u{worker}"))).collect();
        if old.is_none() {
            row.run = run.map(|run| (RunId(run), NodeIndex(0)));
            row.namespace = if *label { rows::namespace("other") } else { row.namespace };
        }
        row.array =
            label.then_some(ArrayCounts { count: 3, cursor: 1, succeeded: 0, failed: 0, cancelled: 0, skipped: 1 });
        let is_new = old.is_none();
        self.tasks.insert(*id, row.clone());
        if !is_new {
            return Row::Task(Box::new(row));
        }
        let mut spec: TaskSpec = rows::spec(if *label { &[("kind", "labelled"), ("other", "x")] } else { &[] });
        spec.after = needs
            .iter()
            .map(|task| Dependency { task: TaskRef::whole(TaskId(*task)), on: bowline_core::spec::Condition::Ok })
            .collect();
        spec.resources = if *label { rows::asking(&["resource-1"]).resources } else { Vec::new() };
        rows::new_task(row, spec)
    }

    fn namespace(&mut self, name: u8, at: u64) -> Row {
        let version = self.namespaces.entry(name).or_default();
        *version += 1;
        let mut row = NamespaceRow { version: *version, ..rows::room(&format!("room-{name}")) };
        row.room.max_running = at.is_multiple_of(2).then_some(at);
        Row::Namespace(Box::new(row))
    }

    fn resource(&mut self, name: u8, at: u64, gone: bool) -> Row {
        let row = rows::resource(&format!("resource-{name}"));
        if gone {
            self.resources.remove(&name);
            return Row::ResourceGone(row.name);
        }
        let version = self.resources.entry(name).or_default();
        *version += 1;
        let out_of_service = at.is_multiple_of(2).then(|| format!("at {at}"));
        Row::Resource(Box::new(ResourceRow { version: *version, out_of_service, capacity: at, ..row }))
    }

    fn run(&mut self, id: u64, state: Index, at: u64) -> Row {
        let states = [
            RunState::Running,
            RunState::Stopping,
            RunState::Finishing,
            RunState::Succeeded,
            RunState::Failed,
            RunState::Cancelled,
        ];
        let fresh = rows::run(id, *state.get(&states), at);
        let old = self.runs.get(&id);
        let row = old.map_or_else(|| fresh.clone(), |old| RunRow { version: old.version + 1, ..fresh.clone() });
        let is_new = old.is_none();
        self.runs.insert(id, row.clone());
        if is_new { rows::new_run(row) } else { Row::Run(Box::new(row)) }
    }

    fn forget_task(&mut self, task: u64) {
        self.tasks.remove(&task);
        self.elements.retain(|(of, _), _| *of != task);
        self.attempts.retain(|(of, _), _| of.task.0 != task);
    }
}

/// Moves a row's version, where it has one.
fn shift(row: &mut Row, up: bool) {
    let version = match row {
        Row::NewTask(new) => &mut new.row.version,
        Row::Task(row) => &mut row.version,
        Row::Element(row) => &mut row.version,
        Row::Attempt(row) => &mut row.version,
        Row::NewRun(new) => &mut new.row.version,
        Row::Run(row) => &mut row.version,
        Row::Node(row) => &mut row.version,
        Row::Worker(row) => &mut row.version,
        Row::Resource(row) => &mut row.version,
        Row::Namespace(row) => &mut row.version,
        Row::Gang(row) => &mut row.version,
        Row::Counters(_)
        | Row::GangGone(_)
        | Row::ResourceGone(_)
        | Row::Rate(_)
        | Row::Result(_)
        | Row::Artifact(_)
        | Row::Key(_)
        | Row::Pause(_)
        | Row::Token(_)
        | Row::TokenGone(_)
        | Row::WorkerGone(_)
        | Row::TaskGone(_) => return,
    };
    *version = if up { *version + 1 } else { version.saturating_sub(1) };
}

fn line((kind, id): (u8, u64), at: u64) -> HistoryRow {
    let subject = match kind {
        0 => Subject::Task(TaskRef::whole(TaskId(id))),
        1 => Subject::Task(TaskRef::element(TaskId(id), 1)),
        2 => Subject::Run(RunId(id)),
        3 => Subject::Worker(rows::worker_name(&format!("lab-{id}"))),
        4 => Subject::Resource(rows::resource_name(&format!("resource-{id}"))),
        _ => Subject::Namespace((id > 3).then(|| rows::namespace("other"))),
    };
    let mut line = rows::line(subject, if at.is_multiple_of(2) { "ready" } else { "running" }, at * 7 % 11);
    line.namespace = (id != 2).then(|| rows::namespace("other"));
    line
}

fn questions() -> Questions {
    let ids = 1..=IDS;
    let mut subjects = vec![Subject::Namespace(None), Subject::Namespace(Some(rows::namespace("other")))];
    for id in ids.clone() {
        subjects.push(Subject::Task(TaskRef::whole(TaskId(id))));
        subjects.push(Subject::Task(TaskRef::element(TaskId(id), 1)));
        subjects.push(Subject::Run(RunId(id)));
        subjects.push(Subject::Worker(rows::worker_name(&format!("lab-{id}"))));
        subjects.push(Subject::Resource(rows::resource_name(&format!("resource-{id}"))));
    }
    let all = TaskFilter::default;
    Questions {
        filters: vec![
            all(),
            TaskFilter { namespace: Some(rows::namespace("other")), ..all() },
            TaskFilter { states: vec![StateKind::Ready, StateKind::Running], ..all() },
            TaskFilter { states: vec![StateKind::Failed, StateKind::Blocked], ..all() },
            TaskFilter { labels: vec![("kind".to_owned(), "labelled".to_owned())], ..all() },
            TaskFilter { worker: Some(rows::worker_name("lab-8")), ..all() },
            TaskFilter { resource: Some(rows::resource_name("resource-1")), ..all() },
            TaskFilter { run: Some(RunId(1)), ..all() },
            TaskFilter { name: Some("task-*".to_owned()), since: Some(Timestamp(1_010)), ..all() },
        ],
        tasks: ids.clone().map(TaskId).collect(),
        runs: ids.map(RunId).collect(),
        subjects,
        keys: (0..4).map(|name| format!("key-{name}")).collect(),
        page: 2,
    }
}

/// Both stores.
struct Pair {
    memory: MemoryStore,
    sqlite: Option<Opened>,
    path: PathBuf,
    epoch: Epoch,
    now: Timestamp,
    asked: Questions,
}

fn kind(error: &CommitError) -> &'static str {
    match error {
        CommitError::Deposed { .. } => "deposed",
        CommitError::RowCount { .. } => "row count",
        CommitError::Store(_) => "store",
    }
}

impl Pair {
    fn new(path: &Path) -> Self {
        let mut pair = Self {
            memory: MemoryStore::new(),
            sqlite: Some(opened(path)),
            path: path.to_owned(),
            epoch: Epoch(0),
            now: Timestamp(1_000),
            asked: questions(),
        };
        pair.take_over();
        pair
    }

    fn sqlite(&mut self) -> &mut Opened {
        self.sqlite.as_mut().expect("the store is open")
    }

    fn take_over(&mut self) {
        let (memory, now) = (ok(self.memory.take_leadership(self.now)), self.now);
        assert_eq!(memory, ok(self.sqlite().store.take_leadership(now)));
        self.epoch = memory.epoch;
    }

    fn commit(&mut self, epoch: Epoch, batch: &Batch) -> Result<(), ()> {
        let now = self.now;
        let memory = self.memory.commit(epoch, now, batch).map_err(|error| kind(&error));
        let sqlite = self.sqlite().store.commit(epoch, now, batch).map_err(|error| kind(&error));
        assert_eq!(memory, sqlite, "{batch:?}");
        memory.map(drop).map_err(drop)
    }

    fn step(&mut self, known: &mut Known, step: &Step) {
        self.now.0 += 1;
        let at = self.now.0;
        match step {
            Step::Commit { changes, lines, off, deposed } => {
                let mut next = known.clone();
                let mut rows: Vec<Row> = changes.iter().map(|change| next.row(change, at)).collect();
                if let (Some((place, up)), false) = (off, rows.is_empty()) {
                    shift(place.get_mut(&mut rows), *up);
                }
                let history = lines.iter().map(|subject| line(*subject, at)).collect();
                let epoch = if *deposed { Epoch(self.epoch.0 - 1) } else { self.epoch };
                if self.commit(epoch, &Batch { rows, history, ..Batch::default() }).is_ok() {
                    *known = next;
                }
            }
            Step::Sweep { batch_max, ended, events, keys } => {
                let policy = RetentionPolicy {
                    ended: Duration::from_micros(*ended),
                    events: Duration::from_micros(*events),
                    keys: Duration::from_micros(*keys),
                    batch_max: *batch_max,
                };
                let (epoch, now) = (self.epoch, self.now);
                let swept = ok(self.memory.sweep(epoch, now, &policy));
                assert_eq!(swept, ok(self.sqlite().store.sweep(epoch, now, &policy)));
                swept.tasks.iter().for_each(|task| known.forget_task(task.0));
                if !swept.runs.is_empty() {
                    let there = |id: u64| ok(bowline_store::ReadStore::run(&self.memory, RunId(id))).is_some();
                    let gone: Vec<u64> = known.runs.keys().copied().filter(|id| !there(*id)).collect();
                    known.runs.retain(|id, _| !gone.contains(id));
                    known.nodes.retain(|(run, _), _| !gone.contains(run));
                }
            }
            Step::TakeOver => self.take_over(),
            Step::Reopen => {
                self.sqlite = None;
                self.sqlite = Some(opened(&self.path));
                self.take_over();
            }
        }
    }

    fn compare(&mut self) {
        let model = Snapshot::of(&self.memory, &self.asked);
        let asked = self.asked.clone();
        assert_eq!(model, Snapshot::of(&*self.sqlite().reader, &asked));
        let mut loaded: [Vec<Loaded>; 2] = [Vec::new(), Vec::new()];
        ok(self.memory.load(&mut |row| loaded[0].push(row)));
        ok(self.sqlite().store.load(&mut |row| loaded[1].push(row)));
        assert_eq!(loaded[0], loaded[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_agree(steps in prop::collection::vec(step(), 1..24)) {
        let (_folder, path) = folder();
        let mut pair = Pair::new(&path);
        let mut known = Known::default();
        for step in &steps {
            pair.step(&mut known, step);
            pair.compare();
        }
    }
}

#[test]
fn a_row_that_comes_twice_takes_its_lines_along_once() {
    let (_folder, path) = folder();
    let mut pair = Pair::new(&path);
    let new = rows::task(3, StateKind::Ready, 1);
    let line = rows::line(Subject::Task(TaskRef::whole(TaskId(3))), "ready", 1);
    let line = HistoryRow { namespace: Some(new.namespace.clone()), ..line };
    let moved = rows::moved(&new, StateKind::Assigned, 1);
    let batch = Batch {
        rows: vec![rows::new_task(new, rows::spec(&[])), Row::Task(Box::new(moved))],
        history: vec![line],
        ..Batch::default()
    };
    pair.commit(pair.epoch, &batch).expect("a task may come twice");
    pair.compare();
}
