//! I5: nothing is held beyond its capacity, exclusive excludes all, a unit has one holder; whoever may begin holds all
//! that its task asks for, whoever waits or has ended holds nothing; and nobody is granted what somebody who stands
//! before it in the same line waits for.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Batch;
use bowline_core::gang::Form;
use bowline_core::id::{TaskId, TaskRef, Ticket};
use bowline_core::name::{Key, ResourceName};
use bowline_core::resource::{Ask, Grant, Mode, ResourceRow, UnitSpec};
use bowline_core::row::{Row, Subject, Unit};
use bowline_core::state::StateKind;

use super::book::Book;
use super::{Found, Invariant};

/// What this rule remembers of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    declared: BTreeMap<ResourceName, ResourceRow>,
    held: BTreeMap<TaskRef, Vec<Grant>>,
    used: BTreeMap<ResourceName, u64>,
    /// Who stands in line, as the history says.
    standing: BTreeSet<TaskRef>,
}

impl Lines {
    /// Somebody leads anew. Whoever is under a key or a rate, or all where there are quotas, may stand aside from then on
    /// without a word in the history: others may have come before it there. Who stands is known when it is told again.
    pub fn led_anew(&mut self, book: &Book, has_quotas: bool) {
        self.standing.retain(|unit| {
            let spec = book.tasks.get(&unit.task).map(|task| &task.spec);
            !has_quotas && spec.is_none_or(|spec| spec.concurrency.is_none() && spec.rate.is_none())
        });
    }

    /// What each holds of a resource.
    pub fn of<'a>(&'a self, name: &'a ResourceName) -> impl Iterator<Item = (&'a TaskRef, &'a Grant)> {
        let all = self.held.iter().flat_map(|(unit, held)| held.iter().map(move |grant| (unit, grant)));
        all.filter(move |(_, grant)| grant.name == *name)
    }
}

/// What one batch changed.
struct Turn<'a> {
    lines: &'a mut Lines,
    book: &'a Book,
    found: &'a mut Found,
    at: u64,
    granted: Vec<(TaskRef, Grant)>,
    /// Resources that were declared otherwise, or taken away.
    changed: BTreeSet<ResourceName>,
    /// Units of which the history tells something.
    told: BTreeSet<TaskRef>,
}

/// Takes a batch that the book has already.
pub fn commit(lines: &mut Lines, book: &Book, (found, at): (&mut Found, u64), batch: &Batch) {
    let told = batch.history.iter().filter_map(|line| match &line.subject {
        Subject::Task(unit) => Some(*unit),
        Subject::Run(_) | Subject::Worker(_) | Subject::Namespace(_) | Subject::Resource(_) => None,
    });
    let told = told.collect();
    let (granted, changed) = (Vec::new(), BTreeSet::new());
    let mut turn = Turn { lines, book, found, at, granted, changed, told };
    for row in &batch.rows {
        turn.row(row);
    }
    turn.holders();
    turn.order();
    for line in &batch.history {
        if let Subject::Task(unit) = &line.subject {
            turn.stands(*unit, &line.what);
        }
    }
}

impl Turn<'_> {
    fn row(&mut self, row: &Row) {
        match row {
            Row::NewTask(new) => self.unit(TaskRef::whole(new.row.id), &new.row.unit),
            Row::Task(row) => self.unit(TaskRef::whole(row.id), &row.unit),
            Row::Element(row) => self.unit(TaskRef::element(row.task, row.index), &row.unit),
            Row::Resource(row) => {
                self.changed.insert(row.name.clone());
                self.lines.declared.insert(row.name.clone(), (**row).clone());
            }
            Row::ResourceGone(name) => {
                self.changed.insert(name.clone());
                self.lines.declared.remove(name);
            }
            Row::TaskGone(id) => {
                let is_its = |unit: &TaskRef| unit.task == *id;
                self.lines.standing.retain(|unit| !is_its(unit));
                self.lines.held.retain(|unit, _| !is_its(unit));
            }
            Row::Counters(_)
            | Row::Gang(_)
            | Row::GangGone(_)
            | Row::Attempt(_)
            | Row::Result(_)
            | Row::Artifact(_)
            | Row::NewRun(_)
            | Row::Run(_)
            | Row::Node(_)
            | Row::Worker(_)
            | Row::WorkerGone(_)
            | Row::Namespace(_)
            | Row::Rate(_)
            | Row::Key(_)
            | Row::Pause(_)
            | Row::Token(_)
            | Row::TokenGone(_) => {}
        }
    }

    /// Whether it holds what it must.
    fn unit(&mut self, unit: TaskRef, row: &Unit) {
        let Some(task) = self.book.tasks.get(&unit.task) else { return };
        let is_whole_array = task.count.is_some() && unit.index.is_none();
        let asked: BTreeSet<&ResourceName> = task.spec.resources.iter().filter_map(Ask::name).collect();
        let holds: BTreeSet<&ResourceName> = row.held.iter().map(|grant| &grant.name).collect();
        let state = row.state;
        let holds_none = is_whole_array || state.is_ended() || matches!(state, StateKind::Waiting | StateKind::Blocked);
        let holds_all = state.is_live() || matches!(state, StateKind::Ready | StateKind::InDoubt);
        let is_right = if holds_none { holds.is_empty() } else { !holds_all || holds == asked };
        self.found.unless(is_right, self.at, Invariant::I5, || {
            format!("{unit} is {state}, asks for {asked:?} and holds {holds:?}")
        });
        let before = self.lines.held.remove(&unit).unwrap_or_default();
        self.granted.extend(row.held.iter().filter(|grant| !before.contains(grant)).map(|grant| (unit, grant.clone())));
        if !row.held.is_empty() {
            self.lines.held.insert(unit, row.held.clone());
        }
    }

    /// Capacities, exclusion, units.
    fn holders(&mut self) {
        let touched: BTreeSet<&ResourceName> = self.granted.iter().map(|(_, grant)| &grant.name).collect();
        for name in touched {
            let all = self.lines.held.iter().flat_map(|(unit, held)| held.iter().map(move |grant| (unit, grant)));
            let holders: Vec<(&TaskRef, &Grant)> = all.filter(|(_, grant)| grant.name == *name).collect();
            let exclusive = holders.iter().any(|(_, grant)| grant.mode == Mode::Exclusive);
            self.found.unless(!exclusive || holders.len() == 1, self.at, Invariant::I5, || {
                format!("{name} is held exclusively, and by others: {holders:?}")
            });
            let mut units = BTreeSet::new();
            let twice = holders.iter().flat_map(|(_, grant)| &grant.units).find(|unit| !units.insert(*unit));
            self.found.unless(twice.is_none(), self.at, Invariant::I5, || {
                format!("unit {twice:?} of {name} is held twice: {holders:?}")
            });
            let used: u64 = holders.iter().map(|(_, grant)| grant.amount).sum();
            let capacity = self.lines.declared.get(name).map_or(1, |row| row.capacity);
            // What was granted before it shrank is kept; which came first within one batch nobody sees.
            let before = self.lines.used.get(name).copied().unwrap_or(0);
            let is_within = used <= capacity.max(before) || self.changed.contains(name);
            self.found.unless(is_within, self.at, Invariant::I5, || {
                format!("{used} of {name} are held, and there are {capacity}: {holders:?}")
            });
        }
        let mut used: BTreeMap<ResourceName, u64> = BTreeMap::new();
        for grant in self.lines.held.values().flatten() {
            *used.entry(grant.name.clone()).or_default() += grant.amount;
        }
        self.lines.used = used;
    }

    /// Nobody who stood in line before this batch, and of whom nothing is told in it, was overtaken.
    fn order(&mut self) {
        for (unit, grant) in std::mem::take(&mut self.granted) {
            let Some(ticket) = self.ticket(unit) else { continue };
            if self.is_passed_on(unit) {
                continue;
            }
            let before = self.lines.standing.iter().filter(|other| {
                !self.told.contains(other)
                    && self.stands_itself(**other)
                    && self.ticket(**other).is_some_and(|own| (own, **other) < (ticket, unit))
            });
            let mut overtaken = before.filter(|other| self.is_in_the_way(unit, **other, &grant));
            if let Some(other) = overtaken.next() {
                let (other, name) = (*other, grant.name.clone());
                self.found.add(self.at, Invariant::I5, || {
                    format!("{unit} (ticket {ticket}) is granted {name}, and {other} stands before it in that line")
                });
            }
        }
    }

    /// Whether it is a link of a chain that goes on with what the link before it held until this very batch.
    fn is_passed_on(&self, unit: TaskRef) -> bool {
        let member = self.book.tasks.get(&unit.task).and_then(|task| task.spec.gang);
        let is_link = member.is_some_and(|member| member.terms.form == Form::Chain && member.index > 0);
        is_link && self.told.contains(&TaskRef::whole(TaskId(unit.task.0 - 1)))
    }

    /// A member of a gang stands with all others that have not ended, or not at all.
    fn stands_itself(&self, unit: TaskRef) -> bool {
        // Whoever is paused stands aside; an element that its array's window held back says so to nobody.
        let is_paused = self.book.tasks.get(&unit.task).is_some_and(|task| task.paused);
        if is_paused || !self.has_a_window(unit) {
            return false;
        }
        let member = self.book.tasks.get(&unit.task).and_then(|task| task.spec.gang);
        let Some(member) = member.filter(|member| member.terms.form != Form::Chain) else { return true };
        member.all().map(TaskRef::whole).all(|other| {
            let state = self.book.tasks.get(&other.task).map(|task| task.unit.state);
            let stands = state == Some(StateKind::Waiting) && self.lines.standing.contains(&other);
            state.is_none_or(StateKind::is_ended) || (stands && !self.told.contains(&other))
        })
    }

    /// Whether its array may have one more at work. Where it may not it is in nobody's way; after a take-over that is so
    /// without a word in the history.
    fn has_a_window(&self, unit: TaskRef) -> bool {
        let array = self.book.tasks.get(&unit.task).and_then(|task| task.spec.array.as_ref());
        let Some(at_most) = array.and_then(|array| array.at_most).filter(|_| unit.index.is_some()) else { return true };
        let elements = self.book.elements.range((unit.task, 0)..=(unit.task, u32::MAX));
        let at_work = elements.filter(|(_, element)| element.state.is_live() || element.state == StateKind::Ready);
        at_work.count() < at_most as usize
    }

    fn ticket(&self, unit: TaskRef) -> Option<Ticket> {
        self.book.tasks.get(&unit.task).map(|task| task.ticket)
    }

    /// Whether both wait in the same line: not where both ask for units that none could be.
    fn is_in_the_way(&self, unit: TaskRef, other: TaskRef, grant: &Grant) -> bool {
        let asks = |unit: TaskRef| {
            let resources =
                self.book.tasks.get(&unit.task).map(|task| task.spec.resources.as_slice()).unwrap_or_default();
            resources.iter().filter(|ask| ask.name() == Some(&grant.name))
        };
        let with = |ask: &Ask| match ask {
            Ask::Unit { with, .. } => Some(with.clone()),
            Ask::Exclusive { .. } | Ask::Shared { .. } | Ask::Counted { .. } => None,
        };
        let units: &[UnitSpec] =
            self.lines.declared.get(&grant.name).map(|row| row.units.as_slice()).unwrap_or_default();
        asks(other).any(|theirs| match with(theirs) {
            None => true,
            Some(theirs) => asks(unit).any(|own| match with(own) {
                None => true,
                Some(own) => share(units, &own, &theirs),
            }),
        })
    }

    fn stands(&mut self, unit: TaskRef, what: &str) {
        let is_state = |what: &str| StateKind::parse(what).is_some_and(|state| state != StateKind::Waiting);
        if matches!(what, "waiting" | "steps_back") {
            self.lines.standing.insert(unit);
        } else if what == "stands_aside" || is_state(what) {
            self.lines.standing.remove(&unit);
        }
    }
}

fn share(units: &[UnitSpec], one: &BTreeMap<Key, String>, other: &BTreeMap<Key, String>) -> bool {
    units.iter().any(|unit| unit.has(one) && unit.has(other))
}
