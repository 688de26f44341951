//! The writer: the one place that moves the engine, and puts everything in order.
//!
//! ```text
//! idle ──inputs──► filling ──gathered──► committing(n) ──inputs──► committing(n), filling(n+1)
//!   ▲                 │ rowless: released at once            │ durable(n): released
//!   └─────────────────┴──────────────────────────────────────┘
//! ```

mod apply;
mod release;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_core::effect::Effect;
use bowline_core::id::{CommitNo, Generation, SessionId};
use bowline_core::time::{Timestamp, micros};
use bowline_core::{Engine, Input};
use bowline_store::Leadership;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};
use crate::command::Command;
use crate::commit::Job;
use crate::config::{BATCH_INPUTS_MAX, DRAIN_MAX, LeaderConfig, SWEEP_LATE_MAX, WAKE_MAX};
use crate::desk::Desk;
use crate::evaluate::Due;
use crate::fetch::Parked;
use crate::handle::{Committed, LeaderStatus};
use crate::returns::Return;
use crate::stats::{self, Counters};
use crate::works::Works;

/// Why a leadership is over.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to stop, and everything that was applied is durable.
    Stopped,
    /// Another server leads.
    Deposed(String),
    /// It failed; why.
    Failed(String),
    /// A worker has seen what the store does not hold.
    RolledBack {
        /// Where the store stands.
        store: (Generation, CommitNo),
        /// What the worker has seen.
        seen: (Generation, CommitNo),
    },
}

/// What outlives every leadership.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) config: LeaderConfig,
    pub(crate) status: watch::Sender<LeaderStatus>,
    pub(crate) events: broadcast::Sender<Committed>,
    pub(crate) works: Arc<Works>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stop: CancellationToken,
}

/// The threads beside the writer, as it reaches them. Their queues hold at most what the engine
/// has parked, has due, and one job of the committer.
#[derive(Debug)]
pub(crate) struct Aides {
    pub(crate) committer: mpsc::UnboundedSender<Job>,
    pub(crate) fetcher: mpsc::UnboundedSender<Parked>,
    pub(crate) evaluators: mpsc::UnboundedSender<Due>,
}

/// What the committer is at work on.
#[derive(Debug)]
enum Flight {
    /// Nothing.
    None,
    /// A batch: what follows once it is durable.
    Batch { number: u64, effects: Vec<Effect> },
    /// Retention.
    Sweep,
}

/// Whether something was applied before retention was announced, and is still to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    No,
    Yes,
}

/// What a take-over gives.
pub(crate) struct Taken {
    pub(crate) leadership: Leadership,
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    /// Workers say that they are there this often.
    pub(crate) heartbeat: Duration,
}

/// One leadership.
pub(crate) struct Writer<'a> {
    lasting: &'a Lasting,
    leadership: Leadership,
    clock: Clock,
    heartbeat: Duration,
    /// When this thread looked at the clock last: it does so twice a heartbeat at least.
    looked_at: Instant,
    engine: Engine,
    desk: Desk,
    aides: Aides,
    flight: Flight,
    /// Inputs applied to the batch that is being filled.
    filling: usize,
    /// The last time that went into the engine.
    applied_at: Timestamp,
    /// When the last batch went to the committer.
    committed_at: Option<Instant>,
    sweep_at: Instant,
    /// Nothing that had ended long before this moment is brought back to life: it is about to be removed.
    barred: Option<(Timestamp, Pending)>,
    /// Sessions that were closed here, and of which the engine is still to be told.
    lost_sessions: VecDeque<SessionId>,
    /// What a worker has seen and the store does not hold: the leadership is over.
    rolled_back: Option<(Generation, CommitNo)>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(lasting: &'a Lasting, taken: Taken, aides: Aides) -> Self {
        let Taken { leadership, engine, clock, heartbeat } = taken;
        Self {
            heartbeat,
            looked_at: clock::monotonic(),
            lasting,
            leadership,
            clock,
            engine,
            desk: Desk::new(leadership.epoch),
            aides,
            flight: Flight::None,
            // What the engine made of the rows that it loaded is a batch too.
            filling: 1,
            applied_at: clock.now(),
            committed_at: None,
            sweep_at: clock::monotonic() + lasting.config.sweep_every,
            barred: None,
            lost_sessions: VecDeque::new(),
            rolled_back: None,
        }
    }

    /// Leads until that ends. Whoever waits is told by the end of his channel, and not before the
    /// status says the same.
    pub(crate) async fn lead(
        mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> End {
        let end = self.work(inbox, returns).await;
        let status = match &end {
            End::Stopped => LeaderStatus::Loading("it is stopping".to_owned()),
            End::Deposed(why) | End::Failed(why) => LeaderStatus::Loading(why.clone()),
            End::RolledBack { store, seen } => LeaderStatus::RolledBack { store: *store, seen: *seen },
        };
        self.lasting.status.send_replace(status);
        end
    }

    async fn work(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> End {
        let mut commands = Vec::with_capacity(DRAIN_MAX);
        loop {
            self.look_at_clock();
            if let Err(end) = self.turn() {
                return end;
            }
            let stop = &self.lasting.stop;
            if stop.is_cancelled() {
                return self.finish(inbox, returns).await;
            }
            let has_room = self.filling < BATCH_INPUTS_MAX;
            let wake = tokio::time::Instant::from_std(self.wake_at());
            tokio::select! {
                biased;
                Some(back) = returns.recv() => if let Err(end) = self.take_back(back) { return end },
                () = stop.cancelled() => {}
                taken = inbox.recv_many(&mut commands, DRAIN_MAX), if has_room => {
                    if taken == 0 {
                        // No handle is left.
                        return self.finish(inbox, returns).await;
                    }
                    self.look_at_clock();
                    let now = self.clock.now();
                    for command in commands.drain(..) {
                        self.apply_command(now, command);
                    }
                    // An inbox that is never empty must not keep time from passing.
                    if self.is_due() {
                        self.tick(inbox);
                    }
                }
                () = tokio::time::sleep_until(wake) => {
                    self.look_at_clock();
                    self.tick(inbox);
                }
            }
        }
    }

    /// Does what can be done without waiting for anything.
    fn turn(&mut self) -> Result<(), End> {
        if let Some(seen) = self.rolled_back {
            let store = (self.leadership.generation, self.leadership.commit_no);
            return Err(End::RolledBack { store, seen });
        }
        loop {
            self.apply_lost_sessions();
            for parked in self.engine.take_needs() {
                self.aides.fetcher.send(parked).map_err(|_| gone("the fetcher"))?;
            }
            if !matches!(self.flight, Flight::None) {
                return Ok(());
            }
            let now = clock::monotonic();
            if self.may_sweep(now) {
                return self.sweep();
            }
            if self.filling == 0 {
                return Ok(());
            }
            if self.gather_until().is_some_and(|until| now < until) {
                return Ok(());
            }
            self.take_batch()?;
        }
    }

    /// Until when to wait for more inputs: so long after the last commit began. While batches follow
    /// close upon each other they are filled; a lone input waits for nothing.
    fn gather_until(&self) -> Option<Instant> {
        let full = self.filling >= DRAIN_MAX;
        self.committed_at.filter(|_| !full).map(|last| last + self.lasting.config.gather)
    }

    fn take_batch(&mut self) -> Result<(), End> {
        self.filling = 0;
        if let Some((_, pending)) = &mut self.barred {
            *pending = Pending::No;
        }
        let mut batch = self.engine.take_batch();
        if batch.is_empty() {
            // It has no number of its own: the next one will have it.
            return Ok(());
        }
        let effects = std::mem::take(&mut batch.effects);
        if batch.is_rowless() {
            stats::add(&self.lasting.counters.rowless_batches, 1);
            self.engine.durable(batch.number);
            return self.release(effects);
        }
        self.lasting.works.note(&batch.rows);
        stats::add(&self.lasting.counters.rows, batch.rows.len() + batch.history.len());
        self.flight = Flight::Batch { number: batch.number, effects };
        self.committed_at = Some(clock::monotonic());
        let now = self.applied_at;
        self.aides.committer.send(Job::Commit { now, batch }).map_err(|_| gone("the committer"))
    }

    /// Whether retention has its turn. First nothing that is old may be brought back to life any more; then
    /// whatever was before that is committed; then what is old can be removed.
    fn may_sweep(&mut self, now: Instant) -> bool {
        // Under load without a pause retention has its turn all the same, if a late one.
        let sweep_at = if self.filling == 0 { self.sweep_at } else { self.sweep_at + SWEEP_LATE_MAX };
        if self.barred.is_none() && now >= sweep_at {
            let at = self.clock.now();
            let ended_by = Timestamp(at.0.saturating_sub(micros(self.lasting.config.retention.ended)));
            self.engine.sweeping(ended_by);
            let pending = if self.filling == 0 { Pending::No } else { Pending::Yes };
            self.barred = Some((at, pending));
        }
        matches!(self.barred, Some((_, Pending::No)))
    }

    fn sweep(&mut self) -> Result<(), End> {
        let Some((now, _)) = self.barred.take() else { return Ok(()) };
        self.flight = Flight::Sweep;
        let job = Job::Sweep { now, policy: self.lasting.config.retention };
        self.aides.committer.send(job).map_err(|_| gone("the committer"))
    }

    /// When something is to be done, if nothing comes before.
    fn wake_at(&self) -> Instant {
        // A deadline that has just been served is not served again at once.
        let soonest = Timestamp(self.applied_at.0 + 500);
        let deadline = self.engine.next_deadline().map(|deadline| self.clock.instant_of(deadline.max(soonest)));
        let other = match self.flight {
            // The committer's return wakes the writer.
            Flight::Batch { .. } | Flight::Sweep => None,
            Flight::None if self.filling > 0 => self.gather_until(),
            Flight::None => Some(self.sweep_at),
        };
        let latest = clock::monotonic() + (self.heartbeat / 2).min(WAKE_MAX);
        [deadline, other].into_iter().flatten().fold(latest, Instant::min)
    }

    /// What was applied is made durable and released, then the leadership ends in order.
    async fn finish(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        returns: &mut mpsc::UnboundedReceiver<Return>,
    ) -> End {
        inbox.close();
        let now = self.clock.now();
        while let Ok(command) = inbox.try_recv() {
            self.apply_command(now, command);
        }
        loop {
            if let Err(end) = self.turn() {
                return end;
            }
            let waits = !matches!(self.flight, Flight::None | Flight::Sweep) || self.filling > 0;
            if !waits {
                return End::Stopped;
            }
            let wake = tokio::time::Instant::from_std(self.wake_at());
            tokio::select! {
                biased;
                Some(back) = returns.recv() => if let Err(end) = self.take_back(back) { return end },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn apply(&mut self, now: Timestamp, input: Input) {
        self.applied_at = self.applied_at.max(now);
        self.filling += 1;
        stats::add(&self.lasting.counters.inputs, 1);
        self.engine.apply(self.applied_at, input);
    }
}

fn gone(who: &str) -> End {
    End::Failed(format!("{who} has stopped"))
}
