//! The server's side: what it remembers, what of that is durable, and what waits to be said.

use std::collections::BTreeSet;

use crate::world::{Attempt, Job, Message};
use crate::{FORBID, Flaw, TASKS, WORKERS};

/// A task as the server has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// In its line. An attempt that was lost may still be heard of.
    Ready {
        /// The newest attempt's number.
        number: u8,
        /// The newest attempt, where it was lost.
        lost: Option<Attempt>,
    },
    /// A worker's.
    Bound {
        /// Whose.
        worker: usize,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Over.
    Ended {
        /// By this attempt, as the server believes,
        claim: u8,
        /// and by the report of this one, in fact.
        by: u8,
    },
}

impl Task {
    /// Ended. By whom is of no interest where it is who should have.
    fn ended(claim: u8, by: u8) -> Self {
        if claim == by { Self::Ended { claim: 0, by: 0 } } else { Self::Ended { claim, by } }
    }
}

/// What a commit makes durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// Raised by a restore.
    pub generation: u8,
    /// The tasks.
    pub tasks: [Task; TASKS],
    /// The boot of each worker's machine when it last said Hello.
    pub boots: [u8; WORKERS],
    /// Every claim that was ever recorded, one bit each.
    pub recorded: u32,
}

impl Store {
    /// A store with these tasks to do; of the others there is nothing to do.
    fn new(tasks: &[usize]) -> Self {
        let task = |task| {
            if tasks.contains(&task) { Task::Ready { number: 0, lost: None } } else { Task::Ended { claim: 0, by: 0 } }
        };
        Self { generation: 1, tasks: std::array::from_fn(task), boots: [0; WORKERS], recorded: 0 }
    }

    fn swap_workers(&mut self) {
        self.boots.reverse();
        for task in &mut self.tasks {
            if let Task::Bound { worker, .. } = task {
                *worker = 1 - *worker;
            }
        }
    }

    /// Whether the attempt was recorded.
    pub fn knows(&self, attempt: Attempt) -> bool {
        self.recorded & (1 << attempt.claim) != 0
    }
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// What is durable.
    pub store: Store,
    /// What has been decided.
    pub memory: Store,
    /// What may be said once that is durable.
    pub held: BTreeSet<Message>,
    /// Each worker's newest session; 0 for none.
    pub sessions: [u8; WORKERS],
    /// A copy of the store, made at some time.
    pub backup: Option<Box<Store>>,
    /// The mistake that it makes.
    pub flaw: Flaw,
}

impl Server {
    /// A new server with an empty store.
    pub(super) fn new(tasks: &[usize], flaw: Flaw) -> Self {
        let store = Store::new(tasks);
        Self { memory: store.clone(), store, held: BTreeSet::new(), sessions: [0; WORKERS], backup: None, flaw }
    }

    /// Which worker is called the first is changed.
    pub(super) fn swap_workers(&mut self) {
        self.store.swap_workers();
        self.memory.swap_workers();
        self.sessions.reverse();
        self.held = std::mem::take(&mut self.held).into_iter().map(Message::swapped).collect();
        if let Some(backup) = &mut self.backup {
            backup.swap_workers();
        }
    }

    /// A commit: what was decided is durable, and what waited for it is said.
    pub(super) fn commit(&mut self) -> BTreeSet<Message> {
        self.store = self.memory.clone();
        std::mem::take(&mut self.held)
    }

    /// It dies, and another process leads from what is durable.
    pub(super) fn restart(&mut self) {
        self.memory = self.store.clone();
        self.held.clear();
        self.sessions = [0; WORKERS];
    }

    /// A copy of what is durable. Which claims there ever were is a fact outside the store.
    pub(super) fn back_up(&mut self) {
        self.backup = Some(Box::new(Store { recorded: 0, ..self.store.clone() }));
    }

    /// The store is put back, by `restore`: one generation further.
    pub(super) fn restore(&mut self) {
        if let Some(backup) = self.backup.take() {
            let generation = self.store.generation + 1;
            let recorded = self.store.recorded;
            self.store = Store { generation, recorded, ..*backup };
            self.restart();
        }
    }

    /// A task is exchanged for a worker's identity.
    pub(super) fn claim(&mut self, task: usize, worker: usize, claim: u8) {
        let Task::Ready { number, .. } = self.memory.tasks[task] else { return };
        let attempt = Attempt { task, generation: self.memory.generation, number: number + 1, claim };
        self.memory.tasks[task] = Task::Bound { worker, attempt };
        self.memory.recorded |= 1 << claim;
        self.held.insert(Message::Assign { worker, session: self.sessions[worker], attempt });
    }

    /// A worker was not heard of for too long.
    pub(super) fn lease_runs_out(&mut self, task: usize) {
        let Task::Bound { attempt, .. } = self.memory.tasks[task] else { return };
        if task != FORBID || self.flaw == Flaw::LeaseFreesForbidden {
            self.memory.tasks[task] = Task::Ready { number: attempt.number, lost: Some(attempt) };
        }
    }

    /// A worker says which attempts it knows of.
    pub(super) fn hello(&mut self, worker: usize, session: u8, boot: u8, named: &[(Attempt, Job)]) {
        self.sessions[worker] = session;
        let is_same_boot = self.memory.boots[worker] == boot;
        self.memory.boots[worker] = boot;
        for task in 0..TASKS {
            let Task::Bound { worker: owner, attempt } = self.memory.tasks[task] else { continue };
            if owner != worker {
                continue;
            }
            let job = named.iter().find(|(known, _)| is_same(*known, attempt, self.flaw)).map(|(_, job)| *job);
            self.memory.tasks[task] = match job {
                Some(job) if job.is_over() && self.flaw == Flaw::HelloRequeuesPending => {
                    Task::Ready { number: attempt.number, lost: None }
                }
                Some(_) => continue,
                // Never journaled: it did not begin, and cannot any more.
                None if is_same_boot => Task::Ready { number: attempt.number, lost: None },
                None => Task::Ready { number: attempt.number, lost: Some(attempt) },
            };
        }
        let stop = named.iter().filter(|(attempt, job)| !job.is_over() && !self.goes_on(worker, *attempt));
        let stop = stop.map(|(attempt, _)| *attempt).collect();
        self.held.insert(Message::Welcome { worker, session, stop });
    }

    /// Whether an attempt that its worker still has goes on: it is the worker's, or was lost with
    /// none claimed since, and is the worker's again.
    fn goes_on(&mut self, worker: usize, attempt: Attempt) -> bool {
        match self.memory.tasks[attempt.task] {
            Task::Bound { worker: owner, attempt: newest } => owner == worker && is_same(newest, attempt, self.flaw),
            Task::Ready { lost: Some(lost), .. } if is_same(lost, attempt, self.flaw) => {
                self.memory.tasks[attempt.task] = Task::Bound { worker, attempt: lost };
                true
            }
            Task::Ready { .. } | Task::Ended { .. } => false,
        }
    }

    /// A report. Says whether it came late and was taken all the same.
    pub(super) fn finished(&mut self, worker: usize, session: u8, attempt: Attempt) -> bool {
        if self.sessions[worker] != session {
            return false;
        }
        let (newest, is_late) = match self.memory.tasks[attempt.task] {
            Task::Bound { attempt: newest, .. } => (Some(newest), false),
            Task::Ready { lost, .. } => (lost, true),
            Task::Ended { .. } => (None, false),
        };
        let newest = newest.filter(|newest| is_same(*newest, attempt, self.flaw));
        if let Some(newest) = newest {
            self.memory.tasks[attempt.task] = Task::ended(newest.claim, attempt.claim);
        }
        self.held.insert(Message::Ack { worker, session, attempt });
        newest.is_some() && is_late
    }
}

/// Whether two attempts are the same by their fences: all that server and worker can compare.
fn is_same(one: Attempt, other: Attempt, flaw: Flaw) -> bool {
    let generations = flaw == Flaw::FenceWithoutGeneration || one.generation == other.generation;
    one.task == other.task && one.number == other.number && generations
}
