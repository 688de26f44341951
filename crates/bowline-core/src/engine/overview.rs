//! Everything at one moment, in counts.

use std::collections::BTreeMap;

use crate::answer::{Answer, Connection, Doubtful, LaneView, Overview, WorkerView};
use crate::id::WorkerId;
use crate::state::StateKind;
use crate::worker::Health;

use super::Engine;
use super::lane::Lane;
use super::worker::{Suspect, Worker};

impl Engine {
    /// Counts, lanes, workers.
    pub(super) fn overview(&self) -> Answer {
        let mut workers: Vec<WorkerView> =
            self.workers.iter().map(|(id, worker)| self.worker_view(*id, worker)).collect();
        workers.sort_by(|one, other| one.name.cmp(&other.name));
        let overview = Overview {
            states: self.state_counts(),
            lanes: self.lanes.occupied().filter_map(|id| Some(self.lane_view(self.lanes.get(id)?))).collect(),
            workers,
            runs: self.runs.values().filter(|run| !run.row.state.is_ended()).count() as u64,
            paused: self.pauses.namespaces().map(|(name, mark)| (name.clone(), mark.clone())).collect(),
            all_paused: self.pauses.all().cloned(),
        };
        Answer::Overview(Box::new(overview))
    }

    /// Single tasks and started elements are counted as they move; what arrays have not started is
    /// added here.
    pub(super) fn state_counts(&self) -> Vec<(StateKind, u64)> {
        let mut counts: BTreeMap<StateKind, u64> = self.counts.clone();
        for id in &self.unfinished_arrays {
            let Some(task) = self.tasks.get(id) else { continue };
            let Some(array) = task.array() else { continue };
            let kind = match task.hot.state.kind() {
                StateKind::Ready | StateKind::Running | StateKind::Stopping if array.asks => StateKind::Waiting,
                StateKind::Running | StateKind::Stopping => StateKind::Ready,
                other => other,
            };
            *counts.entry(kind).or_default() += u64::from(array.unstarted());
        }
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    pub(super) fn lane_view(&self, lane: &Lane) -> LaneView {
        let unstarted: u64 = lane
            .arrays
            .iter()
            .filter_map(|id| self.tasks.get(id)?.array())
            .map(|array| u64::from(array.unstarted().saturating_sub(1)))
            .sum();
        let oldest = lane.first().and_then(|line| {
            let task = self.tasks.get(&line.unit.task)?;
            task.unit(line.unit).unwrap_or(&task.hot).ready_at.get()
        });
        LaneView { name: lane.key.describe(), ready: lane.len() as u64 + unstarted, oldest_ready_at: oldest }
    }

    fn is_suspect_unheard(&self, worker: &Worker) -> bool {
        let from = worker.lease_from.plus(self.config.timing.suspect_after);
        worker.held.attempts().next().is_some() && from <= self.now
    }

    fn worker_view(&self, id: WorkerId, worker: &Worker) -> WorkerView {
        let silent_since = worker.silent_since();
        let held = worker.held.attempts().filter(|_| silent_since.is_some());
        let doubtful = held.map(|attempt| Doubtful { attempt, lost_at: self.lost_at(id, attempt) }).collect();
        let session = worker.session.as_ref();
        let connection = match (session, worker.suspect) {
            // Without a session too, as long as something of it may still run.
            (None, Suspect::No | Suspect::Yes) if self.is_suspect_unheard(worker) => Connection::Suspect,
            (None, Suspect::No | Suspect::Yes) => Connection::Away,
            (Some(_), Suspect::Yes) => Connection::Suspect,
            (Some(_), Suspect::No) => Connection::Connected,
        };
        WorkerView {
            id: worker.row.id,
            name: worker.row.name.clone(),
            incarnation: worker.row.incarnation,
            has_session: session.is_some(),
            connection,
            offer: worker.row.offer.clone(),
            used: worker.held.used().clone(),
            attempts: worker.held.attempts().collect(),
            paused: worker.paused(),
            health: session.map_or(Health::Ok, |session| session.health.clone()),
            version: session.map(|session| session.version.clone()),
            heard_at: worker.heard_at,
            pool: worker.row.pool.clone(),
            drain: worker.row.drain.clone(),
            aside: worker.row.aside.clone(),
            silent_since,
            doubtful,
        }
    }
}
