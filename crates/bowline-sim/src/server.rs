//! The simulated server process: the real leadership ([`bowline_leader::Term`]), the real take-over and what
//! follows from each end, over a store of the world. What the real server does with threads, channels and
//! sockets is done here with events; nothing is decided here.
//!
//! ```text
//! begin ──► leading ──failed──► down ──(backoff)──► leading
//!              │ ──rolled back──► waits for accept ──accepted──► leading
//!              │ ──deposed──► follows: refuses, until it is stopped
//!              └──TERM──► stopping ──settled──► exit 0
//! ```
//!
//! As in the real server, nobody leads again before the commit that was under way has come back.

mod leading;
mod peers;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Refusal, RefusalCode};
use bowline_core::id::{CommitNo, Generation};
use bowline_core::time::Timestamp;
use bowline_leader::take_over::{Backoff, Next, note_rollback};
use bowline_leader::{Counters, LeaderConfig, LeaderStats, Term, take_over};
use bowline_store::{CommitError, RollbackStore, Swept};

use self::leading::Leading;
use self::peers::Peers;
use crate::process::{CloseWhy, ClusterId, Event, Io, Packet, Process};

/// [`Event::Woken`] with this: somebody says `bowline server accept-rollback` to this server.
pub const ACCEPT_ROLLBACK: u64 = u64::MAX;
/// The wait after a failed leadership is over.
const AGAIN: u64 = u64::MAX - 1;
/// A timer that came late, after everything that came in before it.
const LATE_TICK: u64 = u64::MAX - 2;
/// A timer that comes so much later than it was set for finds an inbox that was not read.
const LATE: Duration = Duration::from_millis(100);

/// A server process.
#[derive(Debug)]
pub struct Server {
    cluster: ClusterId,
    config: LeaderConfig,
    phase: Phase,
    peers: Peers,
    backoff: Backoff,
    /// When the leadership was taken, by `CLOCK_MONOTONIC`.
    began: Duration,
    flight: Flight,
    /// What follows once nothing is under way in the store.
    next: Option<Next>,
    stopping: Stopping,
    /// When the timer fires.
    timer: Option<Duration>,
    counters: Arc<Counters>,
}

/// What the server is at.
#[derive(Debug)]
enum Phase {
    /// It leads.
    Leading(Box<Leading>),
    /// It refuses everything; why.
    Down(String),
    /// It refuses everything until the earlier state of its store is accepted.
    RolledBack,
}

/// Whether something is under way in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    None,
    UnderWay,
}

/// Whether it was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Yes,
}

impl Server {
    /// A server of this cluster.
    pub fn new(cluster: ClusterId, config: LeaderConfig) -> Self {
        Self {
            cluster,
            config,
            phase: Phase::Down("it has just been started".to_owned()),
            peers: Peers::default(),
            backoff: Backoff::default(),
            began: Duration::ZERO,
            flight: Flight::None,
            next: None,
            stopping: Stopping::No,
            timer: None,
            counters: Arc::new(Counters::default()),
        }
    }

    /// The leadership, where it leads.
    pub fn term(&self) -> Option<&Term> {
        match &self.phase {
            Phase::Leading(leading) => Some(leading.term()),
            Phase::Down(_) | Phase::RolledBack => None,
        }
    }

    /// Whether it leads no more until the earlier state of its store is accepted.
    pub fn is_rolled_back(&self) -> bool {
        matches!(self.phase, Phase::RolledBack)
    }

    /// What it has counted so far.
    pub fn stats(&self) -> LeaderStats {
        self.counters.snapshot(0)
    }

    fn lead(&mut self, io: &mut Io<'_>) {
        let now = io.now();
        self.began = now.mono;
        let mut store = io.store(self.cluster);
        let config = LeaderConfig { seed: Some(io.random().next()), ..self.config.clone() };
        match take_over(&mut store, Timestamp(now.wall_us), &config) {
            Ok(taken) => {
                io.note(format_args!("leads, epoch {}", taken.leadership.epoch));
                io.leads(self.cluster);
                let base = (taken.leadership.now, now.mono);
                let epoch = taken.leadership.epoch;
                let term = Term::begin(taken, config, Arc::clone(&self.counters), base.0);
                self.phase = Phase::Leading(Box::new(Leading::new(self.cluster, epoch, term, base, store)));
            }
            Err(end) => {
                let next = self.backoff.after(end, Duration::ZERO);
                self.follow(io, next);
            }
        }
    }

    /// After each event: what can be done is done, and the end of a leadership is dealt with.
    fn go_on(&mut self, io: &mut Io<'_>) {
        let Phase::Leading(leading) = &mut self.phase else { return };
        let end = leading.go_on(io, &mut self.peers);
        self.flight = if leading.is_under_way() { Flight::UnderWay } else { Flight::None };
        if let Some(end) = end {
            let lasted = io.now().mono.saturating_sub(self.began);
            let next = self.backoff.after(end, lasted);
            return self.over(io, next);
        }
        if self.stopping == Stopping::Yes && !leading.term().is_unsettled() {
            io.exit(0);
            return;
        }
        let wake = leading.wake_at(io);
        if self.timer.is_none_or(|timer| wake < timer) {
            self.timer = Some(wake);
            io.set_timer(Some(wake));
        }
    }

    /// The leadership is over: whoever waits is told so, and what follows waits for the store.
    fn over(&mut self, io: &mut Io<'_>, next: Next) {
        io.note(format_args!("leads no more: {next:?}"));
        let why = match &next {
            Next::Stop => "it is stopping".to_owned(),
            Next::Follow(why) | Next::Again(_, why) => why.clone(),
            Next::WaitForAccept { .. } => "its store was put back to an earlier state".to_owned(),
        };
        if let Phase::Leading(leading) = std::mem::replace(&mut self.phase, Phase::Down(why)) {
            leading.dismiss(io, &mut self.peers);
        }
        if self.stopping == Stopping::Yes {
            return io.exit(0);
        }
        match self.flight {
            Flight::None => self.follow(io, next),
            Flight::UnderWay => self.next = Some(next),
        }
    }

    fn follow(&mut self, io: &mut Io<'_>, next: Next) {
        match next {
            Next::Stop => io.exit(0),
            Next::Follow(why) => self.phase = Phase::Down(why),
            Next::Again(wait, why) => {
                self.phase = Phase::Down(why);
                io.wake(wait, AGAIN);
            }
            Next::WaitForAccept { store, seen } => {
                self.note_rollback(io, store, seen);
                self.phase = Phase::RolledBack;
            }
        }
    }

    fn note_rollback(&self, io: &mut Io<'_>, at: (Generation, CommitNo), seen: (Generation, CommitNo)) {
        io.note(format_args!("its store is at {at:?}, and a worker has seen {seen:?}"));
        let mut store = io.store(self.cluster);
        if let Err(error) = note_rollback(&mut store, Timestamp(io.now().wall_us), seen) {
            io.note(format_args!("that could not be noted: {error}"));
        }
    }

    fn woken(&mut self, io: &mut Io<'_>, token: u64) {
        match (token, &mut self.phase) {
            (AGAIN, Phase::Down(_)) => self.lead(io),
            (ACCEPT_ROLLBACK, Phase::RolledBack) => {
                if io.store(self.cluster).accept_rollback(None).is_ok() {
                    self.lead(io);
                }
            }
            (LATE_TICK, Phase::Leading(leading)) => leading.tick(io),
            (token, Phase::Leading(leading)) => leading.woken(io, token),
            (_, Phase::Down(_) | Phase::RolledBack) => {}
        }
    }

    fn timer(&mut self, io: &mut Io<'_>) {
        let set_for = self.timer.take();
        let Phase::Leading(leading) = &mut self.phase else { return };
        // The inbox is read before timers fire: what came while it stood still comes before this.
        if set_for.is_some_and(|at| io.now().mono.saturating_sub(at) > LATE) {
            leading.look(io);
            io.wake(Duration::ZERO, LATE_TICK);
        } else {
            leading.tick(io);
        }
    }

    fn committed(&mut self, io: &mut Io<'_>, result: &Result<CommitNo, CommitError>) {
        match &mut self.phase {
            Phase::Leading(leading) => leading.committed(result),
            Phase::Down(_) | Phase::RolledBack => self.landed(io),
        }
    }

    fn swept(&mut self, io: &mut Io<'_>, result: Result<Swept, CommitError>) {
        match &mut self.phase {
            Phase::Leading(leading) => leading.swept(io, result),
            Phase::Down(_) | Phase::RolledBack => self.landed(io),
        }
    }

    /// What was under way when the leadership ended has come back.
    fn landed(&mut self, io: &mut Io<'_>) {
        self.flight = Flight::None;
        if let Some(next) = self.next.take() {
            self.follow(io, next);
        }
    }

    fn arrived(&mut self, io: &mut Io<'_>, conn: crate::process::ConnId, packet: Packet) {
        match packet {
            Packet::Ask { number, actor, request } => {
                let refused = match &mut self.phase {
                    Phase::Leading(leading) => leading.ask(io, (conn, number), (actor, request)).err(),
                    Phase::Down(why) => {
                        Some(Refusal::new(RefusalCode::NotLeading, format!("this server does not lead: {why}")))
                    }
                    Phase::RolledBack => {
                        let why = "this server does not lead: its store was put back to an earlier state";
                        Some(Refusal::new(RefusalCode::RolledBack, why))
                    }
                };
                if let Some(refusal) = refused {
                    io.send(conn, Packet::Answer { number, reply: Err(refusal) });
                }
            }
            Packet::FromWorker(messages) => match &mut self.phase {
                Phase::Leading(leading) => leading.hear(io, &mut self.peers, conn, messages),
                Phase::Down(why) => {
                    let why = format!("this server does not lead: {why}");
                    self.peers.end(io, conn, CloseWhy::Unavailable(why));
                }
                Phase::RolledBack => {
                    let why = "this server does not lead: its store was put back to an earlier state".to_owned();
                    self.peers.end(io, conn, CloseWhy::Unavailable(why));
                }
            },
            Packet::FromServer { .. } | Packet::Answer { .. } | Packet::ToSupervisor(_) | Packet::FromSupervisor(_) => {
            }
        }
    }

    /// As the real one: sessions are closed, what was applied is made durable and answered, then it ends.
    fn stop(&mut self, io: &mut Io<'_>) {
        self.stopping = Stopping::Yes;
        match &mut self.phase {
            Phase::Leading(leading) => leading.close_sessions(io, &mut self.peers),
            Phase::Down(_) | Phase::RolledBack => io.exit(0),
        }
    }
}

impl Process for Server {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        match event {
            Event::Begin => self.lead(io),
            Event::Timer => self.timer(io),
            Event::Woken(token) => self.woken(io, token),
            Event::Opened { conn, caller } => {
                let store = io.store(self.cluster);
                self.peers.opened(io, &store, conn, caller);
            }
            Event::Arrived { conn, packet } => self.arrived(io, conn, packet),
            Event::Closed { conn, why: _ } => {
                if let (Some(session), Phase::Leading(leading)) = (self.peers.closed(conn), &mut self.phase) {
                    leading.disconnected(io, session);
                }
            }
            Event::Committed { result } => self.committed(io, &result),
            Event::Swept { result } => self.swept(io, result),
            Event::Term => self.stop(io),
            Event::Written { .. } | Event::Do(_) | Event::JobEnded { .. } => {}
        }
        self.go_on(io);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
