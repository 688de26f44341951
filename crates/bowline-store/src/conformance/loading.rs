//! Cases: what a take-over loads.

use std::sync::Arc;

use bowline_core::id::{RunId, TaskId, TaskRef, Ticket, WorkerId};
use bowline_core::input::TokenRole;
use bowline_core::row::{Counters, Loaded, PauseRow, Row, key_hash};
use bowline_core::run::{NodeEnd, NodeState, RunState};
use bowline_core::state::{AttemptEnd, StateKind};

use super::rows::{
    attempt, element, ended_attempt, gang, graph, key, mark, moved, needing, new_run, new_task, node, plain_task,
    rate_row, resource, room, run, spec, task, token, worker,
};
use super::{Factory, Stand};

/// An empty store hands over the first numbers, that no key was used, and nothing else.
pub fn an_empty_store_loads_its_counters(factory: Factory) {
    let mut stand = Stand::new(factory);
    assert_eq!(stand.loaded(), vec![Loaded::Counters(Counters::default()), Loaded::Keys(Vec::new())]);
}

/// Everything that has not ended, in the stated order, each kind by key.
pub fn loading_hands_over_what_has_not_ended_in_order(factory: Factory) {
    let mut stand = Stand::new(factory);
    let counters = Counters { task: TaskId(9), run: RunId(4), ticket: Ticket(77), worker: WorkerId(3) };
    let (running, ended_run) = (run(2, RunState::Finishing, 1), run(1, RunState::Running, 1));
    let nodes = [node(2, 0, NodeState::Ended { how: NodeEnd::Skipped, task: None }), node(2, 1, NodeState::Due)];
    let (third, first, second) =
        (task(3, StateKind::Running, 1), task(1, StateKind::Blocked, 1), task(2, StateKind::Ready, 1));
    let live = attempt(TaskRef::element(TaskId(3), 1), 2, 5);
    let over = attempt(TaskRef::element(TaskId(3), 0), 1, 5);
    stand.commit(vec![
        Row::Token(token(1, TokenRole::Admin)),
        Row::Worker(Box::new(worker(1, "w"))),
        new_task(third.clone(), spec(&[])),
        new_task(first.clone(), spec(&[("a", "b")])),
        new_task(second.clone(), spec(&[])),
        new_run(running.clone()),
        new_run(ended_run.clone()),
        Row::Node(Box::new(nodes[1].clone())),
        Row::Node(Box::new(nodes[0].clone())),
        Row::Node(Box::new(node(1, 0, NodeState::Due))),
        Row::Pause(PauseRow { namespace: None, mark: Some(mark(1)) }),
        Row::Resource(Box::new(resource("b"))),
        Row::Resource(Box::new(resource("a"))),
        Row::Rate(rate_row("mails")),
        Row::Namespace(Box::new(room("lab"))),
        Row::Gang(Box::new(gang(2, 1))),
        Row::Gang(Box::new(gang(1, 1))),
        Row::Element(Box::new(element(3, 1, StateKind::Running))),
        Row::Element(Box::new(element(3, 0, StateKind::Failed))),
        Row::Attempt(Box::new(live.clone())),
        Row::Attempt(Box::new(over.clone())),
        Row::Counters(Counters::default()),
    ]);
    let mut over_run = run(1, RunState::Cancelled, 2);
    over_run.version = 2;
    stand.commit(vec![
        Row::Counters(counters),
        Row::Run(Box::new(over_run)),
        Row::Task(Box::new(moved(&second, StateKind::Cancelled, 2))),
        Row::Attempt(Box::new(ended_attempt(&over, AttemptEnd::Failed, 6))),
    ]);
    let expected = vec![
        Loaded::Counters(counters),
        Loaded::Worker(Box::new(worker(1, "w"))),
        Loaded::Pause(PauseRow { namespace: None, mark: Some(mark(1)) }),
        Loaded::Token(token(1, TokenRole::Admin)),
        Loaded::Resource(Box::new(resource("a"))),
        Loaded::Resource(Box::new(resource("b"))),
        Loaded::Namespace(Box::new(room("lab"))),
        Loaded::Rate(rate_row("mails")),
        Loaded::Gang(Box::new(gang(1, 1))),
        Loaded::Gang(Box::new(gang(2, 1))),
        Loaded::Run(Box::new(running), Arc::new(graph())),
        Loaded::Node(Box::new(nodes[0].clone())),
        Loaded::Node(Box::new(nodes[1].clone())),
        Loaded::Task(Box::new(first), Arc::new(spec(&[("a", "b")]))),
        Loaded::Task(Box::new(third), Arc::new(spec(&[]))),
        Loaded::Element(Box::new(element(3, 0, StateKind::Failed))),
        Loaded::Element(Box::new(element(3, 1, StateKind::Running))),
        Loaded::Attempt(Box::new(live)),
        Loaded::Keys(Vec::new()),
    ];
    assert_eq!(stand.loaded(), expected);
}

/// All idempotency keys, of whichever namespace.
pub fn loading_tells_which_keys_there_are(factory: Factory) {
    let mut stand = Stand::new(factory);
    let keys = ["a", "b", "a b", ""].map(|name| key(name, &[1], 1));
    stand.commit(keys.iter().cloned().map(Row::Key).collect());
    let mut expected: Vec<u64> = keys.iter().map(|row| key_hash(row.namespace.as_str(), &row.key)).collect();
    expected.sort_unstable();
    let told = stand.loaded().into_iter().find_map(|row| if let Loaded::Keys(all) = row { Some(all) } else { None });
    assert_eq!(told, Some(expected));
}

/// Ended tasks, or elements of them, that an unfinished one still needs, with how they ended.
pub fn loading_names_ended_tasks_that_are_still_needed(factory: Factory) {
    let mut stand = Stand::new(factory);
    let whole = |id| TaskRef::whole(TaskId(id));
    let (ran, unstarted) = (TaskRef::element(TaskId(2), 4), TaskRef::element(TaskId(2), 5));
    stand.commit(vec![
        plain_task(1, StateKind::Succeeded, 1),
        plain_task(2, StateKind::Cancelled, 1),
        Row::Element(Box::new(element(2, 4, StateKind::Failed))),
        plain_task(3, StateKind::Running, 1),
        plain_task(4, StateKind::Succeeded, 1),
        new_task(task(5, StateKind::Blocked, 1), needing(&[whole(3), unstarted, ran, whole(1), whole(99)])),
        new_task(task(6, StateKind::Skipped, 1), needing(&[whole(4)])),
    ]);
    let ended: Vec<_> = stand
        .loaded()
        .into_iter()
        .filter_map(|row| if let Loaded::Ended(task, state) = row { Some((task, state)) } else { None })
        .collect();
    let expected = [(whole(1), StateKind::Succeeded), (ran, StateKind::Failed), (unstarted, StateKind::Cancelled)];
    assert_eq!(ended, expected);
}
