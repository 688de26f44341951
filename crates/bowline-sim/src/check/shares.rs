//! Shares: while two namespaces both want all that there is, what each has had of the workers, by its share, keeps
//! near to what the other one has had. By the rows alone, by the rule that [fairness](../../../../docs/fairness.md) states.

use std::collections::BTreeMap;

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, Epoch, TaskId};
use bowline_core::name::Namespace;
use bowline_core::row::{AttemptRow, Row, TaskRow};
use bowline_core::time::Timestamp;

use super::book::Book;
use super::{Found, Invariant};
use crate::workload::trial::CONTEST;

/// What each start counts, in microseconds of a slot.
const START_US: i128 = 1_000_000;
/// Who wants what is looked at so late at most, in microseconds.
const LOOK_US: i128 = 1_000_000;

/// Attempts that all workers have at a time at most: two, with two slots and one beyond each.
const SLOTS_MAX: i128 = 6;
/// Who waited before the other one came was behind by that. The rows tell when that began to be durable: of what was
/// before, and of what one of them was ahead or behind of others, so much is left out.
const BEFORE_US: i128 = 60_000_000;
/// Clocks go wrong by no more.
const DRIFT_PER_CENT: i128 = 4;

/// One of the two.
#[derive(Debug, Clone, Default)]
struct Side {
    share: i128,
    /// When it began to want something.
    wanted_at: Option<u64>,
    /// Its array, and whether elements of it wait to be begun.
    array: Option<(TaskId, bool)>,
    /// Attempts that have not ended: when they were claimed.
    live: BTreeMap<AttemptRef, Timestamp>,
    /// What those that have ended had, and all starts.
    had_us: i128,
    /// The same when both began to want.
    before_us: i128,
    /// The longest attempt, and most at a time, since then.
    longest_us: i128,
    most: i128,
}

impl Side {
    fn had_by(&self, now: Timestamp) -> i128 {
        self.had_us + self.live.values().map(|from| length(*from, now)).sum::<i128>()
    }

    /// By its share, since both want.
    fn counted(&self, now: Timestamp) -> i128 {
        (self.had_by(now) - self.before_us) / self.share.max(1)
    }

    /// How far it gets ahead at most: it is not begun once it has had more, so by one start, and by what runs then.
    fn ahead(&self) -> i128 {
        (START_US + self.most * self.longest_us) / self.share.max(1)
    }

    fn see(&mut self, now: Timestamp) {
        let longest = self.live.values().map(|from| length(*from, now)).max().unwrap_or(0);
        self.longest_us = self.longest_us.max(longest);
        self.most = self.most.max(self.live.len() as i128);
    }
}

/// How far they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Contest {
    /// Not both want yet.
    #[default]
    Before,
    /// Both want, since when so many leaderships were taken, and which is the newest.
    Runs(i128, Epoch),
    /// One of them has what it wants.
    Over,
}

/// What this rule remembers of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    sides: BTreeMap<&'static str, Side>,
    contest: Contest,
    /// How far apart they may have been when both began to want: who waited before the other one came was behind by then.
    apart_us: i128,
    now: Timestamp,
}

fn length(from: Timestamp, to: Timestamp) -> i128 {
    i128::try_from(to.since(from).as_micros()).unwrap_or(i128::MAX)
}

/// Takes a batch that the book has already.
pub fn commit(shares: &mut Shares, book: &Book, (found, at): (&mut Found, u64), batch: &Batch) {
    // In the order in which they mean something, whatever the order in the batch: whose the tasks are, which they are,
    // what was begun of them.
    for row in &batch.rows {
        if let Row::Namespace(row) = row {
            shares.set(&row.name, row.room.share);
        }
    }
    for row in &batch.rows {
        match row {
            Row::NewTask(new) => shares.task(&new.row),
            Row::Task(row) => shares.task(row),
            _ => {}
        }
    }
    for row in &batch.rows {
        if let Row::Attempt(row) = row {
            shares.attempt(row);
        }
    }
    shares.judge(book.commit.0, (found, at));
}

impl Shares {
    fn set(&mut self, name: &Namespace, share: Option<u32>) {
        if let Some((name, _)) = CONTEST.iter().find(|(of, _)| *of == name.as_str()) {
            self.sides.entry(name).or_default().share = i128::from(share.unwrap_or(1));
        }
    }

    fn task(&mut self, row: &TaskRow) {
        // It may come before its namespace has a share.
        let Some((name, _)) = CONTEST.iter().find(|(of, _)| *of == row.namespace.as_str()) else { return };
        let side = self.sides.entry(name).or_default();
        if side.array.is_none_or(|(id, _)| id == row.id) {
            let waits = row.array.is_some_and(|array| array.cursor < array.count);
            side.array = Some((row.id, waits && !row.unit.state.is_ended() && row.paused.is_none()));
        }
    }

    fn attempt(&mut self, row: &AttemptRow) {
        self.now = self.now.max(row.ended_at.unwrap_or(row.assigned_at));
        let is_its = |side: &&mut Side| side.array.is_some_and(|(id, _)| id == row.attempt.task.task);
        let Some(side) = self.sides.values_mut().find(is_its) else { return };
        if row.version == 1 {
            side.had_us += START_US;
            side.live.insert(row.attempt, row.assigned_at);
        }
        side.see(self.now);
        if row.end.is_some()
            && let Some(from) = side.live.remove(&row.attempt)
        {
            side.had_us += length(from, row.ended_at.unwrap_or(self.now));
        }
    }

    fn judge(&mut self, epoch: Epoch, (found, at): (&mut Found, u64)) {
        let wants = |side: &Side| side.share > 0 && side.array.is_some_and(|(_, waits)| waits);
        for side in self.sides.values_mut().filter(|side| wants(side)) {
            side.wanted_at.get_or_insert(at);
        }
        let both = self.sides.len() == CONTEST.len() && self.sides.values().all(wants);
        self.contest = match self.contest {
            Contest::Before if both => {
                for side in self.sides.values_mut() {
                    let waited = i128::from(at - side.wanted_at.unwrap_or(at)) * (100 + DRIFT_PER_CENT) / 100;
                    // Of what others have meanwhile its part is due to it, beside one with a share of 1 at least.
                    self.apart_us += waited * SLOTS_MAX / (side.share + 1);
                    (side.before_us, side.longest_us, side.most) = (side.had_by(self.now), 0, 0);
                }
                Contest::Runs(1, epoch)
            }
            // What was had is counted anew by whoever takes over.
            Contest::Runs(terms, last) if both => Contest::Runs(terms + i128::from(last != epoch), epoch),
            Contest::Runs(..) => Contest::Over,
            other => other,
        };
        let Contest::Runs(terms, _) = self.contest else { return };
        self.sides.values_mut().for_each(|side| side.see(self.now));
        let counted: Vec<i128> = self.sides.values().map(|side| side.counted(self.now)).collect();
        let apart = counted.iter().max().zip(counted.iter().min()).map_or(0, |(most, least)| most - least);
        // In each term they are as far apart at its beginning as they may get, and as far the other way at its end.
        let ahead: i128 = self.sides.values().map(Side::ahead).sum();
        let late: i128 = self.sides.values().map(|side| LOOK_US * side.most / side.share.max(1)).sum();
        let bound = BEFORE_US + self.apart_us + terms * (ahead + late);
        found.unless(apart <= bound, at, Invariant::States, || {
            format!(
                "by their shares the namespaces have had {counted:?} us of the workers while both wanted all: {} ms \
                 apart, and {} ms may be, {terms} terms: {:?}",
                apart / 1_000,
                bound / 1_000,
                self.sides.keys()
            )
        });
    }
}
