//! A simulated server that leads: the real leadership, and what it asks for carried out with events.
//!
//! Reading takes time on either side: rows may have changed between the question and the read, and between the
//! read and its use. So each read happens now or later, and its answer comes later still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Refusal, RefusalCode};
use bowline_core::id::{AttemptRef, CommitNo, Epoch, ParkId, ReplyTo, SessionId, TaskId};
use bowline_core::input::{Evaluation, Fact, Need, Request};
use bowline_core::message::{Assign, FromWorker, Hello, ToWorker, Verdict};
use bowline_core::name::Actor;
use bowline_core::row::Row;
use bowline_core::time::Timestamp;
use bowline_leader::{Due, End, Evaluator, Output, Posted, Term, facts};
use bowline_protocol::message::{LogStream, Sealed};
use bowline_protocol::{Delivery, Handover, LogAck, LogSegment, ServerMessage, WorkerMessage};
use bowline_store::{AttemptFilter, CommitError, MemoryStore, ReadStore, Swept};

use super::peers::{Peer, Peers};
use crate::process::{CloseWhy, ClusterId, ConnId, Io, Packet};

/// One of so many messages finds its session's queue full: the session is closed, and the worker comes back.
const OVERRUN_OF: u64 = 5_000;
/// The mean length of a read, in microseconds.
const READ_US: u64 = 400;
/// The mean length of an evaluation, in microseconds.
const EVALUATION_US: u64 = 1_500;

/// Something that was begun beside the writer.
#[derive(Debug)]
enum Later {
    Read { park: ParkId, needs: Vec<Need> },
    Facts { park: ParkId, facts: Vec<Fact> },
    Evaluate(Due),
    Evaluated(Due, Evaluation),
}

/// A server that leads.
#[derive(Debug)]
pub(super) struct Leading {
    cluster: ClusterId,
    epoch: Epoch,
    term: Term,
    /// The leader's clock: this moment, when `CLOCK_MONOTONIC` showed that.
    base: (Timestamp, Duration),
    store: MemoryStore,
    evaluator: Evaluator,
    asked: BTreeMap<ReplyTo, (ConnId, u64)>,
    later: BTreeMap<u64, Later>,
    next_token: u64,
    /// Tasks that the batch under way removes. `None`: nothing is under way.
    under_way: Option<Vec<TaskId>>,
    logs: BTreeMap<(AttemptRef, LogStream), u64>,
    outputs: Vec<Output>,
}

impl Leading {
    pub(super) fn new(
        cluster: ClusterId,
        epoch: Epoch,
        term: Term,
        base: (Timestamp, Duration),
        store: MemoryStore,
    ) -> Self {
        let evaluator = Evaluator::new(Arc::new(store.clone()));
        Self {
            cluster,
            epoch,
            term,
            base,
            store,
            evaluator,
            asked: BTreeMap::new(),
            later: BTreeMap::new(),
            // What an earlier leadership of this process began comes back to nobody.
            next_token: epoch.0 << 32,
            under_way: None,
            logs: BTreeMap::new(),
            outputs: Vec::new(),
        }
    }

    pub(super) fn term(&self) -> &Term {
        &self.term
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    fn now(&self, io: &Io<'_>) -> Timestamp {
        self.base.0.plus(io.now().mono.saturating_sub(self.base.1))
    }

    /// When it wants to be woken, by `CLOCK_MONOTONIC`.
    pub(super) fn wake_at(&self, io: &Io<'_>) -> Duration {
        self.base.1 + self.term.wake_at(self.now(io)).since(self.base.0)
    }

    pub(super) fn look(&mut self, io: &Io<'_>) {
        self.term.look(self.now(io));
    }

    pub(super) fn tick(&mut self, io: &Io<'_>) {
        self.term.tick(self.now(io));
    }

    /// Does what can be done. The end of the leadership, where it has come.
    pub(super) fn go_on(&mut self, io: &mut Io<'_>, peers: &mut Peers) -> Option<End> {
        loop {
            self.term.turn(self.now(io));
            let mut outputs = std::mem::take(&mut self.outputs);
            self.term.drain_outputs(&mut outputs);
            if outputs.is_empty() {
                self.outputs = outputs;
                return None;
            }
            let mut post = Post::default();
            for output in outputs.drain(..) {
                if let Some(end) = self.carry_out(io, peers, &mut post, output) {
                    post.flush_all(io, &self.term);
                    return Some(end);
                }
            }
            post.flush_all(io, &self.term);
            self.outputs = outputs;
        }
    }

    fn carry_out(&mut self, io: &mut Io<'_>, peers: &mut Peers, post: &mut Post, output: Output) -> Option<End> {
        match output {
            Output::Commit { now, batch } => {
                let gone = |row: &Row| if let Row::TaskGone(task) = row { Some(*task) } else { None };
                self.under_way = Some(batch.rows.iter().filter_map(gone).collect());
                io.commit(self.cluster, self.epoch, now, batch);
            }
            Output::Sweep { now, policy } => {
                self.under_way = Some(Vec::new());
                io.sweep(self.cluster, self.epoch, now, policy);
            }
            Output::Fetch { park, needs } => self.begin_read(io, park, needs),
            Output::Evaluate(due) => self.begin_evaluation(io, due),
            Output::Reply { to, reply } => {
                if let Some((conn, number)) = self.asked.remove(&to) {
                    io.send(conn, Packet::Answer { number, reply });
                }
            }
            Output::Send { session, message } => self.post(io, peers, post, (session, message)),
            Output::Close { session } => {
                if let Some(conn) = peers.conn_of(session) {
                    post.flush(io, &self.term, conn);
                    peers.end(io, conn, CloseWhy::Done);
                }
            }
            Output::Durable { .. } | Output::Swept(_) => {}
            Output::End(end) => return Some(end),
        }
        None
    }

    /// Puts a message into a session's queue; now and then that is full.
    fn post(&mut self, io: &mut Io<'_>, peers: &mut Peers, post: &mut Post, (to, message): (SessionId, ToWorker)) {
        let Some(conn) = peers.conn_of(to) else { return };
        let message = match message {
            ToWorker::Assign(assign) => self.handover(assign).map(|handover| ServerMessage::Assign(Box::new(handover))),
            other => Some(ServerMessage::Engine(other)),
        };
        // An assignment without its work would be lost: the session is closed, and the worker comes back.
        let Some(message) = message.filter(|_| io.random().below(OVERRUN_OF) != 0) else {
            peers.end(io, conn, CloseWhy::Unavailable("the server closed the session: reconnect".to_owned()));
            post.drop(conn);
            return self.term.unposted(to, Posted::Overrun);
        };
        post.add(conn, message);
    }

    fn handover(&self, assign: Assign) -> Option<Handover> {
        let unit = assign.attempt.task;
        let work = self.store.work(unit).ok().flatten()?;
        let row = self.store.task(unit.task).ok().flatten()?.row;
        let mut handover = Handover::new(assign, &work).ok()?;
        handover.namespace = row.namespace;
        handover.run = row.run.map(|(run, _)| run);
        handover.step = row.step;
        Some(handover)
    }

    fn begin(&mut self, io: &mut Io<'_>, mean_us: u64, later: Later) {
        self.next_token += 1;
        self.later.insert(self.next_token, later);
        let length = Duration::from_micros(io.random().around(mean_us));
        io.wake(length, self.next_token);
    }

    fn begin_read(&mut self, io: &mut Io<'_>, park: ParkId, needs: Vec<Need>) {
        if io.random().per_mille(500) {
            self.begin(io, READ_US, Later::Read { park, needs });
        } else {
            self.read(io, park, &needs);
        }
    }

    fn read(&mut self, io: &mut Io<'_>, park: ParkId, needs: &[Need]) {
        match facts(&self.store, needs) {
            Ok(facts) => self.begin(io, READ_US, Later::Facts { park, facts }),
            Err(error) => self.term.broken(format!("reading what a request needs: {error}")),
        }
    }

    fn begin_evaluation(&mut self, io: &mut Io<'_>, due: Due) {
        if io.random().per_mille(500) {
            self.begin(io, EVALUATION_US, Later::Evaluate(due));
        } else {
            self.evaluate(io, due);
        }
    }

    fn evaluate(&mut self, io: &mut Io<'_>, due: Due) {
        match self.evaluator.outcome(due) {
            Ok(Some(outcome)) => self.begin(io, EVALUATION_US, Later::Evaluated(due, outcome)),
            Ok(None) => {}
            Err(error) => self.term.broken(format!("reading what run {} needs: {error}", due.run)),
        }
    }

    pub(super) fn woken(&mut self, io: &mut Io<'_>, token: u64) {
        match self.later.remove(&token) {
            Some(Later::Read { park, needs }) => self.read(io, park, &needs),
            Some(Later::Facts { park, facts }) => self.term.facts(self.now(io), park, facts),
            Some(Later::Evaluate(due)) => self.evaluate(io, due),
            Some(Later::Evaluated(due, outcome)) => self.term.evaluated(self.now(io), due, outcome),
            None => {}
        }
    }

    pub(super) fn committed(&mut self, result: &Result<CommitNo, CommitError>) {
        let Some(gone) = self.under_way.take() else { return };
        match result {
            Ok(commit_no) => self.term.committed(*commit_no, Vec::new(), gone),
            Err(error) => self.term.failed(error),
        }
    }

    pub(super) fn swept(&mut self, io: &Io<'_>, result: Result<Swept, CommitError>) {
        self.under_way = None;
        match result {
            Ok(swept) => self.term.swept(self.now(io), swept),
            Err(error) => self.term.failed(&error),
        }
    }

    /// A client asks. Refused where too many wait.
    pub(super) fn ask(
        &mut self,
        io: &Io<'_>,
        from: (ConnId, u64),
        (actor, request): (Actor, Request),
    ) -> Result<(), Refusal> {
        let to = self.term.request(self.now(io), actor, request)?;
        self.asked.insert(to, from);
        Ok(())
    }

    /// A worker speaks.
    pub(super) fn hear(
        &mut self,
        io: &mut Io<'_>,
        peers: &mut Peers,
        conn: ConnId,
        messages: Vec<(WorkerMessage, Option<Delivery>)>,
    ) {
        for (message, delivery) in messages {
            let why = match (peers.get(conn).cloned(), message) {
                (Some(Peer::Greeting { name, pool, key }), WorkerMessage::Hello(hello)) => {
                    if hello.pool == pool && (pool.is_some() || hello.name == name) {
                        self.hello(io, peers, conn, (*hello, key));
                        continue;
                    }
                    "the key is not that of whoever Hello names"
                }
                (Some(Peer::Session(session)), message) => {
                    if self.hear_one(io, conn, session, (message, delivery)) {
                        continue;
                    }
                    "Hello comes once in a session"
                }
                (Some(Peer::Greeting { .. }), WorkerMessage::Log(segment)) => {
                    self.keep_log(io, conn, &segment);
                    continue;
                }
                (Some(Peer::Greeting { .. }), WorkerMessage::Upload(_)) => continue,
                (Some(Peer::Greeting { .. }), _) => "the first message of a session must be Hello",
                (Some(Peer::Client) | None, _) => return,
            };
            if let Some(session) = peers.end(io, conn, CloseWhy::Unavailable(why.to_owned())) {
                self.disconnected(io, session);
            }
            return;
        }
    }

    fn hello(&mut self, io: &mut Io<'_>, peers: &mut Peers, conn: ConnId, (hello, key): (Hello, [u8; 32])) {
        let opened = self.term.connect(self.now(io), Box::new(hello), key);
        peers.welcome(conn, opened.session);
    }

    /// Whether it may be said within a session.
    fn hear_one(
        &mut self,
        io: &mut Io<'_>,
        conn: ConnId,
        session: SessionId,
        (message, delivery): (WorkerMessage, Option<Delivery>),
    ) -> bool {
        let now = self.now(io);
        match message {
            WorkerMessage::Hello(_) => return false,
            WorkerMessage::Heartbeat(_) => self.term.from_worker(now, session, FromWorker::Heartbeat),
            WorkerMessage::Engine(message) => {
                if let Some(late) = delivery.and_then(|delivery| delivery.late(&message)) {
                    self.term.from_worker(now, session, late);
                }
                self.term.from_worker(now, session, message);
            }
            WorkerMessage::Artifact(artifact) => {
                let bowline_protocol::message::Artifact { attempt, name, digest, bytes } = artifact;
                let committed = FromWorker::ArtifactCommitted { attempt, name, digest, bytes };
                self.term.from_worker(now, session, committed);
            }
            WorkerMessage::Log(segment) => self.keep_log(io, conn, &segment),
            WorkerMessage::Upload(_) => {}
        }
        true
    }

    /// Logs are not the engine's: kept here as lengths. Of what this process never saw it takes the worker's
    /// word for how much is there.
    fn keep_log(&mut self, io: &mut Io<'_>, conn: ConnId, segment: &LogSegment) {
        let attempt = segment.attempt;
        let is_known = self.store.attempts(&AttemptFilter::One(attempt)).is_ok_and(|rows| !rows.is_empty());
        let kept = self.logs.entry((attempt, segment.stream)).or_insert(segment.offset);
        let answer = if !is_known {
            ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Gone })
        } else if segment.offset > *kept && segment.left_out_from.is_none() {
            ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Missing })
        } else {
            *kept = (*kept).max(segment.offset + segment.content.len() as u64);
            let sealed = if segment.sealed_at.is_some() { Sealed::Yes } else { Sealed::No };
            ServerMessage::LogAck(LogAck { attempt, stream: segment.stream, up_to: *kept, sealed })
        };
        send(io, &self.term, conn, vec![answer]);
    }

    pub(super) fn disconnected(&mut self, io: &Io<'_>, session: SessionId) {
        self.term.disconnect(self.now(io), session);
    }

    pub(super) fn close_sessions(&mut self, io: &mut Io<'_>, peers: &mut Peers) {
        for session in peers.end_workers(io, "the server is stopping") {
            self.disconnected(io, session);
        }
    }

    /// The leadership is over: nothing more comes of it, and everybody is told so.
    pub(super) fn dismiss(self, io: &mut Io<'_>, peers: &mut Peers) {
        for (conn, number) in self.asked.into_values() {
            let why = "this server does not lead at the moment; whether the request was carried out is not known";
            io.send(conn, Packet::Answer { number, reply: Err(Refusal::new(RefusalCode::NotLeading, why)) });
        }
        peers.end_workers(io, "the server closed the session: reconnect");
    }
}

/// Messages on their way out, gathered by connection.
#[derive(Debug, Default)]
struct Post(BTreeMap<ConnId, Vec<ServerMessage>>);

impl Post {
    fn add(&mut self, conn: ConnId, message: ServerMessage) {
        self.0.entry(conn).or_default().push(message);
    }

    fn drop(&mut self, conn: ConnId) {
        self.0.remove(&conn);
    }

    fn flush(&mut self, io: &mut Io<'_>, term: &Term, conn: ConnId) {
        if let Some(messages) = self.0.remove(&conn) {
            send(io, term, conn, messages);
        }
    }

    fn flush_all(&mut self, io: &mut Io<'_>, term: &Term) {
        while let Some((conn, messages)) = self.0.pop_first() {
            send(io, term, conn, messages);
        }
    }
}

/// As the real server does: with how far the store is when it is sent.
fn send(io: &mut Io<'_>, term: &Term, conn: ConnId, messages: Vec<ServerMessage>) {
    let leadership = term.leadership();
    let (generation, commit_no) = (leadership.generation, leadership.commit_no);
    io.send(conn, Packet::FromServer { messages, generation, commit_no });
}
