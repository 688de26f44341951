//! Everything around the server: the workers, what is on its way, and the troubles.

use std::collections::BTreeSet;
use std::mem::take;

use crate::server::{Server, Task};
use crate::{FORBID, Flaw, TASKS, Troubles, WORKERS};

/// Attempts of one task in the model, at most.
const ATTEMPTS_MAX: u8 = 2;
/// Sessions of one worker in the model, at most.
const SESSIONS_MAX: u8 = 3;

/// An attempt: its fence, and the number of its claim, which only the properties look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Of which task.
    pub task: usize,
    /// The generation in which it was claimed.
    pub generation: u8,
    /// Its number within the task.
    pub number: u8,
    /// Its claim: never the same twice.
    pub claim: u8,
}

/// How far a job is in its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// Journaled.
    Assigned,
    /// Running, under the supervisor: it outlives its worker's process.
    Running,
    /// Over; the report is in the outbox.
    Ended,
    /// Over; the report was sent, once in this session.
    Reported,
}

/// A worker: what is durable of it, and its session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Worker {
    /// How often its machine was restarted.
    pub boot: u8,
    /// Its newest session.
    pub session: u8,
    /// Whether that was welcomed, is under way, or is over.
    pub link: Link,
    /// Its journal.
    pub jobs: Vec<(Attempt, Job)>,
}

/// How a session stands, as its worker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Link {
    /// No connection.
    #[default]
    Down,
    /// Hello is said.
    Greeting,
    /// Welcomed.
    Up,
}

/// What is on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A worker opens a session, and names what it knows of.
    Hello {
        /// Who.
        worker: usize,
        /// In which session.
        session: u8,
        /// Since which restart of its machine.
        boot: u8,
        /// What it has.
        named: Vec<(Attempt, Job)>,
    },
    /// A report.
    Finished {
        /// Whose.
        worker: usize,
        /// In which session.
        session: u8,
        /// Of which attempt.
        attempt: Attempt,
    },
    /// The session stands; these are to be stopped.
    Welcome {
        /// To whom.
        worker: usize,
        /// In which session.
        session: u8,
        /// What must not go on.
        stop: Vec<Attempt>,
    },
    /// An attempt to make.
    Assign {
        /// By whom.
        worker: usize,
        /// For which session.
        session: u8,
        /// Which.
        attempt: Attempt,
    },
    /// The report is settled.
    Ack {
        /// To whom.
        worker: usize,
        /// In which session.
        session: u8,
        /// Of which attempt.
        attempt: Attempt,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// The server gives a task to a worker.
    Claim(usize, usize),
    /// What the server decided becomes durable.
    Commit,
    /// A message arrives.
    Deliver(Message),
    /// It arrives, and will once more.
    Repeat(Message),
    /// A worker connects and says Hello.
    Connect(usize),
    /// A job begins.
    Begin(usize, Attempt),
    /// A job ends.
    End(usize, Attempt),
    /// A report is sent.
    Report(usize, Attempt),
    /// A connection breaks.
    Cut(usize),
    /// A machine restarts.
    Reboot(usize),
    /// A lease runs out.
    LeaseRunsOut(usize),
    /// The server dies, and comes back.
    Crash,
    /// A copy of the store is made.
    Backup,
    /// The store is put back to that copy.
    Restore,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// The server.
    pub server: Server,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// What is on its way.
    pub network: BTreeSet<Message>,
    /// Troubles that may still come.
    pub troubles: Troubles,
    /// How often each task was claimed.
    pub claims: [u8; TASKS],
    /// Tasks whose end a worker was told of.
    pub ended: [bool; TASKS],
    /// Whether the store was put back.
    pub is_restored: bool,
    /// Whether a report came late and was taken.
    pub was_late: bool,
    /// Whether work that must not overlap was begun while its report was on its way.
    pub was_redone: bool,
}

impl Job {
    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Reported)
    }
}

impl State {
    /// The beginning: both workers are about to connect.
    pub(super) fn new(troubles: Troubles, tasks: &[usize], flaw: Flaw) -> Self {
        Self {
            server: Server::new(tasks, flaw),
            workers: Default::default(),
            network: BTreeSet::new(),
            troubles,
            claims: [0; TASKS],
            ended: [false; TASKS],
            is_restored: false,
            was_late: false,
            was_redone: false,
        }
    }

    /// Every job that is more than journaled, with its worker.
    pub fn jobs(&self) -> impl Iterator<Item = (usize, Attempt, Job)> {
        let all = self.workers.iter().enumerate();
        let all = all.flat_map(|(worker, of)| of.jobs.iter().map(move |(attempt, job)| (worker, *attempt, *job)));
        all.filter(|(_, _, job)| *job != Job::Assigned)
    }

    /// How many jobs of a task run, in fact.
    pub fn running(&self, task: usize) -> usize {
        self.jobs().filter(|(_, attempt, job)| attempt.task == task && *job == Job::Running).count()
    }

    /// Every step that can be taken.
    pub(super) fn possible(&self, actions: &mut Vec<Action>) {
        self.of_the_server(actions);
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.link == Link::Down && worker.session < SESSIONS_MAX {
                actions.push(Action::Connect(index));
            }
            for (attempt, job) in &worker.jobs {
                match job {
                    Job::Assigned => actions.push(Action::Begin(index, *attempt)),
                    Job::Running => actions.push(Action::End(index, *attempt)),
                    Job::Ended if worker.link == Link::Up => actions.push(Action::Report(index, *attempt)),
                    Job::Ended | Job::Reported => {}
                }
            }
            if self.troubles.cuts > 0 && worker.link != Link::Down {
                actions.push(Action::Cut(index));
            }
            if self.troubles.reboots > 0 {
                actions.push(Action::Reboot(index));
            }
        }
        for message in &self.network {
            actions.push(Action::Deliver(message.clone()));
            if self.troubles.repeats > 0 {
                actions.push(Action::Repeat(message.clone()));
            }
        }
    }

    fn of_the_server(&self, actions: &mut Vec<Action>) {
        for (task, row) in self.server.memory.tasks.iter().enumerate() {
            match row {
                Task::Ready { number, .. } if *number < ATTEMPTS_MAX => {
                    let connected = (0..WORKERS).filter(|worker| self.server.sessions[*worker] != 0);
                    actions.extend(connected.map(|worker| Action::Claim(task, worker)));
                }
                Task::Bound { .. } if self.troubles.losses > 0 => actions.push(Action::LeaseRunsOut(task)),
                Task::Ready { .. } | Task::Bound { .. } | Task::Ended { .. } => {}
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
            Action::Claim(task, worker) => {
                // Not one count for all: the order between tasks would only multiply the states.
                let claim = u8::try_from(task).unwrap_or_default() * 8 + self.claims[task];
                self.server.claim(task, worker, claim);
                self.claims[task] += 1;
            }
            Action::Commit => self.commit(),
            Action::Deliver(message) => {
                self.network.remove(&message);
                self.arrive(message);
            }
            Action::Repeat(message) => {
                self.troubles.repeats -= 1;
                self.arrive(message);
            }
            Action::Connect(worker) => self.connect(worker),
            Action::Begin(worker, attempt) => self.begin(worker, attempt),
            Action::End(worker, attempt) => self.workers[worker].set(attempt, Job::Ended),
            Action::Report(worker, attempt) => {
                let session = self.workers[worker].session;
                self.workers[worker].set(attempt, Job::Reported);
                self.network.insert(Message::Finished { worker, session, attempt });
            }
            Action::Cut(worker) => {
                self.troubles.cuts -= 1;
                self.hang_up(worker);
            }
            Action::Reboot(worker) => {
                self.troubles.reboots -= 1;
                self.workers[worker].boot += 1;
                self.workers[worker].jobs.retain(|(_, job)| job.is_over());
                self.hang_up(worker);
            }
            Action::LeaseRunsOut(task) => {
                self.troubles.losses -= 1;
                self.server.lease_runs_out(task);
            }
            Action::Crash => {
                self.troubles.server_crashes -= 1;
                self.server.restart();
                (0..WORKERS).for_each(|worker| self.hang_up(worker));
            }
            Action::Backup => self.server.back_up(),
            Action::Restore => {
                self.troubles.restores -= 1;
                self.server.restore();
                self.is_restored = true;
                (0..WORKERS).for_each(|worker| self.hang_up(worker));
            }
        }
        if self.server.flaw == Flaw::EffectBeforeCommit {
            self.network.extend(take(&mut self.server.held));
        }
    }

    fn commit(&mut self) {
        let said = self.server.commit();
        for message in &said {
            if let Message::Ack { attempt, .. } = message {
                self.ended[attempt.task] |= matches!(self.server.store.tasks[attempt.task], Task::Ended { .. });
            }
        }
        self.network.extend(said);
    }

    /// What was sent in a session that is over finds nobody who listens, so it may as well be gone.
    fn hang_up(&mut self, worker: usize) {
        let of = &mut self.workers[worker];
        of.link = Link::Down;
        let reported = of.jobs.iter_mut().map(|(_, job)| job).filter(|job| **job == Job::Reported);
        reported.for_each(|job| *job = Job::Ended);
        self.server.sessions[worker] = 0;
        if self.server.flaw != Flaw::StaleAssignBegun {
            self.network.retain(|message| message.worker() != worker);
            self.server.held.retain(|message| message.worker() != worker);
        }
    }

    /// What no promise looks at any more is forgotten: after a restore only who ended what is asked for.
    fn without_past(mut self) -> Self {
        if self.is_restored {
            self.server.store.recorded = 0;
            self.server.memory.recorded = 0;
            (self.ended, self.was_late, self.was_redone) = ([false; TASKS], false, false);
        }
        (0..WORKERS).for_each(|worker| self.renumber_sessions(worker));
        self
    }

    /// Sessions are told apart by their numbers, and which numbers these are is of no interest.
    fn renumber_sessions(&mut self, worker: usize) {
        let of = &mut self.workers[worker];
        let messages = self.network.iter().chain(&self.server.held).filter(|message| message.worker() == worker);
        let mut known: Vec<u8> =
            messages.map(Message::session).chain([self.server.sessions[worker], of.session]).collect();
        known.retain(|session| *session != 0);
        known.sort_unstable();
        known.dedup();
        if known.iter().zip(1..).all(|(session, new)| *session == new) {
            return;
        }
        let new = |session: u8| {
            let place = known.iter().position(|known| *known == session);
            place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0)
        };
        of.session = new(of.session);
        self.server.sessions[worker] = new(self.server.sessions[worker]);
        for messages in [&mut self.network, &mut self.server.held] {
            let renumbered = take(messages).into_iter().map(|mut message| {
                if message.worker() == worker {
                    *message.session_mut() = new(message.session());
                }
                message
            });
            *messages = renumbered.collect();
        }
    }

    /// Which of the two is called the first makes no difference: of both views the lesser one stands
    /// for the two.
    pub(super) fn canonical(self) -> Self {
        let this = self.without_past();
        let mut other = this.clone();
        other.workers.reverse();
        other.server.swap_workers();
        other.network = take(&mut other.network).into_iter().map(Message::swapped).collect();
        this.min(other)
    }

    fn connect(&mut self, worker: usize) {
        let of = &mut self.workers[worker];
        of.session += 1;
        of.link = Link::Greeting;
        let hello = Message::Hello { worker, session: of.session, boot: of.boot, named: of.jobs.clone() };
        self.network.insert(hello);
    }

    fn begin(&mut self, worker: usize, attempt: Attempt) {
        let ended = self.jobs().any(|(_, other, job)| other.task == FORBID && job.is_over());
        self.was_redone |= attempt.task == FORBID && ended;
        self.workers[worker].set(attempt, Job::Running);
    }

    fn arrive(&mut self, message: Message) {
        match message {
            Message::Hello { worker, session, boot, named } => {
                // A connection that is over says nothing more.
                let of = &self.workers[worker];
                if of.session == session && of.link == Link::Greeting && self.server.sessions[worker] != session {
                    self.server.hello(worker, session, boot, &named);
                }
            }
            Message::Finished { worker, session, attempt } => {
                self.was_late |= self.server.finished(worker, session, attempt);
            }
            Message::Welcome { worker, session, stop } => {
                let of = &mut self.workers[worker];
                if of.session == session && of.link == Link::Greeting {
                    of.link = Link::Up;
                    of.jobs.retain(|(attempt, job)| job.is_over() || !stop.contains(attempt));
                }
            }
            Message::Assign { worker, session, attempt } => {
                let is_flawed = self.server.flaw == Flaw::StaleAssignBegun;
                let of = &mut self.workers[worker];
                let is_heard = of.session == session && of.link == Link::Up || is_flawed;
                if is_heard && !of.jobs.iter().any(|(known, _)| *known == attempt) {
                    of.jobs.push((attempt, Job::Assigned));
                    of.jobs.sort_unstable();
                }
            }
            Message::Ack { worker, session, attempt } => {
                let of = &mut self.workers[worker];
                if of.session == session {
                    of.jobs.retain(|(known, job)| *known != attempt || !job.is_over());
                }
            }
        }
    }
}

impl Message {
    fn worker(&self) -> usize {
        match self {
            Self::Hello { worker, .. }
            | Self::Finished { worker, .. }
            | Self::Welcome { worker, .. }
            | Self::Assign { worker, .. }
            | Self::Ack { worker, .. } => *worker,
        }
    }

    fn session(&self) -> u8 {
        match self {
            Self::Hello { session, .. }
            | Self::Finished { session, .. }
            | Self::Welcome { session, .. }
            | Self::Assign { session, .. }
            | Self::Ack { session, .. } => *session,
        }
    }

    fn session_mut(&mut self) -> &mut u8 {
        match self {
            Self::Hello { session, .. }
            | Self::Finished { session, .. }
            | Self::Welcome { session, .. }
            | Self::Assign { session, .. }
            | Self::Ack { session, .. } => session,
        }
    }

    /// The same, with the workers' numbers exchanged.
    pub(super) fn swapped(mut self) -> Self {
        match &mut self {
            Self::Hello { worker, .. }
            | Self::Finished { worker, .. }
            | Self::Welcome { worker, .. }
            | Self::Assign { worker, .. }
            | Self::Ack { worker, .. } => *worker = 1 - *worker,
        }
        self
    }
}

impl Worker {
    fn set(&mut self, attempt: Attempt, to: Job) {
        if let Some((_, job)) = self.jobs.iter_mut().find(|(known, _)| *known == attempt) {
            *job = to;
        }
    }
}
