//! Lanes: ready tasks by what they ask for. A lane is ordered by ticket and index, where priority counts
//! as an earlier ticket;
//! matching goes through lanes, never through tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use crate::explain::AHEAD_MAX;
use crate::id::{TaskId, TaskRef, Ticket};
use crate::mutant::{self, Mutant};
use crate::name::{Key, Namespace, ResourceName};
use crate::placement::Placement;
use crate::size::format_amount;
use crate::spec::{Requirement, TaskSpec};
use crate::worker::{Offer, Room};

use super::side::Only;
use super::sorted::Sorted;

/// A lane, as a small number. Never decides anything: two lanes never hold the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u32);

/// A place in a lane. An array stands in it with its next element and with each that waits for
/// another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// When its ticket was taken, earlier by its priority: see [`super::fair::due`].
    pub due: i64,
    pub ticket: Ticket,
    pub unit: TaskRef,
}

/// What tasks waited for before they were ready. Whoever waited is not given beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Waited {
    /// For nothing.
    No,
    /// For the others of their gang.
    ForOthers,
    /// For what they ask for: they were let through, also where their namespace has a quota.
    LetThrough,
}

/// What tasks of one lane ask for. The namespace is part of it, so that pausing one costs lanes too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub namespace: Namespace,
    pub action: &'static str,
    pub is_held_by_server: bool,
    pub requires: Vec<Requirement>,
    pub room: Vec<(Key, u64)>,
    pub slots: u32,
    pub waited: Waited,
    pub placement: Placement,
    pub only: Only,
    /// A worker that takes it runs nothing of another resource of that kind meanwhile.
    pub alone: Option<ResourceName>,
    /// Whose its tasks are, where users have shares.
    pub user: Option<Arc<str>>,
    /// Whether they are links of a chain: their worker holds nothing beforehand.
    pub is_chain: bool,
}

impl LaneKey {
    /// What this description asks for.
    pub(super) fn of(namespace: &Namespace, spec: &TaskSpec) -> Self {
        let mut requires = spec.requires.clone();
        requires.sort();
        requires.dedup();
        let is_held_by_server = spec.work.action.is_held_by_server();
        Self {
            namespace: namespace.clone(),
            action: spec.work.action.name(),
            is_held_by_server,
            requires,
            room: spec.amounts.iter().filter(|(_, amount)| **amount > 0).map(|(k, v)| (k.clone(), *v)).collect(),
            slots: if is_held_by_server { 0 } else { spec.slots.max(1) },
            waited: match (spec.asks(), spec.gang) {
                (true, _) => Waited::LetThrough,
                (false, Some(_)) => Waited::ForOthers,
                (false, None) => Waited::No,
            },
            is_chain: spec.gang.is_some_and(|member| member.terms.form == crate::gang::Form::Chain),
            placement: spec.placement.clone(),
            only: Only::Any,
            alone: None,
            user: None,
        }
    }

    /// Whether a worker with this offer could ever make an attempt.
    pub(super) fn fits(&self, offer: &Offer) -> bool {
        // Asked for every lane and worker while matching: nothing is made here.
        self.slots <= offer.room.slots
            && self.room.iter().all(|(name, wanted)| *wanted <= offer.room.amounts.get(name).copied().unwrap_or(0))
            && self.requires.iter().all(|wanted| offer.has(wanted))
            && (!self.placement.excludes.iter().any(|unwanted| offer.has(unwanted))
                || mutant::is(Mutant::ExcludedIsGiven))
            && offer.actions.iter().any(|action| action == self.action)
    }

    /// Capabilities that this offer lacks, the driver among them.
    pub(super) fn missing(&self, offer: &Offer) -> Vec<Requirement> {
        let mut missing: Vec<_> = self.requires.iter().filter(|wanted| !offer.has(wanted)).cloned().collect();
        if !offer.actions.iter().any(|action| action == self.action) {
            let key = Key::new("action").expect("a fixed, good name");
            missing.push(Requirement { key, value: Some(self.action.to_owned()) });
        }
        missing
    }

    /// Capabilities of this offer that it will have nothing to do with.
    pub(super) fn excluded(&self, offer: &Offer) -> Vec<Requirement> {
        self.placement.excludes.iter().filter(|unwanted| offer.has(unwanted)).cloned().collect()
    }

    /// Whether it needs more than the one slot that any end of another frees: it may have to wait until more than one ends.
    pub(super) fn is_big(&self) -> bool {
        self.slots > 1 || !self.room.is_empty()
    }

    /// What this room has too little of: name (`slots` among them), wanted, has.
    pub(super) fn too_small(&self, room: &Room) -> Vec<(Key, u64, u64)> {
        let slots = (Key::new("slots").expect("a fixed, good name"), u64::from(self.slots), u64::from(room.slots));
        let amounts = self
            .room
            .iter()
            .map(|(name, wanted)| (name.clone(), *wanted, room.amounts.get(name).copied().unwrap_or(0)));
        std::iter::once(slots).chain(amounts).filter(|(_, wanted, has)| wanted > has).collect()
    }

    /// The room of another besides.
    pub(super) fn add_room(&mut self, other: &Self) {
        self.slots = self.slots.saturating_add(other.slots);
        for (name, amount) in &other.room {
            match self.room.iter_mut().find(|(own, _)| own == name) {
                Some((_, own)) => *own = own.saturating_add(*amount),
                None => self.room.push((name.clone(), *amount)),
            }
        }
    }

    /// For people: `action=command, slots 1`.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("action={}", self.action);
        for requirement in &self.requires {
            text.push_str(", ");
            text.push_str(&requirement.to_string());
        }
        if let Some(user) = &self.user {
            text.push_str(", user ");
            text.push_str(user);
        }
        text.push_str(", slots ");
        text.push_str(&self.slots.to_string());
        for (name, amount) in &self.room {
            text.push_str(&format_args!(", {name} {}", format_amount(name.as_str(), *amount)).to_string());
        }
        for unwanted in &self.placement.excludes {
            text.push_str(&format_args!(", not {unwanted}").to_string());
        }
        match &self.only {
            Only::Any => {}
            Only::Not(_, worker) => text.push_str(&format_args!(", rather not on {worker}").to_string()),
            Only::On(_, worker) => text.push_str(&format_args!(", rather on {worker}").to_string()),
        }
        text
    }
}

/// One lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub key: Arc<LaneKey>,
    lines: Sorted<Line>,
    /// Arrays whose next element stands in it.
    pub arrays: BTreeSet<TaskId>,
}

impl Lane {
    /// Places in it.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Who is first.
    pub(super) fn first(&self) -> Option<Line> {
        self.lines.first()
    }

    /// How many places lie before this one, counted up to [`AHEAD_MAX`]: they are gone through.
    pub(super) fn ahead_of(&self, line: &Line) -> u64 {
        self.lines.count_before(line, AHEAD_MAX).min(AHEAD_MAX)
    }

    /// Whether it stands in it.
    pub(super) fn contains(&self, line: &Line) -> bool {
        self.lines.contains(line)
    }
}

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Only looked up, never gone through in order.
    by_key: HashMap<Arc<LaneKey>, LaneId>,
    all: BTreeMap<LaneId, Lane>,
    occupied: BTreeSet<LaneId>,
    /// The first of each lane of what workers are given, in order.
    heads: BTreeSet<(Line, LaneId)>,
    /// Lanes of what the server holds itself, with somebody in them.
    occupied_held: BTreeSet<LaneId>,
    /// Lanes that somebody joined since the last matching.
    joined: BTreeSet<LaneId>,
    /// Lanes that the last one left since that was asked last.
    left: BTreeSet<LaneId>,
    /// Lanes of those who need much of which the first may have changed.
    big: BTreeSet<LaneId>,
    next: u32,
    sweep_at: usize,
}

/// Lanes that nobody uses are looked for when there are at least so many.
const LANES_SWEEP_MIN: usize = 1_024;

impl Lanes {
    /// The lane of this key.
    pub(super) fn intern(&mut self, key: LaneKey) -> (LaneId, Arc<LaneKey>) {
        if let Some((key, id)) = self.by_key.get_key_value(&key) {
            return (*id, Arc::clone(key));
        }
        if self.all.len() >= self.sweep_at.max(LANES_SWEEP_MIN) {
            self.sweep();
        }
        let key = Arc::new(key);
        let id = LaneId(self.next);
        self.next += 1;
        self.by_key.insert(Arc::clone(&key), id);
        self.all.insert(id, Lane { key: Arc::clone(&key), lines: Sorted::default(), arrays: BTreeSet::new() });
        (id, key)
    }

    /// Drops lanes whose key no policy holds any more: two references are our own.
    fn sweep(&mut self) {
        let by_key = &mut self.by_key;
        self.all.retain(|_, lane| {
            let used = Arc::strong_count(&lane.key) > 2;
            if !used {
                by_key.remove(&lane.key);
            }
            used
        });
        self.sweep_at = self.all.len() * 2;
    }

    /// One of them.
    pub(super) fn get(&self, id: LaneId) -> Option<&Lane> {
        self.all.get(&id)
    }

    /// Takes a place.
    pub(super) fn insert(&mut self, id: LaneId, line: Line) {
        if let Some(lane) = self.all.get_mut(&id) {
            let first = lane.first();
            lane.lines.insert(line);
            if lane.first() != first && !lane.key.is_held_by_server {
                first.map(|first| self.heads.remove(&(first, id)));
                self.heads.insert((line, id));
            }
            self.occupied.insert(id);
            self.joined.insert(id);
            if lane.key.is_big() {
                self.big.insert(id);
            }
            if lane.key.is_held_by_server {
                self.occupied_held.insert(id);
            }
        }
    }

    /// Leaves a place.
    pub(super) fn remove(&mut self, id: LaneId, line: &Line) {
        if let Some(lane) = self.all.get_mut(&id) {
            if lane.lines.first() == Some(*line) && !lane.key.is_held_by_server {
                self.heads.remove(&(*line, id));
                self.heads.extend(lane.lines.second().map(|next| (next, id)));
            }
            lane.lines.remove(line);
            if lane.key.is_big() {
                self.big.insert(id);
            }
            if lane.lines.is_empty() {
                self.occupied.remove(&id);
                self.left.insert(id);
                self.occupied_held.remove(&id);
            }
        }
    }

    /// Notes whether an array's unstarted elements stand in the lane, behind its next one.
    pub(super) fn note_array(&mut self, id: LaneId, task: TaskId, stands: bool) {
        if let Some(lane) = self.all.get_mut(&id) {
            if stands {
                lane.arrays.insert(task);
            } else {
                lane.arrays.remove(&task);
            }
        }
    }

    /// Who is first in a lane and stands next after this place, among all who are.
    pub(super) fn next_head(&self, after: Option<(Line, LaneId)>) -> Option<(Line, LaneId)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.heads.range((from, Bound::Unbounded)).next().copied()
    }

    /// Lanes with somebody in them.
    pub(super) fn occupied(&self) -> impl Iterator<Item = LaneId> + '_ {
        self.occupied.iter().copied()
    }

    /// Lanes that somebody joined since the last call.
    pub(super) fn take_joined(&mut self) -> BTreeSet<LaneId> {
        std::mem::take(&mut self.joined)
    }

    /// Lanes that the last one left since the last call.
    pub(super) fn take_left(&mut self) -> BTreeSet<LaneId> {
        std::mem::take(&mut self.left)
    }

    /// Lanes of those who need much of which the first may have changed since the last call.
    pub(super) fn take_big(&mut self) -> BTreeSet<LaneId> {
        std::mem::take(&mut self.big)
    }

    /// The same of the lanes of one namespace.
    pub(super) fn join_namespace(&mut self, namespace: &Namespace) {
        let is_its = |id: &&LaneId| self.all.get(*id).is_some_and(|lane| lane.key.namespace == *namespace);
        self.joined.extend(self.occupied.iter().filter(is_its));
    }

    /// Every occupied lane counts as joined: what kept its tasks back is gone.
    pub(super) fn join_anew(&mut self) {
        self.joined.clone_from(&self.occupied);
    }

    /// Lanes of what the server holds itself, with somebody in them.
    pub(super) fn occupied_held(&self) -> impl Iterator<Item = (LaneId, &Lane)> {
        self.occupied_held.iter().filter_map(|id| Some((*id, self.all.get(id)?)))
    }
}
