//! Faults.

use bowline_core::time::Timestamp;
use bowline_store::{LeaderStore, RollbackStore};

use super::{Drive, Later, Trap};
use crate::fault::Fault;
use crate::net::Conn;
use crate::process::{Address, ClusterId, ConnId, Event, MachineId, ProcId};
use crate::random::Random;
use crate::store::Fate;
use crate::world::Role;

/// One second, in the world's time.
pub(super) const SECOND: u64 = 1_000_000;

/// For how long something stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Still {
    /// Some seconds.
    Short,
    /// Longer than any lease.
    Long,
}

impl Drive {
    /// Something goes wrong. Whether there was anything that could.
    pub(super) fn fault(&mut self, fault: Fault, number: u32) -> bool {
        let random = &mut self.stream(number);
        let cluster = self.a_cluster(random);
        match fault {
            Fault::KillServer | Fault::KillServerInCommit => self.kill_server(fault, cluster, random),
            Fault::TakeOver | Fault::TakeOverInCommit => self.take_over(fault, cluster, random),
            Fault::StallServer => self.stall_server(cluster, still(Still::Short, random)),
            Fault::StallServerLong => self.stall_server(cluster, still(Still::Long, random)),
            Fault::CommitFails => self.commit_fate(cluster, Fate::Fails),
            Fault::CommitUnheard => self.commit_fate(cluster, Fate::DoneUnheard),
            Fault::CommitsSlow => {
                self.world.clusters[cluster.0 as usize].commit_us = self.shape.pace.commit_us * 100;
                self.later(random.between(1, 10) * SECOND, Later::Quick(cluster));
                true
            }
            Fault::Restore | Fault::RolledBack => self.put_back(fault, cluster, random),
            Fault::KillWorker | Fault::KillSupervisor | Fault::KillBoth | Fault::TermWorker => self.kill(fault, random),
            Fault::StallWorker => self.stall_worker(still(Still::Short, random), random),
            Fault::StallWorkerLong => self.stall_worker(still(Still::Long, random), random),
            Fault::StallSupervisor => self.stall_supervisor(random),
            Fault::Reboot | Fault::Suspend | Fault::DiskFull | Fault::SyncFails | Fault::WallJump | Fault::Drift => {
                self.machine(fault, random)
            }
            Fault::SecondIncarnation => self.second_incarnation(random),
            Fault::CutLink | Fault::HalfOpen | Fault::StallLink => self.link(fault, random),
            Fault::CutOff => self.cut_off(still(Still::Short, random), random),
            Fault::CutOffLong => self.cut_off(still(Still::Long, random), random),
            Fault::KillAtStart => self.lay(Trap::KillAtStart, number, random),
            Fault::KillAtKill => self.lay(Trap::KillAtKill, number, random),
            Fault::EndAtKill => self.lay(Trap::EndAtKill, number, random),
            Fault::CutAtReport => self.lay(Trap::CutAtReport, number, random),
            Fault::LeaveAtAssign => self.lay(Trap::LeaveAtAssign, number, random),
            Fault::KillAtStep => self.lay(Trap::KillAtStep, number, random),
            Fault::LateAnswer => self.lay(Trap::LateAnswer, number, random),
            Fault::Deaf => self.deaf(cluster, random),
            Fault::TermSupervisor => self.term_supervisor(random),
            Fault::LoseJournal => self.lose_journal(random),
            Fault::RepeatAsk => {
                let client = self.clients[cluster.0 as usize][1];
                self.world.tell(client, Event::Woken(crate::client::ASK_TWICE));
                true
            }
        }
    }

    fn in_commit(&self, proc: ProcId) -> bool {
        self.world.commits.values().any(|commit| commit.by.0 == proc)
    }

    fn kill_server(&mut self, fault: Fault, cluster: ClusterId, random: &mut Random) -> bool {
        let Some(proc) = self.leading(cluster) else { return false };
        if fault == Fault::KillServerInCommit && !self.in_commit(proc) {
            return false;
        }
        self.world.kill(proc);
        let own = self.servers[cluster.0 as usize].clone();
        let next = random.one_of(&own).copied().filter(|next| !self.world.is_running(*next)).unwrap_or(proc);
        let wait = if random.per_mille(200) { random.between(20, 100) * SECOND } else { random.below(5 * SECOND) };
        self.start_in(next, wait);
        true
    }

    fn take_over(&mut self, fault: Fault, cluster: ClusterId, random: &mut Random) -> bool {
        let Some(proc) = self.leading(cluster) else { return false };
        if fault == Fault::TakeOverInCommit && !self.in_commit(proc) {
            return false;
        }
        let own = self.servers[cluster.0 as usize].iter().copied();
        let idle: Vec<ProcId> = own.filter(|other| *other != proc).collect();
        let Some(next) = random.one_of(&idle).copied() else { return false };
        // One that was deposed before is started anew.
        self.world.kill(next);
        self.world.start(next);
        true
    }

    fn stall_server(&mut self, cluster: ClusterId, length_us: u64) -> bool {
        let Some(proc) = self.leading(cluster) else { return false };
        self.world.stall(proc, length_us);
        true
    }

    fn commit_fate(&mut self, cluster: ClusterId, fate: Fate) -> bool {
        let Some(proc) = self.leading(cluster) else { return false };
        match self.world.commits.values_mut().find(|commit| commit.by.0 == proc) {
            Some(commit) => commit.fate = fate,
            None => self.world.clusters[cluster.0 as usize].next_fate = Some(fate),
        }
        true
    }

    /// At the first time a backup is made; at the next ones the cluster may be put back to one.
    fn put_back(&mut self, fault: Fault, cluster: ClusterId, random: &mut Random) -> bool {
        let own: Vec<usize> = (0..self.backups.len()).filter(|place| self.backups[*place].0 == cluster).collect();
        let Some(place) = random.one_of(&own).copied().filter(|_| random.per_mille(700)) else {
            let store = self.world.clusters[cluster.0 as usize].store.copy();
            let view = self.check().back_up(cluster);
            self.backups.push((cluster, view, store));
            return true;
        };
        for proc in self.servers[cluster.0 as usize].clone() {
            self.world.kill(proc);
        }
        self.world.drop_commits(cluster);
        let (_, view, backup) = self.backups[place].clone();
        let mut store = self.world.clusters[cluster.0 as usize].store.clone();
        let before = store.take_leadership(Timestamp(0)).map(|before| before.generation).unwrap_or_default();
        let newest = self.generations.entry(cluster).or_default();
        *newest = before.max(*newest);
        let newest = *newest;
        store.put_back(&backup);
        self.check().put_back(view);
        let then = store.clone().take_leadership(Timestamp(0)).map(|then| then.generation).unwrap_or_default();
        if fault == Fault::Restore || then < newest {
            // A restore in order raises the generation above every one that there ever was. Put back behind everybody's
            // back across a restore, the same fence could mean two attempts: that nobody can tell.
            let raised = store.accept_rollback(Some(newest));
            self.world.note_world(format_args!("cluster {} is restored: {raised:?}", cluster.0));
        } else {
            self.check().go_blind(cluster);
            self.world.note_world(format_args!("cluster {} is put back behind its back", cluster.0));
        }
        let next = self.servers[cluster.0 as usize][0];
        self.start_in(next, random.below(3 * SECOND));
        true
    }

    pub(super) fn supervisors_of(&self, place: usize) -> Vec<ProcId> {
        let staff = &self.staff[place];
        let procs = (0..).map(ProcId).zip(&self.world.slots);
        let own = procs.filter(|(_, slot)| {
            slot.machine == staff.machine && matches!(&slot.role, Role::Supervisor { dir } if staff.dirs.contains(dir))
        });
        own.map(|(proc, _)| proc).filter(|proc| self.world.is_running(*proc)).collect()
    }

    pub(super) fn a_worker(&self, random: &mut Random) -> Option<usize> {
        let running = |place: &usize| self.world.is_running(self.staff[*place].proc);
        let running: Vec<usize> = (0..self.staff.len()).filter(running).collect();
        random.one_of(&running).copied()
    }

    fn kill(&mut self, fault: Fault, random: &mut Random) -> bool {
        let Some(place) = self.a_worker(random) else { return false };
        let worker = self.staff[place].proc;
        let supervisor = random.one_of(&self.supervisors_of(place)).copied();
        if fault == Fault::TermWorker {
            self.world.tell(worker, Event::Term);
            return true;
        }
        if matches!(fault, Fault::KillSupervisor | Fault::KillBoth) {
            let Some(supervisor) = supervisor else { return false };
            self.world.kill(supervisor);
            if fault == Fault::KillSupervisor {
                return true;
            }
        }
        self.world.kill(worker);
        let wait = if random.per_mille(200) { random.between(20, 100) * SECOND } else { random.below(4 * SECOND) };
        self.start_in(worker, wait);
        true
    }

    fn stall_worker(&mut self, length_us: u64, random: &mut Random) -> bool {
        let Some(place) = self.a_worker(random) else { return false };
        self.world.stall(self.staff[place].proc, length_us);
        true
    }

    fn stall_supervisor(&mut self, random: &mut Random) -> bool {
        let length_us = still(Still::Short, random);
        let Some(place) = self.a_worker(random) else { return false };
        let Some(supervisor) = random.one_of(&self.supervisors_of(place)).copied() else { return false };
        self.world.stall(supervisor, length_us);
        true
    }

    fn cut_off(&mut self, length_us: u64, random: &mut Random) -> bool {
        let Some(machine) = self.a_machine(random) else { return false };
        self.world.cut_off(machine, length_us);
        true
    }

    fn a_machine(&self, random: &mut Random) -> Option<MachineId> {
        random.one_of(&self.staff).map(|staff| staff.machine)
    }

    fn machine(&mut self, fault: Fault, random: &mut Random) -> bool {
        let Some(machine) = self.a_machine(random) else { return false };
        let now = self.world.now;
        let found = &mut self.world.machines[machine.0 as usize];
        if found.is_down {
            return false;
        }
        match fault {
            Fault::DiskFull => {
                found.disk.full = true;
                self.later(random.between(1, 40) * SECOND, Later::Room(machine));
            }
            Fault::SyncFails => {
                found.refuses_sync = true;
                self.later(random.between(1, 40) * SECOND, Later::Room(machine));
            }
            Fault::WallJump => {
                let far = random.below(7_200 * SECOND).cast_signed() - (3_600 * SECOND).cast_signed();
                found.clock.jump_wall(far);
            }
            Fault::Drift => found.clock.drift(now, random.below(60_000).cast_signed() - 30_000),
            Fault::Suspend => self.world.suspend(machine, random.between(1, 100) * SECOND),
            _ => {
                self.world.power_off(machine);
                self.later(random.below(30 * SECOND), Later::Boot(machine));
            }
        }
        true
    }

    /// The identity is taken from another directory; the old process runs on, and learns of it when it is heard.
    fn second_incarnation(&mut self, random: &mut Random) -> bool {
        let Some(spare) = self.staff.len().checked_sub(1) else { return false };
        let proc = self.staff[spare].proc;
        if !self.staff[spare].retired || self.world.is_running(proc) || self.starting.contains(&proc) {
            return false;
        }
        if random.per_mille(500) {
            self.world.cut_off(self.staff[0].machine, random.between(5, 90) * SECOND);
        }
        self.staff[spare].retired = false;
        self.start_in(proc, 1);
        true
    }

    fn link(&mut self, fault: Fault, random: &mut Random) -> bool {
        let far = |conn: &Conn| matches!(conn.to, Address::Cluster(_)) && !conn.cut && conn.ends[1].is_some();
        let conns: Vec<ConnId> = self.world.net.conns.iter().filter(|(_, conn)| far(conn)).map(|(id, _)| *id).collect();
        let Some(conn) = random.one_of(&conns).copied() else { return false };
        match fault {
            Fault::StallLink => self.world.stall_link(conn, random.between(1, 70 * SECOND)),
            Fault::CutLink => {
                let after = [Some(random.below(3 * SECOND)), Some(random.below(3 * SECOND))];
                self.world.cut(conn, after);
            }
            _ => {
                let heard = random.below(3);
                self.world.cut(conn, [(heard == 1).then_some(0), (heard == 2).then_some(0)]);
            }
        }
        true
    }
}

fn still(length: Still, random: &mut Random) -> u64 {
    match length {
        Still::Short => random.between(1, 25 * SECOND),
        Still::Long => random.between(61, 150) * SECOND,
    }
}
