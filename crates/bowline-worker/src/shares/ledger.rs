//! Who holds what, and who may have what. Pure.

use bowline_core::probe::{self, Path};
use bowline_core::worker::Room;

use super::TURN;
use crate::clock::Moment;

/// Whether a server is in play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// In session, and to be given work.
    In,
    /// Away, broken or leaving.
    #[default]
    Out,
}

/// How long a server's tasks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Pace {
    /// So short that one can wait for another; or nothing is known yet.
    #[default]
    Short,
    /// Too long to be waited for.
    Long,
}

/// How an attempt weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It takes no room, or none any more.
    Nothing,
    /// It waits here for room.
    Held,
    /// It takes room.
    Begun,
}

#[derive(Debug, Default)]
struct Part {
    standing: Standing,
    pace: Pace,
    /// What waits and what has begun.
    held: Room,
    /// What has begun.
    begun: Room,
    /// What its next attempt to begin takes.
    waits: Option<Room>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    total: Room,
    parts: Vec<Part>,
    freed_at: Option<Moment>,
}

impl Ledger {
    pub(crate) fn new(total: Room, servers: usize) -> Self {
        Self { total, parts: (0..servers).map(|_| Part::default()).collect(), freed_at: None }
    }

    fn others(&self, own: usize) -> impl Iterator<Item = &Part> {
        self.parts.iter().enumerate().filter(move |(index, _)| *index != own).map(|(_, part)| part)
    }

    /// An even share of so much, never nothing of something.
    fn even(&self, all: u64) -> u64 {
        let servers = self.parts.iter().filter(|part| part.standing == Standing::In).count().max(1);
        (all / servers as u64).max(all.min(1))
    }

    /// What a server may use.
    pub(crate) fn allowance(&self, own: usize, now: Moment) -> Room {
        let gives_way = self.gives_way_now(own, now);
        let mut rivals = self.others(own).filter(|part| part.standing == Standing::In).peekable();
        let short = rivals.peek().is_some() && rivals.all(|part| part.pace == Pace::Short);
        self.total.map(|name, all| {
            let held = |part: &Part| part.held.of(name);
            let others = self.others(own).map(held).fold(0, u64::saturating_add);
            let free = all.saturating_sub(others);
            let may = if short { free.max(self.even(all)) } else { free };
            if gives_way { may.min(held(&self.parts[own])) } else { may }
        })
    }

    /// Whether free room is another's to take for now: it has less than its share, and this one has its own.
    fn gives_way_now(&self, own: usize, now: Moment) -> bool {
        let share = self.even(u64::from(self.total.slots));
        let slots = |part: &Part| u64::from(part.held.slots);
        let is_turn = self.freed_at.is_some_and(|at| now.since(at) < TURN);
        is_turn
            && self.parts[own].pace == Pace::Long
            && slots(&self.parts[own]) >= share
            && self.others(own).any(|part| part.standing == Standing::In && slots(part) < share)
    }

    /// Whether this fits beside all that has begun, and nobody who has less waits for it.
    pub(crate) fn may_begin(&self, own: usize, claim: &Room) -> bool {
        let fits = self.total.all(|name, all| {
            let begun = self.parts.iter().map(|part| part.begun.of(name)).fold(0, u64::saturating_add);
            claim.of(name) == 0 || begun.checked_add(claim.of(name)).is_some_and(|sum| sum <= all)
        });
        let share = self.even(u64::from(self.total.slots));
        let own_slots = self.parts[own].begun.slots;
        let comes_first = |part: &Part| {
            let wants = part.waits.as_ref().map(|claim| u64::from(part.begun.slots.saturating_add(claim.slots)));
            part.begun.slots < own_slots && wants.is_some_and(|wants| wants <= share)
        };
        if !fits && self.others(own).any(|part| part.begun.slots > 0) {
            probe::reached(Path::TwoServersOneSlot);
        }
        fits && !self.others(own).any(comes_first)
    }

    /// What this server's next attempt waits for. Says whether that is news.
    pub(crate) fn waits(&mut self, own: usize, claim: Option<&Room>) -> bool {
        let is_news = self.parts[own].waits.as_ref() != claim;
        if is_news {
            self.parts[own].waits = claim.cloned();
        }
        is_news
    }

    /// An attempt weighs otherwise.
    pub(crate) fn moved(&mut self, own: usize, claim: &Room, (from, to): (Weight, Weight), now: Moment) {
        let part = &mut self.parts[own];
        match (from, to) {
            (Weight::Nothing, Weight::Held | Weight::Begun) => part.held.add(claim),
            (Weight::Held | Weight::Begun, Weight::Nothing) => part.held.remove(claim),
            (Weight::Nothing, Weight::Nothing) | (Weight::Held | Weight::Begun, Weight::Held | Weight::Begun) => {}
        }
        match (from, to) {
            (Weight::Nothing | Weight::Held, Weight::Begun) => part.begun.add(claim),
            (Weight::Begun, Weight::Nothing | Weight::Held) => {
                part.begun.remove(claim);
                self.freed_at = Some(now);
            }
            (Weight::Begun, Weight::Begun) | (Weight::Nothing | Weight::Held, Weight::Nothing | Weight::Held) => {}
        }
    }

    /// How a server stands. Says whether that is news.
    pub(crate) fn stands(&mut self, own: usize, standing: Standing, pace: Pace) -> bool {
        let part = &mut self.parts[own];
        let is_news = (part.standing, part.pace) != (standing, pace);
        (part.standing, part.pace) = (standing, pace);
        is_news
    }

    /// A server is not served any more.
    pub(crate) fn leave(&mut self, own: usize) {
        self.parts[own] = Part::default();
    }
}

/// The name of an amount; `None` are the slots.
type Name<'a> = Option<&'a bowline_core::name::Key>;

/// Slots and amounts alike.
trait Counted {
    fn of(&self, name: Name<'_>) -> u64;
    fn map(&self, each: impl Fn(Name<'_>, u64) -> u64) -> Room;
    fn all(&self, each: impl Fn(Name<'_>, u64) -> bool) -> bool;
    fn add(&mut self, claim: &Room);
    fn remove(&mut self, claim: &Room);
}

impl Counted for Room {
    fn of(&self, name: Name<'_>) -> u64 {
        name.map_or(u64::from(self.slots), |name| self.amounts.get(name).copied().unwrap_or(0))
    }

    fn map(&self, each: impl Fn(Name<'_>, u64) -> u64) -> Room {
        Room {
            slots: u32::try_from(each(None, u64::from(self.slots))).unwrap_or(u32::MAX),
            amounts: self.amounts.iter().map(|(name, all)| (name.clone(), each(Some(name), *all))).collect(),
        }
    }

    fn all(&self, each: impl Fn(Name<'_>, u64) -> bool) -> bool {
        each(None, u64::from(self.slots)) && self.amounts.iter().all(|(name, all)| each(Some(name), *all))
    }

    fn add(&mut self, claim: &Room) {
        self.slots = self.slots.saturating_add(claim.slots);
        for (name, amount) in &claim.amounts {
            let sum = self.amounts.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn remove(&mut self, claim: &Room) {
        self.slots = self.slots.saturating_sub(claim.slots);
        for (name, amount) in &claim.amounts {
            if let Some(sum) = self.amounts.get_mut(name) {
                *sum = sum.saturating_sub(*amount);
            }
        }
    }
}

#[cfg(test)]
mod tests;
