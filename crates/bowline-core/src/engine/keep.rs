//! Keeping a worker free for who needs much of it.
//!
//! A task of several slots, or of amounts, may find no worker with so much room at once while smaller ones come and go. Once
//! it has been the first of its lane for `keep_after`, one worker is kept free for it: nobody who stands behind it is
//! given room there that it needs. What still leaves room for it is given out beside it. Each worker is kept for one at a
//! time, the one who stands first; each lane keeps one worker at a time. Who stands behind is told by tickets, where shares
//! are set by these.
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
use super::worker::{Beyond, Worker};

/// For whom a worker is kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub line: Line,
    pub key: Arc<LaneKey>,
    pub since: Timestamp,
    /// Attempts that were given beside it.
    pub beside: BTreeSet<AttemptRef>,
}

/// Who has workers kept: the first of a lane one, the first of the gangs all that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Gang,
    Lane(LaneId),
}

/// For whom workers are kept, and who has been the first of those that may have one kept.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    kept: BTreeMap<WorkerId, Whom>,
    /// Lanes of those who need much, and the gangs: each with its first and since when that one is the first.
    firsts: BTreeMap<Whom, (Line, Timestamp)>,
    /// When it is looked at next.
    at: Option<Timestamp>,
}

impl Engine {
    /// What is kept for somebody who is the first no more, or by a worker that is not there, is free again. Whether there was
    /// any: others may be given it now.
    pub(super) fn drop_stale_keeps(&mut self) -> bool {
        if self.keeping.kept.is_empty() {
            return false;
        }
        let is_stale = |(id, whom): (&WorkerId, &Whom)| {
            let worker = self.workers.get(id).filter(|worker| worker.unavailable().is_none());
            let line = worker.and_then(|worker| worker.kept.as_ref()).map(|kept| kept.line);
            (line.is_none() || line != self.open_first(*whom)).then_some(*whom)
        };
        let stale: BTreeSet<Whom> = self.keeping.kept.iter().filter_map(is_stale).collect();
        for whom in &stale {
            self.drop_keeps_of(*whom);
            // Another worker may do.
            self.look_at_keeps_by(self.now);
        }
        !stale.is_empty()
    }

    /// The first of them that may be given workers.
    fn open_first(&self, whom: Whom) -> Option<Line> {
        match whom {
            Whom::Gang => self.first_gang(),
            Whom::Lane(lane) => self.open_head(lane).map(|(line, _)| line),
        }
    }

    /// The gang that was the first when that was looked at last.
    pub(super) fn noted_gang(&self) -> Option<Line> {
        self.keeping.firsts.get(&Whom::Gang).map(|(line, _)| *line)
    }

    fn drop_keeps_of(&mut self, whom: Whom) {
        for id in self.workers_kept_for(whom) {
            self.keeping.kept.remove(&id);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.kept = None;
            }
            self.refresh_free(id);
        }
    }

    fn workers_kept_for(&self, whom: Whom) -> BTreeSet<WorkerId> {
        self.keeping.kept.iter().filter(|(_, other)| **other == whom).map(|(id, _)| *id).collect()
    }

    /// After matching: who is the first of those who need much is noted, and when a worker is to be kept.
    pub(super) fn note_firsts(&mut self) {
        let gang = if self.gangs.is_anybody_ready() { self.first_gang() } else { None };
        self.note_first(Whom::Gang, gang);
        for lane in self.lanes.take_big() {
            let first = self.lanes.get(lane).and_then(super::lane::Lane::first);
            self.note_first(Whom::Lane(lane), first);
        }
    }

    fn note_first(&mut self, whom: Whom, first: Option<Line>) {
        let Some(first) = first else {
            self.keeping.firsts.remove(&whom);
            return;
        };
        let now = self.now;
        let known = self.keeping.firsts.entry(whom).or_insert((first, now));
        if known.0 != first {
            *known = (first, now);
        }
        let due = known.1.plus(self.config.timing.keep_after);
        // Whoever is due already was looked at, and is again when something changes.
        if due > now {
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

    /// Workers are kept for those who have been the first for too long, in the order in which they stand; by shares, those
    /// who are far behind come first.
    pub(super) fn fire_keep(&mut self) {
        self.keeping.at = None;
        let (now, after) = (self.now, self.config.timing.keep_after);
        let mut next: Option<Timestamp> = None;
        let mut due: BTreeSet<(i128, Line, Whom)> = BTreeSet::new();
        for (whom, (line, since)) in &self.keeping.firsts {
            let at = since.plus(after);
            if at <= now {
                due.insert((self.credits_ahead(*line), *line, *whom));
            }
            // Whoever finds no worker now is looked at again: one may have come.
            let again = if at <= now { now.plus(after) } else { at };
            next = Some(next.map_or(again, |next| next.min(again)));
        }
        if self.pauses.all().is_some() {
            due.clear();
        }
        let mut taken: BTreeSet<WorkerId> = BTreeSet::new();
        for (_, line, whom) in due {
            if self.open_first(whom) == Some(line) {
                self.keep_for(whom, line, &mut taken);
            }
        }
        if let Some(next) = next {
            self.look_at_keeps_by(next);
        }
    }

    /// The workers that are kept for it stay, where nobody before it needs one of them.
    fn keep_for(&mut self, whom: Whom, line: Line, taken: &mut BTreeSet<WorkerId>) {
        let old = self.workers_kept_for(whom);
        if !old.is_empty() && old.is_disjoint(taken) {
            taken.extend(old);
            return;
        }
        self.drop_keeps_of(whom);
        let plan = match whom {
            Whom::Gang => self.plan_gang(line.unit.task, taken),
            Whom::Lane(lane) => self.plan_one(lane, taken),
        };
        let Some(plan) = plan else { return };
        probe::reached(match whom {
            Whom::Gang => Path::WorkersKeptFreeForAGang,
            Whom::Lane(_) => Path::WorkerKeptFree,
        });
        let since = self.now;
        for (id, key) in plan {
            // Whoever stands behind loses what was kept for him.
            if let Some(behind) = self.keeping.kept.get(&id).copied() {
                probe::reached(Path::KeptForAnEarlierOne);
                self.drop_keeps_of(behind);
            }
            taken.insert(id);
            self.keeping.kept.insert(id, whom);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.kept = Some(Box::new(Kept { line, key, since, beside: BTreeSet::new() }));
            }
        }
    }

    /// Of those that could run it and are kept for nobody before it: the one where least must end first.
    fn plan_one(&self, lane: LaneId, taken: &BTreeSet<WorkerId>) -> Option<BTreeMap<WorkerId, Arc<LaneKey>>> {
        let lane = self.lanes.get(lane)?;
        let (key, apart) = (&lane.key, self.apart_from(lane.first()?.unit));
        let able = self
            .workers
            .iter()
            .filter(|(id, worker)| !taken.contains(id) && worker.unavailable().is_none() && worker.could_take(key))
            .filter(|(id, _)| !apart.contains_key(id));
        let (id, _) = able.min_by_key(|(id, worker)| (worker.in_the_way(), **id))?;
        Some(BTreeMap::from([(*id, Arc::clone(key))]))
    }

    /// Whether a worker is kept free for somebody whose turn comes before this place's, and this would take from that.
    pub(super) fn is_kept_from(&self, worker: &Worker, claim: &LaneKey, line: &Line) -> bool {
        worker.kept_in_need(claim).is_some_and(|kept| self.is_behind((claim, line), (&kept.key, &kept.line)))
    }

    /// Whether it can be given this now, and whether that would run at once.
    pub(super) fn takes(&self, worker: &Worker, claim: &LaneKey, line: &Line) -> Option<Beyond> {
        worker.takes(claim).filter(|_| !self.is_kept_from(worker, claim, line))
    }

    /// Workers that are kept free for this place, each with since when.
    pub(super) fn kept_for(&self, unit: TaskRef) -> Vec<(WorkerId, Timestamp)> {
        let kept = self.keeping.kept.keys().filter_map(|id| Some((*id, self.workers.get(id)?.kept.as_ref()?)));
        kept.filter(|(_, kept)| kept.line.unit == unit).map(|(id, kept)| (id, kept.since)).collect()
    }
}
