//! The worker process is killed, stopped, replaced, and loses its supervisor, at any moment: its jobs run on
//! where they can, their output has neither gap nor repeat, and no job is begun twice.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use bowline_api::NewTask;
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::parts::{Part, ServerPart, said, worker};
use crate::harness::worked::Work;
use crate::harness::{PATIENCE, Room, process_of, until};

/// Leaves marks, says lines for a while, gives a result.
fn job(room: &Room, name: &str, lines: usize) -> NewTask {
    let marks = room.work().join("marks");
    let script = format!(
        "echo '{name} begun' >>'{marks}'\nfor i in $(seq {lines}); do echo line $i; sleep 0.02; done\n\
         echo name={name} >\"$BOWLINE_OUTPUT\"\necho '{name} ended' >>'{marks}'\n",
        marks = marks.display()
    );
    NewTask { name: Some(name.to_owned()), shell: Some(script), ..NewTask::default() }
}

fn start(room: &Room, server: &ServerPart, more: &[&str]) -> Part {
    worker(room, "w", (&server.url, &server.token_file), &[], more)
}

/// The supervisor of the worker whose state lies in the folder `w`.
fn supervisor_of(room: &Room) -> Pid {
    process_of(room, &format!(" supervisor --state {}/supervisor ", room.work().join("w").display())).unwrap()
}

/// Waits until there is a line in a file.
fn until_line(path: &Path, line: &str) {
    until(line, || std::fs::read_to_string(path).unwrap_or_default().contains(line));
}

/// Waits until the worker has written its journal so many times, or this was marked.
fn until_written(room: &Room, times: u64, mark: &str) {
    let look = || {
        let journal = std::fs::metadata(room.work().join("w/journal.db-wal")).ok();
        journal.map(|journal| (journal.len(), journal.mtime(), journal.mtime_nsec()))
    };
    let marked = || std::fs::read_to_string(room.work().join("marks")).unwrap_or_default().contains(mark);
    let (mut last, mut written) = (look(), 0);
    let deadline = Instant::now() + PATIENCE;
    while written < times && !marked() {
        assert!(Instant::now() < deadline, "waited in vain until the worker has written {times} times");
        let now = look();
        written += u64::from(now != last);
        last = now;
    }
}

#[test]
fn killed_at_every_moment_of_an_attempt_no_job_is_begun_twice_and_none_is_lost() {
    const KILLS: u64 = 20;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let mut process = start(&room, &server, &["--slots", "2"]);
    work.until_connected("w");
    let mut ids = Vec::new();
    for kill in 0..KILLS {
        let names = [format!("a{kill}"), format!("b{kill}"), format!("c{kill}")];
        ids.extend(work.submit(names.iter().map(|name| job(&room, name, 3)).collect()));
        // From the moment it is handed over until it has long ended.
        until_written(&room, kill, &format!("c{kill} ended"));
        process.kill();
        process = start(&room, &server, &["--slots", "2"]);
        if kill % 4 == 0 {
            work.until_connected("w");
        }
    }
    for id in &ids {
        work.until_state(*id, StateKind::Succeeded);
        assert_eq!(work.begun(*id), 1, "task {id}: {:?}{}", work.history(*id), said(&room, "w"));
    }
    for id in ids.iter().step_by(9) {
        until("the log is whole", || work.log(&room, *id) == "line 1\nline 2\nline 3\n");
    }
    let names = (0..KILLS).flat_map(|kill| ["a", "b", "c"].map(|name| format!("{name}{kill}")));
    work.done_once(&room.work().join("marks"), names);
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn a_stopped_worker_goes_on_where_it_was() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let process = start(&room, &server, &["--slots", "2"]);
    let id = work.one(job(&room, "a", 50));
    work.until_state(id, StateKind::Running);
    process.signal(Signal::STOP);
    until_line(&room.work().join("marks"), "a ended");
    assert_eq!(work.task(id).state, StateKind::Running, "nobody has told of its end");
    process.signal(Signal::CONT);
    work.until_state(id, StateKind::Succeeded);
    assert_eq!(work.attempts(id), 1);
    until("the log is whole", || work.log(&room, id).lines().count() == 50);
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn handed_over_to_another_copy_of_the_program_again_and_again_every_task_has_one_attempt() {
    const TASKS: usize = 60;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    // The next version, at another place.
    let copy = room.path().join("bowline-next");
    std::fs::copy(env!("CARGO_BIN_EXE_bowline"), &copy).unwrap();
    let more = ["--slots", "4", "--on-term", "handoff"];
    let mut process = start(&room, &server, &more);
    let ids = work.submit((0..TASKS).map(|number| job(&room, &format!("t{number}"), 8)).collect());
    for round in 1..=5 {
        let marks = room.work().join("marks");
        let ended = || std::fs::read_to_string(&marks).unwrap_or_default().matches("ended").count();
        until("more have ended", || ended() >= round * 8);
        assert_eq!(process.stop(), Some(0), "a handoff ends well");
        let token = server.token_file.to_str().unwrap();
        let args =
            ["worker", "start", "--identity", "w", "--state", "w", "--server", &server.url, "--token-file", token];
        let mut next = room.command_of(copy.clone().into(), &[&args[..], &more].concat());
        next.stdout(std::process::Stdio::null());
        process = if round % 2 == 0 { start(&room, &server, &more) } else { Part::start(&room, "w", next) };
    }
    for id in &ids {
        work.until_state(*id, StateKind::Succeeded);
        assert_eq!(work.attempts(*id), 1, "task {id}: {:?}{}", work.history(*id), said(&room, "w"));
    }
    work.done_once(&room.work().join("marks"), (0..TASKS).map(|number| format!("t{number}")));
    process.kill();
    work.over(&room, server);
}

#[test]
fn what_ended_while_neither_server_nor_worker_was_there_is_delivered_and_says_how_late() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let address = server.address().to_owned();
    let work = Work::of(&server);
    let process = start(&room, &server, &[]);
    let id = work.one(job(&room, "a", 40));
    work.until_state(id, StateKind::Running);
    server.part.kill();
    process.kill();
    until_line(&room.work().join("marks"), "a ended");
    // The worker alone finds the end, and keeps it; killed again, it still has it.
    let url = work.url.clone();
    let token = work.token_file.clone();
    let alone = worker(&room, "w", (&url, &token), &[], &[]);
    until("it has taken the end over", || said(&room, "w").matches("taking over").count() >= 1);
    alone.kill();
    let process = worker(&room, "w", (&url, &token), &[], &[]);
    let server = ServerPart::start(&room, &address, &[]);
    let work = Work::of(&server);
    work.until_state(id, StateKind::Succeeded);
    assert_eq!(work.attempts(id), 1);
    assert_eq!(work.task(id).result.unwrap()["name"], "a");
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn a_worker_killed_together_with_its_supervisor_finds_what_they_left_before_it_claims() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let process = start(&room, &server, &["--slots", "1"]);
    // The first attempt runs for ever, with a child of its own; the second says who of the first lives.
    let pids = room.work().join("pids");
    let script = format!(
        "if test -e '{pids}'; then for pid in $(cat '{pids}'); do grep -q '^State:.*[RSDT]' /proc/$pid/status 2>/dev/null && echo alive $pid; done; echo looked; exit 0; fi\n\
         trap '' TERM\nsleep 1000 & echo $$ $! >'{pids}.new'; mv '{pids}.new' '{pids}'; wait\n",
        pids = pids.display()
    );
    let id = work.one(NewTask { shell: Some(script), ..NewTask::default() });
    until("the job has begun", || pids.exists());
    work.until_state(id, StateKind::Running);
    let supervisor = supervisor_of(&room);
    process.signal(Signal::STOP);
    kill_process(supervisor, Signal::KILL).unwrap();
    process.kill();
    let process = start(&room, &server, &["--slots", "1"]);
    work.until_state(id, StateKind::Succeeded);
    until("the log is there", || !work.log(&room, id).is_empty());
    assert_eq!(work.log(&room, id), "looked\n", "what the first attempt left was gone before the second began");
    let history = work.history(id);
    assert!(history.iter().any(|what| what == "lost"), "{history:?}");
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}

#[test]
fn after_a_restart_of_the_machine_running_attempts_are_lost_at_once() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let work = Work::of(&server);
    let boot = room.work().join("boot_id");
    std::fs::write(&boot, "first\n").unwrap();
    let more = ["--boot-id-file", boot.to_str().unwrap()];
    let process = start(&room, &server, &more);
    let gate = room.work().join("gate");
    let script = format!("until test -e '{}'; do sleep 0.05; done; echo attempt $BOWLINE_ATTEMPT", gate.display());
    let id: TaskRef = work.one(NewTask { shell: Some(script), ..NewTask::default() });
    work.until_state(id, StateKind::Running);
    let supervisor = supervisor_of(&room);
    process.kill();
    kill_process(supervisor, Signal::KILL).unwrap();
    std::fs::write(&boot, "second\n").unwrap();
    std::fs::write(&gate, "").unwrap();
    let process = start(&room, &server, &more);
    work.until_state(id, StateKind::Succeeded);
    assert!(work.history(id).iter().any(|what| what == "lost"), "{:?}", work.history(id));
    until("the log is there", || work.log(&room, id) == "attempt 2\n");
    assert_eq!(process.stop(), Some(0));
    work.over(&room, server);
}
