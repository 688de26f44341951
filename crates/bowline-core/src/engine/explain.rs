//! Why a task is where it is.

mod run;
mod worker;

use std::time::Duration;

use crate::answer::{Answer, Reply};
use crate::explain::{AHEAD_MAX, Explanation, FullWorker, Nearest, PausedThing, ResourceHolder, WaitReason};
use crate::id::{AttemptRef, TaskId, TaskRef, WorkerId};
use crate::machine::{Holder, State};
use crate::mutant::{self, Mutant};
use crate::name::{Key, Namespace};
use crate::row::PauseMark;
use crate::state::{Outcome, StateKind};

use super::Engine;
use super::array::Array;
use super::lane::{LaneKey, Line};
use super::lines::{Place, Resource, Want};
use super::side::Only;
use super::table::{Hot, Task};
use super::worker::Worker;

/// Workers, and attempts of one, listed at most in an explanation.
const LISTED_MAX: usize = 10;
/// A worker that holds nothing and was not heard for so long is named only where nobody else fits.
const GONE_AFTER: Duration = Duration::from_mins(10);

impl Engine {
    /// Everything that keeps a task.
    pub(super) fn explain(&self, namespace: &Namespace, unit: TaskRef) -> Reply {
        let state = self.find(namespace, unit)?;
        let since = self.tasks.get(&unit.task).map(|task| task.unit(unit).unwrap_or(&task.hot).since);
        let reasons = self.reasons(unit);
        let explanation = Explanation { task: unit, state, since: since.unwrap_or_default(), reasons };
        Ok(Answer::Explained(Box::new(explanation)))
    }

    /// One reason for each that waits; what is not in memory, and what does not wait, is left out.
    pub(super) fn why_waiting(&self, units: &[TaskRef]) -> Answer {
        let why = units.iter().filter_map(|unit| Some((*unit, self.reasons(*unit).into_iter().next()?))).collect();
        Answer::WhyWaiting(why)
    }

    pub(super) fn reasons(&self, unit: TaskRef) -> Vec<WaitReason> {
        let Some(task) = self.tasks.get(&unit.task) else { return Vec::new() };
        let Some(state) = self.dependency_state(unit) else { return Vec::new() };
        let own = task.unit(unit);
        let mut reasons = Vec::new();
        match own.map(|hot| &hot.state) {
            Some(State::Scheduled { until }) => {
                reasons.push(delayed(task, own.unwrap_or(&task.hot), *until));
                self.open_dependencies_of(task, &mut reasons);
            }
            Some(State::Blocked) => self.open_dependencies_of(task, &mut reasons),
            // Its run ends it, and nobody else.
            Some(State::Running { on: Holder::Server { .. } }) if self.kept_run(unit.task).is_some() => {}
            Some(State::Running { on: Holder::Server { until } }) => {
                reasons.push(WaitReason::Held { until: *until });
            }
            None if state == StateKind::Scheduled || state == StateKind::Blocked => {
                return self.reasons(TaskRef::whole(unit.task));
            }
            Some(State::Assigned { worker }) if !self.is_silent(*worker) => {
                self.held_beforehand(task, unit, *worker, &mut reasons);
            }
            Some(
                State::Assigned { worker }
                | State::Running { on: Holder::Worker(worker) }
                | State::Stopping { on: Holder::Worker(worker), .. },
            ) => self.on_silent(unit, *worker, &mut reasons),
            Some(State::InDoubt) => self.in_doubt(task, unit, &mut reasons),
            Some(
                State::Waiting
                | State::Ready
                | State::Running { on: Holder::Elements }
                | State::Stopping { on: Holder::Elements | Holder::Server { .. }, .. }
                | State::Ended { .. },
            )
            | None => {}
        }
        let is_array_with_rest = unit.index.is_none()
            && matches!(task.hot.state, State::Running { on: Holder::Elements })
            && task.array().is_some_and(|array| array.next_index().is_some() || !array.ready.is_empty());
        let is_waiting = matches!(state, StateKind::Ready | StateKind::Waiting) || is_array_with_rest;
        if is_waiting || matches!(state, StateKind::Scheduled | StateKind::Blocked) {
            self.pauses_of(task, unit, &mut reasons);
        }
        if is_waiting && !is_array_with_rest {
            reasons.extend(self.gang_reason(unit.task));
        }
        if is_waiting {
            self.in_lines(task, unit, state, &mut reasons);
            self.in_line(task, unit, &mut reasons);
            if !reasons.iter().any(|reason| matches!(reason, WaitReason::Quota { .. })) {
                reasons.extend(self.gang_quota(unit.task));
            }
            if state == StateKind::Ready && self.is_bound(unit.task) {
                reasons.extend(self.turn_of_others(task));
            }
        }
        if reasons.is_empty() && unit.index.is_none() {
            self.first_that_waits(task, unit.task, &mut reasons);
        }
        reasons
    }

    /// Of an array that nothing else keeps: what keeps the first of its elements that have begun once and wait.
    fn first_that_waits(&self, task: &Task, id: TaskId, reasons: &mut Vec<WaitReason>) {
        let (State::Running { on: Holder::Elements } | State::Stopping { on: Holder::Elements, .. }) = task.hot.state
        else {
            return;
        };
        let elements = task.array().into_iter().flat_map(|array| &array.elements);
        let open = elements.filter(|(_, element)| !element.hot.state.kind().is_ended());
        let told = open.map(|(index, found)| {
            let element = TaskRef::element(id, *index);
            (element, found.hot.state.kind(), self.reasons(element))
        });
        if let Some((element, state, own)) = told.into_iter().find(|(.., own)| !own.is_empty()) {
            reasons.extend(own.into_iter().map(|why| WaitReason::Element { element, state, why: Box::new(why) }));
        }
    }

    /// Resources that keep it: those that are not free, and those in whose line others stand before it.
    fn in_lines(&self, task: &Task, unit: TaskRef, state: StateKind, reasons: &mut Vec<WaitReason>) {
        if state != StateKind::Waiting && unit.index.is_some() {
            return;
        }
        if is_through(task, unit) {
            return;
        }
        // An array asks by the next of its elements.
        let next = task.array().and_then(Array::next_index);
        let asks = next.filter(|_| unit.index.is_none()).map_or(unit, |index| TaskRef::element(unit.task, index));
        let (asks, wants) = self.standing_for(asks);
        if wants.is_empty() && !task.policy.asks() {
            return;
        }
        if let Some(why) = self.aside_why(asks) {
            reasons.push(WaitReason::Aside { ticket: task.ticket, why });
        }
        for want in wants.iter() {
            // That it is out of service, or too small, was said.
            let could = |resource: &Resource| resource.out_of_service().is_none() && resource.could_fit(want).is_ok();
            if self.lines.get(&want.name).is_some_and(could) {
                reasons.extend(self.kept_by(want, (task.ticket, asks)));
            }
        }
    }

    /// Elements before this one that never began, other than the next, which stands in line itself.
    fn unstarted_before(&self, unit: TaskRef) -> u64 {
        let array = self.tasks.get(&unit.task).and_then(|task| task.array());
        let Some((array, index)) = array.zip(unit.index) else { return 0 };
        let place = array.spec.place_of(index).filter(|_| !array.elements.contains_key(&index));
        place.map_or(0, |place| u64::from(place.saturating_sub(array.counts.cursor.saturating_add(1))))
    }

    fn kept_by(&self, want: &Want, place: Place) -> Option<WaitReason> {
        let resource = self.lines.get(&want.name)?;
        let behind = resource.before(place, want).map(|(_, task)| task);
        if behind.is_none() && resource.fit(want).is_some() {
            return None;
        }
        let mut holders: Vec<ResourceHolder> = resource
            .holders
            .iter()
            .map(|(task, grant)| ResourceHolder {
                task: *task,
                run: self.kept_run(task.task),
                mode: grant.mode,
                units: grant.units.clone(),
                since: grant.at,
            })
            .collect();
        holders.sort_by_key(|holder| (holder.since, holder.task));
        if mutant::is(Mutant::NextExplainedAsHolder) {
            let next = resource.first_places(1).into_iter().map(|(_, task)| task);
            next.zip(&mut holders).for_each(|(task, holder)| holder.task = task);
        }
        let more = u32::try_from(holders.len().saturating_sub(LISTED_MAX)).unwrap_or(u32::MAX);
        holders.truncate(LISTED_MAX);
        Some(WaitReason::Resource {
            name: want.name.clone(),
            mode: want.mode,
            amount: want.amount,
            ticket: place.0,
            ahead: (resource.ahead_of(place, want) + self.unstarted_before(place.1)).min(AHEAD_MAX),
            behind,
            behind_run: behind.and_then(|unit| self.kept_run(unit.task)),
            capacity: resource.capacity(),
            free: resource.capacity().saturating_sub(resource.used()),
            suit: resource.suitable(want),
            holders,
            more,
        })
    }

    fn is_silent(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.silent_since().is_some())
    }

    /// Its worker says nothing: nobody knows how it is.
    fn on_silent(&self, unit: TaskRef, id: WorkerId, reasons: &mut Vec<WaitReason>) {
        let hot = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        let (Some(worker), Some(hot)) = (self.workers.get(&id), hot) else { return };
        let Some(since) = worker.silent_since() else { return };
        let attempt = AttemptRef { task: unit, fence: hot.fence() };
        let lost_at = self.lost_at(id, attempt);
        reasons.push(WaitReason::WorkerSilent { worker: worker.row.name.clone(), attempt, since, lost_at });
    }

    fn in_doubt(&self, task: &Task, unit: TaskRef, reasons: &mut Vec<WaitReason>) {
        let Some(hot) = task.unit(unit) else { return };
        let why = match hot.last.as_deref() {
            Some(Outcome::Lost { message }) => message.clone(),
            Some(_) | None => "it was given back after it had begun".to_owned(),
        };
        let worker = hot.worker.and_then(|id| self.workers.get(&id)).map(|worker| worker.row.name.clone());
        reasons.push(WaitReason::InDoubt { attempt: AttemptRef { task: unit, fence: hot.fence() }, worker, why });
    }

    /// A worker may hold tasks beyond its slots, to begin them at once when there is room.
    fn held_beforehand(&self, task: &Task, unit: TaskRef, worker: WorkerId, reasons: &mut Vec<WaitReason>) {
        let (Some(worker), Some(hot)) = (self.workers.get(&worker), task.unit(unit)) else { return };
        if let Some(why) = worker.unavailable() {
            reasons.push(WaitReason::WorkersUnavailable { workers: vec![(worker.row.name.clone(), why)] });
        } else if worker.held.is_beyond(&AttemptRef { task: unit, fence: hot.fence() }) {
            let full = full_worker(worker, &task.policy.lane_key);
            reasons.push(WaitReason::NoRoom { workers: vec![full], more: 0 });
        }
    }

    fn open_dependencies_of(&self, task: &Task, reasons: &mut Vec<WaitReason>) {
        for dependency in task.open().iter().flat_map(|open| open.iter()) {
            let state = self.dependency_state(dependency.task).unwrap_or(StateKind::Waiting);
            reasons.push(WaitReason::Dependency { task: dependency.task, on: dependency.on, state });
        }
    }

    fn pauses_of(&self, task: &Task, unit: TaskRef, reasons: &mut Vec<WaitReason>) {
        if mutant::is(Mutant::PauseNotExplained) {
            return;
        }
        let mut add = |what: PausedThing, mark: &PauseMark| {
            reasons.push(WaitReason::Paused { what, by: mark.by.0.as_ref().to_owned(), since: mark.since });
        };
        if let Some(mark) = self.tasks.get(&unit.task).and_then(|task| task.paused()) {
            add(PausedThing::Task, mark);
        }
        for (member, mark) in self.paused_members(unit.task) {
            add(PausedThing::Member(TaskRef::whole(member)), mark);
        }
        if let Some((id, mark)) = self.run_pause(unit.task) {
            add(PausedThing::Run(id), mark);
        }
        if let Some(mark) = self.pauses.of(&task.policy.namespace) {
            add(PausedThing::Namespace(task.policy.namespace.clone()), mark);
        }
        if let Some(mark) = self.pauses.all() {
            add(PausedThing::Everything, mark);
        }
    }

    fn in_line(&self, task: &Task, unit: TaskRef, reasons: &mut Vec<WaitReason>) {
        if let Some(array) = task.array()
            && let Some(at_most) = array.spec.at_most
            && array.live >= at_most
        {
            reasons.push(WaitReason::ArrayWindow { at_most, running: array.live });
        }
        if let Some((_, key)) = self.lane_of(unit).filter(|(_, key)| !key.is_held_by_server) {
            self.said_of_one_worker(unit, key, reasons);
            self.no_worker(unit, key, reasons);
        }
        // Who waits for resources stands in their lines, and in no lane yet.
        let is_in_lane = (!task.policy.asks() || is_through(task, unit)) && !self.is_bound(unit.task);
        if is_in_lane && !task.policy.lane_key.is_held_by_server {
            reasons.extend(self.quota_of(&task.policy.lane_key));
            reasons.extend(self.turn_of_others(task));
        }
        if let Some(ahead) = self.ahead_of(task, unit).filter(|ahead| is_in_lane && *ahead > 0) {
            reasons.push(WaitReason::Behind { ahead });
        }
    }

    /// Units before this one in its lane; for an element never started, those before it in its array
    /// too.
    fn ahead_of(&self, task: &Task, unit: TaskRef) -> Option<u64> {
        let lane = self.lanes.get(task.policy.lane)?;
        let whole = self.line_of(TaskRef::whole(unit.task))?;
        let line = Line { unit, ..whole };
        let mut ahead = lane.ahead_of(&line) + self.aside_of_lane(task.policy.lane, &line);
        if let (Some(array), Some(index)) = (task.array(), unit.index)
            && !lane.contains(&line)
            && !self.sides.contains_key(&unit)
            && let Some(place) = array.spec.place_of(index)
        {
            ahead += u64::from(place.saturating_sub(array.counts.cursor + 1));
        }
        for array in &lane.arrays {
            if ahead >= AHEAD_MAX {
                break;
            }
            let Some(other) = self.tasks.get(array).filter(|_| *array != unit.task) else { continue };
            let is_before = self.line_of(TaskRef::whole(*array)).is_some_and(|other| other < whole);
            if is_before && let Some(array) = other.array() {
                ahead += u64::from(array.unstarted().saturating_sub(1));
            }
        }
        Some(ahead.min(AHEAD_MAX))
    }

    /// It waits for another worker than the one that failed it, or one is kept free for it.
    fn said_of_one_worker(&self, unit: TaskRef, key: &LaneKey, reasons: &mut Vec<WaitReason>) {
        if let Some(until) = self.sides.get(&unit).and_then(|side| side.until) {
            reasons.extend(match &key.only {
                Only::Any => None,
                Only::Not(_, worker) => Some(WaitReason::AwayFrom { worker: worker.clone(), until }),
                Only::On(_, worker) => Some(WaitReason::WarmOn { worker: worker.clone(), until }),
            });
        }
        if self.is_bound(unit.task) {
            // Its gang's reason names them.
            return;
        }
        for (id, since) in self.kept_for(unit) {
            let worker = self.workers.get(&id).map(|worker| worker.row.name.clone());
            reasons.extend(worker.map(|worker| WaitReason::KeptForIt { worker, since }));
        }
    }

    /// It has not come to its lane yet: what it waits for there is told already.
    fn waits_elsewhere(&self, unit: TaskRef) -> bool {
        let task = self.tasks.get(&unit.task).filter(|task| task.policy.asks() && !self.is_bound(unit.task));
        task.is_some_and(|task| !is_through(task, unit))
    }

    /// Whether one of these workers would take it if it were ready.
    fn is_free_for(&self, unit: TaskRef, key: &LaneKey, fitting: &[&Worker]) -> bool {
        let Some(line) = self.line_of(unit) else { return false };
        let apart = self.apart_from(unit);
        fitting.iter().any(|worker| {
            worker.unavailable().is_none()
                && worker.free.is_some()
                && !apart.contains_key(&worker.row.id)
                && self.takes(worker, key, &line).is_some()
        })
    }

    /// Why no worker takes it now: none fits, or those that fit are not there, or they are full.
    fn no_worker(&self, unit: TaskRef, key: &LaneKey, reasons: &mut Vec<WaitReason>) {
        let fitting: Vec<&Worker> = self
            .workers
            .values()
            .filter(|worker| worker.is_meant(key) && worker.row.offer.as_ref().is_some_and(|offer| key.fits(offer)))
            .collect();
        if fitting.is_empty() {
            let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
            reasons.push(WaitReason::NoWorkerFits { workers, nearest: self.nearest(key) });
            return;
        }
        if self.waits_elsewhere(unit) && self.is_free_for(unit, key, &fitting) {
            return;
        }
        // Of those that are long gone nothing is to be hoped for, as long as there are others.
        let is_gone = |worker: &&&Worker| {
            worker.session.is_none() && worker.held.len() == 0 && worker.lease_from.plus(GONE_AFTER) <= self.now
        };
        let all_gone = fitting.iter().all(|worker| is_gone(&worker));
        let mut away: Vec<&&Worker> = fitting.iter().filter(|worker| all_gone || !is_gone(worker)).collect();
        away.sort_by_key(|worker| std::cmp::Reverse(worker.lease_from));
        let away: Vec<_> = away
            .into_iter()
            .filter_map(|worker| Some((worker.row.name.clone(), worker.unavailable()?)))
            .take(LISTED_MAX)
            .collect();
        if !away.is_empty() {
            reasons.push(WaitReason::WorkersUnavailable { workers: away });
        }
        let Some(line) = self.line_of(unit) else { return };
        let apart = self.apart_from(unit);
        let of_its_gang =
            fitting.iter().filter_map(|worker| Some((worker.row.name.clone(), *apart.get(&worker.row.id)?)));
        let of_its_gang: Vec<_> = of_its_gang.take(LISTED_MAX).collect();
        if !of_its_gang.is_empty() {
            reasons.push(WaitReason::OfItsGang { workers: of_its_gang });
        }
        let takes_nothing = |worker: &&&Worker| {
            worker.unavailable().is_none() && (worker.free.is_none() || self.takes(worker, key, &line).is_none())
        };
        let (kept, full): (Vec<&Worker>, Vec<&Worker>) =
            fitting.iter().filter(takes_nothing).copied().partition(|worker| self.is_kept_from(worker, key, &line));
        if !kept.is_empty() {
            let kept = kept
                .iter()
                .take(LISTED_MAX)
                .filter_map(|worker| Some((worker.row.name.clone(), self.waits_there(worker.kept.as_ref()?.line)?)));
            reasons.push(WaitReason::KeptFree { workers: kept.collect() });
        }
        let full: Vec<&Worker> = full.into_iter().filter(|worker| !apart.contains_key(&worker.row.id)).collect();
        let (busy, full): (Vec<&Worker>, Vec<&Worker>) =
            full.into_iter().partition(|worker| worker.runs_for_another(key).is_some());
        if !busy.is_empty() {
            let busy = busy.iter().take(LISTED_MAX);
            let named =
                busy.filter_map(|worker| Some((worker.row.name.clone(), worker.runs_for_another(key)?.clone())));
            reasons.push(WaitReason::RunsForAnother { workers: named.collect() });
        }
        let full: Vec<FullWorker> = full.iter().map(|worker| full_worker(worker, key)).collect();
        if !full.is_empty() {
            let more = u32::try_from(full.len().saturating_sub(LISTED_MAX)).unwrap_or(u32::MAX);
            reasons.push(WaitReason::NoRoom { workers: full.into_iter().take(LISTED_MAX).collect(), more });
        }
    }

    fn nearest(&self, key: &LaneKey) -> Option<Nearest> {
        let lacking = self.workers.values().filter_map(|worker| {
            let offer = worker.row.offer.as_ref()?;
            let mut too_small = key.too_small(&offer.room);
            if mutant::is(Mutant::TooSmallNotExplained) {
                too_small.clear();
            }
            let missing = key.missing(offer);
            Some(Nearest { worker: worker.row.name.clone(), missing, excluded: key.excluded(offer), too_small })
        });
        let lacks = |nearest: &Nearest| nearest.missing.len() + nearest.excluded.len() + nearest.too_small.len();
        lacking.min_by_key(|nearest| (lacks(nearest), nearest.worker.clone()))
    }
}

/// Whether it waits for a worker alone.
fn is_through(task: &Task, unit: TaskRef) -> bool {
    let claims = unit.index.is_some() || task.array().is_none();
    claims && task.unit(unit).is_some_and(|hot| hot.state == State::Ready)
}

fn delayed(task: &Task, hot: &Hot, until: crate::time::Timestamp) -> WaitReason {
    match &hot.last {
        Some(last) if hot.failures > 0 => WaitReason::Backoff {
            until,
            attempt: hot.attempt.0,
            failure: last.message(),
            left: (task.policy.retry.extra + 1).saturating_sub(hot.failures),
        },
        Some(_) | None => WaitReason::NotBefore { until },
    }
}

fn full_worker(worker: &Worker, key: &LaneKey) -> FullWorker {
    let (room, used) = (worker.room(), worker.held.used());
    let slots = Key::new("slots").expect("a fixed, good name");
    let free_slots = u64::from(room.slots.saturating_sub(used.slots));
    let all = std::iter::once((slots, u64::from(key.slots), free_slots, u64::from(room.slots)));
    let most = worker.session.as_ref().and_then(|session| session.demand.as_ref()).map(|(most, _)| u64::from(*most));
    let attempts = most.map(|most| {
        let attempts = Key::new("attempts").expect("a fixed, good name");
        (attempts, 1, most.saturating_sub(worker.held.len() as u64), most)
    });
    let amounts = key.room.iter().map(|(name, wanted)| {
        let has = room.amounts.get(name).copied().unwrap_or(0);
        let taken = used.amounts.get(name).copied().unwrap_or(0);
        (name.clone(), *wanted, has.saturating_sub(taken), has)
    });
    FullWorker {
        worker: worker.row.name.clone(),
        short_of: all.chain(attempts).chain(amounts).filter(|(_, wanted, free, _)| wanted > free).collect(),
        held_by: worker.held.attempts().take(LISTED_MAX).collect(),
    }
}
