//! Lines: first come, first served, all or none; standing aside; what is held, and until when.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode, Reply};
use bowline_core::explain::{AsideWhy, WaitReason};
use bowline_core::id::{AttemptRef, SessionId, TaskId, TaskRef};
use bowline_core::input::{DryRun, Request, Strict, Submit, TaskVerb};
use bowline_core::message::{DrainMode, FromWorker, JobEnd, KnownAs, Paused};
use bowline_core::name::{Key, ResourceName, UnitName, WorkerName};
use bowline_core::resource::{Ask, Mode, ResourceChange, ResourceView, Service, UnitSpec};
use bowline_core::spec::{ArraySpec, OnWorkerLoss, Requirement, RetryPolicy, TaskSpec};
use bowline_core::state::StateKind;
use bowline_core::time::Span;

use super::bench::{ASIDE_AFTER, Bench, error, hello, live, namespace, new_task, noop};
use super::checks::explain;

fn name(name: &str) -> ResourceName {
    ResourceName::new(name).unwrap()
}

fn lock(of: &str) -> Ask {
    Ask::Exclusive { name: name(of) }
}

fn shared(of: &str) -> Ask {
    Ask::Shared { name: name(of) }
}

fn licence(of: &str, amount: u64) -> Ask {
    Ask::Counted { name: name(of), amount }
}

fn attributes(all: &[(&str, &str)]) -> BTreeMap<Key, String> {
    all.iter().map(|(key, value)| (Key::new(key).unwrap(), (*value).to_owned())).collect()
}

fn device(of: Option<&str>, with: &[(&str, &str)]) -> Ask {
    Ask::Unit { name: of.map(name), with: attributes(with) }
}

fn asks(resources: Vec<Ask>) -> TaskSpec {
    TaskSpec { resources, ..noop() }
}

fn unit(name: &str, with: &[(&str, &str)]) -> UnitSpec {
    UnitSpec { name: UnitName::new(name).unwrap(), attributes: attributes(with) }
}

fn set(bench: &mut Bench, of: &str, change: ResourceChange) -> Reply {
    bench.request(Request::SetResource { name: name(of), change })
}

fn capacity(bench: &mut Bench, of: &str, capacity: u64) {
    set(bench, of, ResourceChange { capacity: Some(capacity), ..ResourceChange::default() }).unwrap();
}

fn units(bench: &mut Bench, of: &str, units: Vec<UnitSpec>) {
    set(bench, of, ResourceChange { units: Some(units), ..ResourceChange::default() }).unwrap();
}

fn view(bench: &mut Bench, of: &str) -> ResourceView {
    match bench.request(Request::Resource { name: name(of) }) {
        Ok(Answer::Resource(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn states<const N: usize>(bench: &Bench, tasks: [TaskId; N]) -> [StateKind; N] {
    tasks.map(|task| bench.state(task))
}

/// Ends the newest attempt of a task that its worker has.
fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let attempt = live(bench, task);
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, how);
}

fn history(bench: &Bench, task: TaskId) -> Vec<String> {
    let subject = bowline_core::row::Subject::Task(TaskRef::whole(task));
    bench.tables.history.iter().filter(|line| line.subject == subject).map(|line| line.what.clone()).collect()
}

use StateKind::{Assigned, Cancelled, Ready, Scheduled, Succeeded, Waiting};

#[test]
fn shared_ones_at_the_head_go_together_up_to_the_next_exclusive_one() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(asks(vec![lock("A"), shared("B")]));
    let one = bench.one(asks(vec![shared("A")]));
    let other = bench.one(asks(vec![shared("A")]));
    let next = bench.one(asks(vec![lock("A")]));
    let last = bench.one(asks(vec![lock("B")]));
    assert_eq!(states(&bench, [first, one, other, next, last]), [Assigned, Waiting, Waiting, Waiting, Waiting]);
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(states(&bench, [one, other, next, last]), [Assigned, Assigned, Waiting, Assigned]);
    end(&mut bench, session, one, JobEnd::Success);
    assert_eq!(states(&bench, [other, next]), [Assigned, Waiting]);
    end(&mut bench, session, other, JobEnd::Success);
    assert_eq!(bench.state(next), Assigned);
    end(&mut bench, session, next, JobEnd::Success);
    end(&mut bench, session, last, JobEnd::Success);
    assert!(
        matches!(bench.request(Request::Resource { name: name("A") }), Err(refusal) if refusal.code == RefusalCode::NotFound)
    );
}

#[test]
fn who_waits_for_something_else_is_not_overtaken_and_is_told_so() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(asks(vec![lock("A"), lock("B")]));
    let second = bench.one(asks(vec![lock("B"), lock("C")]));
    let third = bench.one(asks(vec![lock("C")]));
    assert_eq!(states(&bench, [first, second, third]), [Assigned, Waiting, Waiting]);
    let reasons = explain(&mut bench, TaskRef::whole(third)).unwrap().reasons;
    let [WaitReason::Resource { name: of, mode: Mode::Exclusive, ahead: 1, behind, free: 1, holders, .. }] =
        reasons.as_slice()
    else {
        panic!("{reasons:?}")
    };
    assert_eq!((of.as_str(), *behind), ("C", Some(TaskRef::whole(second))));
    assert!(holders.is_empty(), "nobody holds it: {holders:?}");
    let reasons = explain(&mut bench, TaskRef::whole(second)).unwrap().reasons;
    let [WaitReason::Resource { name: of, ahead: 0, behind: None, free: 0, holders, .. }] = reasons.as_slice() else {
        panic!("{reasons:?}")
    };
    assert_eq!((of.as_str(), holders[0].task), ("B", TaskRef::whole(first)));
    // Cancelled while it waits it leaves no ticket behind.
    bench.cancel(TaskRef::whole(second)).unwrap();
    assert_eq!(states(&bench, [second, third]), [Cancelled, Assigned]);
    end(&mut bench, session, first, JobEnd::Success);
    assert!(
        matches!(bench.request(Request::Resource { name: name("B") }), Err(refusal) if refusal.code == RefusalCode::NotFound)
    );
}

#[test]
fn a_retry_keeps_what_it_holds_or_its_number_alone() {
    for release in [false, true] {
        let mut bench = Bench::new();
        let session = bench.worker("lab-1", 2);
        let mut spec = asks(vec![lock("A")]);
        spec.retry.extra = 1;
        spec.release_while_retrying = release;
        let first = bench.one(spec);
        let second = bench.one(asks(vec![lock("A")]));
        end(&mut bench, session, first, error("no luck"));
        let expected = if release { [Scheduled, Assigned] } else { [Scheduled, Waiting] };
        assert_eq!(states(&bench, [first, second]), expected);
        let third = bench.one(asks(vec![lock("A")]));
        bench.pass(Duration::from_secs(3));
        if release {
            assert_eq!(states(&bench, [first, second, third]), [Waiting, Assigned, Waiting]);
            end(&mut bench, session, second, JobEnd::Success);
            assert_eq!(states(&bench, [first, third]), [Assigned, Waiting], "its number is the lower one");
        } else {
            assert_eq!(states(&bench, [first, second, third]), [Assigned, Waiting, Waiting]);
        }
    }
}

#[test]
fn a_loss_goes_back_to_its_own_place_ahead_of_all_who_came_later() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let mut spec = asks(vec![licence("seats", 2)]);
    capacity(&mut bench, "seats", 2);
    spec.lost_after = Some(Span::secs(60));
    let first = bench.one(spec);
    let second = bench.one(asks(vec![licence("seats", 1)]));
    bench.apply(bowline_core::Input::Disconnected { session });
    bench.pass(Duration::from_secs(61));
    assert_eq!(states(&bench, [first, second]), [Ready, Waiting], "freed and granted anew, in ticket order");
    let session = bench.worker("lab-2", 1);
    assert_eq!(bench.state(first), Assigned);
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(bench.state(second), Assigned);
}

#[test]
fn who_holds_a_lock_is_lost_by_proof_alone_and_keeps_it_until_then() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let (first, second) = (bench.one(asks(vec![lock("A")])), bench.one(asks(vec![lock("A")])));
    bench.apply(bowline_core::Input::Disconnected { session });
    bench.pass(ASIDE_AFTER / 2);
    assert_eq!(states(&bench, [first, second]), [Assigned, Waiting], "overlap is forbidden by default");
    bench.forget("lab-1").unwrap();
    assert_eq!(states(&bench, [first, second]), [Ready, Waiting]);
}

#[test]
fn a_doubt_keeps_what_it_holds() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let mut spec = asks(vec![lock("A")]);
    spec.on_worker_loss = OnWorkerLoss::Fail;
    let (first, second) = (bench.one(spec), bench.one(asks(vec![lock("A")])));
    let attempt = live(&bench, first);
    bench.say(session, FromWorker::Started(attempt));
    bench.say(session, FromWorker::Gone { attempt, why: "its supervisor died".into() });
    assert_eq!(states(&bench, [first, second]), [StateKind::InDoubt, Waiting]);
    bench.verb(TaskRef::whole(first), TaskVerb::Retry).unwrap();
    assert_eq!(states(&bench, [first, second]), [Assigned, Waiting]);
}

#[test]
fn units_are_told_and_asks_that_share_none_pass_each_other() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let phones = vec![unit("ph1", &[("model", "x")]), unit("ph2", &[("model", "y")]), unit("ph3", &[("model", "y")])];
    units(&mut bench, "phones", phones);
    let first = bench.one(asks(vec![device(None, &[("model", "x")])]));
    let second = bench.one(asks(vec![device(Some("phones"), &[("model", "x")])]));
    let third = bench.one(asks(vec![device(Some("phones"), &[("model", "y")]), device(None, &[("name", "ph3")])]));
    assert_eq!(states(&bench, [first, second, third]), [Assigned, Waiting, Assigned]);
    let told = bench.assigned().into_iter().flat_map(|assign| assign.resources);
    let told: Vec<_> = told.map(|held| (held.name, held.units)).collect();
    let unit_names = |names: &[&str]| names.iter().map(|name| UnitName::new(name).unwrap()).collect::<Vec<_>>();
    assert_eq!(told, [(name("phones"), unit_names(&["ph1"])), (name("phones"), unit_names(&["ph2", "ph3"]))]);
    // Any phone is in the way of both, and stands behind the one for x.
    let any = bench.one(asks(vec![device(Some("phones"), &[])]));
    end(&mut bench, session, third, JobEnd::Success);
    assert_eq!(states(&bench, [second, any]), [Waiting, Waiting], "a free y would be overtaking");
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(states(&bench, [second, any]), [Assigned, Assigned]);
    bench.crash();
    assert_eq!(view(&mut bench, "phones").holders.len(), 2);
}

#[test]
fn never_possible_is_refused_and_not_possible_now_waits_or_is_refused_when_strict() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    capacity(&mut bench, "seats", 3);
    units(&mut bench, "phones", vec![unit("ph1", &[("model", "x")])]);
    let mut refused = |resources: Vec<Ask>| {
        let reply = bench.submit_with(vec![new_task(asks(resources))], None, DryRun::No);
        let Err(refusal) = reply else { panic!("{reply:?}") };
        assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal}");
    };
    refused(vec![licence("seats", 4)]);
    refused(vec![licence("seats", 0)]);
    refused(vec![licence("unknown", 1)]);
    refused(vec![device(Some("phones"), &[("model", "y")])]);
    refused(vec![device(None, &[("model", "y")])]);
    refused(vec![device(None, &[])]);
    refused(vec![device(Some("phones"), &[]), device(Some("phones"), &[])]);
    refused(vec![lock("a"), shared("a")]);
    // Whoever names no resource asks for the one that has such units.
    let out = || Some(Service::Out("moving house".to_owned()));
    let of_model = |strict: Strict| {
        let tasks = vec![new_task(asks(vec![device(None, &[("model", "x")])]))];
        Request::Submit(Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::Yes, strict })
    };
    set(&mut bench, "phones", ResourceChange { service: out(), ..ResourceChange::default() }).unwrap();
    assert!(matches!(bench.request(of_model(Strict::Yes)), Err(refusal) if refusal.code == RefusalCode::Conflict));
    let Ok(Answer::Submitted { warnings, .. }) = bench.request(of_model(Strict::No)) else { panic!() };
    assert_eq!(warnings, ["`phones` is out of service: moving house"]);
    let out = out();
    set(&mut bench, "seats", ResourceChange { service: out, ..ResourceChange::default() }).unwrap();
    let submit = |strict: Strict| {
        let tasks = vec![new_task(asks(vec![licence("seats", 1)]))];
        Request::Submit(Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::No, strict })
    };
    assert!(matches!(bench.request(submit(Strict::Yes)), Err(refusal) if refusal.code == RefusalCode::Conflict));
    let Ok(Answer::Submitted { tasks, warnings, .. }) = bench.request(submit(Strict::No)) else { panic!() };
    assert_eq!(warnings, ["`seats` is out of service: moving house"]);
    let reasons = explain(&mut bench, TaskRef::whole(tasks[0])).unwrap().reasons;
    assert!(matches!(&reasons[0], WaitReason::Aside { why: AsideWhy::OutOfService { .. }, .. }), "{reasons:?}");
    set(&mut bench, "seats", ResourceChange { service: Some(Service::In), ..ResourceChange::default() }).unwrap();
    assert_eq!(bench.state(tasks[0]), Assigned);
    assert_eq!(history(&bench, tasks[0]), ["submitted", "stands_aside", "steps_back", "ready", "assigned"]);
}

#[test]
fn a_resource_is_resized_live() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    capacity(&mut bench, "seats", 1);
    let one = bench.one(asks(vec![licence("seats", 1)]));
    let two = bench.one(asks(vec![licence("seats", 1)]));
    assert_eq!(states(&bench, [one, two]), [Assigned, Waiting]);
    capacity(&mut bench, "seats", 3);
    assert_eq!(bench.state(two), Assigned);
    let both = bench.one(asks(vec![licence("seats", 2)]));
    let after = bench.one(asks(vec![licence("seats", 1)]));
    assert_eq!(states(&bench, [both, after]), [Waiting, Waiting]);
    // It asks for more than there is now: it stands aside, and delays nobody.
    capacity(&mut bench, "seats", 1);
    assert_eq!(states(&bench, [both, after]), [Waiting, Waiting]);
    end(&mut bench, session, one, JobEnd::Success);
    assert_eq!(bench.state(after), Waiting, "one is still held, of one");
    end(&mut bench, session, two, JobEnd::Success);
    assert_eq!(states(&bench, [both, after]), [Waiting, Assigned]);
    capacity(&mut bench, "seats", 4);
    assert_eq!(bench.state(both), Assigned);
    let refused = bench.request(Request::DeleteResource { name: name("seats") });
    assert!(matches!(refused, Err(refusal) if refusal.code == RefusalCode::Conflict));
    end(&mut bench, session, after, JobEnd::Success);
    end(&mut bench, session, both, JobEnd::Success);
    bench.request(Request::DeleteResource { name: name("seats") }).unwrap();
    assert!(bench.tables.resources.is_empty());
}

#[test]
fn what_is_paused_stands_aside_and_gives_back_and_steps_back_to_its_number() {
    let mut bench = Bench::new();
    let first = bench.one(asks(vec![lock("A")]));
    let second = bench.one(asks(vec![lock("A")]));
    assert_eq!(states(&bench, [first, second]), [Ready, Waiting]);
    bench.verb(TaskRef::whole(first), TaskVerb::Pause).unwrap();
    assert_eq!(states(&bench, [first, second]), [Waiting, Ready]);
    bench.request(Request::Pause { namespace: None, paused: Paused::Yes }).unwrap();
    assert_eq!(states(&bench, [first, second]), [Waiting, Waiting]);
    bench.verb(TaskRef::whole(first), TaskVerb::Resume).unwrap();
    bench.request(Request::Pause { namespace: None, paused: Paused::No }).unwrap();
    assert_eq!(states(&bench, [first, second]), [Ready, Waiting], "the lower number is first again");
    let expected = ["submitted", "waiting", "ready", "paused", "stands_aside", "resumed", "steps_back", "ready"];
    assert_eq!(history(&bench, first), expected);
}

#[test]
fn an_element_that_waits_again_says_that_it_stands_aside_while_its_array_is_paused() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let mut spec = asks(vec![lock("A")]);
    spec.array = Some(ArraySpec::of(2));
    spec.retry = RetryPolicy { extra: 1, backoff: Span(Duration::from_secs(1)), ..RetryPolicy::default() };
    spec.release_while_retrying = true;
    let array = bench.one(spec);
    let element = TaskRef::element(array, 0);
    let attempt = bench.tables.attempts.values().find(|row| row.attempt.task == element).unwrap().attempt;
    // Another one has the lock while it waits to be tried again, and longer.
    let other = bench.one(asks(vec![lock("A")]));
    bench
        .request(Request::Tasks { namespace: namespace(), tasks: vec![TaskRef::whole(array)], verb: TaskVerb::Pause })
        .unwrap();
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, error("no"));
    assert_eq!(bench.state(other), Assigned);
    bench.verb(TaskRef::whole(array), TaskVerb::Resume).unwrap();
    bench.pass(Duration::from_secs(2));
    let told = |bench: &Bench| {
        let subject = bowline_core::row::Subject::Task(element);
        let lines = bench.tables.history.iter().filter(|line| line.subject == subject);
        lines.map(|line| line.what.clone()).filter(|what| what.starts_with("st")).collect::<Vec<_>>()
    };
    assert_eq!(told(&bench), [""; 0], "it waits in line");
    bench.verb(TaskRef::whole(array), TaskVerb::Pause).unwrap();
    assert_eq!(told(&bench), ["stands_aside"]);
    bench.verb(TaskRef::whole(array), TaskVerb::Resume).unwrap();
    assert_eq!(told(&bench), ["stands_aside", "steps_back"]);
}

#[test]
fn nobody_waits_for_one_whom_no_worker_can_run() {
    let mut bench = Bench::new();
    let mut spec = asks(vec![lock("A")]);
    spec.requires.push(Requirement { key: Key::new("gpu").unwrap(), value: None });
    let first = bench.one(spec);
    let session = bench.worker("lab-1", 1);
    let second = bench.one(asks(vec![lock("A")]));
    assert_eq!(states(&bench, [first, second]), [Ready, Waiting]);
    for _ in 0..13 {
        bench.pass(ASIDE_AFTER / 12);
        bench.say(session, FromWorker::Heartbeat);
    }
    assert_eq!(states(&bench, [first, second]), [Waiting, Assigned]);
    let reasons = explain(&mut bench, TaskRef::whole(first)).unwrap().reasons;
    assert!(matches!(&reasons[0], WaitReason::Aside { why: AsideWhy::NoWorker { .. }, .. }), "{reasons:?}");
}

#[test]
fn a_unit_has_no_name_but_its_own() {
    let mut bench = Bench::new();
    let units =
        |with: &[(&str, &str)]| ResourceChange { units: Some(vec![unit("ph1", with)]), ..ResourceChange::default() };
    let refused = set(&mut bench, "phones", units(&[("name", "ph2")])).unwrap_err();
    assert!(refused.message.contains("`name=ph2`"), "{refused:?}");
    set(&mut bench, "phones", units(&[("name", "ph1")])).unwrap();
}

#[test]
fn nobody_waits_for_one_whose_workers_are_all_drained_or_paused() {
    for is_drained in [true, false] {
        let mut bench = Bench::new();
        bench.enrol("lab-2");
        let mut able = hello("lab-2", "p2", 1);
        able.offer.capabilities.insert(Key::new("gpu").unwrap(), None);
        let other = bench.connect(able);
        if is_drained {
            bench.drain("lab-2", DrainMode::Finish, None).unwrap();
        } else {
            pause(&mut bench, "lab-2", Paused::Yes);
        }
        let first = bench.one(needs("gpu", asks(vec![lock("A")])));
        let session = bench.worker("lab-1", 1);
        let second = bench.one(asks(vec![lock("A")]));
        assert_eq!(states(&bench, [first, second]), [Ready, Waiting]);
        for _ in 0..13 {
            bench.pass(ASIDE_AFTER / 12);
            bench.say(session, FromWorker::Heartbeat);
            bench.say(other, FromWorker::Heartbeat);
        }
        assert_eq!(states(&bench, [first, second]), [Waiting, Assigned]);
        if is_drained {
            bench.undrain("lab-2").unwrap();
        } else {
            pause(&mut bench, "lab-2", Paused::No);
        }
        assert_eq!(standing(&bench, first).last().unwrap(), "steps_back");
        let attempt = live(&bench, second);
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
        assert_eq!(bench.state(first), Assigned);
    }
}

fn pause(bench: &mut Bench, name: &str, paused: Paused) {
    bench.request(Request::PauseWorker { worker: WorkerName::new(name).unwrap(), paused }).unwrap();
}

fn needs(key: &str, mut spec: TaskSpec) -> TaskSpec {
    spec.requires.push(Requirement { key: Key::new(key).unwrap(), value: None });
    spec
}

/// What a task's history says of where it stands.
fn standing(bench: &Bench, task: TaskId) -> Vec<String> {
    history(bench, task)
        .into_iter()
        .filter(|what| matches!(&**what, "waiting" | "stands_aside" | "steps_back"))
        .collect()
}

#[test]
fn whom_no_worker_can_run_stands_aside_over_a_take_over_too() {
    let mut bench = Bench::new();
    let first = bench.one(needs("gpu", asks(vec![lock("A")])));
    let mut session = bench.worker("lab-1", 1);
    for _ in 0..13 {
        bench.pass(ASIDE_AFTER / 12);
        bench.say(session, FromWorker::Heartbeat);
    }
    assert_eq!(bench.state(first), Waiting);
    let explained = explain(&mut bench, TaskRef::whole(first)).unwrap().reasons;
    for _ in 0..2 {
        bench.crash();
        assert_eq!(explain(&mut bench, TaskRef::whole(first)).unwrap().reasons, explained);
        session = bench.worker("lab-1", 1);
        let second = bench.one(asks(vec![lock("A")]));
        assert_eq!(states(&bench, [first, second]), [Waiting, Assigned], "nobody waits for it once more");
        let attempt = live(&bench, second);
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, JobEnd::Success);
    }
    assert_eq!(standing(&bench, first).last().unwrap(), "stands_aside");
    bench.enrol("lab-2");
    let mut able = hello("lab-2", "p2", 1);
    able.offer.capabilities.insert(Key::new("gpu").unwrap(), None);
    bench.connect(able);
    assert_eq!(bench.state(first), Assigned);
    // Its row says no more that it is aside.
    assert_eq!(bench.tables.tasks[&first].unit.until, None);
}

#[test]
fn the_next_of_an_array_that_nobody_can_run_stands_aside_over_a_take_over_too() {
    let mut bench = Bench::new();
    let mut spec = needs("gpu", asks(vec![lock("A")]));
    spec.array = Some(ArraySpec::of(5));
    let array = bench.one(spec);
    let session = bench.worker("lab-1", 1);
    for _ in 0..13 {
        bench.pass(ASIDE_AFTER / 12);
        bench.say(session, FromWorker::Heartbeat);
    }
    bench.crash();
    bench.worker("lab-1", 1);
    let second = bench.one(asks(vec![lock("A")]));
    assert_eq!(states(&bench, [array, second]), [Ready, Assigned]);
}

#[test]
fn elements_share_a_ticket_and_go_by_index() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    capacity(&mut bench, "seats", 2);
    let mut spec = asks(vec![licence("seats", 1)]);
    spec.array = Some(ArraySpec::of(5));
    let array = bench.one(spec);
    let behind = bench.one(asks(vec![licence("seats", 1)]));
    let element = |index: u32| TaskRef::element(array, index);
    let live = |bench: &Bench| {
        let live = bench.tables.attempts.values().filter(|row| row.end.is_none());
        live.map(|row| row.attempt.task).collect::<Vec<_>>()
    };
    assert_eq!(live(&bench), [element(0), element(1)]);
    let finish = |bench: &mut Bench, index: u32, how: JobEnd| {
        let row = bench.tables.attempts.values().find(|row| row.attempt.task == element(index) && row.end.is_none());
        let attempt = row.unwrap().attempt;
        bench.say(session, FromWorker::Started(attempt));
        bench.finish(session, attempt, how);
    };
    finish(&mut bench, 1, JobEnd::Success);
    assert_eq!(live(&bench), [element(0), element(2)]);
    // One that is given back goes ahead of those that never began, and of the later ticket.
    let row = bench.tables.attempts.values().find(|row| row.attempt.task == element(0) && row.end.is_none());
    let attempt = row.unwrap().attempt;
    bench.say(session, FromWorker::Released { attempt, started: true, why: "moved".into() });
    assert_eq!(live(&bench), [element(0), element(2)]);
    bench.crash();
    let held = view(&mut bench, "seats");
    assert_eq!(held.holders.iter().map(|holder| holder.task).collect::<Vec<_>>(), [element(2), element(0)]);
    assert_eq!(held.line.iter().map(|place| place.task).collect::<Vec<_>>(), [element(3), TaskRef::whole(behind)]);
}

#[test]
fn an_array_that_shares_is_granted_as_it_begins_and_its_window_holds() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 3);
    let mut spec = asks(vec![shared("A")]);
    spec.array = Some(ArraySpec { first: 0, count: 100_000, step: 1, at_most: Some(2) });
    let array = bench.one(spec);
    let last = bench.one(asks(vec![lock("A")]));
    assert_eq!(bench.tables.elements.len(), 2, "what never began costs nothing");
    assert_eq!(bench.state(last), Waiting);
    for _ in 0..5 {
        let rows = bench.tables.attempts.values().filter(|row| row.end.is_none()).map(|row| row.attempt);
        for attempt in rows.collect::<Vec<_>>() {
            bench.say(session, FromWorker::Started(attempt));
            bench.finish(session, attempt, JobEnd::Success);
        }
    }
    assert_eq!(bench.tables.attempts.values().filter(|row| row.end.is_none()).count(), 2);
    bench.cancel(TaskRef::whole(array)).unwrap();
    let live: Vec<_> = bench.tables.attempts.values().filter(|row| row.end.is_none()).map(|row| row.attempt).collect();
    for attempt in live {
        bench.finish(session, attempt, JobEnd::Stopped);
    }
    assert_eq!(states(&bench, [array, last]), [Cancelled, Assigned]);
}

#[test]
fn seventeen_thousand_waiting_on_one_lock_leave_the_others_busy() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 10);
    for _ in 0..17 {
        bench.submit((0..1_000).map(|_| new_task(asks(vec![lock("A")]))).collect());
    }
    let others: Vec<TaskId> = (0..9).map(|_| bench.one(noop())).collect();
    assert!(others.iter().all(|task| bench.state(*task) == Assigned));
    assert_eq!(view(&mut bench, "A").waiting, 16_999);
    let first = TaskId(1);
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(states(&bench, [first, TaskId(2), TaskId(3)]), [Succeeded, Assigned, Waiting]);
}

#[test]
fn an_element_that_kept_its_grants_for_a_retry_gives_them_back_aside() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    capacity(&mut bench, "seats", 1);
    let mut spec = asks(vec![licence("seats", 1)]);
    spec.array = Some(ArraySpec::of(1));
    spec.retry.extra = 1;
    let array = bench.one(spec);
    end(&mut bench, session, array, error("no luck"));
    let element = |bench: &Bench| bench.tables.elements[&(array, 0)].unit.clone();
    assert_eq!((element(&bench).state, element(&bench).held.len()), (Scheduled, 1));
    let out = Some(Service::Out("moving house".to_owned()));
    set(&mut bench, "seats", ResourceChange { service: out, ..ResourceChange::default() }).unwrap();
    bench.pass(Duration::from_secs(3));
    assert_eq!((element(&bench).state, element(&bench).held.len()), (Waiting, 0), "in its row too");
    assert_eq!(view(&mut bench, "seats").used, 0);
}

#[test]
fn of_an_array_whose_elements_have_all_begun_the_first_that_waits_is_told() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    capacity(&mut bench, "seats", 2);
    let mut spec = asks(vec![licence("seats", 1)]);
    spec.array = Some(ArraySpec::of(2));
    spec.retry.extra = 1;
    let array = bench.one(spec);
    let attempts = [0, 1].map(|index| bench.tables.elements[&(array, index)].unit.fence()).map(|fence| fence.attempt);
    assert_eq!(attempts.map(|attempt| attempt.0), [1, 1], "both have begun");
    assert_eq!(explain(&mut bench, TaskRef::whole(array)).unwrap().reasons, []);
    let fence = bench.tables.elements[&(array, 1)].unit.fence();
    bench.finish(session, AttemptRef { task: TaskRef::element(array, 1), fence }, error("no luck"));
    let why = |bench: &mut Bench| match explain(bench, TaskRef::whole(array)).unwrap().reasons.as_slice() {
        [WaitReason::Element { element, state, why }] => (element.index, *state, why.as_ref().clone()),
        other => panic!("{other:?}"),
    };
    let (index, state, backoff) = why(&mut bench);
    assert_eq!((index, state), (Some(1), Scheduled));
    assert!(matches!(backoff, WaitReason::Backoff { attempt: 1, left: 1, .. }), "{backoff:?}");
    let out = Some(Service::Out("moving house".to_owned()));
    set(&mut bench, "seats", ResourceChange { service: out, ..ResourceChange::default() }).unwrap();
    bench.pass(Duration::from_secs(3));
    let (index, state, aside) = why(&mut bench);
    assert_eq!((index, state), (Some(1), Waiting));
    assert!(matches!(aside, WaitReason::Aside { why: AsideWhy::OutOfService { .. }, .. }), "{aside:?}");
}

#[test]
fn whoever_waits_for_a_resource_is_told_of_its_line_alone() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let mut spec = asks(vec![lock("A")]);
    spec.array = Some(ArraySpec::of(6));
    let array = bench.one(spec);
    let reasons = explain(&mut bench, TaskRef::element(array, 4)).unwrap().reasons;
    let [WaitReason::Resource { ahead: 3, behind, .. }] = reasons.as_slice() else { panic!("{reasons:?}") };
    assert_eq!(*behind, Some(TaskRef::element(array, 1)), "elements 1 to 3 are before it, in no lane");
    capacity(&mut bench, "seats", 2);
    let out = Some(Service::Out("moving house".to_owned()));
    set(&mut bench, "seats", ResourceChange { service: out, ..ResourceChange::default() }).unwrap();
    let task = bench.one(asks(vec![licence("seats", 1)]));
    let reasons = explain(&mut bench, TaskRef::whole(task)).unwrap().reasons;
    let [WaitReason::Aside { why: AsideWhy::OutOfService { .. }, .. }] = reasons.as_slice() else {
        panic!("{reasons:?}")
    };
}

/// A task that shares a lock is lost, and paused, so that it stands aside; its worker comes back with it.
fn comes_back_while_aside(other: Ask) -> (Bench, TaskId, TaskId) {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let task = bench.one(asks(vec![shared("A")]));
    let attempt = live(&bench, task);
    bench.say(session, FromWorker::Started(attempt));
    bench.apply(bowline_core::Input::Disconnected { session });
    bench.pass(Duration::from_secs(61));
    assert_eq!(bench.state(task), Ready, "lost, and granted anew");
    bench.verb(TaskRef::whole(task), TaskVerb::Pause).unwrap();
    let second = bench.one(asks(vec![other]));
    assert_eq!(states(&bench, [task, second]), [Waiting, Ready]);
    let mut back = hello("lab-1", "lab-1", 1);
    back.attempts = vec![(attempt, KnownAs::Running)];
    bench.connect(back);
    (bench, task, second)
}

#[test]
fn a_late_attempt_goes_on_where_its_resources_can_be_granted_now() {
    let (mut bench, task, second) = comes_back_while_aside(shared("A"));
    assert_eq!(states(&bench, [task, second]), [StateKind::Running, Ready]);
    assert_eq!(view(&mut bench, "A").holders.len(), 2);
    assert_eq!(bench.tables.tasks[&task].unit.attempt.0, 1, "under the same fence");
    assert!(history(&bench, task).ends_with(&["stands_aside", "steps_back", "ready", "running"].map(str::to_owned)));
}

#[test]
fn a_late_attempt_is_stopped_where_its_resources_are_held_by_another() {
    let (mut bench, task, second) = comes_back_while_aside(lock("A"));
    assert_eq!(states(&bench, [task, second]), [Waiting, Assigned]);
    assert_eq!(view(&mut bench, "A").holders.len(), 1);
    assert_eq!(view(&mut bench, "A").asides, 1);
}

#[test]
fn elements_of_a_blocked_array_stand_in_no_line_after_a_take_over() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let first = bench.one(TaskSpec { delay: Some(Span::secs(60)), ..noop() });
    let after =
        vec![bowline_core::spec::Dependency { task: TaskRef::whole(first), on: bowline_core::spec::Condition::Any }];
    let array = bench.one(TaskSpec { array: Some(ArraySpec::of(3)), after, ..asks(vec![lock("A")]) });
    bench.cancel(TaskRef::element(array, 1)).unwrap();
    bench.cancel(TaskRef::whole(array)).unwrap();
    bench.verb(TaskRef::whole(array), TaskVerb::Retry).unwrap();
    let behind = bench.one(asks(vec![lock("A")]));
    bench.crash();
    assert_eq!(bench.state(array), StateKind::Blocked);
    assert_eq!(bench.tables.elements[&(array, 1)].unit.state, Waiting);
    assert_eq!(bench.state(behind), Assigned);
    bench.verb(TaskRef::whole(array), TaskVerb::Pause).unwrap();
    bench.verb(TaskRef::whole(array), TaskVerb::Resume).unwrap();
    assert_eq!(bench.tables.elements[&(array, 1)].unit.state, Waiting);
}
