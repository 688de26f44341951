//! An array in memory: how far it is, its started and unfinished elements, and two bits for each
//! element that ended. What was never started costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutant::{self, Mutant};
use crate::row::ArrayCounts;
use crate::spec::ArraySpec;
use crate::state::StateKind;

use super::table::Hot;

/// An array.
#[derive(Debug)]
pub(super) struct Array {
    pub spec: ArraySpec,
    pub counts: ArrayCounts,
    /// Started and unfinished elements by index; all elements with a row while [`Array::whole`].
    pub elements: BTreeMap<u32, Element>,
    /// Elements that wait in a lane, or would if the window were open.
    pub ready: BTreeSet<u32>,
    /// Elements whose attempt lives.
    pub live: u32,
    /// Whether its waiting elements stand in the lane now.
    pub stand: Stand,
    /// The element never started that stands in the lane now.
    pub next_lined: Option<u32>,
    ended: EndedBits,
    /// Whether its elements ask for resources: they wait for those before they wait for a worker.
    pub asks: bool,
    /// Whether the ended elements are in `elements` too: after a take-over of an ended array.
    pub whole: Whole,
}

/// Whether all elements that have rows are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    No,
    Yes,
}

/// Whether elements stand in the lane: they do not while paused, or while the window is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Out,
    In,
}

/// An element.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub version: u32,
    pub hot: Hot,
}

impl Array {
    /// A new one.
    pub(super) fn new(spec: ArraySpec) -> Self {
        let counts = ArrayCounts { count: spec.count, cursor: 0, succeeded: 0, failed: 0, cancelled: 0, skipped: 0 };
        Self::with(spec, counts)
    }

    /// As far as these counts say.
    pub(super) fn with(spec: ArraySpec, counts: ArrayCounts) -> Self {
        Self {
            spec,
            counts,
            elements: BTreeMap::new(),
            ready: BTreeSet::new(),
            live: 0,
            stand: Stand::Out,
            next_lined: None,
            ended: EndedBits::default(),
            whole: Whole::No,
            asks: false,
        }
    }

    /// Its elements ask for resources, or not.
    pub(super) fn asking(mut self, asks: bool) -> Self {
        self.asks = asks;
        self
    }

    /// Elements that have ended.
    pub(super) fn ended(&self) -> u32 {
        let counts = &self.counts;
        counts.succeeded + counts.failed + counts.cancelled + counts.skipped
    }

    /// The next element that was never started.
    pub(super) fn next_index(&self) -> Option<u32> {
        self.spec.index_at(self.counts.cursor)
    }

    /// Moves the cursor past every element that was started or has ended.
    pub(super) fn advance(&mut self) {
        while let Some(index) = self.next_index() {
            let taken = self.elements.contains_key(&index) || self.ended.get(self.counts.cursor).is_some();
            if !taken {
                break;
            }
            self.counts.cursor += 1;
        }
    }

    /// Elements that were never started.
    pub(super) fn unstarted(&self) -> u32 {
        let waiting = self.counts.count - self.counts.cursor;
        let ahead = self.spec.index_at(self.counts.cursor).map_or(0, |from| self.elements.range(from..).count());
        let ended_ahead = self.ended.count_from(self.counts.cursor);
        waiting.saturating_sub(u32::try_from(ahead).unwrap_or(u32::MAX)).saturating_sub(ended_ahead)
    }

    /// Counts an element that ended so.
    pub(super) fn count_end(&mut self, kind: StateKind, elements: u32) {
        match kind {
            StateKind::Succeeded => self.counts.succeeded += elements,
            StateKind::Failed => self.counts.failed += elements,
            StateKind::Cancelled => self.counts.cancelled += elements,
            StateKind::Skipped => self.counts.skipped += elements,
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Waiting
            | StateKind::Ready
            | StateKind::Assigned
            | StateKind::Running
            | StateKind::Stopping
            | StateKind::InDoubt => {}
        }
    }

    /// Remembers how the element of this index ended.
    pub(super) fn mark_ended(&mut self, index: u32, kind: StateKind) {
        if let Some(place) = self.spec.place_of(index) {
            self.ended.set(place, kind);
        }
    }

    /// How the element of this index stands. `None`: there is none.
    pub(super) fn element_state(&self, index: u32, array: StateKind) -> Option<StateKind> {
        let place = self.spec.place_of(index)?;
        if let Some(element) = self.elements.get(&index) {
            return Some(element.hot.state.kind());
        }
        if let Some(kind) = self.ended.get(place) {
            return Some(kind);
        }
        if place < self.counts.cursor || array.is_ended() {
            // It was dropped with all the rest: see `drop_unstarted`.
            return Some(if self.counts.skipped > 0 { StateKind::Skipped } else { StateKind::Cancelled });
        }
        match array {
            StateKind::Ready | StateKind::Running | StateKind::Stopping if self.asks => Some(StateKind::Waiting),
            StateKind::Running | StateKind::Stopping => Some(StateKind::Ready),
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Waiting
            | StateKind::Ready
            | StateKind::Assigned
            | StateKind::InDoubt
            | StateKind::Succeeded
            | StateKind::Failed
            | StateKind::Cancelled
            | StateKind::Skipped => Some(array),
        }
    }

    /// Forgets how elements ended: a new round.
    pub(super) fn forget_ended(&mut self) {
        self.ended = EndedBits::default();
    }

    /// Whether the window lets one more element be granted what it asks for: those that were, and have not begun, count.
    pub(super) fn has_room_for_a_grant(&self) -> bool {
        let granted = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        self.spec.at_most.is_none_or(|most| self.live.saturating_add(granted) < most)
    }

    /// Whether the window lets one more element begin.
    pub(super) fn has_window(&self) -> bool {
        self.spec.at_most.is_none_or(|most| self.live < most) || mutant::is(Mutant::WindowIgnored)
    }
}

/// Three bits would do for four ends and "not ended"; four keep it simple. Grows with the highest
/// place that ended.
#[derive(Debug, Default)]
struct EndedBits {
    words: Vec<u64>,
}

const PLACES_PER_WORD: u32 = 16;

impl EndedBits {
    fn split(place: u32) -> (usize, u32) {
        ((place / PLACES_PER_WORD) as usize, (place % PLACES_PER_WORD) * 4)
    }

    fn get(&self, place: u32) -> Option<StateKind> {
        let (word, shift) = Self::split(place);
        match (self.words.get(word)? >> shift) & 0xF {
            1 => Some(StateKind::Succeeded),
            2 => Some(StateKind::Failed),
            3 => Some(StateKind::Cancelled),
            4 => Some(StateKind::Skipped),
            _ => None,
        }
    }

    fn set(&mut self, place: u32, kind: StateKind) {
        let code = match kind {
            StateKind::Succeeded => 1,
            StateKind::Failed => 2,
            StateKind::Cancelled => 3,
            StateKind::Skipped => 4,
            StateKind::Scheduled
            | StateKind::Blocked
            | StateKind::Waiting
            | StateKind::Ready
            | StateKind::Assigned
            | StateKind::Running
            | StateKind::Stopping
            | StateKind::InDoubt => 0,
        };
        let (word, shift) = Self::split(place);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] = (self.words[word] & !(0xF << shift)) | (code << shift);
    }

    fn count_from(&self, place: u32) -> u32 {
        let (first, _) = Self::split(place);
        let end = u32::try_from(self.words.len()).unwrap_or(u32::MAX).saturating_mul(PLACES_PER_WORD);
        if first >= self.words.len() {
            return 0;
        }
        let ended = (place..end).filter(|place| self.get(*place).is_some()).count();
        u32::try_from(ended).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_remembered_by_place_and_counted() {
        let mut array = Array::new(ArraySpec { first: 10, count: 100, step: 10, at_most: None });
        array.mark_ended(10, StateKind::Succeeded);
        array.mark_ended(30, StateKind::Cancelled);
        array.advance();
        assert_eq!(array.counts.cursor, 1, "the first has ended, the second was never started");
        assert_eq!(array.unstarted(), 98);
        assert_eq!(array.element_state(30, StateKind::Running), Some(StateKind::Cancelled));
        assert_eq!(array.element_state(20, StateKind::Running), Some(StateKind::Ready));
        assert_eq!(array.element_state(25, StateKind::Running), None);
        array.forget_ended();
        assert_eq!(array.element_state(30, StateKind::Running), Some(StateKind::Ready));
    }

    #[test]
    fn a_million_elements_cost_what_was_started() {
        let array = Array::new(ArraySpec::of(1_000_000));
        assert!(array.elements.is_empty() && array.ended.words.is_empty());
    }
}
