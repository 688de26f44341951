//! A quiet copy of a cluster: the engine, made anew of the rows as they are, and moved by hand. There is no network in it, no
//! process, and no time but what it is given. [`remedy`] asks it why a task waits, and does what it says.

mod fair;
mod hold;
pub mod remedy;

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::answer::{Answer, RefusalCode, Reply, WorkerView};
use bowline_core::effect::Effect;
use bowline_core::explain::{Explanation, WorkerReason};
use bowline_core::id::{AttemptRef, Epoch, Incarnation, ReplyTo, SessionId, TaskRef};
use bowline_core::input::{Completion, Input, Request, TaskVerb};
use bowline_core::message::{Finished, FromWorker, Hello, JobEnd, KnownAs};
use bowline_core::name::{Actor, Namespace, ResourceName, WorkerName};
use bowline_core::row::{Loaded, WorkerRow};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;
use bowline_core::worker::{Health, Offer, Seat};
use bowline_core::{Engine, EngineConfig};
use bowline_leader::facts;
use bowline_store::{LeaderStore, MemoryStore, ReadStore};

use crate::workload::verbs::namespace;

/// Batches that follow from one input at most.
const TURNS_MAX: usize = 100;

/// See the module.
#[derive(Debug)]
pub struct Fork {
    store: MemoryStore,
    engine: Engine,
    epoch: Epoch,
    now: Timestamp,
    replies: u64,
    sessions: u64,
    /// Sessions that are open.
    open: BTreeMap<WorkerName, SessionId>,
    /// Workers that were brought.
    brought: u32,
    /// What is said cannot be removed by anybody.
    is_hopeless: bool,
}

impl Fork {
    /// A copy of what this store holds now, and an engine that leads it. `None`: the store has no room for one.
    pub fn of(store: &MemoryStore) -> Option<Self> {
        let mut store = store.copy();
        let leadership = store.take_leadership(Timestamp::default()).ok()?;
        let mut engine = Engine::new(EngineConfig::new(leadership.epoch, leadership.generation, 1));
        store.load(&mut |row| engine.load(row)).ok()?;
        engine.loaded(leadership.now);
        let (epoch, now) = (leadership.epoch, leadership.now);
        let (open, brought, is_hopeless) = (BTreeMap::new(), 0, false);
        let (replies, sessions) = (0, 1 << 40);
        let mut fork = Self { store, engine, epoch, now, replies, sessions, open, brought, is_hopeless };
        fork.settle();
        Some(fork)
    }

    /// Everything that waits for a time, for others, for resources or for a worker.
    pub fn waiting(&mut self) -> Vec<TaskRef> {
        let mut waiting = Vec::new();
        let mut stopping = BTreeSet::new();
        let waits = |state: StateKind| {
            matches!(state, StateKind::Scheduled | StateKind::Blocked | StateKind::Waiting | StateKind::Ready)
        };
        for row in self.rows() {
            match row {
                // Nobody asks about other namespaces' tasks.
                Loaded::Task(task, _) if task.namespace != namespace() => {
                    stopping.insert(task.id);
                }
                Loaded::Task(task, _) if waits(task.unit.state) => waiting.push(TaskRef::whole(task.id)),
                Loaded::Task(task, _) if task.unit.state != StateKind::Running => {
                    stopping.insert(task.id);
                }
                Loaded::Element(element) if waits(element.unit.state) && !stopping.contains(&element.task) => {
                    waiting.push(TaskRef::element(element.task, element.index));
                }
                _ => {}
            }
        }
        waiting
    }

    /// Who holds what, by the rows.
    fn held(&mut self) -> BTreeMap<ResourceName, BTreeSet<TaskRef>> {
        let mut held: BTreeMap<ResourceName, BTreeSet<TaskRef>> = BTreeMap::new();
        for row in self.rows() {
            let (unit, grants) = match row {
                Loaded::Task(task, _) => (TaskRef::whole(task.id), task.unit.held),
                Loaded::Element(element) => (TaskRef::element(element.task, element.index), element.unit.held),
                _ => continue,
            };
            for grant in grants {
                held.entry(grant.name).or_default().insert(unit);
            }
        }
        held
    }

    fn rows(&mut self) -> Vec<Loaded> {
        let mut rows = Vec::new();
        // A store in memory can always be read.
        self.store.load(&mut |row| rows.push(row)).ok();
        rows
    }

    fn apply(&mut self, input: Input) -> Vec<Effect> {
        self.engine.apply(self.now, input);
        self.settle()
    }

    /// Commits until nothing is left to be committed or read. What follows from it.
    fn settle(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..TURNS_MAX {
            let batch = self.engine.take_batch();
            let needs = self.engine.take_needs();
            if batch.is_empty() && needs.is_empty() {
                break;
            }
            if !batch.is_empty() {
                let is_done = self.store.commit(self.epoch, self.now, &batch).is_ok();
                if is_done {
                    self.engine.durable(batch.number);
                    effects.extend(batch.effects);
                }
            }
            for (park, needs) in needs {
                if let Ok(facts) = facts(&self.store, &needs) {
                    self.engine.apply(self.now, Input::Facts { park, facts });
                }
            }
        }
        effects
    }

    fn request(&mut self, request: Request) -> Reply {
        self.replies += 1;
        let to = ReplyTo(self.replies);
        let effects = self.apply(Input::Request { reply: to, actor: Actor::new("ada"), request });
        let own = effects.into_iter().find_map(|effect| match effect {
            Effect::Reply { to: other, reply } if other == to => Some(reply),
            _ => None,
        });
        own.unwrap_or_else(|| Err(bowline_core::answer::Refusal::new(RefusalCode::Busy, "it was not answered")))
    }

    /// Why it waits.
    fn explain(&mut self, task: TaskRef) -> Option<Explanation> {
        let namespace = self.namespace_of(task);
        match self.request(Request::Explain { namespace, task }) {
            Ok(Answer::Explained(explanation)) => Some(*explanation),
            _ => None,
        }
    }

    /// Where a task lives: others than those that are asked about may be in its way.
    fn namespace_of(&self, unit: TaskRef) -> Namespace {
        let found = self.store.task(unit.task).ok().flatten();
        found.map_or_else(namespace, |found| found.row.namespace)
    }

    /// Why a worker is given nothing.
    fn explain_worker(&mut self, worker: &WorkerName) -> Vec<WorkerReason> {
        match self.request(Request::ExplainWorker { worker: worker.clone() }) {
            Ok(Answer::WorkerExplained(explained)) => explained.reasons,
            _ => Vec::new(),
        }
    }

    fn workers(&mut self) -> Vec<WorkerView> {
        match self.request(Request::Overview) {
            Ok(Answer::Overview(overview)) => overview.workers,
            _ => Vec::new(),
        }
    }

    /// How far tasks and elements are from their end: one step for each that has not ended, another one where it has not begun.
    fn unfinished(&mut self) -> u64 {
        let steps = |state: StateKind| 1 + u64::from(!state.is_live());
        match self.request(Request::Overview) {
            Ok(Answer::Overview(overview)) => overview.states.iter().map(|(state, count)| steps(*state) * count).sum(),
            _ => u64::MAX,
        }
    }

    /// Live attempts, each with who has it.
    fn live(&mut self) -> Vec<(WorkerName, AttemptRef)> {
        let workers = self.workers().into_iter();
        workers.flat_map(|worker| worker.attempts.into_iter().map(move |of| (worker.name.clone(), of))).collect()
    }

    /// It is that time; whoever is connected was heard until then.
    fn pass_to(&mut self, moment: Timestamp) {
        self.now = self.now.max(moment);
        for session in self.open.values().copied().collect::<Vec<_>>() {
            self.apply(Input::FromWorker { session, message: FromWorker::Heartbeat });
        }
        self.apply(Input::Tick);
    }

    /// A worker is there, with everything that the server thinks it has.
    fn connect(&mut self, name: &WorkerName) {
        if self.open.contains_key(name) {
            return;
        }
        let Ok(Some(row)) = self.store.worker(name) else { return };
        let Some(offer) = row.offer.clone() else { return };
        let view = self.workers().into_iter().find(|view| view.name == *name);
        let attempts = view.map(|view| view.attempts).unwrap_or_default();
        self.sessions += 1;
        let session = SessionId(self.sessions);
        let key = row.key;
        let hello = Box::new(hello(row, offer, &attempts));
        self.apply(Input::Connected { session, hello, key });
        if self.engine.worker_of(session).is_none() {
            return;
        }
        self.open.insert(name.clone(), session);
        for attempt in attempts {
            self.say(name, FromWorker::Started(attempt));
        }
    }

    /// Another worker, which offers this.
    fn bring(&mut self, offer: Offer) {
        self.brought += 1;
        let Ok(worker) = WorkerName::new(format!("brought-{}", self.brought)) else { return };
        let key = [9; 32];
        if self.request(Request::Enrol { token: None, worker: worker.clone(), key }).is_err() {
            return;
        }
        let Ok(Some(row)) = self.store.worker(&worker) else { return };
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.apply(Input::Connected { session, hello: Box::new(hello(row, offer, &[])), key });
        self.open.insert(worker, session);
    }

    fn say(&mut self, worker: &WorkerName, message: FromWorker) {
        let Some(session) = self.open.get(worker).copied() else { return };
        self.apply(Input::FromWorker { session, message });
    }

    /// An attempt ends well, or as it was told to.
    fn finish(&mut self, worker: &WorkerName, attempt: AttemptRef) {
        self.connect(worker);
        for how in [JobEnd::Success, JobEnd::Stopped] {
            if !self.live().iter().any(|(_, live)| *live == attempt) {
                return;
            }
            self.say(worker, FromWorker::Finished(Finished { attempt, how, result: None }));
        }
        let why = "it was told to".to_owned();
        self.say(worker, FromWorker::Released { attempt, started: true, why });
    }

    /// A worker gives an attempt back.
    fn release(&mut self, worker: &WorkerName, attempt: AttemptRef) {
        self.connect(worker);
        let why = "it was told to".to_owned();
        self.say(worker, FromWorker::Released { attempt, started: true, why });
    }

    /// What lives of this task, or of all its elements, ends well. Whether anything did.
    fn finish_all(&mut self, unit: TaskRef) -> bool {
        let is_of =
            |attempt: &AttemptRef| attempt.task == unit || (unit.index.is_none() && attempt.task.task == unit.task);
        let live: Vec<_> = self.live().into_iter().filter(|(_, attempt)| is_of(attempt)).collect();
        for (worker, attempt) in &live {
            self.finish(worker, *attempt);
        }
        let held = self.held_by_the_server(unit);
        for (one, until) in &held {
            match until {
                None if self.end_holding_run(*one) => {}
                Some(until) => self.pass_to(*until),
                None => self.act(*one, TaskVerb::Complete { how: Completion::Success(None) }),
            }
        }
        !live.is_empty() || !held.is_empty()
    }

    /// What of this task, or of its elements, the server itself holds, and until when it sleeps.
    fn held_by_the_server(&mut self, unit: TaskRef) -> Vec<(TaskRef, Option<Timestamp>)> {
        let mut held = Vec::new();
        for row in self.rows() {
            let (one, found) = match row {
                Loaded::Task(task, _) if task.array.is_none() => (TaskRef::whole(task.id), task.unit),
                Loaded::Element(element) => (TaskRef::element(element.task, element.index), element.unit),
                _ => continue,
            };
            let is_of = one == unit || (unit.index.is_none() && one.task == unit.task);
            if is_of && found.state == StateKind::Running && found.worker.is_none() {
                held.push((one, found.until));
            }
        }
        held
    }

    fn act(&mut self, unit: TaskRef, what: TaskVerb) {
        // What cannot be done is seen when it is asked for again.
        let namespace = self.namespace_of(unit);
        self.request(Request::Tasks { namespace, tasks: vec![unit], verb: what }).ok();
    }

    /// It is over, however.
    fn end(&mut self, unit: TaskRef) {
        if self.end_holding_run(unit) {
            return;
        }
        self.finish_all(unit);
        self.act(unit, TaskVerb::Resolve { how: Completion::Success(None) });
        self.act(unit, TaskVerb::Complete { how: Completion::Success(None) });
        if self.explain(unit).is_some_and(|explained| !explained.state.is_ended()) {
            self.act(unit, TaskVerb::Cancel { why: "it is in the way".to_owned() });
            self.finish_all(unit);
        }
    }
}

fn hello(row: WorkerRow, offer: Offer, attempts: &[AttemptRef]) -> Hello {
    let seat = row.seat.unwrap_or_else(|| Seat {
        state_dir: format!("dir of {}", row.name),
        boot_id: "boot".to_owned(),
        process: format!("process of {}", row.name),
        said_at: None,
    });
    Hello {
        name: row.name,
        pool: row.pool,
        incarnation: if row.incarnation == Incarnation::default() { Incarnation(0) } else { row.incarnation },
        seat: Seat { said_at: None, ..seat },
        version: "sim".to_owned(),
        offer,
        prefetch: 0,
        health: Health::Ok,
        seen: None,
        attempts: attempts.iter().map(|attempt| (*attempt, KnownAs::Running)).collect(),
    }
}
