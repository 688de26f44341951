//! A bench to try the engine on: it commits every batch, answers every need, and hands out effects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Answer, Refusal, RefusalCode, Reply};
use bowline_core::effect::{Batch, Effect};
use bowline_core::id::{
    AttemptRef, Epoch, Generation, Incarnation, NodeIndex, ParkId, ReplyTo, RunId, SessionId, TaskId, TaskRef,
};
use bowline_core::input::{
    Completion, DryRun, Evaluation, Fact, IdempotencyKey, Input, Need, NewTask, Request, RunVerb, StartRun, Strict,
    Submit, TaskVerb,
};
use bowline_core::message::{Assign, Drain, DrainMode, Exit, Finished, FromWorker, Hello, JobEnd, ToWorker};
use bowline_core::name::{Actor, Namespace, StepName, WorkerName, WorkflowName};
use bowline_core::row::{AttemptRow, Loaded};
use bowline_core::run::{DueKind, Edge, Graph, Join, Node};
use bowline_core::spec::{Action, Condition, TaskSpec, Work};
use bowline_core::state::{JobError, StateKind};
use bowline_core::tables::Tables;
use bowline_core::time::Timestamp;
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_core::{Engine, EngineConfig};

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) tables: Tables,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
    /// What was loaded and applied since the last take-over, to be replayed.
    pub(crate) log: Vec<Moved>,
    /// How long what is under way takes.
    pub(crate) pace: Pace,
    /// The batch that is being committed.
    in_flight: Option<Batch>,
    /// Rows to be read.
    unread: VecDeque<(ParkId, Vec<Need>)>,
    /// Rows that were read, on their way.
    facts: VecDeque<(ParkId, Vec<Fact>)>,
    next_reply: u64,
    next_session: u64,
    epoch: u64,
    /// Raised by each roll-back.
    pub(crate) generation: Generation,
}

/// How long commits and reads take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// No time: every input is settled before the next.
    AtOnce,
    /// Until [`Bench::go_on`] says so: many inputs pass meanwhile.
    Lagging,
}

/// One call of the engine.
#[derive(Debug, Clone)]
pub(crate) enum Moved {
    Load(Box<Loaded>),
    Loaded(Timestamp),
    Apply(Timestamp, Box<Input>),
    Take(Box<Batch>),
    Durable(u64),
    Needs(Vec<(ParkId, Vec<Need>)>),
}

pub(crate) fn namespace() -> Namespace {
    Namespace::default()
}

pub(crate) fn noop() -> TaskSpec {
    TaskSpec::new(Work::new(Action::Noop))
}

pub(crate) fn new_task(spec: TaskSpec) -> NewTask {
    NewTask { spec: Arc::new(spec), elements: Arc::default(), after_earlier: Vec::new() }
}

/// The attempt of a task that lives.
pub(crate) fn live(bench: &Bench, task: TaskId) -> AttemptRef {
    live_row(bench, task).attempt
}

/// The worker on which it lives.
pub(crate) fn on(bench: &Bench, task: TaskId) -> String {
    let worker = live_row(bench, task).worker.expect("it has a worker");
    bench.tables.workers[&worker].name.to_string()
}

fn live_row(bench: &Bench, task: TaskId) -> &AttemptRow {
    let live = bench.tables.attempts.values().find(|row| row.attempt.task.task == task && row.end.is_none());
    live.expect("an attempt of it lives")
}

pub(crate) fn error(message: &str) -> JobEnd {
    JobEnd::Error(JobError { exit_status: Some(1), signal: None, message: message.to_owned() })
}

pub(crate) fn hello(name: &str, process: &str, slots: u32) -> Hello {
    let room = Room { slots, amounts: BTreeMap::new() };
    let actions = ["noop", "command"].map(str::to_owned).to_vec();
    Hello {
        pool: None,
        name: WorkerName::new(name).unwrap(),
        incarnation: Incarnation(0),
        seat: Seat {
            state_dir: format!("dir of {name}"),
            boot_id: "boot".into(),
            process: process.to_owned(),
            said_at: None,
        },
        version: "0.1.0".into(),
        offer: Offer { capabilities: BTreeMap::new(), actions, room },
        prefetch: 0,
        health: Health::Ok,
        seen: None,
        attempts: Vec::new(),
    }
}

pub(crate) fn node(name: &str, needs: &[(u32, Condition)]) -> Node {
    let needs = needs.iter().map(|(from, on)| Edge { from: NodeIndex(*from), on: *on }).collect();
    Node { name: StepName::new(name).unwrap(), needs, join: Join::All }
}

/// A ticket that nobody can serve stands aside after an hour: what is only in memory is not compared.
pub(crate) const ASIDE_AFTER: Duration = Duration::from_hours(1);

fn config(epoch: u64, generation: Generation) -> EngineConfig {
    let mut config = EngineConfig::new(Epoch(epoch), generation, 7);
    config.timing.aside_after = ASIDE_AFTER;
    config
}

impl Bench {
    pub(crate) fn new() -> Self {
        let engine = Engine::new(config(1, Generation(1)));
        let now = Timestamp(1_000_000);
        let mut bench = Self {
            engine,
            tables: Tables::default(),
            now,
            effects: Vec::new(),
            log: vec![Moved::Loaded(now)],
            pace: Pace::AtOnce,
            in_flight: None,
            unread: VecDeque::new(),
            facts: VecDeque::new(),
            next_reply: 0,
            next_session: 0,
            epoch: 1,
            generation: Generation(1),
        };
        bench.engine.loaded(now);
        bench
    }

    /// A crash: memory is gone, another leader loads what is durable.
    pub(crate) fn crash(&mut self) {
        self.epoch += 1;
        self.engine = Engine::new(config(self.epoch, self.generation));
        self.log.clear();
        for row in self.tables.load() {
            self.log.push(Moved::Load(Box::new(row.clone())));
            self.engine.load(row);
        }
        self.tables.batch = 0;
        self.effects.clear();
        self.in_flight = None;
        self.unread.clear();
        self.facts.clear();
        self.log.push(Moved::Loaded(self.now));
        self.engine.loaded(self.now);
        self.settle();
    }

    /// The store is put back to what it was, and that is accepted: another generation begins.
    pub(crate) fn roll_back(&mut self, to: Tables) {
        self.tables = to;
        self.generation = self.generation.next();
        self.crash();
    }

    /// Another engine made of the rows alone.
    pub(crate) fn shadow(&self) -> Engine {
        let mut engine = Engine::new(config(self.epoch, self.generation));
        self.tables.load().into_iter().for_each(|row| engine.load(row));
        engine.loaded(self.now);
        engine
    }

    fn move_engine(&mut self, input: Input) {
        self.now = self.now.plus(Duration::from_micros(1));
        self.log.push(Moved::Apply(self.now, Box::new(input.clone())));
        self.engine.apply(self.now, input);
    }

    /// The same calls on another engine give the same batches and needs, byte for byte.
    pub(crate) fn replay(&self) {
        let mut engine = Engine::new(config(self.epoch, self.generation));
        for moved in self.log.clone() {
            match moved {
                Moved::Load(row) => engine.load(*row),
                Moved::Loaded(now) => engine.loaded(now),
                Moved::Apply(now, input) => engine.apply(now, *input),
                Moved::Take(batch) => assert_eq!(format!("{:?}", engine.take_batch()), format!("{batch:?}")),
                Moved::Durable(batch) => engine.durable(batch),
                Moved::Needs(needs) => assert_eq!(engine.take_needs(), needs),
            }
        }
    }

    pub(crate) fn apply(&mut self, input: Input) {
        self.move_engine(input);
        self.settle();
    }

    /// Commits, answers needs, until nothing is left; or, while that takes time, begins with it.
    pub(crate) fn settle(&mut self) {
        self.begin();
        while self.pace == Pace::AtOnce
            && (self.in_flight.is_some() || !self.unread.is_empty() || !self.facts.is_empty())
        {
            (0..3).for_each(|what| self.go_on(what));
        }
    }

    /// As the leader does: the next batch is taken once the one before is durable, needs are passed on
    /// at once.
    fn begin(&mut self) {
        if self.in_flight.is_none() {
            let batch = self.engine.take_batch();
            self.log.push(Moved::Take(Box::new(batch.clone())));
            self.in_flight = Some(batch).filter(|batch| !batch.is_empty());
        }
        let needs = self.engine.take_needs();
        self.log.push(Moved::Needs(needs.clone()));
        self.unread.extend(needs);
    }

    /// A commit ends, rows are read, or rows that were read arrive.
    pub(crate) fn go_on(&mut self, what: u8) {
        match what % 3 {
            0 => {
                if let Some(batch) = self.in_flight.take() {
                    self.tables.commit(&batch);
                    self.effects.extend(batch.effects);
                    self.engine.durable(batch.number);
                    self.log.push(Moved::Durable(batch.number));
                }
            }
            1 => {
                if let Some((park, needs)) = self.unread.pop_front() {
                    self.facts.push_back((park, needs.iter().map(|need| self.tables.fact(need)).collect()));
                }
            }
            _ => {
                if let Some((park, facts)) = self.facts.pop_front() {
                    self.move_engine(Input::Facts { park, facts });
                }
            }
        }
        self.begin();
    }

    /// Inputs that wait for rows to be read.
    pub(crate) fn reads(&self) -> usize {
        self.unread.len()
    }

    /// From now on nothing takes time; what is under way arrives.
    pub(crate) fn catch_up(&mut self) {
        self.pace = Pace::AtOnce;
        self.settle();
    }

    pub(crate) fn pass(&mut self, length: Duration) {
        self.now = self.now.plus(length);
        self.apply(Input::Tick);
    }

    pub(crate) fn request(&mut self, request: Request) -> Reply {
        self.next_reply += 1;
        let reply = ReplyTo(self.next_reply);
        self.apply(Input::Request { reply, actor: Actor::new("ada"), request });
        let answer = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Reply { to, reply: answer } if *to == reply => Some(answer.clone()),
            _ => None,
        });
        match (answer, self.pace) {
            (Some(answer), _) => answer,
            (None, Pace::Lagging) => Err(Refusal::new(RefusalCode::Busy, "it will be answered later")),
            (None, Pace::AtOnce) => panic!("every request is answered"),
        }
    }

    pub(crate) fn submit(&mut self, tasks: Vec<NewTask>) -> Vec<TaskId> {
        match self.submit_with(tasks, None, DryRun::No) {
            Ok(Answer::Submitted { tasks, .. }) => tasks,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn submit_with(&mut self, tasks: Vec<NewTask>, key: Option<IdempotencyKey>, dry_run: DryRun) -> Reply {
        self.request(Request::Submit(Submit { namespace: namespace(), tasks, key, dry_run, strict: Strict::No }))
    }

    pub(crate) fn one(&mut self, spec: TaskSpec) -> TaskId {
        self.submit(vec![new_task(spec)])[0]
    }

    pub(crate) fn verb(&mut self, unit: TaskRef, verb: TaskVerb) -> Result<StateKind, Refusal> {
        match self.request(Request::Tasks { namespace: namespace(), tasks: vec![unit], verb }) {
            Ok(Answer::Tasks(each)) => each[0].1.clone(),
            Err(refusal) => Err(refusal),
            Ok(other) => panic!("{other:?}"),
        }
    }

    pub(crate) fn cancel(&mut self, unit: TaskRef) -> Result<StateKind, Refusal> {
        self.verb(unit, TaskVerb::Cancel { why: "enough".into() })
    }

    pub(crate) fn complete(&mut self, unit: TaskRef) -> Result<StateKind, Refusal> {
        self.verb(unit, TaskVerb::Complete { how: Completion::Success(Some("42".into())) })
    }

    pub(crate) fn enrol(&mut self, name: &str) {
        let worker = WorkerName::new(name).unwrap();
        self.request(Request::Enrol { token: None, worker, key: [1; 32] }).unwrap();
    }

    pub(crate) fn drain(&mut self, name: &str, mode: DrainMode, within: Option<Duration>) -> Reply {
        let exit = if mode == DrainMode::Handoff { Exit::Yes } else { Exit::No };
        let worker = WorkerName::new(name).unwrap();
        self.request(Request::DrainWorker { worker, drain: Drain { mode, within, exit } })
    }

    pub(crate) fn undrain(&mut self, name: &str) -> Reply {
        self.request(Request::UndrainWorker { worker: WorkerName::new(name).unwrap() })
    }

    pub(crate) fn forget(&mut self, name: &str) -> Reply {
        self.request(Request::ForgetWorker { worker: WorkerName::new(name).unwrap() })
    }

    pub(crate) fn next_session(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session)
    }

    pub(crate) fn connect(&mut self, hello: Hello) -> SessionId {
        let session = self.next_session();
        self.apply(Input::Connected { session, hello: Box::new(hello), key: [1; 32] });
        session
    }

    pub(crate) fn worker(&mut self, name: &str, slots: u32) -> SessionId {
        self.enrol(name);
        self.connect(hello(name, "p1", slots))
    }

    pub(crate) fn say(&mut self, session: SessionId, message: FromWorker) {
        self.apply(Input::FromWorker { session, message });
    }

    pub(crate) fn finish(&mut self, session: SessionId, attempt: AttemptRef, how: JobEnd) {
        self.say(session, FromWorker::Finished(Finished { attempt, how, result: None }));
    }

    /// Assignments that have left since the last call.
    pub(crate) fn assigned(&mut self) -> Vec<Assign> {
        let sent = std::mem::take(&mut self.effects);
        sent.into_iter()
            .filter_map(|effect| match effect {
                Effect::Send { message: ToWorker::Assign(assign), .. } => Some(assign),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn due(&mut self) -> Vec<(RunId, DueKind, u32)> {
        let sent = std::mem::take(&mut self.effects);
        sent.into_iter()
            .filter_map(|effect| match effect {
                Effect::Evaluate { run, what, version } => Some((run, what, version)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn evaluated(&mut self, due: (RunId, DueKind, u32), outcome: Evaluation) {
        let (run, what, version) = due;
        self.apply(Input::Evaluated { run, what, version, outcome });
    }

    pub(crate) fn start_run(&mut self, nodes: Vec<Node>) -> RunId {
        match self.ask_for_run(nodes) {
            Ok(Answer::RunStarted { run, .. }) => run,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask_for_run(&mut self, nodes: Vec<Node>) -> Reply {
        self.ask_for_graph(Graph { nodes, asks: Vec::new() })
    }

    pub(crate) fn ask_for_graph(&mut self, graph: Graph) -> Reply {
        self.ask_strictly_for(graph, Strict::No)
    }

    pub(crate) fn ask_strictly_for(&mut self, graph: Graph, strict: Strict) -> Reply {
        let start = StartRun {
            namespace: namespace(),
            workflow: WorkflowName::new("census").unwrap(),
            source: Arc::from("steps: {}"),
            inputs: Arc::from("{}"),
            graph: Arc::new(graph),
            key: None,
            strict,
        };
        self.request(Request::StartRun(start))
    }

    pub(crate) fn run_verb(&mut self, run: RunId, verb: RunVerb) -> Reply {
        self.request(Request::Run { namespace: namespace(), run, verb })
    }

    pub(crate) fn state(&self, task: TaskId) -> StateKind {
        self.tables.tasks[&task].unit.state
    }

    /// The last messages to a session, of the kinds that `pick` takes.
    pub(crate) fn sent<T>(&self, session: SessionId, pick: impl Fn(&ToWorker) -> Option<T>) -> Vec<T> {
        let to = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send { session: to, message } if *to == session => Some(message),
            _ => None,
        });
        to.filter_map(pick).collect()
    }
}
