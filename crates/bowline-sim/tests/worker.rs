//! The simulated worker and its supervisor against a server that does as the test says: whatever is killed, stalled, cut
//! or refused, every task that was assigned comes to an end that the server hears of, no job runs twice at a time, and
//! never more than there are slots for.

#![cfg(test)]

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::effect::Batch;
use bowline_core::id::{
    AttemptNo, AttemptRef, CommitNo, Epoch, Fence, Generation, Incarnation, SessionId, TaskId, TaskRef,
};
use bowline_core::message::{Assured, FromWorker, Hello, JobEnd, KnownAs, ToWorker, Verdict};
#[cfg(feature = "sim")]
use bowline_core::mutant::{self, Mutant};
use bowline_core::name::WorkerName;
use bowline_core::spec::{Action, Command, Work};
use bowline_core::worker::Capabilities;
use bowline_protocol::{ServerMessage, WorkerMessage, sample};
use bowline_sim::job::{Ended, JobId, Plan};
use bowline_sim::process::{ClusterId, ConnId, Event, Io, Packet, ProcId, Process};
use bowline_sim::random::Random;
use bowline_sim::supervisor::SupervisorProcess;
use bowline_sim::trace::Keep;
use bowline_sim::worker;
use bowline_sim::world::{Alive, Observe, Role, Slot, WorkerRole, World};
use bowline_worker::config::LeftBehind;

/// Tasks of one run.
const TASKS: u64 = 24;
/// Slots of the worker.
const SLOTS: u32 = 2;
/// A task that did not come to an end within so long, in microseconds, never will.
const END_US: u64 = 400_000_000;

/// What the test's server knows of a task.
#[derive(Debug, Default)]
struct Task {
    attempts: u32,
    live: Option<AttemptRef>,
    has_ended: bool,
}

/// A server that assigns every task until it has ended, and acknowledges everything.
#[derive(Debug, Default)]
struct Server {
    tasks: BTreeMap<u64, Task>,
    conn: Option<ConnId>,
    session: u64,
    incarnation: u32,
    process: String,
    attempts_max: u32,
    is_fit: bool,
    /// What it was told of as done well.
    succeeded: BTreeSet<AttemptRef>,
    /// What it saw that must not be.
    wrong: Vec<String>,
}

impl Server {
    fn say(&self, io: &mut Io<'_>, messages: Vec<ServerMessage>) {
        if let Some(conn) = self.conn {
            io.send(
                conn,
                Packet::FromServer { messages, generation: Generation(1), commit_no: CommitNo(self.session) },
            );
        }
    }

    fn hello(&mut self, io: &mut Io<'_>, conn: ConnId, hello: &Hello) {
        self.conn = Some(conn);
        self.session += 1;
        self.attempts_max = 0;
        self.is_fit = true;
        if self.process != hello.seat.process {
            self.process.clone_from(&hello.seat.process);
            self.incarnation += 1;
        }
        let named: BTreeMap<AttemptRef, KnownAs> = hello.attempts.iter().copied().collect();
        for task in self.tasks.values_mut() {
            let is_gone = |live: &AttemptRef| named.get(live).is_none_or(|known| *known == KnownAs::Gone);
            // What it does not name was never journaled, or has ended and that was acknowledged.
            task.live.take_if(|live| is_gone(live));
        }
        let verdict = |attempt: &AttemptRef| {
            let is_live = self.tasks.get(&attempt.task.task.0).is_some_and(|task| task.live == Some(*attempt));
            if is_live { Verdict::Continue } else { Verdict::Superseded }
        };
        let verdicts = named.keys().map(|attempt| (*attempt, verdict(attempt))).collect();
        let welcome = ToWorker::Welcome {
            epoch: Epoch(1),
            name: hello.name.clone(),
            incarnation: Incarnation(self.incarnation),
            generation: Generation(1),
            heartbeat: Duration::from_secs(5),
            verdicts,
            left: vec![],
        };
        self.say(io, vec![ServerMessage::Engine(welcome)]);
    }

    fn assign(&mut self, io: &mut Io<'_>) {
        let live = self.tasks.values().filter(|task| task.live.is_some()).count();
        let mut room = (self.attempts_max as usize).saturating_sub(live);
        let mut messages = Vec::new();
        for number in 1..=TASKS {
            let task = self.tasks.entry(number).or_default();
            if room == 0 || !self.is_fit {
                break;
            }
            if task.has_ended || task.live.is_some() {
                continue;
            }
            room -= 1;
            task.attempts += 1;
            let fence = Fence { generation: Generation(1), attempt: AttemptNo(task.attempts) };
            let attempt = AttemptRef { task: TaskRef { task: TaskId(number), index: None }, fence };
            task.live = Some(attempt);
            messages.push(handover(attempt, self.session));
        }
        if !messages.is_empty() {
            self.say(io, messages);
        }
    }

    fn ack(&self, io: &mut Io<'_>, attempt: AttemptRef, of: Assured) {
        self.say(io, vec![ServerMessage::Engine(ToWorker::Ack { attempt, of })]);
    }

    fn ended(&mut self, attempt: AttemptRef, is_end: bool) {
        let Some(task) = self.tasks.get_mut(&attempt.task.task.0) else {
            return self.wrong.push(format!("{attempt} was never assigned"));
        };
        if task.live.take_if(|live| *live == attempt).is_some() {
            task.has_ended |= is_end;
        }
    }

    fn heard(&mut self, io: &mut Io<'_>, message: FromWorker) {
        match message {
            FromWorker::Started(attempt) => self.ack(io, attempt, Assured::Started),
            FromWorker::Finished(end) => {
                if end.how == JobEnd::Success {
                    self.succeeded.insert(end.attempt);
                }
                self.ended(end.attempt, true);
                self.ack(io, end.attempt, Assured::Finished);
            }
            FromWorker::Released { attempt, .. } => {
                self.ended(attempt, false);
                self.ack(io, attempt, Assured::Released);
            }
            FromWorker::Gone { attempt, .. } => {
                self.ended(attempt, false);
                self.ack(io, attempt, Assured::Gone);
            }
            FromWorker::ArtifactUndelivered { attempt, name, .. } => self.ack(io, attempt, Assured::Artifact(name)),
            FromWorker::Demand { attempts_max, .. } => self.attempts_max = attempts_max,
            FromWorker::Health(health) => self.is_fit = health == bowline_core::worker::Health::Ok,
            FromWorker::ArtifactCommitted { .. }
            | FromWorker::Heartbeat
            | FromWorker::Late { .. }
            | FromWorker::Bye { .. } => {}
        }
    }
}

fn handover(attempt: AttemptRef, session: u64) -> ServerMessage {
    let mut handover = sample::handover(attempt);
    let number = attempt.task.task.0;
    // Long and short ones, and one that never ends by itself but by its limit.
    let length = [5_000, 300_000, 2_000_000, 9_000_000][usize::try_from(number % 4).unwrap()];
    let plan = Plan { status: u8::from(number.is_multiple_of(5)), ..Plan::short(length) };
    handover.work = serde_json::to_vec(&Work::new(Action::Command(Command::Argv(plan.to_argv())))).unwrap().into();
    handover.assign.session = SessionId(session);
    ServerMessage::Assign(Box::new(handover))
}

impl Process for Server {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        let Event::Arrived { conn, packet: Packet::FromWorker(parcels) } = event else { return };
        for (message, _) in parcels {
            match message {
                WorkerMessage::Hello(hello) => self.hello(io, conn, &hello),
                _ if self.conn != Some(conn) => return,
                WorkerMessage::Heartbeat(_) => self.say(io, vec![ServerMessage::Engine(ToWorker::HeartbeatAck)]),
                WorkerMessage::Engine(message) => self.heard(io, message),
                WorkerMessage::Artifact(_) | WorkerMessage::Log(_) | WorkerMessage::Upload(_) => {}
            }
        }
        self.assign(io);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn start(role: &Role) -> Box<dyn Process> {
    match role {
        Role::Server { .. } | Role::Client { .. } => Box::new(Server::default()),
        Role::Worker(role) => worker::start(role),
        Role::Supervisor { dir } => Box::new(SupervisorProcess::new(dir.clone())),
    }
}

/// What runs in fact.
#[derive(Debug, Default)]
struct Facts {
    live: BTreeSet<JobId>,
    began: BTreeSet<JobId>,
    wrong: Vec<String>,
    statuses: Vec<i32>,
}

fn task_of(job: &JobId) -> Option<u64> {
    bowline_worker::attempt::of_key(&job.key).map(|attempt| attempt.task.task.0)
}

impl Observe for Facts {
    fn committed(&mut self, _: u64, _: ClusterId, _: (Epoch, CommitNo), _: &Batch) {}
    fn refused(&mut self, _: u64, _: ClusterId, _: &bowline_store::CommitError) {}
    fn opens(&mut self, _: u64, _: ProcId, _: ConnId, _: ClusterId) {}
    fn swept(&mut self, _: u64, _: ClusterId, _: &bowline_store::Swept) {}
    fn arrives(&mut self, _: u64, _: ProcId, _: ConnId, _: &Packet) {}
    fn sends(&mut self, _: u64, _: ProcId, _: ConnId, _: &Packet) {}

    fn job_began(&mut self, at: u64, job: &JobId) {
        if !self.began.insert(job.clone()) {
            self.wrong.push(format!("{at}: {} began twice", job.key));
        }
        if self.live.iter().any(|other| task_of(other) == task_of(job)) {
            self.wrong.push(format!("{at}: two attempts at a time: {}", job.key));
        }
        self.live.insert(job.clone());
        if self.live.len() > SLOTS as usize {
            self.wrong.push(format!("{at}: more jobs than slots: {:?}", self.live));
        }
    }

    fn job_ended(&mut self, _: u64, job: &JobId, _: Ended) {
        self.live.remove(job);
    }

    fn process(&mut self, _: u64, _: ProcId, role: &Role, alive: Alive) {
        if let (Role::Worker(_), Alive::No(Some(status))) = (role, alive) {
            self.statuses.push(status);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

struct Rig {
    world: World,
    server: ProcId,
    worker: ProcId,
    random: Random,
}

fn role() -> Role {
    Role::Worker(Box::new(WorkerRole {
        name: WorkerName::new("lab").unwrap(),
        pool: None,
        key: [7; 32],
        dir: "lab".to_owned(),
        servers: vec![ClusterId(0)],
        slots: SLOTS,
        amounts: BTreeMap::new(),
        capabilities: Capabilities::new(),
        prefetch: None,
        left: LeftBehind::Wait,
        queue_us: 0,
        stuck_logs: false,
        torn_logs: false,
    }))
}

impl Rig {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, Keep::Hash, Box::<Facts>::default(), start);
        let cluster = world.add_cluster();
        let (here, there) = (world.add_machine(0), world.add_machine(30));
        let server = world.add_process(Role::Server { cluster, keep: Duration::ZERO }, here);
        let worker = world.add_process(role(), there);
        world.start(server);
        world.start(worker);
        Self { world, server, worker, random: Random::new(seed, 1) }
    }

    fn server(&self) -> &Server {
        self.world.slots[self.server.0 as usize].process.as_ref().unwrap().as_any().downcast_ref().unwrap()
    }

    fn facts(&mut self) -> &mut Facts {
        self.world.observer.as_any().downcast_mut().unwrap()
    }

    fn has_ended(&self) -> bool {
        let tasks = &self.server().tasks;
        tasks.len() == usize::try_from(TASKS).unwrap() && tasks.values().all(|task| task.has_ended)
    }

    /// Something breaks.
    fn fault(&mut self) {
        let random = &mut self.random;
        let length = random.around(4_000_000);
        match random.below(9) {
            0 | 1 => {
                self.world.kill(self.worker);
            }
            2 => self.world.stall(self.worker, length),
            3 => self.world.stall(self.server, length),
            4 | 5 => {
                let conns: Vec<ConnId> = self.world.net.conns.keys().copied().collect();
                if let Some(conn) = random.one_of(&conns) {
                    let heard = [Some(random.below(3_000_000)), Some(random.below(3_000_000))];
                    self.world.cut(*conn, heard);
                }
            }
            6 => self.world.machines[1].disk.full = true,
            7 => {
                let is_supervisor = |slot: &Slot| matches!(slot.role, Role::Supervisor { .. });
                if let Some(place) = self.world.slots.iter().position(is_supervisor) {
                    self.world.kill(ProcId(u32::try_from(place).unwrap()));
                }
            }
            _ => self.world.tell(self.worker, Event::Term),
        }
    }

    /// Runs until everything has ended, with something broken now and then.
    fn run(&mut self, faults: u64) {
        let mut next = 200_000;
        let mut left = faults;
        while self.world.now < END_US && !(left == 0 && self.has_ended()) {
            self.world.step();
            if self.world.queue.next_at().is_none_or(|at| at > next) {
                // Nothing happens for a while, as where the worker was told to stop.
                self.world.now = self.world.now.max(next);
            }
            if self.world.now >= next {
                next = self.world.now + self.random.around(1_500_000);
                self.world.machines[1].disk.full = false;
                self.world.start(self.worker);
                if left > 0 {
                    left -= 1;
                    self.fault();
                }
            }
        }
    }

    /// What must not be.
    fn wrong(&mut self) -> Vec<String> {
        let mut wrong = self.facts().wrong.clone();
        wrong.extend(self.server().wrong.clone());
        let well = |attempt: &&AttemptRef| {
            let key = bowline_worker::attempt::key_of(**attempt);
            let jobs = self.world.jobs.all.iter().filter(|(job, _)| job.key == key);
            jobs.map(|(_, job)| job.ended).any(|ended| matches!(ended, Some((_, Ended::Status(0)))))
        };
        let invented = self.server().succeeded.iter().filter(|attempt| !well(attempt));
        wrong.extend(invented.map(|attempt| format!("{attempt} is said to have succeeded, and has not")));
        let left = self.server().tasks.iter().filter(|(_, task)| !task.has_ended);
        wrong.extend(left.map(|(number, task)| format!("task {number} never ended: {task:?}")));
        wrong
    }

    fn assert_right(&mut self, seed: u64) {
        assert_eq!(self.wrong(), Vec::<String>::new(), "seed {seed}");
        assert!(self.has_ended(), "seed {seed}");
    }
}

#[test]
fn without_faults_every_task_runs_once() {
    let mut rig = Rig::new(1);
    rig.run(0);
    rig.assert_right(1);
    assert_eq!(rig.facts().began.len() as u64, TASKS);
}

#[test]
fn whatever_breaks_every_task_ends_and_no_job_runs_twice_at_a_time() {
    for seed in 0..150 {
        let mut rig = Rig::new(seed);
        rig.run(20);
        rig.assert_right(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hash = |seed| {
        let mut rig = Rig::new(seed);
        rig.run(20);
        rig.world.trace.hash()
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}

#[test]
fn a_second_process_is_refused_by_the_lock_of_the_state_directory() {
    let mut rig = Rig::new(3);
    let machine = rig.world.slots[rig.worker.0 as usize].machine;
    let second = rig.world.add_process(role(), machine);
    rig.world.start(second);
    rig.run(0);
    rig.assert_right(3);
    assert_eq!(rig.facts().statuses, [worker::BUSY]);
    // It has written nothing of the other's, and may have it when that is gone.
    rig.world.kill(rig.worker);
    rig.world.start(second);
    for _ in 0..100 {
        rig.world.step();
    }
    assert!(rig.world.is_running(second));
}

/// A worker's mistakes that this server sees. The others need a server that decides.
#[cfg(feature = "sim")]
#[test]
fn a_worker_s_mistakes_are_seen() {
    let seen = |mistake| {
        mutant::set_active(Some(mistake));
        let seen = (0..60).find(|seed| {
            let mut rig = Rig::new(*seed);
            rig.run(20);
            !rig.wrong().is_empty()
        });
        mutant::set_active(None);
        seen
    };
    let all =
        [Mutant::OutboxNotRewound, Mutant::SlotsNotCounted, Mutant::JournaledBegunUnasked, Mutant::LostSaidSucceeded];
    let found: Vec<_> = all.iter().map(|mistake| (mistake.name(), seen(*mistake))).collect();
    let unseen: Vec<_> = found.iter().filter(|(_, seen)| seen.is_none()).collect();
    assert!(unseen.is_empty(), "not seen: {unseen:?} of {found:?}");
}
