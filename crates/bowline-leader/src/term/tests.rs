//! One leadership by hand: no thread, no clock, a store only where a batch is to be made durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::id::{CommitNo, Generation, Incarnation, TaskId};
use bowline_core::input::{DryRun, Fact, IdempotencyKey, NewTask, Request, Strict, Submit};
use bowline_core::message::Hello;
use bowline_core::name::{Actor, Namespace, WorkerName};
use bowline_core::spec::{Action, TaskSpec, Work};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_store::{CommitError, MemoryStore, StoreError};

use super::*;
use crate::commit::{Durable, commit};
use crate::config::REQUESTS_MAX;
use crate::take_over::take_over;

const START: Timestamp = Timestamp(1_000_000_000);

/// A leadership over an empty store, settled.
fn leading() -> (Term, MemoryStore) {
    let mut store = MemoryStore::new();
    (leading_over(&mut store), store)
}

/// The next leadership over this store, settled.
fn leading_over(store: &mut MemoryStore) -> Term {
    let config = LeaderConfig { seed: Some(1), ..LeaderConfig::default() };
    let taken = take_over(store, START, &config).unwrap();
    let mut term = Term::begin(taken, config, Arc::new(Counters::default()), START);
    term.turn(START);
    assert!(term.take_outputs().is_empty() && !term.is_unsettled());
    term
}

fn at(ms: u64) -> Timestamp {
    START.plus(Duration::from_millis(ms))
}

fn submit(term: &mut Term, now: Timestamp) {
    submit_under(term, now, None);
}

fn submit_under(term: &mut Term, now: Timestamp, key: Option<&str>) {
    let spec = Arc::new(TaskSpec::new(Work::new(Action::Wait)));
    let new = NewTask { spec, elements: Arc::default(), after_earlier: Vec::new() };
    let submit = Submit {
        namespace: Namespace::default(),
        tasks: vec![new],
        key: key.map(|key| IdempotencyKey { key: key.to_owned(), body: [0; 32] }),
        dry_run: DryRun::No,
        strict: Strict::No,
    };
    ask(term, now, Request::Submit(submit));
}

fn ask(term: &mut Term, now: Timestamp, request: Request) {
    term.request(now, Actor::new("ada"), request).unwrap();
}

/// What is to be done now, where exactly one batch is.
fn batch(term: &mut Term, now: Timestamp) -> (Timestamp, bowline_core::Batch) {
    term.turn(now);
    let mut outputs = term.take_outputs();
    match (outputs.pop(), outputs.is_empty()) {
        (Some(Output::Commit { now, batch }), true) => (now, batch),
        (other, _) => panic!("{outputs:?}, {other:?}"),
    }
}

fn land(term: &mut Term, store: &mut MemoryStore, (now, batch): (Timestamp, bowline_core::Batch)) {
    let Durable { commit_no, events, gone } = commit(store, term.leadership().epoch, now, batch).unwrap();
    term.committed(commit_no, events, gone);
}

/// A term whose last commit began at 10 ms and is done, so that what comes within 2 ms of that is gathered.
fn has_just_committed() -> Term {
    let (mut term, mut store) = leading();
    commit_one(&mut term, &mut store, None);
    term
}

/// A task is submitted at 10 ms, and durable.
fn commit_one(term: &mut Term, store: &mut MemoryStore, key: Option<&str>) {
    submit_under(term, at(10), key);
    let first = batch(term, at(10));
    land(term, store, first);
    term.turn(at(10));
    drop(term.take_outputs());
}

fn hello(seen: Option<(Generation, CommitNo)>) -> Box<Hello> {
    Box::new(Hello {
        name: WorkerName::new("w").unwrap(),
        pool: None,
        incarnation: Incarnation(0),
        seat: Seat { boot_id: "b".to_owned(), state_dir: "d".to_owned(), process: "p".to_owned(), said_at: None },
        version: "1".to_owned(),
        offer: Offer { capabilities: BTreeMap::new(), actions: Vec::new(), room: Room::default() },
        prefetch: 0,
        health: Health::Ok,
        seen,
        attempts: Vec::new(),
    })
}

#[test]
fn an_answer_without_a_row_waits_for_the_batch_before_it() {
    let (mut term, mut store) = leading();
    submit(&mut term, at(10));
    let first = batch(&mut term, at(10));
    ask(&mut term, at(11), Request::Overview);
    term.turn(at(60));
    assert!(term.take_outputs().is_empty(), "nothing leaves while the batch before it is under way");
    land(&mut term, &mut store, first);
    term.turn(at(61));
    let outputs = term.take_outputs();
    assert!(
        matches!(
            &outputs[..],
            [
                Output::Reply { reply: Ok(Answer::Submitted { .. }), .. },
                Output::Durable { .. },
                Output::Reply { reply: Ok(Answer::Overview(_)), .. },
            ]
        ),
        "{outputs:?}"
    );
}

#[test]
fn a_lone_input_waits_for_nothing_and_the_next_one_is_gathered() {
    let mut term = has_just_committed();
    term.connect(at(11), hello(None), [1; 32]);
    term.turn(at(11));
    assert!(term.take_outputs().is_empty());
    assert_eq!(term.wake_at(at(11)), at(12), "2 ms after the last commit began");
    term.turn(at(12));
    assert!(!term.take_outputs().is_empty());
}

#[test]
fn who_asks_does_not_wait_for_others() {
    let mut term = has_just_committed();
    submit(&mut term, at(11));
    batch(&mut term, at(11));
    // Whoever asks now is gathered by the commit that is under way.
    submit(&mut term, at(11));
    submit(&mut term, at(11));
    term.turn(at(11));
    assert!(term.take_outputs().is_empty(), "one batch at a time");
}

#[test]
fn who_asks_under_a_key_does_not_wait_for_others_once_the_key_was_looked_for() {
    let (mut term, mut store) = leading();
    commit_one(&mut term, &mut store, Some("k"));
    // It is looked for by who leads next, and retention may have removed it meanwhile.
    let mut term = leading_over(&mut store);
    commit_one(&mut term, &mut store, None);
    submit_under(&mut term, at(11), Some("k"));
    term.turn(at(11));
    let park = |output: &Output| if let Output::Fetch { park, .. } = output { Some(*park) } else { None };
    let park = term.take_outputs().iter().find_map(park).expect("the key is looked for");
    term.facts(at(11), park, vec![Fact::Key(None)]);
    batch(&mut term, at(11));
}

#[test]
fn who_asks_under_a_key_that_was_never_used_waits_for_nothing() {
    let mut term = has_just_committed();
    submit_under(&mut term, at(11), Some("k"));
    batch(&mut term, at(11));
}

#[test]
fn after_a_failed_commit_nothing_leaves_but_the_end() {
    let (mut term, _store) = leading();
    submit(&mut term, at(10));
    batch(&mut term, at(10));
    ask(&mut term, at(11), Request::Overview);
    term.failed(&CommitError::Store(StoreError::new("committing", "no disk")));
    term.turn(at(12));
    let outputs = term.take_outputs();
    assert!(matches!(&outputs[..], [Output::End(End::Failed(why))] if why == "committing: no disk"), "{outputs:?}");
}

#[test]
fn a_worker_that_has_seen_more_ends_the_leadership_and_is_told_why() {
    let (mut term, _store) = leading();
    let seen = (Generation(1), CommitNo(9));
    let opened = term.connect(at(1), hello(Some(seen)), [1; 32]);
    assert_eq!(opened.worker, None);
    term.turn(at(1));
    let outputs = term.take_outputs();
    let [Output::Send { .. }, Output::Close { session }, Output::End(End::RolledBack { seen: told, .. })] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((*session, *told), (opened.session, seen));
}

#[test]
fn no_more_requests_wait_than_may() {
    let (mut term, _store) = leading();
    for _ in 0..REQUESTS_MAX {
        ask(&mut term, at(1), Request::Overview);
    }
    let refused = term.request(at(1), Actor::new("ada"), Request::Overview).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Busy);
    term.turn(at(2));
    assert_eq!(term.take_outputs().len(), REQUESTS_MAX);
    ask(&mut term, at(2), Request::Overview);
}

#[test]
fn retention_has_its_turn_when_nothing_waits() {
    let (mut term, _store) = leading();
    let due = START.plus(LeaderConfig::default().sweep_every);
    term.turn(due);
    let outputs = term.take_outputs();
    assert!(matches!(&outputs[..], [Output::Sweep { now, .. }] if *now == due), "{outputs:?}");
    submit(&mut term, due);
    term.turn(due);
    assert!(term.take_outputs().is_empty(), "one thing at a time is asked of the store");
    term.swept(due, bowline_store::Swept::default());
    batch(&mut term, due);
}

/// Lets retention have its turn. When, and how much it may remove.
fn sweep(term: &mut Term, at: Timestamp) -> usize {
    term.turn(at);
    match &term.take_outputs()[..] {
        [Output::Sweep { policy, .. }] => policy.batch_max,
        outputs => panic!("{outputs:?}"),
    }
}

#[test]
fn retention_that_is_behind_takes_more_at_a_time_while_that_takes_no_longer() {
    let (mut term, _store) = leading();
    let most = LeaderConfig::default().retention.batch_max;
    let (mut now, mut seen) = (START.plus(LeaderConfig::default().sweep_every), Vec::new());
    for millis in [1, 1, 1, 1, 1, 1, 80, 80, 1] {
        let taken = sweep(&mut term, now);
        seen.push(taken / most);
        now = now.plus(Duration::from_millis(millis));
        let tasks = (1..=taken as u64).map(TaskId).collect();
        term.swept(now, bowline_store::Swept { tasks, ..bowline_store::Swept::default() });
        now = term.wake_at(now);
        drop(term.take_outputs());
    }
    assert_eq!(seen, [1, 2, 4, 8, 16, 16, 16, 8, 4]);
    assert_eq!(sweep(&mut term, now), 8 * most);
    now = now.plus(Duration::from_millis(1));
    term.swept(now, bowline_store::Swept { events: 3, ..bowline_store::Swept::default() });
    drop(term.take_outputs());
    let next = term.wake_at(now);
    assert_eq!(sweep(&mut term, next), most, "it has caught up");
}

#[test]
fn retention_that_is_behind_has_half_of_the_time_and_waits_for_no_pause() {
    let (mut term, mut store) = leading();
    let due = START.plus(LeaderConfig::default().sweep_every);
    term.turn(due);
    assert!(matches!(term.take_outputs()[..], [Output::Sweep { .. }]));
    let most = LeaderConfig::default().retention.batch_max;
    let full = bowline_store::Swept { tasks: vec![TaskId(1); most], ..bowline_store::Swept::default() };
    let back = due.plus(Duration::from_millis(30));
    term.swept(back, full);
    drop(term.take_outputs());
    let again = back.plus(Duration::from_millis(30));
    assert_eq!(term.wake_at(back), again, "it took 30 ms, and others have as much");
    // Under load it does not wait for a moment without any.
    submit(&mut term, again);
    let under_way = batch(&mut term, again);
    submit(&mut term, again);
    land(&mut term, &mut store, under_way);
    term.turn(again);
    let outputs = term.take_outputs();
    assert!(outputs.iter().any(|output| matches!(output, Output::Sweep { .. })), "{outputs:?}");
}
