//! Who holds each resource and who waits for it, by ticket. Bookkeeping alone: what a grant or a place in a line means
//! to a task is [`super::grant`]'s.
//!
//! A resource's line is kept in parts: one for those who ask for units with the same attributes, one for everybody
//! else. Two parts are in each other's way unless no unit would do for both. The head of a part is the first in line
//! where no part in its way has an earlier head.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::explain::{AHEAD_MAX, AsideWhy, SuitableUnits};
use crate::id::{TaskRef, Ticket, WorkerId};
use crate::mutant::{self, Mutant};
use crate::name::{Key, ResourceName, UnitName};
use crate::resource::{Ask, Grant, Mode, ResourceRow, Sticky, UnitSpec};
use crate::time::Timestamp;

/// A place in every line in which a unit stands.
pub(super) type Place = (Ticket, TaskRef);
/// Attributes that a unit must have.
pub(super) type Attributes = BTreeMap<Key, String>;

/// What is asked of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Want {
    pub name: ResourceName,
    pub mode: Mode,
    /// Of the capacity; 0 where exclusive or shared.
    pub amount: u64,
    /// One for each unit.
    pub units: Vec<Attributes>,
}

impl Want {
    /// What a task's asks come to, by resource. Asks for a unit of no resource by name are left out: they were given
    /// their name when the task was taken in.
    pub(super) fn of(asks: &[Ask]) -> Arc<[Self]> {
        static NONE: LazyLock<Arc<[Want]>> = LazyLock::new(|| Arc::from([]));
        if asks.is_empty() {
            return Arc::clone(&NONE);
        }
        let mut wants: BTreeMap<ResourceName, Self> = BTreeMap::new();
        for ask in asks {
            let Some(name) = ask.name() else { continue };
            let new = || Self { name: name.clone(), mode: ask.mode(), amount: 0, units: Vec::new() };
            let want = wants.entry(name.clone()).or_insert_with(new);
            match ask {
                Ask::Exclusive { .. } | Ask::Shared { .. } => {}
                Ask::Counted { amount, .. } => want.amount += amount,
                Ask::Unit { with, .. } => {
                    want.amount += 1;
                    want.units.push(with.clone());
                }
            }
        }
        let mut wants: Vec<Self> = wants.into_values().collect();
        for want in &mut wants {
            want.units.sort();
        }
        wants.into()
    }

    fn part(&self) -> Part {
        match self.mode {
            Mode::Unit => Part::Units(self.units.clone()),
            Mode::Exclusive | Mode::Shared | Mode::Counted => Part::Whole,
        }
    }

    /// For people: `db`, `db (shared)`, `3 of lic`, `a unit of phones with model=x`.
    pub(super) fn describe(&self) -> String {
        match self.mode {
            Mode::Exclusive => self.name.to_string(),
            Mode::Shared => format!("{} (shared)", self.name),
            Mode::Counted => format!("{} of {}", self.amount, self.name),
            Mode::Unit => format!("{} ({})", self.name, self.attributes()),
        }
    }

    /// Which units: `model=x,os=14; any`.
    fn attributes(&self) -> String {
        let with = |unit: &Attributes| {
            let all: Vec<String> = unit.iter().map(|(key, value)| format!("{key}={value}")).collect();
            if all.is_empty() { "any".to_owned() } else { all.join(",") }
        };
        self.units.iter().map(with).collect::<Vec<String>>().join("; ")
    }
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Units(Vec<Attributes>),
}

#[derive(Debug)]
struct Unit {
    spec: UnitSpec,
    holder: Option<TaskRef>,
    /// It is declared no more, and goes with its holder.
    is_gone: bool,
}

/// One resource.
#[derive(Debug, Default)]
pub(super) struct Resource {
    /// As it was declared.
    pub row: Option<ResourceRow>,
    units: BTreeMap<UnitName, Unit>,
    line: BTreeMap<Part, BTreeSet<Place>>,
    /// Who stands aside, with the mode and amount that it asks for.
    pub aside: BTreeSet<Place>,
    /// Who holds it.
    pub holders: BTreeMap<TaskRef, Grant>,
    used: u64,
    exclusive: u32,
}

impl Resource {
    /// How much of it there is.
    pub(super) fn capacity(&self) -> u64 {
        self.row.as_ref().map_or(1, |row| row.capacity)
    }

    /// How much of it is held: all of it, where somebody holds it exclusively.
    pub(super) fn used(&self) -> u64 {
        if self.exclusive > 0 { self.capacity() } else { self.used }
    }

    /// Why nobody is granted any of it.
    pub(super) fn out_of_service(&self) -> Option<&str> {
        self.row.as_ref()?.out_of_service.as_deref()
    }

    /// Places in its line.
    pub(super) fn waiting(&self) -> u64 {
        self.line.values().map(|part| part.len() as u64).sum()
    }

    /// Its line, in order, as far as this many.
    pub(super) fn first_places(&self, most: usize) -> Vec<Place> {
        let mut places: Vec<Place> = self.line.values().flat_map(|part| part.iter().take(most)).copied().collect();
        places.sort_unstable();
        places.truncate(most);
        places
    }

    /// Everybody in its line.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.line.values().flatten().copied()
    }

    /// Its units: each with its holder, and whether it is still declared.
    pub(super) fn units(&self) -> impl Iterator<Item = (&UnitSpec, Option<TaskRef>)> {
        self.units.values().map(|unit| (&unit.spec, unit.holder))
    }

    /// Nobody declared it, holds it or waits for it.
    fn is_idle(&self) -> bool {
        self.row.is_none() && self.holders.is_empty() && self.line.is_empty() && self.aside.is_empty()
    }

    /// Heads of its parts, the first in line first.
    fn heads(&self) -> Vec<Place> {
        let mut heads: Vec<Place> = self.line.values().filter_map(|part| part.first().copied()).collect();
        heads.sort_unstable();
        heads
    }

    fn in_the_way(&self, one: &Part, other: &Part) -> bool {
        match (one, other) {
            (Part::Units(one), Part::Units(other)) => {
                one == other || self.units.values().any(|unit| wanted(unit, one) && wanted(unit, other))
            }
            (Part::Whole, Part::Whole | Part::Units(_)) | (Part::Units(_), Part::Whole) => true,
        }
    }

    /// The first who stands before this place and in its way.
    pub(super) fn before(&self, place: Place, want: &Want) -> Option<Place> {
        if mutant::is(Mutant::LineOvertaken) {
            return None;
        }
        let own = want.part();
        let heads = self.line.iter().filter(|(part, _)| self.in_the_way(part, &own));
        heads.filter_map(|(_, places)| places.first().copied()).min().filter(|first| *first < place)
    }

    /// How many do, counted up to [`AHEAD_MAX`].
    pub(super) fn ahead_of(&self, place: Place, want: &Want) -> u64 {
        let own = want.part();
        let parts = self.line.iter().filter(|(part, _)| self.in_the_way(part, &own));
        parts.flat_map(|(_, places)| places.range(..place)).zip(0..AHEAD_MAX).count() as u64
    }

    /// The units that would be given now; empty where none are asked for. `None`: it is not free.
    pub(super) fn fit(&self, want: &Want) -> Option<Vec<UnitName>> {
        if self.out_of_service().is_some() {
            return None;
        }
        let is_beside = self.exclusive == 0;
        let has_room = self.used.checked_add(want.amount).is_some_and(|all| all <= self.capacity());
        match want.mode {
            Mode::Exclusive if mutant::is(Mutant::SharedNotCounted) => (self.exclusive == 0).then(Vec::new),
            Mode::Exclusive => self.holders.is_empty().then(Vec::new),
            Mode::Shared => is_beside.then(Vec::new),
            Mode::Counted if self.units.is_empty() => (is_beside && has_room).then(Vec::new),
            Mode::Counted | Mode::Unit if !is_beside || !has_room => None,
            Mode::Counted => {
                let any = vec![Attributes::new(); usize::try_from(want.amount).ok()?];
                choose(&any, |unit| unit.holder.is_none(), &self.units)
            }
            Mode::Unit => choose(&want.units, |unit| unit.holder.is_none(), &self.units),
        }
    }

    /// Which of its units suit, where not any does.
    pub(super) fn suitable(&self, want: &Want) -> Option<SuitableUnits> {
        if want.mode != Mode::Unit || want.units.iter().all(Attributes::is_empty) {
            return None;
        }
        let suit = || self.units.values().filter(|unit| wanted(unit, &want.units));
        let free = suit().filter(|unit| unit.holder.is_none()).count();
        Some(SuitableUnits { with: want.attributes(), units: suit().count() as u64, free: free as u64 })
    }

    /// Whether it could be given if nobody held anything. `Err` says why not.
    pub(super) fn could_fit(&self, want: &Want) -> Result<(), String> {
        let capacity = self.capacity();
        if want.amount > capacity {
            return Err(format!("it asks for {} of `{}`, of which there are {capacity}", want.amount, want.name));
        }
        if want.mode == Mode::Unit && choose(&want.units, |_| true, &self.units).is_none() {
            return Err(format!("`{}` has no such units: {}", want.name, want.describe()));
        }
        Ok(())
    }
}

fn wanted(unit: &Unit, by: &[Attributes]) -> bool {
    !unit.is_gone && by.iter().any(|with| unit.spec.has(with))
}

/// A different unit for each of these, where there are enough: an augmenting path for each.
fn choose(
    wanted: &[Attributes],
    is_free: impl Fn(&Unit) -> bool,
    units: &BTreeMap<UnitName, Unit>,
) -> Option<Vec<UnitName>> {
    if let [with] = wanted {
        let fits = |unit: &&Unit| !unit.is_gone && is_free(unit) && unit.spec.has(with);
        return units.values().find(fits).map(|unit| vec![unit.spec.name.clone()]);
    }
    let mut chosen = assign(wanted, is_free, units)?;
    chosen.sort();
    Some(chosen)
}

/// The same, each in the place of its ask.
fn assign(
    wanted: &[Attributes],
    is_free: impl Fn(&Unit) -> bool,
    units: &BTreeMap<UnitName, Unit>,
) -> Option<Vec<UnitName>> {
    let free: Vec<&Unit> = units.values().filter(|unit| !unit.is_gone && is_free(unit)).collect();
    if free.len() < wanted.len() {
        return None;
    }
    let mut taken: Vec<Option<usize>> = vec![None; free.len()];
    for ask in 0..wanted.len() {
        let mut seen = vec![false; free.len()];
        if !find_path(ask, &(wanted, &free), &mut taken, &mut seen) {
            return None;
        }
    }
    let mut chosen: Vec<(usize, UnitName)> =
        free.iter().zip(&taken).filter_map(|(unit, by)| Some(((*by)?, unit.spec.name.clone()))).collect();
    chosen.sort();
    Some(chosen.into_iter().map(|(_, name)| name).collect())
}

fn find_path(ask: usize, graph: &(&[Attributes], &[&Unit]), taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    let (wanted, free) = graph;
    for (place, unit) in free.iter().enumerate() {
        if seen[place] || !unit.spec.has(&wanted[ask]) {
            continue;
        }
        seen[place] = true;
        if taken[place].is_none_or(|other| find_path(other, graph, taken, seen)) {
            taken[place] = Some(ask);
            return true;
        }
    }
    false
}

/// Why and since when a unit stands aside.
#[derive(Debug)]
pub(super) struct Aside {
    pub place: Place,
    pub why: AsideWhy,
}

/// All resources.
#[derive(Debug, Default)]
pub(super) struct Lines {
    all: BTreeMap<ResourceName, Resource>,
    /// Where somebody new may be first, or what is free may suffice.
    stirred: BTreeSet<ResourceName>,
    /// The worker that had a sticky one last. Memory alone: after a take-over those count that have it then.
    warm: BTreeMap<ResourceName, WorkerId>,
    aside: BTreeMap<TaskRef, Aside>,
}

impl Lines {
    /// One of them: declared, held or waited for.
    pub(super) fn get(&self, name: &ResourceName) -> Option<&Resource> {
        self.all.get(name)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&ResourceName, &Resource)> {
        self.all.iter()
    }

    /// Whether who asks for it rather goes to the worker that had it last.
    pub(super) fn sticky(&self, name: &ResourceName) -> Sticky {
        self.all.get(name).and_then(|resource| resource.row.as_ref()).map_or(Sticky::No, |row| row.sticky)
    }

    /// The worker that had a sticky one last.
    pub(super) fn warm_on(&self, name: &ResourceName) -> Option<WorkerId> {
        self.warm.get(name).copied().filter(|_| self.sticky(name) != Sticky::No)
    }

    /// The worker has what the unit holds from here on.
    pub(super) fn note_warm(&mut self, held: &[Grant], worker: WorkerId) {
        for grant in held {
            if self.sticky(&grant.name) != Sticky::No {
                self.warm.insert(grant.name.clone(), worker);
            }
        }
    }

    /// The next resource to look at.
    pub(super) fn pop_stirred(&mut self) -> Option<ResourceName> {
        self.stirred.pop_first()
    }

    /// Whether there is nothing to look at.
    pub(super) fn is_still(&self) -> bool {
        self.stirred.is_empty()
    }

    /// Heads of the line of this one.
    pub(super) fn heads(&self, name: &ResourceName) -> Vec<Place> {
        self.all.get(name).map(Resource::heads).unwrap_or_default()
    }

    /// Declared so from here on.
    pub(super) fn declare(&mut self, row: ResourceRow) {
        let name = row.name.clone();
        let resource = self.all.entry(name.clone()).or_default();
        resource.units.retain(|_, unit| {
            unit.is_gone = true;
            unit.holder.is_some()
        });
        for spec in &row.units {
            let unit = resource.units.entry(spec.name.clone());
            let unit = unit.or_insert_with(|| Unit { spec: spec.clone(), holder: None, is_gone: false });
            unit.spec = spec.clone();
            unit.is_gone = false;
        }
        resource.row = Some(row);
        self.stirred.insert(name);
    }

    /// Declared no more.
    pub(super) fn undeclare(&mut self, name: &ResourceName) {
        if let Some(resource) = self.all.get_mut(name) {
            resource.row = None;
            resource.units.clear();
        }
        self.tidy(name);
    }

    fn tidy(&mut self, name: &ResourceName) {
        if self.all.get(name).is_some_and(Resource::is_idle) {
            self.all.remove(name);
            self.warm.remove(name);
        } else {
            self.stirred.insert(name.clone());
        }
    }

    /// Takes its place in the line of each.
    pub(super) fn join(&mut self, place: Place, wants: &[Want]) {
        for want in wants {
            let resource = self.all.entry(want.name.clone()).or_default();
            resource.line.entry(want.part()).or_default().insert(place);
            self.stirred.insert(want.name.clone());
        }
    }

    /// Whether it has its place in each.
    pub(super) fn is_standing(&self, place: Place, wants: &[Want]) -> bool {
        wants.iter().all(|want| {
            let line = self.all.get(&want.name).and_then(|resource| resource.line.get(&want.part()));
            line.is_some_and(|places| places.contains(&place))
        })
    }

    /// Leaves its places.
    pub(super) fn leave(&mut self, place: Place, wants: &[Want]) {
        for want in wants {
            let Some(resource) = self.all.get_mut(&want.name) else { continue };
            let part = want.part();
            if let Some(places) = resource.line.get_mut(&part) {
                places.remove(&place);
                if places.is_empty() {
                    resource.line.remove(&part);
                }
            }
            self.tidy(&want.name);
        }
    }

    /// Stands aside.
    pub(super) fn put_aside(&mut self, aside: Aside, wants: &[Want]) {
        for want in wants {
            self.all.entry(want.name.clone()).or_default().aside.insert(aside.place);
        }
        self.aside.insert(aside.place.1, aside);
    }

    /// Stands aside no more. Whether it did.
    pub(super) fn bring_back(&mut self, unit: TaskRef, wants: &[Want]) -> bool {
        let Some(aside) = self.aside.remove(&unit) else { return false };
        for want in wants {
            if let Some(resource) = self.all.get_mut(&want.name) {
                resource.aside.remove(&aside.place);
            }
            self.tidy(&want.name);
        }
        true
    }

    /// Why it stands aside, where it does.
    pub(super) fn aside(&self, unit: TaskRef) -> Option<&AsideWhy> {
        self.aside.get(&unit).map(|aside| &aside.why)
    }

    /// Units of a task that stand aside.
    pub(super) fn aside_of(&self, first: TaskRef, last: TaskRef) -> Vec<TaskRef> {
        self.aside.range(first..=last).map(|(unit, _)| *unit).collect()
    }

    /// Whether this could be granted now at this place: it is the first in each line, and all is free.
    pub(super) fn can_grant(&self, place: Place, wants: &[Want]) -> bool {
        wants.iter().all(|want| {
            self.all
                .get(&want.name)
                .is_none_or(|resource| resource.before(place, want).is_none() && resource.fit(want).is_some())
        })
    }

    /// The units that would be given, each in the place of its ask; empty where none are asked for.
    pub(super) fn allot(&self, want: &Want) -> Option<Vec<UnitName>> {
        let resource = self.all.get(&want.name)?;
        match want.mode {
            Mode::Unit => assign(&want.units, |unit| unit.holder.is_none(), &resource.units),
            Mode::Exclusive | Mode::Shared | Mode::Counted => resource.fit(want),
        }
    }

    /// Grants it all.
    pub(super) fn grant(&mut self, unit: TaskRef, wants: &[Want], now: Timestamp) -> Box<[Grant]> {
        let mut grants = Vec::with_capacity(wants.len());
        for want in wants {
            let units = self.all.entry(want.name.clone()).or_default().fit(want).unwrap_or_default();
            let grant = Grant { name: want.name.clone(), mode: want.mode, amount: want.amount, units, at: now };
            self.hold(unit, &grant);
            grants.push(grant);
        }
        grants.into()
    }

    /// It holds this from here on.
    pub(super) fn hold(&mut self, unit: TaskRef, grant: &Grant) {
        let resource = self.all.entry(grant.name.clone()).or_default();
        resource.used = resource.used.saturating_add(grant.amount);
        resource.exclusive += u32::from(grant.mode == Mode::Exclusive);
        for name in &grant.units {
            let gone = || Unit {
                spec: UnitSpec { name: name.clone(), attributes: Attributes::new() },
                holder: None,
                is_gone: true,
            };
            resource.units.entry(name.clone()).or_insert_with(gone).holder = Some(unit);
        }
        resource.holders.insert(unit, grant.clone());
        self.stirred.insert(grant.name.clone());
    }

    /// It holds this no more.
    pub(super) fn release(&mut self, unit: TaskRef, grant: &Grant) {
        if let Some(resource) = self.all.get_mut(&grant.name)
            && resource.holders.remove(&unit).is_some()
        {
            resource.used = resource.used.saturating_sub(grant.amount);
            resource.exclusive = resource.exclusive.saturating_sub(u32::from(grant.mode == Mode::Exclusive));
            for name in &grant.units {
                if let Some(held) = resource.units.get_mut(name) {
                    held.holder = None;
                }
            }
            resource.units.retain(|_, unit| !unit.is_gone || unit.holder.is_some());
        }
        self.tidy(&grant.name);
    }
}
