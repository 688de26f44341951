//! Random inputs, crashes among them, commits and reads that lag behind; after every step everything
//! that must hold is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::answer::Connection;
use bowline_core::gang::{Form, OnLost, Terms};
use bowline_core::id::{TaskId, TaskRef};
use bowline_core::input::{
    Completion, DryRun, Evaluation, IdempotencyKey, Input, NewTask, Request, RunVerb, Strict, Submit, TaskVerb,
};
use bowline_core::message::{DrainMode, FromWorker, JobEnd, KnownAs, Paused};
use bowline_core::name::{Key, ResourceName, UnitName, WorkerName};
use bowline_core::resource::{Ask, ResourceChange, Service, UnitSpec};
use bowline_core::run::{DueKind, Graph};
use bowline_core::spec::{Action, ArraySpec, Condition, Dependency, OnWorkerLoss, Overlap, TaskSpec, Work};
use bowline_core::state::StateKind;
use bowline_core::time::Span;
use bowline_core::worker::Room;
use proptest::prelude::*;

use super::bench::{Pace, error, namespace, new_task, node, noop};
use super::checks::{Seen, check, check_dead_session, explain, lasting, overview};
use super::limits;
use super::world::{PREFETCH, SLOTS, World};

/// One step: what, and two numbers to choose by.
type Step = (u8, u8, u8);

fn any_task(world: &World, a: u8) -> Option<TaskId> {
    let tasks = &world.bench.tables.tasks;
    (!tasks.is_empty()).then(|| *tasks.keys().nth(usize::from(a) % tasks.len()).unwrap())
}

fn any_unit(world: &World, a: u8, b: u8) -> Option<TaskRef> {
    let task = any_task(world, a)?;
    let array = world.bench.tables.tasks[&task].array;
    Some(match array {
        Some(array) if b % 3 > 0 => TaskRef::element(task, u32::from(b) % array.count),
        _ => TaskRef::whole(task),
    })
}

fn spec(world: &World, a: u8, b: u8) -> TaskSpec {
    let mut spec = noop();
    match a % 15 {
        0 => spec.retry.extra = u32::from(b % 3),
        1 => spec.delay = Some(Span::secs(u64::from(b % 20))),
        2 => spec.priority = i32::from(b) - 100,
        3 => spec.timeouts.queue = Some(Span::secs(u64::from(b % 30))),
        4 => {
            spec.timeouts.run = Some(Span::secs(u64::from(b % 30)));
            spec.retry.extra = 1;
        }
        5 => spec.timeouts.total = Some(Span::secs(10 + u64::from(b % 60))),
        6 => spec.work = Work::new(Action::Sleep(Span::secs(u64::from(b % 30)))),
        7 => spec.work = Work::new(Action::Wait),
        8 => spec.on_worker_loss = OnWorkerLoss::Fail,
        9 => spec.deadline = Some(world.bench.now.plus(Duration::from_secs(u64::from(b)))),
        10 => spec.timeouts.setup = Some(Span::secs(u64::from(b % 30))),
        11 => spec.overlap = Some(Overlap::Forbid),
        12 => {
            spec.overlap = Some(Overlap::Forbid);
            spec.stop_after = Some(Span::secs(10 + u64::from(b % 60)));
        }
        13 => {
            spec.on_worker_loss = OnWorkerLoss::Fail;
            spec.overlap = Some(Overlap::Allow);
            spec.lost_after = Some(Span::secs(u64::from(b % 90)));
        }
        _ => {}
    }
    if b % 3 == 1 {
        spec.resources = asks(a / 15, b);
        spec.release_while_retrying = a % 2 == 0;
    }
    spec
}

/// Two locks, a licence of three, two devices.
fn asks(a: u8, b: u8) -> Vec<Ask> {
    let name = |name: &str| ResourceName::new(name).unwrap();
    let with = |key: &str, value: &str| BTreeMap::from([(Key::new(key).unwrap(), value.to_owned())]);
    let device = |with| Ask::Unit { name: Some(name("dev")), with };
    match a % 10 {
        0 | 1 => vec![Ask::Exclusive { name: name("a") }],
        2 => vec![Ask::Exclusive { name: name("a") }, Ask::Shared { name: name("b") }],
        3 => vec![Ask::Shared { name: name("a") }],
        4 => vec![Ask::Exclusive { name: name("b") }, Ask::Counted { name: name("lic"), amount: 1 }],
        5 | 6 => vec![Ask::Counted { name: name("lic"), amount: u64::from(b % 4) }],
        7 => vec![device(with("model", "x"))],
        8 => vec![device(with("name", "two")), Ask::Shared { name: name("a") }],
        _ => vec![device(BTreeMap::new())],
    }
}

/// The licence and the devices change, or go out of service.
fn change_resource(world: &mut World, a: u8, b: u8) {
    let unit = |unit: &str, model: &str| UnitSpec {
        name: UnitName::new(unit).unwrap(),
        attributes: BTreeMap::from([(Key::new("model").unwrap(), model.to_owned())]),
    };
    let name = ResourceName::new(["lic", "dev", "a"][usize::from(a) % 3]).unwrap();
    let mut change = ResourceChange::default();
    match (a % 3, b % 4) {
        (_, 0) => change.service = Some(Service::Out("moving house".to_owned())),
        (_, 1) => change.service = Some(Service::In),
        (0, _) => change.capacity = Some(u64::from(b / 4 % 3) + 1),
        (1, 2) => change.units = Some(vec![unit("one", "x"), unit("two", "y")]),
        (1, _) => change.units = Some(vec![unit("two", "x")]),
        (_, _) => drop(world.bench.request(Request::DeleteResource { name: name.clone() })),
    }
    if change != ResourceChange::default() {
        drop(world.bench.request(Request::SetResource { name, change }));
    }
}

/// Everything that tasks ask for is there, and in service.
fn declare(world: &mut World) {
    for (a, b) in [(0, 11), (1, 2), (0, 1), (1, 1), (2, 1)] {
        change_resource(world, a, b);
    }
}

fn submit(world: &mut World, a: u8, b: u8) {
    let mut spec = spec(world, a, b);
    limits::limit(&mut spec, a, b);
    if b % 4 == 0
        && let Some(unit) = any_unit(world, b, a)
    {
        let on = [Condition::Ok, Condition::Any, Condition::Fail][usize::from(a) % 3];
        spec.after.push(Dependency { task: unit, on });
    }
    if b % 5 == 0 {
        let at_most = (a % 2 == 0).then_some(u32::from(a % 3) + 1);
        spec.array = Some(ArraySpec { first: 0, count: u32::from(a % 6) + 1, step: 1, at_most });
    }
    if b % 6 == 2 {
        return submit_gang(world, &spec, a, b);
    }
    let mut tasks = vec![new_task(spec)];
    if a % 4 == 0 {
        let after_earlier = vec![(0, Condition::Any)];
        tasks.push(NewTask { after_earlier, ..new_task(noop()) });
    }
    let key = (b % 7 == 0).then(|| IdempotencyKey { key: format!("key {}", a % 4), body: [b % 2; 32] });
    let dry_run = if b % 11 == 0 { DryRun::Yes } else { DryRun::No };
    drop(world.bench.submit_with(tasks, key, dry_run));
}

/// Two or three of the like, together in one of the ways that there are.
fn submit_gang(world: &mut World, spec: &TaskSpec, a: u8, b: u8) {
    let form = [Form::Together, Form::Distinct, Form::Chain][usize::from(a) % 3];
    let on_lost = if form == Form::Chain { OnLost::default() } else { OnLost::ALL[usize::from(b / 6) % 3] };
    let tasks: Vec<NewTask> = (0..2 + b / 18 % 2)
        .map(|place| {
            let mut spec = TaskSpec { array: None, on_worker_loss: OnWorkerLoss::Rerun, ..spec.clone() };
            // Two can never have the same lock at once: the first alone asks.
            if place > 0 && form != Form::Chain {
                spec.resources.clear();
            }
            if spec.work.action.is_held_by_server() {
                spec.work = Work::new(Action::Noop);
            }
            new_task(spec)
        })
        .collect();
    let submit = Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::No, strict: Strict::No };
    drop(world.bench.request(Request::SubmitGang(submit, Terms { form, on_lost })));
}

fn act(world: &mut World, which: usize, b: u8) {
    let jobs: Vec<_> = world.workers[which].jobs.iter().map(|(attempt, known)| (*attempt, *known)).collect();
    let live: Vec<_> = jobs.iter().filter(|(_, known)| matches!(known, KnownAs::Assigned | KnownAs::Running)).collect();
    if live.is_empty() {
        return;
    }
    let (attempt, known) = *live[usize::from(b) % live.len()];
    match (known, b % 8) {
        (KnownAs::Assigned, 0) => {
            world.workers[which].jobs.insert(attempt, KnownAs::EndedPending);
            world.report(which, FromWorker::Released { attempt, started: false, why: "no room".into() });
        }
        (KnownAs::Assigned, 1) => world.finish(which, attempt, error("could not begin")),
        (KnownAs::Assigned, _) => {
            world.workers[which].jobs.insert(attempt, KnownAs::Running);
            world.report(which, FromWorker::Started(attempt));
        }
        (_, 0) => {
            let (name, digest) = ("a.txt".to_owned(), format!("{b:064x}"));
            world.report(which, FromWorker::ArtifactCommitted { attempt, name, digest, bytes: 1 });
        }
        (KnownAs::Running, 3) => {
            world.workers[which].jobs.insert(attempt, KnownAs::EndedPending);
            world.report(which, FromWorker::Gone { attempt, why: "its supervisor died".into() });
        }
        (_, 1) => world.finish(which, attempt, error("no luck")),
        (_, 2) => {
            world.workers[which].jobs.insert(attempt, KnownAs::EndedPending);
            world.report(which, FromWorker::Released { attempt, started: true, why: "drained".into() });
        }
        (_, _) => world.finish(which, attempt, JobEnd::Success),
    }
}

fn evaluate(world: &mut World, b: u8) {
    let Some(due) = world.due.pop() else { return };
    let outcome = match (due.1, b % 5) {
        (DueKind::Result | DueKind::Node(_), 0) => Evaluation::Failed(bowline_core::state::JobError::default()),
        (DueKind::Result, _) => Evaluation::Result("{}".into()),
        (DueKind::Node(_), 1) => Evaluation::Nothing,
        (DueKind::Node(_), 2) => {
            let spec = TaskSpec { resources: asks(b / 5, b), ..noop() };
            Evaluation::Task(Box::new(new_task(spec)))
        }
        (DueKind::Node(_), _) => Evaluation::Task(Box::new(new_task(noop()))),
    };
    world.bench.evaluated(due, outcome);
}

fn pause(world: &mut World, a: u8, b: u8) {
    let paused = if b % 2 == 0 { Paused::Yes } else { Paused::No };
    let request = match a % 3 {
        0 => Request::Pause { namespace: None, paused },
        1 => Request::Pause { namespace: Some(namespace()), paused },
        _ => Request::PauseWorker { worker: WorkerName::new(format!("lab-{}", b / 2 % 3)).unwrap(), paused },
    };
    drop(world.bench.request(request));
}

fn drain(world: &mut World, which: usize, b: u8) {
    let name = world.workers[which].name.clone();
    let within = (b % 3 == 0).then(|| Duration::from_secs(u64::from(b % 30)));
    drop(match b % 5 {
        0 | 1 => world.bench.drain(&name, DrainMode::Finish, within),
        2 => world.bench.drain(&name, DrainMode::Release, None),
        3 => world.bench.drain(&name, DrainMode::Handoff, None),
        _ => world.bench.undrain(&name),
    });
}

fn say(world: &mut World, which: usize, b: u8) {
    let room = Room { slots: SLOTS.min(u32::from(b % 8)), ..Room::default() };
    let message = match b % 3 {
        // A worker that asks for more than it announced is given that: what is checked is what it announced.
        0 => FromWorker::Demand { attempts_max: u32::from(b % 5).min(SLOTS + PREFETCH), room },
        _ => FromWorker::Heartbeat,
    };
    if let Some(session) = world.workers[which].session {
        world.bench.say(session, message);
    }
}

#[expect(clippy::too_many_lines, reason = "one arm a kind of step")]
fn step(world: &mut World, (what, a, b): Step) {
    let which = usize::from(a) % world.workers.len();
    match what % 44 {
        0..=3 => submit(world, a, b),
        4 => drop(any_unit(world, a, b).map(|unit| world.bench.cancel(unit))),
        5 => drop(any_task(world, a).map(|task| world.bench.verb(TaskRef::whole(task), TaskVerb::Retry))),
        6 => {
            let verb = if b % 2 == 0 { TaskVerb::Pause } else { TaskVerb::Resume };
            drop(any_task(world, a).map(|task| world.bench.verb(TaskRef::whole(task), verb)));
        }
        7 => pause(world, a, b),
        8 => {
            let on = [Condition::Ok, Condition::Any, Condition::Fail];
            let (one, other) = (on[usize::from(a) % 3], on[usize::from(b) % 3]);
            let nodes = vec![
                node("a", &[]),
                node("b", &[(0, one)]),
                node("c", &[(0, other)]),
                node("d", &[(1, Condition::Any), (2, Condition::Ok)]),
            ];
            let asks = if b % 2 == 0 { asks(a, b) } else { Vec::new() };
            drop(world.bench.ask_for_graph(Graph { nodes, asks }));
        }
        9 | 10 => evaluate(world, b),
        11 | 12 => world.connect(which),
        13 => world.drop_connection(which),
        14 => match b % 3 {
            0 => world.reboot(which),
            _ => world.restart(which),
        },
        15..=17 => act(world, which, b),
        32 | 33 => drain(world, which, b),
        34 => world.move_away(which),
        35 => {
            let known = [KnownAs::Running, KnownAs::GivenBack, KnownAs::Failed, KnownAs::Gone];
            world.claim_left(which, known[usize::from(b) % 4]);
            world.connect(which);
        }
        36 => {
            let name = world.workers[which].name.clone();
            drop(world.bench.forget(&name));
        }
        37 => {
            let length = Duration::from_secs(u64::from(b % 90));
            world.bench.now = world.bench.now.plus(length);
            world.bench.apply(Input::StoodStill { length });
        }
        38 => {
            if let Some(unit) = any_unit(world, a, b) {
                let how = if b % 2 == 0 { Completion::Success(None) } else { Completion::Failure("no".into()) };
                drop(world.bench.verb(unit, TaskVerb::Resolve { how }));
            }
        }
        39 => drop(any_unit(world, a, b).map(|unit| world.bench.verb(unit, TaskVerb::Retry))),
        18 => {
            let message = (!world.sent.is_empty()).then(|| world.sent[usize::from(b) % world.sent.len()].clone());
            if let Some((message, session)) = message.zip(world.workers[which].session) {
                world.bench.say(session, message);
            }
        }
        19 => {
            let length = if b % 6 == 0 { 70 } else { u64::from(b % 12) };
            world.bench.pass(Duration::from_secs(length));
        }
        20 => say(world, which, b),
        21 => {
            // What was being committed is there after the crash, or is not.
            if b % 2 == 0 {
                world.bench.go_on(0);
            }
            world.crash();
        }
        22 => {
            let runs = world.bench.tables.runs.len();
            if runs > 0 {
                let run = *world.bench.tables.runs.keys().nth(usize::from(a) % runs).unwrap();
                let verbs = [RunVerb::Cancel, RunVerb::Retry, RunVerb::Pause, RunVerb::Resume];
                drop(world.bench.run_verb(run, verbs[usize::from(b) % 4]));
            }
        }
        24 => world.bench.pace = Pace::Lagging,
        25 => world.bench.catch_up(),
        26..=30 => world.bench.go_on(b),
        40 | 41 => change_resource(world, a, b),
        42 | 43 => limits::set_quotas(world, a, b),
        _ => match b % 4 {
            0 => drop(any_unit(world, a, b).map(|unit| world.bench.complete(unit))),
            1 => drop(any_task(world, a).map(|task| world.bench.verb(TaskRef::whole(task), TaskVerb::Delete))),
            2 => check_dead_session(world, usize::from(a), usize::from(b)),
            _ => drop(any_unit(world, a, b).map(|unit| explain(&mut world.bench, unit))),
        },
    }
    world.deliver();
    world.report_stopped();
}

/// I6: with workers there, the network healed and nothing paused, everything ends.
fn calm(world: &mut World) {
    for namespace in [None, Some(namespace())] {
        world.bench.request(Request::Pause { namespace, paused: Paused::No }).unwrap();
    }
    let names: Vec<_> = world.bench.tables.workers.values().map(|row| row.name.clone()).collect();
    for worker in names {
        world.bench.request(Request::PauseWorker { worker: worker.clone(), paused: Paused::No }).unwrap();
        world.bench.request(Request::UndrainWorker { worker }).unwrap();
    }
    let runs: Vec<_> = world.bench.tables.runs.keys().copied().collect();
    for run in runs {
        drop(world.bench.run_verb(run, RunVerb::Resume));
    }
    declare(world);
    limits::lift_quotas(world);
    world.deliver();
    for _ in 0..400 {
        if calm_once(world) {
            return;
        }
    }
    let left: Vec<_> = world.bench.tables.tasks.values().filter(|row| !row.unit.state.is_ended()).collect();
    let live: Vec<_> = world.bench.tables.attempts.values().filter(|row| row.end.is_none()).collect();
    let known: Vec<_> = world.workers.iter().map(|w| (&w.jobs, &w.outbox, w.session)).collect();
    let units: Vec<_> = world.bench.tables.elements.values().filter(|row| !row.unit.state.is_ended()).collect();
    panic!("I6: not everything ended: {left:?}\n{units:?}\n{live:?}\n{known:?}");
}

fn calm_once(world: &mut World) -> bool {
    for which in 0..world.workers.len() {
        if world.workers[which].session.is_none() {
            world.claim_left(which, KnownAs::GivenBack);
            world.connect(which);
        }
        if let Some(session) = world.workers[which].session {
            world.bench.say(session, FromWorker::Heartbeat);
            let room = Room { slots: SLOTS, ..Room::default() };
            world.bench.say(session, FromWorker::Demand { attempts_max: SLOTS + PREFETCH, room });
            world.deliver();
        }
        world.flush(which);
        act(world, which, 5);
    }
    // Of an identity under which nobody acts any more somebody vouches that nothing of it lives.
    let away: Vec<_> = overview(&mut world.bench).workers;
    for view in away.into_iter().filter(|view| view.connection != Connection::Connected) {
        drop(world.bench.request(Request::ForgetWorker { worker: view.name }));
    }
    while !world.due.is_empty() {
        evaluate(world, 4);
        world.deliver();
    }
    let open: Vec<_> = world.bench.tables.tasks.values().filter(|row| !row.unit.state.is_ended()).cloned().collect();
    for row in &open {
        let whole = TaskRef::whole(row.id);
        if row.paused.is_some() {
            drop(world.bench.verb(whole, TaskVerb::Resume));
        }
        if row.action == "wait" {
            let count = row.array.map_or(0, |array| array.count);
            drop(world.bench.complete(whole));
            (0..count).for_each(|index| drop(world.bench.complete(TaskRef::element(row.id, index))));
        }
        let elements = world.bench.tables.elements.range((row.id, 0)..=(row.id, u32::MAX));
        let doubted = elements.filter(|(_, row)| row.unit.state == StateKind::InDoubt).map(|((_, index), _)| *index);
        let doubted: Vec<TaskRef> = doubted.map(|index| TaskRef::element(row.id, index)).collect();
        for unit in doubted {
            drop(world.bench.cancel(unit));
        }
        if row.unit.state == StateKind::InDoubt {
            drop(world.bench.cancel(whole));
        }
    }
    world.bench.pass(Duration::from_secs(4));
    world.deliver();
    open.is_empty() && world.bench.tables.runs.values().all(|run| run.state.is_ended())
}

/// I11: an engine made of the rows says of every task what the one before said.
fn compare_explanations(world: &mut World) {
    for which in 0..world.workers.len() {
        world.drop_connection(which);
    }
    let units: Vec<TaskRef> = world.bench.tables.tasks.keys().map(|task| TaskRef::whole(*task)).collect();
    let before: Vec<_> = units.iter().map(|unit| explain(&mut world.bench, *unit).map(lasting)).collect();
    let counts = overview(&mut world.bench).states;
    world.crash();
    let after: Vec<_> = units.iter().map(|unit| explain(&mut world.bench, *unit).map(lasting)).collect();
    assert_eq!(before, after, "I11");
    assert_eq!(counts, overview(&mut world.bench).states, "I11");
    world.deliver();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn everything_that_must_hold_holds(steps in prop::collection::vec(any::<Step>(), 1..120)) {
        let mut world = World::new();
        let mut seen = Seen::default();
        declare(&mut world);
        (0..5).for_each(|which| world.connect(which));
        for next in steps {
            if next.0 % 44 == 40 && next.1 % 3 == 0 && world.bench.pace == Pace::AtOnce {
                world.backup = Some(world.bench.tables.clone());
            }
            if next.0 % 44 == 41 && world.bench.pace == Pace::AtOnce && world.roll_back() {
                seen = Seen::of(&world);
            }
            step(&mut world, next);
            check(&mut world, &mut seen);
        }
        world.bench.catch_up();
        world.deliver();
        world.report_stopped();
        compare_explanations(&mut world);
        check(&mut world, &mut seen);
        calm(&mut world);
        check(&mut world, &mut seen);
        world.bench.replay();
    }
}
