//! One leadership, pure: it has no thread, no clock, no store and no channel. It moves the engine, puts
//! everything in order, and says what is to be done.
//!
//! ```text
//! idle ──inputs──► filling ──gathered──► committing(n) ──inputs──► committing(n), filling(n+1)
//!   ▲                 │ rowless: released at once            │ durable(n): released
//!   └─────────────────┴──────────────────────────────────────┘
//! ```
//!
//! Whoever drives it (the writer's thread in production, a simulated server under a seed) passes what
//! happens with the time at which it happens, calls [`Term::turn`], carries out every [`Output`] in its
//! order, and comes back with what became of it. Times are those of the leader's clock: the store's time at
//! the take-over and whatever has passed since. A time before the last one counts as the last one.
//!
//! **Invariant:** no effect leaves before its batch and every earlier one are durable (I3); after
//! [`Output::End`] nothing leaves at all.

mod apply;
mod output;
mod release;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::effect::Effect;
use bowline_core::id::{CommitNo, Generation, SessionId};
use bowline_core::message::ToWorker;
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_core::time::{Timestamp, micros};
use bowline_core::{Engine, Input};
use bowline_store::{Leadership, RetentionPolicy};

pub use self::output::{Due, End, Output, Posted};
use crate::config::{BATCH_INPUTS_MAX, DRAIN_MAX, LeaderConfig, SWEEP_LATE_MAX, WAKE_MAX};
use crate::handle::LeaderStatus;
use crate::stats::{self, Counters};
use crate::take_over::Taken;

/// Low bits of a session's number: its place within the epoch.
const SESSION_BITS: u32 = 32;

/// What is under way in the store. One thing at a time.
#[derive(Debug)]
enum Flight {
    /// Nothing.
    None,
    /// A batch: what follows once it is durable.
    Batch { number: u64, effects: Vec<Effect> },
    /// Retention, since then.
    Sweep { since: Timestamp },
}

/// Whether there is more to remove than one batch of retention may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backlog {
    No,
    Yes,
}

/// Whether something was applied before retention was announced, and is still to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    No,
    Yes,
}

/// Whether somebody waits for what is being filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
}

/// Whether the leadership goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Leading,
    Over,
}

/// One leadership. See the module's documentation.
#[derive(Debug)]
pub struct Term {
    config: LeaderConfig,
    counters: Arc<Counters>,
    leadership: Leadership,
    engine: Engine,
    standing: Standing,
    /// Requests that wait for their answers.
    waiting: usize,
    next_reply: u64,
    /// Open sessions.
    sessions: BTreeSet<SessionId>,
    next_session: u64,
    flight: Flight,
    /// Inputs applied to the batch that is being filled.
    filling: usize,
    /// Whether somebody waits for the answer to one of them.
    asked: Asked,
    /// The last time that went into the engine.
    applied_at: Timestamp,
    /// The last time that came with anything: at least twice a heartbeat.
    looked_at: Timestamp,
    /// When the last batch went to the store.
    committed_at: Option<Timestamp>,
    sweep_at: Timestamp,
    /// Whether the last batch of retention left something to be removed.
    backlog: Backlog,
    /// Most that the next batch of retention removes.
    sweep_most: usize,
    /// Nothing that had ended long before this moment is brought back to life: it is about to be removed.
    barred: Option<(Timestamp, Pending)>,
    /// Sessions that were closed here, and of which the engine is still to be told.
    lost_sessions: VecDeque<SessionId>,
    /// What a worker has seen and the store does not hold: the leadership is over.
    rolled_back: Option<(Generation, CommitNo)>,
    outputs: Vec<Output>,
}

impl Term {
    /// Begins to lead with what was loaded: indexes are built, leases start afresh, what is due is due again.
    pub fn begin(taken: Taken, config: LeaderConfig, counters: Arc<Counters>, now: Timestamp) -> Self {
        let Taken { leadership, mut engine } = taken;
        let now = now.max(leadership.now);
        engine.loaded(now);
        stats::add(&counters.leaderships, 1);
        Self {
            sweep_at: now.plus(config.sweep_every),
            sweep_most: config.retention.batch_max,
            config,
            counters,
            leadership,
            engine,
            standing: Standing::Leading,
            waiting: 0,
            next_reply: 1,
            sessions: BTreeSet::new(),
            next_session: (leadership.epoch.0 << SESSION_BITS) + 1,
            flight: Flight::None,
            // What the engine made of the rows that it loaded is a batch too.
            filling: 1,
            asked: Asked::No,
            applied_at: now,
            looked_at: now,
            committed_at: None,
            backlog: Backlog::No,
            barred: None,
            lost_sessions: VecDeque::new(),
            rolled_back: None,
            outputs: Vec::new(),
        }
    }

    /// The leadership as it stands, with the last durable commit.
    pub fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// As everybody sees it.
    pub fn status(&self) -> LeaderStatus {
        let leadership = &self.leadership;
        LeaderStatus::Leading {
            epoch: leadership.epoch,
            generation: leadership.generation,
            commit_no: leadership.commit_no,
        }
    }

    /// Whether more inputs may be applied; else the inbox waits.
    pub fn has_room(&self) -> bool {
        self.filling < BATCH_INPUTS_MAX
    }

    /// Whether something was applied that is not yet durable, or not yet released.
    pub fn is_unsettled(&self) -> bool {
        matches!(self.flight, Flight::Batch { .. }) || self.filling > 0
    }

    /// Whether some timer is to fire.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.engine.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// What is to be done, in order. Taken out.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// The same, into a list that is used again and again.
    pub fn drain_outputs(&mut self, into: &mut Vec<Output>) {
        into.append(&mut self.outputs);
    }

    /// Does what can be done without waiting for anything.
    pub fn turn(&mut self, now: Timestamp) {
        if self.standing == Standing::Over {
            return;
        }
        self.look(now);
        if let Some(seen) = self.rolled_back {
            let store = (self.leadership.generation, self.leadership.commit_no);
            return self.end(End::RolledBack { store, seen });
        }
        loop {
            self.apply_lost_sessions(now);
            let needs = self.engine.take_needs();
            self.outputs.extend(needs.into_iter().map(|(park, needs)| Output::Fetch { park, needs }));
            if self.waits_for_store() {
                return;
            }
            if self.may_sweep(now) {
                return self.sweep();
            }
            if self.filling == 0 || self.gather_until().is_some_and(|until| now < until) {
                return;
            }
            self.take_batch(now);
        }
    }

    /// When [`Term::turn`] (after [`Term::tick`]) is to be called, if nothing comes before.
    pub fn wake_at(&self, now: Timestamp) -> Timestamp {
        // A deadline that has just been served is not served again at once.
        let soonest = Timestamp(self.applied_at.0 + 500);
        let deadline = self.engine.next_deadline().map(|deadline| deadline.max(soonest));
        let other = match self.flight {
            // The store's answer wakes the writer.
            Flight::Batch { .. } | Flight::Sweep { .. } => None,
            Flight::None if self.filling > 0 => self.gather_until(),
            Flight::None => Some(self.sweep_at),
        };
        let latest = now.plus((self.heartbeat() / 2).min(WAKE_MAX));
        [deadline, other].into_iter().flatten().fold(latest, Timestamp::min)
    }

    /// Workers say that they are there this often.
    fn heartbeat(&self) -> Duration {
        self.config.timing.heartbeat
    }

    /// Whether nothing can be taken before the store has answered.
    fn waits_for_store(&self) -> bool {
        match &self.flight {
            Flight::None => false,
            Flight::Batch { .. } => {
                if probe::COUNTS && self.filling > 0 && self.engine.is_rowless() {
                    probe::reached(Path::RowlessBehindACommit);
                }
                !(mutant::is(Mutant::RowlessReleasedEarly) && self.filling > 0 && self.engine.is_rowless())
            }
            Flight::Sweep { .. } => true,
        }
    }

    /// Until when to wait for more inputs: so long after the last commit began. While batches follow
    /// close upon each other they are filled; a lone input waits for nothing. Nor does a request: who asked waits
    /// for the answer, and whoever else asks meanwhile is gathered by the commit that is under way. Nor do workers half
    /// of whose tasks wait for it.
    fn gather_until(&self) -> Option<Timestamp> {
        let is_due = self.filling >= DRAIN_MAX || self.asked == Asked::Yes || self.engine.is_waited_for();
        self.committed_at.filter(|_| !is_due).map(|last| last.plus(self.config.gather))
    }

    fn take_batch(&mut self, now: Timestamp) {
        self.filling = 0;
        self.asked = Asked::No;
        if let Some((_, pending)) = &mut self.barred {
            *pending = Pending::No;
        }
        let mut batch = self.engine.take_batch();
        if batch.is_empty() {
            // It has no number of its own: the next one will have it.
            return;
        }
        let mut effects = std::mem::take(&mut batch.effects);
        if batch.is_rowless() {
            stats::add(&self.counters.rowless_batches, 1);
            self.engine.durable(batch.number);
            return self.release(effects);
        }
        if mutant::is(Mutant::EffectBeforeCommit) {
            self.release(std::mem::take(&mut effects));
        }
        if mutant::is(Mutant::PopThenRecord) {
            let is_assign = |effect: &mut Effect| matches!(effect, Effect::Send { message: ToWorker::Assign(_), .. });
            let assigns = effects.extract_if(.., is_assign).collect();
            self.release(assigns);
        }
        stats::add(&self.counters.rows, batch.rows.len() + batch.history.len());
        self.flight = Flight::Batch { number: batch.number, effects };
        self.committed_at = Some(now);
        self.outputs.push(Output::Commit { now: self.applied_at, batch });
    }

    /// Whether retention has its turn. First nothing that is old may be brought back to life any more; then
    /// whatever was before that is committed; then what is old can be removed.
    fn may_sweep(&mut self, now: Timestamp) -> bool {
        // Under load without a pause retention has its turn all the same, if a late one; where it does not keep
        // up with that load, without delay.
        let may_wait = self.filling > 0 && self.backlog == Backlog::No;
        let sweep_at = if may_wait { self.sweep_at.plus(SWEEP_LATE_MAX) } else { self.sweep_at };
        if self.barred.is_none() && now >= sweep_at {
            let ended_by = Timestamp(now.0.saturating_sub(micros(self.config.retention.ended)));
            self.engine.sweeping(ended_by);
            let pending = if self.filling == 0 { Pending::No } else { Pending::Yes };
            if pending == Pending::Yes {
                probe::reached(Path::SweepUnderLoad);
            }
            self.barred = Some((now, pending));
        }
        matches!(self.barred, Some((_, Pending::No)))
    }

    fn sweep(&mut self) {
        let Some((now, _)) = self.barred.take() else { return };
        self.flight = Flight::Sweep { since: self.looked_at };
        let policy = RetentionPolicy { batch_max: self.sweep_most, ..self.config.retention };
        self.outputs.push(Output::Sweep { now, policy });
    }

    fn apply(&mut self, now: Timestamp, input: Input) {
        self.applied_at = self.applied_at.max(now);
        self.filling += 1;
        stats::add(&self.counters.inputs, 1);
        self.engine.apply(self.applied_at, input);
    }

    /// The leadership is over: nothing of what waits leaves any more.
    fn end(&mut self, end: End) {
        self.standing = Standing::Over;
        self.outputs.push(Output::End(end));
    }
}

#[cfg(test)]
mod tests;
