//! Jobs at work: what runs on which machine in fact.

use super::{Due, World};
use crate::job::{AtTerm, Ended, Escapes, Job, JobId, Plan, Signal};
use crate::process::{Event, MachineId, ProcId};

impl World {
    pub(crate) fn spawn_job(&mut self, by: ProcId, dir: &str, key: &str, plan: Plan) {
        let job = JobId { machine: self.machine_of(by), dir: dir.to_owned(), key: key.to_owned() };
        self.jobs.count += 1;
        let number = self.jobs.count;
        let parent = Some((by, self.life(by)));
        let row = Job { plan, number, parent, began_at: self.now, ended: None, killed: false };
        self.observer.job_began(self.now, &job);
        self.jobs.all.insert(job.clone(), row);
        if let Some(length) = plan.length_us {
            self.queue.push(self.now + length, Due::JobEnds { job, number, how: Ended::Status(plan.status) });
        }
    }

    pub(crate) fn signal_job(&mut self, by: ProcId, dir: &str, key: &str, signal: Signal) {
        let job = JobId { machine: self.machine_of(by), dir: dir.to_owned(), key: key.to_owned() };
        let Some(row) = self.jobs.all.get_mut(&job).filter(|row| row.is_alive()) else { return };
        let ends = match (signal, row.plan.at_term) {
            (Signal::Kill, _) if row.killed => None,
            (Signal::Kill, _) => {
                row.killed = true;
                Some((row.plan.dies_in_us, Ended::Kill))
            }
            (Signal::Term, AtTerm::Ends) => Some((0, Ended::Term)),
            (Signal::Term, AtTerm::Succeeds) => Some((100_000, Ended::Status(0))),
            (Signal::Term, AtTerm::Ignores) => None,
        };
        let number = row.number;
        if let Some((after, how)) = ends {
            self.queue.push(self.now + after, Due::JobEnds { job, number, how });
        }
    }

    pub(super) fn job_ends(&mut self, job: &JobId, number: u64, how: Ended) {
        let now = self.now;
        let alive = |row: &&mut Job| row.number == number && row.is_alive();
        let Some(row) = self.jobs.all.get_mut(job).filter(alive) else { return };
        row.ended = Some((now, how));
        let parent = row.parent;
        self.observer.job_ended(now, job, how);
        if let Some((proc, life)) = parent {
            self.hand_over(proc, life, Event::JobEnded { key: job.key.clone(), ended: how });
        }
    }

    /// A supervisor is gone: what did not escape it dies with it, the rest has no parent any more.
    pub(super) fn orphan_jobs(&mut self, proc: ProcId, life: u32) {
        let mut dying = Vec::new();
        for (job, row) in &mut self.jobs.all {
            if row.parent != Some((proc, life)) || !row.is_alive() {
                continue;
            }
            row.parent = None;
            if row.plan.escapes == Escapes::No {
                row.killed = true;
                dying.push((job.clone(), row.number, row.plan.dies_in_us));
            }
        }
        for (job, number, after) in dying {
            self.queue.push(self.now + after, Due::JobEnds { job, number, how: Ended::Kill });
        }
    }

    pub(super) fn jobs_lose_power(&mut self, machine: MachineId) {
        let now = self.now;
        let here = self.jobs.all.iter_mut().filter(|(job, row)| job.machine == machine && row.is_alive());
        let mut ended = Vec::new();
        for (job, row) in here {
            row.ended = Some((now, Ended::Kill));
            ended.push(job.clone());
        }
        for job in ended {
            self.observer.job_ended(now, &job, Ended::Kill);
        }
    }

    /// A job ends by itself, now and not later.
    pub fn ends_now(&mut self, by: ProcId, key: &str) {
        let machine = self.machine_of(by);
        let named = |(job, row): &(&JobId, &Job)| job.machine == machine && job.key == key && row.is_alive();
        let Some((job, row)) = self.jobs.all.iter().find(named) else { return };
        let (job, number, how) = (job.clone(), row.number, Ended::Status(row.plan.status));
        self.queue.push(self.now, Due::JobEnds { job, number, how });
    }

    pub(crate) fn living_jobs(&self, by: ProcId, dir: &str) -> Vec<String> {
        let machine = self.machine_of(by);
        let here = self.jobs.all.iter().filter(|(job, row)| job.machine == machine && job.dir == dir && row.is_alive());
        here.map(|(job, _)| job.key.clone()).collect()
    }
}
