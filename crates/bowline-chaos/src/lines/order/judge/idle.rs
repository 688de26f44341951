//! A commit is over: was somebody left waiting for whom everything was free?

use super::{Judge, Life, Stand, asked};
use crate::lines::order::Unit;
use crate::lines::order::ask::Ask;
use crate::lines::order::resource::Declared;
use crate::lines::order::wrong::{Kind, Wrong};

/// Nobody stands for longer than this in a line that moves: jobs take seconds.
const STANDS_MAX_US: i64 = 300_000_000;
/// Commits between two looks at everybody.
const LOOK_EVERY: u64 = 64;
/// So many places of a line are looked at: only those who ask for units may pass each other.
const PLACES_MAX: usize = 64;

impl Judge {
    /// Nothing more comes of the last commit.
    pub(crate) fn close(&mut self) {
        self.tickets.0 = self.tickets.0.max(self.tickets.1);
        for name in std::mem::take(&mut self.touched) {
            self.look_at(&name);
        }
        self.judge_together();
        if self.at.commit.is_multiple_of(LOOK_EVERY) {
            self.look_at_all();
        }
    }

    /// A commit is over: is the first in this line left waiting although all that it asks for is free?
    fn look_at(&mut self, name: &str) {
        let now_us = self.now_us;
        let Some(resource) = self.resources.get_mut(name) else { return };
        resource.forget(now_us);
        if resource.is_changing() {
            // What it is becomes certain in a moment: it is looked at again then.
            self.touched.insert(name.to_owned());
        }
        let mut idle = Vec::new();
        for (ticket, unit) in &resource.line {
            idle.push((*ticket, *unit));
            let ask = asked(&self.tasks, name)(*unit);
            // Whoever does not ask for units alone has everybody else behind it.
            if ask.is_none_or(|ask| ask.with.is_empty()) || idle.len() > PLACES_MAX {
                break;
            }
        }
        if resource.is_idle() && resource.newest() == Declared::default() {
            self.resources.remove(name);
        }
        idle.retain(|(_, unit)| self.is_left_waiting(*unit));
        for (ticket, unit) in idle {
            let asks = self.tasks.get(&unit.task).map(|task| Ask::write(&task.shape.asks)).unwrap_or_default();
            let text = format!(
                "{unit} (ticket {ticket}) is the first in line for all of `{asks}`, all of which is free, and was not granted it by the end of commit {}",
                self.at.commit
            );
            self.find_of(unit, text);
        }
    }

    fn is_left_waiting(&self, unit: Unit) -> bool {
        let Some((task, life)) = self.tasks.get(&unit.task).zip(self.lives.get(&unit)) else { return false };
        // Elements that wait for their array's window stand aside, and nobody says so.
        let is_held_back = task.shape.array.is_some_and(|array| array.has_window) || life.is_told;
        // A gang is granted what all of it asks for, or nothing.
        let is_held_back = is_held_back || task.shape.gang.is_some();
        let Some(place) = life.place.filter(|_| !is_held_back) else { return false };
        task.shape.asks.iter().all(|ask| {
            let resource = self.resources.get(&ask.resource);
            resource
                .is_some_and(|resource| resource.is_certain(place, ask, asked(&self.tasks, &ask.resource), self.now_us))
        })
    }

    /// Whoever has stood for too long while its lines moved.
    fn look_at_all(&mut self) {
        let stood = |life: &Life| self.now_us - life.since_us > STANDS_MAX_US && !life.is_told;
        let long: Vec<Unit> = self
            .lives
            .iter()
            .filter(|(_, life)| life.stand == Stand::InLine && stood(life))
            .map(|(unit, _)| *unit)
            .collect();
        for unit in long {
            let Some((task, life)) = self.tasks.get(&unit.task).zip(self.lives.get(&unit)) else { continue };
            let grants = task
                .shape
                .asks
                .iter()
                .filter_map(|ask| self.resources.get(&ask.resource))
                .map(|resource| resource.grants);
            let moved = grants.sum::<u64>().saturating_sub(life.grants_before);
            if moved > 0 && !task.shape.array.is_some_and(|array| array.has_window) {
                let seconds = (self.now_us - life.since_us) / 1_000_000;
                self.find_of(unit, format!("{unit} has stood in line for {seconds} s, in which {moved} others were granted what it waits for"));
            }
        }
    }

    fn find_of(&mut self, unit: Unit, text: String) {
        if let Some(life) = self.lives.get_mut(&unit) {
            life.is_told = true;
        }
        self.find(Wrong::new(Kind::Starved, text));
    }
}
