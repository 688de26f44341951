//! Cases: how each kind of row is written, and when it is refused.

use bowline_core::fair::{NamespaceRoom, NamespaceRow, RateRow};
use bowline_core::gang::GangRow;
use bowline_core::id::{NodeIndex, RunId, TaskId, TaskRef, WorkerId};
use bowline_core::input::TokenRole;
use bowline_core::message::{DrainMode, Exit};
use bowline_core::name::{Actor, PoolName};
use bowline_core::resource::{Grant, ResourceRow, Sticky};
use bowline_core::row::{AsideMark, DrainMark, Loaded, PauseRow, Row, TaskRow, WorkerRow};
use bowline_core::run::{NodeState, RunState};
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::{Span, Timestamp};
use bowline_core::worker::Seat;

use super::rows::{
    artifact, asking, attempt, element, ended_attempt, gang, grant, key, mark, moved, namespace, new_run, new_task,
    node, plain_task, rate_row, resource, result, room, run, task, token, worker,
};
use super::{Factory, Stand, ok};
use crate::read::AttemptFilter;

fn one() -> TaskRef {
    TaskRef::whole(TaskId(1))
}

/// Version 1 is inserted once; version n follows n - 1 and nothing else.
pub fn tasks_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let first = task(1, StateKind::Ready, 1);
    stand.refuse(&[Row::Task(Box::new(TaskRow { version: 2, ..first.clone() }))]);
    stand.refuse(&[Row::Task(Box::new(first.clone()))]);
    stand.commit(vec![plain_task(1, StateKind::Ready, 1)]);
    stand.refuse(&[plain_task(1, StateKind::Ready, 1)]);
    stand.refuse(&[Row::Task(Box::new(first.clone()))]);
    let second = moved(&first, StateKind::Running, 2);
    let third = moved(&second, StateKind::Succeeded, 3);
    stand.refuse(&[Row::Task(Box::new(third.clone()))]);
    stand.commit(vec![Row::Task(Box::new(second.clone()))]);
    stand.refuse(&[Row::Task(Box::new(second.clone()))]);
    assert_eq!(ok(stand.reader().task(TaskId(1))).map(|task| task.row), Some(second));
    stand.commit(vec![Row::Task(Box::new(third.clone()))]);
    assert_eq!(ok(stand.reader().task(TaskId(1))).map(|task| task.row), Some(third));
}

/// The same for elements.
pub fn elements_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Running, 1)]);
    let first = element(1, 7, StateKind::Assigned);
    let mut second = element(1, 7, StateKind::Succeeded);
    second.version = 2;
    stand.refuse(&[Row::Element(Box::new(second.clone()))]);
    stand.commit(vec![Row::Element(Box::new(first.clone())), Row::Element(Box::new(element(1, 3, StateKind::Ready)))]);
    stand.refuse(&[Row::Element(Box::new(first))]);
    stand.commit(vec![Row::Element(Box::new(second.clone()))]);
    stand.refuse(&[Row::Element(Box::new(second.clone()))]);
    assert_eq!(ok(stand.reader().elements(TaskId(1), Some(3), 10)), vec![second.clone()]);
    assert_eq!(ok(stand.reader().elements(TaskId(1), None, 10)), vec![element(1, 3, StateKind::Ready), second]);
}

/// The same for attempts, which are listed in the order in which they were made.
pub fn attempts_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Assigned, 1)]);
    let first = attempt(one(), 1, 10);
    let second = ended_attempt(&first, AttemptEnd::Released, 11);
    stand.refuse(&[Row::Attempt(Box::new(second.clone()))]);
    stand.commit(vec![Row::Attempt(Box::new(first.clone()))]);
    stand.refuse(&[Row::Attempt(Box::new(first.clone()))]);
    stand.commit(vec![Row::Attempt(Box::new(second.clone()))]);
    stand.refuse(&[Row::Attempt(Box::new(second.clone()))]);
    let later = attempt(one(), 2, 12);
    let of_element = attempt(TaskRef::element(TaskId(1), 0), 1, 5);
    stand.commit(vec![Row::Attempt(Box::new(later.clone())), Row::Attempt(Box::new(of_element.clone()))]);
    let reader = stand.reader();
    let all = vec![of_element.clone(), second, later.clone()];
    assert_eq!(ok(reader.attempts(&AttemptFilter::Of(one()))), all);
    assert_eq!(ok(reader.attempts(&AttemptFilter::One(later.attempt))), vec![later]);
    assert_eq!(ok(reader.attempts(&AttemptFilter::Of(of_element.attempt.task))), vec![of_element]);
}

/// The same for runs.
pub fn runs_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let first = run(4, RunState::Running, 1);
    let mut second = run(4, RunState::Failed, 2);
    second.version = 2;
    stand.refuse(&[Row::Run(Box::new(second.clone()))]);
    stand.commit(vec![new_run(first.clone())]);
    stand.refuse(&[new_run(first.clone())]);
    stand.refuse(&[Row::Run(Box::new(first))]);
    stand.commit(vec![Row::Run(Box::new(second.clone()))]);
    stand.refuse(&[Row::Run(Box::new(second.clone()))]);
    let detail = ok(stand.reader().run(RunId(4))).expect("the run is there");
    assert_eq!(detail.row, second);
    assert_eq!((&*detail.source, &*detail.inputs), ("steps: {}\n# é", "{\"root\":\"/usr\"}"));
    assert_eq!(*detail.graph, super::rows::graph());
}

/// The same for nodes.
pub fn nodes_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let first = node(4, 1, NodeState::Pending);
    let mut second = node(4, 1, NodeState::Active { task: TaskId(1) });
    second.version = 2;
    stand.commit(vec![new_run(run(4, RunState::Running, 1)), Row::Node(Box::new(node(4, 0, NodeState::Due)))]);
    stand.refuse(&[Row::Node(Box::new(second.clone()))]);
    stand.commit(vec![Row::Node(Box::new(first.clone()))]);
    stand.refuse(&[Row::Node(Box::new(first))]);
    stand.commit(vec![Row::Node(Box::new(second.clone()))]);
    let nodes = ok(stand.reader().run(RunId(4))).expect("the run is there").nodes;
    assert_eq!(nodes.iter().map(|node| node.node).collect::<Vec<_>>(), [NodeIndex(0), NodeIndex(1)]);
    assert_eq!(nodes[1], second);
}

/// A worker that is forgotten must have been there; its name is free again.
pub fn a_worker_is_forgotten_once(factory: Factory) {
    let mut stand = Stand::new(factory);
    let drain = DrainMark {
        by: Actor::new("ada"),
        since: Timestamp(4),
        mode: DrainMode::Finish,
        release_at: Some(Timestamp(9)),
        exit: Exit::Yes,
    };
    let aside = AsideMark { since: Timestamp(5), try_at: Timestamp(8), reason: "five tasks failed".to_owned() };
    let pool = PoolName::new("lab").ok();
    let first = WorkerRow { pool, drain: Some(drain), aside: Some(aside), ..worker(2, "lab-2") };
    stand.commit(vec![Row::Worker(Box::new(first.clone()))]);
    assert_eq!(ok(stand.reader().workers()), vec![first.clone()]);
    assert_eq!(ok(stand.reader().worker(&first.name)), Some(first));
    stand.commit(vec![Row::WorkerGone(WorkerId(2))]);
    stand.refuse(&[Row::WorkerGone(WorkerId(2))]);
    assert!(ok(stand.reader().workers()).is_empty());
    stand.commit(vec![Row::Worker(Box::new(worker(3, "lab-2")))]);
}

/// The same for workers, whose names are unique.
pub fn workers_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let first = worker(2, "lab-2");
    stand.commit(vec![Row::Worker(Box::new(first.clone())), Row::Worker(Box::new(worker(3, "lab-1")))]);
    stand.refuse(&[Row::Worker(Box::new(first.clone()))]);
    stand.refuse(&[Row::Worker(Box::new(worker(4, "lab-1")))]);
    let mut second = first;
    second.version = 2;
    second.paused = Some(mark(3));
    let seat = Seat { state_dir: "s".to_owned(), boot_id: "b".to_owned(), process: "p".to_owned(), said_at: None };
    second.seat = Some(seat);
    stand.commit(vec![Row::Worker(Box::new(second.clone()))]);
    stand.refuse(&[Row::Worker(Box::new(second.clone()))]);
    assert_eq!(ok(stand.reader().workers()), vec![worker(3, "lab-1"), second]);
    let loaded: Vec<WorkerId> = stand
        .loaded()
        .into_iter()
        .filter_map(|row| if let Loaded::Worker(worker) = row { Some(worker.id) } else { None })
        .collect();
    assert_eq!(loaded, [WorkerId(2), WorkerId(3)]);
}

/// The same for resources, which are removed once, and may be declared anew.
pub fn resources_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let put = |row: &ResourceRow| Row::Resource(Box::new(row.clone()));
    let first = resource("phones");
    let out_of_service = Some("é: broken".to_owned());
    let sticky = Sticky::Exclusive;
    let second = ResourceRow { version: 2, out_of_service, sticky, units: Vec::new(), capacity: 3, ..first.clone() };
    stand.refuse(&[put(&second)]);
    stand.commit(vec![put(&first), put(&resource("licences"))]);
    stand.refuse(&[put(&first)]);
    stand.commit(vec![put(&second)]);
    stand.refuse(&[put(&second)]);
    let all = |stand: &mut Stand| -> Vec<ResourceRow> {
        let rows = stand.loaded().into_iter();
        rows.filter_map(|row| if let Loaded::Resource(row) = row { Some(*row) } else { None }).collect()
    };
    assert_eq!(all(&mut stand), [resource("licences"), second.clone()]);
    stand.commit(vec![Row::ResourceGone(second.name.clone())]);
    stand.refuse(&[Row::ResourceGone(second.name.clone())]);
    stand.commit(vec![put(&first)]);
    assert_eq!(all(&mut stand), [resource("licences"), first]);
}

/// The same for what is set about namespaces.
pub fn namespaces_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let put = |row: &NamespaceRow| Row::Namespace(Box::new(row.clone()));
    let first = room("lab");
    let second = NamespaceRow { version: 2, room: NamespaceRoom::default(), ..first.clone() };
    stand.refuse(&[put(&second)]);
    stand.commit(vec![put(&first), put(&room("default"))]);
    stand.refuse(&[put(&first)]);
    stand.commit(vec![put(&second)]);
    stand.refuse(&[put(&second)]);
    let rows = stand.loaded().into_iter();
    let rows: Vec<NamespaceRow> =
        rows.filter_map(|row| if let Loaded::Namespace(row) = row { Some(*row) } else { None }).collect();
    assert_eq!(rows, [room("default"), second]);
}

/// Starts under a key are replaced, and removed where none is left.
pub fn starts_under_a_rate_come_and_go(factory: Factory) {
    let mut stand = Stand::new(factory);
    let all = |stand: &mut Stand| -> Vec<RateRow> {
        let rows = stand.loaded().into_iter();
        rows.filter_map(|row| if let Loaded::Rate(row) = row { Some(row) } else { None }).collect()
    };
    let none = |key: &str| RateRow { starts: Vec::new(), ..rate_row(key) };
    stand.commit(vec![Row::Rate(rate_row("b")), Row::Rate(rate_row("a")), Row::Rate(none("c"))]);
    assert_eq!(all(&mut stand), [rate_row("a"), rate_row("b")]);
    let newer = RateRow { starts: vec![Timestamp(9)], per: Span::secs(1), ..rate_row("b") };
    stand.commit(vec![Row::Rate(newer.clone()), Row::Rate(none("a"))]);
    assert_eq!(all(&mut stand), [newer]);
}

/// The same for gangs.
pub fn gangs_follow_the_rule_of_writing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let put = |row: &GangRow| Row::Gang(Box::new(row.clone()));
    stand.refuse(&[put(&gang(7, 2))]);
    stand.commit(vec![put(&gang(7, 1)), put(&gang(3, 1))]);
    stand.refuse(&[put(&gang(7, 1))]);
    stand.commit(vec![put(&gang(7, 2))]);
    stand.refuse(&[put(&gang(7, 2))]);
    let all = |stand: &mut Stand| -> Vec<GangRow> {
        let rows = stand.loaded().into_iter();
        rows.filter_map(|row| if let Loaded::Gang(row) = row { Some(*row) } else { None }).collect()
    };
    assert_eq!(all(&mut stand), [gang(3, 1), gang(7, 2)]);
    stand.commit(vec![Row::GangGone(TaskId(7))]);
    stand.refuse(&[Row::GangGone(TaskId(7))]);
    stand.commit(vec![put(&gang(7, 1))]);
    assert_eq!(all(&mut stand), [gang(3, 1), gang(7, 1)]);
}

/// Grants are part of a task's row and of an element's: written, changed and gone with it.
pub fn what_is_held_is_kept_with_its_task(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut first = task(1, StateKind::Ready, 1);
    first.unit.held = vec![grant("phones", "a"), grant("boards", "b")];
    let mut part = element(1, 4, StateKind::Ready);
    part.unit.held = vec![grant("phones", "c")];
    stand.commit(vec![new_task(first.clone(), asking(&["phones"])), Row::Element(Box::new(part.clone()))]);
    let held = |stand: &mut Stand| -> (Vec<Grant>, Vec<Grant>) {
        let task = ok(stand.reader().task(TaskId(1))).expect("the task is there").row.unit.held;
        let elements = ok(stand.reader().elements(TaskId(1), None, 10));
        let loaded = stand.loaded();
        let of_task =
            loaded.iter().find_map(|row| if let Loaded::Task(row, _) = row { Some(&row.unit.held) } else { None });
        assert_eq!(of_task, Some(&task));
        (task, elements.into_iter().flat_map(|row| row.unit.held).collect())
    };
    assert_eq!(held(&mut stand), (first.unit.held.clone(), part.unit.held.clone()));
    let mut second = moved(&first, StateKind::Running, 2);
    second.unit.held = vec![grant("boards", "d")];
    part.version = 2;
    part.unit.held = Vec::new();
    stand.commit(vec![Row::Task(Box::new(second.clone())), Row::Element(Box::new(part))]);
    assert_eq!(held(&mut stand), (second.unit.held, Vec::new()));
}

/// A key is inserted once in its namespace.
pub fn keys_are_inserted_once(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![Row::Key(key("k", &[1], 1))]);
    stand.refuse(&[Row::Key(key("k", &[2], 2))]);
    let mut other = key("k", &[2], 2);
    other.namespace = namespace("other");
    stand.commit(vec![Row::Key(other)]);
}

/// A token can be used up once.
pub fn tokens_are_used_up_once(factory: Factory) {
    let mut stand = Stand::new(factory);
    let (admin, enrol) = (token(1, TokenRole::Admin), token(2, TokenRole::Enrol));
    stand.commit(vec![Row::Token(enrol.clone()), Row::Token(admin.clone())]);
    assert_eq!(ok(stand.reader().tokens()), vec![admin.clone(), enrol.clone()]);
    stand.commit(vec![Row::TokenGone(enrol.hash)]);
    stand.refuse(&[Row::TokenGone(enrol.hash)]);
    assert_eq!(ok(stand.reader().tokens()), vec![admin]);
}

/// A result is inserted once; the same again changes nothing; the newest attempt's is shown.
pub fn results_stay_as_first_written(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Running, 1), Row::Result(result(one(), 1, "{\"n\":1}"))]);
    stand.commit(vec![Row::Result(result(one(), 1, "{\"n\":1}"))]);
    assert_eq!(ok(stand.reader().results(TaskId(1))), vec![result(one(), 1, "{\"n\":1}")]);
    let of = |index| TaskRef::element(TaskId(1), index);
    stand.commit(vec![
        Row::Result(result(one(), 2, "2")),
        Row::Result(result(of(1), 3, "b")),
        Row::Result(result(of(1), 1, "a")),
        Row::Result(result(of(0), 1, "c")),
    ]);
    let newest = vec![result(one(), 2, "2"), result(of(0), 1, "c"), result(of(1), 3, "b")];
    assert_eq!(ok(stand.reader().results(TaskId(1))), newest);
    assert_eq!(ok(stand.reader().task(TaskId(1))).and_then(|task| task.result), Some(newest[0].clone()));
}

/// The same name within an attempt replaces the file.
pub fn artifacts_replace_their_name(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Running, 1), Row::Artifact(artifact(one(), 1, "b", 1))]);
    stand.commit(vec![Row::Artifact(artifact(one(), 1, "b", 2)), Row::Artifact(artifact(one(), 1, "a", 3))]);
    let of_element = TaskRef::element(TaskId(1), 5);
    stand.commit(vec![Row::Artifact(artifact(of_element, 1, "a", 4))]);
    let (a, b, c) = (artifact(one(), 1, "a", 3), artifact(one(), 1, "b", 2), artifact(of_element, 1, "a", 4));
    assert_eq!(ok(stand.reader().artifacts(one())), vec![a, b, c.clone()]);
    assert_eq!(ok(stand.reader().artifacts_named(one(), "a")), vec![artifact(one(), 1, "a", 3), c.clone()]);
    assert_eq!(ok(stand.reader().artifacts_named(of_element, "a")), vec![c.clone()]);
    assert_eq!(ok(stand.reader().artifacts_named(of_element, "b")), vec![]);
    let digests = [c.digest.clone(), "0".repeat(64)];
    assert_eq!(ok(stand.reader().named_blobs(&digests)).into_iter().collect::<Vec<_>>(), digests[..1]);
    assert_eq!(ok(stand.reader().artifacts(of_element)), vec![c]);
}

/// A pause is replaced, and removed where it has no mark.
pub fn pauses_come_and_go(factory: Factory) {
    let mut stand = Stand::new(factory);
    let pause = |name: Option<&str>, at: Option<u64>| PauseRow { namespace: name.map(namespace), mark: at.map(mark) };
    let pauses = |stand: &mut Stand| -> Vec<PauseRow> {
        let rows = stand.loaded().into_iter();
        rows.filter_map(|row| if let Loaded::Pause(pause) = row { Some(pause) } else { None }).collect()
    };
    stand.commit(vec![Row::Pause(pause(Some("a"), Some(1))), Row::Pause(pause(None, Some(2)))]);
    stand.commit(vec![Row::Pause(pause(Some("a"), Some(3)))]);
    assert_eq!(pauses(&mut stand), vec![pause(None, Some(2)), pause(Some("a"), Some(3))]);
    stand.commit(vec![Row::Pause(pause(None, None)), Row::Pause(pause(Some("never"), None))]);
    assert_eq!(pauses(&mut stand), vec![pause(Some("a"), Some(3))]);
}
