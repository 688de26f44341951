//! The engine: one method moves it.
//!
//! An input is applied, or parked where it needs what is not in memory; then lanes are matched with
//! workers. Time passes by an input of its own. Every part has a file of its own below
//! this one; only [`unit`] changes a unit's state, and only as [`crate::machine`] says.

mod able;
mod array;
mod aside;
mod check;
mod claim;
mod delivery;
mod dense;
mod depend;
mod drain;
mod element;
mod explain;
mod fair;
mod gang;
mod gate;
mod grant;
mod hold;
mod identity;
mod keep;
mod key;
mod known;
mod lane;
mod late;
mod limit;
mod lines;
mod load;
mod out;
mod overview;
mod park;
mod pause;
mod quota;
mod report;
mod resource;
mod retention;
mod run;
mod session;
mod share;
mod side;
mod sorted;
mod submit;
mod table;
mod timer;
mod unit;
mod verb;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::answer::{Answer, Reply};
use crate::effect::{Batch, Effect};
use crate::id::{AttemptRef, Epoch, Generation, ParkId, RunId, SessionId, TaskId, TaskRef, WorkerId};
use crate::input::{Input, Need, Request, Token};
use crate::name::{Actor, Namespace, WorkerName};
use crate::row::{AttemptRow, Counters, KeyRow, Loaded};
use crate::state::StateKind;
use crate::time::Timestamp;

pub use quota::check_change as check_namespace_change;
pub use resource::check_change as check_resource_change;

/// How patient the engine is with workers. Bounds and defaults are the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Workers say that they are there this often. 5 s.
    pub heartbeat: Duration,
    /// Without a heartbeat for so long a worker is suspect and given nothing new. 15 s.
    pub suspect_after: Duration,
    /// Without a heartbeat for so long an attempt is lost, where its task names nothing else and a second
    /// one may overlap with it. 60 s.
    pub lost_after: Duration,
    /// Nothing is lost for so long after a take-over, except by proof. 30 s.
    pub take_over_grace: Duration,
    /// On top of `stop_after` and the job's grace, until an attempt that its supervisor must have killed
    /// counts as lost. 10 s.
    pub stop_margin: Duration,
    /// An assignment not begun this long after it arrived is given back. 30 s.
    pub start_by: Duration,
    /// A failure sooner than this after the start speaks against the worker. 10 s.
    pub quick_within: Duration,
    /// A worker that was put aside is tried with one task after so long. 5 min.
    pub aside_for: Duration,
    /// An identity of a pool whose holder is gone for so long, and that holds nothing, may be given to
    /// another. 10 min.
    pub pool_gone_after: Duration,
    /// A ticket that no connected worker is able to serve for so long stands aside. 5 min.
    pub aside_after: Duration,
    /// A task counts as though it had come earlier by this, for each level of its priority. 10 min.
    pub ageing: Duration,
    /// Who needs more room than any worker has free, and has been the first of its kind for so long, has a worker kept free
    /// for it. 1 min.
    pub keep_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            suspect_after: Duration::from_secs(15),
            lost_after: Duration::from_mins(1),
            take_over_grace: Duration::from_secs(30),
            stop_margin: Duration::from_secs(10),
            start_by: Duration::from_secs(30),
            quick_within: Duration::from_secs(10),
            aside_for: Duration::from_mins(5),
            pool_gone_after: Duration::from_mins(10),
            aside_after: Duration::from_mins(5),
            ageing: Duration::from_mins(10),
            keep_after: Duration::from_mins(1),
        }
    }
}

/// What can be set about the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Who leads.
    pub epoch: Epoch,
    /// The store's generation: part of every fence.
    pub generation: Generation,
    /// Seeds the jitter of backoffs.
    pub seed: u64,
    /// How patient it is.
    pub timing: Timing,
}

impl EngineConfig {
    /// With the model's patience.
    pub fn new(epoch: Epoch, generation: Generation, seed: u64) -> Self {
        Self { epoch, generation, seed, timing: Timing::default() }
    }
}

/// All hot state and every rule. See the crate's documentation.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    now: Timestamp,
    /// When this leadership began.
    led_from: Timestamp,
    /// The last batch known to be durable.
    durable: u64,
    counters: Counters,
    tasks: dense::Dense<table::Task>,
    /// Removed, until that is durable: what a fact says of them is stale.
    tasks_gone: BTreeMap<TaskId, u64>,
    /// The same of runs.
    runs_gone: BTreeMap<RunId, u64>,
    /// What ended by then may be removed from the store at this moment.
    sweeping: Option<Timestamp>,
    unfinished_arrays: BTreeSet<TaskId>,
    /// Live attempts.
    attempts: BTreeMap<AttemptRef, AttemptRow>,
    /// Attempts that were lost, of rounds that have not ended.
    lost: BTreeMap<AttemptRef, AttemptRow>,
    dependents: BTreeMap<TaskRef, BTreeSet<TaskId>>,
    runs: BTreeMap<RunId, run::Run>,
    workers: BTreeMap<WorkerId, worker::Worker>,
    worker_names: BTreeMap<WorkerName, WorkerId>,
    sessions: BTreeMap<SessionId, WorkerId>,
    /// Workers with room, in the order in which they are asked.
    free: BTreeSet<(worker::FreeKey, WorkerId)>,
    /// Workers that may have got room since the last matching.
    freed: BTreeSet<WorkerId>,
    lanes: lane::Lanes,
    /// Units that stand in another lane than their task's.
    sides: BTreeMap<TaskRef, side::Side>,
    keeping: keep::Keeping,
    lines: lines::Lines,
    gangs: gang::Gangs,
    /// Unfinished tasks that ask for resources, by lane.
    asking: BTreeMap<lane::LaneId, able::Asking>,
    gates: gate::Gates,
    /// When a start that a rate counts no longer counts.
    rates_timer: table::At,
    /// Namespaces of which something is set.
    rooms: BTreeMap<Namespace, quota::Tenant>,
    usages: BTreeMap<Namespace, quota::Usage>,
    /// Namespaces whose lanes wait for their quota.
    held_back: BTreeSet<Namespace>,
    shares: share::Shares,
    policies: table::Policies,
    pauses: pause::Pauses,
    timers: BTreeSet<(Timestamp, timer::Timer)>,
    keys: BTreeMap<park::KeyName, KeyRow>,
    known_keys: known::KnownKeys,
    tokens: BTreeMap<[u8; 32], Token>,
    counts: BTreeMap<StateKind, u64>,
    evidence_seen: BTreeSet<AttemptRef>,
    artifacts_seen: BTreeMap<(AttemptRef, String), String>,
    parking: park::Parking,
    evictions: park::Evictions,
    out: out::Out,
}

impl Engine {
    /// An empty engine.
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            now: Timestamp::default(),
            led_from: Timestamp::default(),
            durable: 0,
            counters: Counters::default(),
            tasks: dense::Dense::default(),
            tasks_gone: BTreeMap::new(),
            runs_gone: BTreeMap::new(),
            sweeping: None,
            unfinished_arrays: BTreeSet::new(),
            attempts: BTreeMap::new(),
            lost: BTreeMap::new(),
            dependents: BTreeMap::new(),
            runs: BTreeMap::new(),
            workers: BTreeMap::new(),
            worker_names: BTreeMap::new(),
            sessions: BTreeMap::new(),
            free: BTreeSet::new(),
            freed: BTreeSet::new(),
            lanes: lane::Lanes::default(),
            sides: BTreeMap::new(),
            keeping: keep::Keeping::default(),
            lines: lines::Lines::default(),
            gangs: gang::Gangs::default(),
            asking: BTreeMap::new(),
            gates: gate::Gates::default(),
            rates_timer: table::At::default(),
            rooms: BTreeMap::new(),
            usages: BTreeMap::new(),
            held_back: BTreeSet::new(),
            shares: share::Shares::default(),
            policies: table::Policies::default(),
            pauses: pause::Pauses::default(),
            timers: BTreeSet::new(),
            keys: BTreeMap::new(),
            known_keys: known::KnownKeys::default(),
            tokens: BTreeMap::new(),
            counts: BTreeMap::new(),
            evidence_seen: BTreeSet::new(),
            artifacts_seen: BTreeMap::new(),
            parking: park::Parking::default(),
            evictions: park::Evictions::default(),
            out: out::Out::default(),
        }
    }

    /// Takes one row at a take-over. Rows come in the order of [`Loaded`].
    pub fn load(&mut self, row: Loaded) {
        self.load_row(row);
    }

    /// All rows are loaded: indexes are built, leases start afresh, what is due is due again.
    pub fn loaded(&mut self, now: Timestamp) {
        self.put_in_place(now);
        self.give_out();
    }

    /// Moves the engine. A `now` before the last one counts as the last one. Whatever is due by `now`
    /// happens at [`Input::Tick`] alone: who has spoken in time is heard before anything is held against
    /// him, so whoever drives the engine applies what has come in first, and Tick after it.
    pub fn apply(&mut self, now: Timestamp, input: Input) {
        self.advance_clock(now);
        match input {
            Input::Tick => self.fire_timers(),
            Input::Facts { park, facts } => {
                if let Some(input) = self.unpark(park, facts) {
                    self.take(input);
                }
                // Only now: what stayed for the sake of this input is older news in its facts.
                self.evict();
            }
            other => {
                if let Some(input) = self.park(other) {
                    self.take(input);
                }
            }
        }
        self.give_out();
    }

    /// Resources go to whoever is first in line, tasks to workers with room: as long as one follows from the other.
    fn give_out(&mut self) {
        loop {
            self.serve_gangs();
            self.serve_lines();
            self.match_lanes();
            self.note_full();
            self.note_firsts();
            if !self.drop_stale_keeps() && self.lines.is_still() && self.gangs.is_still() && self.gates.is_still() {
                self.note_race();
                return;
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick | Input::Facts { .. } => {}
            Input::Request { reply, actor, request } => {
                let answer = self.answer(&actor, request);
                self.out.effects.push(Effect::Reply { to: reply, reply: answer });
            }
            Input::StoodStill { length } => self.stood_still(length),
            Input::Connected { session, hello, key } => self.connected(session, *hello, key),
            Input::FromWorker { session, message } => self.hear(session, message),
            Input::Disconnected { session } => self.disconnected(session, "the connection is gone"),
            Input::Evaluated { run, what, version, outcome } => self.evaluated(run, what, version, outcome),
        }
    }

    fn answer(&mut self, actor: &Actor, request: Request) -> Reply {
        match request {
            Request::Submit(submit) => self.submit(actor, &submit, None),
            Request::SubmitGang(submit, terms) => self.submit(actor, &submit, Some(terms)),
            Request::Gang { attempt, ask } => self.gang_ask(attempt, ask),
            Request::StartRun(start) => self.start_run(actor, start),
            Request::Tasks { namespace, tasks, verb } => {
                let each = tasks.into_iter().map(|unit| (unit, self.verb(actor, &namespace, unit, &verb)));
                Ok(Answer::Tasks(each.collect()))
            }
            Request::Run { namespace, run, verb } => self.run_verb(actor, &namespace, run, verb),
            Request::Pause { namespace, paused } => {
                self.pause_namespace(actor, namespace.as_ref(), paused);
                Ok(Answer::Done)
            }
            Request::PauseWorker { worker, paused } => self.pause_worker(actor, &worker, paused),
            Request::DrainWorker { worker, drain } => self.drain_worker(actor, &worker, drain),
            Request::UndrainWorker { worker } => self.undrain_worker(actor, &worker),
            Request::ForgetWorker { worker } => self.forget_worker(actor, &worker),
            Request::EnrolInPool { token, pool, key } => self.enrol_in_pool(actor, token, pool, key),
            Request::PutToken(token) => self.put_token(token),
            Request::Enrol { token, worker, key } => self.enrol(actor, token, &worker, key),
            Request::Explain { namespace, task } => self.explain(&namespace, task),
            Request::ExplainWorker { worker } => self.explain_worker(&worker),
            Request::ExplainRun { namespace, run } => self.explain_run(&namespace, run),
            Request::WhyWaiting { tasks } => Ok(self.why_waiting(&tasks)),
            Request::Overview => Ok(self.overview()),
            Request::SetResource { name, change } => self.set_resource(actor, &name, change),
            Request::DeleteResource { name } => self.delete_resource(actor, &name),
            Request::Resource { name } => self.resource(&name),
            Request::Resources => Ok(self.resources()),
            Request::SetNamespace { name, change } => self.set_namespace(actor, &name, change),
            Request::Namespace { name } => Ok(self.namespace(&name)),
            Request::Namespaces => Ok(self.namespaces()),
        }
    }

    /// When [`Input::Tick`] should be applied, if nothing else comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The identity for which a session speaks. `None`: it is turned away, or over.
    pub fn worker_of(&self, session: SessionId) -> Option<WorkerId> {
        self.sessions.get(&session).copied()
    }

    /// Everything that changed since the last call, to be committed; and what follows from it. An
    /// empty batch is not counted: the next one has the same number.
    pub fn take_batch(&mut self) -> Batch {
        self.collect()
    }

    /// Whether nothing has changed since the last batch was taken: at most effects wait.
    pub fn is_rowless(&self) -> bool {
        self.has_no_rows()
    }

    /// Whether half of all that workers have to do, or more, waits for the batch that is being filled: to wait for more
    /// inputs would keep them idle.
    pub fn is_waited_for(&self) -> bool {
        self.out.given > 0 && self.out.given * 2 >= self.attempts.len()
    }

    /// Rows that parked inputs wait for, to be read and answered by [`Input::Facts`]. They wait for
    /// no batch.
    pub fn take_needs(&mut self) -> Vec<(ParkId, Vec<Need>)> {
        self.wanted()
    }

    /// What ended by then may be removed from the store, from now on until [`Engine::swept`]: nothing of it
    /// is brought back to life meanwhile.
    pub fn sweeping(&mut self, ended_by: Timestamp) {
        self.sweeping = Some(ended_by);
    }

    /// These were removed from the store: memory forgets them too, and takes no older news of them.
    pub fn swept(&mut self, tasks: &[TaskId], runs: &[RunId]) {
        self.forget_swept(tasks, runs);
    }

    /// Every batch up to this one is durable: what ended in them may leave memory.
    pub fn durable(&mut self, batch: u64) {
        self.note_durable(batch);
    }
}
