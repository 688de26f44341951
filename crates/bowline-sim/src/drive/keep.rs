//! Service managers and operators: what has ended is started again, unless it must not be.

use bowline_core::input::Request;
use bowline_core::name::WorkerName;

use super::{Drive, Later};
use crate::client::Client;
use crate::process::{ClusterId, Event, MachineId, ProcId};
use crate::server::{ACCEPT_ROLLBACK, Server};
use crate::worker::{FENCED, Seat, Worker};
use crate::world::Role;

/// Between two looks, in microseconds.
const LOOK_EVERY_US: u64 = 1_000_000;
/// A cluster of which nobody leads for so long gets another server. In microseconds.
const LEADERLESS_MAX_US: u64 = 12_000_000;

impl Drive {
    pub(super) fn follow(&mut self, later: &Later) {
        match *later {
            Later::Start(proc) => {
                self.starting.remove(&proc);
                // Whoever is being forgotten meanwhile is held down until that has been answered.
                if !self.staff.iter().any(|staff| staff.proc == proc && staff.held.is_some()) {
                    self.world.start(proc);
                }
            }
            Later::Boot(machine) => self.boot(machine),
            Later::Room(machine) => {
                let machine = &mut self.world.machines[machine.0 as usize];
                (machine.disk.full, machine.refuses_sync) = (false, false);
            }
            Later::Quick(cluster) => self.world.clusters[cluster.0 as usize].commit_us = self.shape.pace.commit_us,
            Later::Forgotten(client) => self.forgotten(client),
            Later::Look => {
                self.look();
                self.later(LOOK_EVERY_US, Later::Look);
            }
            Later::CutOff(machine, length_us) => self.world.cut_off(machine, length_us),
            // It comes with what touched the wire.
            Later::Trap(..) => {}
        }
    }

    fn boot(&mut self, machine: MachineId) {
        self.world.boot(machine);
        let here = self.staff.iter().filter(|staff| staff.machine == machine && !staff.retired);
        let here: Vec<ProcId> = here.map(|staff| staff.proc).collect();
        for proc in here {
            self.start_in(proc, 500_000);
        }
    }

    /// A process is started after so long, unless that is under way.
    pub(super) fn start_in(&mut self, proc: ProcId, length_us: u64) {
        if self.starting.insert(proc) {
            self.later(length_us, Later::Start(proc));
        }
    }

    fn look(&mut self) {
        for place in 0..self.staff.len() {
            let staff = &self.staff[place];
            let (proc, machine) = (staff.proc, staff.machine);
            let is_down = self.world.machines[machine.0 as usize].is_down;
            if staff.retired || staff.held.is_some() || is_down {
                continue;
            }
            self.note_who_is_replaced(proc);
            if self.has_left_a_server(proc) {
                // Only its next process serves that one again.
                self.world.kill(proc);
            }
            if self.world.is_running(proc) || self.starting.contains(&proc) {
                continue;
            }
            if self.world.slots[proc.0 as usize].last_end == Some(Some(FENCED)) && !self.is_fenced_by_nobody(proc) {
                // Nothing starts it again by itself.
                self.staff[place].retired = true;
                continue;
            }
            self.start_in(proc, 1_000_000);
        }
        for cluster in (0..self.shape.clusters).map(ClusterId) {
            self.look_after(cluster);
            self.enrol_again(cluster);
        }
    }

    /// Whether a worker was sent away for another one that is not there: a store that was put back takes it for one that came
    /// later; or the question to forget it, asked before it was started anew, lay in a server that stood still until after
    /// that. Whoever put the store back, or asked, starts the worker again.
    fn is_fenced_by_nobody(&mut self, proc: ProcId) -> bool {
        let was_forgotten = self.staff.iter().any(|staff| staff.proc == proc && staff.forgotten);
        let Role::Worker(role) = &self.world.slots[proc.0 as usize].role else { return false };
        let (name, servers) = (role.name.clone(), role.servers.clone());
        let facts = &self.check().facts;
        (was_forgotten || servers.iter().any(|cluster| facts.was_put_back(*cluster)))
            && !self.staff.iter().any(|staff| staff.proc != proc && self.acts_as(staff.proc, &name))
    }

    /// Whether a worker has ended for one of its servers, which nobody serves in its stead, and goes on for the others.
    /// Where another process of its name serves it, both go on: each would send the other one away without end if it was
    /// started anew for the server that it has lost.
    fn has_left_a_server(&self, proc: ProcId) -> bool {
        let Role::Worker(role) = &self.world.slots[proc.0 as usize].role else { return false };
        self.worker(proc).is_some_and(|worker| {
            let mut left = worker.seats().iter().filter(|seat| seat.is_over());
            left.any(|seat| !seat.is_fenced() || !self.is_served_by_another(seat.cluster(), &role.name, proc))
        })
    }

    /// Of a worker that one of its servers sent away for another one, which is there.
    fn note_who_is_replaced(&mut self, proc: ProcId) {
        let Role::Worker(role) = &self.world.slots[proc.0 as usize].role else { return };
        let Some(worker) = self.worker(proc) else { return };
        let fenced = worker.seats().iter().filter(|seat| seat.is_over() && seat.is_fenced()).map(Seat::cluster);
        let replaced: Vec<ClusterId> =
            fenced.filter(|cluster| self.is_served_by_another(*cluster, &role.name, proc)).collect();
        for cluster in replaced {
            self.check().sessions.replaced(proc, cluster);
        }
    }

    fn is_served_by_another(&self, cluster: ClusterId, name: &WorkerName, than: ProcId) -> bool {
        let others = self.staff.iter().filter(|staff| staff.proc != than && self.acts_as(staff.proc, name));
        let serves = |seat: &Seat| seat.cluster() == cluster && !seat.is_over();
        let mut theirs = others.map(|staff| self.worker(staff.proc));
        // Whoever is about to be started serves them all.
        theirs.any(|worker| worker.is_none_or(|worker| worker.seats().iter().any(serves)))
    }

    fn worker(&self, proc: ProcId) -> Option<&Worker> {
        self.world.slots[proc.0 as usize].process.as_ref()?.as_any().downcast_ref()
    }

    /// Whoever was forgotten, or enrolled after the state to which the store was put back, is enrolled again.
    fn enrol_again(&mut self, cluster: ClusterId) {
        let client = self.clients[cluster.0 as usize][0];
        if self.waiting(client) > 0 {
            return;
        }
        let mut asks = Vec::new();
        for place in 0..self.staff.len() {
            let staff = &self.staff[place];
            if staff.retired || staff.held.is_some() {
                continue;
            }
            let Role::Worker(role) = &self.world.slots[staff.proc.0 as usize].role else { continue };
            let (name, key, pool) = (role.name.clone(), role.key, role.pool.clone());
            let book = &self.check().view(cluster).book;
            match pool {
                None if !book.workers.values().any(|worker| worker.name == name) => {
                    asks.push(Request::Enrol { token: None, worker: name, key });
                }
                Some(pool) if !book.tokens.contains(&key) => {
                    asks.push(Request::EnrolInPool { token: None, pool, key });
                }
                Some(_) | None => {}
            }
        }
        asks.dedup();
        for ask in asks {
            self.world.tell(client, Event::Do(Box::new(ask)));
        }
    }

    pub(super) fn server(&self, proc: ProcId) -> Option<&Server> {
        self.world.slots[proc.0 as usize].process.as_ref()?.as_any().downcast_ref()
    }

    pub(super) fn waiting(&self, client: ProcId) -> usize {
        let process = self.world.slots[client.0 as usize].process.as_ref();
        process.and_then(|process| process.as_any().downcast_ref::<Client>()).map_or(0, Client::waiting)
    }

    fn leads(&self, proc: ProcId) -> bool {
        self.server(proc).is_some_and(|server| server.term().is_some())
    }

    /// The server that leads, and has not been told otherwise.
    pub(super) fn leading(&self, cluster: ClusterId) -> Option<ProcId> {
        let route = self.world.clusters[cluster.0 as usize].route.filter(|proc| self.leads(*proc));
        route.or_else(|| self.servers[cluster.0 as usize].iter().copied().find(|proc| self.leads(*proc)))
    }

    fn look_after(&mut self, cluster: ClusterId) {
        let route = self.world.clusters[cluster.0 as usize].route;
        if route.is_some_and(|proc| self.leads(proc)) {
            self.leaderless_since.remove(&cluster);
            return;
        }
        let now = self.world.now;
        let since = *self.leaderless_since.entry(cluster).or_insert(now);
        if now - since < LEADERLESS_MAX_US {
            return;
        }
        self.leaderless_since.remove(&cluster);
        let own = self.servers[cluster.0 as usize].clone();
        let rolled = own.iter().copied().find(|proc| self.server(*proc).is_some_and(Server::is_rolled_back));
        if let Some(proc) = rolled {
            return self.world.tell(proc, Event::Woken(ACCEPT_ROLLBACK));
        }
        // Whoever does not lead any more is ended, and started again.
        let Some(proc) = route.or(own.first().copied()) else { return };
        if own.iter().any(|own| self.starting.contains(own)) {
            return;
        }
        self.world.kill(proc);
        self.start_in(proc, 100_000);
    }
}
