//! What is on the disk after a crash, what readers see meanwhile, and what a full disk does.

use std::path::Path;

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, TaskId};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;
use bowline_store::conformance::ok;
use bowline_store::conformance::rows::{new_task, plain_task, spec, task, task_line};
use bowline_store::{CommitError, LeaderStore, ReadStore, TaskFilter, TaskSort};

use super::{folder, opened};

/// One task with its line of history.
fn batch(id: u64) -> Batch {
    let (rows, history) = (vec![plain_task(id, StateKind::Ready, 1)], vec![task_line(id, "ready", 1)]);
    Batch { rows, history, ..Batch::default() }
}

fn count(reader: &dyn ReadStore) -> u64 {
    ok(reader.tasks(&TaskFilter::default(), TaskSort::Newest, None, 1_000)).items.len() as u64
}

/// Copies the files as a crash would leave them: the log first would be ahead of its file, so the
/// store comes first.
fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("the store can be copied");
    let log = |path: &Path| path.with_extension("db-wal");
    std::fs::copy(log(from), log(to)).expect("the log can be copied");
}

/// Carries the whole log over, and holds a snapshot of that: from now on everything that is written
/// stays in the log.
fn hold(path: &Path) -> rusqlite::Connection {
    let hold = rusqlite::Connection::open(path).expect("the store can be opened");
    let busy: i64 =
        hold.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).expect("the log can be emptied");
    assert_eq!(busy, 0);
    hold.execute_batch("BEGIN; SELECT count(*) FROM tasks").expect("a snapshot can be held");
    hold
}

#[test]
fn after_a_crash_a_prefix_is_there_with_all_that_was_acknowledged() {
    let (folder, path) = folder();
    let mut first = opened(&path);
    let _hold = hold(&path);
    let epoch = ok(first.store.take_leadership(Timestamp(1))).epoch;
    for id in 1..=20 {
        ok(first.store.commit(epoch, Timestamp(id), &batch(id)));
        let crashed = folder.path().join(format!("crash-{id}.db"));
        copy(&path, &crashed);
        let mut second = opened(&crashed);
        assert_eq!((ok(second.reader.commit_no()), count(&*second.reader)), (CommitNo(id), id));
        let led = ok(second.store.take_leadership(Timestamp(0)));
        assert_eq!((led.epoch, led.now, led.commit_no), (epoch.next(), Timestamp(id), CommitNo(id)));
    }
}

#[test]
fn a_torn_log_gives_a_shorter_prefix() {
    let (folder, path) = folder();
    let mut first = opened(&path);
    let _hold = hold(&path);
    let epoch = ok(first.store.take_leadership(Timestamp(1))).epoch;
    for id in 1..=10 {
        ok(first.store.commit(epoch, Timestamp(id), &batch(id)));
    }
    let crashed = folder.path().join("torn.db");
    let log = crashed.with_extension("db-wal");
    copy(&path, &crashed);
    let whole = std::fs::read(&log).expect("the log can be read");
    let mut last = 10;
    for cut in (0..10).map(|tenth| whole.len() * (10 - tenth) / 10 - 1) {
        copy(&path, &crashed);
        std::fs::write(&log, &whole[..cut]).expect("the log can be cut");
        let torn = opened(&crashed);
        let commit = ok(torn.reader.commit_no());
        assert_eq!(count(&*torn.reader), commit.0, "rows and commit number do not belong together");
        assert!(commit.0 <= last, "a shorter log gave more");
        last = commit.0;
    }
}

#[test]
fn reopening_goes_on_where_it_was() {
    let (_folder, path) = folder();
    for round in 1..=3 {
        let mut opened = opened(&path);
        let led = ok(opened.store.take_leadership(Timestamp(round)));
        assert_eq!((led.epoch.0, led.commit_no.0), (round, round - 1));
        ok(opened.store.commit(led.epoch, Timestamp(round), &batch(round)));
    }
    assert_eq!(count(&*opened(&path).reader), 3);
}

#[test]
fn readers_neither_wait_for_a_write_nor_see_it() {
    let (_folder, path) = folder();
    let mut opened = opened(&path);
    let epoch = ok(opened.store.take_leadership(Timestamp(1))).epoch;
    ok(opened.store.commit(epoch, Timestamp(1), &batch(1)));
    let writing = opened.store.connection();
    writing.execute_batch("BEGIN IMMEDIATE; UPDATE tasks SET version = 9; DELETE FROM task_specs").expect("it writes");
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let reader = std::sync::Arc::clone(&opened.reader);
            std::thread::spawn(move || ok(reader.task(TaskId(1))))
        })
        .collect();
    for reader in readers {
        let seen = reader.join().expect("the reader ends").expect("the task is there");
        assert_eq!(seen.row.version, 1, "a reader saw what was not committed");
    }
    opened.store.connection().execute_batch("ROLLBACK").expect("it is taken back");
    ok(opened.store.commit(epoch, Timestamp(1), &batch(2)));
}

#[test]
fn a_reader_that_lingers_does_not_hold_back_the_writer() {
    let (_folder, path) = folder();
    let mut opened = opened(&path);
    let epoch = ok(opened.store.take_leadership(Timestamp(1))).epoch;
    ok(opened.store.commit(epoch, Timestamp(1), &batch(1)));
    let lingering = crate::connect::reader(&path).expect("a reader can be opened");
    lingering.execute_batch("BEGIN; SELECT count(*) FROM tasks").expect("a snapshot can be held");
    for id in 2..=20 {
        ok(opened.store.commit(epoch, Timestamp(1), &batch(id)));
    }
    let seen: i64 =
        lingering.query_row("SELECT count(*) FROM tasks", [], |row| row.get(0)).expect("the snapshot can be read");
    assert_eq!((seen, count(&*opened.reader)), (1, 20));
}

#[test]
fn a_full_disk_fails_the_commit_and_changes_nothing() {
    let (_folder, path) = folder();
    let mut opened = opened(&path);
    let epoch = ok(opened.store.take_leadership(Timestamp(1))).epoch;
    ok(opened.store.commit(epoch, Timestamp(1), &batch(1)));
    let connection = opened.store.connection();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("pages can be counted");
    let limit = |pages: i64| format!("PRAGMA max_page_count = {pages}");
    connection.query_row(&limit(pages + 2), [], |_| Ok(())).expect("a limit can be set");
    let mut large = spec(&[]);
    large.name = Some("x".repeat(100_000));
    let rows = vec![plain_task(2, StateKind::Ready, 1), new_task(task(3, StateKind::Ready, 1), large)];
    let full = opened.store.commit(epoch, Timestamp(2), &Batch { rows: rows.clone(), ..Batch::default() });
    let Err(CommitError::Store(error)) = full else { panic!("a full disk gave {full:?}") };
    assert!(error.source.to_string().contains("full") && error.operation.contains("bowline.db"), "{error:?}");
    assert_eq!((count(&*opened.reader), ok(opened.reader.commit_no())), (1, CommitNo(1)));
    opened.store.connection().query_row(&limit(1 << 30), [], |_| Ok(())).expect("the limit can be lifted");
    let led = ok(opened.store.take_leadership(Timestamp(2)));
    assert_eq!(ok(opened.store.commit(led.epoch, Timestamp(3), &Batch { rows, ..Batch::default() })), CommitNo(2));
}

#[test]
fn the_log_is_carried_over_by_the_checkpoint_thread() {
    let (_folder, path) = folder();
    let mut opened = opened(&path);
    let epoch = ok(opened.store.take_leadership(Timestamp(1))).epoch;
    let before = std::fs::metadata(&path).map_or(0, |data| data.len());
    for id in 1..=50 {
        ok(opened.store.commit(epoch, Timestamp(1), &batch(id)));
    }
    let mut large = spec(&[]);
    large.name = Some("x".repeat(100_000));
    let rows = vec![new_task(task(99, StateKind::Ready, 1), large)];
    ok(opened.store.commit(epoch, Timestamp(2), &Batch { rows, ..Batch::default() }));
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let grown = (0..100).any(|_| {
        let _ = receiver.recv_timeout(std::time::Duration::from_millis(50));
        std::fs::metadata(&path).map_or(0, |data| data.len()) > before + 100_000
    });
    drop(sender);
    assert!(grown, "nothing was checkpointed within five seconds");
}
