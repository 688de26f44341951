//! One resource in the judge's books: what it was declared to be, who holds it, who stands in its line.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ask::{Ask, Device, Mode};
use super::wrong::{Kind, Wrong};
use super::{At, Unit};

/// The server's clock, as events tell it, may be a moment behind.
const SLACK_US: i64 = 1_000_000;

/// What a resource is declared to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declared {
    /// Where it has no units.
    pub(crate) capacity: u64,
    pub(crate) devices: Vec<Device>,
    pub(crate) out_of_service: bool,
}

impl Default for Declared {
    fn default() -> Self {
        Self { capacity: 1, devices: Vec::new(), out_of_service: false }
    }
}

impl Declared {
    fn capacity(&self) -> u64 {
        if self.devices.is_empty() { self.capacity } else { self.devices.len() as u64 }
    }
}

/// A declaration, and when it was made: at some moment between request and answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Version {
    sent_us: i64,
    /// `None`: not yet.
    answered_us: Option<i64>,
    declared: Declared,
}

/// What somebody holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) mode: Mode,
    pub(crate) amount: u64,
    /// `None`: not known.
    pub(crate) units: Option<Vec<String>>,
    pub(crate) since: At,
    /// Its attempt is being stopped: processes may be left.
    pub(crate) is_stopping: bool,
}

/// A place in line: the ticket, then the index of an array's element.
pub(crate) type Place = (u64, Unit);

/// A resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Resource {
    versions: Vec<Version>,
    pub(crate) holders: BTreeMap<Unit, Held>,
    pub(crate) line: BTreeSet<Place>,
    /// Those who stand in it, and whose ticket is not known.
    pub(crate) unplaced: BTreeSet<Unit>,
    /// Elements of arrays that may stand in it, and of which no event tells.
    pub(crate) shadows: BTreeSet<Place>,
    /// Grants so far.
    pub(crate) grants: u64,
}

impl Default for Resource {
    fn default() -> Self {
        let first = Version { sent_us: i64::MIN, answered_us: Some(i64::MIN), declared: Declared::default() };
        Self {
            versions: vec![first],
            holders: BTreeMap::new(),
            line: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            shadows: BTreeSet::new(),
            grants: 0,
        }
    }
}

impl Resource {
    /// It is being declared: from now on either may be.
    pub(crate) fn declare(&mut self, declared: Declared, sent_us: i64) {
        self.versions.push(Version { sent_us, answered_us: None, declared });
    }

    /// The newest declaration was answered.
    pub(crate) fn declared(&mut self, answered_us: i64) {
        if let Some(newest) = self.versions.last_mut() {
            newest.answered_us = Some(answered_us);
        }
    }

    /// What it is said to be in the end.
    pub(crate) fn newest(&self) -> Declared {
        self.versions.last().map(|version| version.declared.clone()).unwrap_or_default()
    }

    /// What was over before this can be forgotten: time goes on.
    pub(crate) fn forget(&mut self, now_us: i64) {
        while self.versions.get(1).is_some_and(|next| next.is_sure_at(now_us)) {
            self.versions.remove(0);
        }
    }

    /// Whether it is not certain yet what it is declared to be.
    pub(crate) fn is_changing(&self) -> bool {
        self.versions.len() > 1
    }

    /// All that it may have been at that moment.
    pub(crate) fn possible(&self, at_us: i64) -> impl Iterator<Item = &Declared> + Clone {
        self.versions.iter().enumerate().filter_map(move |(number, version)| {
            let has_begun = version.sent_us.saturating_sub(SLACK_US) <= at_us;
            let is_over = self.versions.get(number + 1).is_some_and(|next| next.is_sure_at(at_us));
            (has_begun && !is_over).then_some(&version.declared)
        })
    }

    /// Nobody is in it: only what it was declared to be is kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.holders.is_empty()
            && self.line.is_empty()
            && self.unplaced.is_empty()
            && self.shadows.is_empty()
            && !self.is_changing()
    }

    /// What is wrong about granting this now, whatever it may have been declared to be.
    pub(crate) fn wrongs_of(&self, unit: Unit, ask: &Ask, given: Option<&[String]>, at_us: i64) -> Vec<Wrong> {
        let name = &ask.resource;
        let mut wrongs = Vec::new();
        for (other, held) in self.holders.iter().filter(|(other, _)| **other != unit) {
            let both = format!(
                "{unit} was granted `{name}` ({}) while {other} held it ({})",
                ask.mode.name(),
                held.mode.name()
            );
            let kind = match (ask.mode, held.mode) {
                (Mode::Exclusive, Mode::Exclusive) => Kind::TwoHolders,
                (Mode::Exclusive, _) | (_, Mode::Exclusive) => Kind::BesideExclusive,
                _ => continue,
            };
            wrongs.push(if held.is_stopping {
                Wrong::new(Kind::FreedEarly, format!("{both}, whose job was still being stopped"))
            } else {
                Wrong::new(kind, format!("{both}, since {}", held.since))
            });
        }
        let used: u64 = self.holders.iter().filter(|(other, _)| **other != unit).map(|(_, held)| held.amount).sum();
        let most = self.possible(at_us).map(Declared::capacity).max().unwrap_or(1);
        if ask.amount > 0 && used + ask.amount > most {
            let text = format!("{unit} was granted {} of `{name}`, of which {used} of {most} were held", ask.amount);
            wrongs.push(Wrong::new(Kind::OverCapacity, text));
        }
        if self.possible(at_us).all(|declared| declared.out_of_service) {
            wrongs
                .push(Wrong::new(Kind::OutOfService, format!("{unit} was granted `{name}`, which was out of service")));
        }
        wrongs.extend(given.into_iter().flat_map(|given| self.wrong_units(unit, ask, given, at_us)));
        wrongs
    }

    fn wrong_units(&self, unit: Unit, ask: &Ask, given: &[String], at_us: i64) -> Vec<Wrong> {
        let name = &ask.resource;
        let mut wrongs = Vec::new();
        for (other, held) in self.holders.iter().filter(|(other, _)| **other != unit) {
            let twice = held.units.iter().flatten().find(|held| given.contains(held));
            wrongs.extend(twice.map(|twice| {
                Wrong::new(
                    Kind::Unit,
                    format!("{unit} was given `{twice}` of `{name}`, which {other} held since {}", held.since),
                )
            }));
        }
        let is_right = |declared: &Declared| {
            let given: Vec<&Device> = declared.devices.iter().filter(|device| given.contains(&device.name)).collect();
            given.len() as u64 == ask.amount && ask.is_met_by(&given)
        };
        if ask.mode == Mode::Unit && !self.possible(at_us).any(is_right) {
            let text = format!("{unit} asked for `{}` and was given {given:?}", Ask::write(std::slice::from_ref(ask)));
            wrongs.push(Wrong::new(Kind::Unit, text));
        }
        wrongs
    }

    /// Whether this could be granted if nobody held anything, whatever it may have been declared to be.
    pub(crate) fn could_grant(&self, ask: &Ask, at_us: i64) -> bool {
        self.possible(at_us).all(|declared| {
            let all: Vec<&Device> = declared.devices.iter().collect();
            !declared.out_of_service && ask.amount <= declared.capacity() && ask.is_met_by(&all)
        })
    }

    /// Who stands before that place in its way, whatever it may have been declared to be.
    pub(crate) fn overtaken(
        &self,
        place: Place,
        ask: &Ask,
        ask_of: impl Fn(Unit) -> Option<Ask>,
        at_us: i64,
    ) -> Option<Place> {
        self.line.range(..place).copied().find(|(_, other)| {
            let other = ask_of(*other);
            other.is_some_and(|other| self.possible(at_us).all(|declared| ask.meets(&other, &declared.devices)))
        })
    }

    /// Whether it is certain that this could be granted: nobody in its way stands before it, and all is free, whatever
    /// it may have been declared to be.
    pub(crate) fn is_certain(&self, place: Place, ask: &Ask, ask_of: impl Fn(Unit) -> Option<Ask>, at_us: i64) -> bool {
        let is_before = |(_, other): &Place| {
            ask_of(*other).is_none_or(|other| self.possible(at_us).any(|declared| ask.meets(&other, &declared.devices)))
        };
        let mut before = self.line.range(..place).chain(self.shadows.range(..place));
        let is_alone = self.unplaced.is_empty() && !before.any(is_before);
        is_alone && self.possible(at_us).all(|declared| self.has_room(ask, declared))
    }

    fn has_room(&self, ask: &Ask, declared: &Declared) -> bool {
        if declared.out_of_service {
            return false;
        }
        let is_beside = self.holders.values().all(|held| held.mode != Mode::Exclusive);
        let used: u64 = self.holders.values().map(|held| held.amount).sum();
        match ask.mode {
            Mode::Exclusive => self.holders.is_empty(),
            Mode::Shared => is_beside,
            Mode::Counted => is_beside && used + ask.amount <= declared.capacity(),
            Mode::Unit => {
                let is_known = self.holders.values().all(|held| held.amount == 0 || held.units.is_some());
                let taken: Vec<&String> =
                    self.holders.values().filter_map(|held| held.units.as_ref()).flatten().collect();
                let free: Vec<&Device> =
                    declared.devices.iter().filter(|device| !taken.contains(&&device.name)).collect();
                is_known && is_beside && used + ask.amount <= declared.capacity() && ask.is_met_by(&free)
            }
        }
    }
}

impl Version {
    /// Whether it had been made for sure by then.
    fn is_sure_at(&self, at_us: i64) -> bool {
        self.answered_us.is_some_and(|answered| answered.saturating_add(SLACK_US) < at_us)
    }
}
