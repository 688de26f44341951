//! The one place that owns the state of a worker's work for one server and puts all events in order: what the server
//! says, what the supervisor says, what is durable, what the pool has done, what time it is.
//!
//! Each turn handles one event, then hands what it changed to the journal as one batch, then starts
//! whatever may start ([`Dispatcher::settle`]). Nothing here waits for anything.

mod attempts;
mod bulk;
mod demand;
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

use bowline_core::id::{AttemptRef, CommitNo, Generation, Incarnation};
use bowline_core::name::WorkerName;
use bowline_protocol::WorkerMessage;
use bowline_protocol::call::Caller;
use bowline_supervisor::Program;
use bowline_supervisor::wire::Start;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::attempt::Attempt;
use crate::checks::Found;
use crate::collect::Collected;
use crate::config::{Stop, WorkerConfig, WorkerExit};
use crate::error::WorkerError;
use crate::jobs::{FromSupervisor, Jobs};
use crate::journal::{After, Batch, Journal, Op, Opened, Recovered, Said};
use crate::outbox::Outbox;
use crate::pool::{Pool, blocking};
use crate::prepare::PrepareError;
use crate::session::FromLink;
use crate::shares::{Pace, Share, Standing};
use crate::state_dir::Place;
use crate::stats::Stats;
use bulk::{Bulk, FromBulk};
use demand::Demand;
use health::Probing;
use leaving::{Leaving, Told};
use link::Link;
use supervision::Supervision;
use timers::{Timer, Timers};

/// Beyond so many batches that are not durable, nothing more is taken in.
const BATCHES_PENDING_MAX: usize = 64;
/// Events of the connection on their way.
const LINK_EVENTS_MAX: usize = 64;

/// What the pool, or something async, has done.
#[derive(Debug)]
enum Done {
    Prepared(AttemptRef, Result<Option<Box<Start>>, PrepareError>),
    Collected(AttemptRef, Box<(Collected, Vec<(String, PathBuf)>)>),
    Answered(AttemptRef, Box<Collected>),
    EnrolledAgain(bool),
    Checked(Found),
    /// Nothing that anybody waits for.
    Nothing,
}

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
pub(crate) struct Seat {
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) place: Place,
    pub(crate) share: Share,
    pub(crate) client: reqwest::Client,
}

/// See the module.
pub(crate) struct Dispatcher {
    config: Arc<WorkerConfig>,
    job_env: Arc<BTreeMap<String, String>>,
    place: Place,
    share: Share,
    stats: Arc<Stats>,
    boot_id: String,
    process: String,
    client: reqwest::Client,
    caller: Caller,
    journal: Journal,
    batch: Batch,
    outbox: Outbox,
    jobs: Jobs,
    supervision: Supervision,
    pool: Pool<Done>,
    attempts: BTreeMap<AttemptRef, Attempt>,
    queue: VecDeque<AttemptRef>,
    /// Attempts that have begun and not ended.
    begun: usize,
    ending: BTreeSet<AttemptRef>,
    link: Link,
    link_says: mpsc::Sender<FromLink>,
    timers: Timers,
    demand: Demand,
    seen: Option<(Generation, CommitNo)>,
    incarnation: Incarnation,
    /// The identity that it was given: its own, or one of its pool.
    name: WorkerName,
    /// What keeps it from taking the identity, as the server said last.
    in_the_way: Vec<AttemptRef>,
    troubles: BTreeMap<Trouble, String>,
    probing: Probing,
    told: Told,
    leavings: u32,
    bulk: Bulk,
    leaving: Option<Leaving>,
    exit: Option<WorkerExit>,
}

/// Where events come from.
pub(crate) struct Inboxes {
    journal: mpsc::UnboundedReceiver<Said>,
    supervisor: mpsc::Receiver<FromSupervisor>,
    link: mpsc::Receiver<FromLink>,
    bulk: FromBulk,
}

impl Dispatcher {
    /// Takes over what the process before left, and begins.
    pub(crate) async fn start(seat: Seat, key: String, journal: Opened) -> Result<(Self, Inboxes), WorkerError> {
        let Seat { config, place, share, client } = seat;
        let caller = Caller { worker: config.identity.clone(), pool: config.pool.clone(), key };
        let (journal, recovered, said) = journal;
        let (checks, folder) = (config.checks.clone(), place.folder().to_owned());
        let found = blocking(move || checks.look(&folder)).await;
        let (jobs, supervisor) = Jobs::start(Program {
            exe: config.supervisor_exe.clone(),
            state_dir: place.supervisor(),
            boot_id_file: config.boot_id_file.clone(),
            strongest: config.kill_by,
        })?;
        let (link_says, link) = mpsc::channel(LINK_EVENTS_MAX);
        let boot_id =
            bowline_supervisor::boot_id(config.boot_id_file.as_deref()).map_err(|source| WorkerError::StateDir {
                what: "reading the boot id",
                path: config.boot_id_file.clone().unwrap_or_else(|| bowline_supervisor::BOOT_ID_FILE.into()),
                source,
            })?;
        let (bulk, from_bulk) = Bulk::start(client.clone(), &config);
        let mut dispatcher = Self {
            job_env: Arc::new(config.job_env.clone()),
            boot_id,
            process: uuid::Uuid::new_v4().simple().to_string(),
            client,
            caller,
            journal,
            batch: Batch::default(),
            outbox: Outbox::new(config.outbox_bytes_max.max(config.outbox_bytes_least())),
            jobs,
            supervision: Supervision::default(),
            pool: Pool::new(),
            attempts: BTreeMap::new(),
            queue: VecDeque::new(),
            begun: 0,
            ending: BTreeSet::new(),
            link: Link::new(),
            link_says,
            timers: Timers::default(),
            demand: Demand::new(config.prefetch),
            seen: None,
            incarnation: Incarnation(0),
            name: config.identity.clone(),
            in_the_way: Vec::new(),
            troubles: BTreeMap::new(),
            probing: Probing::default(),
            told: Told::Nothing,
            leavings: 0,
            bulk,
            leaving: None,
            exit: None,
            stats: Arc::new(Stats::of_server(&config.stats)),
            share,
            config,
            place,
        };
        dispatcher.begin(recovered);
        dispatcher.begin_checks(found);
        Ok((dispatcher, Inboxes { journal: said, supervisor, link, bulk: from_bulk }))
    }

    fn begin(&mut self, recovered: Recovered) {
        self.recover(recovered);
        self.reopen_ended_logs();
        self.sweep_leftovers();
        self.timers.start();
    }

    /// Turns until there is nothing more to be done for this server.
    pub(crate) async fn turn_until_exit(&mut self, inboxes: &mut Inboxes, stop: &Stop) -> WorkerExit {
        loop {
            self.settle();
            if let Some(exit) = self.exit.take() {
                return exit;
            }
            let open = self.journal.pending() < BATCHES_PENDING_MAX;
            let room = self.link.room_awaited();
            let next = self.timers.next();
            let shares = self.share.changed();
            tokio::select! {
                Some(said) = inboxes.journal.recv() => self.on_journal(said),
                Some(said) = inboxes.link.recv(), if open => self.on_link(said),
                Some(said) = inboxes.supervisor.recv(), if open => self.on_supervisor(said),
                Some(said) = inboxes.bulk.shipper.recv(), if open => self.on_shipper(said),
                Some(said) = inboxes.bulk.uploads.recv(), if open => self.on_uploads(said),
                done = self.pool.next(), if open => self.on_done(done.unwrap_or(Done::Nothing)),
                () = tokio::time::sleep_until(next) => self.on_timers(),
                () = stop.release.cancelled(), if self.told < Told::Release => self.release_now(),
                () = stop.leave.cancelled(), if self.told < Told::Leave => self.leave(),
                () = shares, if self.share.is_shared() => {}
                () = room => {}
            }
        }
    }

    /// Whatever follows from the turn's event.
    fn settle(&mut self) {
        self.share.seen();
        self.begin_queued();
        self.settle_ended();
        self.flush();
        self.settle_timely();
        self.send_outbox();
        self.settle_demand();
        self.settle_leaving();
    }

    /// Hands the turn's changes to the journal.
    fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.journal.put(std::mem::take(&mut self.batch));
        }
    }

    /// Puts an assured message into the outbox and the journal. It leaves when it is durable.
    fn say(&mut self, attempt: AttemptRef, message: WorkerMessage) {
        let bytes = message.to_wire().encode_to_vec();
        let seq = self.outbox.push(attempt, message);
        let said_us = crate::clock::wall_us();
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
                self.journal.settled(batches);
                self.cleared(Trouble::Journal);
                for what in after {
                    match what {
                        After::Begin(attempt) => self.may_begin(attempt),
                        After::Deliver(seq) => self.outbox.durable(seq),
                        After::Forget(attempt) => self.forget_job(attempt),
                    }
                }
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Prepared(attempt, outcome) => self.prepared(attempt, outcome),
            Done::Collected(attempt, collected) => self.collected(attempt, *collected),
            Done::Answered(attempt, collected) => self.answered(attempt, *collected),
            Done::EnrolledAgain(done) => self.enrolled_again(done),
            Done::Checked(found) => self.checked(found),
            Done::Nothing => {}
        }
    }

    fn on_timers(&mut self) {
        while let Some((timer, late)) = self.timers.take_due() {
            match timer {
                Timer::Lag => {
                    self.stats.lag(late);
                    self.timers.measured(late);
                }
                Timer::Heartbeat(of) => self.heartbeat(of),
                Timer::Reconnect => self.connect(),
                Timer::StartBy(attempt) => self.start_by_passed(attempt),
                Timer::Setup(attempt) => self.setup_passed(attempt),
                Timer::Leave(of) => self.leave_by_passed(of),
                // What may be used is worked out anew after every turn.
                Timer::Demand => self.demand.may_tell(),
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
        self.timers.reported();
    }

    /// Writes what is left, and lets go of everything. What runs under the supervisor runs on.
    pub(crate) async fn close(mut self, inboxes: Inboxes) {
        self.flush();
        self.close_link().await;
        blocking(move || {
            self.jobs.close(inboxes.supervisor);
            self.journal.close();
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
