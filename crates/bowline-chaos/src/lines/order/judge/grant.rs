//! Somebody is granted all that it asks for: was it its turn, and is there so much?

use super::{Judge, Phase, Stand, asked};
use crate::lines::order::Unit;
use crate::lines::order::ask::{Ask, Mode};
use crate::lines::order::resource::{Held, Place};
use crate::lines::order::wrong::{Kind, Wrong};

impl Judge {
    /// All that it asks for is its own from here on. Everything is judged before it is written down.
    pub(super) fn granted(&mut self, unit: Unit) {
        if self.is(unit, |life| life.holds) {
            self.enter_phase(unit, Phase::None);
            return;
        }
        let Some(task) = self.tasks.get(&unit.task) else { return };
        let (asks, ticket) = (task.shape.asks.clone(), task.ticket());
        let stood_us = self.lives.get(&unit).filter(|life| life.stand == Stand::InLine).map(|life| life.since_us);
        self.leave(unit);
        self.counts.grants += 1;
        self.counts.placed += u64::from(ticket.is_some());
        self.counts.longest_wait_us = self.counts.longest_wait_us.max(self.now_us - stood_us.unwrap_or(self.now_us));
        let (given, at, now_us) = (self.given.remove(&unit).unwrap_or_default(), self.at, self.now_us);
        let passed = ticket.and_then(|ticket| self.passed((ticket, unit), &asks));
        for ask in &asks {
            let units = given.iter().find(|(name, when, _)| *name == ask.resource && *when == now_us);
            let units = units.map(|(_, _, units)| units.clone());
            self.counts.units_known += u64::from(units.as_ref().is_some_and(|units| !units.is_empty()));
            let resource = self.resources.entry(ask.resource.clone()).or_default();
            let mut wrongs = resource.wrongs_of(unit, ask, units.as_deref(), now_us);
            let (tasks, name) = (&self.tasks, &ask.resource);
            let before = ticket.and_then(|ticket| resource.overtaken((ticket, unit), ask, asked(tasks, name), now_us));
            let before = before.or(passed);
            wrongs.extend(before.zip(ticket).map(|((first, other), ticket)| {
                let text = format!("{unit} (ticket {ticket}) was granted `{name}` at {at} before {other} (ticket {first}), which stood in that line");
                Wrong::new(Kind::Overtaken, text)
            }));
            let held = Held { mode: ask.mode, amount: ask.amount, units, since: at, is_stopping: false };
            resource.holders.insert(unit, held);
            resource.grants += 1;
            self.find_all(wrongs);
        }
        if let Some(life) = self.lives.get_mut(&unit) {
            (life.holds, life.phase) = (true, Phase::None);
        }
        self.granted.insert(unit);
    }

    /// The next element of an array, which stands before that place in its way, for certain.
    fn passed(&self, place: Place, asks: &[Ask]) -> Option<Place> {
        let stands = |(_, other): &Place| {
            let task = self.tasks.get(&other.task).filter(|task| task.is_steady());
            task.is_some_and(|task| {
                let could = |ask: &Ask| {
                    let resource = self.resources.get(&ask.resource);
                    resource.is_none_or(|resource| resource.could_grant(ask, self.now_us))
                };
                task.shape.asks.iter().all(could)
            })
        };
        asks.iter().find_map(|ask| {
            let resource = self.resources.get(&ask.resource)?;
            // What is only shared is not used up: the next element comes to its turn when the one before it has begun.
            let only_shares = |other: &Place| {
                let theirs = self.tasks.get(&other.1.task).map(|task| task.shape.asks.as_slice()).unwrap_or_default();
                ask.mode == Mode::Shared && theirs.iter().all(|ask| ask.mode == Mode::Shared)
            };
            let meets = |(_, other): &Place| {
                let other = asked(&self.tasks, &ask.resource)(*other);
                other.is_some_and(|other| {
                    resource.possible(self.now_us).all(|declared| ask.meets(&other, &declared.devices))
                })
            };
            resource.shadows.range(..place).find(|place| stands(place) && !only_shares(place) && meets(place)).copied()
        })
    }
}
