//! What comes back from the store, and what leaves once it may.

use std::time::Duration;

use bowline_core::effect::Effect;
use bowline_core::id::{CommitNo, TaskId};
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_core::row::HistoryRow;
use bowline_core::time::Timestamp;
use bowline_store::{CommitError, Swept};

use super::{Backlog, Due, End, Flight, Output, Standing, Term};
use crate::config::{SWEEP_GROWTH_MAX, SWEEP_PAUSE, SWEEP_TOOK_GOOD};
use crate::fetch::chain;
use crate::stats;

impl Term {
    /// The batch under way is durable: what waited for it leaves. `events` and `gone` are of that batch:
    /// see [`crate::Durable`].
    pub fn committed(&mut self, commit_no: CommitNo, events: Vec<HistoryRow>, gone: Vec<TaskId>) {
        let Flight::Batch { number, effects } = std::mem::replace(&mut self.flight, Flight::None) else {
            return self.end(End::Failed("a batch became durable that was not under way".to_owned()));
        };
        self.leadership.commit_no = commit_no;
        self.engine.durable(number);
        self.release(effects);
        self.outputs.push(Output::Durable { commit_no, events, gone });
    }

    /// The commit or the sweep under way failed, or nobody knows: the leadership ends, and nothing that was
    /// not known to be durable leaves.
    pub fn failed(&mut self, error: &CommitError) {
        let is_batch = matches!(self.flight, Flight::Batch { .. });
        if is_batch && mutant::is(Mutant::CommitFailureIgnored) {
            return self.committed(self.leadership.commit_no.next(), Vec::new(), Vec::new());
        }
        match error {
            CommitError::Deposed { .. } => {
                if is_batch {
                    probe::reached(Path::TakeOverBetweenApplyAndCommit);
                }
                self.end(End::Deposed(chain(error)));
            }
            CommitError::RowCount { .. } | CommitError::Store(_) => {
                if is_batch {
                    probe::reached(Path::CommitFailedAfterApply);
                }
                self.end(End::Failed(chain(error)));
            }
        }
    }

    /// Something beside the writer can't go on: the leadership ends.
    pub fn broken(&mut self, why: String) {
        self.end(End::Failed(why));
    }

    /// A batch of retention is durable.
    pub fn swept(&mut self, now: Timestamp, swept: Swept) {
        self.look(now);
        let flight = std::mem::replace(&mut self.flight, Flight::None);
        self.engine.swept(&swept.tasks, &swept.runs);
        let took = if let Flight::Sweep { since } = flight { now.since(since) } else { SWEEP_PAUSE };
        let most = self.sweep_most;
        let is_full = swept.tasks.len() + swept.runs.len() >= most || swept.events >= most;
        self.backlog = if is_full { Backlog::Yes } else { Backlog::No };
        self.sweep_most = self.next_most(is_full, took);
        let pause = match self.backlog {
            // Behind with it, it has half of the store's time, however much ends meanwhile.
            Backlog::Yes => took.min(SWEEP_PAUSE),
            Backlog::No if swept.is_empty() => self.config.sweep_every,
            Backlog::No => SWEEP_PAUSE,
        };
        self.sweep_at = now.plus(pause);
        if swept.is_empty() {
            return;
        }
        tracing::info!(
            tasks = swept.tasks.len(),
            runs = swept.runs.len(),
            events = swept.events,
            "retention removed a batch"
        );
        stats::add(&self.counters.swept_tasks, swept.tasks.len());
        self.outputs.push(Output::Swept(swept.tasks));
    }

    /// Behind, a batch is twice as large as the one before, for as long as none keeps the store for long: what a
    /// load leaves behind is removed as quickly as it comes, and nobody waits much longer for a commit.
    fn next_most(&self, is_full: bool, took: Duration) -> usize {
        let least = self.config.retention.batch_max;
        match (is_full, took <= SWEEP_TOOK_GOOD) {
            (true, true) => (self.sweep_most * 2).min(least * SWEEP_GROWTH_MAX),
            (true, false) => (self.sweep_most / 2).max(least),
            (false, _) => least,
        }
    }

    /// Lets effects leave, in order: their batch and every earlier one are durable.
    pub(super) fn release(&mut self, effects: Vec<Effect>) {
        if self.standing == Standing::Over {
            return;
        }
        stats::add(&self.counters.effects, effects.len());
        self.outputs.reserve(effects.len());
        for effect in effects {
            match effect {
                Effect::Reply { to, reply } => {
                    self.waiting = self.waiting.saturating_sub(1);
                    self.outputs.push(Output::Reply { to, reply });
                }
                Effect::Send { session, message } => {
                    if self.sessions.contains(&session) {
                        self.outputs.push(Output::Send { session, message });
                    }
                }
                Effect::Close { session } => {
                    if self.sessions.remove(&session) {
                        self.outputs.push(Output::Close { session });
                    }
                }
                Effect::Evaluate { run, what, version } => {
                    self.outputs.push(Output::Evaluate(Due { run, what, version }));
                }
            }
        }
    }
}
