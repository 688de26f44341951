//! Where a gang stands while it gathers: one ticket, one place in every line that its members ask for, one place among
//! those that wait for workers. What it is granted, each member holds for itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{TaskId, TaskRef, Ticket};
use crate::machine::Event;
use crate::probe::{self, Path};
use crate::resource::Grant;
use crate::state::StateKind;

use super::super::Engine;
use super::super::lane::Line;
use super::super::lines::{Place, Want};
use super::super::out::Cause;
use super::super::table::At;

impl Engine {
    /// What all of them ask for, as one.
    pub(super) fn union_of(&self, living: &[TaskId]) -> Arc<[Want]> {
        let mut union: BTreeMap<_, Want> = BTreeMap::new();
        for want in living.iter().filter_map(|id| self.tasks.get(id)).flat_map(|task| task.policy.wants.iter()) {
            match union.get_mut(&want.name) {
                None => drop(union.insert(want.name.clone(), want.clone())),
                Some(all) => {
                    all.amount = all.amount.saturating_add(want.amount);
                    all.units.extend(want.units.iter().cloned());
                }
            }
        }
        union.into_values().collect()
    }

    /// What its gang asks for, of the member at whose place it stands.
    pub(in crate::engine) fn gang_wants(&self, unit: TaskRef) -> Option<Arc<[Want]>> {
        let (_, gang) = self.gang_of(unit.task)?;
        gang.place.as_ref().filter(|((_, at), _)| *at == unit).map(|(_, wants)| Arc::clone(wants))
    }

    /// Where somebody stands, and for what: his own place, or his gang's.
    pub(in crate::engine) fn standing_for(&self, unit: TaskRef) -> (TaskRef, Arc<[Want]>) {
        let place = self.gang_of(unit.task).and_then(|(_, gang)| gang.place.as_ref());
        place.map_or_else(|| (unit, self.wants_of(unit)), |((_, at), wants)| (*at, Arc::clone(wants)))
    }

    /// The gang leaves its places, in line or aside.
    pub(super) fn unplace(&mut self, first: TaskId) {
        let place = self.gangs.all.get_mut(&first).and_then(|gang| gang.place.take());
        if let Some((place, wants)) = place
            && !self.lines.bring_back(place.1, &wants)
        {
            self.lines.leave(place, &wants);
        }
    }

    /// A member waits no more: its gang leaves its places. Whether it is one whose gang stands for it.
    pub(in crate::engine) fn unstand_gang(&mut self, unit: TaskRef) -> bool {
        let Some((first, gang)) = self.gang_of(unit.task).filter(|_| self.is_bound(unit.task)) else { return false };
        let is_placed = gang.place.is_some();
        if let Some(gang) = self.gangs.all.get_mut(&first) {
            gang.limbo.remove(&unit.task);
        }
        if is_placed {
            self.unplace(first);
        }
        true
    }

    /// Members for whom somebody stands: himself alone, or his whole gang.
    pub(in crate::engine) fn stands_for(&self, unit: TaskRef) -> Vec<TaskRef> {
        if !self.is_bound(unit.task) {
            return vec![unit];
        }
        let first = self.gang_of(unit.task).map_or(unit.task, |(first, _)| first);
        self.living(first).into_iter().map(TaskRef::whole).collect()
    }

    /// All of what the gang asks for, in one commit; each member holds what it asks for itself.
    pub(in crate::engine) fn grant_gang(&mut self, place: Place, wants: &[Want]) {
        let mut units: BTreeMap<_, _> = wants
            .iter()
            .map(|want| (want.name.clone(), self.lines.allot(want).unwrap_or_default().into_iter()))
            .collect();
        let members = self.stands_for(place.1);
        let now = self.now;
        if let Some((first, _)) = self.gang_of(place.1.task) {
            self.unplace(first);
        }
        for unit in members {
            let own = self.tasks.get(&unit.task).map(|task| Arc::clone(&task.policy.wants)).unwrap_or_default();
            let mut held: Vec<Grant> = Vec::with_capacity(own.len());
            for want in own.iter() {
                let amount = usize::try_from(want.amount).unwrap_or(usize::MAX);
                let mut given: Vec<_> =
                    units.get_mut(&want.name).map(|units| units.take(amount).collect()).unwrap_or_default();
                given.sort();
                held.push(Grant {
                    name: want.name.clone(),
                    mode: want.mode,
                    amount: want.amount,
                    units: given,
                    at: now,
                });
            }
            for grant in &held {
                self.lines.hold(unit, grant);
            }
            let cause = Cause::server("its gang is granted what it asks for");
            if let Some(hot) = self.hot_mut(unit).filter(|_| !held.is_empty()) {
                hot.set_held(held.into());
            }
            self.shift(unit, Event::Granted, &cause).expect("what waits can be granted");
        }
    }

    /// What a member that gathers holds is free again.
    pub(super) fn release_of_member(&mut self, id: TaskId) {
        let unit = TaskRef::whole(id);
        if self.tasks.get(&id).is_some_and(|task| !task.hot.held().is_empty()) {
            self.release_held(unit);
            self.touch_unit(unit);
        }
    }

    /// Puts right where a gang stands, after something changed that may put it aside or bring it back.
    pub(in crate::engine) fn restand_gang(&mut self, first: TaskId) {
        let Some(gang) = self.gangs.all.get(&first) else { return };
        if let Some((place, wants)) = gang.place.clone() {
            return self.put_right_and_tell(place, &wants);
        }
        self.gangs.due.insert(first);
        let living = self.living(first);
        let is_ready = |id: &TaskId| self.kind_of(*id) == StateKind::Ready;
        if living.is_empty() || !living.iter().all(is_ready) || self.union_of(&living).is_empty() {
            return;
        }
        if let Some(why) = self.aside_why(TaskRef::whole(living[0])) {
            probe::reached(Path::GrantsGivenBackAside);
            let cause = Cause::server(super::super::resource::say_aside(&why));
            for id in living {
                self.shift(TaskRef::whole(id), Event::StoodAside, &cause).expect("what is ready can stand aside");
            }
        }
    }

    /// Something about a member changed: its gang is looked at. Whether it goes with that alone.
    pub(in crate::engine) fn stir_gang_of(&mut self, id: TaskId) -> bool {
        let Some((first, _)) = self.gang_of(id).filter(|_| self.is_bound(id)) else { return false };
        self.gangs.due.insert(first);
        true
    }

    /// Puts right where the gang of this task stands, where it goes with that alone. Whether it does.
    pub(in crate::engine) fn restand_gang_of(&mut self, id: TaskId) -> bool {
        let Some((first, _)) = self.gang_of(id).filter(|_| self.is_bound(id)) else { return false };
        self.restand_gang(first);
        true
    }

    /// All wait: they take their one ticket, and its places in all lines.
    pub(super) fn stand_together(&mut self, first: TaskId, living: &[TaskId]) {
        let ticket = self.gang_ticket(living);
        let wants = self.union_of(living);
        if wants.is_empty() {
            let cause = Cause::server("its gang is complete");
            for id in living {
                self.shift(TaskRef::whole(*id), Event::Granted, &cause).expect("what waits can be granted");
            }
            return;
        }
        let place = (ticket, TaskRef::whole(living[0]));
        let is_there =
            self.gangs.all.get(&first).is_some_and(|gang| gang.place.as_ref().is_some_and(|(at, _)| *at == place));
        if !is_there {
            self.unplace(first);
            if let Some(gang) = self.gangs.all.get_mut(&first) {
                gang.place = Some((place, wants));
            }
        }
        self.restand_gang(first);
    }

    /// One ticket for all of them: a new one, where none has one yet.
    pub(super) fn gang_ticket(&mut self, living: &[TaskId]) -> Ticket {
        let of = |id: &TaskId| {
            let task = self.tasks.get(id).filter(|task| task.ticket.0 > 0)?;
            Some((task.ticket, task.ticket_at))
        };
        let (known, now) = (living.iter().find_map(of), At::from(self.now));
        let (ticket, ticket_at) = known.unwrap_or_else(|| (self.new_ticket(), now));
        for id in living {
            if let Some(task) = self.tasks.get_mut(id).filter(|task| task.ticket != ticket) {
                task.ticket = ticket;
                task.ticket_at = ticket_at;
                self.touch_task(*id);
            }
        }
        ticket
    }

    /// All are ready: the gang stands among those that wait for workers, unless one of them is paused.
    pub(super) fn line_up_gang(&mut self, first: TaskId, living: &[TaskId]) {
        let is_up = !living.iter().any(|id| self.is_stood_down(*id));
        let lines = living.iter().filter_map(|id| self.line_of(TaskRef::whole(*id)));
        let line = lines.min().filter(|_| is_up).map(|line| Line { unit: TaskRef::whole(first), ..line });
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        if gang.line == line {
            // Something of it has moved: the others may have workers where those who have ended had none.
            if line.is_some() {
                self.gangs.stir();
            }
            return;
        }
        let old = std::mem::replace(&mut gang.line, line);
        if let Some(old) = old {
            self.gangs.ready.remove(&old);
        }
        if let Some(line) = line {
            self.gangs.ready.insert(line);
            self.gangs.stir();
        }
    }
}
