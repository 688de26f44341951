//! Stopping jobs, and what they leave behind: nothing may be left running.

use std::time::Duration;

use bowline_supervisor::boottime;
use bowline_supervisor::wire::{Exit, Exited, Request, ShutdownMode, StopReason};

use crate::support::{House, code, is_alive, pid_in, signal, tests, wait_until};

const LONG: Duration = Duration::from_secs(25);
const SHORT: Duration = Duration::from_millis(150);

tests![
    term_ends_a_job,
    term_reaches_a_stopped_job,
    ignored_term_is_followed_by_kill,
    a_job_may_clean_up_within_its_grace,
    kill_before_the_start_is_told,
    a_second_kill_shortens_the_grace,
    children_left_behind_are_killed,
    double_fork_and_own_session_are_found,
    shed_marks_do_not_hide_a_process,
    other_jobs_are_left_alone,
    the_run_limit_stops_a_job,
    orphans_that_end_are_reaped,
    term_to_the_supervisor_stops_its_jobs,
    leaves_when_idle_if_told_so,
];

fn ran_for(ended: &Exited) -> Duration {
    ended.ended_at.saturating_sub(ended.started_at)
}

fn term_ends_a_job() {
    let mut house = House::new();
    let pid = house.run("a", "sleep 60");
    house.kill("a", LONG);
    let ended = house.exited("a");
    assert_eq!((ended.exit, ended.stopped), (Exit::Signal(15), Some(StopReason::Asked)));
    assert!(ran_for(&ended) < LONG);
    assert!(!is_alive(pid));
}

fn term_reaches_a_stopped_job() {
    let mut house = House::new();
    let pid = house.run("a", "sleep 60");
    signal(pid, rustix::process::Signal::STOP);
    house.kill("a", LONG);
    assert_eq!(house.exited("a").exit, Exit::Signal(15));
}

fn ignored_term_is_followed_by_kill() {
    let mut house = House::new();
    let ready = house.path("ready");
    let script = format!("trap '' TERM; echo $$ > '{}'; while :; do sleep 0.1; done", ready.display());
    house.run("a", &script);
    pid_in(&ready);
    let asked_at = boottime();
    house.kill("a", SHORT);
    let ended = house.exited("a");
    assert_eq!((ended.exit, ended.stopped), (Exit::Signal(9), Some(StopReason::Asked)));
    assert!(ended.ended_at >= asked_at + SHORT);
}

fn a_job_may_clean_up_within_its_grace() {
    let mut house = House::new();
    let ready = house.path("ready");
    let script =
        format!("trap 'echo cleaned; exit 4' TERM; echo $$ > '{}'; while :; do sleep 0.05; done", ready.display());
    house.run("a", &script);
    pid_in(&ready);
    house.kill("a", LONG);
    assert_eq!(house.exited("a").exit, code(4));
    assert_eq!(house.output("a").matches("cleaned").count(), 1, "TERM came once");
}

fn kill_before_the_start_is_told() {
    let mut house = House::new();
    for i in 0..20 {
        let key = format!("k{i}");
        house.start(house.script(&key, "sleep 60"));
        house.kill(&key, LONG);
        let ended = house.exited(&key);
        assert_eq!(ended.stopped, Some(StopReason::Asked));
        assert!(matches!(ended.exit, Exit::Signal(15)), "{ended:?}");
    }
}

fn a_second_kill_shortens_the_grace() {
    let mut house = House::new();
    let ready = house.path("ready");
    house.run("a", &format!("trap '' TERM; echo $$ > '{}'; while :; do sleep 0.1; done", ready.display()));
    pid_in(&ready);
    house.kill("a", LONG * 100);
    house.kill("a", Duration::ZERO);
    assert_eq!(house.exited("a").exit, Exit::Signal(9));
}

fn children_left_behind_are_killed() {
    let mut house = House::new();
    let ended = house.run_to_end("a", "sleep 60 & echo $! > pid; sleep 61 & exit 5");
    let pid = pid_in(&house.path("pid"));
    assert_eq!((ended.exit, ended.stopped, ended.leftovers), (code(5), None, 2));
    assert!(!is_alive(pid));
}

fn double_fork_and_own_session_are_found() {
    let mut house = House::new();
    // Its own session, its parent gone, its signals ignored: as a daemon does it.
    let daemon = "(trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; echo $$ > daemon; sleep 60' &)";
    let ended = house.run_to_end("a", &format!("{daemon}; until [ -s daemon ]; do sleep 0.02; done"));
    assert_eq!(ended.exit, code(0));
    assert!(!is_alive(pid_in(&house.path("daemon"))));
    house.run("b", &format!("{daemon}; sleep 60").replace("> daemon", "> other"));
    let pid = pid_in(&house.path("other"));
    house.kill("b", SHORT);
    house.exited("b");
    assert!(!is_alive(pid));
}

fn shed_marks_do_not_hide_a_process() {
    let mut house = House::new();
    let script =
        "(env -i /usr/bin/setsid /bin/sh -c 'echo $$ > bare; exec sleep 60' &); until [ -s bare ]; do sleep 0.02; done";
    let ended = house.run_to_end("a", script);
    assert!(ended.leftovers >= 1);
    assert!(!is_alive(pid_in(&house.path("bare"))));
}

fn other_jobs_are_left_alone() {
    let mut house = House::new();
    let script = "(setsid sh -c 'echo $$ > kept; exec sleep 60' &); sleep 60";
    let main = house.run("kept", script);
    let daemon = pid_in(&house.path("kept"));
    house.run_to_end("a", "sleep 60 & exit 0");
    house.run("b", "sleep 60 & sleep 60");
    house.kill("b", Duration::ZERO);
    house.exited("b");
    assert!(is_alive(main) && is_alive(daemon));
    house.kill("kept", Duration::ZERO);
    house.exited("kept");
    assert!(!is_alive(main) && !is_alive(daemon));
}

fn the_run_limit_stops_a_job() {
    let mut house = House::new();
    let mut start = house.script("a", "trap '' TERM; sleep 60 & sleep 60");
    start.run_limit = Some(SHORT);
    start.grace = SHORT;
    house.start(start);
    let ended = house.exited("a");
    assert_eq!((ended.exit, ended.stopped), (Exit::Signal(9), Some(StopReason::RunLimit)));
    assert!(ran_for(&ended) >= SHORT * 2);
}

fn orphans_that_end_are_reaped() {
    let mut house = House::new();
    let pid = house.client.pid();
    house.run("a", "for i in 1 2 3 4 5 6 7 8 9; do (true &); done; echo $$ > ready; sleep 60");
    pid_in(&house.path("ready"));
    wait_until("one child is left", || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_ascii_whitespace().count() == 1
    });
}

fn term_to_the_supervisor_stops_its_jobs() {
    let mut house = House::new();
    let job = house.run("a", "trap 'echo stopped; exit 0' TERM; echo $$ > ready; while :; do sleep 0.05; done");
    pid_in(&house.path("ready"));
    let supervisor = house.client.pid();
    signal(supervisor, rustix::process::Signal::TERM);
    let ended = house.exited("a");
    assert_eq!((ended.exit, ended.stopped), (code(0), Some(StopReason::Shutdown)));
    wait_until("it has left", || !is_alive(supervisor));
    assert!(!is_alive(job));
    assert_eq!(house.output("a").matches("stopped").count(), 1);
}

fn leaves_when_idle_if_told_so() {
    let mut house = House::new();
    let supervisor = house.client.pid();
    house.run("a", "until [ -e gate ]; do sleep 0.02; done");
    house.client.send(&Request::Shutdown(ShutdownMode::WhenIdle)).unwrap();
    house.start(house.script("b", "echo no"));
    house.wait_for("refusal", |event| matches!(event, bowline_supervisor::wire::Event::Refused { .. }).then_some(()));
    std::fs::write(house.path("gate"), "").unwrap();
    assert_eq!(house.exited("a").exit, code(0));
    wait_until("it has left", || !is_alive(supervisor));
}
