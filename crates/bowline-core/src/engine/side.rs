//! Side lanes: a unit that should rather go to one worker, or rather not to one, for a while.
//!
//! Matching goes by lanes, so such a unit stands in a lane of its own kind until its time is over, and in its task's own
//! lane after that. It is compared with the heads of all other lanes by its place, like everybody.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{TaskRef, WorkerId};
use crate::name::WorkerName;
use crate::probe::{self, Path};
use crate::state::Outcome;
use crate::time::Timestamp;

use super::Engine;
use super::lane::{LaneId, LaneKey, Line};
use super::timer::Timer;

/// So long a unit whose attempt failed or was lost on a worker waits for another one. 30 s.
pub(super) const AWAY_FOR: Duration = Duration::from_secs(30);

/// What a lane asks for beside its tasks' own description.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) enum Only {
    /// Any worker.
    #[default]
    Any,
    /// Any but this one.
    Not(WorkerId, WorkerName),
}

/// Where a unit stands that is not in its task's own lane.
#[derive(Debug)]
pub(super) struct Side {
    pub lane: LaneId,
    pub key: Arc<LaneKey>,
    pub until: Timestamp,
}

impl Engine {
    /// Takes its place: in its task's lane, or beside it.
    pub(super) fn join_lane(&mut self, line: Line) {
        let Some(task) = self.tasks.get(&line.unit.task).filter(|_| !self.sides.contains_key(&line.unit)) else {
            return;
        };
        let (own, key) = (task.policy.lane, Arc::clone(&task.policy.lane_key));
        if self.lanes.get(own).is_some_and(|lane| lane.contains(&line)) {
            return;
        }
        let Some((only, until)) = self.only_for(line.unit) else {
            self.lanes.insert(own, line);
            return;
        };
        let (lane, key) = self.lanes.intern(LaneKey { only, ..(*key).clone() });
        self.lanes.insert(lane, line);
        self.timers.insert((until, Timer::Side(line.unit)));
        self.sides.insert(line.unit, Side { lane, key, until });
    }

    /// Leaves its place.
    pub(super) fn quit_lane(&mut self, line: Line) {
        if let Some(side) = self.sides.remove(&line.unit) {
            self.timers.remove(&(side.until, Timer::Side(line.unit)));
            self.lanes.remove(side.lane, &line);
        } else if let Some(task) = self.tasks.get(&line.unit.task) {
            self.lanes.remove(task.policy.lane, &line);
        }
    }

    /// The lane in which it stands, or would.
    pub(super) fn lane_of(&self, unit: TaskRef) -> Option<(LaneId, &Arc<LaneKey>)> {
        if let Some(side) = self.sides.get(&unit) {
            return Some((side.lane, &side.key));
        }
        let policy = &self.tasks.get(&unit.task)?.policy;
        Some((policy.lane, &policy.lane_key))
    }

    /// Those of this lane that stand beside it, before this place.
    pub(super) fn aside_of_lane(&self, lane: LaneId, line: &Line) -> u64 {
        let is_before = |unit: &&TaskRef| {
            self.tasks.get(&unit.task).is_some_and(|task| task.policy.lane == lane)
                && self.line_of(**unit).is_some_and(|other| other < *line)
        };
        self.sides.keys().filter(is_before).count() as u64
    }

    /// It waited long enough for what it would rather have.
    pub(super) fn fire_side(&mut self, unit: TaskRef) {
        if let Some(line) = self.line_of(unit).filter(|_| self.sides.contains_key(&unit)) {
            self.quit_lane(line);
            self.join_lane(line);
        }
    }

    /// What it would rather have, and until when. Nothing where nobody could serve it so.
    fn only_for(&self, unit: TaskRef) -> Option<(Only, Timestamp)> {
        let task = self.tasks.get(&unit.task)?;
        let hot = task.unit(unit).filter(|hot| hot.attempt.0 > 0)?;
        if task.policy.lane_key.is_held_by_server {
            return None;
        }
        let until = hot.ready_at.get()?.plus(AWAY_FOR);
        if until <= self.now {
            return None;
        }
        let failed = match hot.last.as_deref()? {
            Outcome::Error(_) | Outcome::Timeout { .. } | Outcome::Lost { .. } => hot.worker?,
            Outcome::Succeeded | Outcome::Cancelled { .. } | Outcome::Rejected { .. } | Outcome::Skipped { .. } => {
                return None;
            }
        };
        let name = self.workers.get(&failed)?.row.name.clone();
        let key = &task.policy.lane_key;
        let is_other = self
            .workers
            .iter()
            .any(|(id, worker)| *id != failed && worker.unavailable().is_none() && worker.could_take(key));
        probe::reached(if is_other {
            Path::AwayFromTheWorkerThatFailed
        } else {
            Path::NoOtherWorkerThanTheOneThatFailed
        });
        is_other.then_some((Only::Not(failed, name), until))
    }
}
