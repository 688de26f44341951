//! Why a worker is given nothing, why a run has not ended, who is next for a resource; and the same watched.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::harness::{Room, until};

/// A watcher with what it writes, line by line.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    fn new(room: &Room, args: &[&str]) -> Self {
        let mut child = room.command(args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line with these words; what comes before it is passed over.
    fn sees(&mut self, words: &str) -> String {
        let seen = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(words)));
        seen.unwrap_or_else(|| panic!("it ended without `{words}`")).unwrap()
    }

    /// It ends by itself, and all else that it writes.
    fn ends(mut self) -> String {
        let rest: Vec<String> = self.lines.map(Result::unwrap).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{rest:?}");
        rest.join("\n")
    }

    fn interrupted(mut self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130), "Ctrl-C");
    }
}

fn says(told: &str, words: &[&str]) {
    for word in words {
        assert!(told.contains(word), "`{word}` is missing in\n{told}");
    }
}

#[test]
fn workers_runs_and_resources_are_explained_and_watched() {
    let room = Room::new();
    let up = room.up(&["--slots", "1"]);
    let name = room.json(&["worker", "list", "--json"])[0]["name"].as_str().unwrap().to_owned();
    says(&room.good(&["worker", "explain", &name]), &["0 of 1 slots taken", "No task waits."]);

    let gate = room.path().join("gate");
    let job = format!("until test -e {}; do sleep 0.02; done", gate.display());
    let holder = room.good(&["submit", "--quiet", "--lock", "db", "--", "sh", "-c", &job]).trim().to_owned();
    let next = room.good(&["submit", "--quiet", "--lock", "db", "--lock", "other", "--", "true"]).trim().to_owned();
    let never = room.run(&["submit", "--quiet", "--requires", "gpu", "--", "true"]).stdout.trim().to_owned();
    until("it runs", || room.good(&["task", "show", &holder]).contains("running"));

    let told = room.good(&["worker", "explain", &name]);
    says(&told, &["1 of 1 slots taken", "All its slots are taken (1): it has 1.", "it does not have gpu", &never]);
    let told = room.json(&["worker", "explain", &name, "--json"]);
    assert_eq!((&told["lanes"][0]["missing"][0], &told["ready"]), (&Value::from("gpu"), &Value::from(1)), "{told}");
    let gone = room.run(&["worker", "explain", "nobody"]);
    assert_eq!(gone.status, Some(3), "{gone:?}");

    says(
        &room.good(&["resource", "explain", "db"]),
        &["Next is 2; besides this resource it waits for:", "no room now"],
    );
    let mut task = Watcher::new(&room, &["explain", &next, "--watch"]);
    task.sees("is waiting since");
    task.sees("held by 1 since");
    let mut lock = Watcher::new(&room, &["resource", "show", "db", "--watch"]);
    lock.sees("Next is 2");
    let mut idle = Watcher::new(&room, &["worker", "explain", &name, "--watch", "--json"]);
    says(&idle.sees("reasons"), &["no_slot"]);
    let mut status = Watcher::new(&room, &["status", "--watch"]);
    status.sees("1 of 1 slots taken");

    std::fs::write(&gate, "").unwrap();
    says(&task.ends(), &["It waits for nothing."]);
    says(&lock.ends(), &["`db` is gone"]);
    says(&idle.sees("nothing_fits"), &["\"slots_used\":0"]);
    idle.interrupted();
    status.sees("0 of 1 slots taken");
    status.interrupted();
    room.good(&["cancel", &never]);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_run_tells_step_by_step_why_it_has_not_ended() {
    let room = Room::new();
    let up = room.up(&["--slots", "2"]);
    let steps = "  scan:\n    for_each: [1, 2, 3]\n    requires: gpu\n    run: echo 1\n  sum:\n    needs: scan\n    run: echo 2\n";
    room.write("two.yaml", &format!("name: two\nsteps:\n{steps}"));
    let run = room.command(&["run", "two.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let told = || room.run(&["runs", "explain", "r1"]).stdout;
    until("its tasks wait", || told().contains("3 of 3 tasks wait"));
    says(
        &told(),
        &[
            "r1 is running since",
            "0 of 2 steps have ended",
            "step scan (task ",
            "3 of 3 tasks wait: 3 for a worker with gpu",
            "and 2 more: None of 1 worker fits",
            "step sum",
            "It waits for `scan`.",
        ],
    );
    let mut watcher = Watcher::new(&room, &["runs", "explain", "r1", "--watch"]);
    watcher.sees("3 of 3 tasks wait");
    room.good(&["runs", "pause", "r1"]);
    watcher.sees("Its run r1 is paused, by admin");
    let document = room.json(&["explain", "r1", "--json"]);
    assert_eq!(document["steps"][0]["why"][0]["reason"], "paused", "{document}");
    assert_eq!(
        (&document["steps"][1]["state"], &document["steps"][1]["after"][0]),
        (&"pending".into(), &"scan".into())
    );
    room.good(&["runs", "cancel", "r1"]);
    says(&watcher.ends(), &["r1 has ended: cancelled"]);
    assert_eq!(crate::harness::finish(run, "the run").status, Some(1));
    assert_eq!(up.stop(), Some(0));
}
