//! What the jobs do in fact: I1 where a task may not overlap, I4, I13.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::id::{AttemptNo, AttemptRef, Fence, Generation, TaskRef};
use bowline_core::state::AttemptEnd;
use bowline_protocol::ServerMessage;

use super::{Found, Invariant, View};
use crate::job::{Ended, JobId};
use crate::process::ClusterId;
use crate::world::WorkerRole;

/// A job that lives.
#[derive(Debug, Clone)]
struct Living {
    cluster: ClusterId,
    attempt: AttemptRef,
    worker: String,
    slots: u32,
    /// What it belonged to was put back since: nobody answers for it any more.
    disowned: bool,
}

/// Jobs in fact, as the checker sees them.
#[derive(Debug, Default)]
pub struct Facts {
    living: BTreeMap<JobId, Living>,
    by_unit: BTreeMap<(ClusterId, TaskRef), BTreeSet<JobId>>,
    began: BTreeMap<(ClusterId, AttemptRef), u32>,
    /// State directories of the servers' parts of workers: whose, and of which cluster.
    dirs: BTreeMap<String, (String, ClusterId)>,
    slots: BTreeMap<String, u32>,
    /// What the worker at a state directory was told that an attempt takes. The number of its task may mean another one
    /// since, where the store was put back.
    claims: BTreeMap<(String, AttemptRef), u32>,
    /// Units of which somebody vouched wrongly, or was allowed to be wrong.
    excused: BTreeSet<(ClusterId, TaskRef)>,
    /// Attempts of a state directory that was left behind: its jobs run on unheard.
    count: u64,
    /// Attempts whose job ended by itself, and well.
    well: BTreeSet<(String, AttemptRef)>,
    /// Clusters that were put back once: attempts of a time that they do not know may still begin.
    put_back: BTreeSet<ClusterId>,
}

/// The attempt that a supervisor's key names.
pub fn attempt_of(key: &str) -> Option<AttemptRef> {
    let mut parts = key.strip_prefix('t')?.split('-');
    let task: TaskRef = parts.next()?.parse().ok()?;
    let generation = Generation(parts.next()?.strip_prefix('g')?.parse().ok()?);
    let attempt = AttemptNo(parts.next()?.strip_prefix('a')?.parse().ok()?);
    Some(AttemptRef { task, fence: Fence { generation, attempt } })
}

impl Facts {
    /// These workers will come.
    pub fn expect(&mut self, workers: &[WorkerRole]) {
        for role in workers {
            self.slots.insert(role.dir.clone(), role.slots);
            for (number, cluster) in role.servers.iter().enumerate() {
                self.dirs.insert(role.dir_of(number), (role.dir.clone(), *cluster));
            }
        }
    }

    /// Jobs that have begun.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Attempts of a cluster whose job ended by itself, and well.
    pub(super) fn well(&self, cluster: ClusterId) -> impl Iterator<Item = AttemptRef> {
        let is_of = move |dir: &str| self.dirs.get(dir).is_some_and(|(_, of)| *of == cluster);
        self.well.iter().filter(move |(dir, _)| is_of(dir)).map(|(_, attempt)| *attempt)
    }

    /// Living jobs with their attempts, and whether somebody still answers for each.
    pub fn living(&self) -> impl Iterator<Item = (&JobId, ClusterId, AttemptRef)> {
        self.living.iter().filter(|(_, job)| !job.disowned).map(|(id, job)| (id, job.cluster, job.attempt))
    }

    /// Whether a job of this unit lives, of anybody's.
    pub fn lives(&self, cluster: ClusterId, unit: TaskRef) -> bool {
        self.by_unit.get(&(cluster, unit)).is_some_and(|jobs| !jobs.is_empty())
    }

    /// Of this unit two may live: somebody has said what he could not know.
    pub fn excuse(&mut self, cluster: ClusterId, unit: TaskRef) {
        self.excused.insert((cluster, unit));
    }

    /// The cluster was put back to an earlier state: what lives now is of a time that it does not know.
    pub(super) fn disown(&mut self, cluster: ClusterId) {
        self.put_back.insert(cluster);
        self.living.values_mut().filter(|job| job.cluster == cluster).for_each(|job| job.disowned = true);
        self.by_unit.retain(|(of, _), _| *of != cluster);
        self.began.retain(|(of, _), _| *of != cluster);
    }

    /// Whether this cluster was ever put back to an earlier state.
    pub fn was_put_back(&self, cluster: ClusterId) -> bool {
        self.put_back.contains(&cluster)
    }

    /// This was heard at a state directory.
    pub(super) fn heard(&mut self, dir: &str, messages: &[ServerMessage]) {
        for message in messages {
            if let ServerMessage::Assign(handover) = message {
                self.claims.insert((dir.to_owned(), handover.assign.attempt), handover.assign.slots);
            }
        }
    }

    pub(super) fn began(&mut self, views: &[View], found: &mut Found, at: u64, job: &JobId) {
        self.count += 1;
        let Some((worker, cluster)) = self.dirs.get(&job.dir).cloned() else { return };
        let Some(attempt) = attempt_of(&job.key) else { return };
        // Where the store was put back its name may have meant another one before.
        self.well.remove(&(job.dir.clone(), attempt));
        let book = &views[cluster.0 as usize].book;
        let times = self.began.entry((cluster, attempt)).or_default();
        *times += 1;
        let put_back = self.put_back.contains(&cluster);
        found.unless(*times == 1 || put_back, at, Invariant::I1, || {
            format!("{attempt} has begun twice, on {job:?} now")
        });
        let is_known = book.attempts.contains_key(&attempt) || book.gone.contains(&attempt.task.task);
        found.unless(is_known || put_back, at, Invariant::I3, || {
            format!("{attempt} begins, and no such attempt was ever committed")
        });
        let row = book.attempts.get(&attempt);
        let given_back = row.is_some_and(|row| row.end == Some(AttemptEnd::Released));
        let is_wrong = given_back && !put_back && !self.excused.contains(&(cluster, attempt.task));
        found.unless(!is_wrong, at, Invariant::I13, || format!("{attempt} begins, and it was given back before that"));
        let disowned = put_back && book.attempts.get(&attempt).is_none_or(|row| row.end.is_some());
        let told = self.claims.get(&(job.dir.clone(), attempt)).copied();
        let slots = told.unwrap_or_else(|| book.tasks.get(&attempt.task.task).map_or(1, |task| task.spec.slots));
        let unit = (cluster, attempt.task);
        let others = self.by_unit.entry(unit).or_default();
        if let Some(other) = others.first().filter(|_| !disowned && !self.excused.contains(&unit)) {
            let task = book.tasks.get(&attempt.task.task);
            // What the supervisor must kill by itself may live on where it was frozen, or could not kill.
            let may =
                !book.forbids_overlap(attempt.task.task) || task.is_some_and(|task| task.spec.stop_after.is_some());
            let other = self.living.get(other).map(|job| job.attempt);
            found.unless(may, at, Invariant::I1, || {
                format!("{attempt} begins while {other:?} of the same task lives, and it may not overlap")
            });
        }
        if !disowned {
            others.insert(job.clone());
        }
        self.living.insert(job.clone(), Living { cluster, attempt, worker: worker.clone(), slots, disowned });
        let taken: u32 = self.living.values().filter(|job| job.worker == worker).map(|job| job.slots).sum();
        let room = self.slots.get(&worker).copied().unwrap_or(u32::MAX);
        found.unless(taken <= room, at, Invariant::I4, || {
            format!("jobs that take {taken} slots live on {worker}, which has {room}")
        });
    }

    /// Whether a job of this attempt ended by itself, and well, under this state directory.
    pub(super) fn ended_well(&self, dir: &str, attempt: AttemptRef) -> bool {
        self.well.contains(&(dir.to_owned(), attempt))
    }

    /// Whether a job of this attempt lives under this state directory, and somebody still answers for it.
    pub(super) fn lives_in(&self, dir: &str, attempt: AttemptRef) -> bool {
        let is_it = |(job, living): (&JobId, &Living)| job.dir == dir && living.attempt == attempt && !living.disowned;
        self.living.iter().any(is_it)
    }

    /// Somebody took away what a state directory knows of its jobs: of these two may live, for a moment.
    pub(super) fn forgotten(&mut self, dir: &str) {
        for (_, living) in self.living.iter_mut().filter(|(job, _)| job.dir == dir) {
            living.slots = 0;
            self.excused.insert((living.cluster, living.attempt.task));
        }
    }

    pub(super) fn ended(&mut self, job: &JobId, how: Ended) {
        if let Some(attempt) = attempt_of(&job.key).filter(|_| how == Ended::Status(0)) {
            self.well.insert((job.dir.clone(), attempt));
        }
        if let Some(living) = self.living.remove(job) {
            let unit = (living.cluster, living.attempt.task);
            if let Some(jobs) = self.by_unit.get_mut(&unit) {
                jobs.remove(job);
            }
        }
    }

    /// I13: the store says that the attempt is over, and not by its loss.
    pub(super) fn attempt_ended(&self, found: &mut Found, at: u64, cluster: ClusterId, attempt: AttemptRef) {
        if self.excused.contains(&(cluster, attempt.task)) {
            return;
        }
        let Some(jobs) = self.by_unit.get(&(cluster, attempt.task)) else { return };
        let lives = jobs.iter().find(|job| self.living.get(*job).is_some_and(|job| job.attempt == attempt));
        found.unless(lives.is_none(), at, Invariant::I13, || {
            format!("{attempt} has ended, and its job lives: {lives:?}")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_attempt() {
        let attempt = attempt_of("t7.3-g1-a2").unwrap();
        assert_eq!(attempt.task.to_string(), "7.3");
        assert_eq!(attempt.fence.attempt.0, 2);
        assert_eq!(attempt_of("probe-1"), None);
    }
}
