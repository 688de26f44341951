//! Finding a task for a worker that has got room, among many lanes and many workers: the engine alone, in the bench's
//! own process. What is timed is the whole input that frees the worker, the match among it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bowline_core::effect::Effect;
use bowline_core::id::{AttemptRef, Incarnation, SessionId};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit};
use bowline_core::message::{Finished, FromWorker, Hello, JobEnd, ToWorker};
use bowline_core::name::{Key, Namespace, WorkerName};
use bowline_core::spec::{Action, Requirement, TaskSpec, Work};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_core::{Engine, Input};

use crate::args::Plan;
use crate::clock::{self, Stopwatch};
use crate::engine::{fresh_engine, request};
use crate::figures::{median, percentile};
use crate::row::{Row, Runs};

/// Tasks in each lane.
const IN_EACH: u32 = 5;
/// Matches that are timed.
const MATCHES: usize = 20_000;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut runs = Runs::default();
    for _ in 0..plan.runs {
        let each = matches(plan.size.matching)?;
        runs.add(median(&each)).more("p99_us", percentile(&each, 99));
    }
    Ok(vec![runs.row("match", "µs", Some("≤ 20, the median"))])
}

fn matches((workers, sets, lanes): (u32, u32, u32)) -> Result<Vec<f64>> {
    let mut engine = fresh_engine();
    engine.loaded(clock::now());
    for lane in 0..lanes {
        fill(&mut engine, lane, sets)?;
    }
    (0..workers).try_for_each(|worker| connect(&mut engine, worker, sets))?;
    let (mut waiting, mut each) = (std::collections::VecDeque::new(), Vec::new());
    settle(&mut engine, &mut waiting)?;
    ensure!(waiting.len() == workers as usize, "{} of {workers} workers were given something", waiting.len());
    while each.len() < MATCHES {
        let Some((session, attempt)) = waiting.pop_front() else { break };
        engine.apply(clock::now(), Input::FromWorker { session, message: FromWorker::Started(attempt) });
        settle(&mut engine, &mut waiting)?;
        let ended = FromWorker::Finished(Finished { attempt, how: JobEnd::Success, result: None });
        let now = clock::now();
        let watch = Stopwatch::start();
        engine.apply(now, Input::FromWorker { session, message: ended });
        let took = watch.elapsed().as_secs_f64() * 1e6;
        let before = waiting.len();
        settle(&mut engine, &mut waiting)?;
        if waiting.len() > before {
            each.push(took);
        }
    }
    ensure!(!each.is_empty(), "there was nothing to match");
    Ok(each)
}

/// Takes what the engine made as durable, and notes what was given to whom.
fn settle(engine: &mut Engine, waiting: &mut std::collections::VecDeque<(SessionId, AttemptRef)>) -> Result<()> {
    let batch = engine.take_batch();
    engine.durable(batch.number);
    for effect in batch.effects {
        match effect {
            Effect::Send { session, message: ToWorker::Assign(assign) } => waiting.push_back((session, assign.attempt)),
            Effect::Reply { reply, .. } => drop(reply.context("the engine refused a request")?),
            Effect::Send { .. } | Effect::Close { .. } | Effect::Evaluate { .. } => {}
        }
    }
    Ok(())
}

/// What a worker of this set has, and a lane of it asks for.
fn set(number: u32, sets: u32) -> Result<Key> {
    Ok(Key::new(format!("set-{}", number % sets))?)
}

/// A lane: tasks that ask for the same, and for no more than the next ones.
fn fill(engine: &mut Engine, lane: u32, sets: u32) -> Result<()> {
    let mut spec = TaskSpec::new(Work::new(Action::Noop));
    spec.requires = vec![Requirement { key: set(lane, sets)?, value: None }];
    spec.amounts = BTreeMap::from([(Key::new("load")?, u64::from(lane / sets) + 1)]);
    let spec = Arc::new(spec);
    let task = || NewTask { spec: Arc::clone(&spec), elements: Arc::default(), after_earlier: Vec::new() };
    let tasks = (0..IN_EACH).map(|_| task()).collect();
    let namespace = Namespace::default();
    let submit = Submit { namespace, tasks, key: None, dry_run: DryRun::No, strict: Strict::No };
    engine.apply(clock::now(), request(Request::Submit(submit)));
    Ok(())
}

fn connect(engine: &mut Engine, number: u32, sets: u32) -> Result<()> {
    let (name, key) = (WorkerName::new(format!("w{number}"))?, [1; 32]);
    engine.apply(clock::now(), request(Request::Enrol { token: None, worker: name.clone(), key }));
    let seat = format!("seat-{number}");
    let hello = Hello {
        pool: None,
        name,
        incarnation: Incarnation(0),
        seat: Seat { state_dir: seat.clone(), boot_id: seat.clone(), process: seat, said_at: None },
        version: env!("CARGO_PKG_VERSION").into(),
        offer: Offer {
            capabilities: BTreeMap::from([(set(number, sets)?, None)]),
            actions: vec!["noop".into()],
            room: Room { slots: 1, amounts: BTreeMap::from([(Key::new("load")?, 1_000_000)]) },
        },
        prefetch: 0,
        health: Health::Ok,
        seen: None,
        attempts: Vec::new(),
    };
    let session = SessionId(u64::from(number) + 1);
    engine.apply(clock::now(), Input::Connected { session, hello: Box::new(hello), key });
    Ok(())
}
