//! History and first attempts in a task's row and beside it, and what a store of before that looks like afterwards.

use std::path::Path;

use bowline_core::effect::Batch;
use bowline_core::id::{TaskId, TaskRef};
use bowline_core::row::{AttemptRow, HistoryRow, Loaded, Row, Subject};
use bowline_core::spec::TaskSpec;
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::Timestamp;
use bowline_store::conformance::ok;
use bowline_store::conformance::rows::{self, attempt, ended_attempt, moved, plain_task, task, task_line};
use bowline_store::{AttemptFilter, LeaderStore, ReadStore, RetentionPolicy, RetentionStore};
use rusqlite::Connection;

use super::{folder, opened};
use crate::migrate::{self, MIGRATIONS};
use crate::{Downgraded, OpenError, Opened, downgrade};

const STATES: [StateKind; 4] = [StateKind::Ready, StateKind::Assigned, StateKind::Running, StateKind::Failed];

/// A task's history, read in pages of so many.
fn history(opened: &Opened, task: u64, size: usize) -> Vec<HistoryRow> {
    let (subject, mut lines, mut cursor) = (Subject::Task(TaskRef::whole(TaskId(task))), Vec::new(), None);
    loop {
        let page = ok(opened.reader.history(&subject, cursor.as_deref(), size));
        for (number, line) in page.items {
            lines.push(line);
            assert_eq!(number, lines.len() as u64);
        }
        let Some(next) = page.next else { return lines };
        cursor = Some(next);
    }
}

/// Task 1 through so many versions, with a line each and one more in between that comes without its row.
fn lived(path: &Path, versions: u32) -> (Opened, Vec<HistoryRow>) {
    let mut store = opened(path);
    let epoch = ok(store.store.take_leadership(Timestamp(1))).epoch;
    let mut said = Vec::new();
    let mut row = task(1, StateKind::Ready, 1_000);
    for version in 1..=versions {
        let at = 1_000 + u64::from(version);
        let state = STATES[version as usize % STATES.len()];
        let (rows, row_lines) = if version == 1 {
            (vec![plain_task(1, StateKind::Ready, 1_000)], 2)
        } else {
            row = moved(&row, state, at);
            (vec![Row::Task(Box::new(row.clone()))], 1)
        };
        let mut lines: Vec<_> = (0..row_lines).map(|n| task_line(1, &format!("v{version}.{n}"), at)).collect();
        lines.push(task_line(2, "of another", at));
        ok(store.store.commit(epoch, Timestamp(at), &Batch { rows, history: lines.clone(), ..Batch::default() }));
        said.extend(lines.into_iter().take(row_lines));
        let alone = task_line(1, &format!("beside {version}"), at);
        ok(store.store.commit(epoch, Timestamp(at), &Batch { history: vec![alone.clone()], ..Batch::default() }));
        said.push(alone);
    }
    (store, said)
}

#[test]
fn lines_in_the_row_and_beside_it_are_one_history() {
    let (_folder, path) = folder();
    let (store, said) = lived(&path, 20);
    for size in [1, 3, 7, 100] {
        assert_eq!(history(&store, 1, size), said, "in pages of {size}");
    }
    assert_eq!(history(&store, 2, 100).len(), 20);
    let count = |sql: &str| -> i64 {
        store.store.connection().query_row(sql, [], |row| row.get(0)).expect("it can be counted")
    };
    assert_eq!(
        count("SELECT count(*) FROM task_history WHERE task = 1"),
        20 + 12,
        "the first eight versions' are not there"
    );
}

#[test]
fn history_goes_with_its_task() {
    let (_folder, path) = folder();
    let (mut store, _) = lived(&path, 19);
    let epoch = ok(store.store.take_leadership(Timestamp(1))).epoch;
    let policy = RetentionPolicy { ended: std::time::Duration::from_secs(1), ..RetentionPolicy::default() };
    let swept = ok(store.store.sweep(epoch, Timestamp(10_000_000), &policy));
    assert_eq!(swept.tasks, [TaskId(1)]);
    assert_eq!(history(&store, 1, 100), []);
}

/// A store as version 5 left it.
fn of_version_5(path: &Path) {
    let mut connection = Connection::open(path).expect("a file can be made");
    migrate::run(&mut connection, 0, &MIGRATIONS[..5]).expect("the steps can be taken");
    let unit = "1, 1, 0, 0, 0, 0, 0, 5, 5, 5";
    let columns = "state, since, phase, attempt, generation, failures, losses, waiting_at, ready_at, started_at";
    let mut made = String::from("INSERT INTO counters VALUES (1, 5, 1, 1, 1);");
    for (id, state, ended) in [(1, 3, "NULL"), (2, 8, "7"), (3, 9, "NULL"), (4, 3, "6")] {
        let unit = unit.replacen('1', &state.to_string(), 1);
        let row = format!(
            "INSERT INTO tasks (id, version, namespace, action, priority, created_by, submitted_at, round, round_at, \
             ticket, {columns}, ended_at) VALUES ({id}, 1, 'default', 'noop', 0, 'me', 5, 1, 5, {id}, {unit}, {ended});
             INSERT INTO task_specs VALUES ({id}, (SELECT spec FROM given));
             INSERT INTO task_history VALUES ({id}, -1, {id}, 'default', 5, 'submitted', 0, 'me', '');"
        );
        made.push_str(&row);
    }
    let spec = TaskSpec::new(bowline_core::spec::Work::new(bowline_core::spec::Action::Noop));
    let spec = serde_json::to_string(&spec).expect("a description is JSON");
    connection.execute_batch("CREATE TEMP TABLE given (spec TEXT)").expect("a table can be made");
    connection.execute("INSERT INTO given VALUES (?1)", [spec]).expect("it can be written");
    connection.execute_batch(&made).expect("rows can be written");
}

#[test]
fn the_way_back_to_the_form_of_before_loses_nothing() {
    let (_folder, path) = folder();
    // More versions than a row takes along.
    let (store, said) = lived(&path, 12);
    assert!(matches!(downgrade(&path), Err(OpenError::InUse { .. })), "nobody else may have it open");
    drop(store);
    let back = downgrade(&path).expect("it is a store");
    assert_eq!(back, Downgraded { version: 5, oldest_reader: 2 });
    let connection = Connection::open(&path).expect("the store can be opened");
    let open: Vec<i64> = connection
        .prepare("SELECT id FROM tasks INDEXED BY tasks_open WHERE state < 8")
        .and_then(|mut asked| asked.query_map([], |row| row.get(0))?.collect())
        .expect("an earlier program finds those that have not ended");
    assert_eq!(open.len(), 1);
    let lines: Vec<String> = connection
        .prepare("SELECT what FROM task_history WHERE task = 1 AND element = -1 ORDER BY seq")
        .and_then(|mut asked| asked.query_map([], |row| row.get(0))?.collect())
        .expect("and their histories");
    assert_eq!(lines, said.iter().map(|line| line.what.clone()).collect::<Vec<_>>());
    drop(connection);
    assert_eq!(downgrade(&path).expect("it is one"), back, "again changes nothing");
    // And up again.
    let store = opened(&path);
    assert_eq!(history(&store, 1, 5), said);
}

#[test]
fn what_an_earlier_program_cannot_keep_is_told_on_the_way_back() {
    let new_task = |spec| rows::new_task(task(900, StateKind::Ready, 1), spec);
    let used: [(Row, u32); 7] = [
        (new_task(rows::spec(&[])), 2),
        (new_task(rows::asking(&["db"])), 4),
        (Row::Resource(Box::new(rows::resource("seats"))), 4),
        (new_task(TaskSpec { concurrency: Some(rows::concurrency("deploy")), ..rows::spec(&[]) }), 5),
        (new_task(TaskSpec { rate: Some(rows::rate("mails")), ..rows::spec(&[]) }), 5),
        (Row::Namespace(Box::new(rows::room("lab"))), 5),
        (new_task(TaskSpec { under_run: true, ..rows::spec(&[]) }), 6),
    ];
    for (row, reader) in used {
        let (_folder, path) = folder();
        let mut store = opened(&path);
        let epoch = ok(store.store.take_leadership(Timestamp(1))).epoch;
        ok(store.store.commit(epoch, Timestamp(2), &Batch { rows: vec![row], ..Batch::default() }));
        drop(store);
        assert_eq!(downgrade(&path).expect("it is a store").oldest_reader, reader);
    }
}

#[test]
fn a_store_of_before_keeps_its_histories_and_who_has_not_ended() {
    let (_folder, path) = folder();
    of_version_5(&path);
    let mut store = opened(&path);
    let mut open = Vec::new();
    ok(store.store.load(&mut |row| {
        if let Loaded::Task(row, _) = row {
            open.push(*row);
        }
    }));
    assert_eq!(open.iter().map(|row| row.id.0).collect::<Vec<_>>(), [1, 4], "who has ended is not loaded");
    for id in 1..=4 {
        assert_eq!(history(&store, id, 10).len(), 1);
    }
    let epoch = ok(store.store.take_leadership(Timestamp(1))).epoch;
    let rows = vec![Row::Task(Box::new(moved(&open[0], StateKind::Assigned, 9)))];
    let lines = vec![task_line(1, "assigned", 9)];
    ok(store.store.commit(epoch, Timestamp(9), &Batch { rows, history: lines, ..Batch::default() }));
    let whats: Vec<_> = history(&store, 1, 10).into_iter().map(|line| line.what).collect();
    assert_eq!(whats, ["submitted", "assigned"]);
}

fn commit(opened: &mut Opened, rows: Vec<Row>) -> Result<(), bowline_store::CommitError> {
    let epoch = ok(opened.store.take_leadership(Timestamp(1))).epoch;
    opened.store.commit(epoch, Timestamp(2), &Batch { rows, ..Batch::default() }).map(drop)
}

fn attempts(opened: &Opened, task: u64) -> Vec<AttemptRow> {
    ok(opened.reader.attempts(&AttemptFilter::Of(TaskRef::whole(TaskId(task)))))
}

fn count(opened: &Opened, sql: &str) -> i64 {
    opened.store.connection().query_row(sql, [], |row| row.get(0)).expect("it can be counted")
}

fn row_of(attempt: &AttemptRow) -> Row {
    Row::Attempt(Box::new(attempt.clone()))
}

/// Task 1 with its first attempt, given back, and a second one; task 2 with one that lives; both as the engine writes them.
fn tried(path: &Path) -> (Opened, Vec<AttemptRow>) {
    let mut store = opened(path);
    let of = |id| TaskRef::whole(TaskId(id));
    let (first, live) = (attempt(of(1), 1, 1_003), attempt(of(2), 1, 1_004));
    let rows = vec![
        plain_task(1, StateKind::Ready, 1_000),
        rows::new_task(task(2, StateKind::Assigned, 1_000), rows::spec(&[])),
        row_of(&live),
    ];
    ok(commit(&mut store, rows));
    let second = moved(&task(1, StateKind::Ready, 1_000), StateKind::Assigned, 1_003);
    ok(commit(&mut store, vec![Row::Task(Box::new(second.clone())), row_of(&first)]));
    let over = ended_attempt(&first, AttemptEnd::Lost, 1_005);
    let third = moved(&second, StateKind::Ready, 1_005);
    ok(commit(&mut store, vec![Row::Task(Box::new(third.clone())), row_of(&over)]));
    let again = attempt(of(1), 2, 1_006);
    let fourth = moved(&third, StateKind::Assigned, 1_006);
    ok(commit(&mut store, vec![Row::Task(Box::new(fourth)), row_of(&again)]));
    (store, vec![over, again, live])
}

#[test]
fn a_first_attempt_lies_in_its_tasks_row_and_further_ones_do_not() {
    let (_folder, path) = folder();
    let (mut store, all) = tried(&path);
    assert_eq!(count(&store, "SELECT count(*) FROM attempts"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM tasks WHERE first IS NOT NULL"), 2);
    assert_eq!((attempts(&store, 1), attempts(&store, 2)), (all[..2].to_vec(), all[2..].to_vec()));
    for one in &all {
        assert_eq!(ok(store.reader.attempts(&AttemptFilter::One(one.attempt))), std::slice::from_ref(one));
    }
    let mut loaded = Vec::new();
    ok(store.store.load(&mut |row| {
        if let Loaded::Attempt(row) = row {
            loaded.push(*row);
        }
    }));
    assert_eq!(loaded, all, "what lives or was lost, in order");
    let report = ok(crate::check(&path));
    assert!(report.counts.contains(&("attempts".to_owned(), 3)), "{:?}", report.counts);
}

#[test]
fn what_is_written_of_a_first_attempt_follows_what_was() {
    let (_folder, path) = folder();
    let (mut store, all) = tried(&path);
    let (over, live) = (&all[0], &all[2]);
    let later = ended_attempt(live, AttemptEnd::Succeeded, 1_009);
    let row = moved(&task(2, StateKind::Assigned, 1_000), StateKind::Succeeded, 1_009);
    let wrong = [
        row_of(live),
        row_of(&AttemptRow { version: 1, ..over.clone() }),
        row_of(&AttemptRow { version: 3, ..later.clone() }),
    ];
    for wrong in wrong {
        assert!(commit(&mut store, vec![wrong.clone()]).is_err(), "{wrong:?}");
        let with_row = vec![Row::Task(Box::new(row.clone())), wrong.clone()];
        assert!(commit(&mut store, with_row).is_err(), "with its task's row: {wrong:?}");
    }
    // Without its task's row too.
    ok(commit(&mut store, vec![row_of(&later)]));
    assert_eq!(attempts(&store, 2), [later]);
    // One that has a row of its own stays there.
    let alone = attempt(TaskRef::whole(TaskId(3)), 1, 1_001);
    ok(commit(
        &mut store,
        vec![plain_task(3, StateKind::Ready, 1_000), row_of(&attempt(TaskRef::whole(TaskId(9)), 1, 1))],
    ));
    ok(commit(&mut store, vec![row_of(&alone)]));
    assert!(
        commit(
            &mut store,
            vec![plain_task(9, StateKind::Ready, 1_000), row_of(&attempt(TaskRef::whole(TaskId(9)), 1, 1))]
        )
        .is_err()
    );
    let ended = ended_attempt(&alone, AttemptEnd::Failed, 1_004);
    let moved = Row::Task(Box::new(moved(&task(3, StateKind::Ready, 1_000), StateKind::Failed, 1_004)));
    assert!(commit(&mut store, vec![moved.clone(), row_of(&alone)]).is_err(), "it is there already");
    ok(commit(&mut store, vec![moved, row_of(&ended)]));
    assert_eq!(attempts(&store, 3), [ended]);
    assert_eq!(count(&store, "SELECT count(*) FROM attempts WHERE task = 3"), 1);
}

#[test]
fn the_way_back_gives_each_attempt_a_row() {
    let (_folder, path) = folder();
    let (store, all) = tried(&path);
    drop(store);
    let back = downgrade(&path).expect("it is a store");
    assert_eq!(back, Downgraded { version: 5, oldest_reader: 2 });
    let connection = Connection::open(&path).expect("the store can be opened");
    let rows: i64 =
        connection.query_row("SELECT count(*) FROM attempts", [], |row| row.get(0)).expect("it can be counted");
    assert_eq!(rows, 3);
    drop(connection);
    // And up again, where they stay in the table, and change there.
    let mut store = opened(&path);
    assert_eq!((attempts(&store, 1), attempts(&store, 2)), (all[..2].to_vec(), all[2..].to_vec()));
    let ended = ended_attempt(&all[2], AttemptEnd::Succeeded, 1_009);
    let row = moved(&task(2, StateKind::Assigned, 1_000), StateKind::Succeeded, 1_009);
    ok(commit(&mut store, vec![Row::Task(Box::new(row)), row_of(&ended)]));
    assert_eq!(attempts(&store, 2), [ended]);
}

#[test]
fn a_store_of_version_6_goes_back_too() {
    let (_folder, path) = folder();
    let mut connection = Connection::open(&path).expect("a file can be made");
    migrate::run(&mut connection, 0, &MIGRATIONS[..6]).expect("the steps can be taken");
    connection.close().expect("it can be closed");
    assert_eq!(downgrade(&path).expect("it is a store"), Downgraded { version: 5, oldest_reader: 2 });
}
