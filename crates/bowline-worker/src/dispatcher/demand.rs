//! How much the server may hand over: its part of slots and amounts, and so many attempts beyond them as keep
//! the slots busy.

use std::time::Duration;

use bowline_core::message::FromWorker;
use bowline_core::worker::{Health, Room};
use bowline_protocol::Kind;
use bowline_protocol::limits::PREFETCH_MAX;

use super::{Dispatcher, Pace, Standing, Timer, Trouble};
use crate::shares::TURN;

/// What is held ready beyond the slots is worth so much work.
const AHEAD: Duration = Duration::from_millis(200);
/// Of tasks that take longer than this nothing is held ready: another worker may have room.
const LONG: Duration = Duration::from_secs(5);
/// Tasks that take no longer are made ready before there is a slot for them: it would be a part of their length.
const QUICK: Duration = Duration::from_millis(200);
/// The most that is held ready of the shortest tasks.
const AHEAD_ATTEMPTS_MAX: u32 = 2_048;
/// Where servers share, what one may use changes all the time: it is told so often at most.
const TELL_EVERY: Duration = Duration::from_millis(20);
/// How much the newest task's length counts in the mean.
const NEWEST: f64 = 0.2;

/// Watches how long tasks take, and what the server was told.
#[derive(Debug)]
pub(super) struct Demand {
    fixed: Option<u32>,
    mean_seconds: Option<f64>,
    told: Option<(u32, Room)>,
    health_told: Health,
    /// Told just now: what changes is told a little later.
    rests: bool,
    /// A look at the time is due when another's turn is over.
    turn_awaited: bool,
}

impl Demand {
    pub(super) fn new(fixed: Option<u32>) -> Self {
        Self { fixed, mean_seconds: None, told: None, health_told: Health::Ok, rests: false, turn_awaited: false }
    }

    /// How long tasks are.
    pub(super) fn pace(&self) -> Pace {
        if self.mean_seconds.is_some_and(|mean| mean > LONG.as_secs_f64()) { Pace::Long } else { Pace::Short }
    }

    /// Whether tasks are over as soon as they have begun.
    pub(super) fn is_quick(&self) -> bool {
        self.mean_seconds.is_some_and(|mean| mean <= QUICK.as_secs_f64())
    }

    /// Time has passed.
    pub(super) fn may_tell(&mut self) {
        self.rests = false;
    }

    /// What was another's for a moment may be had now.
    pub(super) fn turn_came(&mut self) {
        self.turn_awaited = false;
    }

    /// An attempt took so long.
    pub(super) fn took(&mut self, length: Duration) {
        let seconds = length.as_secs_f64();
        self.mean_seconds = Some(self.mean_seconds.map_or(seconds, |mean| mean + (seconds - mean) * NEWEST));
    }

    /// Attempts beyond so many slots.
    pub(super) fn prefetch(&self, slots: u32) -> u32 {
        if let Some(fixed) = self.fixed {
            return fixed.min(PREFETCH_MAX);
        }
        let least = slots.saturating_mul(2).clamp(4, AHEAD_ATTEMPTS_MAX);
        match self.mean_seconds {
            None => least,
            Some(mean) if mean > LONG.as_secs_f64() => 0,
            Some(mean) => {
                let fits = f64::from(slots) * AHEAD.as_secs_f64() / mean.max(1e-6);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to small positive numbers"
                )]
                let fits = fits.clamp(0.0, f64::from(AHEAD_ATTEMPTS_MAX)) as u32;
                fits.max(least)
            }
        }
    }

    /// A new session: the server is told anew.
    pub(super) fn rewind(&mut self) {
        self.told = None;
    }

    /// Hello says how the worker is; what has changed since then is told once the session is open.
    pub(super) fn said_hello(&mut self, health: &Health) {
        self.health_told.clone_from(health);
    }

    /// It did not leave in time: it is told again.
    pub(super) fn untold(&mut self, kind: Kind) {
        if kind == Kind::Demand {
            self.told = None;
        } else if kind == Kind::Health {
            // Whatever it was, what holds now is told.
            self.health_told = Health::Broken(String::new());
        }
    }

    /// Whether this is to be told: what was told does not hold any more, not even about.
    fn is_news(&self, attempts_max: u32, room: &Room) -> bool {
        let Some((told, told_room)) = &self.told else { return true };
        let near = attempts_max != 0
            && *told != 0
            && attempts_max <= told.saturating_mul(2)
            && *told <= attempts_max.saturating_mul(2);
        attempts_max != *told && !near || room != told_room
    }
}

impl Dispatcher {
    /// Tells the server what has changed about how much it may hand over.
    pub(super) fn settle_demand(&mut self) {
        self.settle_fill();
        let health = self.health();
        let takes = self.leaving.is_none() && health == Health::Ok && self.link.is_welcomed();
        self.share.stands(if takes { Standing::In } else { Standing::Out }, self.demand.pace());
        if !self.link.is_welcomed() {
            return;
        }
        if health != self.demand.health_told && self.say_timely(FromWorker::Health(health.clone())) {
            self.demand.health_told = health;
        }
        let room = if takes { self.share.allowance(self.now.at) } else { Room::default() };
        self.await_turn(&room);
        let attempts_max = if takes { room.slots.saturating_add(self.demand.prefetch(room.slots)) } else { 0 };
        if !self.demand.is_news(attempts_max, &room) || self.demand.rests && takes {
            return;
        }
        if self.say_timely(FromWorker::Demand { attempts_max, room: room.clone() }) {
            self.demand.told = Some((attempts_max, room));
            if self.share.is_shared() {
                self.demand.rests = true;
                self.later(TELL_EVERY, Timer::Demand);
            }
        }
    }

    /// What is another's for a moment is looked at again after it.
    fn await_turn(&mut self, room: &Room) {
        if self.share.is_shared() && !self.demand.turn_awaited && room.slots < self.config.room.slots {
            self.demand.turn_awaited = true;
            self.later(TURN, Timer::Turn);
        }
    }

    /// Past the bound of the outbox nothing more is taken, and the server is told why.
    fn settle_fill(&mut self) {
        if self.outbox.is_full() {
            let bytes_max = self.outbox.vitals(self.now.at).bytes_max;
            self.trouble(
                Trouble::Outbox,
                format!("its outbox is full: more than {bytes_max} bytes wait to be acknowledged by the server"),
            );
        } else {
            self.cleared(Trouble::Outbox);
        }
    }

    pub(super) fn health(&self) -> Health {
        if self.troubles.is_empty() {
            return Health::Ok;
        }
        Health::Broken(self.troubles.values().cloned().collect::<Vec<_>>().join("; "))
    }

    pub(super) fn trouble(&mut self, which: Trouble, why: String) {
        let before = self.troubles.insert(which, why);
        if before.is_none() {
            tracing::warn!(?which, why = self.troubles.get(&which), "taking nothing more for now");
        }
    }

    pub(super) fn cleared(&mut self, which: Trouble) {
        if self.troubles.remove(&which).is_some() {
            tracing::info!(?which, "in order again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_the_tasks_the_more_are_held_ready() {
        let mut demand = Demand::new(None);
        assert_eq!(demand.prefetch(4), 8);
        demand.took(Duration::ZERO);
        assert_eq!(demand.prefetch(4), AHEAD_ATTEMPTS_MAX);
        for _ in 0..100 {
            demand.took(Duration::from_millis(10));
        }
        assert!((60..=100).contains(&demand.prefetch(4)), "{}", demand.prefetch(4));
        for _ in 0..100 {
            demand.took(Duration::from_secs(1));
        }
        assert_eq!((demand.prefetch(4), demand.pace()), (8, Pace::Short));
        for _ in 0..100 {
            demand.took(Duration::from_mins(1));
        }
        assert_eq!((demand.prefetch(4), demand.pace()), (0, Pace::Long));
        assert_eq!(Demand::new(Some(1)).prefetch(4), 1);
    }

    #[test]
    fn the_server_hears_of_great_changes_and_of_every_change_of_its_room() {
        let room = |slots| Room { slots, ..Room::default() };
        let mut demand = Demand::new(None);
        assert!(demand.is_news(100, &room(4)));
        demand.told = Some((100, room(4)));
        assert!([100, 150, 60].into_iter().all(|most| !demand.is_news(most, &room(4))));
        assert!([300, 10, 0].into_iter().all(|most| demand.is_news(most, &room(4))));
        assert!(demand.is_news(100, &room(3)));
        demand.untold(Kind::Demand);
        assert!(demand.is_news(100, &room(4)));
    }
}
