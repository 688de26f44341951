//! Resources: locks, licences and devices, first come, first served, whatever fails.

use bowline_api::Task;
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::fleet::Fleet;
use crate::harness::parts::{Part, ServerPart};
use crate::harness::{Ran, Room, until};

/// Marks its begin, tells of what it holds, waits for its gate, and marks its end.
const JOB: &str = "echo \"$NAME begun\" >>\"$MARKS\"; env | grep ^BOWLINE_RESOURCE_ | sort; \
                   until test -e \"$GATE\"; do sleep 0.02; done; echo \"$NAME ended\" >>\"$MARKS\"";

/// A fleet, and its jobs by name.
struct Lines {
    fleet: Fleet,
}

impl Lines {
    fn new() -> Self {
        let room = Room::new();
        let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
        let client = server.client();
        Self { fleet: Fleet { room, server, client } }
    }

    /// Where silence soon loses an attempt.
    fn impatient() -> Self {
        Self { fleet: Fleet::new() }
    }

    fn worker(&self, name: &str, slots: &str) -> Part {
        self.fleet.worker(name, &["--slots", slots, "--on-term", "release"])
    }

    fn run(&self, args: &[&str]) -> Ran {
        let server = &self.fleet.server;
        let to = ["--server", &server.url, "--token-file", server.token_file.to_str().unwrap()];
        self.fleet.room.run(&[&to, args].concat())
    }

    fn good(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status, Some(0), "{args:?}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
        ran.stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[args, &["--json"]].concat())).unwrap()
    }

    /// A gated job of this name.
    fn submit(&self, name: &str, asks: &[&str]) -> TaskRef {
        let env = [
            format!("NAME={name}"),
            format!("MARKS={}", self.fleet.room.work().join("marks").display()),
            format!("GATE={}", self.fleet.gate(name).display()),
        ];
        let env: Vec<&str> = env.iter().flat_map(|pair| ["--env", pair.as_str()]).collect();
        let args = [&["submit", "--quiet", "--name", name], asks, &env, &["--", "sh", "-c", JOB]].concat();
        self.good(&args).trim().parse().unwrap()
    }

    /// The job of this name may end.
    fn open(&self, name: &str) {
        std::fs::write(self.fleet.gate(name), "").unwrap();
    }

    /// It may end, and does.
    fn end(&self, name: &str, task: TaskRef) {
        self.open(name);
        self.fleet.ends_as(task, StateKind::Succeeded);
    }

    fn marks(&self) -> Vec<String> {
        let marks = std::fs::read_to_string(self.fleet.room.work().join("marks")).unwrap_or_default();
        marks.lines().map(str::to_owned).collect()
    }

    fn place(&self, mark: &str) -> usize {
        let marks = self.marks();
        marks.iter().position(|one| one == mark).unwrap_or_else(|| panic!("`{mark}` is not in {marks:?}"))
    }

    fn begins(&self, name: &str) {
        until(&format!("{name} has begun"), || self.marks().contains(&format!("{name} begun")));
    }

    /// It runs, told by whoever tells of the tasks.
    fn runs(&self, name: &str, task: TaskRef) {
        self.begins(name);
        self.fleet.is(task, StateKind::Running);
    }

    /// It waits: decided when whatever was asked last was answered.
    fn waits(&self, task: TaskRef) -> Task {
        let task = self.fleet.task(task);
        assert_eq!(task.state, StateKind::Waiting, "{task:#?}");
        task
    }

    fn why(&self, task: TaskRef) -> String {
        self.good(&["explain", &task.to_string()])
    }

    fn says(&self, task: TaskRef, words: &[&str]) {
        let told = self.why(task);
        for word in words {
            assert!(told.contains(word), "`{word}` is missing in: {told}");
        }
    }

    fn resource(&self, name: &str) -> Value {
        self.json(&["resource", "show", name])
    }
}

/// The tasks of a resource's holders, line or asides.
fn tasks(part: &Value) -> Vec<TaskRef> {
    part.as_array().unwrap().iter().map(|place| place["task"].as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn shared_ones_overlap_between_exclusive_ones_and_each_keeps_its_turn() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let first = lines.submit("first", &["--lock", "A", "--shared", "B"]);
    lines.runs("first", first);
    let left = lines.submit("left", &["--shared", "A"]);
    let right = lines.submit("right", &["--shared", "A"]);
    let second = lines.submit("second", &["--lock", "A"]);
    let last = lines.submit("last", &["--lock", "B"]);
    for waiting in [left, right, second, last] {
        lines.waits(waiting);
    }
    assert_eq!(tasks(&lines.resource("A")["line"]), [left, right, second]);
    lines.end("first", first);
    for (name, task) in [("left", left), ("right", right), ("last", last)] {
        lines.runs(name, task);
    }
    assert_eq!(tasks(&lines.resource("A")["holders"]), [left, right], "both at the same time");
    lines.waits(second);
    lines.end("last", last);
    lines.end("left", left);
    lines.waits(second);
    lines.end("right", right);
    lines.runs("second", second);
    lines.end("second", second);
    for later in ["left", "right", "last"] {
        assert!(lines.place("first ended") < lines.place(&format!("{later} begun")));
    }
    for sibling in ["left", "right"] {
        assert!(lines.place(&format!("{sibling} ended")) < lines.place("second begun"));
    }
    assert_eq!(lines.json(&["resource", "list"]), json!([]), "what was made by its first use is gone with its last");
    lines.fleet.over(vec![worker]);
}

#[test]
fn an_exclusive_finalizer_runs_after_all_its_shared_siblings() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let marks = lines.fleet.room.work().join("marks");
    let job = |name: &str, mode: &str| {
        let shell = format!("echo {name} begun >>'{0}'\necho {name} ended >>'{0}'", marks.display());
        json!({"shell": shell, "resources": [{"mode": mode, "name": "tree"}]})
    };
    let mut all: Vec<Value> = (0..20).map(|number| job(&format!("sibling-{number}"), "shared")).collect();
    all.push(job("finalizer", "exclusive"));
    lines.fleet.room.write("tasks.json", &Value::from(all).to_string());
    let ids = lines.good(&["submit", "--quiet", "--from-json", "tasks.json"]);
    lines.fleet.ends_as(ids.lines().last().unwrap().parse().unwrap(), StateKind::Succeeded);
    let marks = lines.marks();
    assert_eq!((marks.len(), marks[40].as_str()), (42, "finalizer begun"), "{marks:?}");
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_long_line_delays_nobody_outside_and_who_is_cancelled_leaves_no_ticket() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "2");
    let holder = lines.submit("holder", &["--lock", "R"]);
    lines.runs("holder", holder);
    let crowd: Vec<Value> =
        (0..25).map(|_| json!({"command": ["true"], "resources": [{"mode": "exclusive", "name": "R"}]})).collect();
    lines.fleet.room.write("tasks.json", &Value::from(crowd).to_string());
    let ids = lines.good(&["submit", "--quiet", "--from-json", "tasks.json"]);
    let crowd: Vec<TaskRef> = ids.lines().map(|id| id.parse().unwrap()).collect();
    let other = lines.submit("other", &["--lock", "Q"]);
    lines.end("other", other);
    let shown = lines.resource("R");
    assert_eq!((shown["waiting"].as_u64(), tasks(&shown["line"])), (Some(25), crowd.clone()));
    let listed = lines.json(&["task", "list", "--resource", "R", "--sort", "oldest"]);
    assert_eq!(listed.as_array().unwrap().len(), 26);
    lines.says(
        crowd[3],
        &["`R` for itself", &format!("held by {holder} since"), "3 tasks are before it", "resource show R"],
    );
    lines.good(&["cancel", "--all", "--resource", "R", "--state", "waiting", "--yes"]);
    let shown = lines.resource("R");
    assert_eq!((shown["waiting"].as_u64(), tasks(&shown["holders"])), (Some(0), vec![holder]));
    let next = lines.submit("next", &["--lock", "R"]);
    lines.end("holder", holder);
    lines.end("next", next);
    lines.fleet.over(vec![worker]);
}

#[test]
fn whoever_waits_for_two_holds_its_place_in_both_lines_and_nothing_else() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let first = lines.submit("first", &["--lock", "A", "--lock", "B"]);
    lines.runs("first", first);
    let second = lines.submit("second", &["--lock", "B", "--lock", "C"]);
    let third = lines.submit("third", &["--lock", "C"]);
    lines.waits(second);
    lines.waits(third);
    let shown = lines.resource("C");
    assert_eq!((shown["held_by"].as_u64(), tasks(&shown["line"])), (Some(0), vec![second, third]));
    lines.says(second, &["`B` for itself", &format!("held by {first} since")]);
    lines.says(third, &["`C` for itself", "held by nobody", "1 task is before it", &format!("the first is {second}")]);
    lines.good(&["cancel", &second.to_string()]);
    lines.runs("third", third);
    assert_eq!(lines.fleet.task(first).state, StateKind::Running);
    lines.end("third", third);
    lines.end("first", first);
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_lost_holder_is_first_again_where_it_may_overlap_and_holds_on_where_it_may_not() {
    let lines = Lines::impatient();
    let doomed = lines.worker("doomed", "2");
    let allowed = lines.submit("allowed", &["--lock", "R", "--overlap", "allow"]);
    let forbidden = lines.submit("forbidden", &["--lock", "S"]);
    lines.runs("allowed", allowed);
    lines.runs("forbidden", forbidden);
    let behind_allowed = lines.submit("behind-allowed", &["--lock", "R"]);
    let behind_forbidden = lines.submit("behind-forbidden", &["--lock", "S"]);
    let other = lines.worker("other", "4");
    let ticket = lines.fleet.task(allowed).ticket;
    lines.fleet.destroy(doomed, "doomed");
    until("it runs again, on another worker", || {
        let task = lines.fleet.task(allowed);
        task.state == StateKind::Running && task.attempt == 2
    });
    let again = lines.fleet.task(allowed);
    assert_eq!((again.ticket, again.worker.as_deref(), again.losses), (ticket, Some("other"), 1));
    lines.waits(behind_allowed);
    // Nobody knows whether the job of the other lives: its lock stays held, however long its worker is silent.
    until("its worker is silent", || lines.fleet.reasons(forbidden).contains(&"worker_silent".to_owned()));
    lines.says(forbidden, &["worker forget doomed"]);
    lines.says(behind_forbidden, &[&format!("held by {forbidden} since")]);
    assert_eq!(tasks(&lines.resource("S")["holders"]), [forbidden]);
    lines.good(&["worker", "forget", "doomed"]);
    until("it runs again", || lines.fleet.task(forbidden).attempt == 2);
    lines.waits(behind_forbidden);
    for (name, task) in [("allowed", allowed), ("forbidden", forbidden)] {
        lines.end(name, task);
    }
    for (name, task) in [("behind-allowed", behind_allowed), ("behind-forbidden", behind_forbidden)] {
        lines.runs(name, task);
        lines.end(name, task);
    }
    lines.fleet.over(vec![other]);
}

#[test]
fn between_a_failure_and_its_retry_a_task_holds_on_unless_it_says_otherwise() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "4");
    let failing = |asks: &[&str]| -> TaskRef {
        let policy = ["--retries", "1", "--backoff", "1h..1h", "--", "false"];
        let id = lines.good(&[&["submit", "--quiet"], asks, &policy].concat()).trim().parse().unwrap();
        lines.fleet.is(id, StateKind::Scheduled);
        id
    };
    let keeps = failing(&["--lock", "R"]);
    let gives_up = failing(&["--lock", "S", "--release-while-retrying"]);
    assert_eq!(tasks(&lines.resource("R")["holders"]), [keeps]);
    let behind = lines.submit("behind", &["--lock", "R"]);
    let next = lines.submit("next", &["--lock", "S"]);
    lines.runs("next", next);
    lines.waits(behind);
    lines.says(behind, &[&format!("held by {keeps} since")]);
    assert!(lines.fleet.task(gives_up).ticket < lines.fleet.task(next).ticket, "it keeps its number");
    lines.good(&["cancel", &keeps.to_string(), &gives_up.to_string()]);
    lines.runs("behind", behind);
    lines.end("behind", behind);
    lines.end("next", next);
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_licence_is_resized_while_it_is_held_and_waited_for() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    lines.good(&["resource", "set", "sim", "--capacity", "1"]);
    let refused = lines.run(&["submit", "--license", "sim=2", "--", "true"]);
    assert_eq!(refused.status, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("never possible") && refused.stderr.contains("sim"), "{}", refused.stderr);
    let first = lines.submit("first", &["--license", "sim"]);
    let second = lines.submit("second", &["--license", "sim=1"]);
    lines.runs("first", first);
    lines.says(lines.waits(second).id, &["1 of `sim`", "0 of 1 free"]);
    lines.good(&["resource", "set", "sim", "--capacity", "2"]);
    lines.runs("second", second);
    let both = lines.submit("both", &["--license", "sim=2"]);
    let third = lines.submit("third", &["--license", "sim"]);
    lines.waits(both);
    lines.waits(third);
    // Less than is held: nobody is stopped, and who asks for more than there is stands aside.
    lines.good(&["resource", "set", "sim", "--capacity", "1"]);
    let shown = lines.resource("sim");
    assert_eq!((shown["capacity"].as_u64(), tasks(&shown["holders"])), (Some(1), vec![first, second]));
    assert_eq!((tasks(&shown["aside"]), tasks(&shown["line"])), (vec![both], vec![third]));
    lines.says(both, &["stands aside", "less now than it asks for"]);
    lines.end("first", first);
    lines.waits(third);
    lines.end("second", second);
    lines.runs("third", third);
    let fourth = lines.submit("fourth", &["--license", "sim"]);
    lines.good(&["resource", "set", "sim", "--capacity", "2"]);
    lines.waits(fourth);
    assert_eq!(tasks(&lines.resource("sim")["line"]), [both, fourth], "back at its number");
    lines.end("third", third);
    lines.runs("both", both);
    lines.end("both", both);
    lines.end("fourth", fourth);
    lines.good(&["resource", "delete", "sim"]);
    assert_eq!(lines.run(&["resource", "show", "sim"]).status, Some(3));
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_job_is_told_which_devices_it_has_and_none_are_given_out_of_service() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let units = ["--unit", "ph1,model=x", "--unit", "ph2,model=y", "--unit", "ph3,model=y,os=14"];
    lines.good(&[&["resource", "set", "phones"], units.as_slice()].concat());
    lines.good(&["resource", "set", "cc", "--capacity", "5"]);
    let unknown = lines.run(&["submit", "--device", "model=z", "--", "true"]);
    assert_eq!(unknown.status, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("model=z"), "{}", unknown.stderr);
    let named = lines.submit("named", &["--device", "name=ph3", "--license", "cc=2", "--lock", "my-db"]);
    let alike = lines.submit("alike", &["--device", "phones:model=y"]);
    let taken = lines.submit("taken", &["--device", "phones:os=14"]);
    let pair = lines.submit("pair", &["--device", "model=y", "--device", "phones:model=x"]);
    lines.runs("named", named);
    lines.runs("alike", alike);
    lines.waits(taken);
    lines.waits(pair);
    assert_eq!(lines.fleet.task(named).resources[2].units, ["ph3"]);
    lines.end("named", named);
    lines.runs("taken", taken);
    lines.end("alike", alike);
    lines.runs("pair", pair);
    let told = |task: TaskRef| lines.fleet.log(task).lines().map(str::to_owned).collect::<Vec<_>>();
    lines.end("taken", taken);
    lines.end("pair", pair);
    let line = |text: &str| format!("BOWLINE_RESOURCE_{text}");
    assert_eq!(told(named), [line("CC=2"), line("MY_DB=my-db"), line("PHONES=ph3")]);
    assert_eq!(told(alike), [line("PHONES=ph2")]);
    assert_eq!(told(taken), [line("PHONES=ph3")]);
    let both = told(pair).join("");
    assert!(both.contains("ph1") && both.contains("ph2"), "{both}");
    // Out of service: it waits, with a warning; where that is not wanted it is refused.
    lines.good(&["resource", "set", "phones", "--out-of-service", "the rack is moved"]);
    let strict = lines.run(&["submit", "--strict", "--device", "phones", "--", "true"]);
    assert_eq!(strict.status, Some(5), "{}", strict.stderr);
    let ran = lines.run(&["submit", "--device", "phones", "--", "true"]);
    assert!(ran.status == Some(0) && ran.stderr.contains("the rack is moved"), "{ran:?}");
    let aside: TaskRef = ran.stdout.trim().parse().unwrap();
    lines.says(lines.waits(aside).id, &["stands aside", "the rack is moved", "resource set phones --in-service"]);
    assert_eq!(tasks(&lines.resource("phones")["aside"]), [aside]);
    lines.good(&["resource", "set", "phones", "--in-service"]);
    lines.fleet.ends_as(aside, StateKind::Succeeded);
    lines.fleet.over(vec![worker]);
}

#[test]
fn who_is_paused_stands_aside_and_steps_back_to_its_number() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let holder = lines.submit("holder", &["--lock", "R"]);
    lines.runs("holder", holder);
    let paused = lines.submit("paused", &["--lock", "R"]);
    let next = lines.submit("next", &["--lock", "R"]);
    let last = lines.submit("last", &["--lock", "R"]);
    lines.good(&["task", "pause", &paused.to_string()]);
    lines.says(paused, &["paused"]);
    let shown = lines.resource("R");
    assert_eq!((tasks(&shown["line"]), tasks(&shown["aside"])), (vec![next, last], vec![paused]));
    lines.end("holder", holder);
    lines.runs("next", next);
    lines.good(&["task", "resume", &paused.to_string()]);
    assert_eq!(tasks(&lines.resource("R")["line"]), [paused, last]);
    lines.end("next", next);
    lines.runs("paused", paused);
    lines.waits(last);
    lines.end("paused", paused);
    lines.end("last", last);
    let history = lines.fleet.history(paused);
    for what in ["stands_aside", "steps_back"] {
        assert!(history.iter().any(|line| line == what), "`{what}` is not in {history:?}");
    }
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_server_that_is_killed_finds_the_same_holders_and_the_same_line() {
    let mut lines = Lines::new();
    let worker = lines.worker("lab", "8");
    lines.good(&["resource", "set", "phones", "--unit", "ph1", "--unit", "ph2"]);
    let holder = lines.submit("holder", &["--lock", "R", "--device", "name=ph2"]);
    let sharing = lines.submit("sharing", &["--device", "phones", "--shared", "S"]);
    lines.runs("holder", holder);
    lines.runs("sharing", sharing);
    let line: Vec<TaskRef> =
        (0..4).map(|number| lines.submit(&format!("next-{number}"), &["--lock", "R", "--shared", "S"])).collect();
    lines.good(&["task", "pause", &line[1].to_string()]);
    let all = |lines: &Lines| -> Vec<Value> {
        // How long a unit waits, or is held, is told by moments, which stay.
        ["R", "S", "phones"].into_iter().map(|name| lines.resource(name)).collect()
    };
    let before = all(&lines);
    assert_eq!(tasks(&before[0]["line"]), [line[0], line[2], line[3]]);
    let old = lines.fleet.server.part.pid().as_raw_pid();
    lines.fleet.server.part.signal(Signal::KILL);
    until("the server is gone", || lines.fleet.room.processes().iter().all(|(pid, _)| *pid != old));
    let address = lines.fleet.server.address().to_owned();
    let fresh = ServerPart::start(&lines.fleet.room, &address, &[]);
    std::mem::replace(&mut lines.fleet.server, fresh).part.kill();
    until("the worker is connected", || lines.fleet.is_connected("lab"));
    assert_eq!(all(&lines), before);
    lines.good(&["task", "resume", &line[1].to_string()]);
    lines.end("holder", holder);
    for (number, task) in line.into_iter().enumerate() {
        let name = format!("next-{number}");
        lines.runs(&name, task);
        lines.end(&name, task);
    }
    lines.end("sharing", sharing);
    lines.fleet.over(vec![worker]);
}

#[test]
fn steps_of_a_workflow_hold_resources() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    lines.good(&["resource", "set", "phones", "--unit", "ph1,model=x", "--unit", "ph2,model=y"]);
    let file = "name: flash\nsteps:\n  first:\n    run: test \"$BOWLINE_RESOURCE_PHONES $BOWLINE_RESOURCE_DB\" = 'ph2 db'\n    \
                lock: db\n    device: {with: {model: y}}\n  second:\n    run: test -z \"$BOWLINE_RESOURCE_PHONES\"\n    \
                shared: db\n    needs: first\n";
    let path = lines.fleet.room.write("flash.yaml", file);
    lines.good(&["run", path.to_str().unwrap()]);
    let run = lines.json(&["runs", "list"])[0]["id"].as_str().unwrap().to_owned();
    let tasks = lines.json(&["task", "list", "--run", &run, "--sort", "oldest"]);
    let held: Vec<&Value> = tasks.as_array().unwrap().iter().map(|task| &task["resources"]).collect();
    assert_eq!((&held[0][1]["name"], &held[0][1]["state"]), (&json!("phones"), &json!("ended")), "{tasks}");
    assert_eq!(held[1][0]["mode"], "shared");
    // What can never be is told when the step is due, and ends the run.
    let wrong =
        lines.fleet.room.write("wrong.yaml", "name: wrong\nsteps:\n  a: {argv: [\"true\"], license: {none: 2}}\n");
    let ran = lines.run(&["run", wrong.to_str().unwrap()]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("none") || ran.stdout.contains("none"), "{ran:?}");
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_run_holds_what_it_asks_for_as_a_whole_to_its_end() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    let marks = lines.fleet.room.work().join("marks");
    let gate = lines.fleet.gate("hold");
    let file = format!(
        "name: hold\nlock: rig\nsteps:\n  first:\n    run: |\n      echo \"first $BOWLINE_RESOURCE_DB $BOWLINE_RESOURCE_RIG\" >>{marks}\n      \
         until test -e {gate}; do sleep 0.02; done\n  second:\n    needs: first\n    lock: db\n    \
         run: echo \"second $BOWLINE_RESOURCE_DB\" >>{marks}\n",
        marks = marks.display(),
        gate = gate.display()
    );
    let path = lines.fleet.room.write("hold.yaml", &file);
    let before = lines.submit("before", &["--shared", "db"]);
    lines.begins("before");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| lines.run(&["run", path.to_str().unwrap(), "--lock", "db"]));
        let of = |what: &str, name: &str| lines.json(&["resource", "show", name])[what][0]["run"].clone();
        until("the run stands in line", || of("line", "db") == json!("r1"));
        let later = lines.submit("later", &["--shared", "rig"]);
        assert!(lines.good(&["explain", "r1"]).contains("`db`"));
        lines.end("before", before);
        until("the first step has begun", || lines.marks().contains(&"first db rig".to_owned()));
        assert_eq!((of("holders", "db"), of("holders", "rig")), (json!("r1"), json!("r1")));
        assert_eq!(lines.fleet.task(later).state, StateKind::Waiting);
        lines.open("hold");
        let ran = run.join().unwrap();
        assert_eq!(ran.status, Some(0), "{ran:?}");
        lines.begins("later");
        assert!(lines.place("second db") < lines.place("later begun"), "{:?}", lines.marks());
        lines.end("later", later);
    });
    lines.fleet.over(vec![worker]);
}

#[test]
fn a_run_that_must_wait_is_warned_of_and_refused_where_that_is_not_wanted() {
    let lines = Lines::new();
    let worker = lines.worker("lab", "8");
    lines.good(&["resource", "set", "rig", "--capacity", "1"]);
    lines.good(&["resource", "set", "rig", "--out-of-service", "the rack is moved"]);
    let path = lines.fleet.room.write("rig.yaml", "name: rig\nlock: rig\nsteps:\n  only:\n    run: echo done\n");
    let path = path.to_str().unwrap();
    let strict = lines.run(&["run", "--strict", path]);
    assert_eq!(strict.status, Some(5), "{strict:?}");
    assert!(strict.stderr.contains("`rig`") && strict.stderr.contains("the rack is moved"), "{strict:?}");
    assert_eq!(lines.json(&["runs", "list"]), json!([]), "nothing of it is left");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| lines.run(&["run", path]));
        let state = || lines.json(&["runs", "list"])[0]["state"].clone();
        until("the run is there", || state() == json!("running"));
        lines.good(&["resource", "set", "rig", "--in-service"]);
        let ran = run.join().unwrap();
        assert!(ran.status == Some(0) && ran.stderr.contains("the rack is moved"), "{ran:?}");
    });
    lines.good(&["run", "--strict", path]);
    lines.fleet.over(vec![worker]);
}
