//! What a worker counts. Cheap to share; told with every heartbeat, and logged now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bowline_protocol::{Kind, OutboxVitals, Tally, Vitals};
use parking_lot::Mutex;

/// Counters since the worker's start: of all its servers, or of one of them.
#[derive(Debug, Default)]
pub struct Stats {
    whole: Option<Arc<Stats>>,
    messages: Mutex<BTreeMap<Kind, Tally>>,
    lag_max_us: AtomicU64,
    lag_lately_us: AtomicU64,
    turns: AtomicU64,
    drained: AtomicBool,
    links: AtomicU64,
    attempts: AtomicU64,
}

impl Stats {
    /// The counters of one server, beside those of the whole worker.
    pub(crate) fn of_server(whole: &Arc<Self>) -> Self {
        Self { whole: Some(Arc::clone(whole)), ..Self::default() }
    }

    /// Raised whenever an event loop measures itself, at least every second: one that does not grow
    /// belongs to a loop that hangs.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The event loop's largest lag so far.
    pub fn lag_max(&self) -> Duration {
        Duration::from_micros(self.lag_max_us.load(Ordering::Relaxed))
    }

    /// Messages of this kind so far.
    pub fn tally(&self, kind: Kind) -> Tally {
        self.messages.lock().get(&kind).copied().unwrap_or_default()
    }

    /// Messages of all kinds so far.
    pub fn total(&self) -> Tally {
        let messages = self.messages.lock();
        messages.values().fold(Tally::default(), |sum, one| Tally {
            sent: sum.sent + one.sent,
            retried: sum.retried + one.retried,
            dropped: sum.dropped + one.dropped,
            refused: sum.refused + one.refused,
        })
    }

    /// Sessions opened so far.
    pub fn links(&self) -> u64 {
        self.links.load(Ordering::Relaxed)
    }

    /// Attempts taken so far.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// What the next heartbeat tells. The lag counts from here on anew.
    pub(crate) fn vitals(&self, outbox: OutboxVitals) -> Vitals {
        Vitals {
            messages: self.messages.lock().clone(),
            outbox,
            loop_lag: Duration::from_micros(self.lag_lately_us.swap(0, Ordering::Relaxed)),
            loop_lag_max: self.lag_max(),
            ..Vitals::default()
        }
    }

    /// Whether the newest drain that a server asked for is one after which the worker's process is to end
    /// and not to come back by itself.
    pub fn is_drained_for_good(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }

    pub(crate) fn drained_for_good(&self, drained: bool) {
        self.drained.store(drained, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.drained_for_good(drained);
        }
    }

    fn count(&self, kind: Kind, change: impl Fn(&mut Tally)) {
        change(self.messages.lock().entry(kind).or_default());
        if let Some(whole) = &self.whole {
            whole.count(kind, change);
        }
    }

    /// It left for the connection, or came from there.
    pub(crate) fn passed(&self, kind: Kind) {
        self.count(kind, |tally| tally.sent += 1);
    }

    /// It left once more.
    pub(crate) fn retried(&self, kind: Kind) {
        self.count(kind, |tally| tally.retried += 1);
    }

    /// It was given up, or found no room.
    pub(crate) fn dropped(&self, kind: Kind) {
        self.count(kind, |tally| tally.dropped += 1);
    }

    /// The server refused it as stale.
    pub(crate) fn refused(&self, kind: Kind) {
        self.count(kind, |tally| tally.refused += 1);
    }

    pub(crate) fn link_opened(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn attempt_taken(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// The event loop has measured itself.
    pub(crate) fn lag(&self, lag: Duration) {
        let micros = bowline_core::time::micros(lag);
        for stats in [Some(self), self.whole.as_deref()].into_iter().flatten() {
            stats.turns.fetch_add(1, Ordering::Relaxed);
            stats.lag_lately_us.fetch_max(micros, Ordering::Relaxed);
            stats.lag_max_us.fetch_max(micros, Ordering::Relaxed);
        }
    }
}
