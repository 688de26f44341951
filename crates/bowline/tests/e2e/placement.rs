//! Which of several workers: wishes, another one after a failure, and one that is kept free.

use bowline_core::id::{TaskId, TaskRef};
use bowline_core::state::StateKind;

use crate::harness::fleet::Fleet;
use crate::harness::parts::ServerPart;
use crate::harness::{Ran, Room, until};

fn fleet(options: &[&str]) -> Fleet {
    let room = Room::new();
    let server = ServerPart::start_with(&room, "127.0.0.1:0", &[], options);
    let client = server.client();
    Fleet { room, server, client }
}

fn run(fleet: &Fleet, args: &[&str]) -> Ran {
    let server = &fleet.server;
    let to = ["--server", &server.url, "--token-file", server.token_file.to_str().unwrap()];
    fleet.room.run(&[&to, args].concat())
}

/// The worker on which a job with these options ran.
fn ran_on(fleet: &Fleet, options: &[&str]) -> String {
    let job = ["--", "sh", "-c", "echo on $BOWLINE_WORKER"];
    let ran = run(fleet, &[&["submit", "--quiet", "--wait"], options, &job].concat());
    assert_eq!(ran.status, Some(0), "{options:?}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
    ran.stdout.trim().rsplit(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn wishes_choose_the_worker() {
    let fleet = fleet(&[]);
    let fast = fleet.worker("fast", &["--slots", "2", "--capability", "ssd"]);
    let old = fleet.worker("old", &["--slots", "2", "--capability", "os=old"]);
    assert_eq!(ran_on(&fleet, &["--prefer", "ssd"]), "fast");
    assert_eq!(ran_on(&fleet, &["--avoid", "os=old"]), "fast");
    assert_eq!(ran_on(&fleet, &["--exclude", "worker=fast"]), "old");
    assert_eq!(ran_on(&fleet, &["--requires", "worker=old"]), "old");
    let wait = run(&fleet, &["submit", "--exclude", "worker=fast", "--exclude", "os", "--", "true"]);
    assert_eq!(wait.status, Some(0));
    let said = run(&fleet, &["explain", "last"]).stdout;
    assert!(said.contains(", which is excluded"), "{said}");
    fleet.over(vec![fast, old]);
}

#[test]
fn a_retry_goes_to_another_worker() {
    let fleet = fleet(&[]);
    let workers = ["one", "two"].map(|name| fleet.worker(name, &["--slots", "1"]));
    let job = "echo $BOWLINE_WORKER >>\"$MARKS\"; test $BOWLINE_ATTEMPT = 2";
    let marks = fleet.room.work().join("marks");
    let marks_in = format!("MARKS={}", marks.display());
    let options = ["submit", "--wait", "--retries", "1", "--backoff", "100ms..100ms", "--env", &marks_in];
    let ran = run(&fleet, &[&options[..], &["--", "sh", "-c", job]].concat());
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let mut on: Vec<String> = std::fs::read_to_string(&marks).unwrap().lines().map(str::to_owned).collect();
    on.sort();
    assert_eq!(on, ["one", "two"]);
    fleet.over(workers.into());
}

#[test]
fn a_worker_is_kept_free_for_a_big_task() {
    let fleet = fleet(&["--keep-after", "1s"]);
    let worker = fleet.worker("rack", &["--slots", "2"]);
    let gate = fleet.gate("first");
    let first = format!("until test -e {}; do sleep 0.02; done", gate.display());
    let ran = run(&fleet, &["submit", "--quiet", "--", "sh", "-c", &first]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(run(&fleet, &["submit", "--quiet", "--slots", "2", "--", "true"]).status, Some(0));
    until("a worker is kept for it", || run(&fleet, &["explain", "last"]).stdout.contains("is kept free for it"));
    assert_eq!(run(&fleet, &["submit", "--quiet", "--", "true"]).status, Some(0));
    let said = run(&fleet, &["explain", "3"]).stdout;
    assert!(said.contains("kept free for tasks that stand before it") && said.contains("rack (for 2)"), "{said}");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(run(&fleet, &["wait", "2", "3"]).status, Some(0));
    let [big, behind] = [2, 3].map(|id| fleet.task(TaskRef::whole(TaskId(id))));
    assert!(big.started_at <= behind.started_at, "the big one began first");
    assert_eq!(behind.state, StateKind::Succeeded);
    fleet.over(vec![worker]);
}

#[test]
fn a_sticky_resource_goes_to_the_worker_that_had_it_last() {
    let fleet = fleet(&[]);
    let set = run(&fleet, &["resource", "set", "repo", "--capacity", "1", "--sticky"]);
    assert_eq!(set.stdout.trim(), "repo: capacity 1, sticky (prefer)", "{}", set.stderr);
    let one = fleet.worker("one", &["--slots", "2"]);
    assert_eq!(ran_on(&fleet, &["--lock", "repo"]), "one");
    let two = fleet.worker("two", &["--slots", "4"]);
    for _ in 0..3 {
        assert_eq!(ran_on(&fleet, &["--lock", "repo", "--avoid", "worker=one"]), "one", "it is warm there");
    }
    let shown = run(&fleet, &["resource", "show", "repo"]).stdout;
    assert!(shown.lines().any(|line| line.starts_with("warm on") && line.ends_with("one")), "{shown}");
    assert_eq!(run(&fleet, &["resource", "set", "repo", "--sticky", "no"]).status, Some(0));
    assert_eq!(ran_on(&fleet, &["--lock", "repo", "--avoid", "worker=one"]), "two");
    fleet.over(vec![one, two]);
}
