//! Shares: whose turn it is when a worker has room, by what each namespace, and each user in it, has had of the workers
//! beside what was due to it.
//!
//! What is had is time of slots: what is over, what runs now, and a second for each start, so that slots that are free at
//! the same moment are divided too. While an attempt runs, its time is due, by their shares, to its own namespace and to
//! all that want its worker meanwhile: that have somebody ready who could be given it. Whoever is behind most, by its
//! share, goes first; users inside a namespace in the same way.
//!
//! So nothing that one alone wants counts, and two who want the same are told apart by nothing that a third has had. Who
//! wants what is looked at when somebody came or left, at most each [`race::LOOK_MIN`]. Whoever wants nothing does not save
//! up: it is behind by no more than [`CREDIT`]; what it is ahead or behind by is forgotten as fast as one slot takes it, once
//! it has nothing on a worker. Nothing of this is stored: a take-over begins anew with what runs.

mod account;
mod race;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::fair::{Lead, ShareView};
use crate::id::{AttemptRef, WorkerId};
use crate::mutant::{self, Mutant};
use crate::name::Namespace;
use crate::time::Timestamp;

use super::Engine;
use super::lane::LaneKey;
use super::quota::Tenant;

use account::{Account, Ledger, SCALE};
use race::{Race, Wanting};

/// Whoever wants nothing is behind by no more than so much, by its share: a minute of a slot.
const CREDIT: i128 = 60_000_000 * SCALE;

/// A user's name.
type User = Arc<str>;

/// Whose a lane is.
type Whose = (Namespace, Option<User>);

/// The share of each namespace of which one is set, and those of its users.
type Weights = BTreeMap<Namespace, (u32, BTreeMap<User, u32>)>;

/// To whom a slot's time is due, in parts of [`SCALE`].
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    houses: Vec<(Namespace, i128)>,
    users: Vec<(User, i128)>,
}

/// An attempt on a worker.
#[derive(Debug)]
struct Run {
    whose: Whose,
    slots: u32,
    worker: WorkerId,
    parts: Parts,
}

/// A namespace's account, and its users'.
#[derive(Debug)]
struct House {
    account: Account,
    users: Ledger<User>,
}

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Shares {
    is_on: bool,
    houses: BTreeMap<Namespace, House>,
    weights: Weights,
    runs: BTreeMap<AttemptRef, Run>,
    race: Race,
}

impl Shares {
    /// Whether they count.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether they say who is next.
    pub(super) fn decide(&self) -> bool {
        self.is_on && !mutant::is(Mutant::SharesIgnored)
    }

    /// Weights as they are set now. What was had stays had.
    pub(super) fn weigh(&mut self, rooms: &BTreeMap<Namespace, Tenant>) {
        self.is_on = rooms.values().any(|tenant| {
            let room = &tenant.row.room;
            room.share.is_some() || !room.user_shares.is_empty()
        });
        self.weights = rooms
            .iter()
            .map(|(name, tenant)| {
                let room = &tenant.row.room;
                let users = room.user_shares.iter().map(|(user, share)| (User::from(user.as_str()), *share)).collect();
                let share = room.share.filter(|_| !mutant::is(Mutant::WeightsIgnored));
                (name.clone(), (share.unwrap_or(1), users))
            })
            .collect();
        if !self.is_on {
            *self = Self { weights: std::mem::take(&mut self.weights), ..Self::default() };
        }
        let weights = &self.weights;
        for (name, house) in &mut self.houses {
            house.account.weight = weight_of(weights, name);
            for (user, account) in &mut house.users.0 {
                account.weight = weight_in(weights, name, user);
            }
        }
        self.race.is_stale = true;
    }

    /// What a slot's time is divided into, for somebody who has it while these want it.
    fn divide(&self, whose: &Whose, wanting: &Wanting) -> Parts {
        let (own, user) = whose;
        let others = wanting.keys().filter(|name| *name != own);
        let houses = others.map(|name| (name.clone(), weight_of(&self.weights, name)));
        let houses = account::parts((own.clone(), weight_of(&self.weights, own)), houses);
        let users = user.as_ref().map(|user| {
            let others = wanting.get(own).into_iter().flatten().flatten().filter(|other| *other != user);
            let others = others.map(|other| (Arc::clone(other), weight_in(&self.weights, own, other)));
            account::parts((Arc::clone(user), weight_in(&self.weights, own, user)), others)
        });
        Parts { houses, users: users.unwrap_or_default() }
    }

    fn house(&mut self, name: &Namespace) -> &mut House {
        house_in(&mut self.houses, &self.weights, name)
    }

    /// Each account that it concerns, with what is due to that of each microsecond, less what is had.
    fn each(&mut self, run: &Run, mut change: impl FnMut(&mut Account, i128)) {
        let slots = i128::from(run.slots);
        let (own, user) = &run.whose;
        for (name, part) in &run.parts.houses {
            change(&mut self.house(name).account, slots * part);
        }
        let Self { houses, weights, .. } = self;
        let house = house_in(houses, weights, own);
        change(&mut house.account, -slots * SCALE);
        let Some(user) = user else { return };
        let mut of = |user: &User, due: i128| change(house.users.of(user, weight_in(weights, own, user)), due);
        of(user, -slots * SCALE);
        for (other, part) in &run.parts.users {
            of(other, slots * part);
        }
    }

    /// An attempt has its slots on this worker from now on, which these want.
    fn begin(&mut self, attempt: AttemptRef, key: &LaneKey, (worker, wanting): (WorkerId, &Wanting), now: Timestamp) {
        let whose = (key.namespace.clone(), key.user.clone());
        let parts = self.divide(&whose, wanting);
        let run = Run { whose, slots: key.slots, worker, parts };
        self.each(&run, |account, change| {
            account.add(change, now);
            account.owed += account::START_COST * change;
        });
        let house = self.house(&key.namespace);
        house.account.take(key.slots, now);
        if let Some(account) = key.user.as_ref().and_then(|user| house.users.0.get_mut(user)) {
            account.take(key.slots, now);
        }
        self.runs.insert(attempt, run);
    }

    /// It has them no more.
    pub(super) fn end(&mut self, attempt: &AttemptRef, now: Timestamp) {
        let Some(run) = self.runs.remove(attempt) else { return };
        self.each(&run, |account, change| account.add(-change, now));
        let house = self.house(&run.whose.0);
        house.account.slots -= u64::from(run.slots);
        if let Some(account) = run.whose.1.as_ref().and_then(|user| house.users.0.get_mut(user)) {
            account.slots -= u64::from(run.slots);
        }
    }

    /// How far ahead whoever has this lane is, by its share: the namespace, then the user.
    fn ahead(&self, (namespace, user): &Whose, now: Timestamp) -> (i128, i128) {
        let Some(house) = self.houses.get(namespace) else { return (0, 0) };
        let of_user = user.as_ref().and_then(|user| house.users.0.get(user)).map(|account| account.ahead(now));
        (house.account.ahead(now), of_user.unwrap_or(0))
    }

    /// Of a namespace, for people.
    pub(super) fn view(&self, name: &Namespace, now: Timestamp) -> Option<ShareView> {
        let house = self.houses.get(name).map(|house| view(&house.account, now));
        let none = || view(&Account::new(weight_of(&self.weights, name)), now);
        self.is_on.then(|| house.unwrap_or_else(none))
    }

    /// Of its users, for people.
    pub(super) fn users(&self, name: &Namespace, now: Timestamp) -> Vec<(String, ShareView)> {
        let Some((_, weights)) = self.weights.get(name).filter(|(_, users)| self.is_on && !users.is_empty()) else {
            return Vec::new();
        };
        let known = self.houses.get(name).map(|house| &house.users.0);
        let all: BTreeSet<&User> = weights.keys().chain(known.into_iter().flat_map(BTreeMap::keys)).collect();
        let of = |user: &User| {
            let account = known.and_then(|known| known.get(user)).cloned();
            account.unwrap_or_else(|| Account::new(weight_in(&self.weights, name, user)))
        };
        all.into_iter().map(|user| (user.to_string(), view(&of(user), now))).collect()
    }
}

fn house_in<'a>(houses: &'a mut BTreeMap<Namespace, House>, weights: &Weights, name: &Namespace) -> &'a mut House {
    let new = || House { account: Account::new(weight_of(weights, name)), users: Ledger::default() };
    houses.entry(name.clone()).or_insert_with(new)
}

fn weight_of(weights: &Weights, name: &Namespace) -> u32 {
    weights.get(name).map_or(1, |(weight, _)| *weight)
}

fn weight_in(weights: &Weights, name: &Namespace, user: &User) -> u32 {
    weights.get(name).and_then(|(_, users)| users.get(user)).copied().unwrap_or(1)
}

fn view(account: &Account, now: Timestamp) -> ShareView {
    ShareView { weight: account.weight, slots: account.slots, lead: lead(account.ahead(now)) }
}

fn lead(ahead: i128) -> Lead {
    let micros = ahead / SCALE;
    Lead(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }))
}

impl Engine {
    /// An attempt has slots on this worker from now on.
    pub(super) fn begin_share(&mut self, attempt: AttemptRef, key: &LaneKey, worker: WorkerId) {
        if self.shares.is_on() {
            let wanting = self.wanting(worker);
            self.shares.begin(attempt, key, (worker, &wanting), self.now);
        }
    }

    /// What runs counts from now on.
    pub(super) fn count_shares(&mut self) {
        if !self.shares.is_on() {
            return;
        }
        for (attempt, row) in &self.attempts {
            let key = self.tasks.get(&attempt.task.task).map(|task| &task.policy.lane_key);
            if let Some((key, worker)) = key.zip(row.worker) {
                self.shares.begin(*attempt, key, (worker, &Wanting::new()), self.now);
            }
        }
        self.shares.race.note_joined(self.lanes.occupied());
    }
}
