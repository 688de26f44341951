//! What a worker counts. Cheap to share; read by whoever wants to show it, and logged now and then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bowline_protocol::Kind;
use parking_lot::Mutex;

/// Counters since the worker's start.
#[derive(Debug, Default)]
pub struct Stats {
    sent: Mutex<BTreeMap<Kind, u64>>,
    resent: AtomicU64,
    dropped: AtomicU64,
    lag_max_us: AtomicU64,
    lag_last_us: AtomicU64,
    links: AtomicU64,
    unacknowledged: AtomicU64,
    attempts: AtomicU64,
    turns: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatsView {
    /// Messages sent, by kind.
    pub sent: BTreeMap<&'static str, u64>,
    /// Assured messages sent again after a reconnect.
    pub resent: u64,
    /// Timely messages and log segments that found no room.
    pub dropped: u64,
    /// The event loop's largest lag so far.
    pub lag_max: Duration,
    /// The event loop's lag when it was measured last.
    pub lag_last: Duration,
    /// Sessions opened.
    pub links: u64,
    /// Assured messages that are not acknowledged.
    pub unacknowledged: u64,
    /// Attempts taken.
    pub attempts: u64,
}

impl Stats {
    /// The counters as they are now.
    pub fn view(&self) -> StatsView {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsView {
            sent: self.sent.lock().iter().map(|(kind, count)| (kind.name(), *count)).collect(),
            resent: read(&self.resent),
            dropped: read(&self.dropped),
            lag_max: Duration::from_micros(read(&self.lag_max_us)),
            lag_last: Duration::from_micros(read(&self.lag_last_us)),
            links: read(&self.links),
            unacknowledged: read(&self.unacknowledged),
            attempts: read(&self.attempts),
        }
    }

    /// Raised whenever the event loop measures itself, at least every second: one that does not grow
    /// belongs to a loop that hangs.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self, kind: Kind) {
        *self.sent.lock().entry(kind).or_default() += 1;
    }

    pub(crate) fn resent(&self, count: u64) {
        self.resent.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn link_opened(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn attempt_taken(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unacknowledged(&self, count: usize) {
        self.unacknowledged.store(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn lag(&self, lag: Duration) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let micros = bowline_core::time::micros(lag);
        self.lag_last_us.store(micros, Ordering::Relaxed);
        self.lag_max_us.fetch_max(micros, Ordering::Relaxed);
    }
}
