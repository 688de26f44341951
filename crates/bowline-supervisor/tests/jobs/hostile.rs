//! Jobs that would get away: in every way of killing, nothing of them is left.

use std::time::Duration;

use bowline_supervisor::wire::{Exit, StopReason};

use crate::support::{House, code, pid_in, signal, tests, wait_until};

const SHORT: Duration = Duration::from_millis(150);

tests![
    a_daemon_that_sheds_everything_is_killed,
    two_jobs_daemons_go_each_with_its_own_job,
    closed_files_hide_nobody,
    a_fork_bomb_is_killed_whole,
    a_fork_bomb_that_ignores_everything_is_killed_whole,
    processes_born_while_they_are_killed_are_killed,
    stopped_processes_are_killed,
    a_job_that_kills_all_it_can_see_ends_alone,
];

/// Double fork, own session, TERM and HUP ignored, environment and files shed.
const DAEMON: &str = "(env -i /usr/bin/setsid /bin/sh -c 'trap \"\" TERM HUP INT; exec <&- >&- 2>&-; (echo $$ > NAME; \
                      while :; do /bin/sleep 0.2; done) & exit' &)";

fn daemon(name: &str) -> String {
    format!("{}; until [ -s {name} ]; do sleep 0.02; done", DAEMON.replace("NAME", name))
}

fn a_daemon_that_sheds_everything_is_killed() {
    let mut house = House::new();
    let ended = house.run_to_end("a", &daemon("d"));
    assert_eq!(ended.exit, code(0));
    assert!(ended.leftovers >= 1);
    assert_eq!(house.processes(), []);
    house.run("b", &format!("{}; sleep 60", daemon("e")));
    pid_in(&house.path("e"));
    house.kill("b", SHORT);
    assert_eq!(house.exited("b").stopped, Some(StopReason::Asked));
    assert_eq!(house.processes(), []);
}

fn two_jobs_daemons_go_each_with_its_own_job() {
    let mut house = House::new();
    let mut other = house.script("other", &format!("{}; echo $$ > up; sleep 60", daemon("kept")));
    let folder = house.path("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    other.cwd.clone_from(&folder);
    house.start(other);
    house.started("other");
    pid_in(&folder.join("up"));
    let living = crate::support::processes_in(&folder).len();
    house.run_to_end("a", &daemon("d"));
    assert_eq!(house.processes(), [], "of the job that has ended");
    assert_eq!(crate::support::processes_in(&folder).len(), living, "of the other one");
    house.kill("other", Duration::ZERO);
    house.exited("other");
    assert_eq!(crate::support::processes_in(&folder), []);
}

fn closed_files_hide_nobody() {
    let mut house = House::new();
    let script = "exec 0<&- 1>&- 2>&-; (sleep 60 &); (setsid sleep 61 &); sleep 62";
    house.run("a", script);
    wait_until("all run", || house.processes().len() >= 4);
    house.kill("a", SHORT);
    assert_eq!(house.exited("a").exit, Exit::Signal(15));
    assert_eq!(house.processes(), []);
}

/// Each process makes two, up to a bound, and stays.
const BOMB: &str = "boom() { if [ $1 -gt 0 ]; then boom $(($1 - 1)) & boom $(($1 - 1)) & fi; sleep 60; }; boom 6";

fn a_fork_bomb_is_killed_whole() {
    let mut house = House::new();
    house.run("a", BOMB);
    wait_until("it goes off", || house.processes().len() > 60);
    house.kill("a", Duration::ZERO);
    assert_eq!(house.exited("a").stopped, Some(StopReason::Asked));
    assert_eq!(house.processes(), []);
}

fn a_fork_bomb_that_ignores_everything_is_killed_whole() {
    let mut house = House::new();
    house.run("a", &format!("trap '' TERM HUP INT QUIT; {BOMB}"));
    wait_until("it goes off", || house.processes().len() > 20);
    house.kill("a", SHORT);
    assert_eq!(house.exited("a").exit, Exit::Signal(9));
    assert_eq!(house.processes(), []);
}

fn processes_born_while_they_are_killed_are_killed() {
    let mut house = House::new();
    // Every process lives for a moment only, and has begun the next one before it ends.
    let script = "step() { (trap '' TERM; echo $$ > runs; sleep 0.01; step &) & }; step; step; step; sleep 60";
    house.run("a", script);
    pid_in(&house.path("runs"));
    house.kill("a", SHORT);
    house.exited("a");
    assert_eq!(house.processes(), []);
}

fn stopped_processes_are_killed() {
    let mut house = House::new();
    house.run("a", "sleep 60 & sleep 61 & echo $! > child; sleep 62");
    let child = pid_in(&house.path("child"));
    signal(child, rustix::process::Signal::STOP);
    house.kill("a", Duration::ZERO);
    house.exited("a");
    assert_eq!(house.processes(), []);
}

fn a_job_that_kills_all_it_can_see_ends_alone() {
    let mut house = House::new();
    let other = house.run("other", "exec sleep 60");
    // Whatever is its parent, and its whole session.
    let ended = house.run_to_end("a", "sleep 60 & (setsid sleep 61 &) ; sleep 0.1; kill -TERM 0; sleep 62");
    assert_eq!(ended.exit, Exit::Signal(15));
    assert_eq!(house.processes(), [other]);
}
