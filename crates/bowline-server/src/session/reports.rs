//! What connected workers tell of themselves with their heartbeats: the newest of each, in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bowline_core::id::{AttemptRef, SessionId, TaskRef, WorkerId};
use bowline_core::time::Timestamp;
use bowline_protocol::{Kind, OutboxVitals, Tally, Vitals};
use parking_lot::Mutex;

use crate::clock;

/// The newest report of each connected worker.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<HashMap<WorkerId, Report>>);

/// What a worker told last.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    session: SessionId,
    /// When it came.
    pub(crate) at: Timestamp,
    /// What it says.
    pub(crate) vitals: Vitals,
}

/// All connected workers together.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Messages by kind.
    pub(crate) messages: BTreeMap<Kind, Tally>,
    /// What waits to be acknowledged; the oldest of all.
    pub(crate) outbox: OutboxVitals,
    /// The worst lag of an event loop since the heartbeat before.
    pub(crate) loop_lag: Duration,
}

impl Reports {
    pub(super) fn put(&self, worker: WorkerId, session: SessionId, vitals: Vitals) {
        self.0.lock().insert(worker, Report { session, at: clock::wall(), vitals });
    }

    pub(super) fn of(&self, worker: WorkerId) -> Option<Report> {
        self.0.lock().get(&worker).cloned()
    }

    /// The session is over; a newer one of the same worker may have told something already.
    pub(super) fn close(&self, worker: WorkerId, session: SessionId) {
        let mut reports = self.0.lock();
        if reports.get(&worker).is_some_and(|report| report.session == session) {
            reports.remove(&worker);
        }
    }

    /// What of a task cannot be killed, wherever it is.
    pub(super) fn stuck(&self, task: TaskRef) -> Vec<(AttemptRef, Vec<u32>)> {
        let reports = self.0.lock();
        let all = reports.values().flat_map(|report| &report.vitals.stuck);
        all.filter(|(attempt, _)| attempt.task == task).map(|(attempt, pids)| (*attempt, pids.clone())).collect()
    }

    pub(super) fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::default();
        for report in self.0.lock().values() {
            for (kind, tally) in &report.vitals.messages {
                let sum = fleet.messages.entry(*kind).or_default();
                sum.sent = sum.sent.saturating_add(tally.sent);
                sum.retried = sum.retried.saturating_add(tally.retried);
                sum.dropped = sum.dropped.saturating_add(tally.dropped);
                sum.refused = sum.refused.saturating_add(tally.refused);
            }
            let (sum, outbox) = (&mut fleet.outbox, &report.vitals.outbox);
            sum.messages = sum.messages.saturating_add(outbox.messages);
            sum.bytes = sum.bytes.saturating_add(outbox.bytes);
            sum.bytes_max = sum.bytes_max.saturating_add(outbox.bytes_max);
            sum.oldest = sum.oldest.max(outbox.oldest);
            fleet.loop_lag = fleet.loop_lag.max(report.vitals.loop_lag);
        }
        fleet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vitals(sent: u64, oldest: Option<u64>) -> Vitals {
        let mut vitals = Vitals::default();
        vitals.messages.insert(Kind::Finished, Tally { sent, ..Tally::default() });
        vitals.outbox.oldest = oldest.map(Duration::from_secs);
        vitals
    }

    #[test]
    fn the_newest_report_counts_and_goes_with_its_session() {
        let reports = Reports::default();
        reports.put(WorkerId(1), SessionId(1), vitals(3, Some(9)));
        reports.put(WorkerId(1), SessionId(2), vitals(5, None));
        reports.put(WorkerId(2), SessionId(3), vitals(10, Some(7)));
        let fleet = reports.fleet();
        assert_eq!(fleet.messages[&Kind::Finished].sent, 15);
        assert_eq!(fleet.outbox.oldest, Some(Duration::from_secs(7)));
        reports.close(WorkerId(1), SessionId(1));
        assert!(reports.of(WorkerId(1)).is_some(), "the newer session lives");
        reports.close(WorkerId(1), SessionId(2));
        assert!(reports.of(WorkerId(1)).is_none());
    }
}
