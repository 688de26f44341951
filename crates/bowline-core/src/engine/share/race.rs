//! Who wants what: lanes and gangs with somebody ready for whom there is no worker now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::WorkerId;
use crate::name::Namespace;
use crate::time::Timestamp;

use super::super::Engine;
use super::super::lane::{LaneId, LaneKey, Line};
use super::super::timer::Timer;
use super::{CREDIT, User, Whose};

/// Who wants what is looked at anew at most so often.
pub(super) const LOOK_MIN: Duration = Duration::from_secs(1);
/// And at least so often while somebody waits: a pause, a quota, a worker's room may have changed.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Namespaces that want a worker, with their users where those have shares.
pub(super) type Wanting = BTreeMap<Namespace, BTreeSet<Option<User>>>;

/// Who waits for workers.
#[derive(Debug, Default)]
pub(super) struct Race {
    lanes: BTreeSet<LaneId>,
    gangs: BTreeSet<Line>,
    /// Lanes that somebody joined since.
    joined: BTreeSet<LaneId>,
    /// The lanes of all that wait, as long as nobody comes or leaves.
    waiting: Option<Arc<BTreeSet<LaneId>>>,
    /// By worker, for as long.
    wanting: BTreeMap<WorkerId, Arc<Wanting>>,
    /// Whether what runs is to be divided anew.
    pub is_stale: bool,
    /// Whether somebody who wants nothing is ahead, or behind.
    is_settling: bool,
    looked_at: Option<Timestamp>,
    at: Option<Timestamp>,
}

impl Race {
    /// Somebody joined these.
    pub(super) fn note_joined(&mut self, lanes: impl Iterator<Item = LaneId>) {
        self.joined.extend(lanes);
    }

    /// Who wants what is to be found out anew.
    fn forget(&mut self) {
        self.waiting = None;
        self.wanting.clear();
    }
}

fn whose(key: &LaneKey) -> Whose {
    (key.namespace.clone(), key.user.clone())
}

impl Engine {
    /// What this worker offers may have changed.
    pub(in crate::engine) fn note_offer(&mut self, id: WorkerId) {
        self.shares.race.wanting.remove(&id);
    }

    /// Somebody joined these lanes.
    pub(in crate::engine) fn note_joined(&mut self, lanes: &BTreeSet<LaneId>) {
        if self.shares.is_on() {
            self.shares.race.note_joined(lanes.iter().copied());
        }
    }

    /// Who wants this worker: has somebody ready who could be given it, if it were empty.
    pub(super) fn wanting(&mut self, id: WorkerId) -> Arc<Wanting> {
        if let Some(known) = self.shares.race.wanting.get(&id) {
            return Arc::clone(known);
        }
        let waiting = self.waiting();
        let mut wanting = Wanting::new();
        if let Some(worker) = self.workers.get(&id) {
            for key in self.keys_of(&waiting) {
                let is_known = wanting.get(&key.namespace).is_some_and(|users| users.contains(&key.user));
                // What it asks for at the moment changes all the time.
                let fits = worker.is_meant(key) && worker.row.offer.as_ref().is_some_and(|offer| key.fits(offer));
                if !is_known && fits {
                    let (namespace, user) = whose(key);
                    wanting.entry(namespace).or_default().insert(user);
                }
            }
        }
        let wanting = Arc::new(wanting);
        self.shares.race.wanting.insert(id, Arc::clone(&wanting));
        wanting
    }

    /// The lanes of all that wait, and are kept back by neither a pause nor a quota.
    fn waiting(&mut self) -> Arc<BTreeSet<LaneId>> {
        if let Some(known) = &self.shares.race.waiting {
            return Arc::clone(known);
        }
        let race = &self.shares.race;
        let open: BTreeSet<LaneId> =
            race.lanes.iter().copied().filter(|lane| self.open_head(*lane).is_some()).collect();
        let gangs = race.gangs.iter().filter(|line| self.may_have_workers(line));
        let members = gangs.flat_map(|line| self.living(line.unit.task));
        let lanes = members.filter_map(|member| self.tasks.get(&member)).map(|task| task.policy.lane);
        let waiting = Arc::new(open.iter().copied().chain(lanes).collect());
        let race = &mut self.shares.race;
        race.lanes = open;
        race.waiting = Some(Arc::clone(&waiting));
        waiting
    }

    fn keys_of<'a>(&'a self, lanes: &'a BTreeSet<LaneId>) -> impl Iterator<Item = &'a LaneKey> {
        lanes.iter().filter_map(|lane| self.lanes.get(*lane)).map(|lane| lane.key.as_ref())
    }

    /// After matching: who waits now, and what runs is divided anew where that is due.
    pub(in crate::engine) fn note_race(&mut self) {
        let left = self.lanes.take_left();
        if !self.shares.is_on() {
            return;
        }
        let joined = std::mem::take(&mut self.shares.race.joined);
        let joined: Vec<LaneId> = joined.into_iter().filter(|lane| self.open_head(*lane).is_some()).collect();
        let is_gone = |lane: &LaneId| self.lanes.get(*lane).is_none_or(|lane| lane.len() == 0);
        let left: Vec<LaneId> = left.into_iter().filter(is_gone).collect();
        let race = &mut self.shares.race;
        let mut has_changed = false;
        for lane in left {
            has_changed |= race.lanes.remove(&lane);
        }
        for lane in joined {
            has_changed |= race.lanes.insert(lane);
        }
        if race.gangs != *self.gangs.ready() {
            race.gangs.clone_from(self.gangs.ready());
            has_changed = true;
        }
        if has_changed {
            race.forget();
            race.is_stale = true;
        }
        self.look_in_time();
    }

    /// Its time has come.
    pub(in crate::engine) fn fire_race(&mut self) {
        (self.shares.race.at, self.shares.race.is_stale) = (None, true);
        // By now it may be the turn of others before those for whom workers are kept.
        let kept = self.workers.iter().filter(|(_, worker)| worker.kept.is_some() && worker.free.is_some());
        self.freed.extend(kept.map(|(id, _)| *id));
    }

    fn look_in_time(&mut self) {
        if self.race_due().is_some_and(|due| due <= self.now) {
            self.divide_anew();
        }
        let due = self.race_due();
        let old = std::mem::replace(&mut self.shares.race.at, due);
        if old != due {
            old.map(|old| self.timers.remove(&(old, Timer::Race)));
            self.timers.extend(due.map(|due| (due, Timer::Race)));
        }
    }

    fn race_due(&self) -> Option<Timestamp> {
        let race = &self.shares.race;
        let after = |length| race.looked_at.map_or(self.now, |at| at.plus(length));
        let is_still = self.shares.runs.is_empty() || (race.lanes.is_empty() && race.gangs.is_empty());
        if race.is_stale {
            return Some(after(LOOK_MIN));
        }
        (race.is_settling || !is_still).then(|| after(LOOK_MAX))
    }

    /// The time of what runs is due to those who want its workers now.
    fn divide_anew(&mut self) {
        let now = self.now;
        let race = &mut self.shares.race;
        race.forget();
        (race.is_stale, race.looked_at) = (false, Some(now));
        let mut runs = std::mem::take(&mut self.shares.runs);
        for run in runs.values_mut() {
            let wanting = self.wanting(run.worker);
            let parts = self.shares.divide(&run.whose, &wanting);
            if parts != run.parts {
                self.shares.each(run, |account, change| account.add(-change, now));
                run.parts = parts;
                self.shares.each(run, |account, change| account.add(change, now));
            }
        }
        self.shares.runs = runs;
        self.settle_all();
    }

    fn settle_all(&mut self) {
        let now = self.now;
        let waiting = self.waiting();
        let waiting: BTreeSet<Whose> = self.keys_of(&waiting).map(whose).collect();
        let wants = |name: &Namespace| waiting.range((name.clone(), None)..).next().is_some_and(|(of, _)| of == name);
        let mut is_settling = false;
        self.shares.houses.retain(|name, house| {
            is_settling |= house.account.settle(wants(name), CREDIT, now);
            house.users.0.retain(|user, account| {
                let wants = waiting.contains(&(name.clone(), Some(Arc::clone(user))));
                is_settling |= account.settle(wants, CREDIT, now);
                !account.is_even(now)
            });
            !(house.account.is_even(now) && house.users.0.is_empty())
        });
        self.shares.race.is_settling = is_settling;
    }
}
