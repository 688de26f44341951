//! Tickets of tasks that ask for resources: taking their places, all or none in one commit, standing aside and
//! stepping back.
//!
//! A unit that is `waiting` stands in the line of every resource that it asks for, or aside. What it is granted it holds
//! until its round ends or it is `waiting` again. Of an array, every element that is back and the next one that never
//! began stand in line, under the array's one ticket and their index.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::explain::AsideWhy;
use crate::id::{TaskId, TaskRef};
use crate::machine::{Event, State};
use crate::mutant::{self, Mutant};
use crate::name::{Namespace, ResourceName};
use crate::probe::{self, Path};
use crate::resource::{Grant, Mode};
use crate::state::StateKind;

use super::Engine;
use super::able::Asking;
use super::array::{Array, Element};
use super::lines::{Aside, Place, Want};
use super::out::Cause;
use super::resource::{say_aside, units_of};
use super::table::{At, Hot};
use super::timer::Timer;

/// Elements of one array that are granted and not yet claimed, at most: they are in memory.
const GRANTED_AHEAD_MAX: usize = 1_000;

/// What became of a place that was put right.
enum Put {
    AsBefore,
    /// It was aside, and stands in line again.
    Back,
    /// It stood in line, and is aside for this.
    Aside(AsideWhy),
}

impl Engine {
    /// What the unit asks for; empty for most.
    pub(super) fn wants_of(&self, unit: TaskRef) -> Arc<[Want]> {
        let own = || self.tasks.get(&unit.task).map(|task| Arc::clone(&task.policy.wants)).unwrap_or_default();
        self.gang_wants(unit).unwrap_or_else(own)
    }

    /// Whether the task asks for resources.
    pub(super) fn asks(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.policy.asks())
    }

    fn place_of(&self, unit: TaskRef) -> Option<Place> {
        Some((self.tasks.get(&unit.task)?.ticket, unit))
    }

    /// Unfinished tasks that ask for resources.
    pub(super) fn asking_tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.asking.values().flat_map(|asking| asking.members.iter().copied())
    }

    /// The task counts among those that ask, until its round ends.
    pub(super) fn begin_asking(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.policy.asks()) else { return };
        let (lane, key) = (task.policy.lane, Arc::clone(&task.policy.lane_key));
        let is_new = !self.asking.contains_key(&lane);
        let is_able = is_new && self.is_somebody_able(&key);
        let now = self.now;
        let asking = self.asking.entry(lane).or_insert_with(|| Asking {
            key,
            members: BTreeSet::new(),
            unable_since: (!is_able).then_some(now),
            is_aside: false,
            timer: At::default(),
        });
        asking.members.insert(id);
        if is_new {
            self.retime_lane(lane);
        }
        self.begin_limits(id);
    }

    /// Its round is over.
    pub(super) fn end_asking(&mut self, id: TaskId) {
        let Some(lane) = self.tasks.get(&id).map(|task| task.policy.lane) else { return };
        let Some(asking) = self.asking.get_mut(&lane) else { return };
        asking.members.remove(&id);
        let is_last = asking.members.is_empty();
        if is_last {
            if let Some(at) = asking.timer.get() {
                self.timers.remove(&(at, Timer::Lane(lane)));
            }
            self.asking.remove(&lane);
        }
        self.end_limits(id);
    }

    /// A unit is `waiting`: it takes its places, or stands aside.
    pub(super) fn stand(&mut self, unit: TaskRef, cause: &Cause) {
        let wants = self.wants_of(unit);
        let Some(place) = self.place_of(unit) else { return };
        if self.kept_aside(unit).is_none() {
            self.join_gates(place);
        }
        if let Some(why) = self.aside_why(unit) {
            self.tell_aside(unit, &why);
            self.lines.put_aside(Aside { place, why }, &wants);
            return;
        }
        self.lines.join(place, &wants);
        self.may_open(place, &wants);
        let all: Vec<String> = wants.iter().map(Want::describe).collect();
        let reason = if all.is_empty() { String::new() } else { format!("asks for {}", all.join(", ")) };
        let reason = if cause.reason.is_empty() { reason } else { format!("{}; {reason}", cause.reason) };
        self.tell_state(unit, "waiting", &Cause::new(&cause.actor, reason));
    }

    /// In line or aside, as it is now; nothing is told.
    fn put_right(&mut self, place: Place, wants: &[Want]) -> Put {
        let was_aside = self.lines.aside(place.1).is_some();
        if self.kept_aside(place.1).is_some() {
            self.leave_gates(place);
        } else {
            self.join_gates(place);
        }
        match self.aside_why(place.1) {
            Some(why) if self.lines.aside(place.1).is_some_and(|known| known.is_like(&why)) => Put::AsBefore,
            Some(why) => {
                if was_aside {
                    self.lines.bring_back(place.1, wants);
                } else {
                    self.lines.leave(place, wants);
                }
                self.lines.put_aside(Aside { place, why: why.clone() }, wants);
                if was_aside { Put::AsBefore } else { Put::Aside(why) }
            }
            None if was_aside => {
                self.lines.bring_back(place.1, wants);
                self.lines.join(place, wants);
                self.may_open(place, wants);
                Put::Back
            }
            None => {
                if !self.lines.is_standing(place, wants) {
                    self.lines.join(place, wants);
                }
                self.may_open(place, wants);
                Put::AsBefore
            }
        }
    }

    /// At a take-over.
    pub(super) fn stand_loaded(&mut self, unit: TaskRef) {
        let wants = self.wants_of(unit);
        if let Some(place) = self.place_of(unit).filter(|_| self.asks(unit.task)) {
            self.put_right(place, &wants);
        }
    }

    fn tell_aside(&mut self, unit: TaskRef, why: &AsideWhy) {
        probe::reached(match why {
            AsideWhy::Paused => Path::AsideForAPause,
            AsideWhy::OutOfService { .. } | AsideWhy::TooMuch { .. } => Path::AsideForAResource,
            AsideWhy::NoWorker { .. } => Path::AsideForWantOfAWorker,
            AsideWhy::Window => Path::AsideForTheWindow,
            AsideWhy::Concurrency { .. } => Path::AsideForAKey,
            AsideWhy::Rate { .. } => Path::AsideForARate,
            AsideWhy::Running { .. } | AsideWhy::Held { .. } => Path::AsideForAQuota,
        });
        self.tell_state(unit, "stands_aside", &Cause::server(say_aside(why)));
    }

    fn tell_back(&mut self, unit: TaskRef) {
        probe::reached(Path::SteppedBackToItsNumber);
        self.tell_state(unit, "steps_back", &Cause::server("what kept it aside is over"));
    }

    fn tell_state(&mut self, unit: TaskRef, what: &str, cause: &Cause) {
        let attempt = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)).map(|hot| hot.attempt);
        self.tell(unit, attempt.unwrap_or_default(), what, cause);
    }

    /// It waits no more, or no longer here.
    pub(super) fn unstand(&mut self, unit: TaskRef) {
        let wants = self.wants_of(unit);
        let Some(place) = self.place_of(unit).filter(|_| self.asks(unit.task)) else { return };
        self.leave_gates(place);
        if !self.lines.bring_back(unit, &wants) {
            self.lines.leave(place, &wants);
        }
    }

    /// What it holds is free again, in this very commit.
    pub(super) fn release_held(&mut self, unit: TaskRef) {
        let Some(held) = self.hot_mut(unit).and_then(Hot::take_held) else { return };
        for grant in &held {
            self.lines.release(unit, grant);
        }
        if !self.rooms.is_empty() {
            let kind = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)).map(|hot| hot.state.kind());
            self.follow_gates(unit, kind.unwrap_or(StateKind::Waiting));
        }
    }

    /// Whether it still holds all from before a retry. Whoever would stand aside now gives it up.
    pub(super) fn still_holds(&mut self, unit: TaskRef) -> bool {
        let holds =
            self.tasks.get(&unit.task).and_then(|task| task.unit(unit)).is_some_and(|hot| !hot.held().is_empty());
        if holds && let Some(place) = self.place_of(unit).filter(|_| self.kept_aside(unit).is_none()) {
            // Whoever comes after it may have been let through meanwhile: it goes before them.
            self.join_gates(place);
        }
        if holds && self.aside_why(unit).is_some() {
            self.release_held(unit);
            self.touch_unit(unit);
            return false;
        }
        holds
    }

    /// Elements of an array that wait take their places, as they are now: of a new round, and when it is paused or goes on.
    pub(super) fn stand_elements(&mut self, id: TaskId) {
        for unit in self.waiting_elements(id) {
            let wants = self.wants_of(unit);
            let Some(place) = self.place_of(unit) else { return };
            self.put_right_and_tell(place, &wants);
        }
    }

    /// The same at a take-over.
    pub(super) fn stand_loaded_elements(&mut self, id: TaskId) {
        for unit in self.waiting_elements(id) {
            self.stand_loaded(unit);
        }
    }

    fn waiting_elements(&self, id: TaskId) -> Vec<TaskRef> {
        let array = self.tasks.get(&id).and_then(|task| task.array()).filter(|array| array.asks);
        let elements = array.into_iter().flat_map(|array| &array.elements);
        let waiting = elements.filter(|(_, element)| element.hot.state == State::Waiting);
        let waiting = waiting.map(|(index, _)| TaskRef::element(id, *index));
        // In a new round they are there before their array has come to its turn.
        waiting.filter(|unit| self.may_stand(*unit)).collect()
    }

    /// Whether an array's elements may stand in line: it has its ticket, and is not being stopped.
    fn may_stand(&self, unit: TaskRef) -> bool {
        let Some(task) = self.tasks.get(&unit.task) else { return false };
        unit.index.is_none() || matches!(task.hot.state, State::Ready | State::Running { .. })
    }

    /// Why a unit that waits, or has been granted all and has no attempt, stands aside.
    pub(super) fn aside_why(&self, unit: TaskRef) -> Option<AsideWhy> {
        self.stands_for(unit).into_iter().find_map(|member| self.own_aside_why(member))
    }

    /// The same, of this unit alone.
    fn own_aside_why(&self, unit: TaskRef) -> Option<AsideWhy> {
        self.kept_aside(unit).or_else(|| self.gate_why(unit))
    }

    /// The same, but for gates; of what its gang asks for, where it stands for that.
    fn kept_aside(&self, unit: TaskRef) -> Option<AsideWhy> {
        let wants = self.wants_of(unit);
        let task = self.tasks.get(&unit.task)?;
        let is_paused = self.is_stood_down(unit.task)
            || self.pauses.of(&task.policy.namespace).is_some()
            || self.pauses.all().is_some();
        if is_paused && !mutant::is(Mutant::PauseIgnored) {
            return Some(AsideWhy::Paused);
        }
        for want in wants.iter() {
            let Some(resource) = self.lines.get(&want.name) else { continue };
            if let Some(reason) = resource.out_of_service() {
                return Some(AsideWhy::OutOfService { name: want.name.clone(), reason: reason.to_owned() });
            }
            if resource.could_fit(want).is_err() {
                return Some(AsideWhy::TooMuch { name: want.name.clone() });
            }
        }
        if let Some(asking) = self.asking.get(&task.policy.lane).filter(|asking| asking.is_aside) {
            return Some(AsideWhy::NoWorker { since: asking.unable_since.unwrap_or(self.now) });
        }
        let array = task.array().filter(|_| unit.index.is_some())?;
        let is_granted = unit.index.is_some_and(|index| array.ready.contains(&index));
        (!is_granted && !array.has_room_for_a_grant()).then_some(AsideWhy::Window)
    }

    /// Whoever is first in line gets what is free, as long as anything moves.
    pub(super) fn serve_lines(&mut self) {
        loop {
            self.serve_gates();
            if let Some(name) = self.lines.pop_stirred() {
                while self.serve_one(&name) {
                    self.serve_gates();
                }
            } else if !self.serve_open() {
                return;
            }
        }
    }

    fn serve_one(&mut self, name: &ResourceName) -> bool {
        for place in self.lines.heads(name) {
            let wants = self.wants_of(place.1);
            if !self.lines.can_grant(place, &wants) {
                continue;
            }
            if self.aside_why(place.1).is_some() {
                self.restand(place.1);
            } else {
                self.grant(place, &wants);
            }
            return true;
        }
        false
    }

    /// All of it, in one commit.
    pub(super) fn grant(&mut self, place: Place, wants: &[Want]) {
        let unit = place.1;
        if self.is_bound(unit.task) {
            return self.grant_gang(place, wants);
        }
        self.begin_waiting_element(unit);
        let held = self.lines.grant(unit, wants, self.now);
        let cause = if held.is_empty() { String::new() } else { format!("granted {}", say_held(&held)) };
        let cause = Cause::server(cause);
        if let Some(hot) = self.hot_mut(unit) {
            hot.set_held(held);
        }
        self.shift(unit, Event::Granted, &cause).expect("what waits can be granted");
    }

    /// The next element of an array is in memory from its grant on.
    fn begin_waiting_element(&mut self, unit: TaskRef) {
        let Some(index) = unit.index else { return };
        let now = self.now;
        let Some(array) = self.tasks.get_mut(&unit.task).and_then(|task| task.array_mut()) else { return };
        if array.elements.contains_key(&index) {
            return;
        }
        array.elements.insert(index, Element { version: 0, hot: Hot::new(State::Waiting, now) });
        array.advance();
        // Its place is left with its state.
        array.next_lined = None;
        self.count_loaded(unit, StateKind::Waiting);
        self.touch_task(unit.task);
    }

    /// Puts right where a unit stands, after something changed that may put it aside or bring it back.
    pub(super) fn restand(&mut self, unit: TaskRef) {
        if self.restand_gang_of(unit.task) {
            return;
        }
        let wants = self.wants_of(unit);
        let state = self.tasks.get(&unit.task).and_then(|task| task.unit(unit)).map(|hot| hot.state.kind());
        match state {
            Some(StateKind::Waiting) if !self.may_stand(unit) => {}
            Some(StateKind::Waiting) => {
                let Some(place) = self.place_of(unit) else { return };
                self.put_right_and_tell(place, &wants);
            }
            Some(StateKind::Ready) if unit.index.is_some() || !self.is_array(unit.task) => {
                if let Some(why) = self.aside_why(unit) {
                    probe::reached(Path::GrantsGivenBackAside);
                    let cause = Cause::server(say_aside(&why));
                    self.shift(unit, Event::StoodAside, &cause).expect("what is ready can stand aside");
                }
            }
            // The next of an array, which never began: it stands as its array does.
            None => self.line_up_array(unit.task),
            Some(_) => {}
        }
    }

    /// In line or aside, as it is now.
    pub(super) fn put_right_and_tell(&mut self, place: Place, wants: &[Want]) {
        let unit = place.1;
        match self.put_right(place, wants) {
            Put::Back => self.tell_back(unit),
            Put::Aside(why) => self.tell_aside(unit, &why),
            Put::AsBefore => {}
        }
    }

    fn is_array(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.array().is_some())
    }

    /// Every unit of a task.
    pub(super) fn restand_task(&mut self, id: TaskId) {
        if self.restand_gang_of(id) || !self.asks(id) {
            return;
        }
        let elements = self.tasks.get(&id).and_then(|task| task.array());
        match elements.map(|array| array.elements.keys().copied().collect::<Vec<u32>>()) {
            Some(indexes) => {
                for index in indexes {
                    self.restand(TaskRef::element(id, index));
                }
                self.line_up_array(id);
            }
            None => self.restand(TaskRef::whole(id)),
        }
    }

    /// Every task that asks for resources in this namespace, or in all.
    pub(super) fn restand_namespace(&mut self, namespace: Option<&Namespace>) {
        let lanes = self.asking.values().filter(|asking| namespace.is_none_or(|name| asking.key.namespace == *name));
        let tasks: Vec<TaskId> = lanes.flat_map(|asking| asking.members.iter().copied()).collect();
        for id in tasks {
            self.restand_task(id);
        }
    }

    /// Everybody in line for this resource, aside of it or granted it without having begun.
    pub(super) fn restand_at(&mut self, name: &ResourceName) {
        let Some(resource) = self.lines.get(name) else { return };
        let places = resource.places().chain(resource.aside.iter().copied()).map(|(_, unit)| unit);
        let units: BTreeSet<TaskRef> = places.chain(resource.holders.keys().copied()).collect();
        for unit in units {
            self.restand(unit);
        }
    }

    /// Elements that stand aside because of their array's window, and have room now.
    pub(super) fn restand_window(&mut self, id: TaskId) {
        let (first, last) = units_of(id);
        for unit in self.lines.aside_of(first, last) {
            let has_room = self.tasks.get(&id).and_then(|task| task.array()).is_some_and(Array::has_room_for_a_grant);
            if !has_room {
                return;
            }
            if self.lines.aside(unit) == Some(&AsideWhy::Window) {
                self.restand(unit);
            }
        }
    }

    /// The next element of an array that never began takes its place, in line or aside. It has none while its array
    /// has not come to its turn, or is being stopped.
    pub(super) fn line_up_next(&mut self, id: TaskId, is_claimable: bool) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(array) = task.array() else { return };
        let is_shared = task.policy.wants.iter().all(|want| want.mode == Mode::Shared) && task.policy.limits.is_none();
        // What is only shared is not used up: it is granted as it is claimed.
        let ahead_max = if is_shared { 1 } else { GRANTED_AHEAD_MAX };
        let next = array.next_index().filter(|_| is_claimable && array.ready.len() < ahead_max);
        let (old, ticket) = (array.next_lined, task.ticket);
        let wants = Arc::clone(&task.policy.wants);
        if let Some(index) = old.filter(|_| old != next) {
            let unit = TaskRef::element(id, index);
            self.leave_gates((ticket, unit));
            if !self.lines.bring_back(unit, &wants) {
                self.lines.leave((ticket, unit), &wants);
            }
        }
        if let Some(index) = next {
            self.put_right((ticket, TaskRef::element(id, index)), &wants);
        }
        if let Some(array) = self.tasks.get_mut(&id).and_then(|task| task.array_mut()) {
            array.next_lined = next;
        }
    }

    /// Whether a unit whose lost attempt came back can have what it needs: it still holds it, or can be granted it now,
    /// in order. It has it then.
    pub(super) fn regrant(&mut self, unit: TaskRef) -> bool {
        let wants = self.wants_of(unit);
        let is_waiting = self.tasks.get(&unit.task).and_then(|task| task.unit(unit));
        if !self.asks(unit.task) {
            return !self.tasks.get(&unit.task).is_some_and(|task| self.is_full(&task.policy.namespace));
        }
        if is_waiting.is_none_or(|hot| hot.state.kind() != StateKind::Waiting) {
            return true;
        }
        let place = self.place_of(unit).filter(|place| self.lines.can_grant(*place, &wants));
        let Some(place) = place.filter(|_| self.gate_why(unit).is_none()) else { return false };
        let was_aside = self.lines.aside(unit).is_some();
        self.unstand(unit);
        if was_aside {
            self.tell_back(unit);
        }
        self.grant(place, &wants);
        true
    }
}

/// For people: `db, lic (3), phones (ph1, ph2)`.
fn say_held(held: &[Grant]) -> String {
    let say = |grant: &Grant| {
        if !grant.units.is_empty() {
            let units: Vec<&str> = grant.units.iter().map(crate::name::UnitName::as_str).collect();
            return format!("{} ({})", grant.name, units.join(", "));
        }
        match grant.mode {
            Mode::Exclusive | Mode::Unit => grant.name.to_string(),
            Mode::Shared => format!("{} (shared)", grant.name),
            Mode::Counted => format!("{} of {}", grant.amount, grant.name),
        }
    };
    let all: Vec<String> = held.iter().map(say).collect();
    all.join(", ")
}
