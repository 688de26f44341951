//! Why a worker is given nothing, why a run has not ended, who is next for a resource.

use std::time::Duration;

use bowline_core::answer::{Answer, RefusalCode};
use bowline_core::explain::{RunExplanation, StepWait, WaitReason, WorkerExplanation, WorkerReason};
use bowline_core::fair::NamespaceChange;
use bowline_core::id::{RunId, TaskRef};
use bowline_core::input::{DryRun, Evaluation, Request, RunVerb, Strict, Submit};
use bowline_core::message::{DrainMode, FromWorker, JobEnd, Paused};
use bowline_core::name::{Key, Namespace, ResourceName, WorkerName};
use bowline_core::resource::Ask;
use bowline_core::spec::{ArraySpec, Condition, Requirement, TaskSpec};
use bowline_core::state::StateKind;
use bowline_core::time::Span;
use bowline_core::worker::{Health, Room};

use super::bench::{Bench, error, hello, namespace, new_task, node, noop};

fn worker(bench: &mut Bench, name: &str) -> WorkerExplanation {
    match bench.request(Request::ExplainWorker { worker: WorkerName::new(name).unwrap() }) {
        Ok(Answer::WorkerExplained(explained)) => *explained,
        other => panic!("{other:?}"),
    }
}

/// The reasons alone, by name.
fn why(bench: &mut Bench, name: &str) -> Vec<&'static str> {
    let told = worker(bench, name).reasons.into_iter().map(|reason| match reason {
        WorkerReason::NotConnected { .. } => "not connected",
        WorkerReason::Suspect { .. } => "suspect",
        WorkerReason::Broken { .. } => "broken",
        WorkerReason::Delivering { .. } => "delivering",
        WorkerReason::Paused { .. } => "paused",
        WorkerReason::Drained { .. } => "drained",
        WorkerReason::PutAside { .. } => "put aside",
        WorkerReason::EverythingPaused { .. } => "everything paused",
        WorkerReason::NoSlot { .. } => "no slot",
        WorkerReason::NoMoreAsked { .. } => "no more asked",
        WorkerReason::NothingReady { .. } => "nothing ready",
        WorkerReason::GangsWait { .. } => "gangs wait",
        WorkerReason::NothingFits { .. } => "nothing fits",
    });
    told.collect()
}

fn run(bench: &mut Bench, run: RunId) -> RunExplanation {
    match bench.request(Request::ExplainRun { namespace: namespace(), run }) {
        Ok(Answer::RunExplained(explained)) => *explained,
        other => panic!("{other:?}"),
    }
}

fn wanting(requirement: &str) -> TaskSpec {
    TaskSpec { requires: vec![requirement.parse::<Requirement>().unwrap()], ..noop() }
}

fn locking(of: &str) -> TaskSpec {
    TaskSpec { resources: vec![Ask::Exclusive { name: ResourceName::new(of).unwrap() }], ..noop() }
}

#[test]
fn a_worker_with_more_than_can_be_listed_is_told_how_many_more() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 12);
    bench.submit((0..12).map(|_| new_task(wanting("action=noop"))).collect());
    let told = worker(&mut bench, "lab-1").reasons;
    let Some(WorkerReason::NoSlot { slots: 12, held_by, more: 2, .. }) = told.first() else { panic!("{told:?}") };
    assert_eq!(held_by.len(), 10);
}

#[test]
fn an_idle_worker_is_told_everything_that_keeps_it_so() {
    let mut bench = Bench::new();
    bench.enrol("lab-1");
    assert_eq!(why(&mut bench, "lab-1"), ["not connected", "nothing ready"]);
    let session = bench.connect(hello("lab-1", "p1", 1));
    assert_eq!(why(&mut bench, "lab-1"), ["nothing ready"]);
    bench.say(session, FromWorker::Health(Health::Broken("the disk is full".into())));
    bench.drain("lab-1", DrainMode::Finish, None).unwrap();
    let name = WorkerName::new("lab-1").unwrap();
    bench.request(Request::PauseWorker { worker: name.clone(), paused: Paused::Yes }).unwrap();
    bench.request(Request::Pause { namespace: None, paused: Paused::Yes }).unwrap();
    assert_eq!(why(&mut bench, "lab-1"), ["broken", "paused", "drained", "everything paused", "nothing ready"]);
    bench.undrain("lab-1").unwrap();
    bench.request(Request::PauseWorker { worker: name, paused: Paused::No }).unwrap();
    bench.request(Request::Pause { namespace: None, paused: Paused::No }).unwrap();
    bench.say(session, FromWorker::Health(Health::Ok));
    let busy = bench.one(noop());
    assert_eq!(bench.state(busy), StateKind::Assigned);
    assert_eq!(why(&mut bench, "lab-1"), ["no slot", "nothing ready"]);
    bench.pass(Duration::from_secs(40));
    assert_eq!(why(&mut bench, "lab-1"), ["suspect", "no slot", "nothing ready"]);
    let unknown = bench.request(Request::ExplainWorker { worker: WorkerName::new("lab-2").unwrap() });
    assert_eq!(unknown.unwrap_err().code, RefusalCode::NotFound);
}

#[test]
fn lanes_tell_what_each_misses_on_a_worker_nearest_first() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let room = Room { slots: 2, ..Room::default() };
    bench.say(session, FromWorker::Demand { attempts_max: 2, room });
    bench.one(noop());
    let mut far = wanting("gpu=a100");
    far.slots = 4;
    let far = bench.one(far);
    let near = bench.one(wanting("arm"));
    let big = bench.one(TaskSpec { slots: 2, ..noop() });
    let told = worker(&mut bench, "lab-1");
    assert_eq!(told.reasons, [WorkerReason::NothingFits { lanes: 3 }]);
    assert_eq!((told.attempts, told.used.slots, told.ready, told.more), (1, 1, 3, 0));
    let firsts: Vec<_> = told.lanes.iter().map(|lane| lane.first.task).collect();
    assert_eq!(firsts, [big, near, far], "nearest first");
    let slots = Key::new("slots").unwrap();
    assert_eq!(told.lanes[0].short_of, [(slots.clone(), 2, 1, 2)]);
    assert_eq!(told.lanes[1].missing, ["arm".parse().unwrap()]);
    assert_eq!((told.lanes[2].missing.len(), &told.lanes[2].too_small[..]), (1, &[(slots, 4, 2)][..]));
    bench.say(session, FromWorker::Demand { attempts_max: 1, room: Room { slots: 2, ..Room::default() } });
    assert_eq!(why(&mut bench, "lab-1"), ["no more asked"]);
}

#[test]
fn a_namespace_that_is_paused_is_told_of_its_lane() {
    let mut bench = Bench::new();
    bench.worker("lab-1", 2);
    bench.request(Request::Pause { namespace: Some(namespace()), paused: Paused::Yes }).unwrap();
    bench.one(noop());
    let told = worker(&mut bench, "lab-1");
    assert_eq!(told.reasons, [WorkerReason::NothingFits { lanes: 1 }]);
    assert!(told.lanes[0].paused.is_some() && told.lanes[0].missing.is_empty(), "{:?}", told.lanes);
}

#[test]
fn a_run_sums_up_why_its_steps_have_not_ended() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let holder = bench.one(locking("db"));
    let id = bench.start_run(vec![node("scan", &[]), node("sum", &[(0, Condition::Ok)])]);
    let told = run(&mut bench, id);
    assert_eq!(told.steps[0].state, StepWait::Evaluated);
    let StepWait::Steps { after, at_least: None } = &told.steps[1].state else { panic!("{told:?}") };
    assert_eq!(after[0].as_str(), "scan");

    let due = bench.due()[0];
    let mut array = locking("db");
    array.array = Some(ArraySpec::of(40));
    bench.evaluated(due, Evaluation::Task(Box::new(new_task(array))));
    let told = run(&mut bench, id);
    let scan = &told.steps[0];
    assert_eq!((scan.total, scan.waiting, scan.running, scan.ended), (40, 40, 0, 0));
    let [waiting] = scan.why.as_slice() else { panic!("{scan:?}") };
    let WaitReason::Resource { holders, .. } = &waiting.reason else { panic!("{waiting:?}") };
    assert_eq!((waiting.tasks, holders[0].task), (40, TaskRef::whole(holder)));

    let attempt = *bench.tables.attempts.values().map(|row| &row.attempt).next().unwrap();
    bench.finish(session, attempt, JobEnd::Success);
    let told = run(&mut bench, id);
    let scan = &told.steps[0];
    assert_eq!((scan.waiting, scan.running), (39, 1), "{scan:?}");

    bench.run_verb(id, RunVerb::Pause).unwrap();
    let told = run(&mut bench, id);
    assert!(matches!(told.reasons[..], [WaitReason::Paused { .. }]), "{told:?}");
    assert!(matches!(told.steps[0].why[0].reason, WaitReason::Paused { .. }), "{told:?}");
    bench.run_verb(id, RunVerb::Cancel).unwrap();
    let other = bench.request(Request::ExplainRun { namespace: namespace(), run: RunId(99) });
    assert_eq!(other.unwrap_err().code, RefusalCode::NotFound);
}

#[test]
fn different_reasons_of_one_step_are_told_apart() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let id = bench.start_run(vec![node("scan", &[])]);
    let due = bench.due()[0];
    let mut array = noop();
    array.array = Some(ArraySpec::of(10));
    array.retry.extra = 1;
    array.retry.backoff = Span::secs(60);
    bench.evaluated(due, Evaluation::Task(Box::new(new_task(array))));
    let first = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(first));
    bench.finish(session, first, error("no"));
    let told = run(&mut bench, id);
    let scan = &told.steps[0];
    assert_eq!((scan.total, scan.running, scan.waiting), (10, 2, 8), "{scan:?}");
    let sums: Vec<(u64, bool)> =
        scan.why.iter().map(|why| (why.tasks, matches!(why.reason, WaitReason::Backoff { .. }))).collect();
    assert_eq!(sums, [(7, false), (1, true)], "{scan:?}");
}

#[test]
fn a_resource_tells_what_its_next_waits_for_besides_and_what_keeps_its_holders() {
    let mut bench = Bench::new();
    let first = bench.one(locking("a"));
    let mut both = locking("a");
    both.resources.push(Ask::Exclusive { name: ResourceName::new("b").unwrap() });
    bench.one(locking("b"));
    bench.one(both);
    let view = match bench.request(Request::Resource { name: ResourceName::new("a").unwrap() }) {
        Ok(Answer::Resource(view)) => *view,
        other => panic!("{other:?}"),
    };
    assert_eq!(view.holders[0].task, TaskRef::whole(first));
    assert!(matches!(view.holders[0].why, Some(WaitReason::NoWorkerFits { .. })), "{:?}", view.holders);
    let others = |reason: &WaitReason| matches!(reason, WaitReason::Resource { name, .. } if name.as_str() == "b");
    assert!(view.next.iter().any(others), "{:?}", view.next);
    assert!(
        !view.next.iter().any(|reason| matches!(reason, WaitReason::Resource { name, .. } if name.as_str() == "a"))
    );
}

#[test]
fn a_quota_and_the_turn_of_others_are_told_of_a_lane() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 2);
    let set = |bench: &mut Bench, change: NamespaceChange| {
        bench.request(Request::SetNamespace { name: namespace(), change }).unwrap();
    };
    set(&mut bench, NamespaceChange { max_running: Some(Some(1)), ..NamespaceChange::default() });
    let (first, second) = (bench.one(noop()), bench.one(noop()));
    let told = worker(&mut bench, "lab-1");
    assert_eq!(told.reasons, [WorkerReason::NothingFits { lanes: 1 }]);
    assert_eq!(told.lanes[0].first, TaskRef::whole(second));
    assert_eq!(told.lanes[0].fairness, [WaitReason::Quota { namespace: namespace(), running: 1, at_most: 1 }]);
    // What it says is what keeps it.
    set(&mut bench, NamespaceChange { max_running: Some(None), ..NamespaceChange::default() });
    assert!(bench.state(second).is_live());
    set(&mut bench, NamespaceChange { share: Some(Some(1)), ..NamespaceChange::default() });
    bench.pass(Duration::from_secs(1));
    let other = Namespace::new("other").unwrap();
    let submit = |namespace: &Namespace| {
        let tasks = vec![new_task(noop())];
        Request::Submit(Submit {
            namespace: namespace.clone(),
            tasks,
            key: None,
            dry_run: DryRun::No,
            strict: Strict::No,
        })
    };
    for request in [submit(&namespace()), submit(&other)] {
        bench.request(request).unwrap();
    }
    // Of what runs meanwhile half is due to either.
    bench.pass(Duration::from_secs(2));
    let told = worker(&mut bench, "lab-1");
    let own = told.lanes.iter().find(|lane| lane.namespace == namespace()).unwrap();
    let [WaitReason::Share { namespace: turn, user: None, .. }] = own.fairness.as_slice() else { panic!("{own:?}") };
    assert_eq!(*turn, other);
    let theirs = told.lanes.iter().find(|lane| lane.namespace == other).unwrap();
    assert!(theirs.fairness.is_empty(), "{theirs:?}");
    let attempt = super::bench::live(&bench, first);
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, JobEnd::Success);
    assert!(bench.state(theirs.first.task).is_live(), "it was their turn");
}

#[test]
fn who_waits_for_a_lock_is_told_of_no_worker_while_another_would_take_it() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    let holder = bench.one(locking("db"));
    let waiting = TaskRef::whole(bench.one(locking("db")));
    let kinds = |bench: &mut Bench| {
        let reasons = super::checks::explain(bench, waiting).unwrap().reasons;
        let is_of_a_worker =
            |reason: &&WaitReason| matches!(reason, WaitReason::NoRoom { .. } | WaitReason::WorkersUnavailable { .. });
        [reasons.len(), reasons.iter().filter(is_of_a_worker).count()]
    };
    assert_eq!(bench.state(holder), StateKind::Assigned);
    assert_eq!(kinds(&mut bench), [2, 1], "the one worker is full");
    bench.worker("lab-2", 1);
    assert_eq!(kinds(&mut bench), [1, 0], "the lock is all");
    bench.apply(bowline_core::Input::Disconnected { session });
    assert_eq!(kinds(&mut bench), [1, 0], "the other would take it");
}
