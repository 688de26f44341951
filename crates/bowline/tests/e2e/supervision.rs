//! Supervisors and what they hold: hostile jobs in every way of killing, supervisors that die, hang or are of
//! another version, machines that were started anew, servers that are away for too long, and processes that
//! nobody can kill.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bowline_api::{Attempt, Task, Worker};
use bowline_client::Client;
use bowline_core::id::TaskRef;
use bowline_core::state::{AttemptEnd, StateKind};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::hung::Hung;
use crate::harness::parts::{Part, ServerPart, is_connected, runtime, said, worker};
use crate::harness::{Room, until};

/// A server and whoever asks it.
struct House {
    room: Room,
    server: ServerPart,
    client: Client,
}

impl House {
    fn new() -> Self {
        let room = Room::new();
        let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
        let client = server.client();
        Self { room, server, client }
    }

    fn worker(&self, name: &str, more: &[&str]) -> Part {
        let part = worker(&self.room, name, (&self.server.url, &self.server.token_file), &[], more);
        until("the worker is connected", || is_connected(&self.client, name));
        part
    }

    /// A command against this server.
    fn cli(&self, args: &[&str]) -> String {
        let token = self.server.token_file.to_str().unwrap();
        self.room.good(&[args, &["--server", &self.server.url, "--token-file", token]].concat())
    }

    fn submit(&self, options: &[&str], script: &str) -> TaskRef {
        let file = self.room.write("job.sh", script);
        let token = self.server.token_file.to_str().unwrap();
        let fixed = ["submit", "--server", &self.server.url, "--token-file", token, "--quiet"];
        let args = [&fixed, options, &["--script", file.to_str().unwrap()]].concat();
        self.room.good(&args).trim().parse().unwrap()
    }

    fn task(&self, id: TaskRef) -> Task {
        runtime().block_on(self.client.task(id)).unwrap()
    }

    fn attempts(&self, id: TaskRef) -> Vec<Attempt> {
        runtime().block_on(self.client.attempts(id)).unwrap().items
    }

    fn of_worker(&self, name: &str) -> Worker {
        runtime().block_on(self.client.worker(name)).unwrap()
    }

    fn ended(&self, id: TaskRef, state: StateKind) -> Task {
        until("the task has ended", || self.task(id).state.is_ended());
        let task = self.task(id);
        assert_eq!(task.state, state, "{task:#?}{}", said(&self.room, "w"));
        task
    }

    /// The supervisors of a worker's state folder, by their process.
    fn supervisors(&self, worker: &str) -> Vec<Pid> {
        let state = format!("--state {}/{worker}/supervisor ", self.room.work().display());
        let all = self.room.processes().into_iter();
        all.filter(|(_, line)| line.contains(&state)).filter_map(|(pid, _)| Pid::from_raw(pid)).collect()
    }

    /// The living processes of jobs: they have their folders below a worker's.
    fn jobs(&self, worker: &str) -> Vec<(i32, String)> {
        let folder = self.room.work().join(worker).join("jobs");
        let is_below =
            |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        self.room.processes().into_iter().filter(|(pid, _)| is_below(pid)).collect()
    }

    fn over(self, workers: Vec<Part>) {
        for part in workers {
            assert_eq!(part.stop(), Some(0));
        }
        assert_eq!(self.server.part.stop(), Some(0));
        self.room.wait_empty();
    }
}

/// A file that a script waits for, and says before that it runs.
fn gate(house: &House, name: &str) -> (PathBuf, String) {
    let path = house.room.path().join(name);
    (path.clone(), format!("until [ -e '{}' ]; do sleep 0.05; done\n", path.display()))
}

fn kill(pid: Pid, signal: Signal) {
    kill_process(pid, signal).ok();
}

/// Double fork, own session, signals ignored, environment and files shed; and a bomb in bounds.
const HOSTILE: &str = r#"
(env -i /usr/bin/setsid /bin/sh -c 'trap "" TERM HUP INT; exec <&- >&- 2>&-; (echo up > daemon; while :; do /bin/sleep 0.2; done) & exit' &)
until [ -s daemon ]; do sleep 0.02; done
boom() { if [ $1 -gt 0 ]; then boom $(($1 - 1)) & boom $(($1 - 1)) & fi; sleep 300; }
boom 4 &
until [ $(ls /proc | grep -c '^[0-9]') -gt 8 ]; do sleep 0.02; done
"#;

#[test]
fn hostile_jobs_leave_nothing_in_any_way_of_killing() {
    let house = House::new();
    let ways = ["cgroup", "namespace", "descent"];
    let workers: Vec<Part> = ways
        .map(|way| {
            let capability = format!("way={way}");
            house.worker(way, &["--slots", "4", "--kill-by", way, "--capability", &capability, "--on-term", "release"])
        })
        .into();
    for way in ways {
        let require = format!("way={way}");
        // One ends by itself, one is cancelled; one that harms nobody runs beside them.
        let quiet = house.submit(&["--requires", &require], "sleep 300");
        let ends = house.submit(&["--requires", &require], HOSTILE);
        let stays = format!("trap '' TERM INT HUP\n{HOSTILE}echo ready > ready\nwhile :; do sleep 0.1; done");
        let cancelled = house.submit(&["--requires", &require], &stays);
        house.ended(ends, StateKind::Succeeded);
        let ready = || house.jobs(way).iter().any(|(pid, _)| Path::new(&format!("/proc/{pid}/cwd/ready")).exists());
        until("the other one is ready", ready);
        until("the quiet one runs", || house.task(quiet).state == StateKind::Running);
        house.cli(&["cancel", &cancelled.to_string()]);
        house.ended(cancelled, StateKind::Cancelled);
        let left = house.jobs(way);
        assert_eq!(house.task(quiet).state, StateKind::Running);
        assert!(left.len() <= 2, "only the quiet one's shell and its sleep may be left by {way}: {left:#?}");
        house.cli(&["cancel", &quiet.to_string()]);
        house.ended(quiet, StateKind::Cancelled);
        assert_eq!(house.jobs(way), []);
    }
    house.over(workers);
}

#[test]
fn the_jobs_of_a_dead_supervisor_are_lost_and_run_again() {
    let house = House::new();
    let part = house.worker("w", &["--slots", "1", "--on-term", "release"]);
    let (open, wait) = gate(&house, "gate");
    let id = house.submit(&[], &format!("sleep 300 & {wait}"));
    until("it runs", || house.task(id).state == StateKind::Running && house.jobs("w").len() >= 2);
    kill(house.supervisors("w")[0], Signal::KILL);
    until("it runs again", || house.attempts(id).len() == 2 && house.task(id).state == StateKind::Running);
    let first = house.attempts(id).into_iter().min_by_key(|attempt| attempt.attempt).unwrap();
    assert_eq!(first.end, Some(AttemptEnd::Lost), "{first:#?}");
    assert_eq!(house.task(id).losses, 1);
    std::fs::write(open, "").unwrap();
    house.ended(id, StateKind::Succeeded);
    house.over(vec![part]);
}

#[test]
fn a_stopped_supervisor_makes_its_worker_broken_until_it_goes_on() {
    let house = House::new();
    let part = house.worker("w", &["--slots", "2", "--on-term", "release"]);
    let (open, wait) = gate(&house, "gate");
    let id = house.submit(&[], &wait);
    until("it runs", || house.task(id).state == StateKind::Running);
    let supervisor = house.supervisors("w")[0];
    kill(supervisor, Signal::STOP);
    let since = Instant::now();
    let why = || house.of_worker("w").broken;
    until("the worker is broken", || why().is_some_and(|why| why.contains("has not answered")));
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    let waits = house.submit(&[], "true");
    let explained = house.cli(&["explain", &waits.to_string()]);
    assert!(explained.contains("has not answered"), "{explained}");
    assert!(house.cli(&["worker", "list"]).contains("broken"));
    kill(supervisor, Signal::CONT);
    until("it is fit again", || why().is_none());
    std::fs::write(open, "").unwrap();
    for task in [id, waits] {
        assert_eq!(house.ended(task, StateKind::Succeeded).attempt, 1);
    }
    house.over(vec![part]);
}

#[test]
fn a_machine_that_was_started_anew_is_told_by_its_boot_id() {
    let house = House::new();
    let boot = house.room.write("boot-id", "first start\n");
    let more = ["--slots", "1", "--on-term", "release", "--boot-id-file", boot.to_str().unwrap()];
    let part = house.worker("w", &more);
    let (open, wait) = gate(&house, "gate");
    let id = house.submit(&[], &wait);
    until("it runs", || house.task(id).state == StateKind::Running);
    // All at once, as the power goes.
    let supervisor = house.supervisors("w")[0];
    kill(supervisor, Signal::STOP);
    part.kill();
    kill(supervisor, Signal::KILL);
    until("all is gone", || house.supervisors("w").is_empty() && house.jobs("w").is_empty());
    house.room.write("boot-id", "second start\n");
    let since = Instant::now();
    let part = house.worker("w", &more);
    until("it runs again", || house.attempts(id).len() == 2 && house.task(id).state == StateKind::Running);
    assert!(since.elapsed() < Duration::from_secs(20), "long before any lease is over: {:?}", since.elapsed());
    let history = house.cli(&["task", "history", &id.to_string()]);
    assert!(history.contains("lost"), "{history}");
    std::fs::write(open, "").unwrap();
    house.ended(id, StateKind::Succeeded);
    house.over(vec![part]);
}

/// Longer than two heartbeats, so that a server that answers never comes near it.
const STOP_AFTER: &str = "12s";

#[test]
fn a_supervisor_stops_a_job_whose_server_is_away_for_longer_than_stop_after() {
    let house = House::new();
    let part = house.worker("w", &["--slots", "3", "--on-term", "release"]);
    let options = ["--stop-after", STOP_AFTER, "--retries", "0", "--on-worker-loss", "fail"];
    let leased = house.submit(&options, "sleep 300");
    let free = house.submit(&[], "sleep 301");
    until("both run", || house.jobs("w").iter().filter(|(_, line)| line.contains("sleep 30")).count() == 2);
    let is_there = |what: &str| house.jobs("w").iter().any(|(_, line)| line.contains(what));
    house.server.part.signal(Signal::STOP);
    let since = Instant::now();
    until("it is stopped", || !is_there("sleep 300"));
    let after = since.elapsed();
    assert!(after > Duration::from_secs(5) && after < Duration::from_secs(16), "{after:?}");
    assert!(is_there("sleep 301"), "one without stop_after runs on");
    house.server.part.signal(Signal::CONT);
    until("the server knows", || house.task(leased).state != StateKind::Running);
    let history = house.cli(&["task", "history", &leased.to_string()]);
    assert!(history.contains("stop_after"), "{history}");
    assert_eq!(house.task(free).state, StateKind::Running);
    house.cli(&["cancel", &free.to_string()]);
    house.ended(free, StateKind::Cancelled);
    house.over(vec![part]);
}

/// A copy of the shipped program that says of itself that its supervisors are of another version.
fn other_version(house: &House) -> PathBuf {
    let mut program = std::fs::read(env!("CARGO_BIN_EXE_bowline")).unwrap();
    let mark = b"bowline-supervisor-wire=";
    let at =
        program.windows(mark.len()).position(|bytes| bytes == mark).expect("the mark is in the program") + mark.len();
    assert_eq!(program[at], b'2', "the version that this test knows");
    program[at] = b'3';
    let path = house.room.work().join("bowline-of-another-version");
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn supervisors_of_two_versions_work_side_by_side_whichever_is_older() {
    let house = House::new();
    let other = other_version(&house);
    let own = PathBuf::from(env!("CARGO_BIN_EXE_bowline"));
    for (name, first, second) in [("older", &own, &other), ("newer", &other, &own)] {
        let start = |program: &Path| {
            let (url, token) = (house.server.url.as_str(), house.server.token_file.to_str().unwrap());
            let args = ["worker", "start", "--identity", name, "--state", name, "--server", url, "--token-file", token];
            let more = ["--slots", "3", "--on-term", "handoff", "--capability", name];
            let mut command = house.room.command_of(program.into(), &[&args[..], &more].concat());
            command.stdout(Stdio::null());
            Part::start(&house.room, name, command)
        };
        let part = start(first);
        let (open, wait) = gate(&house, name);
        let busy = ["runs on", "is cancelled"]
            .map(|_| house.submit(&["--requires", name], &format!("echo one\n{wait}echo two")));
        until("they run", || busy.iter().all(|id| house.task(*id).state == StateKind::Running));
        assert_eq!(part.stop(), Some(0));
        let before = house.supervisors(name);
        assert_eq!(before.len(), 1);
        let part = start(second);
        let new = house.submit(&["--requires", name], "true");
        house.ended(new, StateKind::Succeeded);
        assert_eq!(house.supervisors(name).len(), 2, "each has its own");
        // What concerns the old one's jobs still reaches them.
        house.cli(&["cancel", &busy[1].to_string()]);
        house.ended(busy[1], StateKind::Cancelled);
        std::fs::write(open, "").unwrap();
        let task = house.ended(busy[0], StateKind::Succeeded);
        assert_eq!(task.attempt, 1, "it was not disturbed");
        assert_eq!(house.cli(&["logs", &busy[0].to_string()]), "one\ntwo\n");
        until("the old one leaves with its last job", || !house.supervisors(name).contains(&before[0]));
        assert_eq!(part.stop(), Some(0));
        house.room.stop_supervisor(name);
        until("no supervisor is left", || house.supervisors(name).is_empty());
    }
    house.over(vec![]);
}

#[test]
fn what_cannot_be_killed_keeps_its_slot_and_is_named() {
    let house = House::new();
    let Some(hung) = Hung::mount(&house.room.path().join("hung")) else {
        anstream::eprintln!("nothing can be mounted here: not tried");
        return;
    };
    let part = house.worker("w", &["--slots", "1", "--on-term", "release"]);
    let id = house.submit(&[], &format!("exec /bin/cat '{}'", hung.path().join("file").display()));
    until("it hangs", || hung.holds_somebody());
    house.cli(&["cancel", &id.to_string()]);
    let waits = house.submit(&[], "true");
    let stuck = || house.of_worker("w").vitals.map(|vitals| vitals.stuck).unwrap_or_default();
    until("it is named", || !stuck().is_empty());
    let named = stuck();
    assert_eq!((named[0].task.clone(), named[0].attempt), (id.to_string(), 1));
    let pid = named[0].processes[0].to_string();
    assert!(house.jobs("w").iter().any(|(job, _)| job.to_string() == pid), "{named:?}");
    let shown = house.cli(&["worker", "show", "w"]);
    assert!(shown.contains("cannot be killed") && shown.contains(&pid), "{shown}");
    let explained = house.cli(&["explain", &id.to_string()]);
    assert!(explained.contains("cannot kill") && explained.contains(&pid), "{explained}");
    assert_eq!(house.of_worker("w").slots_used, 1, "it keeps its slot");
    assert!(matches!(house.task(waits).state, StateKind::Ready | StateKind::Assigned), "it does not begin");
    drop(hung);
    house.ended(id, StateKind::Cancelled);
    house.ended(waits, StateKind::Succeeded);
    until("nothing is stuck any more", || stuck().is_empty());
    house.over(vec![part]);
}

#[test]
fn doctor_shows_every_way_to_kill_and_which_is_used() {
    let room = Room::new();
    let report = room.json(&["doctor", "--json"]);
    let checks = report["checks"].as_array().unwrap();
    let findings: Vec<&str> = checks
        .iter()
        .filter(|check| check["what"].as_str().unwrap().starts_with("kill by "))
        .map(|check| check["finding"].as_str().unwrap())
        .collect();
    assert_eq!(findings.len(), 3);
    assert_eq!(findings.iter().filter(|finding| finding.starts_with("used for jobs")).count(), 1, "{findings:?}");
}
