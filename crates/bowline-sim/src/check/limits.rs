//! No more under a key than it allows, no more starts than a rate allows, no more on workers, or in hands, than a quota allows; and
//! who came while another under its key had not ended was skipped. By the rows alone.

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::effect::Batch;
use bowline_core::fair::{Rate, Rule};
use bowline_core::id::{AttemptRef, TaskId};
use bowline_core::name::{LimitKey, ResourceName};
use bowline_core::resource::{Grant, Mode};
use bowline_core::row::Row;
use bowline_core::time::Timestamp;

use super::book::Book;
use super::lines::Lines;
use super::{Found, Invariant};
use crate::workload::verbs::namespace;

/// Whether quotas are set by the batch itself: which came first in it nobody sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Before,
    Now,
}

/// How much of a quota is taken: a lock is one.
fn amount_of(grant: &Grant) -> u64 {
    match grant.mode {
        Mode::Exclusive | Mode::Shared => 1,
        Mode::Counted | Mode::Unit => grant.amount,
    }
}

/// What this rule remembers of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// When tasks under each rate were claimed.
    starts: BTreeMap<LimitKey, Vec<Timestamp>>,
    /// How many may be on workers.
    max_running: Option<u64>,
    /// Which were.
    running: BTreeSet<AttemptRef>,
    /// How much of a resource may be held.
    max_held: BTreeMap<ResourceName, u64>,
    /// How much was.
    held: BTreeMap<ResourceName, u64>,
    /// Tasks of other namespaces than the one of which quotas are set.
    foreign: BTreeSet<TaskId>,
}

impl Limits {
    /// Whether the namespace has quotas of what it may have on workers, or hold.
    pub fn has_quotas(&self) -> bool {
        self.max_running.is_some() || !self.max_held.is_empty()
    }
}

/// Takes a batch that the book has already.
pub fn commit(limits: &mut Limits, (book, lines): (&Book, &Lines), (found, at): (&mut Found, u64), batch: &Batch) {
    let mut claimed = BTreeSet::new();
    let mut set = Set::Before;
    for row in &batch.rows {
        match row {
            Row::Namespace(row) if row.name == namespace() => {
                set = Set::Now;
                limits.max_running = row.room.max_running;
                limits.max_held.clone_from(&row.room.max_held);
            }
            Row::NewTask(new) if new.row.namespace != namespace() => drop(limits.foreign.insert(new.row.id)),
            Row::NewTask(new) => dropped(book, (found, at), new.row.id),
            Row::Attempt(row) if row.version == 1 => {
                claimed.insert(row.attempt);
                let task = book.tasks.get(&row.attempt.task.task);
                if let Some(rate) = task.and_then(|task| task.spec.rate.as_ref()) {
                    limits.started(rate, row.assigned_at, (found, at));
                }
            }
            _ => {}
        }
    }
    if !claimed.is_empty() {
        keys(book, (found, at));
    }
    limits.running(book, (set, &claimed), (found, at));
    limits.held(lines, set, (found, at));
}

impl Limits {
    fn running(&mut self, book: &Book, (set, claimed): (Set, &BTreeSet<AttemptRef>), (found, at): (&mut Found, u64)) {
        let Some(most) = self.max_running else {
            self.running.clear();
            return;
        };
        let attempts = book.held.values().flatten();
        let now: BTreeSet<AttemptRef> =
            attempts.filter(|attempt| !self.foreign.contains(&attempt.task.task)).copied().collect();
        if set == Set::Before {
            // What was there before the quota shrank is kept, and so is what its worker brings back after it was lost.
            let back = now.difference(&self.running).filter(|attempt| !claimed.contains(attempt)).count();
            let may = most.max(self.running.len() as u64) + back as u64;
            let running = now.len();
            found.unless(running as u64 <= may, at, Invariant::States, || {
                format!("{running} tasks are on workers, and {most} may be")
            });
        }
        self.running = now;
    }

    fn held(&mut self, lines: &Lines, set: Set, (found, at): (&mut Found, u64)) {
        let mut held = BTreeMap::new();
        for (name, most) in &self.max_held {
            let own = lines.of(name).filter(|(unit, _)| !self.foreign.contains(&unit.task));
            let amount: u64 = own.map(|(_, grant)| amount_of(grant)).sum();
            let before = self.held.get(name).copied().unwrap_or(0);
            found.unless(set == Set::Now || amount <= (*most).max(before), at, Invariant::States, || {
                format!("the namespace holds {amount} of {name}, and {most} may be (its quota)")
            });
            held.insert(name.clone(), amount);
        }
        self.held = held;
    }

    fn started(&mut self, rate: &Rate, start: Timestamp, (found, at): (&mut Found, u64)) {
        let starts = self.starts.entry(rate.key.clone()).or_default();
        starts.retain(|other| start.since(*other) < rate.per.0);
        starts.push(start);
        let count = starts.len();
        found.unless(count as u64 <= u64::from(rate.count), at, Invariant::States, || {
            format!("{count} tasks under `{}` began within {}, and {} may", rate.key, rate.per, rate.count)
        });
    }
}

/// Of those under a concurrency key no more are at work than may be.
fn keys(book: &Book, (found, at): (&mut Found, u64)) {
    let mut under: BTreeMap<&LimitKey, (Rule, Vec<TaskId>)> = BTreeMap::new();
    for unit in book.live.iter().filter(|(_, fences)| !fences.is_empty()).map(|(unit, _)| unit.task) {
        let said = book.tasks.get(&unit).and_then(|task| task.spec.concurrency.as_ref());
        if let Some(said) = said {
            under.entry(&said.key).or_insert_with(|| (said.rule, Vec::new())).1.push(unit);
        }
    }
    for (key, (rule, tasks)) in under {
        let is_within = match rule {
            Rule::AtMost(most) => tasks.len() as u64 <= u64::from(most),
            Rule::NewestWins | Rule::Drop => tasks.iter().collect::<BTreeSet<_>>().len() <= 1,
        };
        found.unless(is_within, at, Invariant::States, || format!("{tasks:?} are at work under `{key}`: {rule:?}"));
    }
}

/// A new task that is to be dropped for another has ended at once.
fn dropped(book: &Book, (found, at): (&mut Found, u64), id: TaskId) {
    let key = |id: &TaskId| {
        let said = book.tasks.get(id)?.spec.concurrency.as_ref()?;
        (said.rule == Rule::Drop).then_some(&said.key)
    };
    let Some(own) = key(&id) else { return };
    let open = book.open_tasks().map(|(id, _)| id).filter(|other| key(other) == Some(own));
    let open: Vec<TaskId> = open.collect();
    found.unless(open.len() <= 1, at, Invariant::States, || {
        format!("{open:?} under `{own}` have not ended, and one may")
    });
}
