//! Everything around the server: the workers, what is on its way, and the troubles.

use crate::list::List;
use crate::message::{Attempt, Message, Messages, What};
use crate::server::{Server, Task};
use crate::{FORBID, Flaw, TASKS, Troubles, WORKERS};

/// Attempts of one task in the model, at most, as its row counts them.
const ATTEMPTS_MAX: u8 = 2;

/// How far a job is in its worker. It begins in the moment in which it is journaled: nobody but itself could tell the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Job {
    /// Journaled, and running under the supervisor: it outlives its worker's process.
    #[default]
    Running,
    /// Over; the report is in the outbox, and is sent in each session as soon as that stands.
    Over,
    /// Over, and the report was acknowledged. It is remembered, so that it does not begin again.
    Settled,
}

/// A worker's journal.
pub type Jobs = List<(Attempt, Job), 6>;

/// A worker: what is durable of it, and its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Worker {
    /// Its newest session.
    pub session: u8,
    /// Whether that was welcomed.
    pub is_welcome: bool,
    /// Its journal.
    pub jobs: Jobs,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The server gives a task to a worker.
    Claim(u8, u8),
    /// What the server decided becomes durable.
    Commit,
    /// A message arrives.
    Deliver(Message),
    /// It arrives, and will once more.
    Repeat(Message),
    /// A job ends.
    End(u8, Attempt),
    /// A connection breaks, or a worker's process dies and another follows.
    Cut(u8),
    /// A worker's process is followed by another one before the server knows that it is gone.
    Handover(u8),
    /// A machine restarts.
    Reboot(u8),
    /// A lease runs out.
    LeaseRunsOut(u8),
    /// The server dies, and comes back.
    Crash,
    /// A copy of the store is made.
    Backup,
    /// The store is put back to that copy.
    Restore,
}

/// All of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The server.
    pub server: Server,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// What is on its way.
    pub network: Messages,
    /// Troubles that may still come.
    pub troubles: Troubles,
    /// Tasks whose end a worker was told of, since the last restore.
    pub ended: [bool; TASKS],
    /// Whether an attempt of the task that must not overlap came to its end, since the last restore.
    pub is_made: bool,
    /// Whether finished work was begun again.
    pub was_redone: bool,
}

impl Worker {
    fn set(&mut self, attempt: Attempt, to: Job) {
        for (known, job) in self.jobs.as_mut_slice() {
            if *known == attempt {
                *job = to;
            }
        }
    }

    /// How it stands with an attempt.
    pub(super) fn job(&self, attempt: Attempt) -> Option<Job> {
        self.jobs.iter().find(|(known, _)| *known == attempt).map(|(_, job)| *job)
    }
}

/// All workers' numbers.
pub(super) fn everybody() -> impl Iterator<Item = u8> {
    (0_u8..).take(WORKERS)
}

impl State {
    /// The beginning: both workers are about to say Hello.
    pub(super) fn new(troubles: Troubles, tasks: &[usize], flaw: Flaw) -> Self {
        let mut this = Self {
            server: Server::new(tasks, flaw),
            workers: Default::default(),
            network: Messages::default(),
            troubles,
            ended: [false; TASKS],
            is_made: false,
            was_redone: false,
        };
        everybody().for_each(|worker| this.connect(worker));
        this
    }

    /// Every job of the generation that the store is in, which is every one before a restore.
    pub fn jobs(&self) -> impl Iterator<Item = (Attempt, Job)> {
        let all = self.workers.iter().flat_map(|of| of.jobs.iter().copied());
        all.filter(|(attempt, _)| attempt.generation == self.server.store.generation)
    }

    /// How many jobs of a task run, in fact.
    pub fn running(&self, task: usize) -> usize {
        self.jobs().filter(|(attempt, job)| attempt.task() == task && *job == Job::Running).count()
    }

    /// Whether it is the report of a lost attempt, which the server will take.
    pub fn is_late(&self, message: Message) -> bool {
        let What::Finished(attempt) = message.what else { return false };
        let is_lost = matches!(self.server.memory.tasks[attempt.task()], Task::Ready { .. });
        let is_spoken_to = self.server.sessions[usize::from(message.worker)] == message.session;
        is_lost && is_spoken_to && self.server.would_end(attempt).is_some()
    }

    /// Every step that can be taken.
    pub(super) fn possible(&self, actions: &mut Vec<Action>) {
        self.of_the_server(actions);
        for (index, worker) in everybody().zip(&self.workers) {
            let running = worker.jobs.iter().filter(|(_, job)| *job == Job::Running);
            actions.extend(running.map(|(attempt, _)| Action::End(index, *attempt)));
            if self.troubles.cuts > 0 {
                actions.push(Action::Cut(index));
            }
            if self.troubles.handovers > 0 {
                actions.push(Action::Handover(index));
            }
            if self.troubles.reboots > 0 {
                actions.push(Action::Reboot(index));
            }
        }
        for message in self.network.iter().filter(|message| self.is_heard(**message)) {
            actions.push(Action::Deliver(*message));
            if self.troubles.repeats > 0 {
                actions.push(Action::Repeat(*message));
            }
        }
    }

    fn of_the_server(&self, actions: &mut Vec<Action>) {
        for (task, row) in (0_u8..).zip(&self.server.memory.tasks) {
            if matches!(row, Task::Ready { number, .. } if *number < ATTEMPTS_MAX) {
                let connected = everybody().filter(|worker| self.server.sessions[usize::from(*worker)] != 0);
                actions.extend(connected.map(|worker| Action::Claim(task, worker)));
            }
            if self.troubles.losses > 0 && self.server.may_lose(usize::from(task)) {
                actions.push(Action::LeaseRunsOut(task));
            }
        }
        if self.server.memory != self.server.store || !self.server.held.is_empty() {
            actions.push(Action::Commit);
        }
        if self.troubles.server_crashes > 0 {
            actions.push(Action::Crash);
        }
        if self.troubles.restores > 0 {
            actions.push(if self.server.backup.is_none() { Action::Backup } else { Action::Restore });
        }
    }

    /// Takes a step.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Claim(task, worker) => self.server.claim(task, worker, self.unused_claim(task)),
            Action::Commit => self.commit(),
            Action::Deliver(message) => {
                self.network.retain(|other| *other != message);
                self.arrive(message);
            }
            Action::Repeat(message) => {
                self.arrive(message);
                // One that would do nothing a second time may as well have come once.
                self.troubles.repeats -= u8::from(self.is_alive(message));
            }
            Action::End(worker, attempt) => self.end(worker, attempt),
            Action::Cut(worker) => {
                self.troubles.cuts -= 1;
                self.hang_up(worker);
            }
            Action::Handover(worker) => {
                self.troubles.handovers -= 1;
                self.connect(worker);
            }
            Action::Reboot(worker) => {
                self.troubles.reboots -= 1;
                self.workers[usize::from(worker)].jobs.retain(|(_, job)| *job != Job::Running);
                self.hang_up(worker);
            }
            Action::LeaseRunsOut(task) => {
                self.troubles.losses -= 1;
                self.server.lease_runs_out(task);
            }
            Action::Crash => {
                self.troubles.server_crashes -= 1;
                self.server.restart();
                everybody().for_each(|worker| self.hang_up(worker));
            }
            Action::Backup => self.server.back_up(),
            Action::Restore => {
                self.troubles.restores -= 1;
                self.server.restore();
                (self.ended, self.is_made) = ([false; TASKS], false);
                everybody().for_each(|worker| self.hang_up(worker));
            }
        }
        if self.server.flaw == Flaw::EffectBeforeCommit {
            self.say();
        }
    }

    /// What was decided is durable, and what waited for it is said.
    pub(super) fn commit(&mut self) {
        self.server.commit();
        self.say();
    }

    fn say(&mut self) {
        for message in &std::mem::take(&mut self.server.held) {
            if let What::Ack(attempt) = message.what {
                self.ended[attempt.task()] |= self.server.memory.tasks[attempt.task()] == Task::Ended;
            }
            self.network.insert(*message);
        }
    }

    /// A new session: Hello. It says what is in the journal when it arrives; whatever ended after it was sent makes no
    /// difference to anybody, and nothing else can have changed.
    fn connect(&mut self, worker: u8) {
        let of = &mut self.workers[usize::from(worker)];
        of.session += 1;
        of.is_welcome = false;
        self.network.insert(Message { worker, session: of.session, what: What::Hello });
    }

    /// What was sent over a connection that is broken finds nobody who listens, so it may as well be gone.
    fn hang_up(&mut self, worker: u8) {
        self.server.sessions[usize::from(worker)] = 0;
        let is_flawed = self.server.flaw == Flaw::StaleAssignBegun;
        let goes =
            |message: &Message| message.worker == worker && !(is_flawed && matches!(message.what, What::Assign(_)));
        self.network.retain(|message| !goes(message));
        self.server.held.retain(|message| !goes(message));
        self.connect(worker);
    }

    fn begin(&mut self, worker: u8, attempt: Attempt) {
        let of = &mut self.workers[usize::from(worker)];
        let is_settled = of.job(attempt) == Some(Job::Settled);
        self.was_redone |= is_settled || attempt.task() == FORBID && self.is_made;
        of.jobs.insert((attempt, Job::Running));
    }

    fn end(&mut self, worker: u8, attempt: Attempt) {
        let is_newest = attempt.generation == self.server.store.generation;
        self.is_made |= is_newest && attempt.task() == FORBID;
        let of = &mut self.workers[usize::from(worker)];
        of.set(attempt, Job::Over);
        if of.is_welcome {
            self.network.insert(Message { worker, session: of.session, what: What::Finished(attempt) });
        }
    }

    /// Whether anybody listens who would do anything about it now.
    fn is_heard(&self, message: Message) -> bool {
        let of = &self.workers[usize::from(message.worker)];
        match message.what {
            What::Hello | What::Finished(_) | What::Welcome(_) => true,
            What::Assign(_) => of.is_welcome || self.server.flaw == Flaw::StaleAssignBegun,
            What::Ack(_) => of.is_welcome,
        }
    }

    pub(super) fn arrive(&mut self, message: Message) {
        let Message { worker, session, what } = message;
        let of = &mut self.workers[usize::from(worker)];
        match what {
            What::Hello => self.server.hello(worker, session, &of.jobs),
            What::Finished(attempt) => self.server.finished(worker, session, attempt),
            What::Welcome(stop) if of.session == session && !of.is_welcome => {
                of.is_welcome = true;
                of.jobs.retain(|(attempt, job)| *job != Job::Running || stop & attempt.bit() == 0);
                for (attempt, _) in of.jobs.iter().filter(|(_, job)| *job == Job::Over) {
                    self.network.insert(Message { worker, session, what: What::Finished(*attempt) });
                }
            }
            What::Assign(attempt) => {
                let is_heard = of.session == session && of.is_welcome || self.server.flaw == Flaw::StaleAssignBegun;
                let is_new = match of.job(attempt) {
                    None => true,
                    Some(Job::Settled) => self.server.flaw == Flaw::SettledForgotten,
                    Some(Job::Running | Job::Over) => false,
                };
                if is_heard && is_new {
                    self.begin(worker, attempt);
                }
            }
            What::Ack(attempt) if of.session == session => {
                let all = self.server.flaw == Flaw::AckSettlesAll;
                for (known, job) in of.jobs.as_mut_slice() {
                    if (*known == attempt || all) && *job == Job::Over {
                        *job = Job::Settled;
                    }
                }
            }
            What::Welcome(_) | What::Ack(_) => {}
        }
    }
}
