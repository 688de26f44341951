//! Cases: histories and events.

use bowline_core::id::{CommitNo, RunId, TaskId, TaskRef};
use bowline_core::row::{HistoryRow, Subject};
use bowline_core::time::Timestamp;

use super::rows::{line, namespace, resource_name, task_line, worker_name};
use super::snapshot::all_pages;
use super::{Factory, Stand, ok};
use crate::read::EventPage;
use crate::write::RetentionPolicy;

/// A subject's lines are numbered from 1, oldest first, by page, also within one commit.
pub fn history_pages_in_order(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.record(vec![task_line(1, "submitted", 1), task_line(2, "submitted", 1), task_line(1, "ready", 2)]);
    stand.record(vec![task_line(1, "assigned", 3), task_line(1, "running", 3), task_line(1, "succeeded", 4)]);
    let subject = Subject::Task(TaskRef::whole(TaskId(1)));
    let lines = all_pages(|cursor| ok(stand.reader().history(&subject, cursor, 2)));
    let told: Vec<(u64, &str)> = lines.iter().map(|(number, line)| (*number, line.what.as_str())).collect();
    assert_eq!(told, [(1, "submitted"), (2, "ready"), (3, "assigned"), (4, "running"), (5, "succeeded")]);
    assert_eq!(lines[2].1, task_line(1, "assigned", 3));
    let page = ok(stand.reader().history(&subject, None, 5));
    assert_eq!((page.items.len(), page.next), (5, None));
}

/// Of every kind of subject; of an array as a whole without its elements.
pub fn history_is_kept_by_subject(factory: Factory) {
    let mut stand = Stand::new(factory);
    let subjects = [
        Subject::Task(TaskRef::whole(TaskId(1))),
        Subject::Task(TaskRef::element(TaskId(1), 0)),
        Subject::Task(TaskRef::element(TaskId(1), 1)),
        Subject::Run(RunId(1)),
        Subject::Worker(worker_name("1")),
        Subject::Namespace(Some(namespace("1"))),
        Subject::Namespace(None),
        Subject::Resource(resource_name("1")),
    ];
    let mut lines: Vec<HistoryRow> = subjects.iter().map(|subject| line(subject.clone(), "x", 9)).collect();
    lines[4].namespace = None;
    stand.record(lines.clone());
    for (subject, line) in subjects.iter().zip(&lines) {
        let page = ok(stand.reader().history(subject, None, 10));
        assert_eq!(page.items, vec![(1, line.clone())]);
    }
    let all: Vec<_> = (0..).zip(lines).map(|(place, line)| (CommitNo(1), place, line)).collect();
    assert_eq!(ok(stand.reader().events(Some((CommitNo(0), 0)), 100)), EventPage::Events(all));
}

/// Events after a place, across commits and within one, as many as asked for.
pub fn events_follow_a_place(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.record(vec![task_line(1, "a", 1), task_line(2, "b", 2)]);
    stand.record(Vec::new());
    stand.record(vec![task_line(3, "c", 7), task_line(1, "d", 3)]);
    let after = |place, limit| match ok(stand.reader().events(place, limit)) {
        EventPage::Events(events) => {
            events.into_iter().map(|(commit, place, line)| (commit.0, place, line.what)).collect::<Vec<_>>()
        }
        EventPage::TooOld => panic!("nothing was swept"),
    };
    let event = |commit, place, what: &str| (commit, place, what.to_owned());
    assert_eq!(after(None, 10), []);
    assert_eq!(after(Some((CommitNo(1), 0)), 10), [event(1, 1, "b"), event(3, 0, "c"), event(3, 1, "d")]);
    assert_eq!(after(Some((CommitNo(1), 0)), 2), [event(1, 1, "b"), event(3, 0, "c")]);
    assert_eq!(after(Some((CommitNo(2), 5)), 10), [event(3, 0, "c"), event(3, 1, "d")]);
    assert_eq!(after(Some((CommitNo(3), 1)), 10), []);
}

/// A place before what is kept is too old; the last one that was removed is not.
pub fn events_that_were_swept_are_too_old(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.record(vec![task_line(1, "a", 1), task_line(1, "b", 1)]);
    stand.now = Timestamp(2_000);
    stand.record(vec![task_line(1, "c", 1)]);
    let policy = RetentionPolicy { events: std::time::Duration::from_millis(1), ..RetentionPolicy::default() };
    let swept = stand.sweep(&policy);
    assert_eq!(swept.events, 1);
    let reader = stand.reader();
    assert_eq!(ok(reader.events(Some((CommitNo(0), 0)), 10)), EventPage::TooOld);
    assert_eq!(ok(reader.events(Some((CommitNo(1), 0)), 10)), EventPage::TooOld);
    let kept = EventPage::Events(vec![(CommitNo(2), 0, task_line(1, "c", 1))]);
    assert_eq!(ok(reader.events(Some((CommitNo(1), 1)), 10)), kept);
    assert_eq!(ok(reader.events(None, 10)), EventPage::Events(Vec::new()));
    let subject = Subject::Task(TaskRef::whole(TaskId(1)));
    assert_eq!(ok(reader.history(&subject, None, 10)).items.len(), 3, "history went with the events");
}
