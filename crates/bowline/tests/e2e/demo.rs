//! The demo with the binary as it is shipped: everybody is killed while it runs, its numbers hold, the
//! commands that it names work when copied, and nothing is left of it, interrupted or not.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Room, finish, until};

/// The demo takes 20 to 30 s; on a machine that is busy with other tests it may take longer.
const DEMO_MAX: Duration = Duration::from_mins(3);

/// A small tree with names that are no easy ones: the demo must do its kills however small it is.
fn tree(root: &Path) {
    for folder in ["a", "with space", "$(touch hacked)", "new\nline", "quote'"] {
        for inner in 0..20 {
            let inner = root.join(folder).join(format!("inner {inner}"));
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join("file"), "x".repeat(100)).unwrap();
        }
    }
    std::fs::write(root.join("directly"), "12345").unwrap();
}

fn start(room: &Room, more: &[&str]) -> Child {
    let root = room.path().join("root");
    tree(&root);
    let args = [&["demo", "--json", "--root", root.to_str().unwrap()], more].concat();
    let mut command = room.command(&args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The lines that it says, each a JSON document, until one is of this kind or none comes any more.
fn lines_until(demo: &mut Child, event: &str) -> Vec<Value> {
    let began = Instant::now();
    let mut lines = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines() {
        assert!(began.elapsed() < DEMO_MAX, "the demo takes more than {DEMO_MAX:?}: {lines:#?}");
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let is_last = line["event"] == event;
        lines.push(line);
        if is_last {
            break;
        }
    }
    lines
}

fn nothing_left(room: &Room) {
    room.wait_empty();
    let left: Vec<_> =
        std::fs::read_dir(room.path().join("tmp")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Each of the commands that it names, in their order, as a shell reads them.
fn copied_commands_work(room: &Room, summary: &Value) {
    let next: Vec<&str> = summary["next"].as_array().unwrap().iter().map(|next| next.as_str().unwrap()).collect();
    let [workflow, run, up] = next[..] else { panic!("three are named: {summary}") };
    for line in [workflow, run] {
        let mut shell = room.command_of("sh".into(), &["-c", line]);
        let ran = finish(shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), line);
        assert_eq!(ran.status, Some(0), "{line}: {}{}", ran.stdout, ran.stderr);
    }
    assert!(room.work().join("census.html").exists());
    // Its usual port may be somebody else's on this machine.
    let line = format!("exec {up} --listen 127.0.0.1:0 --json");
    let mut shell: Command = room.command_of("sh".into(), &["-c", &line]);
    let mut process = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("http://127.0.0.1:"), "{ready}");
    kill_process(Pid::from_child(&process), Signal::INT).unwrap();
    assert!(process.wait().unwrap().success());
}

#[test]
fn everybody_is_killed_and_nothing_is_lost_done_twice_or_left() {
    let room = Room::new();
    let mut demo = start(&room, &[]);
    let lines = lines_until(&mut demo, "summary");
    let ran = finish(demo, "demo");
    let summary = lines.last().unwrap();
    assert_eq!(ran.status, Some(0), "{lines:#?}\n{}", ran.stderr);
    assert_eq!(summary["good"], true, "{summary}");
    assert_eq!(summary["reports_right"], true, "{summary}");
    for (role, least) in [("server", 2), ("worker", 1), ("supervisor", 1)] {
        assert!(summary["kills"][role].as_u64().unwrap() >= least, "{summary}");
    }
    let counts = &summary["counts"];
    assert!(counts["tasks"].as_u64().unwrap() >= 8, "{summary}");
    assert!(counts["attempts"].as_u64() >= counts["tasks"].as_u64(), "{summary}");
    for none in ["without_an_end", "ended_twice", "disturbed", "failed"] {
        assert_eq!(counts[none], 0, "{none}: {summary}");
    }
    assert_eq!(summary["processes_left"], serde_json::json!([]), "{summary}");
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!(of("killed").len(), 7, "{lines:#?}");
    assert!(of("explain")[0]["reasons"][0]["sentence"].is_string(), "{lines:#?}");
    // Every kill came while a census was under way: after the first began, before the last was done.
    let at = |line: &Value| line["at_seconds"].as_f64().unwrap();
    let killed = of("killed");
    assert!(at(of("up")[0]) < at(killed[0]) && at(killed[6]) <= at(of("census").last().unwrap()), "{lines:#?}");
    nothing_left(&room);
    copied_commands_work(&room, summary);
}

#[test]
fn interrupted_in_the_middle_it_leaves_nothing() {
    let room = Room::new();
    let mut demo = start(&room, &[]);
    let lines = lines_until(&mut demo, "killed");
    assert_eq!(lines.last().unwrap()["event"], "killed", "{lines:#?}");
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let ran = finish(demo, "an interrupted demo");
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    nothing_left(&room);
}

#[test]
fn interrupted_at_its_start_it_leaves_nothing() {
    let room = Room::new();
    let mut demo = start(&room, &[]);
    let lines = lines_until(&mut demo, "counted");
    assert_eq!(lines.last().unwrap()["event"], "counted", "{lines:#?}");
    until("the server is being started", || crate::harness::process_of(&room, "server start").is_some());
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let ran = finish(demo, "an interrupted demo");
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    nothing_left(&room);
}

#[test]
fn a_folder_that_is_not_there_is_wrong_usage() {
    let room = Room::new();
    for args in [&["demo", "--root", "/no/such/folder"][..], &["demo", "--input", "roots=/usr"]] {
        let ran = room.run(args);
        assert_eq!(ran.status, Some(2), "{args:?}: {}", ran.stderr);
    }
    nothing_left(&room);
}
