//! The one place that owns the state of a worker's work for one server and puts all events in order: what the server
//! says, what the supervisor says, what is durable, what the pool has done, what time it is.
//!
//! Pure: no clock, no disk, no socket, no task. [`Dispatcher::handle`] takes one [`Event`] with the time at which
//! it happened, and says in [`Action`]s, in order, what is to be done; [`Dispatcher::next_timer`] says when it
//! wants to be woken. In production a shell of threads and sockets does what it says (`crate::shell`), in
//! `bowline-sim` a world under one seed.
//!
//! Each turn handles one event, then hands what it changed to the journal as one batch, then starts
//! whatever may start. Nothing here waits for anything.

mod action;
mod attempts;
mod bulk;
mod demand;
mod event;
mod health;
mod leaving;
mod link;
mod orders;
mod recovery;
mod supervision;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::{AttemptRef, CommitNo, Generation, Incarnation};
use bowline_core::mutant::{self, Mutant};
use bowline_core::name::WorkerName;
use bowline_core::probe::{self, Path};
use bowline_protocol::WorkerMessage;
use bowline_protocol::call::Caller;
use bowline_supervisor::wire::Request;
use prost::Message as _;

use crate::attempt::Attempt;
pub use crate::checks::Found;
pub use crate::clock::{Moment, Now};
pub use crate::collect::Collected;
use crate::config::{WorkerConfig, WorkerExit};
use crate::journal::{After, Batch, Op, Recovered, Said};
pub use crate::logs::link::Target;
pub use crate::logs::shipper::{FromShipper, ToShipper};
use crate::outbox::Outbox;
pub use crate::prepare::Plan;
use crate::shares::{Pace, Share, Standing};
use crate::stats::Stats;
pub use crate::uploads::{FromUploads, ToUploads};
pub use action::{Action, Parcel};
use demand::Demand;
pub use event::{Enrolled, Event, FromSupervisor, LinkEnd, LinkEvent, LinkNo, Told, Unprepared};
use health::Probing;
use leaving::Leaving;
use link::Link;
use supervision::Supervision;
use timers::{Timer, Timers};

/// Beyond so many batches that are not durable, nothing more is taken in.
const BATCHES_PENDING_MAX: usize = 64;

/// Why a worker takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Journal,
    Supervisor,
    Outbox,
    Disk,
    Memory,
    Probe,
}

/// What a dispatcher works with: for which server, where, with how much.
#[derive(Debug)]
pub struct Settings {
    /// What is configured; `server` is the one that it serves.
    pub config: Arc<WorkerConfig>,
    /// The folder of what it keeps for this server. Attempts have theirs in `jobs` below it.
    pub folder: PathBuf,
    /// The id of that folder: a copy or another folder has another one.
    pub state_id: String,
    /// Its part of the worker's slots and amounts.
    pub share: Share,
    /// As whom it speaks to the server.
    pub caller: Caller,
    /// The machine's present boot.
    pub boot_id: String,
    /// This process: no other one ever has the same.
    pub process: String,
    /// Random: what its waits between two tries to connect are made of.
    pub seed: u64,
    /// What a first look at the disk and the memory found.
    pub found: Found,
}

/// What the process before left.
#[derive(Debug, Default)]
pub struct Left {
    /// In the journal.
    pub journal: Recovered,
    /// The attempts of which a log lies in their folder.
    pub logs: BTreeSet<AttemptRef>,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    config: Arc<WorkerConfig>,
    job_env: Arc<BTreeMap<String, String>>,
    folder: PathBuf,
    state_id: String,
    share: Share,
    stats: Arc<Stats>,
    boot_id: String,
    process: String,
    caller: Caller,
    /// What time it is in this turn.
    now: Now,
    /// What this turn wants done.
    wanted: Vec<Action>,
    batch: Batch,
    /// Batches that are not durable.
    pending: usize,
    outbox: Outbox,
    supervision: Supervision,
    attempts: BTreeMap<AttemptRef, Attempt>,
    queue: VecDeque<AttemptRef>,
    /// Attempts that have begun and not ended.
    begun: usize,
    ending: BTreeSet<AttemptRef>,
    link: Link,
    timers: Timers,
    demand: Demand,
    seen: Option<(Generation, CommitNo)>,
    /// The store's, as the last Welcome to this process said.
    generation: Option<Generation>,
    incarnation: Incarnation,
    /// The identity that it was given: its own, or one of its pool.
    name: WorkerName,
    /// What keeps it from taking the identity, as the server said last.
    in_the_way: Vec<AttemptRef>,
    troubles: BTreeMap<Trouble, String>,
    probing: Probing,
    told: Told,
    leavings: u32,
    leaving: Option<Leaving>,
    exit: Option<WorkerExit>,
    course: Course,
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    On,
    Over,
}

impl Dispatcher {
    /// Takes over what the process before left, and begins. What is to be done first is appended to `out`.
    pub fn new(settings: Settings, left: Left, now: Now, out: &mut Vec<Action>) -> Self {
        let Settings { config, folder, state_id, share, caller, boot_id, process, seed, found } = settings;
        let mut dispatcher = Self {
            job_env: Arc::new(config.job_env.clone()),
            boot_id,
            process,
            caller,
            now,
            wanted: std::mem::take(out),
            batch: Batch::default(),
            pending: 0,
            outbox: Outbox::new(config.outbox_bytes_max.max(config.outbox_bytes_least())),
            supervision: Supervision::default(),
            attempts: BTreeMap::new(),
            queue: VecDeque::new(),
            begun: 0,
            ending: BTreeSet::new(),
            link: Link::new(seed, now.at),
            timers: Timers::default(),
            demand: Demand::new(config.prefetch),
            seen: None,
            generation: None,
            incarnation: Incarnation(0),
            name: config.identity.clone(),
            in_the_way: Vec::new(),
            troubles: BTreeMap::new(),
            probing: Probing::default(),
            told: Told::Nothing,
            leavings: 0,
            leaving: None,
            exit: None,
            course: Course::On,
            stats: Arc::new(Stats::of_server(&config.stats)),
            share,
            config,
            folder,
            state_id,
        };
        dispatcher.begin(left, found);
        dispatcher.settle();
        *out = std::mem::take(&mut dispatcher.wanted);
        dispatcher
    }

    fn begin(&mut self, left: Left, found: Found) {
        self.recover(left);
        self.reopen_ended_logs();
        self.sweep_leftovers();
        self.timers.start(self.now.at);
        self.begin_checks(found);
        if mutant::is(Mutant::HelloBeforeSupervisor) {
            self.later(Duration::ZERO, Timer::Reconnect);
        }
    }

    /// Something has happened at this time: what follows from it is appended to `out`. After [`Action::Exit`]
    /// nothing follows any more.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        if self.course == Course::Over {
            return;
        }
        self.now = now;
        std::mem::swap(&mut self.wanted, out);
        match event {
            Event::Time => self.on_timers(),
            Event::Journal(said) => self.on_journal(said),
            Event::Supervisor(said) => self.on_supervisor(said),
            Event::Link(link, what) => self.on_link(link, what),
            Event::Room(link) => self.link.has_room(link),
            Event::Shipper(said) => self.on_shipper(said),
            Event::Uploads(said) => self.on_uploads(said),
            Event::Prepared(attempt, outcome) => self.prepared(attempt, outcome),
            Event::Collected(attempt, collected, files) => self.collected(attempt, *collected, files),
            Event::Answered(attempt, collected) => self.answered(attempt, *collected),
            Event::EnrolledAgain(enrolled) => self.enrolled_again(enrolled),
            Event::Checked(found) => self.checked(found),
            Event::ProbeSaid(key, said) => self.probe_said(&key, &said),
            // What may be used, and what may begin, is worked out anew after every turn.
            Event::SharesChanged => {}
            Event::Told(told) => self.on_told(told),
        }
        self.settle();
        std::mem::swap(&mut self.wanted, out);
    }

    /// When it wants to be woken next, by [`Event::Time`].
    pub fn next_timer(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Whether it takes more in. While too much waits for the disk only [`Event::Journal`], [`Event::Time`],
    /// [`Event::Room`] and [`Event::Told`] are to come.
    pub fn is_open(&self) -> bool {
        self.pending < BATCHES_PENDING_MAX
    }

    /// Attempts that take room, in the order of their numbers: never more than there is (I4).
    pub fn begun(&self) -> impl Iterator<Item = AttemptRef> + '_ {
        self.attempts.iter().filter(|(_, known)| known.state.takes_slot()).map(|(attempt, _)| *attempt)
    }

    /// This is to be done.
    fn want(&mut self, action: Action) {
        self.wanted.push(action);
    }

    /// Asks the supervisor.
    fn ask(&mut self, request: Request) {
        self.want(Action::Job(request));
    }

    /// This is to happen so long from now.
    fn later(&mut self, length: Duration, timer: Timer) {
        self.timers.after(self.now.at, length, timer);
    }

    fn on_told(&mut self, told: Told) {
        match told {
            Told::Release if self.told < Told::Release => self.release_now(),
            Told::Leave if self.told < Told::Leave => self.leave(),
            Told::Nothing | Told::Leave | Told::Release => {}
        }
    }

    /// Whatever follows from the turn's event.
    fn settle(&mut self) {
        self.begin_queued();
        self.settle_ended();
        self.flush();
        self.settle_demand();
        self.settle_leaving();
        if let Some(exit) = self.exit.take() {
            return self.end_here(exit);
        }
        self.settle_wire();
    }

    /// Hands the turn's changes to the journal.
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.pending += 1;
            let batch = std::mem::take(&mut self.batch);
            self.want(Action::Persist(batch));
            if !self.is_open() {
                probe::reached(Path::TooManyBatchesPending);
            }
        }
    }

    /// Writes what is left, and lets go of everything. What runs under the supervisor runs on.
    fn end_here(&mut self, exit: WorkerExit) {
        self.flush();
        self.close_link();
        self.course = Course::Over;
        self.want(Action::Exit(exit));
    }

    /// Puts an assured message into the outbox and the journal. It leaves when it is durable.
    fn say(&mut self, attempt: AttemptRef, message: WorkerMessage) {
        let bytes = message.to_wire().encode_to_vec();
        let seq = self.outbox.push(attempt, message, self.now.at);
        let said_us = self.now.wall_us;
        self.batch.ops.push(Op::PutMessage { seq, attempt, message: bytes, said_us });
        self.batch.after.push(After::Deliver(seq));
    }

    fn on_journal(&mut self, said: Said) {
        match said {
            Said::Refused(why) => {
                tracing::error!(why, "the journal cannot be written; trying again");
                self.trouble(Trouble::Journal, format!("the worker's journal cannot be written: {why}"));
            }
            Said::Durable { batches, after } => {
                self.pending = self.pending.saturating_sub(batches);
                if self.troubles.contains_key(&Trouble::Journal) {
                    probe::reached(Path::JournalRefusedThenAccepted);
                }
                self.cleared(Trouble::Journal);
                for what in after {
                    match what {
                        After::Begin(attempt) => self.may_begin(attempt),
                        After::Deliver(seq) => self.outbox.durable(seq),
                        After::Forget(attempt) => self.forget_job(attempt),
                        After::Remove(attempt) => self.remove_folder(attempt),
                    }
                }
            }
        }
    }

    fn on_timers(&mut self) {
        while let Some((timer, late)) = self.timers.take_due(self.now.at) {
            match timer {
                Timer::Lag => {
                    self.stats.lag(late);
                    self.timers.measured(self.now.at, late);
                }
                Timer::Heartbeat(of) => self.heartbeat(of),
                Timer::Reconnect => self.connect(),
                Timer::StartBy(attempt) => self.start_by_passed(attempt),
                Timer::Setup(attempt) => self.setup_passed(attempt),
                Timer::Leave(of) => self.leave_by_passed(of),
                // What may be used is worked out anew after every turn.
                Timer::Demand => self.demand.may_tell(),
                Timer::Turn => self.demand.turn_came(),
                Timer::Report => self.report(),
                Timer::Check => self.check(),
                Timer::Probe(number) => self.probe(number),
            }
        }
    }

    fn report(&mut self) {
        let messages = self.stats.total();
        tracing::info!(
            server = self.config.server,
            attempts = self.stats.attempts(),
            unacknowledged = self.outbox.len(),
            retried = messages.retried,
            dropped = messages.dropped,
            lag_max = ?self.stats.lag_max(),
            begun = self.begun,
            "worker"
        );
        self.timers.reported(self.now.at);
    }
}

#[cfg(test)]
mod tests;
