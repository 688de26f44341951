//! Backups made while a server goes on, put back, and what workers bring from after them; and a store that
//! was put back by other means.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::Signal;

use crate::fleet::{Fleet, until_there};
use crate::harness::worked::in_journal;
use crate::harness::{Room, until};
use crate::web::{Reply, read_head};

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_made_under_load_is_whole_and_starts_a_server() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=4"]);
    let first = fleet.submit(&["--name", "before"], "echo said; echo kept > $BOWLINE_ARTIFACTS/file");
    fleet.until_state(&first, "succeeded");
    until("its log is whole", || fleet.good(&["logs", &first]) == "said\n");
    // Commits go on while it is made.
    let array = fleet.submit(&["--array", "1-40"], "true");
    let file = room.work().join("all.tar");
    let file = file.to_str().unwrap();
    let made = fleet.json(&["server", "backup", file, "--with-blobs"]);
    assert!(made["commit_no"].as_u64().unwrap() > 0, "{made}");
    let small = room.work().join("store.tar");
    let small = small.to_str().unwrap();
    let said = fleet.good(&["server", "backup", small]);
    assert!(said.contains("checked"), "{said}");
    fleet.until_state(&array, "succeeded");
    // It has no half files beside it, nobody else may read it, and it is not written over.
    assert_eq!(names(&room.work()).iter().filter(|name| name.contains(".part")).count(), 0);
    assert_eq!(std::fs::metadata(small).unwrap().mode() & 0o777, 0o600);
    let again = fleet.run(&["server", "backup", small]);
    assert_eq!(again.status, Some(5), "{again:?}");
    assert!(again.stderr.contains("--force"), "{again:?}");
    fleet.good(&["server", "backup", small, "--force"]);
    assert_eq!(room.good(&["server", "check", file]), format!("{file}: in order\n"));
    assert_eq!(names(&fleet.data()).iter().filter(|name| name.starts_with(".backup")).count(), 0);

    // Any byte that is not what it was is found, and so is an end that is missing.
    let bytes = std::fs::read(file).unwrap();
    let (broken, at) = (room.work().join("broken.tar"), bytes.len() / 2);
    for damaged in [
        [&bytes[..at], &[bytes[at] ^ 1], &bytes[at + 1..]].concat(),
        bytes[..bytes.len() - 4096].to_vec(),
        bytes[..at].to_vec(),
        b"no tar at all".to_vec(),
    ] {
        std::fs::write(&broken, damaged).unwrap();
        let checked = room.run(&["server", "check", broken.to_str().unwrap()]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        let fresh = room.work().join("never");
        let restored = room.run(&["server", "restore", broken.to_str().unwrap(), "--data", fresh.to_str().unwrap()]);
        assert_eq!(restored.status, Some(1), "{restored:?}");
        assert!(!fresh.join("bowline.db").exists());
        assert!(!restored.stderr.contains("panicked"), "{restored:?}");
    }

    // Into another folder, with everything.
    let other = room.work().join("other");
    let other = other.to_str().unwrap();
    let refused = room.run(&["server", "restore", file, "--data", fleet.data().to_str().unwrap(), "--force"]);
    assert_eq!(refused.status, Some(5), "a server runs there: {refused:?}");
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
    let restored = room.json(&["server", "restore", file, "--data", other, "--json"]);
    assert_eq!(restored["generation"], 1, "{restored}");
    let refused = room.run(&["server", "restore", file, "--data", other]);
    assert_eq!(refused.status, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("not empty"), "{refused:?}");
    assert_eq!(room.good(&["server", "check", "--data", other]), format!("{other}: in order\n"));
    let up = room.up(&["--data", other]);
    let with = ["--server", &up.url, "--token-file", up.token_file.to_str().unwrap()];
    let good = |args: &[&str]| room.good(&[args, &with].concat());
    assert_eq!(std::fs::read(&up.token_file).unwrap(), std::fs::read(fleet.data().join("token")).unwrap());
    assert!(good(&["task", "show", &first]).contains("before"));
    assert_eq!(good(&["logs", &first]), "said\n");
    let out = room.work().join("out");
    good(&["task", "artifacts", &first, "--out", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("file")).unwrap(), "kept\n");
    assert!(good(&["task", "show", &array]).contains(&array));
    assert_eq!(up.stop(), Some(0));
    // A restore that broke off is not taken for a store.
    std::fs::write(Path::new(other).join("restore-under-way"), "").unwrap();
    let half = room.run(&["server", "start", "--data", other, "--listen", "127.0.0.1:0"]);
    assert_eq!(half.status, Some(1), "{half:?}");
    assert!(half.stderr.contains("restore FILE --force"), "{half:?}");
    let again = room.good(&["server", "restore", small, "--data", other, "--force"]);
    assert!(again.contains("generation 2") && again.contains("replaced-"), "{again}");
    // The logs are still there, though this backup had none.
    let up = room.up(&["--data", other]);
    let with = ["--server", &up.url, "--token-file", up.token_file.to_str().unwrap()];
    assert_eq!(room.good(&[&["logs", &first][..], &with].concat()), "said\n");
    assert_eq!(up.stop(), Some(0));
}

/// What a job of the outbox test does: says where it runs, waits for its gate, and ends as its worker's
/// file says.
fn gated(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "echo $BOWLINE_WORKER; until test -e '{folder}/gate.'$BOWLINE_WORKER; do sleep 0.05; done; \
         exit $(cat '{folder}/gate.'$BOWLINE_WORKER)"
    )
}

/// For how many attempts something lies in the outbox of the worker `old`.
fn ends_in_outbox(room: &Room) -> i64 {
    in_journal(room, "old", "SELECT count(*) FROM (SELECT DISTINCT task, element FROM message)")
}

#[test]
fn an_outbox_from_before_a_restore_never_ends_a_newer_attempt() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    let job = gated(&room.work());
    fleet.connected("old", &["--slots=12", "--on-term=handoff"]);
    fleet.good(&["worker", "pause", "old"]);
    let single = fleet.submit(&[], &job);
    let file = room.work().join("backup.tar");
    let file = file.to_str().unwrap();
    fleet.good(&["server", "backup", file]);
    // All of this is after the backup: the attempt of the first task, and the array with its attempts.
    fleet.good(&["worker", "resume", "old"]);
    let array = fleet.submit(&["--array", "1-10"], &job);
    until("all eleven run", || fleet.json(&["worker", "show", "old"])["slots_used"] == 11);
    until("all eleven have begun", || {
        let list = fleet.json(&["task", "elements", &array, "--state", "running"]);
        list.as_array().unwrap().len() == 10 && fleet.task(&single, "state") == "running"
    });
    // They end while nobody is there to be told, badly.
    fleet.stop();
    std::fs::write(room.work().join("gate.old.new"), "3").unwrap();
    std::fs::rename(room.work().join("gate.old.new"), room.work().join("gate.old")).unwrap();
    until("all eleven ends are in the outbox", || ends_in_outbox(&room) == 11);
    assert_eq!(fleet.end_worker("old", Signal::TERM), Some(0));

    let data = fleet.data();
    let restored = room.json(&["server", "restore", file, "--data", data.to_str().unwrap(), "--force", "--json"]);
    assert_eq!(restored["generation"], 1, "{restored}");
    fleet.start();
    assert_eq!(fleet.task(&single, "state"), "ready");
    assert_eq!(fleet.run(&["task", "show", &array]).status, Some(3), "it was after the backup");
    // Other tasks under the same numbers, on another worker.
    let again = fleet.submit(&["--array", "1-10"], &job);
    assert_eq!(again, array);
    fleet.connected("new", &["--slots=12", "--on-term=release"]);
    until("all eleven run again", || {
        let list = fleet.json(&["task", "elements", &array, "--state", "running"]);
        list.as_array().unwrap().len() == 10 && fleet.task(&single, "state") == "running"
    });
    // Now the old one brings what it has.
    fleet.connected("old", &["--slots=12", "--on-term=release"]);
    until("its outbox is empty", || fleet.json(&["worker", "show", "old"])["vitals"]["outbox_messages"] == 0);
    assert_eq!((fleet.task(&single, "state"), fleet.task(&single, "worker")), ("running".into(), "new".into()));
    let list = fleet.json(&["task", "elements", &array]);
    let is_undisturbed = |element: &serde_json::Value| {
        element["state"] == "running" && element["worker"] == "new" && element["attempt"] == 1
    };
    assert!(list.as_array().unwrap().iter().all(is_undisturbed), "{list}");
    std::fs::write(room.work().join("gate.new.new"), "0").unwrap();
    std::fs::rename(room.work().join("gate.new.new"), room.work().join("gate.new")).unwrap();
    fleet.until_state(&single, "succeeded");
    fleet.until_state(&array, "succeeded");
    assert_eq!(fleet.good(&["logs", &single]), "new\n");
    for name in ["old", "new"] {
        assert_eq!(fleet.end_worker(name, Signal::TERM), Some(0));
    }
    fleet.stop();
}

/// What `/readyz` says.
fn readyz(fleet: &Fleet<'_>) -> Reply {
    use std::io::{BufReader, Read as _, Write as _};
    let url = fleet.url();
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let (status, head) = read_head(&mut reader);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    Reply { status, head, body }
}

#[test]
fn a_store_that_was_put_back_leads_no_more_until_that_is_accepted() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=2", "--on-term=handoff"]);
    let gate = room.work().join("gate");
    let early = fleet.submit(&[], "true");
    fleet.until_state(&early, "succeeded");
    fleet.stop();
    let (data, snapshot) = (fleet.data(), room.work().join("snapshot"));
    copy(&data, &snapshot);
    fleet.start();
    // The worker sees what the copy does not hold.
    let late = fleet.submit(&[], "true");
    fleet.until_state(&late, "succeeded");
    let runs = fleet.submit(&[], &until_there(gate.to_str().unwrap()));
    fleet.until_state(&runs, "running");
    fleet.stop();
    std::fs::rename(&data, room.work().join("newest")).unwrap();
    copy(&snapshot, &data);
    fleet.start();
    until("the server leads no more", || readyz(&fleet).status == 503);
    for round in 0..2 {
        let (status, code, detail) = readyz(&fleet).problem();
        assert_eq!((status, code.as_str()), (503, "rolled_back"), "{detail}");
        assert!(detail.contains("bowline server accept-rollback"), "{detail}");
        for args in [&["status"][..], &["submit", "--", "true"], &["worker", "list"]] {
            let refused = fleet.run(args);
            assert_eq!(refused.status, Some(4), "{args:?} {refused:?}");
            assert!(refused.stderr.contains("bowline server accept-rollback"), "{args:?} {refused:?}");
        }
        assert_eq!(fleet.json(&["version"])["server"]["status"], "rolled_back");
        let checked = room.run(&["server", "check", "--data", data.to_str().unwrap()]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        assert!(checked.stdout.contains("accept-rollback"), "{checked:?}");
        // A restart changes nothing.
        if round == 0 {
            fleet.stop();
            fleet.start();
        }
    }
    let worker_said = std::fs::read_to_string(room.path().join("up.stderr")).unwrap();
    assert!(worker_said.contains("accept-rollback"), "{worker_said}");
    let accepted = fleet.json(&["server", "accept-rollback"]);
    assert_eq!(accepted["generation"], 1, "{accepted}");
    until("the server leads again", || readyz(&fleet).status == 200);
    assert_eq!(fleet.run(&["server", "accept-rollback"]).status, Some(5));
    // What was after the copy is gone; what runs of it is stopped; and all goes on.
    assert_eq!(fleet.run(&["task", "show", &runs]).status, Some(3));
    until("the worker is back", || fleet.json(&["worker", "show", "lab-1"])["connection"] == "connected");
    let next = fleet.submit(&[], "echo fine");
    fleet.until_state(&next, "succeeded");
    until("nothing of what was forgotten is left", || {
        room.processes().iter().all(|(_, line)| !line.contains("until test -e"))
    });
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
    // Of a server that is stopped there is nothing more to accept, and it says so by raising it once more.
    let offline = room.json(&["server", "accept-rollback", "--data", data.to_str().unwrap(), "--json"]);
    assert_eq!(offline["generation"], 2, "{offline}");
}

#[test]
fn the_way_back_to_an_earlier_form_disturbs_no_running_job_and_loses_no_history() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--on-term=handoff"]);
    let gate = room.work().join("gate");
    let running = fleet.submit(&[], &until_there(gate.to_str().unwrap()));
    fleet.until_state(&running, "running");
    let data = fleet.data();
    let words = ["server", "downgrade", "--data", data.to_str().unwrap()];
    let refused = room.run(&words);
    assert_eq!(refused.status, Some(5), "its server runs: {refused:?}");
    let before = fleet.json(&["task", "history", &running]);
    fleet.stop();
    let done = room.json(&[&words[..], &["--json"]].concat());
    assert_eq!((&done["store_version"], &done["oldest_reader"]), (&5.into(), &2.into()), "{done}");
    let again = room.good(&words);
    assert!(again.contains("store version 2"), "{again}");
    fleet.start();
    std::fs::write(&gate, b"").unwrap();
    fleet.until_state(&running, "succeeded");
    let after = fleet.json(&["task", "history", &running]);
    let lines = |told: &serde_json::Value| told.as_array().unwrap().clone();
    assert_eq!(lines(&after)[..lines(&before).len()], lines(&before)[..]);
    let shown = fleet.json(&["task", "show", &running]);
    assert_eq!(shown["attempt"], 1, "the job ran on: {shown}");
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}
