//! Locks and barriers among the members: plain bookkeeping, and what an attempt's end does to it.

use crate::gang::{Barrier, Board, Lock, Told};
use crate::id::{AttemptRef, TaskId};

use super::super::Engine;

impl Lock {
    /// The next in line has it. `None`: nobody wants it.
    fn pass_on(&mut self) -> Option<AttemptRef> {
        if self.line.is_empty() {
            return None;
        }
        self.holder = self.line.remove(0);
        Some(self.holder)
    }
}

impl Board {
    /// The lock, or a place in its line; and whether anything changed.
    pub(super) fn lock(&mut self, attempt: AttemptRef, name: &str) -> (Told, bool) {
        let Some(lock) = self.locks.get_mut(name) else {
            self.locks.insert(name.to_owned(), Lock { holder: attempt, line: Vec::new() });
            return (Told::Done, true);
        };
        if lock.holder == attempt {
            return (Told::Done, false);
        }
        let place = lock.line.iter().position(|waiting| *waiting == attempt);
        let ahead = u32::try_from(place.unwrap_or(lock.line.len())).unwrap_or(u32::MAX);
        if place.is_none() {
            lock.line.push(attempt);
        }
        (Told::Waiting { holder: Some(lock.holder), ahead }, place.is_none())
    }

    /// The lock, or the place in its line, is given up: whether there was one, and who has the lock now for that.
    pub(super) fn unlock(&mut self, attempt: AttemptRef, name: &str) -> (bool, Option<AttemptRef>) {
        let Some(lock) = self.locks.get_mut(name) else { return (false, None) };
        if lock.holder != attempt {
            let before = lock.line.len();
            lock.line.retain(|waiting| *waiting != attempt);
            return (lock.line.len() != before, None);
        }
        let next = lock.pass_on();
        if next.is_none() {
            self.locks.remove(name);
        }
        (true, next)
    }

    /// It waits at this barrier no more. Whether it did.
    pub(super) fn leave(&mut self, attempt: AttemptRef, name: &str, key: &str) -> bool {
        let Some(barrier) = self.barriers.get_mut(name) else { return false };
        let before = barrier.here.len();
        barrier.here.retain(|(who, under)| *who != attempt || under != key);
        barrier.here.len() != before
    }

    /// What is of attempts that live no more goes: who has which lock for that; and whether anything changed.
    fn prune(&mut self, lives: impl Fn(&AttemptRef) -> bool) -> (Vec<(AttemptRef, String)>, bool) {
        let mut passed = Vec::new();
        let mut is_changed = false;
        self.locks.retain(|name, lock| {
            let before = lock.line.len();
            lock.line.retain(&lives);
            is_changed |= lock.line.len() != before;
            if lives(&lock.holder) {
                return true;
            }
            is_changed = true;
            let next = lock.pass_on();
            passed.extend(next.map(|next| (next, name.clone())));
            next.is_some()
        });
        for barrier in self.barriers.values_mut() {
            for list in [&mut barrier.here, &mut barrier.through] {
                let before = list.len();
                list.retain(|(who, _)| lives(who));
                is_changed |= list.len() != before;
            }
        }
        (passed, is_changed)
    }
}

impl Barrier {
    /// It is here. Whether that is news: it may have come under another key before, which nobody waits for any more.
    pub(super) fn arrive(&mut self, attempt: AttemptRef, key: String) -> bool {
        match self.here.iter_mut().find(|(who, _)| *who == attempt) {
            Some((_, under)) if *under == key => false,
            Some((_, under)) => {
                *under = key;
                true
            }
            None => {
                self.here.push((attempt, key));
                true
            }
        }
    }

    /// All who are here go through.
    pub(super) fn open(&mut self) {
        self.opened += 1;
        for (who, key) in std::mem::take(&mut self.here) {
            self.through.retain(|(before, _)| *before != who);
            self.through.push((who, key));
        }
    }
}

impl Engine {
    /// Locks of attempts that ended go to the next in line.
    pub(super) fn prune_board(&mut self, first: TaskId) {
        let attempts = &self.attempts;
        let Some(gang) = self.gangs.all.get_mut(&first) else { return };
        let (passed, is_changed) = gang.row.board.prune(|attempt| attempts.contains_key(attempt));
        if is_changed {
            self.touch_gang(first);
        }
        for (attempt, name) in passed {
            self.tell_gang(attempt, format!("has the lock `{name}`: whoever had it is gone"));
        }
    }
}
