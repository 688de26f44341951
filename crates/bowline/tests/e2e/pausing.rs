//! Pauses of tasks, runs, namespaces, workers and everything: nothing new begins, what runs runs on, and
//! who paused what since when is shown.

use bowline_api::NewTask;
use bowline_client::Write;
use bowline_core::state::StateKind;
use rustix::process::Signal;

use crate::fleet::{Fleet, until_there};
use crate::harness::parts::runtime;
use crate::harness::{Room, until};

/// Paused now, and shown with who did it.
fn is_told(fleet: &Fleet<'_>, args: &[&str], words: &[&str]) {
    let said = fleet.good(args);
    for word in words {
        assert!(said.contains(word), "{args:?}: `{word}` is missing in {said}");
    }
}

#[test]
fn nothing_new_begins_while_something_is_paused_and_who_paused_it_is_shown() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=4"]);
    let gate = room.work().join("gate");
    let runs = fleet.submit(&[], &until_there(gate.to_str().unwrap()));
    fleet.until_state(&runs, "running");

    // A namespace, then everything; each beside the other.
    let listed = fleet.good(&["namespace", "list"]);
    assert!(listed.starts_with("NAME") && listed.ends_with("\nNothing is paused.\n"), "{listed}");
    assert_eq!(fleet.good(&["namespace", "pause", "default"]), "default paused\n");
    assert_eq!(fleet.good(&["namespace", "pause", "--all"]), "everything paused\n");
    let paused = fleet.json(&["namespace", "list"]);
    assert_eq!(paused["everything"]["by"], "admin", "{paused}");
    assert_eq!(paused["namespaces"][0]["namespace"], "default", "{paused}");
    is_told(&fleet, &["status"], &["paused   everything, by admin for", "paused   default, by admin for"]);
    let here = fleet.submit(&[], "true");
    let there = fleet.submit(&["--namespace", "other"], "true");
    is_told(
        &fleet,
        &["explain", &here],
        &["The namespace default is paused, by admin", "Everything is paused, by admin"],
    );
    assert_eq!(fleet.task(&runs, "state"), "running");
    fleet.good(&["namespace", "resume", "--all"]);
    until("the other namespace goes on", || {
        fleet.json(&["task", "show", &there, "--namespace", "other"])["state"] == "succeeded"
    });
    assert_eq!(fleet.task(&here, "state"), "ready");
    // A server that starts again still knows.
    fleet.stop();
    fleet.start();
    is_told(&fleet, &["namespace", "list"], &["default, by admin for"]);
    fleet.good(&["namespace", "resume", "default"]);
    fleet.until_state(&here, "succeeded");

    // A task.
    let task = fleet.submit(&["--delay", "1h"], "true");
    fleet.good(&["task", "pause", &task]);
    is_told(&fleet, &["task", "list"], &["paused by admin for"]);
    is_told(&fleet, &["task", "show", &task], &["by admin since"]);
    fleet.good(&["task", "resume", &task]);
    fleet.good(&["cancel", &task]);

    // A worker.
    until("the worker is back", || fleet.json(&["worker", "show", "lab-1"])["connection"] == "connected");
    assert_eq!(fleet.good(&["worker", "pause", "lab-1"]), "lab-1 paused\n");
    is_told(&fleet, &["worker", "list"], &["paused by admin for"]);
    let waits = fleet.submit(&[], "true");
    is_told(&fleet, &["explain", &waits], &["lab-1", "paused"]);
    std::fs::write(&gate, "").unwrap();
    fleet.until_state(&runs, "succeeded");
    assert_eq!(fleet.task(&waits, "state"), "ready");
    assert_eq!(fleet.good(&["worker", "resume", "--all", "--yes"]), "lab-1 resumed\n");
    fleet.until_state(&waits, "succeeded");
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}

#[test]
fn a_paused_run_starts_nothing_and_says_who_paused_it() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    let steps = "steps:\n  one:\n    run: echo 1\n  next:\n    needs: one\n    run: echo 2\n";
    room.write("two.yaml", &format!("name: two\n{steps}"));
    room.good(&["workflow", "check", "two.yaml"]);
    let run = fleet.spawn(&["run", "two.yaml"]);
    until("the run is there", || fleet.json(&["runs", "list"]).as_array().is_some_and(|runs| runs.len() == 1));
    fleet.good(&["runs", "pause", "r1"]);
    is_told(&fleet, &["runs", "list"], &["paused by admin for"]);
    is_told(&fleet, &["runs", "show", "r1"], &["paused    by admin since"]);
    fleet.connected("lab-1", &["--slots=2"]);
    is_told(&fleet, &["runs", "explain", "r1"], &["Its run r1 is paused, by admin"]);
    fleet.good(&["runs", "resume", "r1"]);
    let ended = crate::harness::finish(run, "the run");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    is_told(&fleet, &["runs", "history", "r1"], &["paused", "resumed", "succeeded"]);
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}

#[test]
fn a_verb_by_filter_goes_through_all_in_batches_and_ends() {
    const TASKS: usize = 4_100;
    let fleet = crate::harness::fleet::Fleet::new();
    let task = NewTask { command: Some(vec!["true".to_owned()]), ..NewTask::default() };
    let tasks = vec![task; TASKS];
    let made = runtime().block_on(fleet.client.submit_many(tasks, &Write::default())).unwrap();
    let run = |args: &[&str]| {
        let server = &fleet.server;
        let to = ["--server", &server.url, "--token-file", server.token_file.to_str().unwrap()];
        let ran = fleet.room.run(&[&to, args].concat());
        assert_eq!(ran.status, Some(0), "{args:?}: {}", ran.stderr);
        ran
    };
    assert_eq!(run(&["task", "pause", "--all", "--dry-run"]).stdout, "pause would touch 4100 tasks.\n");
    // A pause leaves all of them among those that match.
    let paused = run(&["task", "pause", "--all", "--yes"]);
    assert_eq!(paused.stdout.lines().count(), TASKS);
    assert!(paused.stderr.contains("pause touched 4100 tasks; 0 were refused."), "{}", paused.stderr);
    let last = *made.ids.last().unwrap();
    assert!(fleet.task(last).paused.is_some());
    assert_eq!(run(&["cancel", "--all", "--yes"]).stdout.lines().count(), TASKS);
    fleet.ends_as(last, StateKind::Cancelled);
    fleet.over(Vec::new());
}
