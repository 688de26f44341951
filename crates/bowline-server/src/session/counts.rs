//! Messages of all sessions, counted by kind; and what workers tell of themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bowline_core::id::{AttemptRef, SessionId, TaskRef, WorkerId};
use bowline_core::time::Timestamp;
use bowline_protocol::{Direction, Kind, Vitals};
use parking_lot::Mutex;

use super::reports::{Fleet, Report, Reports};
use crate::clock;

/// Messages of all sessions since the server started, counted by kind.
#[derive(Debug, Default)]
pub struct SessionCounts {
    kinds: [Counters; Kind::ALL.len()],
    open: AtomicU64,
    reports: Reports,
    opened: Mutex<HashMap<WorkerId, (SessionId, Timestamp)>>,
}

#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    dropped: AtomicU64,
    stale: AtomicU64,
}

/// The counts of one kind. Its class is [`Kind::class`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindCounts {
    /// Which.
    pub kind: Kind,
    /// Received from workers, or sent to them, as its direction says.
    pub passed: u64,
    /// Not passed on: its session was over, or its queue was full.
    pub dropped: u64,
    /// Refused as stale: answered with the verdict `superseded` or `gone`.
    pub stale: u64,
}

impl SessionCounts {
    /// All kinds, in the order of their table.
    pub fn snapshot(&self) -> Vec<KindCounts> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let each = Kind::ALL.into_iter().zip(&self.kinds);
        each.map(|(kind, counts)| KindCounts {
            kind,
            passed: read(&counts.passed),
            dropped: read(&counts.dropped),
            stale: read(&counts.stale),
        })
        .collect()
    }

    /// Sessions that are open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Since when this worker's session is open. `None`: none is.
    pub(crate) fn session_since(&self, worker: WorkerId) -> Option<Timestamp> {
        self.opened.lock().get(&worker).map(|(_, since)| *since)
    }

    pub(super) fn session_opened(&self, worker: WorkerId, session: SessionId) {
        self.opened.lock().insert(worker, (session, clock::wall()));
    }

    /// What this worker told of itself last. `None`: it is not connected, or has told nothing yet.
    pub(crate) fn report(&self, worker: WorkerId) -> Option<Report> {
        self.reports.of(worker)
    }

    /// What of a task cannot be killed, as the workers say that have it.
    pub(crate) fn stuck(&self, task: TaskRef) -> Vec<(AttemptRef, Vec<u32>)> {
        self.reports.stuck(task)
    }

    /// What all connected workers tell of themselves, together.
    pub(crate) fn fleet(&self) -> Fleet {
        self.reports.fleet()
    }

    pub(super) fn reported(&self, worker: WorkerId, session: SessionId, vitals: Vitals) {
        self.reports.put(worker, session, vitals);
    }

    pub(super) fn forget_report(&self, worker: WorkerId, session: SessionId) {
        self.reports.close(worker, session);
        let mut opened = self.opened.lock();
        if opened.get(&worker).is_some_and(|(open, _)| *open == session) {
            opened.remove(&worker);
        }
    }

    pub(super) fn passed(&self, kind: Kind) {
        self.of(kind).passed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, kind: Kind) {
        self.of(kind).dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// A verdict went out by which a message was refused as stale.
    pub(super) fn stale(&self, kind: Kind) {
        self.of(kind).stale.fetch_add(1, Ordering::Relaxed);
    }

    /// A session is open until the guard is dropped.
    pub(super) fn session(&self) -> OpenSession<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenSession(self)
    }

    fn of(&self, kind: Kind) -> &Counters {
        let place = Kind::ALL.iter().position(|other| *other == kind).expect("every kind is in the list of all kinds");
        &self.kinds[place]
    }
}

impl KindCounts {
    /// Who sends it.
    pub fn direction(&self) -> Direction {
        self.kind.direction()
    }
}

/// See [`SessionCounts::session`].
#[derive(Debug)]
pub(super) struct OpenSession<'a>(&'a SessionCounts);

impl Drop for OpenSession<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
