//! Sessions, keys, arrays and verbs, each on its own.

use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode, Replayed};
use bowline_core::id::TaskRef;
use bowline_core::input::{DryRun, IdempotencyKey, RunVerb, TaskVerb};
use bowline_core::message::{FromWorker, JobEnd, KnownAs, StopWhy, ToWorker, Verdict};
use bowline_core::run::RunState;
use bowline_core::spec::{Action, ArraySpec, Condition, Dependency, Work};
use bowline_core::state::StateKind;
use bowline_core::worker::Health;

use super::bench::{Bench, Pace, hello, new_task, node, noop};

#[test]
fn what_was_never_journaled_is_given_back_with_its_ticket() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 1);
    let task = bench.one(noop());
    let ticket = bench.tables.tasks[&task].ticket;
    let session = bench.connect(hello("lab-1", "p1", 1));
    assert_eq!(bench.tables.tasks[&task].ticket, ticket);
    let again = bench.assigned();
    assert_eq!(again.last().map(|assign| (assign.session, assign.attempt.fence.attempt.0)), Some((session, 2)));
    assert!(bench.tables.history.iter().any(|line| line.what == "given_back"));
}

#[test]
fn a_worker_that_says_hello_unfit_is_handed_nothing_before_it_is_well() {
    let mut bench = Bench::new();
    let mut hello = hello("lab-1", "p1", 1);
    hello.health = Health::Broken("its disk is full".to_owned());
    bench.enrol("lab-1");
    let session = bench.connect(hello);
    bench.one(noop());
    assert_eq!(bench.assigned(), []);
    let why = bench.tables.history.iter().filter(|line| line.what == "broken").count();
    assert_eq!(why, 1, "its history tells why");
    bench.say(session, FromWorker::Health(Health::Ok));
    assert_eq!(bench.assigned().len(), 1);
}

#[test]
fn a_running_attempt_goes_on_after_the_worker_and_the_server_restart() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let task = bench.one(noop());
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    bench.crash();
    let mut hello = hello("lab-1", "p2", 1);
    hello.attempts = vec![(attempt, KnownAs::Running)];
    let session = bench.connect(hello);
    let verdicts = bench.sent(session, |message| match message {
        ToWorker::Welcome { verdicts, incarnation, .. } => Some((verdicts.clone(), incarnation.0)),
        _ => None,
    });
    assert_eq!(verdicts, vec![(vec![(attempt, Verdict::Continue)], 2)]);
    bench.finish(session, attempt, JobEnd::Success);
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(bench.state(task), StateKind::Succeeded);
    let ends = bench.tables.history.iter().filter(|line| line.what == "succeeded").count();
    assert_eq!(ends, 1, "I8: sent twice, applied once");
    let acks = bench.sent(session, |message| matches!(message, ToWorker::Ack { .. }).then_some(()));
    assert_eq!(acks.len(), 2, "I8: and acknowledged each time");
}

#[test]
fn an_older_process_is_fenced_and_another_folder_waits() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 1);
    bench.one(noop());
    let mut elsewhere = hello("lab-1", "p2", 1);
    elsewhere.seat.state_dir = "another".into();
    let session = bench.connect(elsewhere);
    assert_eq!(bench.sent(session, |m| matches!(m, ToWorker::TryLater { .. }).then_some(())).len(), 1);
    bench.connect(hello("lab-1", "p2", 1));
    let mut old = hello("lab-1", "p1", 1);
    old.incarnation.0 = 1;
    let session = bench.connect(old);
    assert_eq!(bench.sent(session, |m| matches!(m, ToWorker::Fenced { .. }).then_some(())).len(), 1);
}

#[test]
fn of_two_processes_of_one_folder_the_later_one_is_the_newer_whatever_their_numbers() {
    let mut bench = Bench::new();
    let at = |process: &str, incarnation: u32, seconds: u64| {
        let mut hello = hello("lab-1", process, 1);
        hello.incarnation.0 = incarnation;
        hello.seat.said_at = Some(Duration::from_secs(seconds));
        hello
    };
    bench.worker("lab-1", 1);
    bench.connect(at("p2", 0, 10));
    let task = bench.one(noop());
    assert_eq!(bench.state(task), StateKind::Assigned);
    // The store was put back, a new process was given the same number, and the store was put to where it is now.
    let session = bench.connect(at("p3", 2, 20));
    let welcomed = bench.sent(session, |m| matches!(m, ToWorker::Welcome { .. }).then_some(()));
    assert_eq!(welcomed.len(), 1);
    // It knows nothing of what the earlier one had.
    assert_eq!(bench.tables.attempts.values().filter(|row| row.end.is_none() && row.session != session).count(), 0);
}

#[test]
fn a_cancel_waits_for_the_report_and_stands_against_a_success() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let task = bench.one(noop());
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    assert_eq!(bench.cancel(TaskRef::whole(task)), Ok(StateKind::Stopping));
    let why = bench.sent(session, |m| if let ToWorker::Cancel { why, .. } = m { Some(*why) } else { None });
    assert_eq!(why, vec![StopWhy::Cancel]);
    bench.one(noop());
    assert!(bench.assigned().is_empty(), "the slot is held until no process is left");
    bench.finish(session, attempt, JobEnd::Success);
    assert_eq!(bench.state(task), StateKind::Cancelled, "I10");
    assert_eq!(bench.assigned().len(), 1, "then it passes on");
    assert_eq!(bench.verb(TaskRef::whole(task), TaskVerb::Retry), Ok(StateKind::Ready));
}

#[test]
fn a_key_makes_its_tasks_once_across_a_take_over() {
    let mut bench = Bench::new();
    let key = |body| Some(IdempotencyKey { key: "k".into(), body: [body; 32] });
    let first = bench.submit_with(vec![new_task(noop())], key(1), DryRun::No).unwrap();
    bench.crash();
    let again = bench.submit_with(vec![new_task(noop())], key(1), DryRun::No).unwrap();
    match (first, again) {
        (Answer::Submitted { tasks: one, .. }, Answer::Submitted { tasks: other, replayed, .. }) => {
            assert_eq!((one, replayed), (other, Replayed::Yes));
        }
        other => panic!("{other:?}"),
    }
    let refusal = bench.submit_with(vec![new_task(noop())], key(2), DryRun::No).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::KeyReused);
    assert_eq!(bench.tables.tasks.len(), 1);
}

#[test]
fn a_million_elements_cost_those_that_were_started() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let mut spec = noop();
    spec.array = Some(ArraySpec { first: 0, count: 1_000_000, step: 1, at_most: Some(3) });
    let task = bench.one(spec);
    let attempts = bench.assigned();
    assert_eq!(attempts.len(), 3, "the window");
    bench.finish(session, attempts[0].attempt, JobEnd::Success);
    assert_eq!(bench.assigned().len(), 1);
    assert_eq!(bench.tables.elements.len(), 4);
    bench.cancel(TaskRef::whole(task)).unwrap();
    assert_eq!(bench.tables.elements.len(), 4, "the rest costs no row");
    assert_eq!(bench.tables.tasks[&task].array.unwrap().cancelled, 999_996);
}

#[test]
fn limits_delays_and_dependencies_lead_on_by_themselves() {
    let mut bench = Bench::new();
    let mut spec = noop();
    spec.delay = Some(bowline_core::time::Span::secs(5));
    spec.timeouts.queue = Some(bowline_core::time::Span::secs(10));
    let first = bench.one(spec);
    let mut spec = noop();
    spec.after = vec![Dependency { task: TaskRef::whole(first), on: Condition::Ok }];
    let second = bench.one(spec);
    assert_eq!((bench.state(first), bench.state(second)), (StateKind::Scheduled, StateKind::Blocked));
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.state(first), StateKind::Ready);
    bench.pass(Duration::from_secs(10));
    assert_eq!((bench.state(first), bench.state(second)), (StateKind::Failed, StateKind::Skipped));
}

#[test]
fn a_wait_is_held_by_the_server_and_a_run_can_be_cancelled_and_retried() {
    let mut bench = Bench::new();
    let run = bench.start_run(vec![node("ask", &[]), node("then", &[(0, Condition::Ok)])]);
    let wait = || {
        bowline_core::input::Evaluation::Task(Box::new(new_task({
            let mut spec = noop();
            spec.work = Work::new(Action::Wait);
            spec
        })))
    };
    let due = bench.due()[0];
    bench.evaluated(due, wait());
    bench.run_verb(run, RunVerb::Cancel).unwrap();
    assert_eq!(bench.tables.runs[&run].state, RunState::Cancelled);
    bench.run_verb(run, RunVerb::Retry).unwrap();
    let due = bench.due()[0];
    bench.evaluated(due, wait());
    bench.crash();
    let task = *bench.tables.tasks.keys().last().unwrap();
    assert_eq!(bench.complete(TaskRef::whole(task)), Ok(StateKind::Succeeded));
    assert_eq!(bench.due().len(), 1, "the next step is due");
}

#[test]
fn what_was_committed_after_a_fact_was_read_is_not_forgotten_before_the_fact_is_used() {
    let mut bench = Bench::new();
    bench.pace = Pace::Lagging;
    let key = || Some(IdempotencyKey { key: "once".into(), body: [1; 32] });
    for _ in 0..2 {
        drop(bench.submit_with(vec![new_task(noop())], key(), DryRun::No));
    }
    // Both are read before either is done; the first is durable when the second comes.
    for what in [1, 1, 2, 0, 0, 0, 2] {
        bench.go_on(what);
    }
    bench.catch_up();
    assert_eq!(bench.tables.tasks.len(), 1, "the second is the first again");
}

#[test]
fn a_key_that_was_never_used_is_not_looked_for_and_one_that_was_is() {
    let mut bench = Bench::new();
    let submit = |bench: &mut Bench, name: &str| {
        let key = Some(IdempotencyKey { key: name.into(), body: [1; 32] });
        bench.pace = Pace::Lagging;
        drop(bench.submit_with(vec![new_task(noop())], key, DryRun::No));
        let reads = bench.reads();
        bench.catch_up();
        reads
    };
    submit(&mut bench, "of the last leadership");
    bench.crash();
    assert_eq!(submit(&mut bench, "of this one"), 0);
    assert_eq!(bench.tables.tasks.len(), 2);
    for name in ["of the last leadership", "of this one"] {
        assert_eq!(submit(&mut bench, name), 1, "{name}: it has left memory");
    }
    assert_eq!(bench.tables.tasks.len(), 2);
}

#[test]
fn what_retention_is_removing_is_not_brought_back_to_life_and_is_forgotten_afterwards() {
    let mut bench = Bench::new();
    let task = bench.one(noop());
    bench.cancel(TaskRef::whole(task)).unwrap();
    // It comes back into memory, as somebody looks at it.
    bench.crash();
    bench.verb(TaskRef::whole(task), TaskVerb::Pause).unwrap_err();
    bench.engine.sweeping(bench.now);
    for verb in [TaskVerb::Retry, TaskVerb::Delete] {
        assert_eq!(bench.verb(TaskRef::whole(task), verb).unwrap_err().code, RefusalCode::Busy);
    }
    bench.tables.tasks.remove(&task);
    bench.engine.swept(&[task], &[]);
    assert_eq!(bench.verb(TaskRef::whole(task), TaskVerb::Retry).unwrap_err().code, RefusalCode::NotFound);
    bench.one(noop());
}
