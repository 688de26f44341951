//! Opening: two owners, damage, other programs' files, versions, the check that changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use bowline_core::effect::Batch;
use bowline_core::row::Row;
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;
use bowline_store::LeaderStore;
use bowline_store::conformance::ok;
use bowline_store::conformance::rows::plain_task;
use rusqlite::Connection;

use super::{folder, opened};
use crate::migrate::{self, CURRENT, MIGRATIONS};
use crate::{OpenError, check, open};

/// A store with some tasks, closed.
fn some_store(path: &Path) {
    commit(path, (1..=200).map(|id| plain_task(id, StateKind::Ready, 1)).collect());
}

fn commit(path: &Path, rows: Vec<Row>) {
    let mut store = opened(path).store;
    let epoch = ok(store.take_leadership(Timestamp(1))).epoch;
    ok(store.commit(epoch, Timestamp(2), &Batch { rows, ..Batch::default() }));
}

/// Each file of a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let entries = entries.map(|entry| entry.expect("the folder can be read"));
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("the file can be read"))).collect()
}

#[test]
fn a_second_owner_is_told_who_has_it() {
    let (_folder, path) = folder();
    let first = opened(&path);
    let Err(error) = open(&path) else { panic!("two owners of one file") };
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("--data"), "{text}");
    drop(first);
    opened(&path);
}

#[test]
fn damaged_files_are_named_and_left_alone() {
    let (folder, path) = folder();
    some_store(&path);
    let good = std::fs::read(&path).expect("the store can be read");
    let mut scribbled = good.clone();
    for byte in &mut scribbled[5 * 4096..6 * 4096] {
        *byte = 0x5a;
    }
    let truncated = good[..good.len() / 2].to_vec();
    let mut headless = good.clone();
    headless[..16].fill(b'x');
    for bytes in [scribbled, truncated, headless, b"hello".to_vec(), vec![]] {
        std::fs::write(&path, &bytes).expect("the store can be written");
        let Err(error) = open(&path) else { panic!("{} bytes were taken for a store", bytes.len()) };
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("bowline.db") && text.contains("backup"), "{text}");
        assert_eq!(std::fs::read(&path).expect("the store can be read"), bytes, "a damaged file was changed");
    }
    std::fs::write(&path, &good).expect("the store can be written");
    opened(&path);
    drop(folder);
}

#[test]
fn other_programs_databases_are_left_alone() {
    let (_folder, path) = folder();
    let other = Connection::open(&path).expect("a database can be made");
    other.execute_batch("CREATE TABLE songs (name TEXT)").expect("a table can be made");
    drop(other);
    assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
    assert!(matches!(check(&path), Err(OpenError::Foreign { .. })));
}

/// Says of a file that another version wrote it.
fn pretend(path: &Path, version: u32, oldest_reader: u32) {
    let connection = Connection::open(path).expect("the store can be opened");
    let set = |key: &str, value: &dyn rusqlite::ToSql| {
        let sql = "UPDATE meta SET value = ?2 WHERE key = ?1";
        connection.execute(sql, rusqlite::params![key, value]).expect("meta can be written");
    };
    set("schema_version", &version);
    set("oldest_reader", &oldest_reader);
    set("release", &"9.8.7");
}

#[test]
fn a_newer_file_is_refused_unless_it_says_otherwise() {
    let (_folder, path) = folder();
    some_store(&path);
    pretend(&path, CURRENT + 3, CURRENT + 2);
    let Err(error) = open(&path) else { panic!("a newer file was opened") };
    let text = error.to_string();
    for part in [
        format!("version {}", CURRENT + 3),
        "9.8.7".to_owned(),
        format!("up to {CURRENT}"),
        format!("version is {}", CURRENT + 2),
    ] {
        assert!(text.contains(&part), "{part} is not in: {text}");
    }
    assert!(matches!(check(&path), Err(OpenError::Newer { .. })));
    pretend(&path, CURRENT + 3, CURRENT);
    let mut store = opened(&path).store;
    let mut tasks = 0;
    ok(store.load(&mut |row| tasks += u32::from(matches!(row, bowline_core::row::Loaded::Task(..)))));
    assert_eq!(tasks, 200);
}

#[test]
fn a_program_from_before_the_rows_took_history_along_is_kept_out() {
    let (_folder, path) = folder();
    some_store(&path);
    let connection = Connection::open(&path).expect("the store can be opened");
    let Ok(migrate::Kind::Store(found)) = migrate::inspect(&connection) else { panic!("it is a store") };
    assert_eq!((found.version, found.oldest_reader), (CURRENT, CURRENT), "it looks for tasks by an index that is gone");
}

#[test]
fn migrations_run_forward_each_as_a_whole() {
    let (_folder, path) = folder();
    some_store(&path);
    let mut connection = Connection::open(&path).expect("the store can be opened");
    let version = |connection: &Connection| match migrate::inspect(connection) {
        Ok(migrate::Kind::Store(found)) => found.version,
        _ => panic!("the store is not one any more"),
    };
    let steps = [
        migrate::step(CURRENT, "this step was taken long ago"),
        migrate::step(CURRENT + 1, "CREATE TABLE extra (n INTEGER); INSERT INTO extra VALUES (1)"),
        migrate::step(CURRENT + 2, "INSERT INTO extra VALUES (2); INSERT INTO missing VALUES (3)"),
    ];
    assert!(migrate::run(&mut connection, CURRENT, &steps).is_err());
    assert_eq!(version(&connection), CURRENT + 1, "the step that failed left its version");
    let rows: i64 =
        connection.query_row("SELECT count(*) FROM extra", [], |row| row.get(0)).expect("the table is there");
    assert_eq!(rows, 1, "the step that failed left rows");
}

#[test]
fn steps_are_numbered_without_gaps() {
    for (number, step) in (1..).zip(MIGRATIONS) {
        assert_eq!(step.version, number);
        assert!(step.oldest_reader <= step.version);
    }
}

#[test]
fn a_check_tells_and_changes_nothing() {
    let (folder, path) = folder();
    some_store(&path);
    let before = files(folder.path());
    let report = ok(check(&path));
    assert_eq!(files(folder.path()), before, "a check changed something");
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.version, report.pending.len()), (CURRENT, 0));
    assert!(report.counts.contains(&("tasks".to_owned(), 200)));
    let leadership = report.leadership.expect("the store was led");
    assert_eq!((leadership.epoch.0, leadership.commit_no.0), (1, 1));
    let open_too = opened(&path);
    assert!(ok(check(&path)).is_sound());
    drop(open_too);
    assert!(matches!(check(&folder.path().join("none.db")), Err(OpenError::Io { .. })));
}

#[test]
fn a_check_finds_damage() {
    let (_folder, path) = folder();
    some_store(&path);
    let mut bytes = std::fs::read(&path).expect("the store can be read");
    let last = bytes.len() - 4096;
    bytes[last..].fill(0x33);
    std::fs::write(&path, bytes).expect("the store can be written");
    match check(&path) {
        Ok(report) => assert!(!report.is_sound(), "damage was not found"),
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}"),
    }
}

#[test]
fn a_missing_folder_is_named() {
    let (folder, _) = folder();
    let Err(error) = open(&folder.path().join("nowhere/bowline.db")) else { panic!("opened in no folder") };
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Every task that the store holds, in order, or why it does not say.
fn tasks_in(path: &Path) -> Result<Vec<u64>, String> {
    let mut opened = open(path).map_err(|error| error.to_string())?;
    let mut tasks = Vec::new();
    let load = opened.store.load(&mut |row| {
        if let bowline_core::row::Loaded::Task(row, ..) = row {
            tasks.push(row.id.0);
        }
    });
    load.map_err(|error| error.to_string())?;
    tasks.sort_unstable();
    Ok(tasks)
}

/// Cut anywhere, or with a byte damaged anywhere, a store is refused by its name or holds every row. Within a row
/// `SQLite` sums nothing: what its bytes mean is checked where they are read.
#[test]
fn a_store_damaged_at_any_byte_is_refused_or_loses_no_row() {
    let (_folder, path) = folder();
    some_store(&path);
    let good = std::fs::read(&path).expect("the store can be read");
    let places = (0..100).step_by(3).chain((100..good.len()).step_by(good.len() / 100));
    let mut refused = 0;
    for (at, cut) in places.flat_map(|at| [(at, true), (at, false)]) {
        let mut bytes = good.clone();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 0xff;
        }
        for log in ["db-wal", "db-shm"] {
            std::fs::remove_file(path.with_extension(log)).ok();
        }
        std::fs::write(&path, &bytes).expect("the store can be written");
        match tasks_in(&path) {
            Ok(tasks) => assert_eq!(tasks, (1..=200).collect::<Vec<_>>(), "rows are lost at {at}, cut: {cut}"),
            Err(why) => {
                refused += 1;
                assert!(why.contains("bowline.db"), "at {at}, cut: {cut}: {why}");
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_store_whose_file_lost_all_its_bytes_is_no_new_one_and_its_log_stays() {
    let (_folder, path) = folder();
    some_store(&path);
    let log = path.with_extension("db-wal");
    std::fs::write(&log, b"what was committed last").expect("the log can be written");
    std::fs::write(&path, b"").expect("the store can be written");
    let Err(error) = open(&path) else { panic!("nothing was taken for a store") };
    assert!(matches!(&error, OpenError::Damaged { detail, .. } if detail == "it is empty"), "{error:?}");
    assert!(matches!(check(&path), Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(&log).expect("the log can be read"), b"what was committed last");
}

#[test]
fn a_store_that_was_being_made_when_its_server_died_is_made_anew() {
    let (folder, path) = folder();
    for suffix in ["", "-wal", "-shm"] {
        let left = folder.path().join(format!("bowline.db-new{suffix}"));
        std::fs::write(left, b"half").expect("it can be written");
    }
    opened(&path);
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder is there").flatten().collect();
    names.retain(|entry| entry.file_name().to_string_lossy().contains("-new"));
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(tasks_in(&path), Ok(vec![]));
}
