//! Room for a whole gang at once, and its claim: all members in one commit, or none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::gang::{Board, Form, Stage};
use crate::id::{TaskId, TaskRef, WorkerId};
use crate::mutant::{self, Mutant};
use crate::placement::Unlike;
use crate::probe::{self, Path};
use crate::worker::Room;

use super::super::Engine;
use super::super::lane::{LaneId, LaneKey, Line};
use super::super::table::Task;
use super::super::worker::{Beyond, Worker};

/// Steps that the search for room may take: past it the members wait for an easier moment.
const STEPS_MAX: u32 = 10_000;

/// What a worker could take now.
struct Vacancy {
    worker: WorkerId,
    room: Room,
    attempts: u32,
    /// Slots that are taken.
    used: u32,
}

/// Where members could go now.
pub(super) struct Placement {
    pub given: Vec<(TaskId, WorkerId)>,
    /// Those for whom there is no room beside the others.
    pub lacking: Vec<TaskId>,
}

/// Members that ask for the same.
struct Kind {
    key: Arc<LaneKey>,
    /// Places of the vacancies whose workers fit, those that suit their wishes best first.
    order: Vec<usize>,
    /// What they wish, where they wish anything: of each vacancy, how little it suits.
    wishes: Option<Vec<Unlike>>,
}

impl Kind {
    /// The best vacancy with room: without wishes the first.
    fn best(&self, vacancies: &[Vacancy]) -> Option<usize> {
        let mut open = self.order.iter().copied().filter(|at| vacancies[*at].has_room(&self.key));
        let Some(wishes) = &self.wishes else { return open.next() };
        open.min_by_key(|at| (wishes[*at], self.key.placement.fill.weigh(vacancies[*at].used), *at))
    }
}

/// One member, by the place of its kind.
type Wanting = (TaskId, usize);

impl Engine {
    /// Gangs whose turn comes before that of this head, or all, are claimed where there is room for all of their members.
    pub(in crate::engine) fn claim_gangs(&mut self, waiting: &mut BTreeSet<Line>, before: Option<(Line, LaneId)>) {
        while let Some(line) = self.next_gang(waiting, before) {
            waiting.remove(&line);
            self.claim_gang(line.unit.task);
        }
    }

    fn claim_gang(&mut self, first: TaskId) {
        let living = self.living(first);
        let Some(task) = living.first().and_then(|id| self.tasks.get(id)) else { return };
        if self.pauses.of(&task.policy.namespace).is_some() && !mutant::is(Mutant::PauseIgnored) {
            return;
        }
        if !self.has_places(&task.policy.namespace, living.len()) {
            return;
        }
        let Placement { given, lacking } = self.place_gang(first, &living);
        if !lacking.is_empty() {
            probe::reached(Path::GangWaitsForRoom);
            return;
        }
        if let Some(gang) = self.gangs.all.get_mut(&first) {
            gang.row.board = Board::default();
            gang.limbo.clear();
        }
        self.gangs.unready(first);
        self.set_stage(first, Stage::Starting);
        self.gangs.due.insert(first);
        for (id, worker) in given {
            self.claim_for(TaskRef::whole(id), worker);
        }
    }

    /// Where all of them could go now, at once.
    pub(super) fn place_gang(&self, first: TaskId, living: &[TaskId]) -> Placement {
        let line = self.gangs.all.get(&first).and_then(|gang| gang.line);
        self.place_in(first, living, self.vacancies(line))
    }

    /// The same in these.
    fn place_in(&self, first: TaskId, living: &[TaskId], mut vacancies: Vec<Vacancy>) -> Placement {
        let form = self.gangs.all.get(&first).map_or(Form::Together, |gang| gang.terms.form);
        let mut kinds: Vec<Kind> = Vec::new();
        let mut by_lane: BTreeMap<LaneId, usize> = BTreeMap::new();
        let mut wanting: Vec<Wanting> = Vec::with_capacity(living.len());
        for id in living {
            let Some(policy) = self.tasks.get(id).map(|task| &task.policy) else { continue };
            let kind = *by_lane.entry(policy.lane).or_insert_with(|| {
                let key = Arc::clone(&policy.lane_key);
                kinds.push(self.kind(key, &vacancies));
                kinds.len() - 1
            });
            wanting.push((*id, kind));
        }
        // The hardest to place come first.
        let choices: Vec<usize> = kinds.iter().map(|kind| kind.order.len()).collect();
        wanting.sort_by_key(|(id, kind)| (choices[*kind], Reverse(kinds[*kind].key.slots), *kind, *id));
        match form {
            Form::Distinct => place_apart(&wanting, &kinds, &vacancies),
            Form::Together | Form::Chain => place_anywhere(&wanting, &kinds, &mut vacancies),
        }
    }

    /// Which workers the first of the gangs that wait would need, if nobody else were there: each with what its members take
    /// on it. None of these workers; those where least must end first.
    pub(in crate::engine) fn plan_gang(
        &self,
        first: TaskId,
        but: &BTreeSet<WorkerId>,
    ) -> Option<BTreeMap<WorkerId, Arc<LaneKey>>> {
        let living = self.living(first);
        let able = self.workers.iter().filter(|(id, worker)| !but.contains(id) && worker.unavailable().is_none());
        let mut able: Vec<(WorkerId, &Worker)> = able.map(|(id, worker)| (*id, worker)).collect();
        able.sort_by_key(|(id, worker)| (worker.in_the_way(), *id));
        let empty = able.into_iter().map(|(worker, of)| {
            let demand = of.session.as_ref().and_then(|session| session.demand.as_ref());
            Vacancy { worker, room: of.room(), attempts: demand.map_or(u32::MAX, |(most, _)| *most), used: 0 }
        });
        let Placement { given, lacking } = self.place_in(first, &living, empty.collect());
        if !lacking.is_empty() {
            return None;
        }
        let mut plan: BTreeMap<WorkerId, Arc<LaneKey>> = BTreeMap::new();
        for (id, worker) in given {
            let key = &self.tasks.get(&id)?.policy.lane_key;
            match plan.get_mut(&worker) {
                Some(all) => Arc::make_mut(all).add_room(key),
                None => drop(plan.insert(worker, Arc::clone(key))),
            }
        }
        Some(plan)
    }

    /// The first of the gangs that wait for workers and may have them.
    pub(in crate::engine) fn first_gang(&self) -> Option<Line> {
        let mut all = self.gangs.ready.iter().filter(|line| self.may_have_workers(line)).copied();
        if self.shares.decide() { self.first_by_turn(&all.collect(), self.noted_gang()) } else { all.next() }
    }

    /// Whether neither a pause nor a quota keeps workers from this gang.
    pub(in crate::engine) fn may_have_workers(&self, line: &Line) -> bool {
        let living = self.living(line.unit.task);
        let one = living.first().and_then(|id| self.tasks.get(id));
        one.map(|task| &task.policy.namespace)
            .is_some_and(|name| self.pauses.of(name).is_none() && self.has_places(name, living.len()))
    }

    /// The task that stands there, or of a gang the first that has not ended.
    pub(in crate::engine) fn waits_there(&self, line: Line) -> Option<TaskRef> {
        let first = line.unit.task;
        let is_left = |id: &TaskId| self.tasks.get(id).is_some_and(|task| !task.is_ended());
        if is_left(&first) { Some(line.unit) } else { self.living(first).first().map(|id| TaskRef::whole(*id)) }
    }

    /// One who speaks for a gang, or the task that stands there: by its first member a gang is called, and that one may have
    /// ended, and be in memory no more.
    pub(in crate::engine) fn speaker_of(&self, line: Line) -> Option<&Task> {
        let first = line.unit.task;
        self.tasks.get(&first).or_else(|| self.tasks.get(self.living(first).first()?))
    }

    /// Of a member that goes to its place alone, where each is on a worker of its own: the workers that it is kept from, each
    /// with the member that it has.
    pub(in crate::engine) fn apart_from(&self, unit: TaskRef) -> BTreeMap<WorkerId, TaskRef> {
        let member = self.tasks.get(&unit.task).and_then(|task| task.gang());
        let member = member.filter(|member| member.terms.form == Form::Distinct && !self.is_bound(unit.task));
        let Some(member) = member else { return BTreeMap::new() };
        let others = member.all().filter(|id| *id != unit.task).map(TaskRef::whole);
        let at = |other: TaskRef| {
            let hot = self.tasks.get(&other.task)?.unit(other)?;
            Some((hot.worker.filter(|_| hot.state.kind().is_live())?, other))
        };
        others.filter_map(at).collect()
    }

    fn vacancies(&self, own: Option<Line>) -> Vec<Vacancy> {
        let open = self.free.iter().filter(|((beyond, _), _)| *beyond == Beyond::No);
        // One that is kept free for somebody else is his.
        let is_open = |worker: &&Worker| worker.kept.as_ref().is_none_or(|kept| Some(kept.line) == own);
        let workers = open.filter_map(|(_, id)| Some((*id, self.workers.get(id).filter(is_open)?)));
        workers.map(|(id, worker)| vacancy(id, worker)).collect()
    }

    fn kind(&self, key: Arc<LaneKey>, vacancies: &[Vacancy]) -> Kind {
        let mut order: Vec<usize> =
            (0..vacancies.len()).filter(|at| self.offers(vacancies[*at].worker, &key)).collect();
        let wishes = (!key.placement.is_plain()).then(|| {
            let all = vacancies.iter().map(|vacancy| self.unlike(vacancy.worker, &key)).collect::<Vec<_>>();
            order.sort_by_key(|at| (all[*at], key.placement.fill.weigh(vacancies[*at].used), *at));
            all
        });
        Kind { key, order, wishes }
    }

    fn unlike(&self, worker: WorkerId, key: &LaneKey) -> Unlike {
        key.placement.unlike(self.workers.get(&worker).and_then(|worker| worker.row.offer.as_ref()))
    }

    fn offers(&self, worker: WorkerId, key: &LaneKey) -> bool {
        self.workers.get(&worker).and_then(|worker| worker.row.offer.as_ref()).is_some_and(|offer| key.fits(offer))
    }
}

fn vacancy(id: WorkerId, worker: &Worker) -> Vacancy {
    let (mut room, used) = (worker.room(), worker.held.used());
    room.slots = room.slots.saturating_sub(used.slots);
    for (name, amount) in &mut room.amounts {
        *amount = amount.saturating_sub(used.amounts.get(name).copied().unwrap_or(0));
    }
    let held = u32::try_from(worker.held.len()).unwrap_or(u32::MAX);
    let demand = worker.session.as_ref().and_then(|session| session.demand.as_ref());
    let most = demand.map_or(u32::MAX, |(most, _)| *most);
    // One that was put aside is tried with one task.
    let most = if worker.row.aside.is_some() { most.min(1) } else { most };
    Vacancy { worker: id, room, attempts: most.saturating_sub(held), used: used.slots }
}

impl Vacancy {
    fn has_room(&self, key: &LaneKey) -> bool {
        self.attempts > 0 && key.too_small(&self.room).is_empty()
    }

    fn take(&mut self, key: &LaneKey) {
        self.attempts -= 1;
        self.used += key.slots;
        self.room.slots -= key.slots;
        for (name, amount) in &key.room {
            if let Some(left) = self.room.amounts.get_mut(name) {
                *left -= amount;
            }
        }
    }

    fn give_back(&mut self, key: &LaneKey) {
        self.attempts += 1;
        self.used -= key.slots;
        self.room.slots += key.slots;
        for (name, amount) in &key.room {
            if let Some(left) = self.room.amounts.get_mut(name) {
                *left += amount;
            }
        }
    }
}

/// A worker of its own for each, where there are enough: an augmenting path for each.
fn place_apart(wanting: &[Wanting], kinds: &[Kind], vacancies: &[Vacancy]) -> Placement {
    let open: Vec<Vec<usize>> = kinds
        .iter()
        .map(|kind| kind.order.iter().copied().filter(|at| vacancies[*at].has_room(&kind.key)).collect())
        .collect();
    let mut taken: Vec<Option<usize>> = vec![None; vacancies.len()];
    let mut lacking = Vec::new();
    for place in 0..wanting.len() {
        let mut seen = vec![false; vacancies.len()];
        if !find_worker(place, &(wanting, &open), &mut taken, &mut seen) {
            lacking.push(wanting[place].0);
        }
    }
    let given = taken.iter().zip(vacancies).filter_map(|(by, vacancy)| Some((wanting[(*by)?].0, vacancy.worker)));
    let mut given: Vec<(TaskId, WorkerId)> = given.collect();
    given.sort_unstable();
    Placement { given, lacking }
}

fn find_worker(
    place: usize,
    graph: &(&[Wanting], &[Vec<usize>]),
    taken: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let (wanting, open) = graph;
    for vacancy in open[wanting[place].1].iter().copied() {
        if seen[vacancy] {
            continue;
        }
        seen[vacancy] = true;
        if taken[vacancy].is_none_or(|other| find_worker(other, graph, taken, seen)) {
            taken[vacancy] = Some(place);
            return true;
        }
    }
    false
}

/// Wherever there is room beside the others: the first that fits, or that suits best, for each; where that leaves somebody out, a bounded
/// search for another way.
fn place_anywhere(wanting: &[Wanting], kinds: &[Kind], vacancies: &mut [Vacancy]) -> Placement {
    let mut given: Vec<(TaskId, WorkerId)> = Vec::with_capacity(wanting.len());
    let mut taken: Vec<(usize, usize)> = Vec::with_capacity(wanting.len());
    let mut lacking = Vec::new();
    for (id, kind) in wanting {
        match kinds[*kind].best(vacancies) {
            Some(at) => {
                vacancies[at].take(&kinds[*kind].key);
                taken.push((*kind, at));
                given.push((*id, vacancies[at].worker));
            }
            None => lacking.push(*id),
        }
    }
    if !lacking.is_empty() {
        for (kind, at) in taken {
            vacancies[at].give_back(&kinds[kind].key);
        }
        let mut search = Search { wanting, kinds, steps: 0, places: Vec::with_capacity(wanting.len()) };
        if search.go_on(vacancies) {
            let at = |kind: &usize, place: &usize| kinds[*kind].order[*place];
            let found = wanting.iter().zip(&search.places);
            let found = found.map(|((id, kind), place)| (*id, vacancies[at(kind, place)].worker));
            (given, lacking) = (found.collect(), Vec::new());
        }
    }
    given.sort_unstable();
    Placement { given, lacking }
}

struct Search<'a> {
    wanting: &'a [Wanting],
    kinds: &'a [Kind],
    steps: u32,
    /// Of each so far, its place in the order of its kind.
    places: Vec<usize>,
}

impl Search<'_> {
    fn go_on(&mut self, vacancies: &mut [Vacancy]) -> bool {
        let Some((_, kind)) = self.wanting.get(self.places.len()) else { return true };
        // Of those who ask for the same, one never goes before the one before him: it would change nothing.
        let like = self.places.len().checked_sub(1).filter(|before| self.wanting[*before].1 == *kind);
        let Kind { key, order, .. } = &self.kinds[*kind];
        let from = like.map_or(0, |before| self.places[before]);
        for (place, at) in order.iter().copied().enumerate().skip(from) {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return false;
            }
            if !vacancies[at].has_room(key) {
                continue;
            }
            vacancies[at].take(key);
            self.places.push(place);
            if self.go_on(vacancies) {
                return true;
            }
            self.places.pop();
            vacancies[at].give_back(key);
        }
        false
    }
}
