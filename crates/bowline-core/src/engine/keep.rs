//! Keeping a worker free for who needs much of it.
//!
//! A task of several slots, or of amounts, may find no worker with so much room at once while smaller ones come and go. Once
//! it has been the first of its lane for `keep_after`, one worker is kept free for it: nobody who stands behind it is
//! given room there that it needs. What still leaves room for it is given out beside it. Each worker is kept for one at a
//! time, the one who stands first; each lane keeps one worker at a time.
//!
//! A gang may find no room for all of its members at once in the same way: for the first of the gangs that wait, all the
//! workers are kept that it would need.
//!
//! All of this is memory: after a take-over the bound counts anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{AttemptRef, TaskRef, WorkerId};
use crate::probe::{self, Path};
use crate::time::Timestamp;

use super::Engine;
use super::lane::{LaneId, LaneKey, Line};
use super::timer::Timer;
use super::worker::Worker;

/// For whom a worker is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub line: Line,
    pub key: Arc<LaneKey>,
    pub since: Timestamp,
    /// Attempts that were given beside it.
    pub beside: BTreeSet<AttemptRef>,
}

/// Which lanes keep a worker, and who has been the first of those that may.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    kept: BTreeMap<LaneId, WorkerId>,
    /// Those that are kept for a gang.
    for_gang: BTreeSet<WorkerId>,
    /// The first of the gangs that wait, and since when it is the first.
    gang: Option<(Line, Timestamp)>,
    /// Lanes of those who need much, each with its first and since when that one is the first.
    firsts: BTreeMap<LaneId, (Line, Timestamp)>,
    /// When it is looked at next.
    at: Option<Timestamp>,
}

impl Engine {
    /// What is kept for somebody who is the first no more, or by a worker that is not there, is free again. Whether there was
    /// any: others may be given it now.
    pub(super) fn drop_stale_keeps(&mut self) -> bool {
        let was_for_gang = self.drop_stale_gang_keep();
        if self.keeping.kept.is_empty() {
            return was_for_gang;
        }
        let is_stale = |(lane, id): (&LaneId, &WorkerId)| {
            let worker = self.workers.get(id);
            let kept = worker.and_then(|worker| worker.kept.as_ref());
            let is_first = kept.is_some_and(|kept| self.open_head(*lane).is_some_and(|(line, _)| line == kept.line));
            let is_there = worker.is_some_and(|worker| worker.unavailable().is_none());
            (!is_first || !is_there).then_some(*lane)
        };
        let stale: Vec<LaneId> = self.keeping.kept.iter().filter_map(is_stale).collect();
        for lane in &stale {
            self.drop_keep(*lane);
        }
        was_for_gang || !stale.is_empty()
    }

    fn drop_stale_gang_keep(&mut self) -> bool {
        if self.keeping.for_gang.is_empty() {
            return false;
        }
        let first = self.first_gang();
        let is_kept = |id: &WorkerId| {
            let worker = self.workers.get(id).filter(|worker| worker.unavailable().is_none());
            worker.and_then(|worker| worker.kept.as_ref()).is_some_and(|kept| Some(kept.line) == first)
        };
        if self.keeping.for_gang.iter().all(is_kept) {
            return false;
        }
        self.drop_gang_keep();
        if first.is_some() {
            self.look_at_keeps_by(self.now);
        }
        true
    }

    fn drop_gang_keep(&mut self) {
        for id in std::mem::take(&mut self.keeping.for_gang) {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.kept = None;
            }
            self.refresh_free(id);
        }
    }

    fn drop_keep(&mut self, lane: LaneId) {
        let Some(id) = self.keeping.kept.remove(&lane) else { return };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.kept = None;
        }
        self.refresh_free(id);
    }

    /// After matching: who is the first of a lane of those who need much is noted, and when a worker is to be kept.
    pub(super) fn note_firsts(&mut self) {
        let (now, after) = (self.now, self.config.timing.keep_after);
        let gang = if self.gangs.is_anybody_ready() { self.first_gang() } else { None };
        if gang != self.keeping.gang.map(|(line, _)| line) {
            self.keeping.gang = gang.map(|line| (line, now));
            if gang.is_some() {
                self.look_at_keeps_by(now.plus(after));
            }
        }
        for lane in self.lanes.take_big() {
            let Some(first) = self.lanes.get(lane).and_then(super::lane::Lane::first) else {
                self.keeping.firsts.remove(&lane);
                continue;
            };
            let known = self.keeping.firsts.entry(lane).or_insert((first, now));
            if known.0 != first {
                *known = (first, now);
            }
            let due = known.1.plus(after);
            self.look_at_keeps_by(due);
        }
    }

    fn look_at_keeps_by(&mut self, due: Timestamp) {
        if self.keeping.at.is_some_and(|at| at <= due) {
            return;
        }
        if let Some(old) = self.keeping.at.replace(due) {
            self.timers.remove(&(old, Timer::Keep));
        }
        self.timers.insert((due, Timer::Keep));
    }

    /// Workers are kept for those who have been the first for too long, in the order in which they stand.
    pub(super) fn fire_keep(&mut self) {
        self.keeping.at = None;
        let (now, after) = (self.now, self.config.timing.keep_after);
        let mut next: Option<Timestamp> = None;
        let mut due: BTreeSet<(Line, Option<LaneId>)> = BTreeSet::new();
        if let Some((line, since)) = self.keeping.gang {
            let at = since.plus(after);
            if at <= now {
                due.insert((line, None));
            }
            next = Some(if at <= now { now.plus(after) } else { at });
        }
        for (lane, (line, since)) in &self.keeping.firsts {
            let at = since.plus(after);
            if at <= now {
                due.insert((*line, Some(*lane)));
            }
            // Whoever finds no worker now is looked at again: one may have come.
            let again = if at <= now { now.plus(after) } else { at };
            next = Some(next.map_or(again, |next| next.min(again)));
        }
        let mut taken: BTreeSet<WorkerId> = BTreeSet::new();
        if self.pauses.all().is_some() {
            due.clear();
        }
        for (line, lane) in due {
            match lane {
                None if self.first_gang() == Some(line) => self.keep_for_gang(line, &mut taken),
                Some(lane) if self.open_head(lane).is_some_and(|(first, _)| first == line) => {
                    self.keep_for(lane, line, &mut taken);
                }
                None | Some(_) => {}
            }
        }
        if let Some(next) = next {
            self.look_at_keeps_by(next);
        }
    }

    /// The worker that is kept for it stays, where nobody before it needs that one.
    fn keep_for(&mut self, lane: LaneId, line: Line, taken: &mut BTreeSet<WorkerId>) {
        let Some(key) = self.lanes.get(lane).map(|lane| Arc::clone(&lane.key)) else { return };
        let old = self.keeping.kept.get(&lane).copied();
        if let Some(old) = old.filter(|old| !taken.contains(old)) {
            taken.insert(old);
            return;
        }
        let Some(id) = self.worker_to_keep(&key, taken) else { return };
        probe::reached(Path::WorkerKeptFree);
        self.displace(id);
        taken.insert(id);
        self.keeping.kept.insert(lane, id);
        self.keep(id, line, key);
    }

    /// All the workers that it would need, where there are enough. Those that are kept for it stay.
    fn keep_for_gang(&mut self, line: Line, taken: &mut BTreeSet<WorkerId>) {
        let is_whole = !self.keeping.for_gang.is_empty() && self.keeping.for_gang.is_disjoint(taken);
        if !is_whole {
            self.drop_gang_keep();
            let Some(plan) = self.plan_gang(line.unit.task, taken) else { return };
            probe::reached(Path::WorkersKeptFreeForAGang);
            for (id, key) in plan {
                self.displace(id);
                self.keeping.for_gang.insert(id);
                self.keep(id, line, Arc::new(key));
            }
        }
        taken.extend(&self.keeping.for_gang);
    }

    /// Whoever stands behind loses what was kept for him.
    fn displace(&mut self, id: WorkerId) {
        let of_lanes = self.keeping.kept.iter().filter(|(_, other)| **other == id).map(|(lane, _)| *lane);
        for other in of_lanes.collect::<Vec<LaneId>>() {
            probe::reached(Path::KeptForAnEarlierOne);
            self.drop_keep(other);
        }
        if self.keeping.for_gang.contains(&id) {
            probe::reached(Path::KeptForAnEarlierOne);
            self.drop_gang_keep();
        }
    }

    fn keep(&mut self, id: WorkerId, line: Line, key: Arc<LaneKey>) {
        let since = self.now;
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.kept = Some(Box::new(Kept { line, key, since, beside: BTreeSet::new() }));
        }
    }

    /// Of those that could run it and are kept for nobody before it: the one where least must end first.
    fn worker_to_keep(&self, key: &LaneKey, taken: &BTreeSet<WorkerId>) -> Option<WorkerId> {
        let able = self
            .workers
            .iter()
            .filter(|(id, worker)| !taken.contains(id) && worker.unavailable().is_none() && worker.could_take(key));
        let in_the_way =
            |worker: &Worker| worker.held.used().slots.saturating_add(super::worker::count(worker.held.beyond()));
        able.min_by_key(|(id, worker)| (in_the_way(worker), **id)).map(|(id, _)| *id)
    }

    /// Workers that are kept free for this gang, each with since when.
    pub(super) fn kept_for_gang(&self, line: Line) -> Vec<(WorkerId, Timestamp)> {
        let kept = self.keeping.for_gang.iter().filter_map(|id| Some((*id, self.workers.get(id)?.kept.as_ref()?)));
        kept.filter(|(_, kept)| kept.line == line).map(|(id, kept)| (id, kept.since)).collect()
    }

    /// Workers that are kept free for this one.
    pub(super) fn kept_for(&self, unit: TaskRef) -> Option<(WorkerId, Timestamp)> {
        self.keeping.kept.values().find_map(|id| {
            let kept = self.workers.get(id)?.kept.as_ref()?;
            (kept.line.unit == unit).then_some((*id, kept.since))
        })
    }
}
