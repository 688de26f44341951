//! The engine, moved by a worker that the bench itself plays: every attempt that it is given starts
//! and ends at once. With a store each batch is committed before its effects count, one after the
//! other: the leader does better, since it applies one batch while the last one commits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bowline_core::effect::{Batch, Effect};
use bowline_core::id::{AttemptRef, Epoch, Generation, Incarnation, ReplyTo, SessionId};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit};
use bowline_core::message::{Finished, FromWorker, Hello, JobEnd, ToWorker};
use bowline_core::name::{Actor, Namespace, WorkerName};
use bowline_core::spec::{Action, SUBMIT_TASKS_MAX, TaskSpec, Work};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_core::{Engine, EngineConfig, Input};
use bowline_store::LeaderStore;

use crate::clock::{self, Stopwatch};

/// Slots of the worker that the bench plays; what it holds beyond them is prefetch.
const SLOTS: u32 = 16;
/// Attempts that it holds at a time.
const IN_FLIGHT: u32 = 1_024;
const SESSION: SessionId = SessionId(1);

/// What the engine did by itself.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) tasks_per_second: f64,
    pub(crate) batches: Vec<Batch>,
}

/// The engine alone, and the batches that it made.
pub(crate) fn alone(tasks: u64) -> Result<Recorded> {
    let mut driver = Driver::new(tasks, fresh_engine());
    let mut batches = Vec::new();
    let watch = Stopwatch::start();
    driver.run(|batch| {
        batches.push(batch);
        Ok(())
    })?;
    Ok(Recorded { tasks_per_second: watch.per_second(tasks), batches })
}

/// The engine and a store. Tasks a second.
pub(crate) fn with_store(folder: &Path, tasks: u64) -> Result<f64> {
    let mut store = bowline_store_sqlite::open(&folder.join("engine.db"))?.store;
    let led = store.take_leadership(clock::now())?;
    let mut engine = Engine::new(EngineConfig::new(led.epoch, led.generation, 1));
    store.load(&mut |row| engine.load(row))?;
    let mut driver = Driver::new(tasks, engine);
    let watch = Stopwatch::start();
    driver.run(|batch| {
        store.commit(led.epoch, clock::now(), &batch)?;
        Ok(())
    })?;
    Ok(watch.per_second(tasks))
}

/// Submits and works until all tasks have ended.
struct Driver {
    engine: Engine,
    tasks: u64,
    submitted: u64,
    finished: u64,
}

impl Driver {
    fn new(tasks: u64, mut engine: Engine) -> Self {
        engine.loaded(clock::now());
        let worker = WorkerName::new("bench").expect("the name is good");
        let enrol = Request::Enrol { token: None, worker: worker.clone(), key: [1; 32] };
        engine.apply(clock::now(), request(enrol));
        let hello = Hello {
            pool: None,
            name: worker,
            incarnation: Incarnation(0),
            seat: Seat { state_dir: "bench".into(), boot_id: "bench".into(), process: "bench".into(), said_at: None },
            version: env!("CARGO_PKG_VERSION").into(),
            offer: Offer {
                capabilities: BTreeMap::new(),
                actions: vec!["noop".into()],
                room: Room { slots: SLOTS, amounts: BTreeMap::new() },
            },
            prefetch: IN_FLIGHT - SLOTS,
            health: Health::Ok,
            seen: None,
            attempts: Vec::new(),
        };
        engine.apply(clock::now(), Input::Connected { session: SESSION, hello: Box::new(hello), key: [1; 32] });
        Self { engine, tasks, submitted: 0, finished: 0 }
    }

    fn run(&mut self, mut commit: impl FnMut(Batch) -> Result<()>) -> Result<()> {
        while self.finished < self.tasks {
            if self.submitted < self.tasks {
                self.submit();
            }
            let mut batch = self.engine.take_batch();
            let effects = std::mem::take(&mut batch.effects);
            let number = batch.number;
            if !batch.is_rowless() {
                commit(batch)?;
            }
            self.engine.durable(number);
            let given = self.work(effects)?;
            ensure!(given > 0 || self.submitted < self.tasks, "the engine gives nothing to do any more");
        }
        let batch = self.engine.take_batch();
        if batch.is_rowless() { Ok(()) } else { commit(batch) }
    }

    /// As many tasks as one submit may have.
    fn submit(&mut self) {
        let count = (self.tasks - self.submitted).min(SUBMIT_TASKS_MAX as u64);
        self.engine.apply(clock::now(), submit(count));
        self.submitted += count;
    }

    /// Plays the worker: how many attempts were given.
    fn work(&mut self, effects: Vec<Effect>) -> Result<u64> {
        let mut given = 0;
        for effect in effects {
            match effect {
                Effect::Send { message: ToWorker::Assign(assign), .. } => {
                    self.finish(assign.attempt);
                    given += 1;
                }
                Effect::Reply { reply, .. } => {
                    reply.context("the engine refused a request")?;
                }
                Effect::Send { .. } | Effect::Close { .. } | Effect::Evaluate { .. } => {}
            }
        }
        self.finished += given;
        Ok(given)
    }

    fn finish(&mut self, attempt: AttemptRef) {
        let finished = Finished { attempt, how: JobEnd::Success, result: None };
        for message in [FromWorker::Started(attempt), FromWorker::Finished(finished)] {
            self.engine.apply(clock::now(), Input::FromWorker { session: SESSION, message });
        }
    }
}

/// So many tasks that do nothing, in one submit: one description, as the server's door makes it of equal ones.
pub(crate) fn submit(count: u64) -> Input {
    let task = NewTask {
        spec: Arc::new(TaskSpec::new(Work::new(Action::Noop))),
        elements: Arc::default(),
        after_earlier: Vec::new(),
    };
    let tasks = (0..count).map(|_| task.clone()).collect();
    let namespace = Namespace::default();
    request(Request::Submit(Submit { namespace, tasks, key: None, dry_run: DryRun::No, strict: Strict::No }))
}

/// An engine that leads and remembers nothing.
pub(crate) fn fresh_engine() -> Engine {
    Engine::new(EngineConfig::new(Epoch(1), Generation(0), 1))
}

/// Something that the administrator asks for.
pub(crate) fn request(request: Request) -> Input {
    Input::Request { reply: ReplyTo(0), actor: Actor::new("bench"), request }
}
