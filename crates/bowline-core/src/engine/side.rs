//! Side lanes: a unit that should rather go to one worker, or rather not to one, for a while; or only to one that runs nothing of
//! another resource of its kind.
//!
//! Matching goes by lanes, so such a unit stands in a lane of its own kind until its time is over, and in its task's own
//! lane after that. It is compared with the heads of all other lanes by its place, like everybody.

use std::sync::Arc;
use std::time::Duration;

use crate::id::{TaskRef, WorkerId};
use crate::name::{ResourceName, WorkerName};
use crate::probe::{self, Path};
use crate::resource::{Sticky, WARM_FOR};
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
    /// This one.
    On(WorkerId, WorkerName),
}

/// Where a unit stands that is not in its task's own lane.
#[derive(Debug)]
pub(super) struct Side {
    pub lane: LaneId,
    pub key: Arc<LaneKey>,
    /// Until when it would rather have what it waits for.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// Takes its place: in its task's lane, or beside it.
    pub(super) fn join_lane(&mut self, line: Line) {
        let unit = line.unit;
        let Some(task) = self.tasks.get(&unit.task).filter(|_| !self.sides.contains_key(&unit)) else { return };
        let (own, key) = (task.policy.lane, Arc::clone(&task.policy.lane_key));
        if self.lanes.get(own).is_some_and(|lane| lane.contains(&line)) {
            return;
        }
        let (wish, alone) = (self.wish_of(unit), self.alone_of(unit));
        if wish.is_none() && alone.is_none() {
            self.lanes.insert(own, line);
            return;
        }
        let (only, until) = wish.map_or((Only::Any, None), |(only, until)| (only, Some(until)));
        let (lane, key) = self.lanes.intern(LaneKey { only, alone, ..(*key).clone() });
        self.lanes.insert(lane, line);
        if let Some(until) = until {
            self.timers.insert((until, Timer::Side(unit)));
        }
        self.sides.insert(unit, Side { lane, key, until });
    }

    /// Leaves its place.
    pub(super) fn quit_lane(&mut self, line: Line) {
        if let Some(side) = self.sides.remove(&line.unit) {
            if let Some(until) = side.until {
                self.timers.remove(&(until, Timer::Side(line.unit)));
            }
            self.lanes.remove(side.lane, &line);
        } else if let Some(task) = self.tasks.get(&line.unit.task) {
            self.lanes.remove(task.policy.lane, &line);
        }
    }

    /// Whoever holds this and stands in a lane: how it is served may have changed.
    pub(super) fn join_lanes_anew(&mut self, name: &ResourceName) {
        let holders = self.lines.get(name).map(|resource| resource.holders.keys().copied());
        let units: Vec<TaskRef> = holders.into_iter().flatten().collect();
        for unit in units {
            let is_in = |line: &Line| {
                let lane = self.lane_of(unit).and_then(|(lane, _)| self.lanes.get(lane));
                lane.is_some_and(|lane| lane.contains(line))
            };
            if let Some(line) = self.line_of(unit).filter(is_in) {
                self.quit_lane(line);
                self.join_lane(line);
            }
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

    /// What its attempt was claimed as, where that is known from its row alone.
    pub(super) fn claimed_as(&self, unit: TaskRef) -> Option<Arc<LaneKey>> {
        let key = &self.tasks.get(&unit.task)?.policy.lane_key;
        match self.alone_of(unit) {
            None => Some(Arc::clone(key)),
            alone => Some(Arc::new(LaneKey { alone, ..(**key).clone() })),
        }
    }

    /// Of what it asks for, the first of which a worker serves one at a time.
    fn alone_of(&self, unit: TaskRef) -> Option<ResourceName> {
        let wants = &self.tasks.get(&unit.task)?.policy.wants;
        let first = wants.iter().find(|want| self.lines.sticky(&want.name) == Sticky::Exclusive);
        first.map(|want| want.name.clone())
    }

    /// What it would rather have, and until when. Nothing where nobody could serve it so.
    fn wish_of(&self, unit: TaskRef) -> Option<(Only, Timestamp)> {
        let task = self.tasks.get(&unit.task).filter(|task| !task.policy.lane_key.is_held_by_server)?;
        let hot = task.unit(unit).filter(|hot| hot.attempt.0 > 0 || !task.policy.wants.is_empty())?;
        let ready_at = hot.ready_at.get()?;
        self.away_from(unit, ready_at).or_else(|| self.warm_for(unit, ready_at))
    }

    /// Not to the worker on which its last attempt failed or was lost.
    fn away_from(&self, unit: TaskRef, ready_at: Timestamp) -> Option<(Only, Timestamp)> {
        let until = ready_at.plus(AWAY_FOR);
        let task = self.tasks.get(&unit.task).filter(|_| until > self.now)?;
        let hot = task.unit(unit).filter(|hot| hot.attempt.0 > 0)?;
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

    /// To the worker that had what it holds last.
    fn warm_for(&self, unit: TaskRef, ready_at: Timestamp) -> Option<(Only, Timestamp)> {
        let until = ready_at.plus(WARM_FOR);
        let policy = &self.tasks.get(&unit.task).filter(|_| until > self.now)?.policy;
        let id = policy.wants.iter().find_map(|want| self.lines.warm_on(&want.name))?;
        let worker = self.workers.get(&id)?;
        let is_able = worker.unavailable().is_none() && worker.could_take(&policy.lane_key);
        is_able.then(|| (Only::On(id, worker.row.name.clone()), until))
    }
}
