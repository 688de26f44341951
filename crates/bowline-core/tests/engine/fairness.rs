//! Fairness: what priority is worth; keys, rates, quotas and shares.

use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::explain::{AsideWhy, WaitReason};
use bowline_core::fair::{Concurrency, NamespaceChange, NamespaceView, Rate, Rule};
use bowline_core::id::{ReplyTo, SessionId, TaskId, TaskRef};
use bowline_core::input::{DryRun, Input, Request, Strict, Submit, TaskVerb};
use bowline_core::message::{FromWorker, JobEnd};
use bowline_core::name::{Actor, Namespace, ResourceName};
use bowline_core::resource::{Ask, ResourceChange};
use bowline_core::spec::{ArraySpec, Condition, Dependency, RetryPolicy, TaskSpec};
use bowline_core::state::{Outcome, StateKind};
use bowline_core::time::Span;

use super::bench::{Bench, error, namespace, new_task, noop};
use super::checks::explain;
use super::limits::key;

const MINUTE: Duration = Duration::from_mins(1);

fn level(priority: i32) -> TaskSpec {
    TaskSpec { priority, ..noop() }
}

/// Ends the newest attempt of a task that its worker has.
pub(crate) fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let live = bench.tables.attempts.values().find(|row| row.attempt.task.task == task && row.end.is_none());
    let attempt = live.map(|row| row.attempt).expect("an attempt of it lives");
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, how);
}

/// The order in which the one slot of a worker gets to these.
fn order<const N: usize>(bench: &mut Bench, session: SessionId, tasks: [TaskId; N]) -> [TaskId; N] {
    tasks.map(|_| {
        let running = tasks.iter().find(|task| bench.state(**task) == Assigned);
        let running = *running.expect("one of them is under way");
        end(bench, session, running, JobEnd::Success);
        running
    })
}

#[test]
fn a_level_of_priority_goes_before_what_came_ten_minutes_earlier_and_no_more() {
    let mut bench = Bench::new();
    let old = bench.one(level(0));
    bench.pass(MINUTE * 9);
    let urgent = bench.one(level(1));
    let low = bench.one(level(-2));
    bench.pass(MINUTE * 2);
    let too_late = bench.one(level(1));
    let second = bench.one(level(1));
    bench.pass(MINUTE * 17);
    let later = bench.one(level(0));
    let session = bench.worker("lab-1", 1);
    let all = [old, urgent, low, too_late, second, later];
    // Counted from when they came: urgent -1, old 0, too_late and second 1, later 28, low 29.
    assert_eq!(order(&mut bench, session, all), [urgent, old, too_late, second, later, low]);
}

#[test]
fn a_retry_and_a_take_over_keep_the_place_that_priority_gave() {
    let mut bench = Bench::new();
    let mut again = level(3);
    again.retry.extra = 1;
    let first = bench.one(again);
    let session = bench.worker("lab-1", 1);
    end(&mut bench, session, first, error("no luck"));
    bench.apply(Input::Disconnected { session });
    bench.pass(MINUTE * 25);
    // It came 25 minutes after the first, and is worth ten less.
    let second = bench.one(level(2));
    let third = bench.one(level(7));
    for crash in [false, true] {
        if crash {
            bench.crash();
        }
        assert_eq!(bench.state(first), Ready);
    }
    let session = bench.worker("lab-2", 1);
    assert_eq!(order(&mut bench, session, [first, second, third]), [third, first, second]);
}

use StateKind::{Assigned, Cancelled, Ready, Skipped, Stopping, Waiting};

fn under(of: &str, rule: Rule) -> TaskSpec {
    TaskSpec { concurrency: Some(Concurrency { key: key(of), rule }), ..noop() }
}

fn often(of: &str, count: u32, per: u64) -> TaskSpec {
    TaskSpec { rate: Some(Rate { key: key(of), count, per: Span::secs(per) }), ..noop() }
}

pub(crate) fn states<const N: usize>(bench: &Bench, tasks: [TaskId; N]) -> [StateKind; N] {
    tasks.map(|task| bench.state(task))
}

fn reasons(bench: &mut Bench, task: TaskId) -> Vec<WaitReason> {
    explain(bench, TaskRef::whole(task)).unwrap().reasons
}

pub(crate) fn set(bench: &mut Bench, name: &Namespace, change: NamespaceChange) -> NamespaceView {
    match bench.request(Request::SetNamespace { name: name.clone(), change }) {
        Ok(Answer::Namespace(view)) => *view,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn view(bench: &mut Bench, name: &Namespace) -> NamespaceView {
    match bench.request(Request::Namespace { name: name.clone() }) {
        Ok(Answer::Namespace(view)) => *view,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn room(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

pub(crate) fn submit_as(bench: &mut Bench, user: &str, of: &Namespace, spec: TaskSpec) -> TaskId {
    let submit = Submit {
        namespace: of.clone(),
        tasks: vec![new_task(spec)],
        key: None,
        dry_run: DryRun::No,
        strict: Strict::No,
    };
    let task = bench.tables.counters.task;
    bench.apply(Input::Request { reply: ReplyTo(77), actor: Actor::new(user), request: Request::Submit(submit) });
    task
}

pub(crate) fn lock(of: &str) -> Ask {
    Ask::Exclusive { name: ResourceName::new(of).unwrap() }
}

#[test]
fn at_most_so_many_under_a_key_are_at_work_first_come_first_served() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let all = [(); 5].map(|()| bench.one(under("k", Rule::AtMost(2))));
    let other = bench.one(under("else", Rule::AtMost(1)));
    assert_eq!(states(&bench, all), [Assigned, Assigned, Waiting, Waiting, Waiting]);
    assert_eq!(bench.state(other), Assigned, "keys are apart");
    let told = reasons(&mut bench, all[3]);
    let [WaitReason::Aside { why: AsideWhy::Concurrency { key: of, at_most: Some(2), holders, more: 0, .. }, .. }] =
        told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert_eq!((of, holders[0].0, holders.len()), (&key("k"), TaskRef::whole(all[0]), 2));
    end(&mut bench, session, all[1], JobEnd::Success);
    assert_eq!(states(&bench, all)[2..], [Assigned, Waiting, Waiting]);
    bench.crash();
    assert_eq!(states(&bench, all)[2..], [Assigned, Waiting, Waiting]);
    // The newest says how many.
    let newest = bench.one(under("k", Rule::AtMost(4)));
    assert_eq!(states(&bench, [all[3], all[4], newest]), [Ready, Ready, Waiting]);
    bench.cancel(TaskRef::whole(all[3])).unwrap();
    assert_eq!(bench.state(newest), Ready);
}

#[test]
fn who_stands_aside_for_a_key_delays_nobody_in_the_line_of_a_lock() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(under("k", Rule::AtMost(1)));
    let both = bench.one(TaskSpec { resources: vec![lock("A")], ..under("k", Rule::AtMost(1)) });
    let behind = bench.one(TaskSpec { resources: vec![lock("A")], ..noop() });
    assert_eq!(states(&bench, [first, both, behind]), [Assigned, Waiting, Assigned]);
    let third = bench.one(under("k", Rule::AtMost(1)));
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(
        states(&bench, [both, third]),
        [Waiting, Waiting],
        "its turn under the key is kept while it waits for A"
    );
    end(&mut bench, session, behind, JobEnd::Success);
    assert_eq!(states(&bench, [both, third]), [Assigned, Waiting]);
    end(&mut bench, session, both, JobEnd::Success);
    assert_eq!(bench.state(third), Assigned);
}

#[test]
fn a_key_is_not_held_between_a_failure_and_its_retry_and_the_ticket_is_kept() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let mut again = under("k", Rule::AtMost(1));
    again.retry.extra = 1;
    let first = bench.one(again);
    let second = bench.one(under("k", Rule::AtMost(1)));
    let third = bench.one(under("k", Rule::AtMost(1)));
    end(&mut bench, session, first, error("no luck"));
    assert_eq!(states(&bench, [second, third]), [Assigned, Waiting]);
    bench.pass(Duration::from_secs(3));
    end(&mut bench, session, second, JobEnd::Success);
    assert_eq!(states(&bench, [first, third]), [Assigned, Waiting], "it came first");
}

#[test]
fn elements_of_an_array_count_each() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let mut spec = under("k", Rule::AtMost(2));
    spec.array = Some(ArraySpec::of(5));
    let array = bench.one(spec);
    let mut ended = 0;
    while bench.state(array) != StateKind::Succeeded {
        let live: Vec<_> = bench.tables.attempts.values().filter(|row| row.end.is_none()).collect();
        assert!((1..=2).contains(&live.len()), "{live:?}");
        let attempt = live[0].attempt;
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
        ended += 1;
    }
    assert_eq!(ended, 5);
}

#[test]
fn the_newest_under_a_key_cancels_the_others_and_never_runs_beside_them() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(under("k", Rule::NewestWins));
    let second = bench.one(under("k", Rule::NewestWins));
    assert_eq!(states(&bench, [first, second]), [Stopping, Waiting]);
    let third = bench.one(under("k", Rule::NewestWins));
    assert_eq!(states(&bench, [first, second, third]), [Stopping, Cancelled, Waiting]);
    let told = reasons(&mut bench, third);
    let [WaitReason::Aside { why: AsideWhy::Concurrency { at_most: None, holders, .. }, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(holders[0].0, TaskRef::whole(first));
    let live = bench.tables.attempts.values().find(|row| row.end.is_none()).map(|row| row.attempt).unwrap();
    bench.finish(session, live, JobEnd::Stopped);
    assert_eq!(states(&bench, [first, third]), [Cancelled, Assigned]);
    // Whoever retries is the newest.
    bench.verb(TaskRef::whole(second), TaskVerb::Retry).unwrap();
    assert_eq!(states(&bench, [second, third]), [Waiting, Stopping]);
}

#[test]
fn whoever_replaces_what_it_depends_on_is_skipped() {
    let mut bench = Bench::new();
    let first = bench.one(TaskSpec { delay: Some(Span::secs(60)), ..under("k", Rule::NewestWins) });
    let after = vec![Dependency { task: TaskRef::whole(first), on: Condition::Ok }];
    let second = bench.one(TaskSpec { after, ..under("k", Rule::NewestWins) });
    assert_eq!(states(&bench, [first, second]), [Cancelled, Skipped]);
}

#[test]
fn who_comes_while_one_has_not_ended_is_skipped_and_told_for_whom() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(under("k", Rule::Drop));
    let second = bench.one(under("k", Rule::Drop));
    assert_eq!(states(&bench, [first, second]), [Assigned, Skipped]);
    let Some(Outcome::Skipped { message }) = &bench.tables.tasks[&second].unit.outcome else { panic!("skipped") };
    assert!(message.contains(&format!("task {first},")) && message.contains("`k`"), "{message}");
    let refused = bench.verb(TaskRef::whole(second), TaskVerb::Retry).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Conflict);
    end(&mut bench, session, first, JobEnd::Success);
    let third = bench.one(under("k", Rule::Drop));
    assert_eq!(bench.state(third), Assigned);
}

#[test]
fn what_is_kept_for_a_retry_is_not_lost_to_who_was_let_through_meanwhile() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let retries = RetryPolicy { extra: 1, ..RetryPolicy::default() };
    // It stood aside when the next one was granted the lock, and has stepped back to its earlier number.
    let other =
        bench.one(TaskSpec { delay: Some(Span(Duration::from_secs(1))), resources: vec![lock("web")], ..noop() });
    bench.verb(TaskRef::whole(other), TaskVerb::Pause).unwrap();
    bench.pass(Duration::from_secs(1));
    let first = bench.one(TaskSpec { resources: vec![lock("web")], retry: retries, ..under("k", Rule::AtMost(1)) });
    bench.verb(TaskRef::whole(other), TaskVerb::Resume).unwrap();
    let holder = bench.one(TaskSpec { resources: vec![lock("db")], ..noop() });
    let later = bench.one(TaskSpec { resources: vec![lock("db")], ..under("k", Rule::AtMost(1)) });
    end(&mut bench, session, first, error("no"));
    assert_eq!(states(&bench, [first, other, later]), [StateKind::Scheduled, Waiting, Waiting]);
    let told = reasons(&mut bench, later);
    assert!(matches!(told.as_slice(), [WaitReason::Resource { .. }]), "it was let through: {told:?}");
    bench.pass(Duration::from_secs(2));
    assert_eq!(states(&bench, [first, other, later]), [Assigned, Waiting, Waiting], "it kept what it held");
    end(&mut bench, session, first, JobEnd::Success);
    end(&mut bench, session, holder, JobEnd::Success);
    assert_eq!(states(&bench, [other, later]), [Assigned, Assigned]);
}

#[test]
fn who_may_begin_first_under_a_key_or_a_rate_is_told_by_name() {
    for spec in [under("k", Rule::AtMost(1)), often("r", 1, 10)] {
        let mut bench = Bench::new();
        let session = bench.worker("lab-1", 8);
        let holder = bench.one(TaskSpec { resources: vec![lock("db")], ..noop() });
        // It is let through first, and waits for the lock.
        let first = bench.one(TaskSpec { resources: vec![lock("db")], ..spec.clone() });
        let second = bench.one(spec);
        let told = reasons(&mut bench, second);
        let [WaitReason::Aside { why, .. }] = told.as_slice() else { panic!("{told:?}") };
        match why {
            AsideWhy::Concurrency { holders, first: named, .. } => {
                assert!(holders.is_empty());
                assert_eq!(named, &[TaskRef::whole(first)]);
            }
            AsideWhy::Rate { until: None, first: named, .. } => assert_eq!(named, &[TaskRef::whole(first)]),
            other => panic!("{other:?}"),
        }
        // What is said is what keeps it.
        bench.verb(TaskRef::whole(first), TaskVerb::Cancel { why: String::new() }).unwrap();
        assert_eq!(bench.state(second), Assigned);
        end(&mut bench, session, holder, JobEnd::Success);
    }
}

#[test]
fn starts_under_a_rate_are_no_more_than_it_allows_over_a_take_over_too() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let all = [(); 5].map(|()| bench.one(often("r", 2, 10)));
    assert_eq!(states(&bench, all), [Assigned, Assigned, Waiting, Waiting, Waiting]);
    let told = reasons(&mut bench, all[2]);
    let [WaitReason::Aside { why: AsideWhy::Rate { count: 2, until: Some(until), .. }, .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(until.since(bench.now).as_millis(), 9_999);
    bench.pass(Duration::from_secs(9));
    bench.crash();
    bench.worker("lab-2", 8);
    assert_eq!(states(&bench, all)[2..], [Waiting, Waiting, Waiting]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(states(&bench, all)[2..], [Assigned, Assigned, Waiting]);
    assert_eq!(bench.tables.rates.len(), 1);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.state(all[4]), Assigned);
    assert_eq!(bench.tables.rates.len(), 1);
    bench.pass(Duration::from_secs(10));
    assert!(bench.tables.rates.is_empty(), "what no longer counts is not kept");
}

fn asks(of: &str) -> TaskSpec {
    TaskSpec { resources: vec![lock(of)], ..noop() }
}

#[test]
fn who_stands_aside_for_a_quota_does_so_over_a_take_over_without_a_word() {
    let mut bench = Bench::new();
    set(&mut bench, &namespace(), NamespaceChange { max_running: Some(Some(2)), ..NamespaceChange::default() });
    let later = bench.one(TaskSpec { at: Some(bench.now.plus(MINUTE)), ..asks("a") });
    let session = bench.worker("lab-1", 8);
    let running = [(); 2].map(|()| bench.one(noop()));
    let waiting = [bench.one(asks("b")), bench.one(asks("c"))];
    for _ in 0..7 {
        bench.pass(MINUTE / 6);
        bench.say(session, FromWorker::Heartbeat);
    }
    let all = [later, running[0], running[1], waiting[0], waiting[1]];
    assert_eq!(states(&bench, all), [Waiting, Assigned, Assigned, Waiting, Waiting]);
    let told = |bench: &Bench| bench.tables.history.iter().filter(|line| line.what.starts_with("st")).count();
    assert_eq!(told(&bench), 3, "all three stand aside");
    bench.crash();
    bench.pass(Duration::from_secs(1));
    assert_eq!(states(&bench, all), [Waiting, Assigned, Assigned, Waiting, Waiting]);
    assert_eq!(told(&bench), 3, "nothing has changed for them");
    bench.cancel(TaskRef::whole(waiting[0])).unwrap();
    bench
        .request(Request::SetNamespace {
            name: namespace(),
            change: NamespaceChange { max_running: Some(Some(3)), ..NamespaceChange::default() },
        })
        .unwrap();
    assert_eq!(states(&bench, all), [Waiting, Assigned, Assigned, Cancelled, Ready], "by ticket");
}

#[test]
fn who_may_begin_and_has_no_worker_yet_counts_as_a_start() {
    let mut bench = Bench::new();
    let waiting = [(); 3].map(|()| bench.one(often("r", 2, 10)));
    assert_eq!(states(&bench, waiting), [Ready, Ready, Waiting]);
    bench.pass(MINUTE * 2);
    bench.worker("lab-1", 8);
    assert_eq!(states(&bench, waiting), [Assigned, Assigned, Waiting], "their time begins with their start");
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.state(waiting[2]), Assigned);
}

#[test]
fn a_namespace_has_no_more_on_workers_than_its_quota() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let other = room("other");
    let change = NamespaceChange { max_running: Some(Some(2)), ..NamespaceChange::default() };
    set(&mut bench, &namespace(), change);
    let plain = [(); 3].map(|()| bench.one(noop()));
    let locked = bench.one(TaskSpec { resources: vec![lock("A")], ..noop() });
    let theirs = submit_as(&mut bench, "bob", &other, TaskSpec { resources: vec![lock("A")], ..noop() });
    assert_eq!(states(&bench, plain), [Assigned, Assigned, Ready]);
    assert_eq!(states(&bench, [locked, theirs]), [Waiting, Assigned], "over its quota it delays nobody");
    let told = reasons(&mut bench, plain[2]);
    assert_eq!(told[0], WaitReason::Quota { namespace: namespace(), running: 2, at_most: 2 });
    let told = reasons(&mut bench, locked);
    let [WaitReason::Aside { why: AsideWhy::Running { running: 2, at_most: 2 }, .. }, ..] = told.as_slice() else {
        panic!("{told:?}")
    };
    let seen = view(&mut bench, &namespace());
    assert_eq!((seen.queued, seen.running), (2, 2));
    end(&mut bench, session, plain[0], JobEnd::Success);
    assert_eq!(states(&bench, [plain[2], locked]), [Assigned, Waiting]);
    bench.crash();
    bench.worker("lab-2", 8);
    assert_eq!(bench.state(locked), Waiting);
    set(&mut bench, &namespace(), NamespaceChange { max_running: Some(None), ..NamespaceChange::default() });
    // Whoever is lost goes back to its place, which is behind it.
    bench.forget("lab-1").unwrap();
    assert_eq!(bench.state(locked), Assigned);
}

#[test]
fn a_submit_beyond_the_queue_is_refused_with_how_many_there_are() {
    let mut bench = Bench::new();
    set(&mut bench, &namespace(), NamespaceChange { max_queued: Some(Some(5)), ..NamespaceChange::default() });
    let array = TaskSpec { array: Some(ArraySpec::of(4)), ..noop() };
    let array = bench.one(array);
    let refused = bench.submit_with(vec![new_task(noop()), new_task(noop())], None, DryRun::No).unwrap_err();
    assert_eq!(refused.code, RefusalCode::Conflict);
    assert!(refused.message.contains("`max_queued`") && refused.message.contains("has 4"), "{}", refused.message);
    bench.one(noop());
    bench.crash();
    assert!(bench.submit_with(vec![new_task(noop())], None, DryRun::No).is_err());
    bench.cancel(TaskRef::whole(array)).unwrap();
    bench.one(noop());
}

#[test]
fn a_namespace_holds_no_more_of_a_resource_than_its_quota() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let seats = ResourceName::new("seats").unwrap();
    let ask = |amount| TaskSpec { resources: vec![Ask::Counted { name: seats.clone(), amount }], ..noop() };
    let capacity = ResourceChange { capacity: Some(4), ..ResourceChange::default() };
    bench.request(Request::SetResource { name: seats.clone(), change: capacity }).unwrap();
    let change = NamespaceChange { max_held: [(seats.clone(), Some(3))].into(), ..NamespaceChange::default() };
    set(&mut bench, &namespace(), change);
    assert!(bench.submit_with(vec![new_task(ask(4))], None, DryRun::No).is_err(), "never possible");
    let own = [ask(2), ask(2), ask(1)].map(|spec| bench.one(spec));
    let theirs = submit_as(&mut bench, "bob", &room("other"), ask(2));
    assert_eq!(states(&bench, own), [Assigned, Waiting, Waiting], "among themselves they go by ticket");
    assert_eq!(bench.state(theirs), Assigned, "and delay nobody else");
    assert_eq!(view(&mut bench, &namespace()).held[&seats], 2);
    end(&mut bench, session, own[0], JobEnd::Success);
    assert_eq!(states(&bench, own)[1..], [Assigned, Waiting]);
    end(&mut bench, session, theirs, JobEnd::Success);
    assert_eq!(bench.state(own[2]), Assigned);
}
