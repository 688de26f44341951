//! Which of several workers: the wishes of a task, another worker after a failure, and one that is kept free.

use std::time::Duration;

use bowline_core::answer::RefusalCode;
use bowline_core::explain::WaitReason;
use bowline_core::id::{AttemptRef, SessionId, TaskId, TaskRef};
use bowline_core::input::{DryRun, Request};
use bowline_core::message::{FromWorker, Hello, JobEnd, KnownAs};
use bowline_core::name::{Key, ResourceName, WorkerName};
use bowline_core::placement::{Fill, Placement};
use bowline_core::resource::{Ask, ResourceChange, Sticky};
use bowline_core::spec::{ArraySpec, RetryPolicy, TaskSpec};
use bowline_core::state::StateKind;
use bowline_core::time::Span;

use super::bench::{Bench, error, hello, live, new_task, noop, on};
use super::checks::explain;

const KEEP_AFTER: Duration = Duration::from_mins(1);

fn placed(placement: Placement) -> TaskSpec {
    TaskSpec { placement, ..noop() }
}

fn of_slots(slots: u32) -> TaskSpec {
    TaskSpec { slots, ..noop() }
}

fn wishes(prefer: &[&str], avoid: &[&str], excludes: &[&str]) -> Placement {
    let all = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
    Placement { fill: Fill::Spread, prefer: all(prefer), avoid: all(avoid), excludes: all(excludes) }
}

fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let attempt = live(bench, task);
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, how);
}

fn reasons(bench: &mut Bench, task: TaskId) -> Vec<WaitReason> {
    explain(bench, TaskRef::whole(task)).unwrap().reasons
}

fn labelled(bench: &mut Bench, name: &str, slots: u32, capability: &str) -> SessionId {
    bench.enrol(name);
    let mut hello = hello(name, "p1", slots);
    hello.offer.capabilities.insert(Key::new(capability).unwrap(), None);
    bench.connect(hello)
}

/// All workers go on to be heard while time passes.
fn pass(bench: &mut Bench, sessions: &[SessionId], length: Duration) {
    let step = Duration::from_secs(5);
    let mut passed = Duration::ZERO;
    while passed < length {
        bench.pass(step);
        passed += step;
        for session in sessions {
            bench.say(*session, FromWorker::Heartbeat);
        }
    }
}

#[test]
fn spread_takes_the_emptiest_worker_and_pack_the_fullest() {
    let mut bench = Bench::new();
    bench.worker("a", 4);
    bench.worker("b", 4);
    let first = bench.one(noop());
    let pack = Placement { fill: Fill::Pack, ..Placement::default() };
    let packed = bench.one(placed(pack.clone()));
    assert_eq!(on(&bench, first), on(&bench, packed));
    let spread = bench.one(noop());
    assert_ne!(on(&bench, first), on(&bench, spread));
    for _ in 0..2 {
        let packed = bench.one(placed(pack.clone()));
        assert_eq!(on(&bench, packed), on(&bench, first), "until it is full");
    }
    let next = bench.one(placed(pack));
    assert_eq!(on(&bench, next), on(&bench, spread));
}

#[test]
fn what_is_preferred_goes_first_what_is_avoided_last_and_what_is_excluded_never() {
    let mut bench = Bench::new();
    bench.worker("plain", 1);
    labelled(&mut bench, "fast", 1, "ssd");
    labelled(&mut bench, "slow", 1, "disk");
    let preferring = bench.one(placed(wishes(&["ssd"], &[], &[])));
    assert_eq!(on(&bench, preferring), "fast");
    let avoiding = bench.one(placed(wishes(&["ssd"], &["worker=plain"], &[])));
    assert_eq!(on(&bench, avoiding), "slow", "`fast` is full");
    let excluding = bench.one(placed(wishes(&[], &[], &["worker=plain"])));
    assert_eq!(bench.state(excluding), StateKind::Ready, "it waits rather than take that one");
    let last = bench.one(placed(wishes(&[], &["worker=plain"], &[])));
    assert_eq!(on(&bench, last), "plain", "no other has room");
}

#[test]
fn whom_nobody_may_serve_is_told_what_it_excludes() {
    let mut bench = Bench::new();
    bench.worker("only", 1);
    let task = bench.one(placed(wishes(&[], &[], &["worker=only"])));
    let [WaitReason::NoWorkerFits { nearest: Some(nearest), .. }] = &reasons(&mut bench, task)[..] else {
        panic!("no worker fits it")
    };
    assert_eq!(nearest.excluded, ["worker=only".parse().unwrap()]);
}

#[test]
fn a_worker_can_be_named() {
    let mut bench = Bench::new();
    bench.worker("a", 4);
    bench.worker("b", 4);
    for _ in 0..3 {
        let mut spec = noop();
        spec.requires.push("worker=b".parse().unwrap());
        let task = bench.one(spec);
        assert_eq!(on(&bench, task), "b");
    }
}

fn retried() -> TaskSpec {
    let retry = RetryPolicy { extra: 3, backoff: Span::secs(1), backoff_max: Span::secs(1) };
    TaskSpec { retry, ..noop() }
}

#[test]
fn who_failed_on_a_worker_waits_for_another_one_but_not_for_ever() {
    let mut bench = Bench::new();
    let a = bench.worker("a", 1);
    let task = bench.one(retried());
    let b = bench.worker("b", 1);
    let busy = bench.one(noop());
    assert_eq!((on(&bench, task), on(&bench, busy)), ("a".to_owned(), "b".to_owned()));
    end(&mut bench, a, task, error("no"));
    pass(&mut bench, &[a, b], Duration::from_secs(5));
    assert_eq!(bench.state(task), StateKind::Ready, "`a` has room, and is the one that failed it");
    let said = reasons(&mut bench, task);
    assert!(
        said.iter().any(|reason| matches!(reason, WaitReason::AwayFrom { worker, .. } if worker.as_str() == "a")),
        "{said:?}"
    );
    let behind = bench.one(noop());
    assert_eq!(on(&bench, behind), "a", "it delays nobody there");
    end(&mut bench, a, behind, JobEnd::Success);
    pass(&mut bench, &[a, b], Duration::from_secs(40));
    assert_eq!(on(&bench, task), "a", "no other had room for so long");
    end(&mut bench, a, task, error("no"));
    end(&mut bench, b, busy, JobEnd::Success);
    pass(&mut bench, &[a, b], Duration::from_secs(5));
    assert_eq!(on(&bench, task), "b");
    end(&mut bench, b, task, error("no"));
    bench.apply(bowline_core::input::Input::Disconnected { session: a });
    pass(&mut bench, &[b], Duration::from_secs(5));
    assert_eq!(on(&bench, task), "b", "there is no other now");
}

#[test]
fn a_worker_is_kept_free_for_who_needs_much_of_it() {
    let mut bench = Bench::new();
    let session = bench.worker("a", 4);
    let mut small: Vec<TaskId> = (0..4).map(|_| bench.one(noop())).collect();
    let big = bench.one(of_slots(4));
    let mut replace = |bench: &mut Bench| {
        let ended = small.remove(0);
        end(bench, session, ended, JobEnd::Success);
        let next = bench.one(noop());
        small.push(next);
        bench.state(next)
    };
    for _ in 0..8 {
        assert_eq!(replace(&mut bench), StateKind::Assigned, "within the bound smaller ones go by");
        pass(&mut bench, &[session], Duration::from_secs(5));
    }
    pass(&mut bench, &[session], KEEP_AFTER);
    assert!(reasons(&mut bench, big).iter().any(|reason| matches!(reason, WaitReason::KeptForIt { .. })));
    for _ in 0..3 {
        assert_eq!(replace(&mut bench), StateKind::Ready);
        assert_eq!(bench.state(big), StateKind::Ready);
    }
    let waits = *small.last().unwrap();
    let kept = vec![(WorkerName::new("a").unwrap(), TaskRef::whole(big))];
    assert!(reasons(&mut bench, waits).contains(&WaitReason::KeptFree { workers: kept }));
    end(&mut bench, session, small[0], JobEnd::Success);
    assert_eq!(bench.state(big), StateKind::Assigned);
    end(&mut bench, session, big, JobEnd::Success);
    assert_eq!(bench.state(waits), StateKind::Assigned, "what was kept is for everybody again");
}

#[test]
fn what_leaves_room_for_it_is_given_out_beside_it() {
    let mut bench = Bench::new();
    let session = bench.worker("a", 4);
    let long = bench.one(of_slots(2));
    let big = bench.one(of_slots(3));
    pass(&mut bench, &[session], KEEP_AFTER + Duration::from_secs(5));
    let small = [bench.one(noop()), bench.one(noop())];
    assert_eq!(bench.state(small[0]), StateKind::Assigned, "one slot is not needed");
    assert_eq!(bench.state(small[1]), StateKind::Ready, "this one is");
    end(&mut bench, session, long, JobEnd::Success);
    assert_eq!(bench.state(big), StateKind::Assigned);
    assert_eq!(bench.state(small[1]), StateKind::Ready);
}

#[test]
fn nothing_is_kept_for_who_is_cancelled_or_stands_behind() {
    let mut bench = Bench::new();
    let session = bench.worker("a", 2);
    let long = bench.one(noop());
    let big = bench.one(of_slots(2));
    pass(&mut bench, &[session], KEEP_AFTER + Duration::from_secs(5));
    let mut before = noop();
    before.priority = 1;
    let before = bench.one(before);
    assert_eq!(bench.state(before), StateKind::Assigned, "it stands before it");
    end(&mut bench, session, before, JobEnd::Success);
    let behind = bench.one(noop());
    assert_eq!(bench.state(behind), StateKind::Ready);
    bench.cancel(TaskRef::whole(big)).unwrap();
    assert_eq!(bench.state(behind), StateKind::Assigned);
    assert_eq!(bench.state(long), StateKind::Assigned);
}

#[test]
fn a_worker_is_kept_for_the_first_of_those_who_need_it() {
    let mut bench = Bench::new();
    let a = bench.worker("a", 2);
    let long = bench.one(noop());
    let mut amounts = hello("b", "p1", 2);
    amounts.offer.room.amounts.insert(Key::new("memory").unwrap(), 8);
    bench.enrol("b");
    let b = bench.connect(amounts);
    let mut half = noop();
    half.amounts.insert(Key::new("memory").unwrap(), 4);
    let half = bench.one(half);
    let first = bench.one(of_slots(2));
    let mut much = noop();
    much.amounts.insert(Key::new("memory").unwrap(), 8);
    let much = bench.one(much);
    pass(&mut bench, &[a, b], KEEP_AFTER + Duration::from_secs(5));
    let kept = |bench: &mut Bench, task| {
        reasons(bench, task).into_iter().find_map(|reason| match reason {
            WaitReason::KeptForIt { worker, .. } => Some(worker.to_string()),
            _ => None,
        })
    };
    assert_eq!(kept(&mut bench, first).as_deref(), Some("a"));
    assert_eq!(kept(&mut bench, much).as_deref(), Some("b"));
    let behind = bench.one(noop());
    assert_eq!(
        (bench.state(behind), on(&bench, behind)),
        (StateKind::Assigned, "b".to_owned()),
        "only memory is kept there"
    );
    end(&mut bench, b, half, JobEnd::Success);
    assert_eq!(on(&bench, much), "b");
    end(&mut bench, a, long, JobEnd::Success);
    assert_eq!(on(&bench, first), "a");
}

#[test]
fn an_arrays_window_holds_over_its_lanes() {
    let mut bench = Bench::new();
    let a = bench.worker("a", 2);
    let b = bench.worker("b", 1);
    let busy = bench.one(noop());
    let other = bench.one(noop());
    let array = ArraySpec { at_most: Some(1), ..ArraySpec::of(3) };
    let array = bench.one(TaskSpec { array: Some(array), ..retried() });
    let first = live(&bench, array);
    assert_eq!(on(&bench, array), "a");
    bench.say(a, FromWorker::Started(first));
    let failed_on_a = |bench: &mut Bench| {
        bench.finish(a, first, error("no"));
        pass(bench, &[a, b], Duration::from_secs(5));
    };
    failed_on_a(&mut bench);
    let second = live(&bench, array);
    bench.say(a, FromWorker::Started(second));
    let worker_of_busy = if on(&bench, busy) == "b" { busy } else { other };
    end(&mut bench, b, worker_of_busy, JobEnd::Success);
    // The first element waits for `b`, which has room, and the third for any: one of them may begin.
    bench.finish(a, second, JobEnd::Success);
    let alive = bench.tables.attempts.values().filter(|row| row.attempt.task.task == array && row.end.is_none());
    assert_eq!(alive.count(), 1);
}

#[test]
fn who_needs_several_slots_keeps_nobody_from_those_that_are_free() {
    let mut bench = Bench::new();
    bench.enrol("a");
    let mut hello = hello("a", "p1", 4);
    hello.prefetch = 8;
    bench.connect(hello);
    let long = bench.one(noop());
    let big = bench.one(of_slots(4));
    assert_eq!(bench.state(long), StateKind::Assigned);
    assert_eq!(bench.state(big), StateKind::Ready, "it is not given beforehand");
    let small = bench.one(noop());
    assert_eq!(bench.state(small), StateKind::Assigned);
    assert_eq!(reasons(&mut bench, small), [], "it begins at once");
}

fn named(name: &str) -> ResourceName {
    ResourceName::new(name).unwrap()
}

fn set_sticky(bench: &mut Bench, name: &str, sticky: Sticky) {
    let change = ResourceChange { capacity: Some(1), sticky: Some(sticky), ..ResourceChange::default() };
    bench.request(Request::SetResource { name: named(name), change }).unwrap();
}

fn locking(name: &str) -> TaskSpec {
    TaskSpec { resources: vec![Ask::Exclusive { name: named(name) }], ..noop() }
}

#[test]
fn a_sticky_resource_goes_to_the_worker_that_had_it_last_but_not_for_ever() {
    let mut bench = Bench::new();
    set_sticky(&mut bench, "repo", Sticky::Prefer);
    let a = bench.worker("a", 1);
    let first = bench.one(locking("repo"));
    end(&mut bench, a, first, JobEnd::Success);
    let b = bench.worker("b", 4);
    let second = bench.one(locking("repo"));
    assert_eq!(on(&bench, second), "a", "it has it warm");
    end(&mut bench, a, second, JobEnd::Success);
    let busy = bench.one(TaskSpec { requires: vec!["worker=a".parse().unwrap()], ..noop() });
    let third = bench.one(locking("repo"));
    assert_eq!(bench.state(third), StateKind::Ready, "`b` has room");
    let said = reasons(&mut bench, third);
    assert!(
        said.iter().any(|reason| matches!(reason, WaitReason::WarmOn { worker, .. } if worker.as_str() == "a")),
        "{said:?}"
    );
    pass(&mut bench, &[a, b], Duration::from_secs(35));
    assert_eq!(on(&bench, third), "b");
    end(&mut bench, b, third, JobEnd::Success);
    end(&mut bench, a, busy, JobEnd::Success);
    let fourth = bench.one(locking("repo"));
    assert_eq!(on(&bench, fourth), "b", "it is warm there now");
}

#[test]
fn a_worker_serves_one_resource_of_that_kind_at_a_time() {
    let mut bench = Bench::new();
    for name in ["north", "south"] {
        set_sticky(&mut bench, name, Sticky::Exclusive);
    }
    bench.worker("a", 4);
    let shared = |name: &str| TaskSpec { resources: vec![Ask::Shared { name: named(name) }], ..noop() };
    let north = [bench.one(shared("north")), bench.one(shared("north"))];
    let south = bench.one(shared("south"));
    assert_eq!(north.map(|task| bench.state(task)), [StateKind::Assigned; 2], "two of one go together");
    assert_eq!(bench.state(south), StateKind::Ready);
    let said = reasons(&mut bench, south);
    let by = vec![(WorkerName::new("a").unwrap(), named("north"))];
    assert!(said.contains(&WaitReason::RunsForAnother { workers: by }), "{said:?}");
    let plain = bench.one(noop());
    assert_eq!(bench.state(plain), StateKind::Assigned);
    bench.crash();
    let a = bench.connect(Hello { attempts: known(&bench), ..hello("a", "p1", 4) });
    assert_eq!(bench.state(south), StateKind::Ready, "after a take-over too");
    end(&mut bench, a, north[0], JobEnd::Success);
    assert_eq!(bench.state(south), StateKind::Ready);
    end(&mut bench, a, north[1], JobEnd::Success);
    assert_eq!(on(&bench, south), "a");
    let next = bench.one(shared("north"));
    assert_eq!(bench.state(next), StateKind::Ready);
    set_sticky(&mut bench, "south", Sticky::No);
    assert_eq!(bench.state(next), StateKind::Ready, "what runs was given so");
    end(&mut bench, a, south, JobEnd::Success);
    assert_eq!(on(&bench, next), "a");
}

/// What lives, as its worker would name it.
fn known(bench: &Bench) -> Vec<(AttemptRef, KnownAs)> {
    let live = bench.tables.attempts.values().filter(|row| row.end.is_none());
    live.map(|row| (row.attempt, KnownAs::Assigned)).collect()
}

#[test]
fn what_is_required_and_excluded_is_refused() {
    let mut bench = Bench::new();
    for (required, excluded) in [("os=linux", "os"), ("os=linux", "os=linux"), ("os", "os")] {
        let spec = TaskSpec { requires: vec![required.parse().unwrap()], ..placed(wishes(&[], &[], &[excluded])) };
        let refused = bench.submit_with(vec![new_task(spec)], None, DryRun::No);
        assert!(matches!(&refused, Err(refusal) if refusal.code == RefusalCode::Invalid), "{refused:?}");
    }
    let possible = TaskSpec { requires: vec!["os".parse().unwrap()], ..placed(wishes(&[], &[], &["os=old"])) };
    bench.one(possible);
}
