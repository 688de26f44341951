//! Matching: lanes against workers with room, in one fixed order; and the claim itself.

use std::sync::Arc;

use crate::effect::Effect;
use crate::id::{AttemptNo, AttemptRef, Fence, Generation, Incarnation, SessionId, TaskRef, WorkerId};
use crate::machine::{Event, Holder, State};
use crate::message::{Assign, ToWorker};
use crate::mutant::{self, Mutant};
use crate::placement::Unlike;
use crate::row::AttemptRow;
use crate::spec::SETUP_TIMEOUT_DEFAULT;
use crate::state::{Outcome, StateKind};

use super::Engine;
use super::array::Element;
use super::lane::{Lane, LaneId, LaneKey, Line};
use super::out::Cause;
use super::table::{At, HeldBy, Hot};
use super::worker::{Beyond, FreeKey};

/// How well a worker would do for somebody: the least is the best.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    beyond: Beyond,
    unlike: Unlike,
    load: FreeKey,
    id: WorkerId,
}

/// A unit that a worker is to have.
struct Pick {
    unit: TaskRef,
    worker: WorkerId,
}

impl Engine {
    /// Gives whatever can be given. Afterwards nobody who has room fits the head of an open lane; so
    /// only what has changed since is looked at: lanes that were joined against everybody with room,
    /// and workers that got room against every lane.
    pub(super) fn match_lanes(&mut self) {
        if self.pauses.all().is_some() {
            return;
        }
        self.claim_for_server();
        self.let_back();
        let (joined, mut freed) = (self.lanes.take_joined(), std::mem::take(&mut self.freed));
        self.note_joined(&joined);
        let mut gangs = self.gangs.take_ready(!freed.is_empty());
        if self.free.is_empty() || (joined.is_empty() && freed.is_empty() && gangs.is_empty()) {
            return;
        }
        let mut heads = if freed.is_empty() { self.heads_of(&joined) } else { self.all_heads() };
        while let Some((line, lane)) = self.pop_head(&mut heads) {
            if self.free.is_empty() {
                return;
            }
            self.claim_gangs(&mut gangs, Some((line, lane)));
            // A claim in another lane may have taken it away: an array's window is full, or a quota.
            let first = self.open_head(lane);
            if first != Some((line, lane)) {
                if let Some(head) = first {
                    self.push_head(&mut heads, head);
                }
                continue;
            }
            let Some(key) = self.lanes.get(lane).map(|lane| Arc::clone(&lane.key)) else { continue };
            let apart = self.apart_from(line.unit);
            let found = if !apart.is_empty() {
                let others = self.free.iter().map(|(_, id)| *id).filter(|id| !apart.contains_key(id));
                self.find_among(&key, &line, others)
            } else if joined.contains(&lane) {
                self.find_worker(&key, &line)
            } else {
                self.find_among(&key, &line, freed.iter().copied())
            };
            let Some(worker) = found else { continue };
            self.claim(&Pick { unit: line.unit, worker });
            if let Some(head) = self.open_head(lane) {
                self.push_head(&mut heads, head);
            }
            let is_full = self.workers.get(&worker).is_none_or(|worker| worker.free.is_none());
            if is_full && freed.remove(&worker) && freed.is_empty() {
                // Of those that got room nobody has any more: only those who have just come are left.
                heads = self.heads_of(&joined);
            }
        }
        self.claim_gangs(&mut gangs, None);
    }

    /// Who is first in a lane that workers are given tasks of.
    pub(super) fn open_head(&self, id: LaneId) -> Option<(Line, LaneId)> {
        let lane = self.lanes.get(id)?;
        let is_paused = self.pauses.of(&lane.key.namespace).is_some() && !mutant::is(Mutant::PauseIgnored);
        let is_open = !lane.key.is_held_by_server && !is_paused && !self.is_held_up(&lane.key);
        if is_open { head((id, lane)) } else { None }
    }

    /// The best worker that takes it: first one that would run it at once, else one that would prefetch it.
    fn find_worker(&self, key: &LaneKey, line: &Line) -> Option<WorkerId> {
        if !key.placement.is_plain() {
            return self
                .free
                .iter()
                .filter_map(|(free, id)| self.rank(key, line, (*free, *id)))
                .min()
                .map(|rank| rank.id);
        }
        // The least loaded ones come first.
        let mut prefetcher = None;
        for (_, id) in &self.free {
            match self.workers.get(id).and_then(|worker| self.takes(worker, key, line)) {
                Some(Beyond::No) => return Some(*id),
                Some(Beyond::Yes) => prefetcher = prefetcher.or(Some(*id)),
                None => {}
            }
        }
        prefetcher
    }

    /// The same among these alone.
    fn find_among(&self, key: &LaneKey, line: &Line, some: impl Iterator<Item = WorkerId>) -> Option<WorkerId> {
        let ranks = some.filter_map(|id| self.rank(key, line, (self.workers.get(&id)?.free?, id)));
        ranks.min().map(|rank| rank.id)
    }

    /// How well this worker would do. `None`: it does not take it.
    fn rank(&self, key: &LaneKey, line: &Line, (free, id): (FreeKey, WorkerId)) -> Option<Rank> {
        let worker = self.workers.get(&id)?;
        let beyond = self.takes(worker, key, line)?;
        let unlike = key.placement.unlike(worker.row.offer.as_ref());
        Some(Rank { beyond, unlike, load: (free.0, key.placement.fill.weigh(free.1)), id })
    }

    /// What the server holds itself needs no worker.
    fn claim_for_server(&mut self) {
        loop {
            let pauses = &self.pauses;
            let open = self.lanes.occupied_held().filter(|(_, lane)| pauses.of(&lane.key.namespace).is_none());
            let Some((line, _)) = open.filter_map(head).min() else { return };
            let unit = line.unit;
            self.begin_element(unit);
            let until = match self.tasks.get(&unit.task).map(|task| task.policy.held) {
                Some(HeldBy::ServerSleep(length)) => Some(self.now.plus(length.0)),
                Some(HeldBy::ServerWait | HeldBy::Worker) | None => None,
            };
            self.record_claim(unit, Claimant::Server);
            let cause = Cause::server("held by the server");
            self.shift(unit, Event::Claimed(Holder::Server { until }), &cause).expect("what is in a lane is ready");
        }
    }

    /// An array's element begins: it is in memory from here on.
    fn begin_element(&mut self, unit: TaskRef) {
        let Some(index) = unit.index else { return };
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&unit.task) else { return };
        let (ready_at, whole_ready) = (task.hot.ready_at, task.hot.state == State::Ready);
        let Some(array) = task.array_mut() else { return };
        let mut is_new = false;
        array.elements.entry(index).or_insert_with(|| {
            is_new = true;
            let mut hot = Hot::new(State::Ready, now);
            hot.ready_at = ready_at;
            Element { version: 0, hot }
        });
        if is_new {
            array.advance();
            self.count_loaded(unit, StateKind::Ready);
        }
        self.line_up_array(unit.task);
        if whole_ready {
            let cause = Cause::server("its first element begins");
            let whole = TaskRef::whole(unit.task);
            self.shift(whole, Event::Claimed(Holder::Elements), &cause).expect("it was ready");
        }
        self.touch_task(unit.task);
    }

    /// This unit for this worker, which has room for it.
    pub(super) fn claim_for(&mut self, unit: TaskRef, worker: WorkerId) {
        self.claim(&Pick { unit, worker });
    }

    /// In one commit: task, attempt, worker, fence. Only then does `Assign` leave.
    fn claim(&mut self, pick: &Pick) {
        let Some(worker) = self.workers.get(&pick.worker) else { return };
        let Some(session) = worker.session.as_ref().map(|session| session.id) else { return };
        let (incarnation, name) = (worker.row.incarnation, worker.row.name.clone());
        self.begin_element(pick.unit);
        let claimant = Claimant::Worker { worker: pick.worker, incarnation, session };
        let Some(attempt) = self.record_claim(pick.unit, claimant) else { return };
        let cause = Cause::server(format!("given to {name}"));
        let claimed = Event::Claimed(Holder::Worker(pick.worker));
        self.shift(pick.unit, claimed, &cause).expect("what is in a lane is ready");
        let Some(task) = self.tasks.get(&pick.unit.task) else { return };
        let assign = Assign {
            attempt,
            session,
            start_by: self.config.timing.start_by,
            setup_timeout: task.policy.timeouts.setup.map_or(SETUP_TIMEOUT_DEFAULT, |limit| limit.0),
            run_timeout: task.policy.timeouts.run.map(|limit| limit.0),
            stop_after: task.policy.stop_after.map(|after| after.0),
            slots: task.policy.lane_key.slots,
            amounts: task.policy.lane_key.room.clone(),
            resources: self.told(pick.unit),
        };
        self.out.effects.push(Effect::Send { session, message: ToWorker::Assign(assign) });
        self.out.given += 1;
    }

    /// The attempt gets its number and its row, the worker its load.
    fn record_claim(&mut self, unit: TaskRef, claimant: Claimant) -> Option<AttemptRef> {
        let is_blind = mutant::is(Mutant::GenerationNotInFence);
        let generation = if is_blind { Generation::default() } else { self.config.generation };
        let key = self.lane_of(unit).map(|(_, key)| Arc::clone(key))?;
        let task = self.tasks.get_mut(&unit.task)?;
        let round = task.round;
        let hot = task.unit_mut(unit)?;
        let is_kept = mutant::is(Mutant::FenceKeptOnReturn) && hot.attempt.0 > 0;
        hot.attempt = AttemptNo(hot.attempt.0 + u32::from(!is_kept));
        hot.generation = generation;
        hot.started_at = At::default();
        if matches!(hot.last.as_deref(), Some(Outcome::Lost { .. })) {
            hot.last = None;
        }
        let fence = Fence { generation, attempt: hot.attempt };
        let attempt = AttemptRef { task: unit, fence };
        let (worker, incarnation, session) = match claimant {
            Claimant::Server => (None, Incarnation(0), SessionId(0)),
            Claimant::Worker { worker, incarnation, session } => (Some(worker), incarnation, session),
        };
        hot.worker = worker;
        let row = AttemptRow {
            attempt,
            version: 0,
            round,
            worker,
            incarnation,
            session,
            assigned_at: self.now,
            started_at: None,
            ended_at: None,
            end: None,
            outcome: None,
        };
        self.attempts.insert(attempt, row);
        self.touch_attempt(attempt);
        self.note_start(unit);
        if let Some(worker) = worker {
            if let Some(held) = self.tasks.get(&unit.task).and_then(|task| Some(task.unit(unit)?.held())) {
                self.lines.note_warm(held, worker);
            }
            self.load_worker(worker, attempt, key);
        }
        Some(attempt)
    }
}

/// For whom a claim is.
#[derive(Clone, Copy)]
enum Claimant {
    Server,
    Worker { worker: WorkerId, incarnation: Incarnation, session: SessionId },
}

fn head((id, lane): (LaneId, &Lane)) -> Option<(Line, LaneId)> {
    lane.first().map(|line| (line, id))
}
