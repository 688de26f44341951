//! What leaves a server towards its workers, and what comes back: I3, I8's acknowledgements, I9.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::id::{AttemptRef, CommitNo, Generation, Incarnation, WorkerId};
use bowline_core::message::{Assured, FromWorker, JobEnd, ToWorker, Verdict};
use bowline_core::name::WorkerName;
use bowline_core::state::AttemptEnd;
use bowline_protocol::{Delivery, ServerMessage, WorkerMessage};

use super::book::Book;
use super::{Found, Invariant};
use crate::process::{ClusterId, ConnId, ProcId};

/// Whose session a connection carries.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Session {
    cluster: ClusterId,
    server: ProcId,
    id: WorkerId,
    name: WorkerName,
    incarnation: Incarnation,
    order: u64,
}

/// An assured message that was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    worker: ProcId,
    cluster: ClusterId,
    attempt: AttemptRef,
    kind: Kind,
}

/// The assured kinds, in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Started,
    Finished,
    Released,
    Gone,
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_conn: BTreeMap<ConnId, Session>,
    /// The newest welcomed session of each identity, by the server that welcomed it.
    newest: BTreeMap<(ClusterId, WorkerId), (ConnId, Incarnation, u64)>,
    order: u64,
    /// Messages that were sent and not acknowledged.
    unacked: BTreeSet<Said>,
    clusters: BTreeMap<ConnId, ClusterId>,
    /// Attempts of which a worker has said that they succeeded.
    succeeded: BTreeSet<(ClusterId, AttemptRef)>,
    /// Who was told that another one acts in its place, and by which cluster.
    fenced: BTreeSet<(ProcId, ClusterId)>,
    /// Attempts that the next holder of their identity gave back, whatever became of them.
    given_away: BTreeSet<(ClusterId, AttemptRef)>,
    /// Identities whose next holder was told that somebody before it may live on elsewhere, and how often since it was
    /// welcomed last.
    held_off: BTreeMap<(ClusterId, WorkerId), u32>,
    /// What a worker had seen when it said Hello.
    seen: BTreeMap<ConnId, (Generation, CommitNo)>,
    /// Assignments that have left.
    pub assigned: u64,
}

pub(super) fn kind_of(message: &WorkerMessage) -> Option<(AttemptRef, Kind)> {
    match message {
        WorkerMessage::Engine(FromWorker::Started(attempt)) => Some((*attempt, Kind::Started)),
        WorkerMessage::Engine(FromWorker::Finished(finished)) => Some((finished.attempt, Kind::Finished)),
        WorkerMessage::Engine(FromWorker::Released { attempt, .. }) => Some((*attempt, Kind::Released)),
        WorkerMessage::Engine(FromWorker::Gone { attempt, .. }) => Some((*attempt, Kind::Gone)),
        WorkerMessage::Engine(
            FromWorker::Heartbeat
            | FromWorker::Demand { .. }
            | FromWorker::Late { .. }
            | FromWorker::ArtifactCommitted { .. }
            | FromWorker::ArtifactUndelivered { .. }
            | FromWorker::Health(_)
            | FromWorker::Bye { .. },
        )
        | WorkerMessage::Hello(_)
        | WorkerMessage::Heartbeat(_)
        | WorkerMessage::Artifact(_)
        | WorkerMessage::Log(_)
        | WorkerMessage::Upload(_) => None,
    }
}

impl Sessions {
    /// A connection leads to this cluster.
    pub(crate) fn leads_to(&mut self, conn: ConnId, cluster: ClusterId) {
        self.clusters.insert(conn, cluster);
    }

    /// A process has begun or is gone.
    pub(super) fn process(&mut self, proc: ProcId) {
        self.by_conn.retain(|_, session| session.server != proc);
    }

    /// The cluster was put back: what is owed by it, and what it owes, is of another time.
    pub(super) fn disown(&mut self, cluster: ClusterId) {
        self.unacked.retain(|said| said.cluster != cluster);
        self.newest.retain(|(of, _), _| *of != cluster);
    }

    /// A worker sends.
    pub(super) fn sent(&mut self, from: ProcId, conn: ConnId, messages: &[(WorkerMessage, Option<Delivery>)]) {
        let Some(cluster) = self.clusters.get(&conn).copied() else { return };
        for (attempt, kind) in messages.iter().filter_map(|(message, _)| kind_of(message)) {
            self.unacked.insert(Said { worker: from, cluster, attempt, kind });
        }
        for (message, _) in messages {
            match message {
                WorkerMessage::Engine(FromWorker::Finished(finished)) if finished.how == JobEnd::Success => {
                    self.succeeded.insert((cluster, finished.attempt));
                }
                WorkerMessage::Hello(hello) => {
                    if let Some(seen) = hello.seen {
                        self.seen.insert(conn, seen);
                    }
                }
                _ => {}
            }
        }
    }

    /// The next holder of its identity has given it back.
    pub(super) fn given_away(&mut self, cluster: ClusterId, attempt: AttemptRef) {
        self.given_away.insert((cluster, attempt));
    }

    /// Whether a worker has ever said that this attempt succeeded.
    pub(super) fn has_succeeded(&self, cluster: ClusterId, attempt: AttemptRef) -> bool {
        self.succeeded.contains(&(cluster, attempt))
    }

    /// How far a server's store is, as it says itself: nobody is welcomed who has seen more (I11), and what is
    /// claimed has this generation in its fence (I1).
    pub(super) fn position(
        &self,
        (found, at): (&mut Found, u64),
        conn: ConnId,
        messages: &[ServerMessage],
        position: (Generation, CommitNo),
    ) {
        for message in messages {
            match message {
                ServerMessage::Engine(ToWorker::Welcome { name, .. }) => {
                    let seen = self.seen.get(&conn).copied();
                    found.unless(seen.is_none_or(|seen| seen <= position), at, Invariant::I11, || {
                        format!("{name} is welcomed by a server at {position:?}, and has seen {seen:?}")
                    });
                }
                ServerMessage::Assign(handover) => {
                    let attempt = handover.assign.attempt;
                    found.unless(attempt.fence.generation == position.0, at, Invariant::I1, || {
                        format!("{attempt} is claimed in generation {}", position.0)
                    });
                }
                ServerMessage::Engine(_) | ServerMessage::LogAck(_) => {}
            }
        }
    }

    /// Whose session a connection carries, as far as its server has welcomed it.
    pub(super) fn of_conn(&self, conn: ConnId) -> Option<(ClusterId, WorkerId)> {
        self.by_conn.get(&conn).map(|session| (session.cluster, session.id))
    }

    /// Of which cluster's server a connection is.
    pub(super) fn cluster_of(&self, conn: ConnId) -> Option<ClusterId> {
        self.clusters.get(&conn).copied()
    }

    /// A worker hears.
    pub(super) fn heard(&mut self, to: ProcId, conn: ConnId, messages: &[ServerMessage]) {
        for message in messages {
            if let ServerMessage::Engine(ToWorker::Fenced { .. }) = message {
                self.fenced.extend(self.clusters.get(&conn).map(|cluster| (to, *cluster)));
            }
            if let ServerMessage::Engine(ToWorker::Welcome { verdicts, .. }) = message {
                // What the server knows nothing of is let go of, and nothing is said of it any more.
                let gone = |said: &Said| verdicts.contains(&(said.attempt, Verdict::Gone));
                self.unacked.retain(|said| said.worker != to || !gone(said));
            }
            let (attempt, kind) = match message {
                ServerMessage::Engine(ToWorker::Ack { attempt, of }) => (
                    *attempt,
                    match of {
                        Assured::Started => Some(Kind::Started),
                        Assured::Finished => Some(Kind::Finished),
                        Assured::Released => Some(Kind::Released),
                        Assured::Gone => Some(Kind::Gone),
                        Assured::Artifact(_) => continue,
                    },
                ),
                ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Gone | Verdict::Superseded }) => {
                    (*attempt, None)
                }
                _ => continue,
            };
            self.unacked.retain(|said| {
                said.worker != to || said.attempt != attempt || kind.is_some_and(|kind| said.kind != kind)
            });
        }
    }

    /// Assured messages that nobody has acknowledged: whose, and what.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (ProcId, ClusterId, AttemptRef, String)> {
        self.unacked.iter().map(|said| (said.worker, said.cluster, said.attempt, format!("{:?}", said.kind)))
    }

    /// A process has ended: where another one acts in its place, nobody owes it anything.
    pub(super) fn ended(&mut self, proc: ProcId) {
        self.unacked.retain(|said| said.worker != proc || !self.fenced.contains(&(proc, said.cluster)));
        self.fenced.retain(|(of, _)| *of != proc);
    }

    /// Another process acts in its place for this server, which has sent it away, and it goes on for others: that one owes it
    /// nothing.
    pub fn replaced(&mut self, proc: ProcId, cluster: ClusterId) {
        self.unacked.retain(|said| said.worker != proc || said.cluster != cluster);
    }

    /// A worker begins anew without what it had: nobody owes it anything.
    pub fn forget(&mut self, worker: ProcId) {
        self.unacked.retain(|said| said.worker != worker);
    }

    /// Who is kept waiting, as whoever looks after it can read in a worker's log, whatever became of the store.
    pub(super) fn keeps_waiting(&mut self, book: &Book, cluster: ClusterId, messages: &[ServerMessage]) {
        for message in messages {
            match message {
                ServerMessage::Engine(ToWorker::TryLater { left, .. }) => {
                    let holds = |held: &BTreeSet<AttemptRef>| left.iter().any(|one| held.contains(&one.attempt));
                    for (id, _) in book.held.iter().filter(|(_, held)| holds(held)) {
                        *self.held_off.entry((cluster, *id)).or_default() += 1;
                    }
                }
                ServerMessage::Engine(ToWorker::Welcome { name, .. }) => {
                    let of_name = book.workers.iter().filter(|(_, worker)| worker.name == *name);
                    let ids: Vec<WorkerId> = of_name.map(|(id, _)| *id).collect();
                    self.held_off.retain(|(of, id), _| *of != cluster || !ids.contains(id));
                }
                ServerMessage::Assign(_) | ServerMessage::Engine(_) | ServerMessage::LogAck(_) => {}
            }
        }
    }

    /// Identities whose next holder waits for somebody before it, who may live on elsewhere, and has asked this often.
    pub fn held_off(&self, cluster: ClusterId, times: u32) -> Vec<WorkerId> {
        let waits = |(key, told): &(&(ClusterId, WorkerId), &u32)| key.0 == cluster && **told >= times;
        self.held_off.iter().filter(waits).map(|((_, id), _)| *id).collect()
    }

    /// A server sends.
    #[expect(clippy::too_many_arguments, reason = "who sends what, known and found")]
    pub(super) fn leaves(
        &mut self,
        book: &Book,
        found: &mut Found,
        at: u64,
        (cluster, server, conn): (ClusterId, ProcId, ConnId),
        messages: &[ServerMessage],
    ) {
        for message in messages {
            let said = match message {
                ServerMessage::Assign(handover) => {
                    self.assigned += 1;
                    let assign = &handover.assign;
                    let row = book.attempts.get(&assign.attempt);
                    let durable = row.is_some_and(|row| row.session == assign.session);
                    let gone = book.gone.contains(&assign.attempt.task.task);
                    found.unless(durable || gone, at, Invariant::I3, || {
                        format!("{} leaves, and is not committed: {row:?}", assign.attempt)
                    });
                    "an assignment"
                }
                ServerMessage::LogAck(_) => continue,
                ServerMessage::Engine(message) => match message {
                    ToWorker::Welcome { epoch, name, incarnation, .. } => {
                        // Who stood still while another one took over says what he committed, and what is forgotten since.
                        let forgotten = book.forgotten.get(name).filter(|_| *epoch < book.commit.0);
                        if forgotten.is_none_or(|newest| newest < incarnation) {
                            self.welcome(book, found, at, (cluster, server, conn), (name, *incarnation));
                        }
                        continue;
                    }
                    ToWorker::Ack { attempt, of } => {
                        acknowledged(book, found, at, *attempt, of);
                        self.is_kept(book, (found, at), (cluster, *attempt), of);
                        "an acknowledgement"
                    }
                    ToWorker::HeartbeatAck => "an answer to a heartbeat",
                    ToWorker::Assign(_) | ToWorker::Cancel { .. } | ToWorker::Drain(_) | ToWorker::Undrain => {
                        "an order"
                    }
                    ToWorker::TryLater { .. }
                    | ToWorker::Pause { .. }
                    | ToWorker::Fenced { .. }
                    | ToWorker::Verdict { .. } => continue,
                },
            };
            self.speaks(found, at, conn, said);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "who sends what, known and found")]
    fn welcome(
        &mut self,
        book: &Book,
        found: &mut Found,
        at: u64,
        (cluster, server, conn): (ClusterId, ProcId, ConnId),
        (name, incarnation): (&WorkerName, Incarnation),
    ) {
        let row = book.workers.iter().find(|(_, worker)| worker.name == *name);
        // In one commit with its Hello it was forgotten again.
        if row.is_none() && book.gone_now.contains(name) {
            return;
        }
        let durable = row.is_some_and(|(_, row)| row.incarnation >= incarnation);
        found.unless(durable, at, Invariant::I3, || {
            format!("{name} is welcomed as incarnation {incarnation}, and that is not committed: {row:?}")
        });
        // Forgotten meanwhile, and told of that next.
        let Some(id) = row.map(|(id, _)| *id) else { return };
        self.order += 1;
        let order = self.order;
        self.by_conn.insert(conn, Session { cluster, server, id, name: name.clone(), incarnation, order });
        let newest = self.newest.entry((cluster, id)).or_insert((conn, incarnation, order));
        found.unless(newest.1 <= incarnation, at, Invariant::I9, || {
            format!("{name} is welcomed as incarnation {incarnation} after incarnation {}", newest.1)
        });
        *newest = (conn, incarnation, order);
    }

    /// I8: a success that is acknowledged is not thrown away.
    fn is_kept(
        &self,
        book: &Book,
        (found, at): (&mut Found, u64),
        (cluster, attempt): (ClusterId, AttemptRef),
        kind: &Assured,
    ) {
        if *kind != Assured::Finished
            || !self.has_succeeded(cluster, attempt)
            || self.given_away.contains(&(cluster, attempt))
        {
            return;
        }
        let end = book.attempts.get(&attempt).and_then(|row| row.end);
        found.unless(end != Some(AttemptEnd::Released), at, Invariant::I8, || {
            format!("the success of {attempt} is acknowledged, and it was given back")
        });
    }

    /// I9: of an identity only the newest session is spoken to.
    fn speaks(&self, found: &mut Found, at: u64, conn: ConnId, what: &str) {
        let Some(session) = self.by_conn.get(&conn) else { return };
        let Some(newest) = self.newest.get(&(session.cluster, session.id)) else { return };
        // A server that does not know yet that another one leads speaks to those whom it knows.
        let deposed = self.by_conn.get(&newest.0).is_none_or(|newest| newest.server != session.server);
        found.unless(deposed || newest.2 == session.order, at, Invariant::I9, || {
            format!(
                "{what} leaves to an old session of {} (incarnation {}, the newest is {})",
                session.name, session.incarnation, newest.1
            )
        });
    }
}

/// I3: what is acknowledged is durable, or refused for good.
fn acknowledged(book: &Book, found: &mut Found, at: u64, attempt: AttemptRef, of: &Assured) {
    let Some(row) = book.attempts.get(&attempt) else { return };
    let durable = match of {
        Assured::Started => row.started || row.end.is_some(),
        Assured::Finished | Assured::Released | Assured::Gone => row.end.is_some(),
        Assured::Artifact(_) => true,
    };
    found.unless(durable, at, Invariant::I3, || {
        format!("{of:?} of {attempt} is acknowledged, and its row says {row:?}")
    });
}
