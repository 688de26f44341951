//! Plain rows to test with.

use std::sync::Arc;

use bowline_core::fair::{Concurrency, NamespaceRoom, NamespaceRow, Rate, RateRow, Rule};
use bowline_core::gang::{Barrier, Board, GangRow, Lock, Stage};
use bowline_core::id::{
    AttemptNo, AttemptRef, Fence, Generation, Incarnation, NodeIndex, Round, RunId, SessionId, TaskId, TaskRef, Ticket,
    WorkerId,
};
use bowline_core::input::{Token, TokenRole};
use bowline_core::name::{
    Actor, BadName, Key, LimitKey, Namespace, ResourceName, StepName, UnitName, WorkerName, WorkflowName,
};
use bowline_core::resource::{Ask, Grant, Mode, ResourceRow, Sticky, UnitSpec};
use bowline_core::row::{
    ArtifactRow, AttemptRow, ElementRow, HistoryRow, KeyRow, Made, NewRunRow, NewTaskRow, NodeRow, PauseMark,
    ResultRow, Row, RunRow, Subject, TaskRow, Unit, WorkerRow,
};
use bowline_core::run::{Edge, Graph, Join, Node, NodeState, RunState};
use bowline_core::spec::{Action, Condition, Dependency, TaskSpec, Work};
use bowline_core::state::{AttemptEnd, JobError, Outcome, Phase, StateKind};
use bowline_core::time::{Span, Timestamp};

fn good<T>(name: Result<T, BadName>) -> T {
    name.expect("names in this module are good")
}

/// A namespace of this name.
pub fn namespace(name: &str) -> Namespace {
    good(Namespace::new(name))
}

/// A worker's name.
pub fn worker_name(name: &str) -> WorkerName {
    good(WorkerName::new(name))
}

/// A resource's name.
pub fn resource_name(name: &str) -> ResourceName {
    good(ResourceName::new(name))
}

/// A declared resource at version 1, with a unit.
pub fn resource(name: &str) -> ResourceRow {
    let attributes = [(good(Key::new("model")), "x 'y'".to_owned())].into();
    ResourceRow {
        name: resource_name(name),
        version: 1,
        capacity: u64::MAX,
        units: vec![UnitSpec { name: good(UnitName::new("one")), attributes }],
        out_of_service: None,
        sticky: Sticky::No,
        changed_by: Actor::new("tests"),
        changed_at: Timestamp(6),
    }
}

/// What is set about a namespace, at version 1.
pub fn room(name: &str) -> NamespaceRow {
    let room = NamespaceRoom {
        share: Some(3),
        user_shares: [("é: `ada`".to_owned(), 2)].into(),
        max_queued: Some(u64::MAX),
        max_running: None,
        max_held: [(resource_name("seats"), 4)].into(),
    };
    NamespaceRow { name: namespace(name), version: 1, room, changed_by: Actor::new("tests"), changed_at: Timestamp(6) }
}

/// Starts that count under a key.
pub fn rate_row(key: &str) -> RateRow {
    let starts = vec![Timestamp(7), Timestamp(u64::MAX)];
    RateRow { namespace: namespace("lab"), key: good(LimitKey::new(key)), per: Span::secs(90), starts }
}

/// What a task says of its concurrency.
pub fn concurrency(key: &str) -> Concurrency {
    Concurrency { key: good(LimitKey::new(key)), rule: Rule::AtMost(2) }
}

/// What a task says of its rate.
pub fn rate(key: &str) -> Rate {
    Rate { key: good(LimitKey::new(key)), count: 3, per: Span::secs(90) }
}

/// A gang, at this version, with something among its members.
pub fn gang(id: u64, version: u32) -> GangRow {
    let holder = AttemptRef {
        task: TaskRef::whole(TaskId(id)),
        fence: Fence { generation: Generation(1), attempt: AttemptNo(2) },
    };
    let mut board = Board::default();
    board.locks.insert("é 'm'".to_owned(), Lock { holder, line: vec![holder] });
    board.values.insert("k".to_owned(), "v".repeat(version as usize));
    board
        .barriers
        .insert("b".to_owned(), Barrier { opened: 3, here: vec![(holder, "x".to_owned())], through: Vec::new() });
    GangRow { id: TaskId(id), version, stage: if version == 1 { Stage::Gathering } else { Stage::Together }, board }
}

/// What is held of a resource.
pub fn grant(name: &str, unit: &str) -> Grant {
    let units = vec![good(UnitName::new(unit))];
    Grant { name: resource_name(name), mode: Mode::Unit, amount: 1, units, at: Timestamp(8) }
}

/// A unit in this state.
pub fn unit(state: StateKind, at: u64) -> Unit {
    let ended = state.is_ended();
    Unit {
        state,
        since: Timestamp(at),
        phase: if state.is_live() { Phase::Running } else { Phase::Ended },
        attempt: AttemptNo(u32::from(state.is_live())),
        generation: Generation(0),
        worker: state.is_live().then_some(WorkerId(1)),
        until: None,
        failures: 0,
        losses: 0,
        outcome: ended
            .then(|| Outcome::Error(JobError { exit_status: Some(3), signal: None, message: "é\n\"".into() })),
        waiting_at: Some(Timestamp(at)),
        ready_at: Some(Timestamp(at)),
        started_at: state.is_live().then_some(Timestamp(at)),
        ended_at: ended.then_some(Timestamp(at)),
        held: Vec::new(),
    }
}

/// A task at version 1.
pub fn task(id: u64, state: StateKind, at: u64) -> TaskRow {
    TaskRow {
        id: TaskId(id),
        version: 1,
        namespace: Namespace::default(),
        name: Some(format!("task-{id}")),
        action: "noop".to_owned(),
        priority: -3,
        run: None,
        step: None,
        created_by: Actor::new("tests"),
        submitted_at: Timestamp(at),
        round: Round(1),
        round_at: Timestamp(at),
        ticket: Ticket(id),
        ticket_at: (id % 2 == 1).then_some(Timestamp(at)),
        paused: None,
        unit: unit(state, at),
        array: None,
    }
}

/// A description that does nothing, with these labels.
pub fn spec(labels: &[(&str, &str)]) -> TaskSpec {
    let mut spec = TaskSpec::new(Work::new(Action::Noop));
    spec.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    spec
}

/// A description that asks for these resources.
pub fn asking(names: &[&str]) -> TaskSpec {
    let mut spec = spec(&[]);
    spec.resources = names.iter().map(|name| Ask::Shared { name: resource_name(name) }).collect();
    spec
}

/// A description that needs another task.
pub fn needing(tasks: &[TaskRef]) -> TaskSpec {
    let mut spec = spec(&[]);
    spec.after = tasks.iter().map(|task| Dependency { task: *task, on: Condition::Any }).collect();
    spec
}

/// A new task with its description.
pub fn new_task(row: TaskRow, spec: TaskSpec) -> Row {
    Row::NewTask(Box::new(NewTaskRow { row, spec: Arc::new(spec), elements: Arc::default() }))
}

/// A new task that does nothing.
pub fn plain_task(id: u64, state: StateKind, at: u64) -> Row {
    new_task(task(id, state, at), spec(&[]))
}

/// The next version of a task, in another state.
pub fn moved(row: &TaskRow, state: StateKind, at: u64) -> TaskRow {
    TaskRow { version: row.version + 1, unit: unit(state, at), ..row.clone() }
}

/// An element at version 1.
pub fn element(task: u64, index: u32, state: StateKind) -> ElementRow {
    ElementRow { task: TaskId(task), index, version: 1, unit: unit(state, 1_000) }
}

/// Names an attempt.
pub fn attempt_ref(task: TaskRef, number: u32) -> AttemptRef {
    AttemptRef { task, fence: Fence { generation: Generation(0), attempt: AttemptNo(number) } }
}

/// An attempt at version 1, live.
pub fn attempt(task: TaskRef, number: u32, at: u64) -> AttemptRow {
    AttemptRow {
        attempt: attempt_ref(task, number),
        version: 1,
        round: Round(1),
        worker: Some(WorkerId(1)),
        incarnation: Incarnation(2),
        session: SessionId(9),
        assigned_at: Timestamp(at),
        started_at: None,
        ended_at: None,
        end: None,
        outcome: None,
    }
}

/// The next version of an attempt, ended.
pub fn ended_attempt(row: &AttemptRow, end: AttemptEnd, at: u64) -> AttemptRow {
    let ended_at = Some(Timestamp(at));
    AttemptRow { version: row.version + 1, started_at: ended_at, ended_at, end: Some(end), ..row.clone() }
}

/// A result.
pub fn result(task: TaskRef, number: u32, json: &str) -> ResultRow {
    ResultRow { attempt: attempt_ref(task, number), json: json.to_owned() }
}

/// An artifact.
pub fn artifact(task: TaskRef, number: u32, name: &str, bytes: u64) -> ArtifactRow {
    ArtifactRow {
        attempt: attempt_ref(task, number),
        name: name.to_owned(),
        digest: format!("{bytes:064x}"),
        bytes,
        at: Timestamp(7),
    }
}

/// A run at version 1.
pub fn run(id: u64, state: RunState, at: u64) -> RunRow {
    RunRow {
        id: RunId(id),
        version: 1,
        namespace: Namespace::default(),
        workflow: good(WorkflowName::new("census")),
        state,
        created_by: Actor::new("tests"),
        started_at: Timestamp(at),
        ended_at: state.is_ended().then_some(Timestamp(at)),
        outcome: None,
        result: state.is_ended().then(|| "{\"folders\":3}".to_owned()),
        paused: None,
        due_version: 0,
    }
}

/// A graph of two nodes, the second after the first.
pub fn graph() -> Graph {
    let node = |name, needs| Node { name: good(StepName::new(name)), needs, join: Join::All };
    let edge = Edge { from: NodeIndex(0), on: Condition::Ok };
    Graph { nodes: vec![node("list", Vec::new()), node("count", vec![edge])], asks: Vec::new() }
}

/// A new run.
pub fn new_run(row: RunRow) -> Row {
    let (source, inputs) = (Arc::from("steps: {}\n# é"), Arc::from("{\"root\":\"/usr\"}"));
    Row::NewRun(Box::new(NewRunRow { row, source, inputs, graph: Arc::new(graph()) }))
}

/// A node at version 1.
pub fn node(run: u64, index: u32, state: NodeState) -> NodeRow {
    NodeRow { run: RunId(run), node: NodeIndex(index), version: 1, state, outcome: None, due_version: 0 }
}

/// A worker at version 1.
pub fn worker(id: u32, name: &str) -> WorkerRow {
    WorkerRow {
        id: WorkerId(id),
        version: 1,
        name: worker_name(name),
        key: [u8::try_from(id % 256).unwrap_or(0); 32],
        incarnation: Incarnation(0),
        seat: None,
        offer: None,
        paused: None,
        enrolled_at: Timestamp(5),
        pool: None,
        drain: None,
        aside: None,
    }
}

/// A pause's mark.
pub fn mark(at: u64) -> PauseMark {
    PauseMark { by: Actor::new("tests"), since: Timestamp(at) }
}

/// A token.
pub fn token(byte: u8, role: TokenRole) -> Token {
    Token { hash: [byte; 32], name: format!("token {byte}"), role, pool: None }
}

/// A key under which tasks were made.
pub fn key(name: &str, tasks: &[u64], at: u64) -> KeyRow {
    KeyRow {
        namespace: Namespace::default(),
        key: name.to_owned(),
        body: [7; 32],
        made: Made::Tasks(tasks.iter().copied().map(TaskId).collect()),
        at: Timestamp(at),
    }
}

/// A line of history.
pub fn line(subject: Subject, what: &str, at: u64) -> HistoryRow {
    HistoryRow {
        subject,
        namespace: Some(Namespace::default()),
        at: Timestamp(at),
        what: what.to_owned(),
        attempt: AttemptNo(1),
        actor: Actor::server(),
        reason: format!("because of {what}"),
    }
}

/// A line about a task.
pub fn task_line(task: u64, what: &str, at: u64) -> HistoryRow {
    line(Subject::Task(TaskRef::whole(TaskId(task))), what, at)
}
