//! Gates: how many may be at work at a time under a key, in a namespace, with a resource; how many may begin within a
//! time. Bookkeeping alone: what a gate means to a task is [`super::limit`]'s.
//!
//! Whoever waits at a gate stands in its queue, by ticket. The first of them, as many as there is room for, are let
//! through: they may stand in the lines of what they ask for, and their room is kept. The others stand aside.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::fair::{Rate, Rule};
use crate::id::{TaskId, TaskRef};
use crate::mutant::{self, Mutant};
use crate::name::{LimitKey, Namespace, ResourceName};
use crate::time::{Span, Timestamp};

use super::lines::Place;

/// Which gate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GateKey {
    /// Tasks of a namespace on workers.
    Running(Namespace),
    /// A resource in the hands of a namespace.
    Held(Namespace, ResourceName),
    /// Tasks under a concurrency key.
    Key(Namespace, LimitKey),
    /// Starts under a key.
    Rate(Namespace, LimitKey),
}

impl GateKey {
    /// Of which namespace.
    pub(super) fn namespace(&self) -> &Namespace {
        match self {
            Self::Running(namespace)
            | Self::Held(namespace, _)
            | Self::Key(namespace, _)
            | Self::Rate(namespace, _) => namespace,
        }
    }
}

/// How much room a gate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Most {
    Any,
    So(u64),
    /// One task, with all its elements.
    Sole,
}

/// What unfinished tasks say of their key. The newest one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Rule(Rule),
    Rate(u32, Span),
}

/// One gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Quotas are set; of keys their tasks say it.
    set: Option<u64>,
    says: BTreeMap<TaskId, Says>,
    /// Who is inside, with how much.
    holders: BTreeMap<TaskRef, u64>,
    held: u64,
    /// Used by those who do not wait at the gate.
    outside: u64,
    /// Let through, and not yet inside.
    admitted: BTreeMap<Place, u64>,
    kept: u64,
    queue: BTreeMap<Place, u64>,
    /// Starts that count, and within which time.
    pub starts: VecDeque<Timestamp>,
    pub per: Duration,
    /// Its place among the expiries.
    expires: Option<Timestamp>,
}

impl Gate {
    /// How much room it has in all.
    pub(super) fn most(&self) -> Most {
        if let Some(set) = self.set {
            return Most::So(set);
        }
        match self.says.last_key_value().map(|(_, says)| *says) {
            Some(Says::Rule(Rule::AtMost(most))) => Most::So(u64::from(most)),
            Some(Says::Rule(Rule::NewestWins | Rule::Drop)) => Most::Sole,
            Some(Says::Rate(count, _)) => Most::So(u64::from(count)),
            None => Most::Any,
        }
    }

    /// What is used of it: those inside, those outside, and starts that count.
    pub(super) fn used(&self) -> u64 {
        self.held + self.outside + self.starts.len() as u64
    }

    /// Who is inside.
    pub(super) fn holders(&self) -> impl Iterator<Item = TaskRef> + '_ {
        self.holders.keys().copied()
    }

    /// Who was let through, and is not inside yet.
    pub(super) fn let_through(&self) -> impl Iterator<Item = TaskRef> + '_ {
        self.admitted.keys().map(|(_, unit)| *unit)
    }

    /// How much those inside have.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Who waits.
    pub(super) fn waiting(&self) -> u64 {
        self.queue.len() as u64
    }

    /// Unfinished tasks under the key.
    pub(super) fn members(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.says.keys().copied()
    }

    /// Whether more is used than may be: since it was made smaller.
    fn is_over(&self) -> bool {
        match self.most() {
            Most::So(most) => self.used() > most,
            Most::Any | Most::Sole => false,
        }
    }

    fn has_room(&self, unit: TaskRef, amount: u64) -> bool {
        match self.most() {
            Most::Any => true,
            Most::So(most) => self.used().saturating_add(self.kept).saturating_add(amount) <= most,
            Most::Sole => {
                let others = self.holders.keys().chain(self.admitted.keys().map(|(_, unit)| unit));
                others.into_iter().all(|other| other.task == unit.task)
            }
        }
    }

    /// Whether the unit may go on: it is inside, or let through, or would be if it came.
    pub(super) fn lets(&self, place: Place, amount: u64) -> bool {
        if self.holders.contains_key(&place.1) {
            return !self.is_over();
        }
        let is_first = || self.queue.first_key_value().is_none_or(|(first, _)| *first > place);
        self.admitted.contains_key(&place)
            || (!self.queue.contains_key(&place) && is_first() && self.has_room(place.1, amount))
    }

    fn admit(&mut self, place: Place, amount: u64) {
        self.kept += amount;
        self.admitted.insert(place, amount);
    }

    fn send_back(&mut self) -> Option<Place> {
        let (place, amount) = self.admitted.pop_last()?;
        self.kept -= amount;
        self.queue.insert(place, amount);
        Some(place)
    }

    fn drop_place(&mut self, place: Place) -> bool {
        if let Some(amount) = self.admitted.remove(&place) {
            self.kept -= amount;
            return true;
        }
        self.queue.remove(&place).is_some()
    }

    /// The first in the queue are let through, as many as there is room for; nobody else is. Whose standing that changes.
    fn settle(&mut self) -> BTreeSet<TaskRef> {
        let mut changed = BTreeSet::new();
        let is_overtaken = |gate: &Self| {
            let (first, last) = (gate.queue.first_key_value(), gate.admitted.last_key_value());
            first.zip(last).is_some_and(|((first, _), (last, _))| first < last)
        };
        let is_too_much = |gate: &Self| match gate.most() {
            Most::So(most) => gate.used().saturating_add(gate.kept) > most,
            Most::Sole => !gate.admitted.keys().all(|(_, unit)| gate.holders.keys().all(|held| held.task == unit.task)),
            Most::Any => false,
        };
        while is_overtaken(self) || is_too_much(self) {
            let Some((_, unit)) = self.send_back() else { break };
            changed.insert(unit);
        }
        while let Some((place, amount)) = self.queue.first_key_value().map(|(place, amount)| (*place, *amount)) {
            if !self.has_room(place.1, amount) {
                break;
            }
            self.queue.remove(&place);
            self.admit(place, amount);
            changed.insert(place.1);
        }
        changed
    }

    fn is_idle(&self) -> bool {
        let is_empty = self.says.is_empty() && self.holders.is_empty() && self.starts.is_empty();
        is_empty && self.set.is_none() && self.admitted.is_empty() && self.queue.is_empty()
    }
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    all: BTreeMap<GateKey, Gate>,
    /// Where somebody else may be let through, or nobody any more.
    dirty: BTreeSet<GateKey>,
    /// Units whose standing that changed.
    stirred: BTreeSet<TaskRef>,
    /// Units that were let through everywhere and ask for no resource.
    pub open: BTreeSet<Place>,
    /// When the oldest start of each no longer counts.
    expiries: BTreeSet<(Timestamp, GateKey)>,
}

impl Gates {
    /// One of them.
    pub(super) fn get(&self, key: &GateKey) -> Option<&Gate> {
        self.all.get(key)
    }

    /// Those of a namespace.
    pub(super) fn of<'a>(&'a self, namespace: &'a Namespace) -> impl Iterator<Item = (&'a GateKey, &'a Gate)> {
        self.all.iter().filter(move |(key, _)| key.namespace() == namespace)
    }

    /// Whether there is nothing to look at.
    pub(super) fn is_still(&self) -> bool {
        self.dirty.is_empty() && self.stirred.is_empty() && self.open.is_empty()
    }

    fn entry(&mut self, key: &GateKey) -> &mut Gate {
        if !self.dirty.contains(key) {
            self.dirty.insert(key.clone());
        }
        self.all.entry(key.clone()).or_default()
    }

    /// Takes its place in the queue, unless it has one or is inside.
    pub(super) fn join(&mut self, key: &GateKey, place: Place, amount: u64) {
        let known = self.all.get(key).is_some_and(|gate| {
            gate.holders.contains_key(&place.1) || gate.admitted.contains_key(&place) || gate.queue.contains_key(&place)
        });
        if !known {
            self.entry(key).queue.insert(place, amount);
            // Whoever comes first is let through at once: it was never aside.
            self.settle_one(key);
        }
    }

    /// Leaves its place in the queue.
    pub(super) fn leave(&mut self, key: &GateKey, place: Place) {
        if self.all.get_mut(key).is_some_and(|gate| gate.drop_place(place)) {
            self.dirty.insert(key.clone());
        }
    }

    /// It is inside with so much; `None`: no more.
    pub(super) fn hold(&mut self, key: &GateKey, unit: TaskRef, amount: Option<u64>) {
        let has = self.all.get(key).and_then(|gate| gate.holders.get(&unit)).copied();
        if has == amount {
            return;
        }
        let gate = self.entry(key);
        gate.held -= has.unwrap_or(0);
        gate.held += amount.unwrap_or(0);
        match amount {
            Some(amount) => gate.holders.insert(unit, amount),
            None => gate.holders.remove(&unit),
        };
    }

    /// An unfinished task says this of its key; `None`: it has ended.
    pub(super) fn say(&mut self, key: &GateKey, task: TaskId, says: Option<Says>) {
        let gate = self.entry(key);
        match says {
            Some(says) => gate.says.insert(task, says),
            None => gate.says.remove(&task),
        };
        if let Some((_, Says::Rate(_, per))) = gate.says.last_key_value() {
            gate.per = per.0;
        }
        self.reschedule(key);
    }

    /// A quota is set so.
    pub(super) fn set(&mut self, key: &GateKey, most: Option<u64>, outside: u64) {
        let gate = self.entry(key);
        gate.set = most;
        gate.outside = outside;
    }

    /// So much is used by those who do not wait here.
    pub(super) fn set_outside(&mut self, key: &GateKey, outside: u64) {
        if self.all.get(key).is_some_and(|gate| gate.outside != outside) {
            self.entry(key).outside = outside;
        }
    }

    /// Takes all places and holders of a gate away: they are found anew.
    pub(super) fn empty(&mut self, key: &GateKey) {
        if let Some(gate) = self.all.get_mut(key) {
            gate.holders.clear();
            gate.admitted.clear();
            gate.queue.clear();
            (gate.held, gate.kept) = (0, 0);
            self.dirty.insert(key.clone());
        }
    }

    /// One more start counts.
    pub(super) fn started(&mut self, key: &GateKey, now: Timestamp) {
        self.entry(key).starts.push_back(now);
        self.reschedule(key);
    }

    /// Starts that count already.
    pub(super) fn load(&mut self, key: &GateKey, per: Duration, starts: Vec<Timestamp>) {
        let gate = self.entry(key);
        gate.per = per;
        gate.starts = starts.into();
        self.reschedule(key);
    }

    fn reschedule(&mut self, key: &GateKey) {
        if !matches!(key, GateKey::Rate(..)) {
            return;
        }
        let Some(gate) = self.all.get_mut(key) else { return };
        let next = gate.starts.front().map(|first| first.plus(gate.per));
        let old = std::mem::replace(&mut gate.expires, next);
        if old == next {
            return;
        }
        if let Some(old) = old {
            self.expiries.remove(&(old, key.clone()));
        }
        if let Some(next) = next {
            self.expiries.insert((next, key.clone()));
        }
    }

    /// When the next start no longer counts.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Starts that no longer count are forgotten. Where some were.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<GateKey> {
        let mut changed = Vec::new();
        while let Some((_, key)) = self.expiries.first().filter(|(at, _)| *at <= now).cloned() {
            self.expiries.pop_first();
            let gate = self.entry(&key);
            gate.expires = None;
            let per = gate.per;
            while gate.starts.front().is_some_and(|at| at.plus(per) <= now) {
                gate.starts.pop_front();
            }
            self.reschedule(&key);
            changed.push(key);
        }
        changed
    }

    fn settle_one(&mut self, key: &GateKey) {
        self.dirty.remove(key);
        let Some(gate) = self.all.get_mut(key) else { return };
        self.stirred.append(&mut gate.settle());
        if gate.is_idle() {
            self.all.remove(key);
        }
    }

    /// Every gate where something changed. The next unit whose standing that changed.
    pub(super) fn pop_stirred(&mut self) -> Option<TaskRef> {
        while let Some(key) = self.dirty.first().cloned() {
            self.settle_one(&key);
        }
        self.stirred.pop_first()
    }
}

/// What a rate says.
pub(super) fn says_rate(rate: &Rate) -> Says {
    Says::Rate(rate.count, rate.per)
}

/// Whether the gate is looked at at all: a mutant forgets some.
pub(super) fn is_watched(key: &GateKey) -> bool {
    match key {
        GateKey::Running(_) => !mutant::is(Mutant::QuotaIgnored),
        GateKey::Held(..) => !mutant::is(Mutant::HeldQuotaIgnored),
        GateKey::Key(..) => !mutant::is(Mutant::ConcurrencyIgnored),
        GateKey::Rate(..) => !mutant::is(Mutant::RateIgnored),
    }
}
