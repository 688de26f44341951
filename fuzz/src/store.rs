//! A store's database and its log of writes, cut or altered at any byte, and opened as the server does.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bowline_core::id::{ReplyTo, TaskId};
use bowline_core::input::{DryRun, Input, NewTask, Request, Strict, Submit};
use bowline_core::name::{Actor, Namespace};
use bowline_core::row::Loaded;
use bowline_core::spec::{Action, TaskSpec, Work};
use bowline_core::time::Timestamp;
use bowline_leader::{LeaderConfig, take_over};
use bowline_store::{LeaderStore, ReadStore, TaskFilter, TaskSort};
use bowline_store_sqlite::{OpenError, Opened, check as check_all, open};

use crate::scratch;

/// Tasks in the database, and as many more in the log.
const EACH: u64 = 12;
/// Bytes that say one change.
const CHANGE: usize = 5;
/// Changes of one input at most.
const CHANGES_MAX: usize = 6;
/// What is filled at once.
const STRETCH: usize = 512;

/// A store as its server left it at a crash.
#[derive(Clone)]
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

/// Commits so many tasks more, each in a commit of its own.
fn more(opened: &mut Opened, count: u64) {
    let config = LeaderConfig { seed: Some(7), ..LeaderConfig::default() };
    let taken = take_over(&mut opened.store, Timestamp(1), &config).expect("a whole store is led");
    let (mut engine, leadership) = (taken.engine, taken.leadership);
    engine.loaded(leadership.now);
    for number in 0..count {
        let spec = Arc::new(TaskSpec::new(Work::new(Action::Noop)));
        let task = NewTask { spec, elements: Arc::default(), after_earlier: Vec::new() };
        let (namespace, key) = (Namespace::default(), None);
        let submit = Submit { namespace, tasks: vec![task], key, dry_run: DryRun::No, strict: Strict::No };
        let (reply, actor) = (ReplyTo(number + 1), Actor::new("ada"));
        engine.apply(leadership.now, Input::Request { reply, actor, request: Request::Submit(submit) });
        let batch = engine.take_batch();
        opened.store.commit(leadership.epoch, leadership.now, &batch).expect("it is committed");
        engine.durable(batch.number);
    }
}

fn whole() -> &'static Files {
    static WHOLE: OnceLock<Files> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let folder = scratch::folder();
        let path = folder.path().join("bowline.db");
        let mut opened = open(&path).expect("a new store");
        more(&mut opened, EACH);
        // Whoever closes it last moves its log into it: that must be who writes.
        let Opened { store, reader } = opened;
        drop(reader);
        drop(store);
        assert!(fs::metadata(path.with_extension("db-wal")).is_err(), "its log is moved into it");
        let mut opened = open(&path).expect("a whole store");
        more(&mut opened, EACH);
        let read = |path: &Path| fs::read(path).expect("a file of a store");
        Files { database: read(&path), log: read(&path.with_extension("db-wal")) }
    })
}

/// Which file, what is done to it, where, and with which byte.
fn alter(files: &mut Files, change: &[u8]) -> bool {
    let [what, high, middle, low, byte] = *change else { return false };
    let is_database = what & 1 == 0;
    let bytes = if is_database { &mut files.database } else { &mut files.log };
    let place = u32::from_be_bytes([0, high, middle, low]) as usize;
    let Some(at) = place.checked_rem(bytes.len()) else { return is_database };
    match what >> 1 & 3 {
        0 => bytes[at] ^= byte,
        1 => bytes[at] = byte,
        2 => bytes.truncate(at),
        _ => {
            let end = bytes.len().min(at + STRETCH);
            bytes[at..end].fill(byte);
        }
    }
    is_database
}

/// Every task that it holds, or why it does not say.
fn tasks_of(opened: &mut Opened) -> Result<Vec<TaskId>, String> {
    let mut tasks = Vec::new();
    let loaded = opened.store.load(&mut |row| {
        if let Loaded::Task(row, _) = row {
            tasks.push(row.id);
        }
    });
    loaded.map_err(|error| error.to_string())?;
    tasks.sort_unstable();
    Ok(tasks)
}

/// Each five bytes are a change. What is damaged is refused by its name and left as it is; where the log alone is damaged,
/// what was committed is there up to some commit; and nothing panics, whatever is read of it.
pub fn check(bytes: &[u8]) {
    let mut files = whole().clone();
    let mut is_database_whole = true;
    for change in bytes.chunks_exact(CHANGE).take(CHANGES_MAX) {
        is_database_whole &= !alter(&mut files, change);
    }
    let folder = scratch::folder();
    let path = folder.path().join("bowline.db");
    let log = path.with_extension("db-wal");
    fs::write(&path, &files.database).expect("a file of a temporary folder");
    fs::write(&log, &files.log).expect("a file of a temporary folder");
    match check_all(&path) {
        Ok(_) => {}
        Err(error) => assert!(error.to_string().contains("bowline.db"), "`{error}` names no file"),
    }
    match open(&path) {
        Err(error) => refused(&error, (&path, &files.database), (&log, &files.log)),
        Ok(mut opened) => {
            opened_well(&mut opened, is_database_whole);
        }
    }
}

fn refused(error: &OpenError, database: (&Path, &[u8]), log: (&Path, &[u8])) {
    assert!(error.to_string().contains("bowline.db"), "`{error}` names no file");
    if let OpenError::Damaged { .. } | OpenError::Foreign { .. } | OpenError::Newer { .. } = error {
        for (path, bytes) in [database, log] {
            assert!(fs::read(path).expect("it is there") == bytes, "{} was changed: {error}", path.display());
        }
    }
}

fn opened_well(opened: &mut Opened, is_database_whole: bool) {
    let tasks = tasks_of(opened);
    if is_database_whole {
        let tasks = tasks.clone().expect("a whole database is read");
        let count = tasks.len() as u64;
        assert!((EACH..=2 * EACH).contains(&count), "{count} tasks are there of {EACH} and {EACH} more");
        assert!(tasks.iter().zip(1..).all(|(task, number)| task.0 == number), "what is there has no gap: {tasks:?}");
    }
    for task in tasks.unwrap_or_default() {
        // Whatever is damaged within a row is told by an error; it is read to see that it does not end the process.
        drop(opened.reader.task(task));
    }
    drop(opened.reader.tasks(&TaskFilter::default(), TaskSort::default(), None, 1_000));
    drop(opened.reader.workers());
    drop(opened.reader.events(None, 1_000));
    let config = LeaderConfig { seed: Some(7), ..LeaderConfig::default() };
    if let Ok(taken) = take_over(&mut opened.store, Timestamp(2), &config) {
        let (mut engine, now) = (taken.engine, taken.leadership.now);
        engine.loaded(now);
        drop(engine.take_batch());
    }
}

/// Some that are damaged in one place.
pub fn seeds() -> Vec<Vec<u8>> {
    let of = |what: u8, place: u32, byte: u8| {
        let [_, high, middle, low] = place.to_be_bytes();
        vec![what, high, middle, low, byte]
    };
    let mut seeds = vec![Vec::new()];
    for what in 0..8 {
        seeds.extend([0, 18, 30, 100, 4_096, 5_000, 9_000, 20_000, 70_000].map(|place| of(what, place, 0x81)));
    }
    seeds
}
