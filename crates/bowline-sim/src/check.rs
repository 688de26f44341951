//! The checker: sees what a user could see (answers, messages, events), the rows of the stores (each batch as it
//! becomes durable) and what the jobs do in fact; and says at once which invariant of the model is broken.
//!
//! It shares no code with what it checks: its own books ([`book`]) are made of rows alone. Rules by where they are
//! seen: [`rows`] (I1, I2, I4, I5's order, I7, I8, I10, I13), [`effects`] (I3, I9, I8's acknowledgements), [`facts`]
//! (I1 and I4 in fact, I13), [`states`] (what a state may follow upon), [`answers`] (what was acknowledged: I3, I11, keys, `explain`), [`words`] (what
//! workers say and order: I2, I3, I8), [`leases`] (what supervisors promise by themselves), [`times`] (silence and limits),
//! [`lines`] and [`holds`] (I5), [`limits`] and [`shares`] (keys, rates, quotas, shares), [`gangs`] (I12), [`ending`] (I6, I8, I13, I14 once the faults have stopped).

pub mod answers;
pub mod book;
pub mod effects;
pub mod ending;
pub mod facts;
pub mod gangs;
pub mod holds;
pub mod leases;
pub mod limits;
pub mod lines;
pub mod rows;
pub mod shares;
pub mod states;
pub mod times;
pub mod words;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, CommitNo, Epoch};
use bowline_core::message::KnownAs;
use bowline_core::time::Timestamp;
use bowline_protocol::{Delivery, WorkerMessage};
use bowline_store::{CommitError, Swept};
use bowline_supervisor::wire;

use crate::job::{Ended, JobId};
use crate::named::named;
use crate::process::{ClusterId, ConnId, Packet, ProcId};
use crate::world::{Alive, Observe, Role, WorkerRole};
use answers::Asked;
use book::Book;
use effects::Sessions;
use facts::Facts;
use leases::Leases;
use times::Times;
use words::Words;

named! {
    /// What must always hold, by the numbers of the model.
    Invariant {
        /// One live attempt at most; fences only grow.
        I1 = "I1",
        /// A round ends exactly once.
        I2 = "I2",
        /// No effect before its batch.
        I3 = "I3",
        /// Never more than slots and amounts.
        I4 = "I4",
        /// Capacities, exclusion, and the order of tickets.
        I5 = "I5",
        /// Everything acknowledged ends.
        I6 = "I6",
        /// A drained worker is given nothing.
        I7 = "I7",
        /// An assured message is applied once, and acknowledged.
        I8 = "I8",
        /// Old incarnations and sessions are refused.
        I9 = "I9",
        /// Cancel and success exclude each other.
        I10 = "I10",
        /// After a crash, a prefix of the batches with everything acknowledged.
        I11 = "I11",
        /// A gang is claimed in one commit; if a member fails before all have started, all are given back.
        I12 = "I12",
        /// No process of an ended attempt is left.
        I13 = "I13",
        /// A worker claims again, or says why not.
        I14 = "I14",
        /// A log never delays, and never fails, a result.
        I15 = "I15",
        /// A state follows upon what the model says: dependencies, pauses, windows, doubts, counts.
        States = "states",
        /// Whatever waits has a reason that is told.
        Explain = "explain",
        /// The code says of itself that it is wrong: a panic, or a write that touches other rows than it must.
        Sound = "sound",
    }
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What is broken.
    pub invariant: Invariant,
    /// How, for people.
    pub what: String,
    /// When, in the world's microseconds.
    pub at: u64,
}

/// What the checker has found: the first violation counts, what follows from it does not.
#[derive(Debug, Default)]
pub struct Found(Option<Violation>);

impl Found {
    /// This is broken.
    pub fn add(&mut self, at: u64, invariant: Invariant, what: impl FnOnce() -> String) {
        if self.0.is_none() {
            self.0 = Some(Violation { invariant, what: what(), at });
        }
    }

    /// Unless this holds, that is broken.
    pub fn unless(&mut self, holds: bool, at: u64, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.add(at, invariant, what);
        }
    }

    /// The first violation.
    pub const fn first(&self) -> Option<&Violation> {
        self.0.as_ref()
    }
}

/// One cluster, as it is seen from outside.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Its rows.
    pub book: Book,
    /// What clients asked, and what they were answered.
    pub asked: Asked,
    /// What states may follow upon.
    pub states: states::States,
    /// Who holds what, and who waits for it.
    pub lines: lines::Lines,
    /// Who is at work under which key, and what began when.
    pub limits: limits::Limits,
    /// What runs hold.
    pub holds: holds::Holds,
    /// How far gangs are.
    pub gangs: gangs::Gangs,
    /// What namespaces with shares have had.
    pub shares: shares::Shares,
}

/// The checker of one run.
#[derive(Debug, Default)]
pub struct Check {
    /// Clusters.
    pub views: Vec<View>,
    backups: Vec<(ClusterId, View)>,
    /// Sessions between servers and workers.
    pub sessions: Sessions,
    /// Jobs in fact.
    pub facts: Facts,
    /// What workers say and order.
    words: Words,
    /// What supervisors promise.
    leases: Leases,
    /// Connections over which an answer is under way that is still true.
    answering: BTreeSet<ConnId>,
    /// Since when who could know what.
    times: Times,
    /// What it has found.
    pub found: Found,
    /// Clusters that were put back behind everybody's back: until that is seen, what is said of attempts may be of others
    /// with the same name, and nobody can tell.
    blind: BTreeSet<ClusterId>,
    /// Attempts that a cluster gave out before it was put back, and does not know any more: it may give out others under
    /// their names.
    unknown: BTreeSet<(ClusterId, AttemptRef)>,
    /// Roles by process.
    roles: BTreeMap<ProcId, Role>,
    /// No log of any worker is ever delivered.
    has_stuck_logs: bool,
}

impl Check {
    /// Of so many clusters, with these workers.
    pub fn new(clusters: u32, workers: &[WorkerRole]) -> Self {
        let view = || {
            let mut view = View::default();
            view.book.expect(workers);
            view
        };
        let mut check = Self { views: (0..clusters).map(|_| view()).collect(), ..Self::default() };
        check.facts.expect(workers);
        check.has_stuck_logs = workers.iter().any(|worker| worker.stuck_logs);
        check
    }

    /// The cluster's view.
    pub fn view(&self, cluster: ClusterId) -> &View {
        &self.views[cluster.0 as usize]
    }

    /// Remembers a cluster as it is. Says the number of that.
    pub fn back_up(&mut self, cluster: ClusterId) -> usize {
        self.backups.push((cluster, self.view(cluster).clone()));
        self.backups.len() - 1
    }

    /// The cluster's store was put back to what it was then. What was acknowledged since is lost, as a restore
    /// promises nothing else; what ran since runs without anybody's knowledge.
    pub fn put_back(&mut self, backup: usize) {
        let Some((cluster, view)) = self.backups.get(backup).cloned() else { return };
        let mine = &mut self.views[cluster.0 as usize];
        let unknown = mine.book.attempts.keys().filter(|attempt| !view.book.attempts.contains_key(attempt));
        self.unknown.extend(unknown.map(|attempt| (cluster, *attempt)));
        let asked = std::mem::take(&mut mine.asked);
        *mine = view;
        mine.asked.keep_open_questions(asked);
        self.facts.disown(cluster);
        self.sessions.disown(cluster);
        self.times.disown(cluster);
        self.answering.retain(|conn| self.sessions.cluster_of(*conn) != Some(cluster));
    }

    /// Nobody was told that the cluster was put back.
    pub fn go_blind(&mut self, cluster: ClusterId) {
        self.blind.insert(cluster);
    }

    /// Somebody took away a worker's journals: of what it ran nobody knows.
    pub fn journal_lost(&mut self, worker: ProcId) {
        let Some(Role::Worker(role)) = self.roles.get(&worker) else { return };
        for dir in (0..role.servers.len()).map(|number| role.dir_of(number)) {
            self.words.lost(&dir);
            self.facts.forgotten(&dir);
        }
        self.sessions.forget(worker);
    }

    /// A new holder of an identity gives back, or fails, what the last one left: by the word of whoever configured it.
    fn vouched(&mut self, conn: ConnId, messages: &[(WorkerMessage, Option<Delivery>)]) {
        let Some(cluster) = self.sessions.cluster_of(conn) else { return };
        for (message, _) in messages {
            let WorkerMessage::Hello(hello) = message else { continue };
            let theirs =
                hello.attempts.iter().filter(|(_, known)| matches!(known, KnownAs::GivenBack | KnownAs::Failed));
            for (attempt, _) in theirs {
                self.facts.excuse(cluster, attempt.task);
                self.sessions.given_away(cluster, *attempt);
            }
        }
    }

    /// The state directory that a worker has for a cluster.
    fn dir_of(&self, proc: ProcId, conn: ConnId) -> Option<String> {
        let cluster = self.sessions.cluster_of(conn)?;
        let Role::Worker(role) = self.roles.get(&proc)? else { return None };
        let number = role.servers.iter().position(|server| *server == cluster)?;
        Some(role.dir_of(number))
    }

    fn cluster_of(&self, proc: ProcId) -> Option<ClusterId> {
        match self.roles.get(&proc)? {
            Role::Server { cluster, .. } | Role::Client { cluster } => Some(*cluster),
            Role::Worker(_) | Role::Supervisor { .. } => None,
        }
    }
}

impl Observe for Check {
    fn committed(&mut self, at: u64, cluster: ClusterId, commit: (Epoch, CommitNo), batch: &Batch) {
        let view = &mut self.views[cluster.0 as usize];
        let ended = rows::commit(&mut view.book, &mut self.found, at, commit, batch);
        let succeeded = |attempt| self.sessions.has_succeeded(cluster, attempt);
        states::commit(&mut view.states, &view.book, (&mut self.found, at), batch, succeeded);
        lines::commit(&mut view.lines, &view.book, (&mut self.found, at), batch);
        holds::commit(&mut view.holds, &view.book, (&mut self.found, at), batch);
        limits::commit(&mut view.limits, (&view.book, &view.lines), (&mut self.found, at), batch);
        shares::commit(&mut view.shares, &view.book, (&mut self.found, at), batch);
        gangs::commit(&mut view.gangs, &view.book, (&mut self.found, at), batch);
        if !self.blind.contains(&cluster) {
            self.times.committed(&mut self.found, at, (cluster, &view.book), batch);
        }
        for attempt in ended.into_iter().filter(|_| !self.blind.contains(&cluster)) {
            self.facts.attempt_ended(&mut self.found, at, cluster, attempt);
        }
    }

    fn commits(&mut self, at: u64, cluster: ClusterId, now: Timestamp) {
        self.times.commits(at, cluster, now);
    }

    fn refused(&mut self, at: u64, _: ClusterId, error: &CommitError) {
        if let CommitError::RowCount { .. } = error {
            self.found.add(at, Invariant::Sound, || error.to_string());
        }
    }

    fn opens(&mut self, _: u64, _: ProcId, conn: ConnId, cluster: ClusterId) {
        self.sessions.leads_to(conn, cluster);
    }

    fn swept(&mut self, at: u64, cluster: ClusterId, swept: &Swept) {
        let book = &mut self.views[cluster.0 as usize].book;
        states::swept(book, &mut self.found, at, &swept.tasks);
        book.remove(&swept.tasks, &swept.runs);
    }

    fn arrives(&mut self, at: u64, to: ProcId, conn: ConnId, packet: &Packet) {
        match packet {
            // What was answered before a store was put back is true of another time.
            Packet::Answer { .. } if !self.answering.remove(&conn) => {}
            Packet::Answer { number, reply } => {
                if let Some(cluster) = self.cluster_of(to) {
                    let view = &mut self.views[cluster.0 as usize];
                    view.asked.answered(&view.book, &mut self.found, at, (to, *number), reply);
                }
            }
            Packet::FromServer { messages, .. } => {
                self.sessions.heard(to, conn, messages);
                if let Some(dir) = self.dir_of(to, conn) {
                    self.facts.heard(&dir, messages);
                    self.leases.heard(conn, &dir, messages);
                    self.words.heard(&dir, messages);
                }
            }
            Packet::FromWorker(messages) => {
                if messages.iter().any(|(message, _)| matches!(message, WorkerMessage::Hello(_))) {
                    self.times.said_hello(at, conn);
                }
                if let Some((cluster, worker)) = self.sessions.of_conn(conn) {
                    self.times.heard((at, conn), (cluster, to), worker);
                }
            }
            Packet::ToSupervisor(wire::Request::Start(start)) => {
                if let Some(Role::Supervisor { dir }) = self.roles.get(&to) {
                    self.leases.ordered(to, dir, start);
                }
            }
            Packet::Ask { .. } | Packet::ToSupervisor(_) | Packet::FromSupervisor(_) => {}
        }
    }

    fn sends(&mut self, at: u64, from: ProcId, conn: ConnId, packet: &Packet) {
        let cluster = self.cluster_of(from);
        match packet {
            Packet::Ask { number, request, .. } => {
                if let Some(cluster) = cluster {
                    self.views[cluster.0 as usize].asked.asked((from, conn), *number, request);
                }
            }
            Packet::Answer { reply, .. } => {
                if let Some(cluster) = cluster {
                    self.answering.insert(conn);
                    answers::leaves(&self.views[cluster.0 as usize], &mut self.found, at, conn, reply);
                }
            }
            Packet::FromServer { messages, generation, commit_no } => {
                if let Some(cluster) = cluster {
                    let position = (*generation, *commit_no);
                    self.sessions.position((&mut self.found, at), conn, messages, position);
                    let book = &self.views[cluster.0 as usize].book;
                    self.sessions.keeps_waiting(book, cluster, messages);
                    if self.blind.contains(&cluster) {
                        return;
                    }
                    self.sessions.leaves(book, &mut self.found, at, (cluster, from, conn), messages);
                    // Whoever is welcomed was heard when he said Hello.
                    if let Some(((cluster, worker), hello)) = self.sessions.of_conn(conn).zip(self.times.hello_of(conn))
                    {
                        self.times.heard((hello, conn), (cluster, from), worker);
                    }
                }
            }
            Packet::FromWorker(messages) => {
                self.sessions.sent(from, conn, messages);
                self.vouched(conn, messages);
                if let Some(dir) = self.dir_of(from, conn) {
                    self.words.said((&mut self.found, at), &self.facts, &dir, messages);
                    self.leases.said(at, conn, messages);
                }
            }
            Packet::ToSupervisor(order) => self.words.ordered(&mut self.found, at, conn, order),
            Packet::FromSupervisor(_) => {}
        }
    }

    fn job_began(&mut self, at: u64, job: &JobId) {
        self.facts.began(&self.views, &mut self.found, at, job);
        self.leases.began(at, job);
    }

    fn job_ended(&mut self, at: u64, job: &JobId, how: Ended) {
        self.facts.ended(job, how);
        self.leases.ended(&mut self.found, at, job, &self.times);
    }

    fn opens_local(&mut self, _: u64, conn: ConnId, dir: &str) {
        self.words.opens(conn, dir);
    }

    fn durable(&mut self, _: u64, file: &str, batch: &dyn Any) {
        if let Some((dir, _)) = file.rsplit_once('/') {
            self.words.durable(dir, batch);
        }
    }

    fn leads(&mut self, at: u64, cluster: ClusterId, proc: ProcId) {
        self.times.leads(at, cluster, proc);
        let view = &mut self.views[cluster.0 as usize];
        view.lines.led_anew(&view.book, view.limits.has_quotas());
    }

    fn stands_still(&mut self, at: u64, proc: ProcId) {
        self.times.stands_still(at, proc);
    }

    fn goes_on(&mut self, at: u64, proc: ProcId) {
        self.times.goes_on(at, proc);
    }

    fn process(&mut self, at: u64, proc: ProcId, role: &Role, alive: Alive) {
        if alive == Alive::Yes {
            self.roles.entry(proc).or_insert_with(|| role.clone());
            self.times.begins(at, proc);
        } else {
            self.times.ends(at, proc);
            self.sessions.ended(proc);
        }
        self.sessions.process(proc);
        if alive == Alive::No(Some(crate::worker::FENCED)) {
            // It was told that another one acts in its place, and comes no more.
            self.sessions.forget(proc);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
