//! Submitting, waiting, logs, verbs.

use std::process::Stdio;

use rustix::process::{Pid, Signal};

use crate::harness::{Room, finish, until};

#[test]
fn submit_wait_ends_as_the_command_did_and_shows_its_output() {
    let room = Room::new();
    let up = room.up(&[]);
    let ran = room.run(&["submit", "--wait", "--quiet", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(ran.status, Some(7), "{}", ran.stderr);
    assert_eq!(ran.stdout, "out\nerr\n");
    let ran = room.run(&["submit", "--wait", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(ran.status, Some(137), "{}", ran.stderr);
    let ran = room.run(&["submit", "--wait", "--", "no-such-command-anywhere"]);
    assert_ne!(ran.status, Some(0));
    assert!(ran.stderr.contains("no-such-command-anywhere"), "{}", ran.stderr);
    let ran = room.run(&["submit", "--wait", "--json", "--", "true"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let task: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(task["state"], "succeeded");
    // `last`, and an id that is not there.
    assert_eq!(room.json(&["task", "show", "last", "--json"])["id"], task["id"]);
    assert_eq!(room.run(&["task", "show", "999999"]).status, Some(3));
    assert_eq!(room.run(&["logs", "999999"]).status, Some(3));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn arrays_lines_scripts_and_dependencies() {
    let room = Room::new();
    let up = room.up(&["--slots", "4"]);
    let id = room.good(&["submit", "--quiet", "--array", "3-5", "--", "sh", "-c", "echo $BOWLINE_ARRAY_INDEX"]);
    let id = id.trim();
    assert_eq!(room.run(&["wait", id]).status, Some(0));
    assert_eq!(room.good(&["logs", &format!("{id}.4")]), "4\n");
    room.write("hosts", "a b\n$(touch hacked)\n");
    let id = room.good(&["submit", "--quiet", "--each-line", "hosts", "--", "echo", "{}"]);
    let id = id.trim();
    assert_eq!(room.run(&["wait", id]).status, Some(0));
    assert_eq!(room.good(&["logs", &format!("{id}.1")]), "$(touch hacked)\n");
    room.write("job.sh", "#!/bin/sh\n#BOWLINE --name carried --label a=b\necho \"$1 $0\"\n");
    let id = room.good(&["submit", "--quiet", "--script", "job.sh", "--", "hello"]);
    assert_eq!(room.run(&["wait", id.trim()]).status, Some(0));
    assert!(room.good(&["logs", id.trim()]).starts_with("hello "));
    let task = room.json(&["task", "show", id.trim(), "--json"]);
    assert_eq!((task["name"].as_str(), task["labels"]["a"].as_str()), (Some("carried"), Some("b")));
    let bad = room.good(&["submit", "--quiet", "--", "false"]);
    let after = room.good(&["submit", "--quiet", "--after", &format!("{}:ok", bad.trim()), "--", "true"]);
    assert_eq!(room.run(&["wait", after.trim()]).status, Some(125));
    assert_eq!(room.json(&["task", "show", after.trim(), "--json"])["state"], "skipped");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn what_no_worker_fits_is_explained_and_can_be_cancelled() {
    let room = Room::new();
    let up = room.up(&[]);
    let id = room.good(&["submit", "--quiet", "--requires", "unicorn", "--", "true"]);
    let id = id.trim();
    let told = room.good(&["explain", id]);
    assert!(told.contains("unicorn"), "{told}");
    assert!(room.good(&["task", "list"]).contains("unicorn"));
    let ran = room.run(&["wait", id, "--timeout", "100ms"]);
    assert_eq!(ran.status, Some(124), "{}", ran.stderr);
    assert!(room.good(&["cancel", "--all", "--state", "ready", "--dry-run"]).contains("1 task."));
    room.good(&["cancel", "--all", "--state", "ready", "--yes"]);
    assert_eq!(room.run(&["wait", id]).status, Some(125));
    assert_eq!(room.run(&["cancel", id]).status, Some(5));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_task() {
    let room = Room::new();
    let up = room.up(&[]);
    let mut command = room.command(&["submit", "--wait", "--", "sh", "-c", "echo begun; sleep 600"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it runs", || room.run(&["task", "list", "--state", "running", "--json"]).stdout.contains("running"));
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = finish(child, "submit --wait");
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert!(ran.stderr.contains("bowline wait"), "{}", ran.stderr);
    assert_eq!(room.json(&["task", "show", "last", "--json"])["state"], "running");
    room.good(&["cancel", "last"]);
    assert_eq!(room.run(&["wait", "last"]).status, Some(125));
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_log_asked_for_right_after_the_end_is_whole() {
    let room = Room::new();
    let up = room.up(&[]);
    let script = "head -c 20000000 /dev/zero | tr '\\0' x";
    let id = room.good(&["submit", "--quiet", "--", "sh", "-c", script]).trim().to_owned();
    assert_eq!(room.run(&["wait", &id]).status, Some(0));
    assert_eq!(room.good(&["logs", &id]).len(), 20_000_000);
    assert_eq!(up.stop(), Some(0));
}
