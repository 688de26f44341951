//! Whether anybody can run those who ask for resources: a lane of which no connected worker has been able to run the tasks
//! for too long stands aside, over take-overs too, until one comes that can.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{TaskId, WorkerId};
use crate::state::StateKind;
use crate::time::Timestamp;
use crate::worker::Offer;

use super::Engine;
use super::lane::{LaneId, LaneKey};
use super::table::{At, Task};
use super::timer::Timer;
use super::worker::Worker;

/// Unfinished tasks of one lane that ask for resources.
#[derive(Debug)]
pub(super) struct Asking {
    pub key: Arc<LaneKey>,
    pub members: BTreeSet<TaskId>,
    /// No connected worker has been able to run them since then.
    pub unable_since: Option<Timestamp>,
    /// For so long that they stand aside.
    pub is_aside: bool,
    pub timer: At,
}

impl Engine {
    pub(super) fn is_somebody_able(&self, key: &LaneKey) -> bool {
        let able = |offer: &Offer| key.fits(offer);
        key.is_held_by_server || self.workers.values().filter_map(offered).any(able)
    }

    /// A worker came, left, offers something else, or was told to take nothing, or to go on.
    pub(super) fn note_ability(&mut self, id: WorkerId) {
        let offer = self.workers.get(&id).and_then(offered).cloned();
        let lanes: Vec<LaneId> = self.asking.keys().copied().collect();
        for lane in lanes {
            let Some(asking) = self.asking.get(&lane) else { continue };
            let is_able = offer.as_ref().is_some_and(|offer| asking.key.fits(offer));
            match (asking.unable_since, is_able) {
                (Some(_), true) => self.set_able(lane, None),
                (None, false) if !self.is_somebody_able(&Arc::clone(&asking.key)) => {
                    self.set_able(lane, Some(self.now));
                }
                (Some(_), false) | (None, true | false) => {}
            }
        }
    }

    fn set_able(&mut self, lane: LaneId, unable_since: Option<Timestamp>) {
        let Some(asking) = self.asking.get_mut(&lane) else { return };
        asking.unable_since = unable_since;
        let was_aside = std::mem::replace(&mut asking.is_aside, false);
        self.retime_lane(lane);
        if was_aside {
            self.touch_lane(lane);
            self.restand_lane(lane);
        }
    }

    /// Its tasks' rows say whether it is aside.
    fn touch_lane(&mut self, lane: LaneId) {
        let is_told = |id: &TaskId| self.tasks.get(id).is_some_and(says_aside);
        let members = self.asking.get(&lane).into_iter().flat_map(|asking| &asking.members);
        let members: Vec<TaskId> = members.copied().filter(is_told).collect();
        for id in members {
            self.touch_task(id);
        }
    }

    /// Since when nobody has been able to run a task that stands aside for that: it is stored.
    pub(super) fn aside_since(&self, task: &Task) -> Option<Timestamp> {
        let asking = self.asking.get(&task.policy.lane).filter(|asking| asking.is_aside && says_aside(task))?;
        asking.unable_since
    }

    /// At a take-over: its lane is aside as before, until a worker comes that can run it.
    pub(super) fn load_aside(&mut self, id: TaskId, since: Timestamp) {
        self.begin_asking(id);
        let Some(lane) = self.tasks.get(&id).map(|task| task.policy.lane) else { return };
        if let Some(asking) = self.asking.get_mut(&lane).filter(|asking| !asking.key.is_held_by_server) {
            (asking.is_aside, asking.unable_since) = (true, Some(since));
            self.retime_lane(lane);
        }
    }

    fn restand_lane(&mut self, lane: LaneId) {
        let members: Vec<TaskId> =
            self.asking.get(&lane).map(|asking| asking.members.iter().copied().collect()).unwrap_or_default();
        for id in members {
            self.restand_task(id);
        }
    }

    pub(super) fn retime_lane(&mut self, lane: LaneId) {
        let aside_after = self.config.timing.aside_after;
        let Some(asking) = self.asking.get_mut(&lane) else { return };
        let next = asking.unable_since.filter(|_| !asking.is_aside).map(|since| since.plus(aside_after));
        let old = std::mem::replace(&mut asking.timer, At::from(next));
        if let Some(old) = old.get() {
            self.timers.remove(&(old, Timer::Lane(lane)));
        }
        if let Some(next) = next {
            self.timers.insert((next, Timer::Lane(lane)));
        }
    }

    /// Nobody was able to run the tasks of this lane for too long.
    pub(super) fn fire_lane(&mut self, lane: LaneId) {
        let (now, aside_after) = (self.now, self.config.timing.aside_after);
        let Some(asking) = self.asking.get_mut(&lane) else { return };
        asking.timer = At::default();
        if asking.unable_since.is_some_and(|since| since.plus(aside_after) <= now) && !asking.is_aside {
            asking.is_aside = true;
            self.touch_lane(lane);
            self.restand_lane(lane);
        }
        self.retime_lane(lane);
    }
}

/// What a worker can run. `None`: it is not there, or is to take nothing.
fn offered(worker: &Worker) -> Option<&Offer> {
    let is_to_take = worker.row.paused.is_none() && worker.row.drain.is_none();
    worker.row.offer.as_ref().filter(|_| worker.session.is_some() && is_to_take)
}

/// Whether the task's row says that it stands aside for want of a worker, where it does.
fn says_aside(task: &Task) -> bool {
    task.policy.asks() && may_be_aside(task.hot.state.kind(), task.array().is_some())
}

/// Whether a task in this state may stand aside, or an element of it.
pub(super) fn may_be_aside(state: StateKind, is_array: bool) -> bool {
    state == StateKind::Waiting || is_array && matches!(state, StateKind::Ready | StateKind::Running)
}
