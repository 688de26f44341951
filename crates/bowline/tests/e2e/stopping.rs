//! SIGTERM in its meanings, and a second one. Drains are in `fleet`.

use std::path::Path;

use bowline_api::NewTask;
use bowline_core::state::StateKind;
use rustix::process::Signal;

use crate::harness::parts::{Part, ServerPart, said, worker};
use crate::harness::worked::Work;
use crate::harness::{Room, until};

fn start(room: &Room, server: &ServerPart, more: &[&str]) -> Part {
    worker(room, "w", (&server.url, &server.token_file), &[], more)
}

/// Waits for a file; says when it is told to stop, and stops.
fn waits_for(gate: &Path) -> NewTask {
    let script =
        format!("trap 'echo told; exit 143' TERM\nuntil test -e '{}'; do sleep 0.02; done; echo done", gate.display());
    NewTask { shell: Some(script), ..NewTask::default() }
}

#[test]
fn finish_lets_what_runs_end_gives_back_what_waits_and_ends_then() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let process = start(&room, &server, &["--slots", "1", "--on-term", "finish"]);
    until("what SIGTERM means is printed", || said(&room, "w").contains("SIGTERM means finish"));
    let gate = room.work().join("gate");
    let runs = work.one(waits_for(&gate));
    let waits = work.one(waits_for(&gate));
    work.until_state(runs, StateKind::Running);
    process.signal(Signal::TERM);
    work.until_state(waits, StateKind::Ready);
    assert_eq!(work.task(runs).state, StateKind::Running);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(process.ended(), Some(0));
    // The last thing that it did was to deliver.
    assert_eq!((work.task(runs).state, work.attempts(runs)), (StateKind::Succeeded, 1));
    assert_eq!(work.log(&room, runs), "done\n");
    let process = start(&room, &server, &["--slots", "1"]);
    work.until_state(waits, StateKind::Succeeded);
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn past_within_finish_is_release_and_so_is_a_second_sigterm() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let gate = room.work().join("gate");
    for (more, again) in
        [(["--on-term", "finish", "--within", "1s"], false), (["--on-term", "finish", "--within", "1h"], true)]
    {
        let process = start(&room, &server, &more);
        let id = work.one(waits_for(&gate));
        work.until_state(id, StateKind::Running);
        let attempts = work.attempts(id);
        // What the process before it said stands in the same file, and two signals sent at once are one.
        let heard = || said(&room, "w").matches("told to stop on_term").count();
        let before = heard();
        process.signal(Signal::TERM);
        if again {
            until("the first one is heard", || heard() > before);
            process.signal(Signal::TERM);
        }
        assert_eq!(process.ended(), Some(0));
        // It was given back in order: at once, and without being lost.
        work.until_state(id, StateKind::Ready);
        assert!(work.history(id).iter().any(|what| what == "given_back"), "{:?}", work.history(id));
        assert!(work.log(&room, id).contains("told"), "its job was told to stop");
        assert_eq!(work.attempts(id), attempts);
        work.good(&room, &["cancel", &id.to_string()]);
        room.stop_supervisor("w");
    }
    work.over(&room, server);
}

#[test]
fn handoff_ends_at_once_and_a_second_sigterm_changes_nothing_that_is_over() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let gate = room.work().join("gate");
    let process = start(&room, &server, &["--slots", "1", "--on-term", "handoff"]);
    let id = work.one(waits_for(&gate));
    work.until_state(id, StateKind::Running);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(work.task(id).state, StateKind::Running);
    std::fs::write(&gate, "").unwrap();
    let process = start(&room, &server, &["--slots", "1"]);
    work.until_state(id, StateKind::Succeeded);
    assert_eq!(work.attempts(id), 1);
    until("the log is whole", || work.log(&room, id) == "done\n");
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn the_next_process_waits_for_the_one_that_leaves() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let first = start(&room, &server, &["--on-term", "handoff"]);
    work.until_connected("w");
    // Started before the other has gone: it takes over as soon as that one is.
    let second = start(&room, &server, &["--on-term", "handoff"]);
    assert_eq!(first.stop(), Some(0));
    until("the second acts under the identity", || work.worker(&room, "w")["incarnation"] == 2);
    assert_eq!(second.stop(), Some(0));
    work.over(&room, server);
}
