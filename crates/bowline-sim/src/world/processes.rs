//! The process table: starting, killing, standing still, and handing over events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bowline_core::name::{Key, PoolName, WorkerName};
use bowline_core::worker::Capabilities;
use bowline_worker::config::LeftBehind;

use super::{Alive, Due, World};
use crate::clock::{Local, Which};
use crate::process::{CloseWhy, ClusterId, Event, Io, MachineId, ProcId, Process};
use crate::random::Random;

/// What a process is, in each of its lives.
#[derive(Debug, Clone)]
pub enum Role {
    /// A server of a cluster.
    Server {
        /// Which cluster.
        cluster: ClusterId,
        /// What has ended is kept for so long.
        keep: Duration,
    },
    /// A worker.
    Worker(Box<WorkerRole>),
    /// The supervisor of a state directory.
    Supervisor {
        /// Which.
        dir: String,
    },
    /// A person or a program that uses a cluster.
    Client {
        /// Which.
        cluster: ClusterId,
    },
}

/// A worker as it is configured.
#[derive(Debug, Clone)]
pub struct WorkerRole {
    /// The identity under which it acts.
    pub name: WorkerName,
    /// The pool of which it wants an identity.
    pub pool: Option<PoolName>,
    /// BLAKE3 of its key.
    pub key: [u8; 32],
    /// Its state directory: for each server a part of it.
    pub dir: String,
    /// The clusters that it serves.
    pub servers: Vec<ClusterId>,
    /// Slots.
    pub slots: u32,
    /// Amounts.
    pub amounts: BTreeMap<Key, u64>,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Attempts beyond its slots. `None`: by the length of what it gets.
    pub prefetch: Option<u32>,
    /// What becomes of what its identity's last holder left elsewhere.
    pub left: LeftBehind,
    /// What a connection says lies in the process's own queue for so long at most, now and then. In microseconds.
    pub queue_us: u64,
    /// None of its logs is ever delivered.
    pub stuck_logs: bool,
    /// And of some a part is taken, again and again, and never all.
    pub torn_logs: bool,
}

impl WorkerRole {
    /// The part of its state directory that belongs to the server of this number.
    pub fn dir_of(&self, number: usize) -> String {
        format!("{}/{number}", self.dir)
    }
}

/// Makes the process of a role.
pub type Starter = fn(&Role) -> Box<dyn Process>;

/// A place in the process table.
#[derive(Debug)]
pub struct Slot {
    /// What it is.
    pub role: Role,
    /// Where.
    pub machine: MachineId,
    /// How often it was started.
    pub life: u32,
    /// The process. `None`: it does not run.
    pub process: Option<Box<dyn Process>>,
    /// It stands still until then. `None`: it does not.
    pub stalled_until: Option<u64>,
    /// Whether it holds the lock of its state directory.
    pub(super) holds_lock: bool,
    /// What comes meanwhile.
    backlog: VecDeque<Event>,
    timer: u64,
    timer_at: Duration,
    timer_of: Which,
    random: Random,
    exiting: Option<i32>,
    /// How its last life ended: with a status, or killed. `None`: it has not ended yet.
    pub last_end: Option<Option<i32>>,
}

impl World {
    /// A place in the process table; nothing is started.
    pub fn add_process(&mut self, role: Role, machine: MachineId) -> ProcId {
        let id = ProcId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        let random = Random::new(self.random.next(), u64::from(id.0));
        let (backlog, process) = (VecDeque::new(), None);
        self.slots.push(Slot {
            role,
            machine,
            life: 0,
            process,
            stalled_until: None,
            holds_lock: false,
            backlog,
            timer: 0,
            timer_at: Duration::ZERO,
            timer_of: Which::Monotonic,
            random,
            exiting: None,
            last_end: None,
        });
        id
    }

    pub(crate) fn slot(&self, proc: ProcId) -> &Slot {
        &self.slots[proc.0 as usize]
    }

    pub(crate) fn slot_mut(&mut self, proc: ProcId) -> &mut Slot {
        &mut self.slots[proc.0 as usize]
    }

    /// Whether the process runs, standing still or not.
    pub fn is_running(&self, proc: ProcId) -> bool {
        self.slot(proc).process.is_some()
    }

    pub(crate) fn life(&self, proc: ProcId) -> u32 {
        self.slot(proc).life
    }

    pub(crate) fn machine_of(&self, proc: ProcId) -> MachineId {
        self.slot(proc).machine
    }

    pub(crate) fn local(&self, proc: ProcId) -> Local {
        self.machine(self.machine_of(proc)).clock.local(self.now)
    }

    pub(crate) fn random_of(&mut self, proc: ProcId) -> &mut Random {
        &mut self.slot_mut(proc).random
    }

    /// Starts a process, where it does not run.
    pub fn start(&mut self, proc: ProcId) {
        let machine = self.machine_of(proc);
        if self.is_running(proc) || self.machine(machine).is_down {
            return;
        }
        let starter = self.starter;
        let slot = self.slot_mut(proc);
        slot.life += 1;
        slot.backlog.clear();
        slot.stalled_until = None;
        slot.exiting = None;
        slot.process = Some(starter(&slot.role));
        let life = slot.life;
        if let Role::Server { cluster, .. } = slot.role {
            self.clusters[cluster.0 as usize].route = Some(proc);
        }
        self.note(proc, format_args!("is started, life {life}"));
        self.observer.process(self.now, proc, &self.slots[proc.0 as usize].role, Alive::Yes);
        self.queue.push(self.now, Due::Handle { proc, life, event: Event::Begin });
    }

    /// Kills a process: memory is gone; its connections break.
    pub fn kill(&mut self, proc: ProcId) {
        self.end(proc, None);
    }

    fn end(&mut self, proc: ProcId, status: Option<i32>) {
        let slot = self.slot_mut(proc);
        if slot.process.take().is_none() {
            return;
        }
        slot.backlog.clear();
        slot.stalled_until = None;
        slot.last_end = Some(status);
        let life = slot.life;
        self.note(proc, format_args!("ends, life {life}, status {status:?}"));
        self.observer.process(self.now, proc, &self.slots[proc.0 as usize].role, Alive::No(status));
        self.break_connections(proc, life, &CloseWhy::Broken);
        self.files_of_the_dead(proc);
        self.orphan_jobs(proc, life);
    }

    /// A process stands still for so long. What comes meanwhile waits.
    pub fn stall(&mut self, proc: ProcId, length_us: u64) {
        if !self.is_running(proc) {
            return;
        }
        let until = self.now + length_us;
        let slot = self.slot_mut(proc);
        slot.stalled_until = Some(slot.stalled_until.map_or(until, |before| before.max(until)));
        self.note(proc, format_args!("stands still for {length_us} us"));
        self.observer.stands_still(self.now, proc);
        self.queue.push(until, Due::Resume { proc });
    }

    /// A process that stands still goes on now.
    pub fn go_on(&mut self, proc: ProcId) {
        let now = self.now;
        let slot = self.slot_mut(proc);
        if slot.stalled_until.is_some() {
            slot.stalled_until = Some(now);
            self.resume(proc);
        }
    }

    pub(super) fn resume(&mut self, proc: ProcId) {
        let now = self.now;
        let slot = self.slot_mut(proc);
        if slot.stalled_until.is_none_or(|until| until > now) {
            return;
        }
        slot.stalled_until = None;
        self.observer.goes_on(now, proc);
        let slot = self.slot_mut(proc);
        let (life, backlog) = (slot.life, std::mem::take(&mut slot.backlog));
        for event in backlog {
            self.queue.push(now, Due::Handle { proc, life, event });
        }
    }

    pub(super) fn hand_over(&mut self, proc: ProcId, life: u32, event: Event) {
        let slot = self.slot_mut(proc);
        if slot.life != life {
            return;
        }
        if slot.stalled_until.is_some() {
            slot.backlog.push_back(event);
            return;
        }
        let Some(mut process) = slot.process.take() else { return };
        self.inputs += 1;
        if self.trace.is_on() {
            let (at, trace) = (self.now, &mut self.trace);
            trace.line(at, format_args!("p{} < {event:?}", proc.0));
        }
        process.handle(&mut Io { world: self, me: proc }, event);
        let slot = self.slot_mut(proc);
        slot.process = Some(process);
        if let Some(status) = slot.exiting.take() {
            self.end(proc, Some(status));
        }
    }

    pub(crate) fn exit(&mut self, proc: ProcId, status: i32) {
        self.slot_mut(proc).exiting = Some(status);
    }

    pub(crate) fn set_timer(&mut self, proc: ProcId, of: Which, at: Option<Duration>) {
        let slot = self.slot_mut(proc);
        slot.timer += 1;
        let (life, number) = (slot.life, slot.timer);
        let Some(at) = at else { return };
        (slot.timer_at, slot.timer_of) = (at, of);
        let due = self.machine(self.machine_of(proc)).clock.world_at(of, at).max(self.now);
        self.queue.push(due, Due::Timer { proc, life, number });
    }

    pub(super) fn timer_due(&mut self, proc: ProcId, life: u32, number: u64) {
        let slot = self.slot(proc);
        if slot.life != life || slot.timer != number {
            return;
        }
        let (at, of) = (slot.timer_at, slot.timer_of);
        let clock = &self.machine(slot.machine).clock;
        if clock.local(self.now).of(of) < at {
            // The clock has stood still, or goes slower than when the timer was set.
            let due = clock.world_at(of, at).max(self.now + 1);
            return self.queue.push(due, Due::Timer { proc, life, number });
        }
        self.hand_over(proc, life, Event::Timer);
    }

    pub(crate) fn wake(&mut self, proc: ProcId, after: Duration, token: u64) {
        let life = self.life(proc);
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX / 4);
        self.queue.push(self.now.saturating_add(after), Due::Handle { proc, life, event: Event::Woken(token) });
    }

    pub(crate) fn note(&mut self, proc: ProcId, text: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, format_args!("p{} {text}", proc.0));
    }
}
