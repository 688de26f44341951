//! Cases: reading tasks and runs, filters, pages, facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use bowline_core::id::{NodeIndex, RunId, TaskId, TaskRef, WorkerId};
use bowline_core::input::{Fact, Need};
use bowline_core::name::{Actor, Namespace};
use bowline_core::row::{ArrayCounts, EndedRun, EndedTask, NewTaskRow, Row, TaskRow};
use bowline_core::run::{NodeState, RunState};
use bowline_core::spec::{Action, ArraySpec, TaskSpec, Work};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;

use super::rows::{
    asking, element, graph, key, mark, namespace, new_run, new_task, node, plain_task, resource_name, run, spec, task,
    worker, worker_name,
};
use super::snapshot::all_pages;
use super::{Factory, Stand, ok};
use crate::read::{RunFilter, TaskFilter, TaskSort};

fn ids(stand: &Stand, filter: &TaskFilter) -> Vec<u64> {
    let page = ok(stand.reader().tasks(filter, TaskSort::Oldest, None, 100));
    assert_eq!(page.next, None);
    page.items.iter().map(|row| row.id.0).collect()
}

/// A row with everything set comes back as it was.
pub fn tasks_read_back_as_written(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut row = task(1, StateKind::Stopping, 3);
    row.run = Some((RunId(8), NodeIndex(2)));
    row.step = Some(graph().nodes[0].name.clone());
    row.paused = Some(mark(4));
    row.unit.until = Some(Timestamp(u64::MAX));
    row.array = Some(ArrayCounts { count: 9, cursor: 4, succeeded: 1, failed: 1, cancelled: 1, skipped: 1 });
    row.name = Some("a 'b' \u{1F600}\0".to_owned());
    stand.commit(vec![new_task(row.clone(), spec(&[("k", "v")]))]);
    let detail = ok(stand.reader().task(TaskId(1))).expect("the task is there");
    assert_eq!((detail.row, &*detail.spec, detail.result), (row, &spec(&[("k", "v")]), None));
    assert_eq!(ok(stand.reader().task(TaskId(2))), None);
}

/// An element's own work, or what all have in common; nothing for an index that the array has not.
pub fn work_of_elements_is_found_by_index(factory: Factory) {
    let mut stand = Stand::new(factory);
    let common = Work::new(Action::Noop);
    let own: Vec<Work> = (0..3).map(|place| Work { dir: Some(format!("/{place}")), ..common.clone() }).collect();
    let mut array = spec(&[]);
    array.array = Some(ArraySpec { first: 10, count: 3, step: 5, at_most: None });
    let with = |id, elements: Vec<Work>| {
        let (row, spec) = (task(id, StateKind::Ready, 1), Arc::new(array.clone()));
        Row::NewTask(Box::new(NewTaskRow { row, spec, elements: Arc::new(elements) }))
    };
    stand.commit(vec![with(1, own.clone()), with(2, Vec::new()), plain_task(3, StateKind::Ready, 1)]);
    let work = |task: u64, index: Option<u32>| {
        ok(stand.reader().work(TaskRef { task: TaskId(task), index })).map(|work| work.as_ref().clone())
    };
    assert_eq!(work(1, Some(15)), Some(own[1].clone()));
    assert_eq!(work(1, Some(20)), Some(own[2].clone()));
    assert_eq!((work(1, Some(11)), work(1, Some(25)), work(3, Some(0)), work(4, None)), (None, None, None, None));
    assert_eq!((work(2, Some(15)), work(3, None)), (Some(common.clone()), Some(common)));
    let at = |task: u64, index: Option<u32>| TaskRef { task: TaskId(task), index };
    let asked = [at(2, Some(15)), at(4, None), at(1, Some(15)), at(1, Some(11)), at(3, None)];
    let found = ok(stand.reader().assigned(&asked));
    assert_eq!(found.len(), asked.len());
    for (at, found) in asked.iter().zip(found) {
        let alone = work(at.task.0, at.index);
        assert_eq!(found.as_ref().map(|found| found.work.as_ref().clone()), alone, "{at}");
        assert_eq!(found.map(|found| found.row.id), alone.map(|_| at.task), "{at}");
    }
}

/// Every filter, alone and with another.
pub fn filters_narrow_the_list(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut rows: Vec<TaskRow> = (1..=6).map(|id| task(id, StateKind::Ready, id * 10)).collect();
    rows[0].namespace = namespace("other");
    rows[1].unit = super::rows::unit(StateKind::Failed, 20);
    rows[2].unit = super::rows::unit(StateKind::Running, 30);
    rows[2].unit.worker = Some(WorkerId(2));
    rows[3].name = Some("census[1]?".to_owned());
    rows[3].created_by = Actor::new("ann");
    rows[4].run = Some((RunId(7), NodeIndex(1)));
    rows[5].run = Some((RunId(7), NodeIndex(0)));
    rows[5].name = None;
    let labels: [&[(&str, &str)]; 6] =
        [&[("a", "1")], &[("a", "1"), ("b", "2")], &[("a", "2")], &[("b", "2")], &[], &[("a", "1"), ("b", "3")]];
    let asks: [&[&str]; 6] = [&["db"], &["db", "lic"], &[], &[], &["lic"], &[]];
    let specs =
        labels.iter().zip(asks).map(|(labels, names)| TaskSpec { resources: asking(names).resources, ..spec(labels) });
    let mut batch: Vec<Row> = rows.into_iter().zip(specs).map(|(row, spec)| new_task(row, spec)).collect();
    batch.push(Row::Worker(Box::new(worker(2, "lab"))));
    stand.commit(batch);
    let label = |pairs: &[(&str, &str)]| TaskFilter {
        labels: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..TaskFilter::default()
    };
    let name = |name: &str| TaskFilter { name: Some(name.to_owned()), ..TaskFilter::default() };
    let of = |states: &[StateKind]| TaskFilter { states: states.to_vec(), ..TaskFilter::default() };
    let default = Some(Namespace::default());
    let cases = [
        (TaskFilter::default(), vec![1, 2, 3, 4, 5, 6]),
        (TaskFilter { namespace: Some(namespace("other")), ..TaskFilter::default() }, vec![1]),
        (of(&[StateKind::Failed]), vec![2]),
        (of(&[StateKind::Failed, StateKind::Running]), vec![2, 3]),
        (of(&[StateKind::Ready]), vec![1, 4, 5, 6]),
        (TaskFilter { namespace: default.clone(), ..of(&[StateKind::Ready]) }, vec![4, 5, 6]),
        (name("task-2"), vec![2]),
        (name("census[1]?"), vec![4]),
        (name("census[1]*"), vec![4]),
        (name("task-?"), vec![]),
        (name("*-*"), vec![1, 2, 3, 5]),
        (label(&[("a", "1")]), vec![1, 2, 6]),
        (label(&[("a", "1"), ("b", "2")]), vec![2]),
        (TaskFilter { namespace: default, ..label(&[("a", "1")]) }, vec![2, 6]),
        (TaskFilter { worker: Some(worker_name("lab")), ..TaskFilter::default() }, vec![3]),
        (TaskFilter { worker: Some(worker_name("nobody")), ..TaskFilter::default() }, vec![]),
        (TaskFilter { resource: Some(resource_name("db")), ..TaskFilter::default() }, vec![1, 2]),
        (TaskFilter { resource: Some(resource_name("lic")), ..of(&[StateKind::Ready]) }, vec![5]),
        (TaskFilter { resource: Some(resource_name("db")), ..label(&[("b", "2")]) }, vec![2]),
        (TaskFilter { resource: Some(resource_name("none")), ..TaskFilter::default() }, vec![]),
        (TaskFilter { since: Some(Timestamp(50)), ..TaskFilter::default() }, vec![5, 6]),
        (TaskFilter { created_by: Some("ann".to_owned()), ..TaskFilter::default() }, vec![4]),
        (TaskFilter { run: Some(RunId(7)), ..TaskFilter::default() }, vec![5, 6]),
        (TaskFilter { run: Some(RunId(7)), node: Some(NodeIndex(1)), ..TaskFilter::default() }, vec![5]),
        (TaskFilter { run: Some(RunId(8)), ..label(&[("a", "1")]) }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(ids(&stand, &filter), expected, "{filter:?}");
    }
}

/// Who looks for what is in doubt finds arrays too of which an element is, where that is asked for.
pub fn an_array_with_an_element_in_doubt_is_found(factory: Factory) {
    let mut stand = Stand::new(factory);
    let (mut array, mut other) = (task(1, StateKind::Running, 10), task(2, StateKind::Running, 20));
    let counts = ArrayCounts { count: 9, cursor: 5, succeeded: 1, failed: 0, cancelled: 0, skipped: 0 };
    (array.array, other.array) = (Some(counts), Some(counts));
    stand.commit(vec![
        new_task(array, spec(&[])),
        new_task(other, spec(&[])),
        new_task(task(3, StateKind::InDoubt, 30), spec(&[])),
        Row::Element(Box::new(element(1, 0, StateKind::Succeeded))),
        Row::Element(Box::new(element(1, 4, StateKind::InDoubt))),
        Row::Element(Box::new(element(2, 0, StateKind::Running))),
    ]);
    let of = |states: &[StateKind], or_element_in_doubt| TaskFilter {
        states: states.to_vec(),
        or_element_in_doubt,
        ..TaskFilter::default()
    };
    assert_eq!(ids(&stand, &of(&[StateKind::InDoubt], true)), [1, 3]);
    assert_eq!(ids(&stand, &of(&[StateKind::InDoubt, StateKind::Failed], true)), [1, 3]);
    assert_eq!(ids(&stand, &of(&[StateKind::InDoubt], false)), [3]);
    assert_eq!(ids(&stand, &of(&[StateKind::Succeeded], true)), [0_u64; 0]);
}

/// A list that is paged while tasks come in shows each one that was there exactly once.
pub fn pages_are_complete_while_tasks_come_in(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit((1..=10).map(|id| plain_task(id, StateKind::Ready, 1)).collect());
    for sort in [TaskSort::Newest, TaskSort::Oldest] {
        let there: BTreeSet<u64> = ids(&stand, &TaskFilter::default()).into_iter().collect();
        let mut next_id = there.len() as u64 + 1;
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = ok(stand.reader().tasks(&TaskFilter::default(), sort, cursor.as_deref(), 3));
            assert!(page.items.len() <= 3);
            seen.extend(page.items.iter().map(|row| row.id.0).filter(|id| there.contains(id)));
            cursor = page.next;
            if cursor.is_none() || next_id > 40 {
                break;
            }
            stand.commit(vec![plain_task(next_id, StateKind::Ready, 1)]);
            next_id += 1;
        }
        let once: BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!((once.len(), once), (seen.len(), there), "{sort:?}");
    }
}

/// Both orders give the same tasks, and the last page says that it is the last.
pub fn pages_in_both_orders(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit((1..=6).map(|id| plain_task(id, StateKind::Ready, 1)).collect());
    let page = |sort| {
        let rows = all_pages(|cursor| ok(stand.reader().tasks(&TaskFilter::default(), sort, cursor, 2)));
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    assert_eq!(page(TaskSort::Newest), [6, 5, 4, 3, 2, 1]);
    assert_eq!(page(TaskSort::Oldest), [1, 2, 3, 4, 5, 6]);
    let exact = ok(stand.reader().tasks(&TaskFilter::default(), TaskSort::Newest, None, 6));
    assert_eq!((exact.items.len(), exact.next), (6, None));
}

/// A cursor that no list gave out is an error, not an empty page.
pub fn bad_cursors_are_refused(factory: Factory) {
    let stand = Stand::new(factory);
    let reader = stand.reader();
    assert!(reader.tasks(&TaskFilter::default(), TaskSort::Newest, Some("x"), 1).is_err());
    assert!(reader.runs(&RunFilter::default(), Some("-"), 1).is_err());
    let subject = bowline_core::row::Subject::Run(RunId(1));
    assert!(reader.history(&subject, Some("no"), 1).is_err());
}

/// Runs come newest first, by filter and by page.
pub fn runs_are_listed_newest_first(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut rows: Vec<_> = (1..=5).map(|id| run(id, RunState::Running, id)).collect();
    rows[1].state = RunState::Failed;
    rows[2].namespace = namespace("other");
    stand.commit(rows.into_iter().map(new_run).collect());
    let list = |filter: RunFilter| {
        let rows = all_pages(|cursor| ok(stand.reader().runs(&filter, cursor, 2)));
        rows.iter().map(|row| row.id.0).collect::<Vec<_>>()
    };
    assert_eq!(list(RunFilter::default()), [5, 4, 3, 2, 1]);
    assert_eq!(list(RunFilter { states: vec![RunState::Failed], ..RunFilter::default() }), [2]);
    assert_eq!(list(RunFilter { namespace: Some(namespace("other")), ..RunFilter::default() }), [3]);
    assert_eq!(list(RunFilter { workflow: Some("census".to_owned()), ..RunFilter::default() }).len(), 5);
    assert!(list(RunFilter { workflow: Some("cens".to_owned()), ..RunFilter::default() }).is_empty());
}

/// Facts about tasks, runs and keys, there or not.
pub fn facts_tell_what_is_stored(factory: Factory) {
    let mut stand = Stand::new(factory);
    let (row, first, second) =
        (task(1, StateKind::Failed, 1), element(1, 0, StateKind::Failed), element(1, 4, StateKind::Succeeded));
    let (a_run, a_node) = (run(3, RunState::Failed, 2), node(3, 0, NodeState::Due));
    stand.commit(vec![
        new_task(row.clone(), spec(&[])),
        Row::Element(Box::new(second.clone())),
        Row::Element(Box::new(first.clone())),
        new_run(a_run.clone()),
        Row::Node(Box::new(a_node.clone())),
        Row::Key(key("k", &[1], 5)),
        plain_task(5, StateKind::Running, 1),
        new_run(run(6, RunState::Stopping, 1)),
    ]);
    let fact = |need| ok(stand.reader().fact(&need));
    let ended = EndedTask { row, spec: Arc::new(spec(&[])), elements: vec![first, second] };
    assert_eq!(fact(Need::Task(TaskId(1))), Fact::Task(Some(Box::new(ended))));
    assert_eq!(fact(Need::Task(TaskId(2))), Fact::Task(None));
    assert_eq!(fact(Need::Task(TaskId(5))), Fact::Task(None), "it has not ended");
    assert_eq!(fact(Need::Run(RunId(6))), Fact::Run(None), "it has not ended");
    let ended = EndedRun { row: a_run, graph: Arc::new(graph()), nodes: vec![a_node] };
    assert_eq!(fact(Need::Run(RunId(3))), Fact::Run(Some(Box::new(ended))));
    assert_eq!(fact(Need::Run(RunId(4))), Fact::Run(None));
    let named = |space: Namespace| Need::Key { namespace: space, key: "k".to_owned() };
    assert_eq!(fact(named(Namespace::default())), Fact::Key(Some(key("k", &[1], 5))));
    assert_eq!(fact(named(namespace("other"))), Fact::Key(None));
}
