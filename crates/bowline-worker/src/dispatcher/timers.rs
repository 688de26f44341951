//! The one source of time: everything that is to happen at a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::id::AttemptRef;

use crate::clock::Moment;

/// The event loop's lag is measured this often.
const LAG_EVERY: Duration = Duration::from_millis(500);
/// A lag beyond this is told.
const LAG_TOLD: Duration = Duration::from_millis(250);
/// What a worker counts is logged this often.
const REPORT_EVERY: Duration = Duration::from_mins(5);

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Lag,
    /// Of which chain: a new session begins a new one.
    Heartbeat(u64),
    Reconnect,
    StartBy(AttemptRef),
    Setup(AttemptRef),
    /// Of which leaving.
    Leave(u32),
    Demand,
    /// What was another's for a moment is looked at again.
    Turn,
    Report,
    Check,
    /// Only the newest counts.
    Probe(u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Moment, u64), Timer>,
    count: u64,
}

impl Timers {
    /// What goes on for as long as the worker lives.
    pub(super) fn start(&mut self, now: Moment) {
        self.after(now, LAG_EVERY, Timer::Lag);
        self.after(now, REPORT_EVERY, Timer::Report);
    }

    /// This is to happen so long from now.
    pub(super) fn after(&mut self, now: Moment, length: Duration, timer: Timer) {
        // A length beyond what can be counted never passes.
        let Some(at) = now.after(length) else { return };
        self.count += 1;
        self.due.insert((at, self.count), timer);
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.due.len()
    }

    pub(super) fn measured(&mut self, now: Moment, lag: Duration) {
        if lag > LAG_TOLD {
            tracing::warn!(?lag, "the event loop is late");
        }
        self.after(now, LAG_EVERY, Timer::Lag);
    }

    pub(super) fn reported(&mut self, now: Moment) {
        self.after(now, REPORT_EVERY, Timer::Report);
    }

    /// When something is to happen next.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// What is due, and how late it is.
    pub(super) fn take_due(&mut self, now: Moment) -> Option<(Timer, Duration)> {
        let entry = self.due.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let ((at, _), timer) = entry.remove_entry();
        Some((timer, now.since(at)))
    }
}
