//! What one has had, beside what was due to it.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// What a start counts, for each slot, in microseconds.
pub(super) const START_COST: i128 = 1_000_000;
/// Parts of what is divided among several.
pub(super) const SCALE: i128 = 1 << 16;

/// One account. Amounts are microseconds of a slot, in parts.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub weight: u32,
    /// Slots that it has now.
    pub slots: u64,
    /// What was due to it less what it has had, but for what runs.
    pub owed: i128,
    /// The same of what runs, for each microsecond.
    rate: i128,
    /// Each part of the rate times when it began.
    since: i128,
    /// From when on it has wanted nothing and had nothing, as far as that is not reckoned in.
    idle_from: Option<Timestamp>,
}

impl Account {
    /// Of somebody who has had nothing.
    pub(super) fn new(weight: u32) -> Self {
        Self { weight, slots: 0, owed: 0, rate: 0, since: 0, idle_from: None }
    }

    fn weight(&self) -> i128 {
        i128::from(self.weight.max(1))
    }

    fn behind(&self, now: Timestamp) -> i128 {
        self.owed + self.rate * i128::from(now.0) - self.since
    }

    /// By its share, in parts of a microsecond of a slot: below nothing where it is behind.
    pub(super) fn ahead(&self, now: Timestamp) -> i128 {
        -self.behind(now) / self.weight()
    }

    /// So much more is due, or had, from now on.
    pub(super) fn add(&mut self, rate: i128, now: Timestamp) {
        self.rate += rate;
        self.since += rate * i128::from(now.0);
    }

    /// It has so many slots more.
    pub(super) fn take(&mut self, slots: u32, now: Timestamp) {
        self.forget(now);
        self.slots += u64::from(slots);
    }

    /// What it is ahead or behind by is less from moment to moment while it is idle.
    fn forget(&mut self, now: Timestamp) {
        let Some(from) = self.idle_from.take() else { return };
        let forgotten = i128::from(now.0.saturating_sub(from.0)) * SCALE * self.weight();
        self.owed -= self.behind(now).clamp(-forgotten, forgotten);
    }

    /// It wants something now, or nothing: then it is behind by no more than this, by its share. Whether that changes
    /// anything from here on.
    pub(super) fn settle(&mut self, wants: bool, credit: i128, now: Timestamp) -> bool {
        self.forget(now);
        if wants {
            return false;
        }
        self.owed -= (self.behind(now) - credit * self.weight()).max(0);
        self.idle_from = (self.slots == 0).then_some(now);
        self.behind(now) != 0
    }

    /// Whether it is as one that was never there.
    pub(super) fn is_even(&self, now: Timestamp) -> bool {
        self.slots == 0 && self.rate == 0 && self.behind(now) == 0
    }
}

/// Several accounts.
#[derive(Debug)]
pub(super) struct Ledger<K>(pub BTreeMap<K, Account>);

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Ledger<K> {
    /// One of them.
    pub(super) fn of(&mut self, key: &K, weight: u32) -> &mut Account {
        self.0.entry(key.clone()).or_insert_with(|| Account::new(weight))
    }
}

/// What each of these gets of [`SCALE`], by weight: what can't be divided is the first one's.
pub(super) fn parts<K>(first: (K, u32), others: impl Iterator<Item = (K, u32)>) -> Vec<(K, i128)> {
    let mut all: Vec<(K, i128)> =
        std::iter::once(first).chain(others).map(|(k, w)| (k, i128::from(w.max(1)))).collect();
    let sum: i128 = all.iter().map(|(_, weight)| weight).sum();
    for (_, part) in &mut all {
        *part = *part * SCALE / sum;
    }
    let given: i128 = all.iter().map(|(_, part)| part).sum();
    all[0].1 += SCALE - given;
    all
}
