//! Keys, rates, quotas and shares, as users meet them.

use crate::fleet::{Fleet, until_there};
use crate::harness::{Room, until};

fn open(gate: &std::path::Path) {
    std::fs::write(gate, "").unwrap();
}

#[test]
fn tasks_under_one_key_go_one_after_the_other_are_replaced_or_left_out() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=8"]);
    let gate = room.work().join("gate");
    let waits = until_there(gate.to_str().unwrap());

    let first = fleet.submit(&["--concurrency", "deploy"], &waits);
    let second = fleet.submit(&["--concurrency", "deploy"], "true");
    let other = fleet.submit(&["--concurrency", "other=2"], "true");
    fleet.until_state(&other, "succeeded");
    fleet.until_state(&first, "running");
    assert_eq!(fleet.task(&second, "state"), "waiting");
    let told = fleet.good(&["explain", &second]);
    for words in ["1 may be at work under the concurrency key `deploy`", &format!("it is held by {first} since")] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let shown = fleet.good(&["namespace", "show", "default"]);
    assert!(shown.contains("deploy  1 of 1"), "{shown}");

    let left_out = fleet.submit(&["--concurrency", "nightly=drop"], &waits);
    let skipped = fleet.submit(&["--concurrency", "nightly=drop"], "true");
    fleet.until_state(&skipped, "skipped");
    let told = fleet.good(&["task", "show", &skipped]);
    assert!(told.contains(&format!("task {left_out}, which has the same concurrency key `nightly`")), "{told}");

    // It ignores TERM: whatever comes after it begins when it is gone, and not before.
    let mark = room.work().join("old-is-there");
    let stubborn = format!("trap '' TERM; touch {0}; {waits}; rm {0}", mark.display());
    let old = fleet.submit(&["--concurrency", "branch=newest"], &stubborn);
    until("the old one is there", || mark.exists());
    let check = format!("test ! -e {}", mark.display());
    let newer = fleet.submit(&["--concurrency", "branch=newest"], &check);
    let newest = fleet.submit(&["--concurrency", "branch=newest"], &check);
    assert_eq!(fleet.task(&newer, "state"), "cancelled");
    assert_eq!(fleet.task(&old, "state"), "stopping");
    open(&gate);
    fleet.until_state(&newest, "succeeded");
    assert_eq!(fleet.task(&old, "state"), "cancelled");
    fleet.until_state(&second, "succeeded");
}

#[test]
fn a_rate_is_kept_over_a_restart_and_tells_when_the_next_may_begin() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=8"]);
    let first = fleet.submit(&["--rate", "mails=1/30d"], "true");
    fleet.until_state(&first, "succeeded");
    let second = fleet.submit(&["--rate", "mails=1/30d"], "true");
    fleet.stop();
    fleet.start();
    let free = fleet.submit(&["--rate", "letters=1/30d"], "true");
    fleet.until_state(&free, "succeeded");
    assert_eq!(fleet.task(&second, "state"), "waiting");
    let told = fleet.good(&["explain", &second]);
    assert!(told.contains("its rate `mails` allows 1 start within 30d") && told.contains("may begin at 2"), "{told}");
}

#[test]
fn quotas_are_kept_told_and_lifted() {
    let room = Room::new();
    let mut fleet = Fleet::new(&room);
    fleet.connected("lab-1", &["--slots=8"]);
    let gate = room.work().join("gate");
    let waits = until_there(gate.to_str().unwrap());
    let set = fleet.good(&["namespace", "set", "default", "--max-running", "1", "--max-queued", "1", "--share", "2"]);
    assert_eq!(set, "default: share 2, at most 1 queued, at most 1 running\n");
    let first = fleet.submit(&[], &waits);
    fleet.until_state(&first, "running");
    let second = fleet.submit(&[], "true");
    let told = fleet.good(&["explain", &second]);
    assert!(told.contains("has 1 of 1 tasks on workers (its quota `max_running`)"), "{told}");
    let refused = fleet.run(&["submit", "--", "true"]);
    assert_eq!(refused.status, Some(5), "{refused:?}");
    assert!(refused.stderr.contains("`max_queued`") && refused.stderr.contains("and has 1"), "{refused:?}");
    let elsewhere = fleet.submit(&["--namespace", "other"], "true");
    until("another namespace is free to go", || {
        fleet.json(&["task", "show", &elsewhere, "--namespace", "other"])["state"] == "succeeded"
    });
    let shown = fleet.json(&["namespace", "show", "default"]);
    assert_eq!((shown["queued"].as_u64(), shown["running"].as_u64()), (Some(1), Some(1)), "{shown}");
    assert_eq!((shown["max_running"].as_u64(), shown["had"]["slots"].as_u64()), (Some(1), Some(1)), "{shown}");
    fleet.good(&["namespace", "set", "default", "--max-running", "none"]);
    fleet.until_state(&second, "succeeded");
    open(&gate);
    fleet.until_state(&first, "succeeded");
}
