//! What clients do.

use bowline_core::input::{Request, TaskVerb};
use bowline_core::name::WorkerName;
use bowline_core::time::Timestamp;

use super::{Drive, Later, Trap};
use crate::clock::WALL_START_US;
use crate::process::{ClusterId, Event, ProcId};
use crate::random::Random;
use crate::workload::Work;
use crate::workload::spec::Moment;
use crate::workload::verbs::Desk;
use crate::world::Role;

impl Drive {
    /// A stream of this happening's own.
    pub(super) fn stream(&self, number: u32) -> Random {
        Random::new(self.setup.seed, 1_000 + u64::from(number))
    }

    pub(super) fn a_cluster(&self, random: &mut Random) -> ClusterId {
        ClusterId(u32::try_from(random.below(u64::from(self.shape.clusters))).unwrap_or(0))
    }

    pub(super) fn worker_names(&mut self, cluster: ClusterId) -> Vec<WorkerName> {
        self.check().view(cluster).book.workers.values().map(|worker| worker.name.clone()).collect()
    }

    /// Does a piece of work. Whether there was anything to do.
    pub(super) fn work(&mut self, work: Work, number: u32) -> bool {
        let mut random = self.stream(number);
        let cluster = self.a_cluster(&mut random);
        if work == Work::AtEnd {
            return self.lay(Trap::AtEnd, number, &mut random);
        }
        if work == Work::RetryAtClose {
            return self.lay(Trap::RetryAtClose, number, &mut random);
        }
        if work == Work::Forget {
            return self.forget(cluster, &mut random);
        }
        let workers = self.worker_names(cluster);
        let now = self.world.now;
        let moment = Moment { now: Timestamp(WALL_START_US + now), at_us: now };
        let tastes = self.shape.tastes.clone();
        let book = &self.check().view(cluster).book;
        let requests = Desk { book, tastes: &tastes, moment, workers: &workers }.ask(work, &mut random);
        let asked = !requests.is_empty();
        for request in requests {
            self.vouch(cluster, &request);
            self.ask(cluster, request);
        }
        asked
    }

    /// A client asks.
    pub(super) fn ask(&mut self, cluster: ClusterId, request: Request) {
        let client = self.clients[cluster.0 as usize][1];
        self.world.tell(client, Event::Do(Box::new(request)));
    }

    /// Who says how a task in doubt really ended, or has it done again, or ends it, can be wrong: then two may live.
    pub(super) fn vouch(&mut self, cluster: ClusterId, request: &Request) {
        let Request::Tasks { tasks, verb, .. } = request else { return };
        match verb {
            TaskVerb::Resolve { .. } | TaskVerb::Retry | TaskVerb::Cancel { .. } => {}
            TaskVerb::Pause | TaskVerb::Resume | TaskVerb::Complete { .. } | TaskVerb::Delete => return,
        }
        let tasks: Vec<_> = tasks.iter().map(|unit| unit.task).collect();
        let check = self.check();
        for doubtful in check.in_doubt(cluster).into_iter().filter(|doubtful| tasks.contains(&doubtful.task)) {
            check.facts.excuse(cluster, doubtful);
        }
    }

    /// A worker is taken down, and forgotten; a new one comes under its name once that is answered.
    fn forget(&mut self, cluster: ClusterId, random: &mut Random) -> bool {
        let free = |staff: &super::Staff| !staff.retired && staff.held.is_none();
        let places: Vec<usize> = (0..self.staff.len()).filter(|place| free(&self.staff[*place])).collect();
        let Some(place) = random.one_of(&places).copied() else { return false };
        let (proc, machine) = (self.staff[place].proc, self.staff[place].machine);
        let Role::Worker(role) = &self.world.slots[proc.0 as usize].role else { return false };
        let (name, pool) = (role.name.clone(), role.pool.clone());
        let shared = self.staff.iter().any(|staff| staff.proc != proc && self.acts_as(staff.proc, &name));
        let client = self.clients[cluster.0 as usize][2];
        let is_down = self.world.machines[machine.0 as usize].is_down;
        if pool.is_some() || is_down || shared || self.waiting(client) > 0 {
            return false;
        }
        // Nothing of it is left: the plug was pulled.
        self.world.power_off(machine);
        self.world.boot(machine);
        self.staff[place].held = Some(client);
        self.staff[place].forgotten = true;
        self.world.tell(client, Event::Do(Box::new(Request::ForgetWorker { worker: name })));
        self.later(2_000_000, Later::Forgotten(client));
        true
    }

    /// Whether this process runs and acts under that name.
    pub(super) fn acts_as(&self, proc: ProcId, name: &WorkerName) -> bool {
        let is_its = matches!(&self.world.slots[proc.0 as usize].role, Role::Worker(role) if role.name == *name);
        is_its && (self.world.is_running(proc) || self.starting.contains(&proc))
    }

    /// Whoever was held down may come back, once what was asked has been answered and nothing of it is under way.
    pub(super) fn forgotten(&mut self, client: ProcId) {
        if self.waiting(client) > 0 {
            return self.later(1_000_000, Later::Forgotten(client));
        }
        self.world.silence(client);
        for staff in self.staff.iter_mut().filter(|staff| staff.held == Some(client)) {
            staff.held = None;
        }
    }
}
