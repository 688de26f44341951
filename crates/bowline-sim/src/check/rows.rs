//! Rules that show in the rows of a batch.

use std::collections::BTreeSet;

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, CommitNo, Epoch, TaskId, TaskRef, WorkerId};
use bowline_core::row::{AttemptRow, Counters, ElementRow, Row, Subject, TaskRow, WorkerRow};
use bowline_core::spec::Requirement;
use bowline_core::state::{AttemptEnd, StateKind};

use super::book::{AttemptSeen, Book, TaskSeen, UnitSeen, WorkerSeen};
use super::{Found, Invariant};

/// What one batch touches.
struct Turn<'a> {
    book: &'a mut Book,
    found: &'a mut Found,
    at: u64,
    /// Tasks of which a new round begins, as the history says.
    retried: BTreeSet<TaskId>,
    touched: BTreeSet<TaskRef>,
    claimed: BTreeSet<(WorkerId, AttemptRef)>,
    ended: Vec<AttemptRef>,
}

/// Takes a batch into the book. Says which attempts have ended so that no process of them may be left.
pub fn commit(
    book: &mut Book,
    found: &mut Found,
    at: u64,
    (epoch, commit): (Epoch, CommitNo),
    batch: &Batch,
) -> Vec<AttemptRef> {
    found.unless(epoch >= book.commit.0, at, Invariant::I11, || {
        format!("epoch {epoch} commits after epoch {}", book.commit.0)
    });
    book.commit = (epoch, commit);
    let retried = batch.history.iter().filter(|line| line.what == "retried").filter_map(|line| match &line.subject {
        Subject::Task(unit) => Some(unit.task),
        Subject::Run(_) | Subject::Worker(_) | Subject::Namespace(_) | Subject::Resource(_) => None,
    });
    let retried: BTreeSet<TaskId> = retried.collect();
    book.retried.clone_from(&retried);
    book.gone_now.clear();
    let mut turn =
        Turn { book, found, at, retried, touched: BTreeSet::new(), claimed: BTreeSet::new(), ended: Vec::new() };
    // Elements belong to the round that their task is in after the batch.
    batch.rows.iter().for_each(|row| turn.first(row));
    batch.rows.iter().for_each(|row| turn.second(row));
    turn.finish();
    turn.ended
}

impl Turn<'_> {
    fn first(&mut self, row: &Row) {
        match row {
            Row::Counters(counters) => self.counters(counters),
            Row::NewTask(new) => {
                let unit = UnitSeen::of(new.row.round, &new.row.unit);
                let (ticket, run, paused) = (new.row.ticket, new.row.run.map(|(run, _)| run), new.row.paused.is_some());
                let count = new.row.array.map(|array| array.count);
                let spec = std::sync::Arc::clone(&new.spec);
                let seen = TaskSeen { unit, ticket, count, ended: 0, paused, run, spec };
                let old = self.book.tasks.insert(new.row.id, seen);
                let id = new.row.id;
                let fresh = old.is_none() && !self.book.gone.contains(&id);
                self.found.unless(fresh, self.at, Invariant::Sound, || format!("the task id {id} is used twice"));
                self.touched.insert(TaskRef::whole(id));
            }
            Row::Task(row) => self.task(row),
            Row::Worker(row) => self.worker(row),
            Row::WorkerGone(id) => {
                if let Some(gone) = self.book.workers.remove(id) {
                    let newest = self.book.forgotten.entry(gone.name.clone()).or_default();
                    *newest = gone.incarnation.max(*newest);
                    self.book.gone_now.insert(gone.name);
                }
            }
            Row::NewRun(new) => drop(self.book.runs.insert(new.row.id, new.row.state)),
            Row::Run(row) => drop(self.book.runs.insert(row.id, row.state)),
            Row::Pause(row) => {
                let name = row.namespace.as_ref().map_or_else(String::new, ToString::to_string);
                if row.mark.is_some() {
                    self.book.paused.insert(name);
                } else {
                    self.book.paused.remove(&name);
                }
            }
            Row::TaskGone(id) => self.book.remove(&[*id], &[]),
            Row::Token(token) => drop(self.book.tokens.insert(token.hash)),
            Row::TokenGone(hash) => drop(self.book.tokens.remove(hash)),
            Row::Element(_)
            | Row::Attempt(_)
            | Row::Result(_)
            | Row::Artifact(_)
            | Row::Node(_)
            | Row::Resource(_)
            | Row::ResourceGone(_)
            | Row::Namespace(_)
            | Row::Rate(_)
            | Row::Gang(_)
            | Row::GangGone(_)
            | Row::Key(_) => {}
        }
    }

    fn second(&mut self, row: &Row) {
        match row {
            Row::Element(row) => self.element(row),
            Row::Attempt(row) => self.attempt(row),
            Row::Counters(_)
            | Row::NewTask(_)
            | Row::Task(_)
            | Row::Result(_)
            | Row::Artifact(_)
            | Row::NewRun(_)
            | Row::Run(_)
            | Row::Node(_)
            | Row::Worker(_)
            | Row::WorkerGone(_)
            | Row::Resource(_)
            | Row::ResourceGone(_)
            | Row::Namespace(_)
            | Row::Rate(_)
            | Row::Gang(_)
            | Row::GangGone(_)
            | Row::Key(_)
            | Row::Pause(_)
            | Row::Token(_)
            | Row::TokenGone(_)
            | Row::TaskGone(_) => {}
        }
    }

    fn counters(&mut self, new: &Counters) {
        let old = std::mem::replace(&mut self.book.counters, *new);
        let grow = new.task >= old.task && new.run >= old.run && new.ticket >= old.ticket && new.worker >= old.worker;
        self.found.unless(grow, self.at, Invariant::Sound, || format!("numbers go back: {old:?}, then {new:?}"));
    }

    fn task(&mut self, row: &TaskRow) {
        let (id, unit) = (row.id, UnitSeen::of(row.round, &row.unit));
        self.touched.insert(TaskRef::whole(id));
        let Some(seen) = self.book.tasks.get_mut(&id) else {
            return self.found.add(self.at, Invariant::Sound, || format!("task {id} is written and was never made"));
        };
        let old = std::mem::replace(&mut seen.unit, unit.clone());
        let ticket = std::mem::replace(&mut seen.ticket, row.ticket);
        seen.paused = row.paused.is_some();
        if let Some(counts) = row.array {
            seen.ended = counts.succeeded + counts.failed + counts.cancelled + counts.skipped;
        }
        let kept = unit.round != old.round || ticket.0 == 0 || ticket == row.ticket;
        self.found.unless(kept, self.at, Invariant::I5, || {
            format!("task {id} had ticket {ticket} in round {}, and has {}", old.round, row.ticket)
        });
        self.follows(TaskRef::whole(id), &old, &unit, seen_is_array(row));
    }

    fn element(&mut self, row: &ElementRow) {
        let unit = TaskRef::element(row.task, row.index);
        let Some(task) = self.book.tasks.get(&row.task) else {
            return self.found.add(self.at, Invariant::Sound, || format!("element {unit} has no task"));
        };
        let new = UnitSeen::of(task.unit.round, &row.unit);
        self.touched.insert(unit);
        if let Some(old) = self.book.elements.insert((row.task, row.index), new.clone()) {
            self.follows(unit, &old, &new, IsArray::No);
        }
    }

    /// I1, I2, I10: what may follow upon what.
    fn follows(&mut self, unit: TaskRef, old: &UnitSeen, new: &UnitSeen, is_array: IsArray) {
        self.found.unless(new.fence >= old.fence, self.at, Invariant::I1, || {
            format!("the fence of {unit} goes back from {:?} to {:?}", old.fence, new.fence)
        });
        self.found.unless(new.round >= old.round, self.at, Invariant::I2, || {
            format!("{unit} goes back from round {} to {}", old.round, new.round)
        });
        let again = self.retried.contains(&unit.task);
        if new.round == old.round && !again {
            let ends_once = !old.state.is_ended() || new.state == old.state;
            self.found.unless(ends_once, self.at, Invariant::I2, || {
                format!("round {} of {unit} has ended as {}, and is {} after that", old.round, old.state, new.state)
            });
            let cancelled = old.stop == Some(StateKind::Cancelled) && is_array == IsArray::No;
            let stands = !cancelled || !new.state.is_ended() || new.state == StateKind::Cancelled;
            self.found.unless(stands, self.at, Invariant::I10, || {
                format!("{unit} was being cancelled, and has ended as {}", new.state)
            });
        }
        if new.round > old.round {
            self.found.unless(old.state.is_ended() || again, self.at, Invariant::I2, || {
                format!("{unit} begins round {} while round {} is {}", new.round, old.round, old.state)
            });
        }
    }

    fn attempt(&mut self, row: &AttemptRow) {
        let attempt = row.attempt;
        let new = AttemptSeen::of(row);
        self.touched.insert(attempt.task);
        let old = self.book.attempts.insert(attempt, new.clone());
        let before = old.as_ref().and_then(|old| old.end);
        let may_change = before.is_none_or(|before| before == AttemptEnd::Lost);
        self.found.unless(new.end == before || may_change, self.at, Invariant::I8, || {
            format!("{attempt} has ended as {before:?}, and as {:?} after that", new.end)
        });
        let goes_back = old.as_ref().is_some_and(|old| old.started && !new.started);
        self.found
            .unless(!goes_back, self.at, Invariant::I8, || format!("{attempt} had started, and has not any more"));
        let live = self.book.live.entry(attempt.task).or_default();
        if new.end.is_none() {
            live.insert(attempt.fence);
        } else {
            live.remove(&attempt.fence);
        }
        if let Some(worker) = new.worker {
            let held = self.book.held.entry(worker).or_default();
            if new.end.is_none() {
                held.insert(attempt);
                if old.is_none() {
                    self.claimed.insert((worker, attempt));
                }
            } else {
                held.remove(&attempt);
            }
        }
        let is_over = match new.end {
            Some(
                AttemptEnd::Succeeded
                | AttemptEnd::Failed
                | AttemptEnd::TimedOut
                | AttemptEnd::Cancelled
                | AttemptEnd::Released,
            ) => before != new.end,
            Some(AttemptEnd::Lost | AttemptEnd::Superseded) | None => false,
        };
        if is_over && new.worker.is_some() {
            self.ended.push(attempt);
        }
    }

    fn worker(&mut self, row: &WorkerRow) {
        let new = WorkerSeen {
            name: row.name.clone(),
            incarnation: row.incarnation,
            drained_since: row.drain.as_ref().map(|mark| mark.since),
            paused: row.paused.is_some(),
            offer: row.offer.clone(),
        };
        let incarnation = new.incarnation;
        if let Some(old) = self.book.workers.insert(row.id, new) {
            self.found.unless(incarnation >= old.incarnation, self.at, Invariant::I9, || {
                format!("{} goes back from incarnation {} to {incarnation}", old.name, old.incarnation)
            });
        }
    }

    /// What must hold when all rows of the batch are there.
    fn finish(&mut self) {
        for unit in std::mem::take(&mut self.touched) {
            self.live_attempts(unit);
        }
        for (worker, attempt) in std::mem::take(&mut self.claimed) {
            self.claim(worker, attempt);
        }
    }

    /// I1: one live attempt at most, the newest, and its unit says so.
    fn live_attempts(&mut self, unit: TaskRef) {
        let live = self.book.live.get(&unit).cloned().unwrap_or_default();
        self.found.unless(live.len() <= 1, self.at, Invariant::I1, || format!("{unit} has the live attempts {live:?}"));
        let Some(seen) = self.book.unit(unit) else { return };
        let is_array = unit.index.is_none() && self.book.tasks.get(&unit.task).is_some_and(|task| task.count.is_some());
        if is_array {
            return;
        }
        // What the server holds itself is an attempt too, of no worker.
        let fits = match live.first() {
            None => !seen.state.is_live(),
            Some(fence) => seen.state.is_live() && *fence == seen.fence,
        };
        self.found
            .unless(fits, self.at, Invariant::I1, || format!("{unit} is {seen:?}, and its live attempts are {live:?}"));
    }

    /// I4, I7: what a worker is given.
    fn claim(&mut self, worker: WorkerId, attempt: AttemptRef) {
        let Some(seen) = self.book.workers.get(&worker) else {
            return self.found.add(self.at, Invariant::I7, || format!("{attempt} is given to nobody that is known"));
        };
        let given = self.book.attempts.get(&attempt).map(|attempt| attempt.assigned_at);
        let drained = seen.drained_since.is_some_and(|since| given.is_some_and(|given| given > since));
        let name = seen.name.clone();
        self.found
            .unless(!drained, self.at, Invariant::I7, || format!("{attempt} is given to {name}, which is drained"));
        let spec = self.book.tasks.get(&attempt.task.task).map(|task| std::sync::Arc::clone(&task.spec));
        if let Some((offer, spec)) = seen.offer.as_ref().zip(spec) {
            let has = |one: &Requirement| offer.has(one);
            let is_able = spec.requires.iter().all(has) && !spec.placement.excludes.iter().any(has);
            self.found.unless(is_able, self.at, Invariant::Sound, || {
                format!("{attempt} is given to {name}, which lacks what it requires or has what it excludes")
            });
        }
        let (held, room) = (self.book.held.get(&worker).map_or(0, BTreeSet::len), self.book.room_of(&name));
        self.found.unless(held <= room, self.at, Invariant::I4, || {
            format!("{name} holds {held} attempts, and has room for {room}")
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsArray {
    No,
    Yes,
}

fn seen_is_array(row: &TaskRow) -> IsArray {
    if row.array.is_some() { IsArray::Yes } else { IsArray::No }
}
