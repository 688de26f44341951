//! An array's elements: their places in the lane, their ends, and the end of the whole.

use crate::id::{TaskId, TaskRef};
use crate::machine::{Event, Refused, State};
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::spec::Condition;
use crate::state::{JobError, Outcome, StateKind, TimeoutKind};

use super::Engine;
use super::array::{Array, Stand, Whole};
use super::lane::Line;
use super::out::Cause;

impl Engine {
    /// Puts an array's places in the lane right: every element that waits, and the next one that was
    /// never started; none while it is paused or its window is full.
    pub(super) fn line_up_array(&mut self, id: TaskId) {
        let is_up = !self.is_stood_down(id);
        let Some(whole) = self.line_of(TaskRef::whole(id)) else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (lane, asks) = (task.policy.lane, task.policy.asks());
        let is_claimable = matches!(task.hot.state, State::Ready | State::Running { .. });
        let Some(array) = task.array_mut() else { return };
        let stand = if is_claimable && is_up && array.has_window() { Stand::In } else { Stand::Out };
        let line = |index: u32| Line { unit: TaskRef::element(id, index), ..whole };
        let next = if stand == Stand::In { array.next_index() } else { None };
        if !asks && array.next_lined != next {
            if let Some(index) = array.next_lined {
                self.lanes.remove(lane, &line(index));
            }
            if let Some(index) = next {
                self.lanes.insert(lane, line(index));
            }
            array.next_lined = next;
            self.lanes.note_array(lane, id, next.is_some());
        }
        let was = std::mem::replace(&mut array.stand, stand);
        let moved: Vec<Line> =
            if was == stand { Vec::new() } else { array.ready.iter().map(|index| line(*index)).collect() };
        for line in moved {
            match stand {
                Stand::In => self.join_lane(line),
                Stand::Out => self.quit_lane(line),
            }
        }
        if asks {
            self.line_up_next(id, is_claimable);
            self.restand_window(id);
        }
    }

    /// An element's round is over.
    pub(super) fn element_ended(&mut self, id: TaskId, index: u32, kind: StateKind, cause: &Cause) {
        let Some(array) = self.tasks.get_mut(&id).and_then(|task| task.array_mut()) else { return };
        array.mark_ended(index, kind);
        array.count_end(kind, 1);
        array.elements.remove(&index);
        array.advance();
        self.touch_task(id);
        self.line_up_array(id);
        self.dependency_ended(TaskRef::element(id, index), kind);
        self.end_array_if_done(id, cause);
    }

    /// The array ends with its last element.
    pub(super) fn end_array_if_done(&mut self, id: TaskId, cause: &Cause) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(array) = task.array() else { return };
        if task.is_ended() || array.ended() < array.counts.count {
            return;
        }
        let event = Event::ElementsEnded(outcome_of(array));
        self.shift(TaskRef::whole(id), event, cause).ok();
    }

    /// The whole has ended or is being stopped: what was never started will not be. It costs no row.
    pub(super) fn drop_unstarted(&mut self, id: TaskId, kind: StateKind) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(array) = task.array_mut() else { return };
        let rest = array.unstarted();
        if rest == 0 {
            return;
        }
        let kind = if kind == StateKind::Cancelled { StateKind::Cancelled } else { StateKind::Skipped };
        array.count_end(kind, rest);
        array.counts.cursor = array.counts.count;
        self.touch_task(id);
        self.line_up_array(id);
        self.unstarted_dropped(id, kind);
    }

    /// Stops every element: of a cancel, or of a limit of the round.
    pub(super) fn stop_elements(&mut self, id: TaskId, event: &Event, cause: &Cause) {
        let kind = match event {
            Event::Cancelled(_) => StateKind::Cancelled,
            Event::Due
            | Event::Met
            | Event::Unmeetable(_)
            | Event::Granted
            | Event::StoodAside
            | Event::Claimed(_)
            | Event::Started
            | Event::Finished(_)
            | Event::Released
            | Event::Lost(_)
            | Event::Expired(_)
            | Event::ElementsEnded(_)
            | Event::Drained
            | Event::Revived(_)
            | Event::Resolved(_)
            | Event::Retried => StateKind::Skipped,
        };
        self.drop_unstarted(id, kind);
        let indexes: Vec<u32> = self
            .tasks
            .get(&id)
            .and_then(|task| task.array())
            .map(|array| array.elements.keys().copied().collect())
            .unwrap_or_default();
        for index in indexes.into_iter().filter(|_| !mutant::is(Mutant::CancelForgetsElements)) {
            self.shift(TaskRef::element(id, index), event.clone(), cause).ok();
        }
        self.end_array_if_done(id, cause);
    }

    /// Ends one element that was never started.
    pub(super) fn cancel_unstarted(&mut self, id: TaskId, index: u32, cause: &Cause) -> StateKind {
        probe::reached(Path::ElementCancelledBeforeItBegan);
        let now = self.now;
        if let Some(array) = self.tasks.get_mut(&id).and_then(|task| task.array_mut()) {
            let hot = super::table::Hot::new(State::Ready, now);
            array.elements.insert(index, super::array::Element { version: 0, hot });
            array.advance();
        }
        let unit = TaskRef::element(id, index);
        self.count_loaded(unit, StateKind::Ready);
        self.shift(unit, Event::Cancelled(cause.reason.clone()), cause).unwrap_or(StateKind::Cancelled)
    }

    /// Moves an array as a whole to its end: cancel, or a limit of its round.
    pub(super) fn stop_array(&mut self, id: TaskId, event: &Event, cause: &Cause) -> Result<StateKind, Refused> {
        let whole = TaskRef::whole(id);
        let state = self.shift(whole, event.clone(), cause)?;
        if state == StateKind::Stopping || state.is_ended() {
            self.stop_elements(id, event, cause);
        }
        Ok(self.tasks.get(&id).map_or(state, |task| task.hot.state.kind()))
    }

    /// Tells those who wait for elements that will never begin.
    fn unstarted_dropped(&mut self, id: TaskId, kind: StateKind) {
        let targets: Vec<TaskRef> = self
            .dependents
            .range(TaskRef::element(id, 0)..=TaskRef::element(id, u32::MAX))
            .map(|(target, _)| *target)
            .collect();
        for target in targets {
            let is_started = target
                .index
                .and_then(|index| self.tasks.get(&id)?.array().map(|array| array.elements.contains_key(&index)));
            if is_started == Some(false) {
                self.dependency_ended(target, kind);
            }
        }
    }

    /// A new round of an ended array: its elements that did not succeed. Needs all its rows.
    pub(super) fn rewind_array(&mut self, id: TaskId) {
        let now = self.now;
        let Some(array) = self.tasks.get_mut(&id).and_then(|task| task.array_mut()) else { return };
        let started = array.elements.iter().filter(|(_, element)| element.hot.attempt.0 > 0);
        let cursor = started.filter_map(|(index, _)| array.spec.place_of(*index)).max().map_or(0, |place| place + 1);
        array.forget_ended();
        array.counts.cursor = cursor;
        array.counts.failed = 0;
        array.counts.cancelled = 0;
        array.counts.skipped = 0;
        array.whole = Whole::No;
        let elements = std::mem::take(&mut array.elements);
        for (index, mut element) in elements {
            if element.hot.state.kind() == StateKind::Succeeded {
                array.mark_ended(index, StateKind::Succeeded);
                continue;
            }
            // What asks for resources takes its places with its array.
            let state = if array.asks { State::Waiting } else { State::Ready };
            let mut hot = super::table::Hot::new(state, now);
            hot.attempt = element.hot.attempt;
            hot.generation = element.hot.generation;
            hot.worker = element.hot.worker;
            hot.ready_at = now.into();
            element.hot = hot;
            if !array.asks {
                array.ready.insert(index);
            }
            array.elements.insert(index, element);
        }
        array.advance();
        let again: Vec<u32> = array.elements.keys().copied().collect();
        let kind = if array.asks { StateKind::Waiting } else { StateKind::Ready };
        for index in again {
            self.count_loaded(TaskRef::element(id, index), kind);
            self.touch_element(id, index);
        }
    }
}

/// How an array ended, when all its elements have: well where all of them did; by a cancel where
/// nothing else kept one from it; badly otherwise.
fn outcome_of(array: &Array) -> Outcome {
    let counts = &array.counts;
    let message = format!(
        "{} of {} elements did not succeed: {} failed, {} were cancelled, {} never began",
        counts.count - counts.succeeded,
        counts.count,
        counts.failed,
        counts.cancelled,
        counts.skipped
    );
    if counts.succeeded == counts.count {
        Outcome::Succeeded
    } else if counts.failed == 0 && counts.skipped == 0 {
        Outcome::Cancelled { message }
    } else {
        Outcome::Error(JobError { exit_status: None, signal: None, message })
    }
}

/// Whether an end meets a condition.
pub(super) fn is_met(on: Condition, end: StateKind) -> bool {
    match on {
        Condition::Ok if mutant::is(Mutant::FailureMeetsADependency) => end.is_ended(),
        Condition::Ok => end == StateKind::Succeeded,
        Condition::Any => end.is_ended(),
        Condition::Fail => matches!(end, StateKind::Failed | StateKind::Cancelled),
    }
}

/// A limit of the round, not of the attempt.
pub(super) fn is_rounds(which: TimeoutKind) -> bool {
    match which {
        TimeoutKind::Queue | TimeoutKind::Total | TimeoutKind::Deadline => true,
        TimeoutKind::Setup | TimeoutKind::Run => false,
    }
}
