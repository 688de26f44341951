//! `stop_after`: a job whose server is away for too long is stopped, although nobody is there to say so.

use std::time::Duration;

use bowline_supervisor::boottime;
use bowline_supervisor::wire::{Exit, Request, Start, StopReason};

use crate::support::{House, code, is_alive, tests, wait_until};

const AFTER: Duration = Duration::from_millis(400);
const SHORT: Duration = Duration::from_millis(100);

tests![
    a_job_is_stopped_when_its_lease_is_over,
    a_renewed_job_runs_on,
    a_late_word_of_an_old_heartbeat_renews_nothing,
    each_lease_group_is_its_own,
    a_job_without_stop_after_runs_on,
    it_holds_without_a_worker,
];

fn leased(house: &House, key: &str, script: &str, lease: &str) -> Start {
    let mut start = house.script(key, script);
    start.lease = lease.into();
    start.stop_after = Some(AFTER);
    start.grace = SHORT;
    start
}

fn renew(house: &House, lease: &str, sent_at: Duration) {
    house.client.send(&Request::Renew { lease: lease.into(), sent_at }).unwrap();
}

fn a_job_is_stopped_when_its_lease_is_over() {
    let mut house = House::new();
    let sent_at = boottime();
    renew(&house, "s", sent_at);
    house.start(leased(&house, "a", "trap '' TERM; while :; do sleep 0.05; done", "s"));
    let ended = house.exited("a");
    assert_eq!((ended.exit, ended.stopped), (Exit::Signal(9), Some(StopReason::LeaseExpired)));
    assert!(ended.ended_at >= sent_at + AFTER + SHORT);
    assert_eq!(house.processes(), []);
    // It is on record.
    house.kill_supervisor();
    house.reconnect();
    assert_eq!(house.list().0, [bowline_supervisor::wire::Event::Exited(ended)]);
}

fn a_renewed_job_runs_on() {
    let mut house = House::new();
    let begun = boottime();
    house.start(leased(&house, "a", "until [ -e gate ]; do sleep 0.02; done", "s"));
    house.started("a");
    wait_until("twice the length has passed", || {
        renew(&house, "s", boottime());
        boottime() > begun + AFTER * 2
    });
    std::fs::write(house.path("gate"), "").unwrap();
    assert_eq!(house.exited("a").exit, code(0));
}

fn a_late_word_of_an_old_heartbeat_renews_nothing() {
    let mut house = House::new();
    let sent_at = boottime();
    renew(&house, "s", sent_at);
    house.start(leased(&house, "a", "exec sleep 60", "s"));
    let pid = house.started("a");
    wait_until("it is stopped", || {
        // Answers that come now, to heartbeats from before; and one from a future that cannot be.
        renew(&house, "s", sent_at.saturating_sub(SHORT));
        !is_alive(pid)
    });
    assert_eq!(house.exited("a").stopped, Some(StopReason::LeaseExpired));
    // A job that comes after counts from the same heartbeat: it is over before it begins.
    house.start(leased(&house, "b", "exec sleep 60", "s"));
    assert_eq!(house.exited("b").stopped, Some(StopReason::LeaseExpired));
}

fn each_lease_group_is_its_own() {
    let mut house = House::new();
    house.start(leased(&house, "a", "exec sleep 60", "one"));
    house.start(leased(&house, "b", "exec sleep 60", "two"));
    let (a, b) = (house.started("a"), house.started("b"));
    wait_until("the first is stopped", || {
        renew(&house, "two", boottime());
        !is_alive(a)
    });
    assert!(is_alive(b));
    house.kill("b", Duration::ZERO);
    assert_eq!(house.exited("b").stopped, Some(StopReason::Asked));
}

fn a_job_without_stop_after_runs_on() {
    let mut house = House::new();
    let mut start = leased(&house, "a", "exec sleep 60", "s");
    start.stop_after = None;
    house.start(start);
    house.start(leased(&house, "b", "exec sleep 60", "s"));
    house.exited("b");
    let pid = house.started("a");
    assert!(is_alive(pid));
}

fn it_holds_without_a_worker() {
    let mut house = House::new();
    house.start(leased(&house, "a", "exec sleep 60", "s"));
    let pid = house.started("a");
    house.client.close();
    wait_until("it is stopped", || !is_alive(pid));
    house.reconnect();
    house.client.send(&Request::List).unwrap();
    assert_eq!(house.exited("a").stopped, Some(StopReason::LeaseExpired));
}
