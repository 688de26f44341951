//! Black holes: a worker on which too many different tasks fail too quickly, one after the other, is put
//! aside, with the reason. It is tried with one task at a time from then on, and is itself again when one
//! succeeds, when a new process takes its identity, or when somebody resumes or undrains it.
//!
//! Only the comparison tells whether the worker or the tasks are to blame: while no other worker is fit
//! and does better, nobody is put aside.

use crate::id::{AttemptRef, TaskId, WorkerId};
use crate::probe::{self, Path};
use crate::row::AsideMark;
use crate::state::AttemptEnd;
use crate::time::Timestamp;

use super::Engine;
use super::out::Cause;
use super::worker::Worker;

/// So many different tasks failing quickly on one worker, without a success between, make it a black hole.
pub(super) const QUICK_FAILURES_MAX: usize = 5;
/// Another worker does better while it has fewer than so many.
const DOES_BETTER_BELOW: usize = 3;

/// What is known of a worker's luck, in memory.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// Different tasks that failed quickly, one after the other.
    failures: Vec<TaskId>,
    /// It was put aside, and may be tried with one task now.
    is_due: bool,
}

impl Trial {
    /// Whether one that was put aside may be tried.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }
}

/// How an attempt speaks of its worker.
enum Sign {
    Good,
    Bad,
    None,
}

impl Engine {
    /// An attempt on this worker ended so.
    pub(super) fn note_luck(&mut self, id: WorkerId, attempt: AttemptRef, end: AttemptEnd, from: Timestamp) {
        let is_quick = self.now.since(from) < self.config.timing.quick_within;
        let sign = match end {
            AttemptEnd::Succeeded => Sign::Good,
            AttemptEnd::Failed if is_quick => Sign::Bad,
            AttemptEnd::Failed
            | AttemptEnd::TimedOut
            | AttemptEnd::Cancelled
            | AttemptEnd::Lost
            | AttemptEnd::Released
            | AttemptEnd::Superseded => Sign::None,
        };
        match sign {
            Sign::Good => self.did_well(id),
            Sign::Bad => self.did_badly(id, attempt.task.task),
            Sign::None => self.try_again_later(id),
        }
    }

    /// The worker itself reports that a job is gone: its supervisor died under it.
    pub(super) fn note_gone(&mut self, id: WorkerId, task: TaskId) {
        self.did_badly(id, task);
    }

    fn did_well(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.trial = Trial::default();
        if worker.row.aside.take().is_some() {
            probe::reached(Path::BlackHoleHealed);
            self.touch_worker(id);
            self.tell_worker(id, "healed", &Cause::server("a task succeeded on it"));
            self.retime_worker(id);
            self.refresh_free(id);
        }
    }

    fn did_badly(&mut self, id: WorkerId, task: TaskId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let failures = &mut worker.trial.failures;
        if !failures.contains(&task) {
            failures.push(task);
            if failures.len() > QUICK_FAILURES_MAX {
                failures.remove(0);
            }
        }
        if worker.row.aside.is_some() {
            return self.try_again_later(id);
        }
        if worker.trial.failures.len() >= QUICK_FAILURES_MAX && self.somebody_does_better(id) {
            self.put_aside(id);
        }
    }

    fn somebody_does_better(&self, than: WorkerId) -> bool {
        let does_better = |worker: &Worker| {
            worker.unavailable().is_none()
                && worker.row.aside.is_none()
                && worker.trial.failures.len() < DOES_BETTER_BELOW
        };
        self.workers.iter().any(|(id, worker)| *id != than && does_better(worker))
    }

    fn put_aside(&mut self, id: WorkerId) {
        let (now, aside_for) = (self.now, self.config.timing.aside_for);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let tasks: Vec<String> = worker.trial.failures.iter().map(ToString::to_string).collect();
        let reason = format!(
            "{QUICK_FAILURES_MAX} different tasks failed on it quickly, one after the other ({}), and other workers do \
             better",
            tasks.join(", ")
        );
        probe::reached(Path::BlackHolePutAside);
        worker.trial.is_due = false;
        worker.row.aside = Some(AsideMark { since: now, try_at: now.plus(aside_for), reason: reason.clone() });
        self.touch_worker(id);
        self.tell_worker(id, "put_aside", &Cause::server(reason));
        self.retime_worker(id);
        self.refresh_free(id);
    }

    /// What was tried on a worker that is aside told nothing good.
    fn try_again_later(&mut self, id: WorkerId) {
        let try_at = self.now.plus(self.config.timing.aside_for);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(mark) = &mut worker.row.aside else { return };
        mark.try_at = try_at;
        worker.trial.is_due = false;
        self.touch_worker(id);
        self.retime_worker(id);
        self.refresh_free(id);
    }

    /// It is time to try it with one task.
    pub(super) fn try_aside(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.row.aside.as_ref().is_some_and(|mark| mark.try_at <= now) && !worker.trial.is_due {
            worker.trial.is_due = true;
            self.refresh_free(id);
        }
    }

    /// Somebody vouches for it. Whether it was aside.
    pub(super) fn bring_back(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        worker.trial = Trial::default();
        worker.row.aside.take().is_some()
    }
}
