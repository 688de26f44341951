//! Workers steered by name, by selector and all at once; and the server and workers of a test as
//! processes of their own, which each can be stopped and started again.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::harness::{Ran, Room, until};

/// A server and workers on it. Whatever still runs is ended with it.
pub(crate) struct Fleet<'a> {
    room: &'a Room,
    data: PathBuf,
    address: String,
    server: Option<Child>,
    workers: Vec<(String, Child)>,
    states: Vec<String>,
}

impl<'a> Fleet<'a> {
    /// A server on the folder `data`, without workers.
    pub(crate) fn new(room: &'a Room) -> Self {
        let data = room.work().join("data");
        let address = "127.0.0.1:0".to_owned();
        let mut fleet = Self { room, data, address, server: None, workers: Vec::new(), states: Vec::new() };
        fleet.start();
        fleet
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Starts the server, where it was before.
    pub(crate) fn start(&mut self) {
        let args = ["server", "start", "--json", "--listen", &self.address, "--data", self.data.to_str().unwrap()];
        let log = std::fs::File::options().create(true).append(true).open(self.room.path().join("up.stderr"));
        let mut command = self.room.command(&args);
        let mut server = command.stdout(Stdio::piped()).stderr(log.unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("no server ({error}){}", self.room.stories()));
        ready["server"].as_str().unwrap().strip_prefix("http://").unwrap().clone_into(&mut self.address);
        self.server = Some(server);
    }

    /// Stops the server, as a service manager does.
    pub(crate) fn stop(&mut self) {
        let server = self.server.take().unwrap();
        assert_eq!(end(server, Signal::TERM), Some(0));
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts a worker of this name, with its state in a folder of this name.
    pub(crate) fn worker(&mut self, name: &str, more: &[&str]) {
        let (url, token) = (self.url(), self.data.join("token"));
        let args = ["worker", "start", "--identity", name, "--state", name, "--server", &url, "--token-file"];
        let args = [&args[..], &[token.to_str().unwrap()], more].concat();
        let log = std::fs::File::options().create(true).append(true).open(self.room.path().join("up.stderr"));
        let worker = self.room.command(&args).stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        self.workers.push((name.to_owned(), worker));
        self.states.push(name.to_owned());
    }

    /// Starts one, and waits until it is connected.
    pub(crate) fn connected(&mut self, name: &str, more: &[&str]) {
        self.worker(name, more);
        until("the worker is connected", || {
            let ran = self.run(&["worker", "show", name, "--json"]);
            ran.status == Some(0) && ran.stdout.contains("\"connection\": \"connected\"")
        });
    }

    /// Sends a worker's process this signal, and waits for its end.
    pub(crate) fn end_worker(&mut self, name: &str, signal: Signal) -> Option<i32> {
        let at = self.workers.iter().position(|(other, _)| other == name).unwrap();
        let (_, worker) = self.workers.remove(at);
        end(worker, signal)
    }

    /// Waits until a worker's process has ended by itself.
    pub(crate) fn worker_ended(&mut self, name: &str) -> Option<i32> {
        let at = self.workers.iter().position(|(other, _)| other == name).unwrap();
        let (_, mut worker) = self.workers.remove(at);
        let mut status = None;
        until("the worker's process has ended", || {
            status = worker.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Whether a worker's process runs.
    pub(crate) fn is_running(&mut self, name: &str) -> bool {
        let worker = self.workers.iter_mut().find(|(other, _)| other == name);
        worker.is_some_and(|(_, worker)| worker.try_wait().unwrap().is_none())
    }

    fn with_server(&self, args: &[&str]) -> Vec<String> {
        let (url, token) = (self.url(), self.data.join("token"));
        let to = ["--server", &url, "--token-file", token.to_str().unwrap()];
        // Before a task's own command.
        let at = args.iter().position(|word| *word == "--").unwrap_or(args.len());
        [&args[..at], &to, &args[at..]].concat().into_iter().map(str::to_owned).collect()
    }

    /// Runs a command against the server.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.room.run(&self.with_server(args))
    }

    /// Runs one that must end well.
    pub(crate) fn good(&self, args: &[&str]) -> String {
        self.room.good(&self.with_server(args))
    }

    /// Runs one that must end well, and reads its one document.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.room.json(&self.with_server(&[args, &["--json"]].concat()))
    }

    /// Starts one that is left to itself.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.room.command(&self.with_server(args));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Submits a script; its id.
    pub(crate) fn submit(&self, options: &[&str], script: &str) -> String {
        let args = [&["submit", "--quiet"][..], options, &["--", "sh", "-c", script]].concat();
        self.good(&args).trim().to_owned()
    }

    /// A field of a task.
    pub(crate) fn task(&self, id: &str, field: &str) -> Value {
        self.json(&["task", "show", id])[field].clone()
    }

    /// Waits until a task is in this state.
    pub(crate) fn until_state(&self, id: &str, state: &str) {
        until(&format!("task {id} is {state}"), || self.task(id, "state") == state);
    }
}

/// Sends a signal, and waits for the end.
fn end(mut process: Child, signal: Signal) -> Option<i32> {
    rustix::process::kill_process(Pid::from_child(&process), signal).unwrap();
    let mut status = None;
    until("it has ended", || {
        status = process.try_wait().unwrap();
        status.is_some()
    });
    status.and_then(|status| status.code())
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        for (_, mut worker) in self.workers.drain(..) {
            drop(worker.kill());
            drop(worker.wait());
        }
        for state in &self.states {
            self.room.stop_supervisor(state);
        }
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// A script that says that it has begun, and ends when the file is there.
pub(crate) fn until_there(gate: &str) -> String {
    format!("echo begun; until test -e '{gate}'; do sleep 0.05; done; echo ended")
}

#[test]
fn a_finish_drain_waits_for_what_runs_and_gives_nothing_new() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=2"]);
    let gate = room.work().join("gate");
    let script = until_there(gate.to_str().unwrap());
    let runs = fleet.submit(&["--name", "long", "--timeout", "2h"], &script);
    fleet.until_state(&runs, "running");
    let said = fleet.good(&["worker", "drain", "lab-1"]);
    assert!(said.contains(&format!("lab-1 waits for {runs}#1 (long), running for")), "{said}");
    assert!(said.contains("at most until"), "{said}");
    let worker = fleet.json(&["worker", "show", "lab-1"]);
    assert_eq!((&worker["drain"]["mode"], &worker["drain"]["done"]), (&"finish".into(), &false.into()), "{worker}");
    assert!(fleet.good(&["worker", "list"]).contains("draining by admin"));
    let waits = fleet.submit(&[], "true");
    let why = fleet.good(&["explain", &waits]);
    assert!(why.contains("drained"), "{why}");
    // Somebody watches, lets go, and comes back.
    let watcher = fleet.spawn(&["worker", "drain", "lab-1", "--wait"]);
    rustix::process::kill_process(Pid::from_child(&watcher), Signal::INT).ok();
    let left = crate::harness::finish(watcher, "the first watcher");
    assert!(left.status.is_none() || left.status == Some(130), "{left:?}");
    let watcher = fleet.spawn(&["worker", "drain", "lab-1", "--wait"]);
    std::fs::write(&gate, "").unwrap();
    let seen = crate::harness::finish(watcher, "the second watcher");
    assert_eq!(seen.status, Some(0), "{seen:?}");
    assert!(seen.stdout.contains("lab-1 drained"), "{seen:?}");
    assert_eq!(fleet.task(&runs, "state"), "succeeded");
    let worker = fleet.json(&["worker", "show", "lab-1"]);
    assert_eq!((&worker["drain"]["done"], &worker["connection"]), (&true.into(), &"connected".into()), "{worker}");
    assert_eq!(fleet.task(&waits, "state"), "ready");
    fleet.good(&["worker", "undrain", "lab-1"]);
    fleet.until_state(&waits, "succeeded");
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}

#[test]
fn a_release_drain_gives_back_and_a_selector_says_first_whom_it_touches() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("arm-1", &["--slots=1", "--capability", "arch=arm64"]);
    let job = fleet.submit(&[], "sleep 600");
    fleet.until_state(&job, "running");
    fleet.connected("arm-2", &["--slots=1", "--capability", "arch=arm64"]);
    fleet.connected("x86-1", &["--slots=1", "--capability", "arch=x86-64"]);
    let selector = ["worker", "drain", "--selector", "arch=arm64", "--mode", "release"];
    let dry = fleet.good(&[&selector[..], &["--dry-run"]].concat());
    assert!(dry.contains("drain would touch 2 workers: arm-1, arm-2"), "{dry}");
    // Nobody there to ask.
    let refused = fleet.run(&selector);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    assert_eq!(fleet.task(&job, "worker"), "arm-1");
    let done = fleet.run(&[&selector[..], &["--yes", "--wait"]].concat());
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stderr.contains("would touch 2 workers"), "{done:?}");
    assert!(done.stdout.contains("arm-1 drained") && done.stdout.contains("arm-2 drained"), "{done:?}");
    // Given back, and run where it still may.
    until("it runs elsewhere", || fleet.task(&job, "worker") == "x86-1" && fleet.task(&job, "state") == "running");
    let history = fleet.good(&["task", "history", &job]);
    assert!(history.contains("given_back"), "{history}");
    let nobody = fleet.run(&["worker", "drain", "lab-9"]);
    assert_eq!(nobody.status, Some(3), "{nobody:?}");
    fleet.good(&["cancel", &job]);
    // All of them, with the end of their processes.
    let all = fleet.run(&["worker", "drain", "--all", "--yes", "--exit", "--wait", "--mode", "release"]);
    assert_eq!(all.status, Some(0), "{all:?}");
    for name in ["arm-1", "arm-2", "x86-1"] {
        // A status of its own, on which no service manager starts it again.
        assert_eq!(fleet.worker_ended(name), Some(71), "{name}");
    }
    fleet.stop();
}

#[test]
fn a_handed_over_job_is_taken_over_by_the_next_process() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=1"]);
    let gate = room.work().join("gate");
    let job = fleet.submit(&[], &until_there(gate.to_str().unwrap()));
    fleet.until_state(&job, "running");
    let over = fleet.run(&["worker", "drain", "lab-1", "--mode", "handoff", "--wait"]);
    assert_eq!(over.status, Some(0), "{over:?}");
    assert!(over.stdout.contains("its supervisor has 1 attempt"), "{over:?}");
    assert_eq!(fleet.worker_ended("lab-1"), Some(0));
    assert_eq!(fleet.task(&job, "state"), "running");
    fleet.connected("lab-1", &["--slots=1"]);
    fleet.good(&["worker", "undrain", "lab-1"]);
    std::fs::write(&gate, "").unwrap();
    fleet.until_state(&job, "succeeded");
    assert_eq!(fleet.task(&job, "attempt"), 1);
    assert_eq!(fleet.good(&["logs", &job]), "begun\nended\n");
    assert!(fleet.is_running("lab-1"));
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}

#[test]
fn a_worker_that_will_never_come_back_is_forgotten_and_its_tasks_settled() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lost-1", &["--slots=2", "--on-term=handoff"]);
    let again = fleet.submit(&["--overlap", "forbid"], "sleep 600");
    let never = fleet.submit(&["--on-worker-loss", "fail"], "sleep 600");
    for id in [&again, &never] {
        fleet.until_state(id, "running");
    }
    // Its machine is gone: nobody will ever say what became of them.
    fleet.end_worker("lost-1", Signal::KILL);
    room.stop_supervisor("lost-1");
    until("it is seen to be away", || fleet.json(&["worker", "show", "lost-1"])["connection"] == "away");
    let worker = fleet.json(&["worker", "show", "lost-1"]);
    assert!(worker["silent_since"].is_string(), "{worker}");
    assert!(worker["attempts"].as_array().unwrap().iter().all(|attempt| attempt["doubtful"] == true), "{worker}");
    assert!(fleet.good(&["worker", "list"]).contains("2 attempts whose state is unknown"));
    fleet.connected("lab-1", &["--slots=2"]);
    assert_eq!(fleet.good(&["worker", "forget", "lost-1"]), "lost-1 forgotten\n");
    assert_eq!(fleet.run(&["worker", "show", "lost-1"]).status, Some(3));
    until("it runs elsewhere", || fleet.task(&again, "worker") == "lab-1" && fleet.task(&again, "state") == "running");
    // The other one waits for whoever knows.
    fleet.until_state(&never, "in_doubt");
    let why = fleet.good(&["explain", &never]);
    assert!(why.contains("bowline task resolve"), "{why}");
    let wrong = fleet.run(&["task", "resolve", &again, "--success"]);
    assert_eq!(wrong.status, Some(5), "{wrong:?}");
    let said = fleet.good(&["task", "resolve", &never, "--success", "--result", "{\"sent\": 12}"]);
    assert_eq!(said, format!("{never} succeeded\n"));
    assert_eq!(fleet.task(&never, "result"), serde_json::json!({"sent": 12}));
    fleet.good(&["cancel", &again]);
    fleet.until_state(&again, "cancelled");
    assert_eq!(fleet.end_worker("lab-1", Signal::TERM), Some(0));
    fleet.stop();
}
