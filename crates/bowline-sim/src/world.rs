//! The world: virtual time, an ordered queue of what is to happen, the table of processes, and everything that
//! outlives a process: links, disks, clocks, stores, jobs.
//!
//! One [`World::step`] takes the next thing from the queue and lets one process handle it. What happens at the
//! same moment happens in the order in which it was queued. Whoever wants to know what happens watches
//! ([`Observe`]).

mod jobs;
mod links;
mod machines;
mod processes;
mod queue;
mod stores;
mod wires;

use std::collections::BTreeMap;

use crate::job::Jobs;
use crate::net::Net;
use crate::process::{ClusterId, ConnId, Event, MachineId, Packet, ProcId};
use crate::random::Random;
use crate::store::{Cluster, Commit};
use crate::trace::{Keep, Trace};

pub use machines::Machine;
pub use processes::{Role, Slot, Starter, WorkerRole};
pub use queue::{Due, Queue};
pub use wires::{Tripped, When, Wires};

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Epoch};

/// Who watches the world. Nothing that he does changes it.
pub trait Observe: std::fmt::Debug {
    /// A batch is in the store now.
    fn committed(&mut self, at: u64, cluster: ClusterId, commit: (Epoch, CommitNo), batch: &Batch);
    /// A batch is on its way to the store, at this moment of its leader's clock.
    fn commits(&mut self, _at: u64, _cluster: ClusterId, _now: bowline_core::time::Timestamp) {}
    /// The store refused a batch of whoever leads.
    fn refused(&mut self, at: u64, cluster: ClusterId, error: &bowline_store::CommitError);
    /// A connection is opened towards a cluster.
    fn opens(&mut self, at: u64, from: ProcId, conn: ConnId, cluster: ClusterId);
    /// Retention has removed this from the store.
    fn swept(&mut self, at: u64, cluster: ClusterId, swept: &bowline_store::Swept);
    /// A packet arrives at a process.
    fn arrives(&mut self, at: u64, to: ProcId, conn: ConnId, packet: &Packet);
    /// A process sends a packet.
    fn sends(&mut self, at: u64, from: ProcId, conn: ConnId, packet: &Packet);
    /// A job has begun, in fact.
    fn job_began(&mut self, at: u64, job: &crate::job::JobId);
    /// A job has ended, in fact: no process of it is left.
    fn job_ended(&mut self, at: u64, job: &crate::job::JobId, how: crate::job::Ended);
    /// A process has begun, or is gone.
    fn process(&mut self, at: u64, proc: ProcId, role: &Role, alive: Alive);
    /// A connection is opened towards the supervisor of this state directory.
    fn opens_local(&mut self, _at: u64, _conn: ConnId, _dir: &str) {}
    /// A batch of a file is durable.
    fn durable(&mut self, _at: u64, _file: &str, _batch: &dyn std::any::Any) {}
    /// A process leads a cluster from now on.
    fn leads(&mut self, _at: u64, _cluster: ClusterId, _proc: ProcId) {}
    /// A process stands still.
    fn stands_still(&mut self, _at: u64, _proc: ProcId) {}
    /// A process that stood still goes on.
    fn goes_on(&mut self, _at: u64, _proc: ProcId) {}
    /// For whoever made it.
    fn as_any(&mut self) -> &mut dyn std::any::Any;
}

/// Whether a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// It has begun.
    Yes,
    /// It was killed, or has ended with this status.
    No(Option<i32>),
}

/// How the network and the stores behave when nothing is broken. Drawn for each run.
#[derive(Debug, Clone)]
pub struct Pace {
    /// The mean delay between machines, in microseconds.
    pub link_us: u64,
    /// The mean delay on one machine.
    pub local_us: u64,
    /// The mean length of a commit of a server's store.
    pub commit_us: u64,
    /// The mean length of a commit of a worker's journal.
    pub journal_us: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { link_us: 2_000, local_us: 60, commit_us: 3_000, journal_us: 4_000 }
    }
}

/// The world of one run.
#[derive(Debug)]
pub struct World {
    /// Microseconds since the beginning.
    pub now: u64,
    /// Things that have happened.
    pub steps: u64,
    /// Events that were handed to processes over the real code.
    pub inputs: u64,
    /// How it behaves when nothing is broken.
    pub pace: Pace,
    /// What is to happen.
    pub queue: Queue,
    /// The process table.
    pub slots: Vec<Slot>,
    /// Machines.
    pub machines: Vec<Machine>,
    /// Connections.
    pub net: Net,
    /// Stores.
    pub clusters: Vec<Cluster>,
    /// Commits under way, by their number in the queue.
    pub commits: BTreeMap<u64, Commit>,
    /// Jobs, in fact.
    pub jobs: Jobs,
    /// What happened.
    pub trace: Trace,
    /// Who watches.
    pub observer: Box<dyn Observe>,
    /// What waits for something to be sent.
    pub wires: Wires,
    starter: Starter,
    random: Random,
    commit_count: u64,
}

impl World {
    /// An empty world under this seed.
    pub fn new(seed: u64, keep: Keep, observer: Box<dyn Observe>, starter: Starter) -> Self {
        Self {
            now: 0,
            steps: 0,
            inputs: 0,
            pace: Pace::default(),
            queue: Queue::default(),
            slots: Vec::new(),
            machines: Vec::new(),
            net: Net::default(),
            clusters: Vec::new(),
            commits: BTreeMap::new(),
            jobs: Jobs::default(),
            trace: Trace::new(keep),
            observer,
            wires: Wires::default(),
            starter,
            random: Random::new(seed, 0x776f_726c_6400),
            commit_count: 0,
        }
    }

    /// The next thing happens, where something is left to happen. What [`World::after`] promised is given back.
    pub fn step(&mut self) -> Option<u64> {
        let (at, due) = self.queue.pop()?;
        self.now = self.now.max(at);
        self.steps += 1;
        match due {
            Due::Handle { proc, life, event } => self.hand_over(proc, life, event),
            Due::Timer { proc, life, number } => self.timer_due(proc, life, number),
            Due::Arrival { conn, side, packet } => self.arrival(conn, side, packet),
            Due::Opening { conn, caller } => self.opening(conn, caller),
            Due::Closing { conn, side, why } => self.closing(conn, side, why),
            Due::Commit(number) => self.commit_due(number),
            Due::JournalDue { proc, life, file, place, token } => self.journal_due((proc, life), &file, place, token),
            Due::SyncDue { proc, life, token, files } => self.sync_due(proc, life, token, &files),
            Due::JobEnds { job, number, how } => self.job_ends(&job, number, how),
            Due::Resume { proc } => self.resume(proc),
            Due::Restart { proc } => self.start(proc),
            Due::Other(number) => return Some(number),
        }
        None
    }

    /// Something of whoever drives the world happens after so long: [`World::step`] gives the number back then.
    pub fn after(&mut self, length_us: u64, number: u64) {
        self.queue.push(self.now + length_us, Due::Other(number));
    }

    /// A machine is added.
    pub fn add_machine(&mut self, drift_ppm: i64) -> MachineId {
        let id = MachineId(u32::try_from(self.machines.len()).unwrap_or(u32::MAX));
        self.machines.push(Machine::new(self.now, drift_ppm));
        id
    }

    /// A store is added.
    pub fn add_cluster(&mut self) -> ClusterId {
        let id = ClusterId(u32::try_from(self.clusters.len()).unwrap_or(u32::MAX));
        let commit_us = self.pace.commit_us;
        self.clusters.push(Cluster {
            store: bowline_store::MemoryStore::new(),
            route: None,
            commit_us,
            next_fate: None,
        });
        id
    }

    /// Adds a line about the world to the trace.
    pub fn note_world(&mut self, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, text);
    }

    /// A process hands itself something, or is handed it, at once but after what is already due now.
    pub fn tell(&mut self, proc: ProcId, event: Event) {
        let life = self.life(proc);
        self.queue.push(self.now, Due::Handle { proc, life, event });
    }
}
