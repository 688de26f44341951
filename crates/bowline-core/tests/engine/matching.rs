//! Who is given what, and what is said to those who wait.

use bowline_core::explain::{AHEAD_MAX, WaitReason};
use bowline_core::id::TaskRef;
use bowline_core::input::Request;
use bowline_core::message::{FromWorker, JobEnd, Paused};
use bowline_core::name::Key;
use bowline_core::spec::Requirement;
use bowline_core::state::StateKind;
use bowline_core::worker::Room;

use super::bench::{Bench, hello, namespace, new_task, noop};
use super::checks::explain;

#[test]
fn amounts_up_to_the_largest_number_are_not_used_twice() {
    let mut bench = Bench::new();
    bench.enrol("lab-1");
    let mut hello = hello("lab-1", "p1", 4);
    let credits = Key::new("credits").unwrap();
    hello.prefetch = 4;
    hello.offer.room.amounts.insert(credits.clone(), u64::MAX);
    bench.connect(hello);
    let mut spec = noop();
    spec.amounts.insert(credits, u64::MAX);
    let tasks = bench.submit(vec![new_task(spec.clone()), new_task(spec)]);
    assert_eq!(bench.state(tasks[0]), StateKind::Assigned);
    assert_eq!(bench.state(tasks[1]), StateKind::Ready, "I4");
}

#[test]
fn who_waits_for_a_worker_that_takes_no_more_attempts_is_told_so() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let room = Room { slots: 4, ..Room::default() };
    bench.say(session, FromWorker::Demand { attempts_max: 1, room });
    let tasks = bench.submit(vec![new_task(noop()), new_task(noop())]);
    assert_eq!(bench.state(tasks[1]), StateKind::Ready);
    let reasons = explain(&mut bench, TaskRef::whole(tasks[1])).unwrap().reasons;
    let [WaitReason::NoRoom { workers, .. }] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert_eq!(workers[0].short_of, [(Key::new("attempts").unwrap(), 1, 0, 1)]);
    assert_eq!(workers[0].held_by.len(), 1);
}

#[test]
fn who_is_held_beyond_the_slots_is_told_who_has_them() {
    let mut bench = Bench::new();
    bench.enrol("lab-1");
    let mut hello = hello("lab-1", "p1", 1);
    hello.prefetch = 4;
    bench.connect(hello);
    let tasks = bench.submit(vec![new_task(noop()), new_task(noop())]);
    assert_eq!(bench.state(tasks[1]), StateKind::Assigned);
    assert_eq!(explain(&mut bench, TaskRef::whole(tasks[0])).unwrap().reasons, []);
    let reasons = explain(&mut bench, TaskRef::whole(tasks[1])).unwrap().reasons;
    let [WaitReason::NoRoom { workers, .. }] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert_eq!(workers[0].short_of, [(Key::new("slots").unwrap(), 1, 0, 1)]);
}

#[test]
fn those_ahead_are_counted_to_a_bound() {
    let mut bench = Bench::new();
    let most = usize::try_from(AHEAD_MAX).unwrap();
    let tasks = bench.submit((0..most + 10).map(|_| new_task(noop())).collect());
    for (place, ahead) in [(1, 1), (most - 1, AHEAD_MAX - 1), (most + 9, AHEAD_MAX)] {
        let reasons = explain(&mut bench, TaskRef::whole(tasks[place])).unwrap().reasons;
        assert_eq!(reasons.last(), Some(&WaitReason::Behind { ahead }));
    }
}

#[test]
fn whatever_gives_room_has_everybody_looked_at_who_waits() {
    let mut bench = Bench::new();
    let mut gpu = noop();
    gpu.requires.push(Requirement { key: Key::new("gpu").unwrap(), value: None });
    let only_gpu = bench.one(gpu);
    let session = bench.worker("lab-1", 1);
    let namespaced = Request::Pause { namespace: Some(namespace()), paused: Paused::Yes };
    bench.request(namespaced).unwrap();
    let first = bench.one(noop());
    bench.say(session, FromWorker::Heartbeat);
    assert_eq!(bench.state(first), StateKind::Ready, "its namespace is paused");
    bench.request(Request::Pause { namespace: Some(namespace()), paused: Paused::No }).unwrap();
    assert_eq!(bench.state(first), StateKind::Assigned, "the resume is enough");
    let second = bench.one(noop());
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(bench.state(second), StateKind::Assigned, "the end of another is enough");
    bench.enrol("lab-2");
    let mut able = hello("lab-2", "p1", 1);
    able.offer.capabilities.insert(Key::new("gpu").unwrap(), None);
    bench.connect(able);
    assert_eq!(bench.state(only_gpu), StateKind::Assigned, "a new worker is enough");
}

/// As the door makes them of equal documents: of each but the first nothing is understood anew.
#[test]
fn tasks_with_one_description_are_tasks_of_their_own() {
    let mut bench = Bench::new();
    let one = new_task(noop());
    let other = new_task(bowline_core::spec::TaskSpec { priority: 5, ..noop() });
    let nobody = bench.submit(vec![one.clone(), one.clone(), other.clone(), other, one.clone()]);
    bench.worker("lab-1", 2);
    // The higher priority comes first, then who came first.
    let states: Vec<StateKind> = nobody.iter().map(|task| bench.state(*task)).collect();
    let (given, waits) = (StateKind::Assigned, StateKind::Ready);
    assert_eq!(states, [waits, waits, given, given, waits]);
    bench.worker("lab-2", 3);
    let more = bench.submit(vec![one.clone(), one]);
    assert!(nobody.iter().all(|task| bench.state(*task) == given), "all of them are in one line");
    assert!(more.iter().all(|task| bench.state(*task) == waits));
}
