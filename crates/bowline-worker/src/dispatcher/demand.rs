//! How much the server may hand over: slots, and so many attempts beyond them as keep the slots busy.

use std::time::Duration;

use bowline_core::message::FromWorker;
use bowline_core::worker::{Health, Room};
use bowline_protocol::limits::PREFETCH_MAX;

use super::{Dispatcher, Trouble};

/// What is held ready beyond the slots is worth so much work.
const AHEAD: Duration = Duration::from_millis(200);
/// Of tasks that take longer than this nothing is held ready: another worker may have room.
const LONG: Duration = Duration::from_secs(5);
/// The most that is held ready of the shortest tasks.
const AHEAD_ATTEMPTS_MAX: u32 = 2_048;
/// What Hello names where tasks have been long, or there were none: until Demand arrives the server may go so far.
const SESSION_PREFETCH: u32 = 512;
/// How much the newest task's length counts in the mean.
const NEWEST: f64 = 0.2;

/// Watches how long tasks take, and what the server was told.
#[derive(Debug)]
pub(super) struct Demand {
    slots: u32,
    fixed: Option<u32>,
    mean_seconds: Option<f64>,
    told: Option<u32>,
    health_told: Health,
}

impl Demand {
    pub(super) fn new(slots: u32, fixed: Option<u32>) -> Self {
        Self { slots, fixed, mean_seconds: None, told: None, health_told: Health::Ok }
    }

    /// An attempt took so long.
    pub(super) fn took(&mut self, length: Duration) {
        let seconds = length.as_secs_f64();
        self.mean_seconds = Some(self.mean_seconds.map_or(seconds, |mean| mean + (seconds - mean) * NEWEST));
    }

    /// Attempts beyond the slots.
    pub(super) fn prefetch(&self) -> u32 {
        if let Some(fixed) = self.fixed {
            return fixed.min(PREFETCH_MAX);
        }
        let least = (2 * self.slots).clamp(4, AHEAD_ATTEMPTS_MAX);
        match self.mean_seconds {
            None => least,
            Some(mean) if mean > LONG.as_secs_f64() => 0,
            Some(mean) => {
                let fits = f64::from(self.slots) * AHEAD.as_secs_f64() / mean.max(1e-6);
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

    /// The most attempts beyond the slots that this session may ever see; what holds now is said by Demand.
    pub(super) fn prefetch_max(&self) -> u32 {
        self.fixed.map_or(SESSION_PREFETCH, |fixed| fixed.min(PREFETCH_MAX)).max(self.prefetch())
    }

    /// A new session: the server is told anew.
    pub(super) fn rewind(&mut self) {
        self.told = None;
        self.health_told = Health::Ok;
    }

    /// What to tell. `None`: what was told still holds, about.
    fn news(&self, attempts_max: u32) -> Option<u32> {
        let told = self.told?;
        let near = attempts_max != 0
            && told != 0
            && attempts_max <= told.saturating_mul(2)
            && told <= attempts_max.saturating_mul(2);
        (attempts_max != told && !near).then_some(attempts_max)
    }
}

impl Dispatcher {
    /// Tells the server what has changed about how much it may hand over.
    pub(super) fn settle_demand(&mut self) {
        if !self.link.is_welcomed() {
            return;
        }
        if !self.outbox.is_full() {
            self.cleared(Trouble::Outbox);
        }
        let health = self.health();
        if health != self.demand.health_told && self.say_timely(FromWorker::Health(health.clone())) {
            self.demand.health_told = health.clone();
        }
        let takes = self.leaving.is_none() && health == Health::Ok;
        let attempts_max = if takes { self.config.room.slots.saturating_add(self.demand.prefetch()) } else { 0 };
        let news = if self.demand.told.is_none() { Some(attempts_max) } else { self.demand.news(attempts_max) };
        if let Some(attempts_max) = news {
            let room = if takes { self.config.room.clone() } else { Room::default() };
            if self.say_timely(FromWorker::Demand { attempts_max, room }) {
                self.demand.told = Some(attempts_max);
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        match self.troubles.values().next() {
            None => Health::Ok,
            Some(why) => Health::Broken(why.clone()),
        }
    }

    pub(super) fn trouble(&mut self, which: Trouble, why: String) {
        self.troubles.insert(which, why);
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
        let mut demand = Demand::new(4, None);
        assert_eq!(demand.prefetch(), 8);
        demand.took(Duration::ZERO);
        assert_eq!(demand.prefetch(), AHEAD_ATTEMPTS_MAX);
        for _ in 0..100 {
            demand.took(Duration::from_millis(10));
        }
        assert!((60..=100).contains(&demand.prefetch()), "{}", demand.prefetch());
        for _ in 0..100 {
            demand.took(Duration::from_secs(1));
        }
        assert_eq!(demand.prefetch(), 8);
        for _ in 0..100 {
            demand.took(Duration::from_mins(1));
        }
        assert_eq!(demand.prefetch(), 0);
        assert_eq!(Demand::new(4, Some(1)).prefetch(), 1);
    }

    #[test]
    fn the_server_hears_of_great_changes_alone() {
        let mut demand = Demand::new(4, None);
        demand.told = Some(100);
        assert_eq!([demand.news(100), demand.news(150), demand.news(60)], [None; 3]);
        assert_eq!([demand.news(300), demand.news(10), demand.news(0)], [Some(300), Some(10), Some(0)]);
    }
}
