//! Gangs: gathered under one ticket, claimed in one commit, started together or not at all; what a lost member means;
//! chains; and what the members have among themselves.

mod among;
mod apart;
mod kept;
mod shares;
mod wishes;

use std::time::Duration;

use bowline_core::answer::{Answer, Refusal, RefusalCode, Reply};
use bowline_core::explain::{PausedThing, WaitReason};
use bowline_core::fair::NamespaceChange;
use bowline_core::gang::{Ask as GangAsk, Dead, Form, OnLost, Terms, Told};
use bowline_core::id::{AttemptRef, SessionId, TaskId, TaskRef};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit, TaskVerb};
use bowline_core::message::{DrainMode, FromWorker, JobEnd, KnownAs, StopWhy, ToWorker};
use bowline_core::name::ResourceName;
use bowline_core::resource::{Ask, ResourceChange};
use bowline_core::spec::{ArraySpec, Condition, Dependency, OnWorkerLoss, Requirement, RetryPolicy, TaskSpec};
use bowline_core::state::{AttemptEnd, StateKind};

use super::bench::{Bench, error, hello, live, namespace, new_task, noop, on};
use super::checks::explain;

use StateKind::{Assigned, Blocked, Cancelled, Failed, Ready, Running, Scheduled, Stopping, Succeeded, Waiting};

fn terms(form: Form, on_lost: OnLost) -> Terms {
    Terms { form, on_lost }
}

fn together() -> Terms {
    Terms::default()
}

fn ask(bench: &mut Bench, tasks: Vec<NewTask>, terms: Terms) -> Reply {
    let submit = Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::No, strict: Strict::No };
    bench.request(Request::SubmitGang(submit, terms))
}

fn gang_of(bench: &mut Bench, specs: Vec<TaskSpec>, terms: Terms) -> Vec<TaskId> {
    match ask(bench, specs.into_iter().map(new_task).collect(), terms) {
        Ok(Answer::Submitted { tasks, .. }) => tasks,
        other => panic!("{other:?}"),
    }
}

fn gang(bench: &mut Bench, size: usize, terms: Terms) -> Vec<TaskId> {
    gang_of(bench, vec![noop(); size], terms)
}

fn refused(bench: &mut Bench, specs: Vec<TaskSpec>, terms: Terms) -> Refusal {
    ask(bench, specs.into_iter().map(new_task).collect(), terms).expect_err("it is never possible")
}

fn lock(of: &str) -> Ask {
    Ask::Exclusive { name: ResourceName::new(of).unwrap() }
}

fn licence(amount: u64) -> Ask {
    Ask::Counted { name: ResourceName::new("lic").unwrap(), amount }
}

fn asks(resources: Vec<Ask>) -> TaskSpec {
    TaskSpec { resources, ..noop() }
}

fn slots(slots: u32) -> TaskSpec {
    TaskSpec { slots, ..noop() }
}

fn capacity(bench: &mut Bench, capacity: u64) {
    let change = ResourceChange { capacity: Some(capacity), ..ResourceChange::default() };
    bench.request(Request::SetResource { name: ResourceName::new("lic").unwrap(), change }).unwrap();
}

fn states(bench: &Bench, tasks: &[TaskId]) -> Vec<StateKind> {
    tasks.iter().map(|task| bench.state(*task)).collect()
}

fn ends(bench: &Bench, task: TaskId) -> Vec<Option<AttemptEnd>> {
    bench.tables.attempts.values().filter(|row| row.attempt.task.task == task).map(|row| row.end).collect()
}

fn start(bench: &mut Bench, session: SessionId, task: TaskId) {
    let attempt = live(bench, task);
    bench.say(session, FromWorker::Started(attempt));
}

fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let attempt = live(bench, task);
    bench.finish(session, attempt, how);
}

/// The worker has stopped it and gives it back.
fn give_back(bench: &mut Bench, session: SessionId, task: TaskId) {
    let attempt = live(bench, task);
    bench.say(session, FromWorker::Released { attempt, started: false, why: "stopped".into() });
}

/// Two workers with these slots, and a gang of two that runs, one member on each.
fn running_pair(bench: &mut Bench, on_lost: OnLost) -> ([SessionId; 2], Vec<TaskId>) {
    let sessions = [bench.worker("lab-1", 2), bench.worker("lab-2", 2)];
    let members = gang(bench, 2, terms(Form::Distinct, on_lost));
    for member in &members {
        let of = usize::from(on(bench, *member) == "lab-2");
        start(bench, sessions[of], *member);
    }
    assert_eq!(states(bench, &members), [Running, Running]);
    let of = |member: TaskId| sessions[usize::from(on(bench, member) == "lab-2")];
    ([of(members[0]), of(members[1])], members)
}

#[test]
fn a_gang_is_claimed_when_there_is_room_for_all_and_in_one_commit() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 3);
    let before = bench.one(slots(2));
    let members = gang(&mut bench, 2, together());
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    bench.assigned();
    let batch = bench.tables.batch;
    end(&mut bench, session, before, JobEnd::Success);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    assert_eq!(bench.tables.batch, batch + 1, "the claims are in the commit of the end that made room");
    assert_eq!(bench.assigned().len(), 2);
    let tickets: Vec<_> = members.iter().map(|id| bench.tables.tasks[id].ticket).collect();
    assert_eq!(tickets[0], tickets[1], "they share one ticket");
    for id in &members {
        start(&mut bench, session, *id);
        end(&mut bench, session, *id, JobEnd::Success);
    }
    assert_eq!(states(&bench, &members), [Succeeded, Succeeded]);
    assert!(bench.tables.gangs.is_empty(), "its row goes with the last of them");
}

#[test]
fn members_are_given_nothing_beforehand() {
    let mut bench = Bench::new();
    bench.enrol("lab-1");
    let mut hello = hello("lab-1", "p1", 1);
    hello.prefetch = 4;
    bench.connect(hello);
    let members = gang(&mut bench, 2, together());
    assert_eq!(states(&bench, &members), [Ready, Ready]);
}

#[test]
fn distinct_members_have_a_worker_each() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    let members = gang(&mut bench, 2, terms(Form::Distinct, OnLost::RerunAll));
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    let reasons = explain(&mut bench, TaskRef::whole(members[1])).unwrap().reasons;
    assert!(
        matches!(
            reasons.first(),
            Some(WaitReason::Gang { members: 2, placed: 1, lacking, distinct: true, .. }) if lacking.len() == 1
        ),
        "{reasons:?}"
    );
    bench.worker("lab-2", 1);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    assert_ne!(on(&bench, members[0]), on(&bench, members[1]));
}

#[test]
fn room_is_found_where_the_first_that_fits_would_leave_one_out() {
    let mut bench = Bench::new();
    // 3 + 2 + 2 into 4 and 3: who goes first into 4 leaves no place for both twos.
    bench.worker("lab-1", 4);
    bench.worker("lab-2", 3);
    let members = gang_of(&mut bench, vec![slots(2), slots(2), slots(3)], together());
    assert_eq!(states(&bench, &members), [Assigned, Assigned, Assigned]);
    assert_eq!([on(&bench, members[2]), on(&bench, members[0])], ["lab-2", "lab-1"]);
}

#[test]
fn each_distinct_member_gets_a_worker_that_it_fits() {
    let mut bench = Bench::new();
    let gpu = Requirement { key: "gpu".parse().unwrap(), value: None };
    for name in ["lab-1", "lab-2"] {
        bench.enrol(name);
        let mut hello = hello(name, "p1", 2);
        if name == "lab-1" {
            hello.offer.capabilities.insert("gpu".parse().unwrap(), None);
        }
        bench.connect(hello);
    }
    let members = gang_of(
        &mut bench,
        vec![noop(), TaskSpec { requires: vec![gpu], ..noop() }],
        terms(Form::Distinct, OnLost::RerunAll),
    );
    assert_eq!([on(&bench, members[0]), on(&bench, members[1])], ["lab-2", "lab-1"]);
}

#[test]
fn two_gangs_that_each_need_both_workers_do_not_keep_each_other_out() {
    let mut bench = Bench::new();
    let sessions = [bench.worker("lab-1", 1), bench.worker("lab-2", 1)];
    let one = gang(&mut bench, 2, terms(Form::Distinct, OnLost::RerunAll));
    let other = gang(&mut bench, 2, terms(Form::Distinct, OnLost::RerunAll));
    assert_eq!(states(&bench, &one), [Assigned, Assigned]);
    assert_eq!(states(&bench, &other), [Ready, Ready]);
    for member in one {
        let of = usize::from(on(&bench, member) == "lab-2");
        start(&mut bench, sessions[of], member);
        end(&mut bench, sessions[of], member, JobEnd::Success);
    }
    assert_eq!(states(&bench, &other), [Assigned, Assigned]);
}

#[test]
fn what_all_ask_for_is_granted_at_one_place_in_one_commit() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    capacity(&mut bench, 3);
    let before = bench.one(asks(vec![lock("db")]));
    let members =
        gang_of(&mut bench, vec![noop(), asks(vec![lock("db"), licence(1)]), asks(vec![licence(2)])], together());
    let behind = bench.one(asks(vec![licence(1)]));
    assert_eq!(states(&bench, &members), [Waiting, Waiting, Waiting]);
    assert_eq!(bench.state(behind), Waiting, "nobody overtakes the gang in the line of the licences");
    let reasons = explain(&mut bench, TaskRef::whole(members[2])).unwrap().reasons;
    assert!(reasons.iter().any(|reason| matches!(reason, WaitReason::Resource { name, .. } if name.as_str() == "db")));
    end(&mut bench, session, before, JobEnd::Success);
    assert_eq!(states(&bench, &members), [Assigned, Assigned, Assigned]);
    let held = |task: TaskId| bench.tables.tasks[&task].unit.held.clone();
    assert_eq!([held(members[0]).len(), held(members[1]).len(), held(members[2]).len()], [0, 2, 1]);
    assert_eq!(held(members[2])[0].amount, 2);
    bench.crash();
    assert_eq!(bench.state(behind), Waiting, "the same holders after a restart");
}

#[test]
fn a_member_that_waits_for_something_else_keeps_the_others() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let first = bench.one(noop());
    let mut late = noop();
    late.after = vec![Dependency { task: TaskRef::whole(first), on: Condition::Ok }];
    let members = gang_of(&mut bench, vec![asks(vec![lock("db")]), late], together());
    assert_eq!(states(&bench, &members), [Waiting, Blocked]);
    let other = bench.one(asks(vec![lock("db")]));
    assert_eq!(bench.state(other), Assigned, "a gang that is not complete delays nobody");
    let reasons = explain(&mut bench, TaskRef::whole(members[0])).unwrap().reasons;
    assert!(
        matches!(&reasons[0], WaitReason::Gang { absent, .. } if absent == &[(TaskRef::whole(members[1]), Blocked)])
    );
    end(&mut bench, session, other, JobEnd::Success);
    end(&mut bench, session, first, JobEnd::Success);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
}

#[test]
fn pausing_one_pauses_all() {
    let mut bench = Bench::new();
    let members = gang_of(&mut bench, vec![noop(), asks(vec![lock("db")])], together());
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    bench.verb(TaskRef::whole(members[0]), TaskVerb::Pause).unwrap();
    assert_eq!(states(&bench, &members), [Waiting, Waiting], "it gives back what it was granted, and stands aside");
    let told = explain(&mut bench, TaskRef::whole(members[1])).unwrap().reasons;
    let is_said = |reason: &WaitReason| match reason {
        WaitReason::Paused { what, .. } => *what == PausedThing::Member(TaskRef::whole(members[0])),
        _ => false,
    };
    assert!(told.iter().any(is_said), "who is paused is said to the others: {told:?}");
    bench.worker("lab-1", 8);
    let other = bench.one(asks(vec![lock("db")]));
    assert_eq!(states(&bench, &members), [Waiting, Waiting]);
    assert_eq!(bench.state(other), Assigned);
    bench.cancel(TaskRef::whole(other)).unwrap();
    bench.verb(TaskRef::whole(members[0]), TaskVerb::Resume).unwrap();
    let attempt = live(&bench, other);
    let session = bench.tables.attempts[&attempt].session;
    bench.finish(session, attempt, JobEnd::Stopped);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
}

#[test]
fn pausing_a_member_of_a_gang_without_resources_keeps_it_from_workers() {
    let mut bench = Bench::new();
    let members = gang(&mut bench, 2, together());
    bench.verb(TaskRef::whole(members[1]), TaskVerb::Pause).unwrap();
    bench.worker("lab-1", 8);
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    bench.verb(TaskRef::whole(members[1]), TaskVerb::Resume).unwrap();
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
}

/// I12.
#[test]
fn if_one_is_given_back_before_all_have_started_all_are() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let members = gang(&mut bench, 3, together());
    let ticket = bench.tables.tasks[&members[0]].ticket;
    start(&mut bench, session, members[0]);
    give_back(&mut bench, session, members[2]);
    assert_eq!(states(&bench, &members), [Stopping, Stopping, Waiting]);
    let told = bench.sent(session, |message| match message {
        ToWorker::Cancel { attempt, why: StopWhy::Drain } => Some(attempt.task.task),
        _ => None,
    });
    assert_eq!(told, [members[0], members[1]]);
    give_back(&mut bench, session, members[1]);
    assert_eq!(states(&bench, &members), [Stopping, Waiting, Waiting]);
    bench.crash();
    assert_eq!(states(&bench, &members), [Stopping, Waiting, Waiting]);
    let mut again = hello("lab-1", "p1", 8);
    again.incarnation = bench.tables.workers.values().next().unwrap().incarnation;
    again.attempts = vec![(live(&bench, members[0]), KnownAs::Running)];
    let session = bench.connect(again);
    give_back(&mut bench, session, members[0]);
    assert_eq!(states(&bench, &members), [Assigned, Assigned, Assigned]);
    assert_eq!(bench.tables.tasks[&members[1]].ticket, ticket, "at its ticket again");
    for member in &members {
        assert_eq!(ends(&bench, *member), [Some(AttemptEnd::Released), None]);
        assert_eq!((bench.tables.tasks[member].unit.failures, bench.tables.tasks[member].unit.losses), (0, 0));
    }
}

/// I12.
#[test]
fn a_failure_before_all_have_started_is_charged_to_whoever_failed() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let retry = RetryPolicy { extra: 1, ..RetryPolicy::default() };
    let members = gang_of(&mut bench, vec![noop(), TaskSpec { retry, ..noop() }], together());
    end(&mut bench, session, members[1], error("no such file"));
    assert_eq!(states(&bench, &members), [Stopping, Scheduled]);
    give_back(&mut bench, session, members[0]);
    assert_eq!(states(&bench, &members), [Waiting, Scheduled]);
    bench.pass(Duration::from_secs(3));
    bench.say(session, FromWorker::Heartbeat);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    let failures = |task: TaskId| bench.tables.tasks[&task].unit.failures;
    assert_eq!([failures(members[0]), failures(members[1])], [0, 1]);
}

#[test]
fn a_member_that_failed_for_good_is_out_and_the_others_go_on() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let members = gang(&mut bench, 3, together());
    start(&mut bench, session, members[0]);
    end(&mut bench, session, members[1], error("no such file"));
    assert_eq!(states(&bench, &members), [Stopping, Failed, Stopping], "before all had started: all are given back");
    give_back(&mut bench, session, members[0]);
    give_back(&mut bench, session, members[2]);
    assert_eq!(states(&bench, &members), [Assigned, Failed, Assigned]);
}

#[test]
fn a_lost_member_brings_all_back_with_rerun_all() {
    let mut bench = Bench::new();
    let ([own, other], members) = running_pair(&mut bench, OnLost::RerunAll);
    bench.apply(bowline_core::Input::Disconnected { session: other });
    lose(&mut bench, own);
    assert_eq!(states(&bench, &members), [Stopping, Waiting]);
    give_back(&mut bench, own, members[0]);
    let told = bench.tables.history.iter().rfind(|line| line.what == "given_back").map(|line| line.reason.clone());
    assert_eq!(told.as_deref(), Some("all of its gang are claimed anew together"), "the worker is not drained");
    assert_eq!(states(&bench, &members), [Ready, Ready], "there is one worker left, and they want two");
    bench.worker("lab-3", 1);
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    let losses = |task: TaskId| bench.tables.tasks[&task].unit.losses;
    assert_eq!([losses(members[0]), losses(members[1])], [0, 1]);
}

/// Time passes until what a silent worker has is lost, while this one is heard.
fn lose(bench: &mut Bench, heard: SessionId) {
    for _ in 0..20 {
        bench.say(heard, FromWorker::Heartbeat);
        bench.pass(Duration::from_secs(5));
    }
}

#[test]
fn a_lost_member_ends_all_with_stop_all() {
    let mut bench = Bench::new();
    let ([own, other], members) = running_pair(&mut bench, OnLost::StopAll);
    bench.apply(bowline_core::Input::Disconnected { session: other });
    lose(&mut bench, own);
    assert_eq!(states(&bench, &members), [Stopping, Failed]);
    end(&mut bench, own, members[0], JobEnd::Stopped);
    assert_eq!(bench.state(members[0]), Cancelled);
    let outcome = |task: TaskId| bench.tables.tasks[&task].unit.outcome.clone().unwrap().message();
    assert!(outcome(members[1]).contains("lost"), "{}", outcome(members[1]));
    assert!(outcome(members[0]).contains(&format!("task {}", members[1])), "{}", outcome(members[0]));
    assert!(bench.tables.gangs.is_empty());
}

#[test]
fn with_stop_all_the_first_bad_end_ends_all() {
    let mut bench = Bench::new();
    let ([own, other], members) = running_pair(&mut bench, OnLost::StopAll);
    end(&mut bench, other, members[1], error("exit status 1"));
    assert_eq!(states(&bench, &members), [Stopping, Failed]);
    end(&mut bench, own, members[0], JobEnd::Stopped);
    assert_eq!(bench.state(members[0]), Cancelled);
}

#[test]
fn a_drain_after_all_have_started_counts_as_a_loss() {
    let mut bench = Bench::new();
    let ([own, other], members) = running_pair(&mut bench, OnLost::RerunAll);
    let drained = on(&bench, members[1]);
    bench.drain(&drained, DrainMode::Release, None).unwrap();
    give_back(&mut bench, other, members[1]);
    assert_eq!(states(&bench, &members), [Stopping, Waiting]);
    give_back(&mut bench, own, members[0]);
    assert_eq!(states(&bench, &members), [Ready, Ready]);
    bench.undrain(&drained).unwrap();
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
}

#[test]
fn a_failed_member_is_tried_again_alone_once_all_have_started() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 4);
    let retry = RetryPolicy { extra: 1, ..RetryPolicy::default() };
    let members = gang_of(&mut bench, vec![TaskSpec { retry, ..noop() }; 2], together());
    for member in &members {
        start(&mut bench, session, *member);
    }
    end(&mut bench, session, members[1], error("exit status 1"));
    assert_eq!(states(&bench, &members), [Running, Scheduled]);
    bench.pass(Duration::from_secs(3));
    assert_eq!(states(&bench, &members), [Running, Assigned]);
}

#[test]
fn cancelling_one_leaves_the_others_together() {
    let mut bench = Bench::new();
    capacity(&mut bench, 1);
    let members = gang_of(&mut bench, vec![asks(vec![licence(1)]), noop(), noop()], together());
    bench.cancel(TaskRef::whole(members[0])).unwrap();
    assert_eq!(states(&bench, &members), [Cancelled, Ready, Ready]);
    let other = bench.one(asks(vec![licence(1)]));
    assert_eq!(bench.state(other), Ready, "what it held is free");
    bench.worker("lab-1", 8);
    assert_eq!(states(&bench, &members), [Cancelled, Assigned, Assigned]);
}

#[test]
fn a_retry_of_one_is_a_new_round_of_all() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 8);
    let members = gang(&mut bench, 2, together());
    start(&mut bench, session, members[0]);
    start(&mut bench, session, members[1]);
    end(&mut bench, session, members[0], JobEnd::Success);
    let early = bench.verb(TaskRef::whole(members[0]), TaskVerb::Retry).unwrap_err();
    assert_eq!(early.code, RefusalCode::Conflict);
    end(&mut bench, session, members[1], error("exit status 1"));
    let old = bench.tables.tasks[&members[0]].ticket;
    assert!(bench.verb(TaskRef::whole(members[1]), TaskVerb::Retry).is_ok());
    assert_eq!(states(&bench, &members), [Assigned, Assigned], "those that were no longer in memory were fetched");
    assert!(bench.tables.tasks[&members[0]].ticket > old, "a round has its own ticket");
    assert_eq!(bench.tables.gangs.len(), 1);
}

#[test]
fn a_chain_stays_on_its_worker_and_nobody_gets_between() {
    let mut bench = Bench::new();
    bench.enrol("lab-1");
    let mut hello = hello("lab-1", "p1", 1);
    hello.prefetch = 2;
    let mut session = bench.connect(hello);
    let links = gang_of(&mut bench, vec![asks(vec![lock("db")]); 3], terms(Form::Chain, OnLost::RerunAll));
    let rival = bench.one(asks(vec![lock("db")]));
    let other = bench.one(TaskSpec { priority: 9, ..noop() });
    assert_eq!(states(&bench, &links), [Assigned, Blocked, Blocked]);
    assert_eq!(bench.state(other), Ready, "what a worker has beforehand would begin in the slot that is kept");
    for place in 0..3 {
        start(&mut bench, session, links[place]);
        end(&mut bench, session, links[place], JobEnd::Success);
        if place < 2 {
            assert_eq!(bench.state(links[place + 1]), Assigned);
            assert_eq!((bench.state(other), bench.state(rival)), (Ready, Waiting));
            assert_eq!(bench.tables.tasks[&links[place + 1]].unit.held.len(), 1, "it goes on with the lock");
            bench.crash();
            let mut again = super::bench::hello("lab-1", "p1", 1);
            again.incarnation = bench.tables.workers.values().next().unwrap().incarnation;
            again.prefetch = 2;
            again.attempts = vec![(live(&bench, links[place + 1]), KnownAs::Running)];
            session = bench.connect(again);
        }
    }
    assert_eq!((bench.state(other), bench.state(rival)), (Assigned, Ready));
}

#[test]
fn a_chain_keeps_to_the_quota_of_its_namespace() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let set = |most| {
        let change = NamespaceChange { max_running: Some(most), ..NamespaceChange::default() };
        Request::SetNamespace { name: namespace(), change }
    };
    bench.request(set(Some(1))).unwrap();
    let long = bench.one(noop());
    let links = gang_of(&mut bench, vec![noop(); 2], terms(Form::Chain, OnLost::RerunAll));
    assert_eq!(states(&bench, &links), [Ready, Blocked], "one is on a worker, and one may be");
    let reasons = explain(&mut bench, TaskRef::whole(links[0])).unwrap().reasons;
    assert!(reasons.iter().any(|reason| matches!(reason, WaitReason::Quota { .. })), "{reasons:?}");
    start(&mut bench, session, long);
    end(&mut bench, session, long, JobEnd::Success);
    assert_eq!(states(&bench, &links), [Assigned, Blocked]);
    start(&mut bench, session, links[0]);
    end(&mut bench, session, links[0], JobEnd::Success);
    assert_eq!(states(&bench, &links), [Succeeded, Assigned], "its place is the next link's");
}

#[test]
fn a_gang_is_told_of_a_quota_that_has_room_for_a_part_of_it() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 4);
    let set = |most| {
        let change = NamespaceChange { max_running: Some(most), ..NamespaceChange::default() };
        Request::SetNamespace { name: namespace(), change }
    };
    bench.request(set(Some(2))).unwrap();
    let members = gang(&mut bench, 3, together());
    assert_eq!(states(&bench, &members), [Ready; 3]);
    for member in &members {
        let reasons = explain(&mut bench, TaskRef::whole(*member)).unwrap().reasons;
        let quotas: Vec<_> = reasons.iter().filter(|reason| matches!(reason, WaitReason::Quota { .. })).collect();
        assert_eq!(quotas, [&WaitReason::Quota { namespace: namespace(), running: 0, at_most: 2 }], "{reasons:?}");
    }
    bench.request(set(None)).unwrap();
    assert_eq!(states(&bench, &members), [Assigned; 3], "what it says is what keeps it");
}

#[test]
fn a_chain_whose_link_fails_ends_there() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let links = gang(&mut bench, 3, terms(Form::Chain, OnLost::RerunAll));
    start(&mut bench, session, links[0]);
    end(&mut bench, session, links[0], error("exit status 1"));
    assert_eq!(states(&bench, &links), [Failed, StateKind::Skipped, StateKind::Skipped]);
    assert!(bench.tables.gangs.is_empty());
    assert!(bench.verb(TaskRef::whole(links[1]), TaskVerb::Retry).is_ok());
    assert_eq!(states(&bench, &links), [Assigned, Blocked, Blocked]);
}

#[test]
fn a_chain_of_which_a_link_between_was_deleted_is_not_run_anew() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let links = gang(&mut bench, 3, terms(Form::Chain, OnLost::RerunAll));
    start(&mut bench, session, links[0]);
    end(&mut bench, session, links[0], error("no"));
    assert_eq!(states(&bench, &links), [Failed, StateKind::Skipped, StateKind::Skipped]);
    let verb = |bench: &mut Bench, task: TaskId, verb: TaskVerb| {
        let request = Request::Tasks { namespace: namespace(), tasks: vec![TaskRef::whole(task)], verb };
        match bench.request(request) {
            Ok(Answer::Tasks(mut answers)) => answers.remove(0).1,
            other => panic!("{other:?}"),
        }
    };
    verb(&mut bench, links[1], TaskVerb::Delete).unwrap();
    let refusal = verb(&mut bench, links[2], TaskVerb::Retry).expect_err("nothing comes before it");
    assert_eq!(refusal.code, RefusalCode::Conflict);
    assert!(refusal.message.contains(&format!("Task {}", links[1])), "{}", refusal.message);
    assert_eq!((bench.state(links[0]), bench.state(links[2])), (Failed, StateKind::Skipped));
    // Of what comes after a gap, nothing is left out.
    verb(&mut bench, links[0], TaskVerb::Delete).unwrap();
    verb(&mut bench, links[2], TaskVerb::Retry).unwrap();
    assert_eq!(bench.state(links[2]), Assigned);
}

#[test]
fn what_can_never_be_is_refused() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 8);
    capacity(&mut bench, 3);
    let array = TaskSpec { array: Some(ArraySpec::of(2)), ..noop() };
    let doubtful = TaskSpec { on_worker_loss: OnWorkerLoss::Fail, ..noop() };
    let cases = [
        (vec![noop()], together(), "2 to"),
        (vec![noop(), array], together(), "array"),
        (vec![noop(), doubtful], together(), "on_lost"),
        (vec![asks(vec![lock("db")]); 2], together(), "`db`"),
        (vec![asks(vec![licence(2)]); 2], together(), "4 of `lic`"),
        (vec![noop(), slots(2)], terms(Form::Chain, OnLost::RerunAll), "Member 2 of the chain"),
        (vec![noop(); 2], terms(Form::Chain, OnLost::StopAll), "on_lost"),
    ];
    for (specs, terms, says) in cases {
        let refusal = refused(&mut bench, specs, terms);
        assert!(refusal.message.contains(says), "{}", refusal.message);
    }
    assert!(bench.tables.tasks.is_empty());
}

#[test]
fn when_the_member_for_which_there_is_no_worker_is_cancelled_the_others_begin() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 1);
    let big = TaskSpec { requires: vec!["big".parse::<Requirement>().unwrap()], ..noop() };
    // One that the gang is called by, and one that it is not.
    for which in [0, 1] {
        let mut specs = vec![noop(), noop()];
        specs[which] = big.clone();
        let members = gang_of(&mut bench, specs, terms(Form::Together, OnLost::RerunAll));
        assert_eq!(states(&bench, &members), [Ready, Ready]);
        bench.cancel(TaskRef::whole(members[which])).unwrap();
        assert_eq!(bench.state(members[1 - which]), Assigned);
        let attempt = live(&bench, members[1 - which]);
        let session = bench.tables.attempts[&attempt].session;
        bench.finish(session, attempt, JobEnd::Success);
    }
}
