//! The server's side: what it remembers, what of that is durable, and what waits to be said.

use crate::message::{Attempt, Claims, Message, Messages, What};
use crate::world::{Job, Jobs};
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
        worker: u8,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Over, by the report of the attempt that it is about.
    Ended,
    /// Over, by the report of another attempt than the server believes: what must never be.
    EndedByAnother,
}

/// What a commit makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// Raised by a restore.
    pub generation: u8,
    /// The tasks.
    pub tasks: [Task; TASKS],
    /// Every claim that was ever recorded.
    pub recorded: Claims,
}

impl Store {
    /// A store with these tasks to do; of the others there is nothing to do.
    fn new(tasks: &[usize]) -> Self {
        let task = |task| {
            if tasks.contains(&task) { Task::Ready { number: 0, lost: None } } else { Task::Ended }
        };
        Self { generation: 1, tasks: std::array::from_fn(task), recorded: 0 }
    }

    fn swap_workers(&mut self) {
        for task in &mut self.tasks {
            if let Task::Bound { worker, .. } = task {
                *worker = 1 - *worker;
            }
        }
    }

    /// Whether the attempt was recorded.
    pub fn knows(&self, attempt: Attempt) -> bool {
        self.recorded & attempt.bit() != 0
    }

    /// The attempts that it still has in mind.
    pub(super) fn attempts_mut(&mut self) -> impl Iterator<Item = &mut Attempt> {
        self.tasks.iter_mut().filter_map(|task| match task {
            Task::Ready { lost, .. } => lost.as_mut(),
            Task::Bound { attempt, .. } => Some(attempt),
            Task::Ended | Task::EndedByAnother => None,
        })
    }
}

/// The server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Server {
    /// What is durable.
    pub store: Store,
    /// What has been decided.
    pub memory: Store,
    /// What may be said once that is durable.
    pub held: Messages,
    /// Each worker's newest session; 0 for none.
    pub sessions: [u8; WORKERS],
    /// A copy of the store, made at some time.
    pub backup: Option<Store>,
    /// The mistake that it makes.
    pub flaw: Flaw,
}

impl Server {
    /// A new server with an empty store.
    pub(super) fn new(tasks: &[usize], flaw: Flaw) -> Self {
        let store = Store::new(tasks);
        Self { memory: store, store, held: Messages::default(), sessions: [0; WORKERS], backup: None, flaw }
    }

    /// The store, the memory, and the copy where there is one.
    pub(super) fn stores_mut(&mut self) -> impl Iterator<Item = &mut Store> {
        [&mut self.store, &mut self.memory].into_iter().chain(&mut self.backup)
    }

    /// Which worker is called the first is changed.
    pub(super) fn swap_workers(&mut self) {
        self.stores_mut().for_each(Store::swap_workers);
        self.sessions.reverse();
    }

    /// A commit: what was decided is durable.
    pub(super) fn commit(&mut self) {
        self.store = self.memory;
    }

    /// It dies, and another process leads from what is durable.
    pub(super) fn restart(&mut self) {
        self.memory = self.store;
        self.held = Messages::default();
        self.sessions = [0; WORKERS];
    }

    /// A copy of what is durable. Which claims there ever were is a fact outside the store, and the generation is raised
    /// above all that there were.
    pub(super) fn back_up(&mut self) {
        self.backup = Some(Store { recorded: 0, generation: 0, ..self.store });
    }

    /// The store is put back, by `restore`: one generation further.
    pub(super) fn restore(&mut self) {
        if let Some(backup) = self.backup.take() {
            let generation = self.store.generation + 1;
            self.store = Store { generation, recorded: self.store.recorded, ..backup };
            self.restart();
        }
    }

    fn say(&mut self, worker: u8, session: u8, what: What) {
        self.held.insert(Message { worker, session, what });
    }

    /// A task is exchanged for a worker's identity.
    pub(super) fn claim(&mut self, task: u8, worker: u8, claim: u8) {
        let row = &mut self.memory.tasks[usize::from(task)];
        let Task::Ready { number, .. } = *row else { return };
        let attempt = Attempt { task, generation: self.memory.generation, number: number + 1, claim };
        *row = Task::Bound { worker, attempt };
        self.memory.recorded |= attempt.bit();
        self.say(worker, self.sessions[usize::from(worker)], What::Assign(attempt));
    }

    /// Whether a lease that runs out frees the task.
    pub(super) fn may_lose(&self, task: usize) -> bool {
        let is_bound = matches!(self.memory.tasks[task], Task::Bound { .. });
        is_bound && (task != FORBID || self.flaw == Flaw::LeaseFreesForbidden)
    }

    /// A worker was not heard of for too long.
    pub(super) fn lease_runs_out(&mut self, task: u8) {
        let row = &mut self.memory.tasks[usize::from(task)];
        let Task::Bound { attempt, .. } = *row else { return };
        *row = Task::Ready { number: attempt.number, lost: Some(attempt) };
    }

    /// A worker says which attempts it knows of. An older process than the one that speaks is not heard.
    pub(super) fn hello(&mut self, worker: u8, session: u8, named: &Jobs) {
        let newest = &mut self.sessions[usize::from(worker)];
        if session <= *newest {
            return;
        }
        *newest = session;
        for task in 0..TASKS {
            let Task::Bound { worker: owner, attempt } = self.memory.tasks[task] else { continue };
            if owner != worker {
                continue;
            }
            let job = named.iter().find(|(known, job)| *job != Job::Settled && self.is_same(*known, attempt));
            self.memory.tasks[task] = match job {
                Some((_, Job::Over)) if self.flaw == Flaw::HelloRequeuesPending => {
                    Task::Ready { number: attempt.number, lost: None }
                }
                Some(_) => continue,
                // Never journaled, so that it did not begin and cannot any more; or gone with its machine. Nobody has it.
                None => Task::Ready { number: attempt.number, lost: None },
            };
        }
        let mut stop = 0;
        for (attempt, _) in named.iter().filter(|(_, job)| *job == Job::Running) {
            if !self.goes_on(worker, *attempt) {
                stop |= attempt.bit();
            }
        }
        self.say(worker, session, What::Welcome(stop));
    }

    /// Whether an attempt that its worker still has goes on: it is the worker's, or was lost with
    /// none claimed since, and is the worker's again.
    fn goes_on(&mut self, worker: u8, attempt: Attempt) -> bool {
        match self.memory.tasks[attempt.task()] {
            Task::Bound { worker: owner, attempt: newest } => owner == worker && self.is_same(newest, attempt),
            Task::Ready { lost: Some(lost), .. } if self.is_same(lost, attempt) => {
                self.memory.tasks[attempt.task()] = Task::Bound { worker, attempt: lost };
                true
            }
            Task::Ready { .. } | Task::Ended | Task::EndedByAnother => false,
        }
    }

    /// The attempt that a report with this one's fence would end.
    pub(super) fn would_end(&self, attempt: Attempt) -> Option<Attempt> {
        let newest = match self.memory.tasks[attempt.task()] {
            Task::Bound { attempt: newest, .. } => Some(newest),
            Task::Ready { lost, .. } => lost,
            Task::Ended | Task::EndedByAnother => None,
        };
        newest.filter(|newest| self.is_same(*newest, attempt))
    }

    /// Whether a task is over in every store that there is, and so in each that there can be.
    pub(super) fn is_over(&self, task: usize) -> bool {
        let mut stores = [&self.store, &self.memory].into_iter().chain(&self.backup);
        stores.all(|store| matches!(store.tasks[task], Task::Ended | Task::EndedByAnother))
    }

    /// Nothing is left but how the tasks ended.
    pub(super) fn close(&mut self) {
        for store in [&mut self.store, &mut self.memory] {
            (store.generation, store.recorded) = (1, 0);
        }
        self.backup = None;
        self.restart();
    }

    /// Whether no report of this attempt can end anything, now or after a crash or a restore: neither is it what a row has
    /// in mind, nor will its fence be given again.
    pub(super) fn never_asks_for(&self, attempt: Attempt) -> bool {
        let is_old = attempt.generation < self.store.generation && self.flaw != Flaw::FenceWithoutGeneration;
        let is_over = |number: u8| is_old || attempt.number <= number;
        let mut stores = [&self.store, &self.memory].into_iter().chain(&self.backup);
        stores.all(|store| match store.tasks[attempt.task()] {
            Task::Ready { number, lost } => is_over(number) && lost.is_none_or(|lost| !self.is_same(lost, attempt)),
            Task::Bound { attempt: newest, .. } => is_over(newest.number) && !self.is_same(newest, attempt),
            Task::Ended | Task::EndedByAnother => true,
        })
    }

    /// A report.
    pub(super) fn finished(&mut self, worker: u8, session: u8, attempt: Attempt) {
        if self.sessions[usize::from(worker)] != session {
            return;
        }
        if let Some(newest) = self.would_end(attempt) {
            let is_right = newest.claim == attempt.claim;
            self.memory.tasks[attempt.task()] = if is_right { Task::Ended } else { Task::EndedByAnother };
        }
        self.say(worker, session, What::Ack(attempt));
    }

    /// Whether two attempts are the same by their fences: all that server and worker can compare.
    pub(super) fn is_same(&self, one: Attempt, other: Attempt) -> bool {
        let generations = self.flaw == Flaw::FenceWithoutGeneration || one.generation == other.generation;
        one.task == other.task && one.number == other.number && generations
    }
}
