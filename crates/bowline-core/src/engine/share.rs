//! Shares: whose turn it is when a worker has room, by what each namespace, and each user in it, has had of the workers.
//!
//! What somebody has had is counted in time of slots, divided by his weight: what is over, what runs now, and a second
//! for each start, so that slots that are free at the same moment are divided too. Whoever has had least goes first.
//! Whoever was idle does not save up: he counts as having had no less than [`CREDIT`] under what the last one had whose
//! turn it was. Nothing of this is stored: a take-over begins anew with what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::explain::WaitReason;
use crate::fair::ShareView;
use crate::id::AttemptRef;
use crate::mutant::{self, Mutant};
use crate::name::Namespace;
use crate::time::{Span, Timestamp};

use super::Engine;
use super::lane::{LaneId, LaneKey, Line};
use super::quota::Tenant;
use super::table::Task;

/// What a start counts, for each slot, in microseconds.
const START_COST: u128 = 1_000_000;
/// So much less than the last one whose turn it was counts for somebody at least, in microseconds by weight.
const CREDIT: u128 = 60_000_000 * SCALE;
/// Of what is divided by a weight.
const SCALE: u128 = 1_024;

/// A user's name.
type User = Arc<str>;

/// What somebody has had.
#[derive(Debug, Clone)]
struct Account {
    weight: u32,
    /// In microseconds of a slot.
    charged: u128,
    slots: u64,
    /// Slots times when each was taken.
    since: u128,
}

impl Account {
    fn new(weight: u32) -> Self {
        Self { weight, charged: 0, slots: 0, since: 0 }
    }

    fn tag(&self, now: Timestamp) -> u128 {
        let running = (u128::from(self.slots) * u128::from(now.0)).saturating_sub(self.since);
        (self.charged + running) * SCALE / u128::from(self.weight.max(1))
    }

    /// What counts, given what the last one had whose turn it was.
    fn counted(&self, floor: u128, now: Timestamp) -> u128 {
        self.tag(now).max(floor.saturating_sub(CREDIT))
    }

    fn begin(&mut self, floor: &mut u128, slots: u64, now: Timestamp) {
        let (own, counted) = (self.tag(now), self.counted(*floor, now));
        *floor = (*floor).max(counted);
        self.charged += (counted - own) * u128::from(self.weight.max(1)) / SCALE;
        self.charged += START_COST * u128::from(slots);
        self.take(slots, now);
    }

    fn take(&mut self, slots: u64, now: Timestamp) {
        self.slots += slots;
        self.since += u128::from(slots) * u128::from(now.0);
    }

    fn end(&mut self, slots: u64, from: Timestamp, now: Timestamp) {
        self.slots -= slots;
        self.since -= u128::from(slots) * u128::from(from.0);
        self.charged += u128::from(slots) * u128::from(now.0.saturating_sub(from.0));
    }

    fn view(&self, floor: u128, now: Timestamp) -> ShareView {
        ShareView { weight: self.weight, slots: self.slots, tag: length(self.counted(floor, now)) }
    }
}

fn length(tag: u128) -> Duration {
    Duration::from_micros(u64::try_from(tag / SCALE).unwrap_or(u64::MAX))
}

/// A namespace's account, and its users'.
#[derive(Debug)]
struct House {
    account: Account,
    users: BTreeMap<User, Account>,
    floor: u128,
}

/// Whose a lane is.
type Whose = (Namespace, Option<User>);

/// All accounts.
#[derive(Debug, Default)]
pub(super) struct Shares {
    is_on: bool,
    houses: BTreeMap<Namespace, House>,
    weights: BTreeMap<Namespace, (u32, BTreeMap<User, u32>)>,
    floor: u128,
    running: BTreeMap<AttemptRef, (Whose, u64, Timestamp)>,
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

    /// Weights as they are set now.
    pub(super) fn weigh(&mut self, rooms: &BTreeMap<Namespace, Tenant>, now: Timestamp) {
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
        // What was had stays had by the new weight.
        for (name, house) in &mut self.houses {
            let (weight, users) = self.weights.get(name).cloned().unwrap_or((1, BTreeMap::new()));
            reweigh(&mut house.account, weight, now);
            for (user, account) in &mut house.users {
                reweigh(account, users.get(user).copied().unwrap_or(1), now);
            }
        }
    }

    fn house(&mut self, name: &Namespace) -> &mut House {
        let weight = self.weights.get(name).map_or(1, |(weight, _)| *weight);
        let new = || House { account: Account::new(weight), users: BTreeMap::new(), floor: 0 };
        self.houses.entry(name.clone()).or_insert_with(new)
    }

    /// An attempt has so many slots from now on.
    pub(super) fn begin(&mut self, attempt: AttemptRef, key: &LaneKey, now: Timestamp) {
        let (slots, whose) = (u64::from(key.slots), (key.namespace.clone(), key.user.clone()));
        let of_user = whose.1.as_ref().map(|user| {
            let users = self.weights.get(&key.namespace).map(|(_, users)| users);
            (Arc::clone(user), users.and_then(|users| users.get(user)).copied().unwrap_or(1))
        });
        let mut floor = self.floor;
        let house = self.house(&key.namespace);
        house.account.begin(&mut floor, slots, now);
        if let Some((user, weight)) = of_user {
            let account = house.users.entry(user).or_insert_with(|| Account::new(weight));
            account.begin(&mut house.floor, slots, now);
        }
        self.floor = floor;
        self.running.insert(attempt, (whose, slots, now));
    }

    /// It has them no more.
    pub(super) fn end(&mut self, attempt: &AttemptRef, now: Timestamp) {
        let Some(((namespace, user), slots, from)) = self.running.remove(attempt) else { return };
        let Some(house) = self.houses.get_mut(&namespace) else { return };
        house.account.end(slots, from, now);
        if let Some(account) = user.and_then(|user| house.users.get_mut(&user)) {
            account.end(slots, from, now);
        }
    }

    /// What counts for whoever has this lane: of the namespace, then of the user.
    fn counted(&self, (namespace, user): &Whose, now: Timestamp) -> (u128, u128) {
        let Some(house) = self.houses.get(namespace) else { return (self.floor.saturating_sub(CREDIT), 0) };
        let idle = house.floor.saturating_sub(CREDIT);
        let of_user = user.as_ref().map(|user| house.users.get(user).map_or(idle, |own| own.counted(house.floor, now)));
        (house.account.counted(self.floor, now), of_user.unwrap_or(0))
    }

    /// Of a namespace, for people.
    pub(super) fn view(&self, name: &Namespace, now: Timestamp) -> Option<ShareView> {
        let weight = self.weights.get(name).map_or(1, |(weight, _)| *weight);
        let house = self.houses.get(name);
        let view = || {
            house.map_or_else(|| Account::new(weight).view(self.floor, now), |own| own.account.view(self.floor, now))
        };
        self.is_on.then(view)
    }

    /// Of its users, for people.
    pub(super) fn users(&self, name: &Namespace, now: Timestamp) -> Vec<(String, ShareView)> {
        let Some((_, weights)) = self.weights.get(name).filter(|(_, users)| self.is_on && !users.is_empty()) else {
            return Vec::new();
        };
        let house = self.houses.get(name);
        let floor = house.map_or(0, |house| house.floor);
        let known = house.into_iter().flat_map(|house| house.users.keys());
        let all: BTreeSet<&User> = weights.keys().chain(known).collect();
        let view = |user: &User| {
            let account = house.and_then(|house| house.users.get(user)).cloned();
            account.unwrap_or_else(|| Account::new(weights.get(user).copied().unwrap_or(1))).view(floor, now)
        };
        all.into_iter().map(|user| (user.to_string(), view(user))).collect()
    }
}

/// What was had stays had; from here on it counts by the new weight.
fn reweigh(account: &mut Account, weight: u32, now: Timestamp) {
    if account.weight != weight {
        let (tag, old) = (account.tag(now), account.weight);
        account.weight = weight;
        // The same by weight as before, so that a new share takes effect from now on.
        let had = tag * u128::from(weight.max(1)) / SCALE;
        let running = (u128::from(account.slots) * u128::from(now.0)).saturating_sub(account.since);
        account.charged = had.saturating_sub(running);
        debug_assert!(old > 0, "a weight is at least 1");
    }
}

/// Heads of lanes, in the order in which they are given workers.
#[derive(Debug)]
pub(super) enum Heads {
    /// By ticket alone.
    Lines(BTreeSet<(Line, LaneId)>),
    /// By ticket alone, and of all lanes: they are kept in order.
    Standing {
        /// The last one that was come to.
        after: Option<(Line, LaneId)>,
        /// Those who came to stand before it since.
        before: BTreeSet<(Line, LaneId)>,
    },
    /// By shares first.
    Shares(BTreeMap<Whose, BTreeSet<(Line, LaneId)>>),
}

impl Engine {
    /// These heads, in the order in which they are given workers.
    fn heads(&self, heads: impl Iterator<Item = (Line, LaneId)>) -> Heads {
        let mut all = if self.shares.decide() { Heads::Shares(BTreeMap::new()) } else { Heads::Lines(BTreeSet::new()) };
        heads.for_each(|head| self.push_head(&mut all, head));
        all
    }

    /// The heads of these lanes.
    pub(super) fn heads_of(&self, lanes: &BTreeSet<LaneId>) -> Heads {
        self.heads(lanes.iter().filter_map(|id| self.open_head(*id)))
    }

    /// The heads of all lanes, in the order in which they are given workers.
    pub(super) fn all_heads(&self) -> Heads {
        if self.shares.decide() {
            self.heads(self.lanes.occupied().filter_map(|id| self.open_head(id)))
        } else {
            Heads::Standing { after: None, before: BTreeSet::new() }
        }
    }

    /// One more.
    pub(super) fn push_head(&self, heads: &mut Heads, head: (Line, LaneId)) {
        match heads {
            Heads::Lines(all) => {
                all.insert(head);
            }
            // Whoever stands behind is come to.
            Heads::Standing { after, before } => {
                if after.is_some_and(|after| head <= after) {
                    before.insert(head);
                }
            }
            Heads::Shares(all) => {
                let Some(key) = self.lanes.get(head.1).map(|lane| &lane.key) else { return };
                all.entry((key.namespace.clone(), key.user.clone())).or_default().insert(head);
            }
        }
    }

    /// Whose turn it is.
    pub(super) fn pop_head(&self, heads: &mut Heads) -> Option<(Line, LaneId)> {
        match heads {
            Heads::Lines(all) => all.pop_first(),
            Heads::Standing { after, before } => {
                if let Some(head) = before.pop_first() {
                    return Some(head);
                }
                let next = self.lanes.next_head(*after)?;
                *after = Some(next);
                Some(next)
            }
            Heads::Shares(all) => {
                let turn = |(whose, heads): (&Whose, &BTreeSet<(Line, LaneId)>)| {
                    Some((self.shares.counted(whose, self.now), *heads.first()?, whose.clone()))
                };
                let (_, head, whose) = all.iter().filter_map(turn).min()?;
                let own = all.get_mut(&whose)?;
                own.pop_first();
                if own.is_empty() {
                    all.remove(&whose);
                }
                Some(head)
            }
        }
    }

    /// Which of these gangs is claimed next, where its turn comes before that of this head.
    pub(super) fn next_gang(&self, gangs: &BTreeSet<Line>, before: Option<(Line, LaneId)>) -> Option<Line> {
        if !self.shares.decide() {
            return gangs.first().copied().filter(|line| before.is_none_or(|(before, _)| *line < before));
        }
        let turn = |(line, lane)| {
            let key = self.lanes.get(lane).map(|lane| &lane.key);
            key.map_or(((0, 0), line), |key| (self.counted_for(key), line))
        };
        let first = self.first_by_turn(gangs, None)?;
        before.is_none_or(|before| self.turn_of_gang(first) < turn(before)).then_some(first)
    }

    /// Of these gangs the one whose turn it is; or this one, as long as it is by no more than [`CREDIT`] not its turn: what
    /// runs moves turns to and fro, and nobody would be kept workers for long enough.
    pub(super) fn first_by_turn(&self, gangs: &BTreeSet<Line>, known: Option<Line>) -> Option<Line> {
        let first = gangs.iter().copied().min_by_key(|line| self.turn_of_gang(*line))?;
        let known = known.filter(|line| gangs.contains(line) && !self.is_far_behind(*line, first));
        Some(known.unwrap_or(first))
    }

    fn is_far_behind(&self, gang: Line, first: Line) -> bool {
        let namespace = |line: Line| self.tasks.get(&line.unit.task).map(|task| &task.policy.namespace);
        let ((own, own_user), (least, least_user)) = (self.turn_of_gang(gang).0, self.turn_of_gang(first).0);
        if namespace(gang) == namespace(first) { own_user > least_user + CREDIT } else { own > least + CREDIT }
    }

    fn turn_of_gang(&self, line: Line) -> ((u128, u128), Line) {
        let task = self.tasks.get(&line.unit.task);
        (task.map_or((0, 0), |task| self.counted_for(&task.policy.lane_key)), line)
    }

    fn counted_for(&self, key: &LaneKey) -> (u128, u128) {
        self.shares.counted(&(key.namespace.clone(), key.user.clone()), self.now)
    }

    /// What runs counts from now on.
    pub(super) fn count_shares(&mut self) {
        if !self.shares.is_on() {
            return;
        }
        for (attempt, row) in &self.attempts {
            let key = self.tasks.get(&attempt.task.task).map(|task| &task.policy.lane_key);
            if let Some(key) = key.filter(|_| row.worker.is_some()) {
                self.shares.begin(*attempt, key, self.now);
            }
        }
    }

    /// Whose turn it is before this task's namespace and user.
    pub(super) fn turn_of_others(&self, task: &Task) -> Option<WaitReason> {
        if !self.shares.is_on() {
            return None;
        }
        let own = &task.policy.lane_key;
        let whose = (own.namespace.clone(), own.user.clone());
        let counted = self.counted_for(own);
        let lanes =
            self.lanes.occupied().filter_map(|id| self.lanes.get(id)).filter(|lane| !lane.key.is_held_by_server);
        let open = lanes.filter(|lane| self.pauses.of(&lane.key.namespace).is_none());
        let open = open.filter(|lane| !self.is_held_up(&lane.key));
        let mut all: BTreeSet<Whose> = open.map(|lane| (lane.key.namespace.clone(), lane.key.user.clone())).collect();
        let gang = self.first_gang().and_then(|line| self.tasks.get(&line.unit.task));
        all.extend(gang.map(|task| (task.policy.namespace.clone(), task.policy.lane_key.user.clone())));
        let others = all.into_iter().map(|other| (self.shares.counted(&other, self.now), other));
        let (theirs, (namespace, user)) =
            others.filter(|(theirs, other)| *other != whose && *theirs < counted).min()?;
        let is_own = namespace == whose.0;
        let (theirs, own) = if is_own { (theirs.1, counted.1) } else { (theirs.0, counted.0) };
        let user = user.filter(|_| is_own).map(|user| user.to_string());
        Some(WaitReason::Share { namespace, user, theirs: Span(length(theirs)), own: Span(length(own)) })
    }
}
