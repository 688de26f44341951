//! The one place that owns a worker's state and puts all events in order: what the server says, what
//! the supervisor says, what is durable, what the pool has done, what time it is.
//!
//! Each turn handles one event, then hands what it changed to the journal as one batch, then starts
//! whatever may start ([`Dispatcher::settle`]). Nothing here waits for anything.

mod attempts;
mod demand;
mod leaving;
mod link;
mod orders;
mod recovery;
mod shipping;
mod supervision;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bowline_core::id::{AttemptRef, CommitNo, Generation, Incarnation};
use bowline_protocol::WorkerMessage;
use bowline_protocol::call::Caller;
use bowline_supervisor::Program;
use bowline_supervisor::wire::Start;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::collect::Collected;
use crate::config::{WorkerConfig, WorkerExit};
use crate::error::WorkerError;
use crate::identity::{self, Enrolment};
use crate::jobs::{FromSupervisor, Jobs};
use crate::journal::{After, Batch, Journal, Op, Recovered, Said};
use crate::logs::Seen;
use crate::outbox::Outbox;
use crate::pool::Pool;
use crate::prepare::PrepareError;
use crate::session::{self, FromLink};
use crate::state_dir::StateDir;
use demand::Demand;
use leaving::Leaving;
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
    Collected(AttemptRef, Box<Collected>),
    Answered(AttemptRef, Box<Collected>),
    Looked(Vec<Seen>),
    EnrolledAgain(bool),
    /// Nothing that anybody waits for.
    Nothing,
}

/// Why a worker takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Journal,
    Supervisor,
    Outbox,
}

/// See the module.
struct Dispatcher {
    config: Arc<WorkerConfig>,
    job_env: Arc<BTreeMap<String, String>>,
    state: StateDir,
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
    slots_used: u32,
    ending: BTreeSet<AttemptRef>,
    link: Link,
    link_says: mpsc::Sender<FromLink>,
    timers: Timers,
    demand: Demand,
    seen: Option<(Generation, CommitNo)>,
    incarnation: Incarnation,
    troubles: BTreeMap<Trouble, String>,
    looking: bool,
    look_due: bool,
    looked_up_to: Option<AttemptRef>,
    leaving: Option<Leaving>,
    exit: Option<WorkerExit>,
}

/// Where events come from.
struct Inboxes {
    journal: mpsc::UnboundedReceiver<Said>,
    supervisor: mpsc::Receiver<FromSupervisor>,
    link: mpsc::Receiver<FromLink>,
}

/// Runs a worker until it is told to stop, or must not go on. Everything that it started in this
/// process has ended when this returns; its jobs may run on, as [`crate::OnTerm`] says.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<WorkerExit, WorkerError> {
    let server = session::address(&config.server).ok_or_else(|| WorkerError::ServerAddress(config.server.clone()))?;
    let config = Arc::new(WorkerConfig { server, ..config });
    let (path, name) = (config.state_dir.clone(), config.identity.clone());
    let state = blocking(move || StateDir::open(&path, &name)).await?;
    let client = crate::http_action::client()?;
    let enrolment = Enrolment {
        client: &client,
        server: &config.server,
        name: &config.identity,
        token: config.enrol_token.as_deref(),
    };
    let Some(key) = identity::key(&state, &enrolment, &shutdown).await? else {
        return Ok(WorkerExit::Stopped);
    };
    let caller = Caller { worker: config.identity.clone(), key };
    let (mut dispatcher, mut inboxes) = Dispatcher::start(config, state, client, caller).await?;
    let exit = dispatcher.turn_until_exit(&mut inboxes, &shutdown).await;
    dispatcher.close(inboxes).await;
    Ok(exit)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

impl Dispatcher {
    async fn start(
        config: Arc<WorkerConfig>,
        state: StateDir,
        client: reqwest::Client,
        caller: Caller,
    ) -> Result<(Self, Inboxes), WorkerError> {
        let path = state.journal();
        let (journal, recovered, said) = blocking(move || Journal::open(&path)).await?;
        let (jobs, supervisor) = Jobs::start(Program {
            exe: config.supervisor_exe.clone(),
            state_dir: state.supervisor(),
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
        let mut dispatcher = Self {
            job_env: Arc::new(config.job_env.clone()),
            boot_id,
            process: uuid::Uuid::new_v4().simple().to_string(),
            client,
            caller,
            journal,
            batch: Batch::default(),
            outbox: Outbox::default(),
            jobs,
            supervision: Supervision::default(),
            pool: Pool::new(),
            attempts: BTreeMap::new(),
            queue: VecDeque::new(),
            slots_used: 0,
            ending: BTreeSet::new(),
            link: Link::new(),
            link_says,
            timers: Timers::default(),
            demand: Demand::new(config.room.slots, config.prefetch),
            seen: None,
            incarnation: Incarnation(0),
            troubles: BTreeMap::new(),
            looking: false,
            look_due: false,
            looked_up_to: None,
            leaving: None,
            exit: None,
            config,
            state,
        };
        dispatcher.begin(recovered);
        Ok((dispatcher, Inboxes { journal: said, supervisor, link }))
    }

    fn begin(&mut self, recovered: Recovered) {
        self.recover(recovered);
        self.sweep_leftovers();
        self.timers.start();
    }

    async fn turn_until_exit(&mut self, inboxes: &mut Inboxes, shutdown: &CancellationToken) -> WorkerExit {
        loop {
            self.settle();
            if let Some(exit) = self.exit.take() {
                return exit;
            }
            let open = self.journal.pending() < BATCHES_PENDING_MAX;
            let room = self.link.room_awaited();
            let next = self.timers.next();
            tokio::select! {
                Some(said) = inboxes.journal.recv() => self.on_journal(said),
                Some(said) = inboxes.link.recv(), if open => self.on_link(said),
                Some(said) = inboxes.supervisor.recv(), if open => self.on_supervisor(said),
                done = self.pool.next(), if open => self.on_done(done.unwrap_or(Done::Nothing)),
                () = tokio::time::sleep_until(next) => self.on_timers(),
                () = shutdown.cancelled(), if self.leaving.is_none() => self.leave(),
                () = room => {}
            }
        }
    }

    /// Whatever follows from the turn's event.
    fn settle(&mut self) {
        self.begin_queued();
        self.settle_ended();
        self.flush();
        self.send_outbox();
        self.look_at_logs();
        self.settle_demand();
        self.settle_leaving();
        self.config.stats.unacknowledged(self.outbox.len());
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
        self.batch.ops.push(Op::PutMessage { seq, attempt, message: bytes });
        self.batch.after.push(After::Deliver(seq));
        if self.outbox.is_full() {
            self.trouble(Trouble::Outbox, "too much waits to be acknowledged by the server".to_owned());
        }
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
            Done::Looked(seen) => self.looked(seen),
            Done::EnrolledAgain(done) => self.enrolled_again(done),
            Done::Nothing => {}
        }
    }

    fn on_timers(&mut self) {
        while let Some((timer, late)) = self.timers.take_due() {
            match timer {
                Timer::Lag => {
                    self.config.stats.lag(late);
                    self.timers.measured(late);
                }
                Timer::Heartbeat => self.heartbeat(),
                Timer::Look => self.look_due = true,
                Timer::Reconnect => self.connect(),
                Timer::StartBy(attempt) => self.start_by_passed(attempt),
                Timer::Setup(attempt) => self.setup_passed(attempt),
                Timer::Leave => self.leave_by_passed(),
                Timer::Report => self.report(),
            }
        }
    }

    fn report(&mut self) {
        let stats = self.config.stats.view();
        tracing::info!(
            attempts = stats.attempts,
            unacknowledged = stats.unacknowledged,
            resent = stats.resent,
            dropped = stats.dropped,
            lag_max = ?stats.lag_max,
            slots_used = self.slots_used,
            "worker"
        );
        self.timers.reported();
    }

    /// Writes what is left, and lets go of everything. What runs under the supervisor runs on.
    async fn close(mut self, inboxes: Inboxes) {
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
