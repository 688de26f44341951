//! Cases: what is removed, and what is not.

use std::time::Duration;

use bowline_core::id::{CommitNo, NodeIndex, RunId, TaskId, TaskRef};
use bowline_core::input::{Fact, Need};
use bowline_core::name::Namespace;
use bowline_core::row::{Row, Subject};
use bowline_core::run::{NodeState, RunState};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;

use super::rows::{
    artifact, attempt, element, key, line, moved, needing, new_run, new_task, node, plain_task, result, run, spec,
    task, task_line,
};
use super::snapshot::{Questions, Snapshot};
use super::{Factory, Stand, ok};
use crate::read::{EventPage, TaskFilter};
use crate::write::{RetentionPolicy, Swept};

const DAY: u64 = 86_400_000_000;

/// Thirty days for what has ended, a day for events, seven for keys.
fn policy() -> RetentionPolicy {
    RetentionPolicy::default()
}

/// After it, every question is answered as if the task had never been; events stay.
pub fn a_task_gone_takes_everything_with_it(factory: Factory) {
    let mut stand = Stand::new(factory);
    let asked = Questions {
        filters: vec![
            TaskFilter::default(),
            TaskFilter { labels: vec![("a".to_owned(), "1".to_owned())], ..TaskFilter::default() },
        ],
        tasks: vec![TaskId(1), TaskId(2)],
        subjects: vec![Subject::Task(TaskRef::whole(TaskId(2))), Subject::Task(TaskRef::element(TaskId(2), 1))],
        page: 10,
        ..Questions::default()
    };
    stand.commit(vec![plain_task(1, StateKind::Ready, 1), Row::Result(result(TaskRef::whole(TaskId(1)), 1, "1"))]);
    let mut before = Snapshot::of(stand.reader(), &asked);
    let of = [TaskRef::whole(TaskId(2)), TaskRef::element(TaskId(2), 1)];
    let mut rows = vec![new_task(task(2, StateKind::Failed, 1), spec(&[("a", "1")]))];
    rows.push(Row::Element(Box::new(element(2, 1, StateKind::Failed))));
    for task in of {
        rows.push(Row::Attempt(Box::new(attempt(task, 1, 5))));
        rows.push(Row::Result(result(task, 1, "2")));
        rows.push(Row::Artifact(artifact(task, 1, "f", 3)));
    }
    let lines = of.map(|task| line(Subject::Task(task), "failed", 1));
    ok(stand.try_commit(rows, lines.to_vec()));
    assert_ne!(Snapshot::of(stand.reader(), &asked).tasks, before.tasks);
    let last = task_line(2, "deleted", 2);
    ok(stand.try_commit(vec![Row::TaskGone(TaskId(2))], vec![last.clone()]));
    let after = Snapshot::of(stand.reader(), &asked);
    let [first, second] = lines;
    let events = vec![(CommitNo(2), 0, first), (CommitNo(2), 1, second), (CommitNo(3), 0, last)];
    assert_eq!(after.events, EventPage::Events(events.clone()));
    (before.commit, before.events) = (CommitNo(3), EventPage::Events(events));
    assert_eq!(after, before);
    stand.refuse(&[Row::TaskGone(TaskId(2))]);
    stand.commit(vec![plain_task(2, StateKind::Ready, 1)]);
}

/// By the time since the end; unfinished and younger ones stay.
pub fn retention_removes_what_ended_long_ago(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![
        plain_task(1, StateKind::Succeeded, DAY),
        plain_task(2, StateKind::Failed, 3 * DAY),
        plain_task(3, StateKind::Ready, DAY),
        plain_task(4, StateKind::Cancelled, 0),
    ]);
    stand.now = Timestamp(30 * DAY - 1);
    assert!(stand.sweep(&policy()).is_empty());
    stand.now = Timestamp(31 * DAY);
    let swept = stand.sweep(&policy());
    assert_eq!(swept, Swept { tasks: vec![TaskId(4), TaskId(1)], ..Swept::default() });
    assert!(stand.sweep(&policy()).is_empty());
    assert_eq!(ok(stand.reader().task(TaskId(1))), None);
    assert!(ok(stand.reader().task(TaskId(2))).is_some() && ok(stand.reader().task(TaskId(3))).is_some());
    assert_eq!(ok(stand.reader().commit_no()), CommitNo(1), "a sweep is no commit");
}

/// Never more than a batch at once; what is left goes with the next.
pub fn retention_keeps_to_its_batch(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit((1..=5).map(|id| plain_task(id, StateKind::Succeeded, id)).collect());
    stand.record(vec![task_line(1, "x", 1)]);
    stand.record(vec![task_line(1, "x", 1)]);
    stand.record(vec![task_line(1, "x", 1)]);
    stand.now = Timestamp(60 * DAY);
    let policy = RetentionPolicy { batch_max: 2, ..policy() };
    let mut tasks = Vec::new();
    let mut events = 0;
    for _ in 0..3 {
        let swept = stand.sweep(&policy);
        assert!(swept.tasks.len() <= 2 && swept.events <= 2);
        tasks.extend(swept.tasks);
        events += swept.events;
    }
    assert_eq!((tasks, events), ((1..=5).map(TaskId).collect(), 3));
    assert!(stand.sweep(&policy).is_empty());
}

/// A task of a run stays as long as its run, however old it is, and then goes with it.
pub fn a_runs_tasks_go_with_their_run(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut row = task(1, StateKind::Succeeded, 0);
    row.run = Some((RunId(1), NodeIndex(0)));
    let subject = Subject::Run(RunId(1));
    let rows = vec![
        new_task(row, spec(&[])),
        new_run(run(1, RunState::Running, 1)),
        new_run(run(2, RunState::Failed, 50 * DAY)),
        Row::Node(Box::new(node(1, 0, NodeState::Due))),
    ];
    ok(stand.try_commit(rows, vec![line(subject.clone(), "running", 1)]));
    stand.now = Timestamp(60 * DAY);
    let swept = stand.sweep(&policy());
    assert_eq!((swept.tasks.len(), swept.runs.len()), (0, 0));
    let mut ended = run(1, RunState::Succeeded, 10 * DAY);
    ended.version = 2;
    stand.commit(vec![Row::Run(Box::new(ended))]);
    let swept = stand.sweep(&policy());
    assert_eq!((swept.tasks, swept.runs.len()), (vec![TaskId(1)], 1));
    assert_eq!((ok(stand.reader().run(RunId(1))), ok(stand.reader().task(TaskId(1)))), (None, None));
    assert!(ok(stand.reader().history(&subject, None, 10)).items.is_empty());
    assert!(ok(stand.reader().run(RunId(2))).is_some());
    stand.commit(vec![new_run(run(1, RunState::Running, 1)), Row::Node(Box::new(node(1, 0, NodeState::Due)))]);
}

/// An ended task stays while an unfinished one depends on it, and so does its run.
pub fn what_an_unfinished_task_needs_stays(factory: Factory) {
    let mut stand = Stand::new(factory);
    let mut of_run = task(2, StateKind::Succeeded, 0);
    of_run.run = Some((RunId(1), NodeIndex(0)));
    let needed = [TaskRef::whole(TaskId(1)), TaskRef::element(TaskId(2), 3)];
    let waits = task(3, StateKind::Blocked, 0);
    stand.commit(vec![
        plain_task(1, StateKind::Succeeded, 0),
        new_task(of_run, spec(&[])),
        new_run(run(1, RunState::Succeeded, 0)),
        new_task(waits.clone(), needing(&needed)),
    ]);
    stand.now = Timestamp(60 * DAY);
    assert!(stand.sweep(&policy()).is_empty());
    stand.commit(vec![Row::Task(Box::new(moved(&waits, StateKind::Skipped, 59 * DAY)))]);
    let swept = stand.sweep(&policy());
    assert_eq!((swept.tasks, swept.runs.len()), (vec![TaskId(1), TaskId(2)], 1));
    assert!(ok(stand.reader().task(TaskId(3))).is_some());
}

/// A key stays as long as its tasks, and seven days at least.
pub fn keys_go_after_their_tasks(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![
        plain_task(1, StateKind::Ready, 0),
        Row::Key(key("kept", &[1, 2], 0)),
        Row::Key(key("gone", &[9], 0)),
    ]);
    let there = |stand: &Stand, name: &str| {
        let need = Need::Key { namespace: Namespace::default(), key: name.to_owned() };
        ok(stand.reader().fact(&need)) != Fact::Key(None)
    };
    stand.now = Timestamp(7 * DAY - 1);
    assert_eq!(stand.sweep(&policy()).keys, 0);
    stand.now = Timestamp(7 * DAY);
    assert_eq!(stand.sweep(&policy()).keys, 1);
    assert!(there(&stand, "kept") && !there(&stand, "gone"));
    let policy = RetentionPolicy { ended: Duration::ZERO, ..policy() };
    let ended = moved(&task(1, StateKind::Ready, 0), StateKind::Succeeded, 7 * DAY);
    stand.commit(vec![Row::Task(Box::new(ended))]);
    assert_eq!(stand.sweep(&policy).tasks, [TaskId(1)]);
    stand.now = Timestamp(30 * DAY);
    assert_eq!(stand.sweep(&policy).keys, 1);
    assert!(!there(&stand, "kept"));
}
