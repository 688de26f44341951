//! A store file that is not what it should be: told plainly, and not changed by a byte.

use std::collections::BTreeMap;
use std::path::Path;

use bowline_api::NewTask;
use bowline_client::Write;
use rustix::process::{Resource, Rlimit, prlimit};

use crate::harness::parts::{Part, ServerPart, runtime, worker};
use crate::harness::worked::Work;
use crate::harness::{Room, until};

/// Every file of a data folder that belongs to the store, and what is in it.
fn store_files(data: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(data)
        .unwrap()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| name.starts_with("bowline.db") && !name.ends_with(".lock") && !name.ends_with("-shm"))
        .map(|(name, path)| (name, std::fs::read(path).unwrap()))
        // An empty log beside it says nothing.
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect()
}

/// A data folder with a task in it.
fn used(room: &Room) -> std::path::PathBuf {
    let up = room.up(&[]);
    room.good(&["submit", "--wait", "--name", "before", "--", "true"]);
    assert_eq!(up.stop(), Some(0));
    room.work().join(".bowline")
}

/// Neither `up` nor `server start` nor `server check` accepts it; each says these words; nothing is changed.
fn refused(room: &Room, data: &Path, told: &[&str]) {
    let before = store_files(data);
    let folder = data.to_str().unwrap();
    for args in [
        &["server", "check", "--data", folder][..],
        &["server", "start", "--data", folder, "--listen", "127.0.0.1:0"],
        &["up", "--data", folder, "--listen", "127.0.0.1:0"],
    ] {
        let ran = room.run(args);
        assert!(
            ran.status.is_some_and(|status| status != 0),
            "{args:?}: {:?} {}{}",
            ran.status,
            ran.stdout,
            ran.stderr
        );
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for word in told {
            assert!(said.contains(word), "{args:?}: `{word}` is missing in {said}");
        }
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert!(store_files(data) == before, "{args:?} has changed the store");
    }
    room.wait_empty();
}

#[test]
fn a_file_that_is_no_store_is_refused_and_not_touched() {
    let room = Room::new();
    let data = room.work().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("bowline.db"), "these are my notes, not a database\n".repeat(200)).unwrap();
    refused(&room, &data, &["bowline.db"]);
}

#[test]
fn a_damaged_store_is_refused_and_not_touched() {
    let room = Room::new();
    let data = used(&room);
    room.good(&["server", "check"]);
    let path = data.join("bowline.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // Every page but the first is overwritten: the schema is read, and what it names is not there.
    for byte in &mut bytes[4096..] {
        *byte = 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    refused(&room, &data, &["bowline.db"]);
    // Half of the file.
    std::fs::write(&path, &bytes[..4096]).unwrap();
    refused(&room, &data, &["bowline.db"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_not_touched_and_then_read_by_who_may() {
    let room = Room::new();
    let data = used(&room);
    let path = data.join("bowline.db");
    let set = |key: &str, value: &dyn rusqlite::ToSql| {
        let store = rusqlite::Connection::open(&path).unwrap();
        let changed =
            store.execute("UPDATE meta SET value = ?2 WHERE key = ?1", rusqlite::params![key, value]).unwrap();
        assert_eq!(changed, 1, "{key}");
    };
    let own: i64 = {
        let store = rusqlite::Connection::open(&path).unwrap();
        store.query_row("SELECT value FROM meta WHERE key = 'schema_version'", [], |row| row.get(0)).unwrap()
    };
    set("schema_version", &(own + 3));
    set("oldest_reader", &(own + 3));
    set("release", &"9.8.7");
    refused(&room, &data, &["9.8.7", "newer"]);
    // The newer version says that this one may still use it: nothing is lost.
    set("oldest_reader", &own);
    let up = room.up(&[]);
    let tasks = room.json(&["task", "list", "--json"]);
    assert_eq!(tasks[0]["name"], "before", "{tasks}");
    until("a task runs", || room.run(&["submit", "--wait", "--", "true"]).status == Some(0));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_data_folder_that_cannot_be_made_is_told() {
    let room = Room::new();
    let file = room.write("file", "");
    let inside = file.join("data");
    for command in [&["up"][..], &["server", "start"]] {
        let ran = room.run(&[command, &["--data", inside.to_str().unwrap(), "--listen", "127.0.0.1:0"]].concat());
        assert!(ran.status.is_some_and(|status| status != 0), "{command:?}: {:?}", ran.status);
        assert!(ran.stderr.contains("file/data"), "{command:?}: {}", ran.stderr);
    }
    room.wait_empty();
}

/// No file of this process may grow beyond so many bytes.
fn limit(part: &Part, bytes: Option<u64>) {
    prlimit(Some(part.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn a_limit_on_the_size_of_files_fails_what_is_written_and_kills_neither_server_nor_worker() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let part = worker(&room, "w", (&server.url, &server.token_file), &[], &["--check-every", "1s"]);
    work.until_connected("w");
    let task = || NewTask { command: Some(vec!["true".to_owned()]), ..NewTask::default() };
    let first = work.one(task());
    work.until_state(first, bowline_core::state::StateKind::Succeeded);
    limit(&server.part, Some(4_096));
    let write = Write { key: Some("meanwhile".to_owned()), ..Write::default() };
    until("the server leads no more", || {
        // Nobody knows whether it was taken: under its key it may be said again.
        let asked = async {
            tokio::time::timeout(std::time::Duration::from_secs(2), work.client.submit(&task(), &write)).await
        };
        let answer = runtime().block_on(asked);
        assert!(!matches!(answer, Ok(Ok(_))), "acknowledged, and not written: {answer:?}");
        runtime().block_on(work.client.ready()).is_err()
    });
    limit(&server.part, None);
    until("it leads again", || runtime().block_on(work.client.ready()).is_ok());
    let meanwhile = runtime().block_on(work.client.submit(&task(), &write)).unwrap().ids[0];
    work.until_state(meanwhile, bowline_core::state::StateKind::Succeeded);
    limit(&part, Some(4_096));
    let waits = work.one(task());
    until("the worker is broken", || {
        runtime().block_on(work.client.worker("w")).is_ok_and(|worker| worker.broken.is_some())
    });
    limit(&part, None);
    work.until_state(waits, bowline_core::state::StateKind::Succeeded);
    assert_eq!(part.stop(), Some(0));
    work.over(&room, server);
}
