//! A worker in memory: its durable part, its session, and its room as the server counts it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{AttemptRef, SessionId};
use crate::message::Paused;
use crate::mutant::{self, Mutant};
use crate::name::{PoolName, ResourceName};
use crate::row::WorkerRow;
use crate::time::Timestamp;
use crate::worker::{Health, Room};

use super::aside::Trial;
use super::keep::Kept;
use super::lane::{LaneKey, Waited};
use super::side::Only;
use super::table::At;

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub row: WorkerRow,
    pub session: Option<Session>,
    /// When it was heard last under this leadership.
    pub heard_at: Option<Timestamp>,
    /// Its lease counts from here: the last time it was heard, or the take-over.
    pub lease_from: Timestamp,
    pub suspect: Suspect,
    pub held: Held,
    /// Its place among the workers with room.
    pub free: Option<FreeKey>,
    pub timer: At,
    pub trial: Trial,
    pub leaving: Leaving,
    /// For whom it is kept free.
    pub kept: Option<Box<Kept>>,
}

/// Whether its last process left in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    InOrder,
}

/// What makes an identity somebody's.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub key: [u8; 32],
    pub pool: Option<PoolName>,
}

/// Whether it is silent for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspect {
    No,
    Yes,
}

/// Order among workers with room: those with a free slot first, then the least loaded.
pub(super) type FreeKey = (Beyond, u32);

/// Whether what is given next runs at once or is prefetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beyond {
    No,
    Yes,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    /// When its Hello was heard.
    pub from: Timestamp,
    pub prefetch: u32,
    pub demand: Option<(u32, Room)>,
    pub health: Health,
    pub version: String,
    /// Attempts whose messages were pending at Hello: nothing new before they are dealt with.
    pub pending: BTreeSet<AttemptRef>,
}

/// Live attempts against room: what runs, and what is held beyond, in the order of the claims.
#[derive(Debug, Default)]
pub(super) struct Held {
    inside: BTreeMap<AttemptRef, Claim>,
    beyond: VecDeque<(AttemptRef, Claim)>,
    used: Room,
}

/// What one attempt takes.
pub(super) type Claim = std::sync::Arc<LaneKey>;

impl Held {
    /// All of them.
    pub(super) fn attempts(&self) -> impl Iterator<Item = AttemptRef> + '_ {
        self.inside.keys().copied().chain(self.beyond.iter().map(|(attempt, _)| *attempt))
    }

    fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.inside.values().chain(self.beyond.iter().map(|(_, claim)| claim))
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.inside.len() + self.beyond.len()
    }

    /// Room that is taken by what runs.
    pub(super) fn used(&self) -> &Room {
        &self.used
    }

    /// Held beyond the slots.
    pub(super) fn beyond(&self) -> usize {
        self.beyond.len()
    }

    /// Whether this one is held beyond the slots: it begins when there is room.
    pub(super) fn is_beyond(&self, attempt: &AttemptRef) -> bool {
        self.beyond.iter().any(|(held, _)| held == attempt)
    }

    /// Whether a link of a chain runs.
    fn has_chain(&self) -> bool {
        self.inside.values().any(|claim| claim.is_chain)
    }

    /// Whether this fits beside what runs.
    fn fits(&self, claim: &LaneKey, room: &Room) -> bool {
        // What does not fit a number does not fit the room either.
        self.used.slots.checked_add(claim.slots).is_some_and(|slots| slots <= room.slots)
            && claim.room.iter().all(|(name, wanted)| {
                let used = self.used.amounts.get(name).copied().unwrap_or(0);
                used.checked_add(*wanted).is_some_and(|all| all <= room.amounts.get(name).copied().unwrap_or(0))
            })
    }

    /// Whether the amounts of this are free beside everything that is held, beyond the slots too. A worker
    /// begins what it holds beforehand when a slot is free, and asks nobody: its amounts must be there then.
    fn leaves_amounts(&self, claim: &LaneKey, room: &Room) -> bool {
        claim.room.iter().all(|(name, wanted)| {
            let used = self.used.amounts.get(name).copied().unwrap_or(0);
            let beyond = self.beyond.iter().flat_map(|(_, claim)| &claim.room).filter(|(of, _)| of == name);
            let held = beyond.fold(used, |sum, (_, amount)| sum.saturating_add(*amount));
            held.checked_add(*wanted).is_some_and(|all| all <= room.amounts.get(name).copied().unwrap_or(0))
        })
    }

    /// Whether this fits, with what it is kept free for, beside these attempts alone: all others end some time.
    fn leaves_room_for(&self, kept: &Kept, claim: &LaneKey, room: &Room) -> bool {
        let beside = || kept.beside.iter().filter_map(|attempt| self.inside.get(attempt));
        let slots = beside().map(|other| u64::from(other.slots)).sum::<u64>();
        let of =
            |key: &LaneKey, name| key.room.iter().find(|(other, _)| other == name).map_or(0, |(_, amount)| *amount);
        slots + u64::from(claim.slots) + u64::from(kept.key.slots) <= u64::from(room.slots)
            && claim.room.iter().all(|(name, wanted)| {
                let others = beside().fold(of(&kept.key, name), |sum, other| sum.saturating_add(of(other, name)));
                others.checked_add(*wanted).is_some_and(|all| all <= room.amounts.get(name).copied().unwrap_or(0))
            })
    }

    /// One more.
    pub(super) fn add(&mut self, attempt: AttemptRef, claim: Claim, room: &Room) {
        if self.beyond.is_empty() && self.fits(&claim, room) {
            self.take_room(&claim);
            self.inside.insert(attempt, claim);
        } else {
            self.beyond.push_back((attempt, claim));
        }
    }

    /// One less; what is held beyond moves up. Whether it was there.
    pub(super) fn remove(&mut self, attempt: &AttemptRef, room: &Room) -> bool {
        let found = if let Some(claim) = self.inside.remove(attempt) {
            self.used.slots = self.used.slots.saturating_sub(claim.slots);
            for (name, amount) in &claim.room {
                if let Some(used) = self.used.amounts.get_mut(name) {
                    *used = used.saturating_sub(*amount);
                }
            }
            true
        } else {
            let before = self.beyond.len();
            self.beyond.retain(|(held, _)| held != attempt);
            before != self.beyond.len()
        };
        self.move_up(room);
        found
    }

    /// What is held beyond moves up as far as there is room.
    pub(super) fn move_up(&mut self, room: &Room) {
        while let Some((attempt, claim)) = self.beyond.pop_front() {
            if !self.fits(&claim, room) {
                self.beyond.push_front((attempt, claim));
                break;
            }
            self.take_room(&claim);
            self.inside.insert(attempt, claim);
        }
    }

    fn take_room(&mut self, claim: &LaneKey) {
        self.used.slots += claim.slots;
        for (name, amount) in &claim.room {
            *self.used.amounts.entry(name.clone()).or_default() += amount;
        }
    }
}

impl Worker {
    /// From its row, away.
    pub(super) fn from_row(mut row: WorkerRow, now: Timestamp) -> Self {
        row.offer = row.offer.take().map(|offer| offer.named(&row.name));
        Self {
            row,
            session: None,
            heard_at: None,
            lease_from: now,
            suspect: Suspect::No,
            held: Held::default(),
            free: None,
            timer: At::default(),
            trial: Trial::default(),
            leaving: Leaving::No,
            kept: None,
        }
    }

    /// Nobody acts under it, and it holds nothing.
    pub(super) fn is_vacant(&self) -> bool {
        self.session.is_none() && self.held.len() == 0
    }

    /// Nobody acts under it, nor means to come back.
    pub(super) fn is_free(&self) -> bool {
        self.is_vacant() && (self.row.seat.is_none() || self.leaving == Leaving::InOrder)
    }

    /// Since when nothing was heard of it. `None`: it is heard.
    pub(super) fn silent_since(&self) -> Option<Timestamp> {
        let is_silent = self.session.is_none() || self.suspect == Suspect::Yes;
        is_silent.then(|| self.heard_at.unwrap_or(self.lease_from))
    }

    /// Room that this server may use: what it offers, and no more than it demands.
    pub(super) fn room(&self) -> Room {
        let mut room = self.row.offer.as_ref().map(|offer| offer.room.clone()).unwrap_or_default();
        if let Some((_, demand)) = self.session.as_ref().and_then(|session| session.demand.as_ref()) {
            room.slots = room.slots.min(demand.slots);
            for (name, amount) in &mut room.amounts {
                *amount = (*amount).min(demand.amounts.get(name).copied().unwrap_or(*amount));
            }
        }
        room
    }

    /// Why it is given nothing, whatever its room. `None`: it may be given something.
    pub(super) fn unavailable(&self) -> Option<String> {
        let Some(session) = &self.session else { return Some("it is not connected".to_owned()) };
        if let Some(mark) = &self.row.paused {
            return Some(format!("it was paused by {}", mark.by.0));
        }
        if let Some(mark) = self.row.drain.as_ref().filter(|_| !mutant::is(Mutant::DrainedWorkerIsGivenWork)) {
            return Some(format!("it was drained by {}", mark.by.0));
        }
        if let Some(mark) = &self.row.aside
            && !(self.trial.is_due() && self.held.len() == 0)
        {
            return Some(format!("it was put aside: {}", mark.reason));
        }
        match (&session.health, self.suspect) {
            (Health::Broken(why), Suspect::No | Suspect::Yes) => Some(format!("it says that it is broken: {why}")),
            (Health::Ok, Suspect::Yes) => Some("it is suspect: no heartbeat came from it for too long".to_owned()),
            (Health::Ok, Suspect::No) if !session.pending.is_empty() => {
                Some("it is still delivering what happened while it was away".to_owned())
            }
            (Health::Ok, Suspect::No) => None,
        }
    }

    /// Whether it is paused.
    pub(super) fn paused(&self) -> Paused {
        if self.row.paused.is_some() { Paused::Yes } else { Paused::No }
    }

    /// Its place among the workers with room, where it has room.
    pub(super) fn free_key(&self) -> Option<FreeKey> {
        if self.unavailable().is_some() {
            return None;
        }
        let session = self.session.as_ref()?;
        let attempts = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        if session.demand.as_ref().is_some_and(|(most, _)| attempts >= *most) {
            return None;
        }
        let room = self.room();
        let used = self.held.used().slots;
        if self.held.beyond() == 0 && used < room.slots {
            return Some((Beyond::No, load(used, room.slots)));
        }
        let beyond = count(self.held.beyond());
        (beyond < session.prefetch).then(|| (Beyond::Yes, load(beyond, session.prefetch)))
    }

    /// Whether whoever stands in this lane would rather not have it.
    pub(super) fn is_meant(&self, claim: &LaneKey) -> bool {
        match &claim.only {
            Only::Any => true,
            Only::Not(id, _) => *id != self.row.id,
            Only::On(id, _) => *id == self.row.id,
        }
    }

    /// What it runs for, where that keeps others of the kind off it.
    pub(super) fn runs_for_another(&self, claim: &LaneKey) -> Option<&ResourceName> {
        let own = claim.alone.as_ref()?;
        self.held.claims().filter_map(|other| other.alone.as_ref()).find(|other| *other != own)
    }

    /// How much must end there before it is empty: slots that are taken, and what waits for one.
    pub(super) fn in_the_way(&self) -> u32 {
        self.held.used().slots.saturating_add(count(self.held.beyond()))
    }

    /// Whether it could be given this if it were empty.
    pub(super) fn could_take(&self, claim: &LaneKey) -> bool {
        self.is_meant(claim)
            && self.row.offer.as_ref().is_some_and(|offer| claim.fits(offer))
            && claim.too_small(&self.room()).is_empty()
    }

    /// For whom it is kept free, where this would take from that.
    pub(super) fn kept_in_need(&self, claim: &LaneKey) -> Option<&Kept> {
        self.kept.as_deref().filter(|kept| !self.held.leaves_room_for(kept, claim, &self.room()))
    }

    /// Whether it can be given this now, for whomever it is kept, and whether that would run at once.
    pub(super) fn takes(&self, claim: &LaneKey) -> Option<Beyond> {
        if !self.is_meant(claim) || self.runs_for_another(claim).is_some() || !claim.fits(self.row.offer.as_ref()?) {
            return None;
        }
        let room = self.room();
        if self.held.beyond() == 0 && self.held.fits(claim, &room) {
            return Some(Beyond::No);
        }
        let beyond = count(self.held.beyond());
        let prefetch = self.session.as_ref().map_or(0, |session| session.prefetch);
        // Who needs several slots would keep others from those that are free meanwhile.
        let may_wait_there =
            self.kept.is_none() && claim.waited == Waited::No && !self.held.has_chain() && claim.slots <= 1;
        let may_wait_there = may_wait_there && beyond < prefetch && claim.too_small(&room).is_empty();
        (may_wait_there && self.held.leaves_amounts(claim, &room)).then_some(Beyond::Yes)
    }
}

/// A number of attempts.
fn count(attempts: usize) -> u32 {
    u32::try_from(attempts).unwrap_or(u32::MAX)
}

/// In thousandths.
fn load(used: u32, of: u32) -> u32 {
    u32::try_from(u64::from(used) * 1_000 / u64::from(of.max(1))).unwrap_or(u32::MAX)
}
