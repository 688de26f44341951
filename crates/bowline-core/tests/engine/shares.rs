//! Shares of the workers' time, among namespaces and among users of one.

use std::time::Duration;

use bowline_core::answer::Answer;
use bowline_core::explain::WaitReason;
use bowline_core::fair::NamespaceChange;
use bowline_core::id::{AttemptRef, SessionId, TaskId, TaskRef};
use bowline_core::input::Request;
use bowline_core::message::{FromWorker, JobEnd};
use bowline_core::name::Namespace;
use bowline_core::spec::{ArraySpec, TaskSpec};
use bowline_core::state::StateKind::{Assigned, Ready, Waiting};
use bowline_core::worker::Room;

use super::bench::{Bench, namespace, noop};
use super::fairness::{end, lock, room, set, states, submit_as, view};

const MINUTE: Duration = Duration::from_mins(1);

/// So many tasks of this user.
fn many(bench: &mut Bench, user: &str, of: &Namespace, count: u32, spec: &TaskSpec) -> Vec<TaskId> {
    (0..count).map(|_| submit_as(bench, user, of, spec.clone())).collect()
}

fn share(bench: &mut Bench, of: &Namespace, share: u32) {
    set(bench, of, NamespaceChange { share: Some(Some(share)), ..NamespaceChange::default() });
}

/// Who is given the one slot, so many times, where each holds it for this long.
fn turns(bench: &mut Bench, session: SessionId, times: usize, length: Duration) -> Vec<TaskId> {
    let mut turns = Vec::new();
    for _ in 0..times {
        let row = bench.tables.attempts.values().find(|row| row.end.is_none()).expect("somebody has the slot");
        let attempt = row.attempt;
        turns.push(attempt.task.task);
        bench.say(session, FromWorker::Started(attempt));
        let parts = 10;
        for _ in 0..parts {
            bench.pass(length / parts);
            bench.say(session, FromWorker::Heartbeat);
        }
        bench.finish(session, attempt, JobEnd::Success);
    }
    turns
}

#[test]
fn one_slot_goes_to_namespaces_by_their_shares_of_its_time() {
    let mut bench = Bench::new();
    let (one, three) = (room("one"), room("three"));
    share(&mut bench, &three, 3);
    let ones = many(&mut bench, "ada", &one, 40, &noop());
    many(&mut bench, "ada", &three, 40, &noop());
    let session = bench.worker("lab-1", 1);
    let told = turns(&mut bench, session, 40, Duration::from_secs(20));
    let had = told.iter().filter(|task| ones.contains(task)).count();
    assert!((9..=11).contains(&had), "a quarter of forty, and not {had}: {told:?}");
    let waiting = *ones.iter().rev().find(|task| bench.state(**task) == Ready).unwrap();
    let (own, other) = (view(&mut bench, &one).share.unwrap(), view(&mut bench, &three).share.unwrap());
    let is_their_turn = other.lead < own.lead;
    let told = explain_in(&mut bench, &one, waiting);
    let is_told =
        told.iter().any(|reason| matches!(reason, WaitReason::Share { namespace, .. } if *namespace == three));
    assert_eq!(is_told, is_their_turn, "{told:?}");
}

fn explain_in(bench: &mut Bench, of: &Namespace, task: TaskId) -> Vec<WaitReason> {
    match bench.request(Request::Explain { namespace: of.clone(), task: TaskRef::whole(task) }) {
        Ok(Answer::Explained(explained)) => explained.reasons,
        other => panic!("{other:?}"),
    }
}

#[test]
fn slots_that_are_free_at_once_are_divided_and_whoever_was_idle_does_not_save_up() {
    let mut bench = Bench::new();
    let (busy, idle) = (room("busy"), room("idle"));
    share(&mut bench, &busy, 1);
    many(&mut bench, "ada", &busy, 60, &noop());
    let session = bench.worker("lab-1", 1);
    turns(&mut bench, session, 30, MINUTE);
    let late = many(&mut bench, "bob", &idle, 30, &noop());
    let told = turns(&mut bench, session, 12, MINUTE);
    // One was under way.
    let had = told[1..].iter().filter(|task| late.contains(task)).count();
    assert!((5..=6).contains(&had), "half of them, and not the last half hour: {had} of {told:?}");
    bench.worker("lab-2", 10);
    let live: Vec<TaskId> =
        bench.tables.attempts.values().filter(|row| row.end.is_none()).map(|row| row.attempt.task.task).collect();
    let theirs = live.iter().filter(|task| late.contains(task)).count();
    assert!(live.len() == 11 && (4..=7).contains(&theirs), "{theirs} of {live:?}");
}

/// What this worker has.
fn live_on(bench: &Bench, session: SessionId) -> Vec<AttemptRef> {
    let live = bench.tables.attempts.values().filter(|row| row.end.is_none() && row.session == session);
    live.map(|row| row.attempt).collect()
}

/// It has done all of that.
fn end_all(bench: &mut Bench, session: SessionId) {
    for attempt in live_on(bench, session) {
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
    }
}

/// Seconds pass, and these workers are heard.
fn pass(bench: &mut Bench, heard: &[SessionId], seconds: u64) {
    for _ in 0..seconds {
        bench.pass(Duration::from_secs(1));
        for session in heard {
            bench.say(*session, FromWorker::Heartbeat);
        }
    }
}

/// How much of it is whose.
fn running_on<const N: usize>(bench: &Bench, session: SessionId, of: [&Namespace; N]) -> [usize; N] {
    let live = live_on(bench, session);
    of.map(|name| live.iter().filter(|attempt| bench.tables.tasks[&attempt.task.task].namespace == *name).count())
}

#[test]
fn what_is_kept_free_for_one_who_had_much_leaves_two_others_their_shares_whatever_their_tickets() {
    let mut bench = Bench::new();
    let (early, big, late) = (room("early"), room("big"), room("late"));
    share(&mut bench, &late, 3);
    let long = submit_as(&mut bench, "ada", &big, noop());
    many(&mut bench, "ada", &early, 100, &noop());
    let whole = submit_as(&mut bench, "ada", &big, TaskSpec { slots: 2, ..noop() });
    let lates = many(&mut bench, "ada", &late, 100, &noop());
    let session = bench.worker("lab-1", 2);
    let mut told = Vec::new();
    while told.len() < 60 {
        pass(&mut bench, &[session], 5);
        // At first the other slot is kept free: nobody is far behind yet.
        let own = live_on(&bench, session).into_iter().find(|attempt| attempt.task.task != long);
        let Some(own) = own else { continue };
        told.push(own.task.task);
        bench.say(session, FromWorker::Started(own));
        bench.finish(session, own, JobEnd::Success);
    }
    let had = told[20..].iter().filter(|task| lates.contains(task)).count();
    assert!((28..=32).contains(&had), "three of four, though they came after it: {had} of 40");
    // Once what it had is made up for, what is kept is its own.
    let long = live_on(&bench, session).into_iter().find(|attempt| attempt.task.task == long).unwrap();
    bench.finish(session, long, JobEnd::Success);
    let mut waited = 0;
    while bench.state(whole) == Ready && waited < 600 {
        pass(&mut bench, &[session], 5);
        waited += 5;
        end_all(&mut bench, session);
    }
    assert!((60..=500).contains(&waited), "it begins when others have had as much, after {waited} s");
}

#[test]
fn what_a_third_one_has_of_workers_of_its_own_changes_nothing_between_two() {
    let mut bench = Bench::new();
    let (one, three, other) = (room("one"), room("three"), room("other"));
    share(&mut bench, &three, 3);
    let own = TaskSpec { requires: vec!["worker=lab-2".parse().unwrap()], ..noop() };
    let common = TaskSpec { requires: vec!["worker=lab-1".parse().unwrap()], ..noop() };
    let ones = many(&mut bench, "ada", &one, 60, &common);
    many(&mut bench, "ada", &three, 60, &common);
    let many = TaskSpec { array: Some(ArraySpec::of(10_000)), ..own };
    submit_as(&mut bench, "ada", &other, many);
    let (session, theirs) = (bench.worker("lab-1", 1), bench.worker("lab-2", 10));
    let mut told = Vec::new();
    for _ in 0..40 {
        // All of its own are done, again and again.
        end_all(&mut bench, theirs);
        let attempt = live_on(&bench, session)[0];
        told.push(attempt.task.task);
        bench.say(session, FromWorker::Started(attempt));
        pass(&mut bench, &[session, theirs], 20);
        bench.finish(session, attempt, JobEnd::Success);
    }
    let had = told.iter().filter(|task| ones.contains(task)).count();
    assert!((9..=11).contains(&had), "a quarter of forty, and not {had}: {told:?}");
}

#[test]
fn whoever_waited_while_another_had_everything_is_given_what_was_due_to_it() {
    let mut bench = Bench::new();
    let (first, late) = (room("first"), room("late"));
    share(&mut bench, &first, 1);
    many(&mut bench, "ada", &first, 20, &noop());
    let session = bench.worker("lab-1", 4);
    // What it has had alone is its own.
    pass(&mut bench, &[session], 600);
    many(&mut bench, "bob", &late, 20, &noop());
    pass(&mut bench, &[session], 600);
    end_all(&mut bench, session);
    assert_eq!(running_on(&bench, session, [&first, &late]), [0, 4], "it waited for ten minutes");
    pass(&mut bench, &[session], 600);
    let leads = [&first, &late].map(|of| view(&mut bench, of).share.unwrap().lead.0.unsigned_abs());
    assert!(leads.iter().all(|lead| *lead <= 5_000_000), "ten and not twenty, but for starts: {leads:?}");
}

#[test]
fn a_worker_that_asks_for_nothing_at_the_moment_is_wanted_all_the_same() {
    let mut bench = Bench::new();
    let (one, three) = (room("one"), room("three"));
    share(&mut bench, &three, 3);
    let session = bench.worker("lab-1", 2);
    submit_as(&mut bench, "ada", &one, noop());
    bench.say(session, FromWorker::Demand { attempts_max: 1, room: Room { slots: 0, ..Room::default() } });
    for of in [&one, &three] {
        for _ in 0..8 {
            submit_as(&mut bench, "ada", of, noop());
        }
    }
    pass(&mut bench, &[session], 4);
    let leads = [&one, &three].map(|of| view(&mut bench, of).share.unwrap().lead.0);
    assert!(leads[0] > 0 && leads[1] < 0, "what runs is due to both: {leads:?}");
}

#[test]
fn what_somebody_is_ahead_by_is_forgotten_while_he_has_nothing_on_a_worker() {
    let mut bench = Bench::new();
    let (first, late) = (room("first"), room("late"));
    share(&mut bench, &first, 1);
    let own = [(); 2].map(|()| submit_as(&mut bench, "ada", &first, noop()));
    let session = bench.worker("lab-1", 2);
    let waits = submit_as(&mut bench, "bob", &late, noop());
    let lead = |bench: &mut Bench, of: &Namespace| view(bench, of).share.unwrap().lead.0 / 1_000_000;
    pass(&mut bench, &[session], 300);
    assert_eq!([&first, &late].map(|of| lead(&mut bench, of)), [299, -299], "half of two slots was due to either");
    for task in own.into_iter().chain([waits]) {
        end(&mut bench, session, task, JobEnd::Success);
    }
    // Whoever wants nothing is behind by a minute at most, and that for no longer.
    pass(&mut bench, &[session], 30);
    let told = [&first, &late].map(|of| lead(&mut bench, of));
    assert!((268..=280).contains(&told[0]) && (-41..=-28).contains(&told[1]), "{told:?}");
    pass(&mut bench, &[session], 300);
    assert_eq!([&first, &late].map(|of| lead(&mut bench, of)), [0, 0]);
}

#[test]
fn users_of_a_namespace_have_shares_of_their_own_from_the_moment_they_are_set() {
    let mut bench = Bench::new();
    let own = namespace();
    let bobs = many(&mut bench, "bob", &own, 40, &noop());
    many(&mut bench, "eve", &own, 40, &noop());
    let shares = [("eve".to_owned(), Some(3))].into();
    set(&mut bench, &own, NamespaceChange { user_shares: shares, ..NamespaceChange::default() });
    bench.crash();
    let session = bench.worker("lab-1", 1);
    let told = turns(&mut bench, session, 20, Duration::from_secs(20));
    let had = told.iter().filter(|task| bobs.contains(task)).count();
    assert!((4..=6).contains(&had), "a quarter of twenty, and not {had}: {told:?}");
    let none = [("eve".to_owned(), None)].into();
    set(&mut bench, &own, NamespaceChange { user_shares: none, ..NamespaceChange::default() });
    let told = turns(&mut bench, session, 10, Duration::from_secs(20));
    assert!(told[1..].iter().all(|task| bobs.contains(task)), "by ticket again: {told:?}");
}

#[test]
fn shares_do_not_change_the_order_of_a_line() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let rich = room("rich");
    share(&mut bench, &rich, 1_000);
    let spec = || TaskSpec { resources: vec![lock("A")], ..noop() };
    let tasks = [(); 3].map(|()| bench.one(spec()));
    let last = submit_as(&mut bench, "ada", &rich, TaskSpec { priority: 1_000, ..spec() });
    for task in tasks {
        assert_eq!(states(&bench, [task, last]), [Assigned, Waiting]);
        end(&mut bench, session, task, JobEnd::Success);
    }
    assert_eq!(bench.state(last), Assigned);
}
