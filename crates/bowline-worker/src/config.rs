//! What can be configured about a worker. Flags, environment and files are read elsewhere; here
//! there are only resolved values.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::name::{PoolName, WorkerName};
use bowline_core::worker::{Capabilities, Room};
use bowline_supervisor::Way;
use tokio_util::sync::CancellationToken;

use crate::checks::Checks;
use crate::outbox::END_BYTES;
use crate::stats::Stats;

/// The PATH of jobs where the configuration names none.
pub const JOB_PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between telling a job to stop and killing it, where its task says nothing.
pub const GRACE: Duration = Duration::from_secs(10);
/// So long a starting worker waits for the process before it to let go of the state directory.
pub const LOCK_WITHIN: Duration = Duration::from_secs(10);
/// So long a worker that hands over waits for what is on its way to it.
pub const HANDOFF_WITHIN: Duration = Duration::from_secs(2);
/// Unacknowledged messages are kept up to so many bytes, and room for the end of one attempt a slot beside.
pub const OUTBOX_BYTES_DEFAULT: usize = 256 << 20;
/// So long a leaving worker waits for what it has told to stop, and for its last messages to be acknowledged.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// Most bytes that are kept of a job's log, where nothing else is said: 64 MiB.
pub const LOG_BYTES_MAX_DEFAULT: u64 = 64 << 20;
/// How long an upload that does not get on is tried, where nothing else is said.
pub const UPLOAD_PATIENCE_DEFAULT: Duration = Duration::from_mins(10);

/// A server that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address: `http://HOST:PORT`.
    pub url: String,
    /// A token to enrol with there: see [`WorkerConfig::enrol_token`].
    pub enrol_token: Option<String>,
}

/// A worker, fully described.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The server's address: `http://HOST:PORT`.
    pub server: String,
    /// Further servers, with which the first one shares slots and amounts. Each has a session, a key, a journal and a
    /// supervisor of its own.
    pub further: Vec<Server>,
    /// The identity under which it acts.
    pub identity: WorkerName,
    /// The pool of which it wants an identity, whichever is free; `identity` is then its name in logs until
    /// the server says which.
    pub pool: Option<PoolName>,
    /// What it says of attempts that the identity's last holder left in another state directory.
    pub left: LeftBehind,
    /// Where it keeps what must outlive it. Made where it is missing, with mode 0700.
    pub state_dir: PathBuf,
    /// What it can do, beside its actions.
    pub capabilities: Capabilities,
    /// Slots and amounts.
    pub room: Room,
    /// Attempts that it may hold beyond its slots. `None`: by the length of what it gets to do.
    pub prefetch: Option<u32>,
    /// An administrator's token or a single-use one; used when the state directory has no key yet, and
    /// when the server does not know the key any more.
    pub enrol_token: Option<String>,
    /// Beyond so many bytes of unacknowledged messages of one server, nothing more is taken from it. At least what
    /// [`WorkerConfig::outbox_bytes_least`] says counts.
    pub outbox_bytes_max: usize,
    /// This program: `SUPERVISOR_EXE supervisor …` must run the supervisor. `/proc/self/exe` is best.
    pub supervisor_exe: PathBuf,
    /// Where the boot id stands, another one for every start of what the jobs run on. `None`: the kernel's. For
    /// containers, whose own starts the kernel's does not tell.
    pub boot_id_file: Option<PathBuf>,
    /// What it looks at to know whether it is fit.
    pub checks: Checks,
    /// The strongest way in which whole jobs are held together and killed; the machine may offer less.
    pub kill_by: Way,
    /// What it does when it is told to stop.
    pub on_term: OnTerm,
    /// Secrets that tasks may name: a file for each, in this folder. `None`: it knows none.
    pub secrets: Option<PathBuf>,
    /// Most bytes that are kept of a job's log; a task may ask for less.
    pub log_bytes_max: u64,
    /// An artifact of which the server has not taken a byte for so long, while there was a session, is given
    /// up, so that the attempt's end is not held back.
    pub upload_patience: Duration,
    /// PATH, HOME, LANG and TZ of its jobs, as far as they are to be set. PATH has a default.
    pub job_env: BTreeMap<String, String>,
    /// The program's version, as the server shows it.
    pub version: String,
    /// Where it counts what it does, of all servers together.
    pub stats: Arc<Stats>,
}

/// What a worker says of attempts that the last holder of its identity left in another state directory,
/// where they keep it from taking the identity. Nobody but who starts it knows that they run no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeftBehind {
    /// Nothing: it waits until they have ended or are lost.
    #[default]
    Wait,
    /// They are given back.
    Release,
    /// They count as failed.
    Fail,
}

/// What a worker does when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTerm {
    /// Let its attempts run to their end, at most so long; then as `Release`.
    Finish {
        /// The bound.
        within: Duration,
    },
    /// Stop its attempts and give them back; leave when that is delivered.
    Release,
    /// Leave at once: the jobs run on under the supervisor, the next process takes them over.
    Handoff,
}

/// How a worker is told to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// As [`WorkerConfig::on_term`] says.
    pub leave: CancellationToken,
    /// As [`OnTerm::Release`], whatever it does now.
    pub release: CancellationToken,
}

impl From<CancellationToken> for Stop {
    fn from(leave: CancellationToken) -> Self {
        Self { leave, release: CancellationToken::new() }
    }
}

/// How a worker ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerExit {
    /// As it was told.
    Stopped,
    /// A newer process acts under its identity, or the identity was forgotten, with every server that it
    /// served. It stopped its jobs; it must not be started again by itself.
    Fenced {
        /// Why, as the server says.
        why: String,
    },
}

impl WorkerConfig {
    /// One slot for each processor, no capabilities, and the defaults of everything else.
    pub fn new(server: impl Into<String>, identity: WorkerName, state_dir: PathBuf, supervisor_exe: PathBuf) -> Self {
        let slots = std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        Self {
            server: server.into(),
            further: Vec::new(),
            identity,
            pool: None,
            left: LeftBehind::Wait,
            state_dir,
            capabilities: Capabilities::new(),
            room: Room { slots, amounts: BTreeMap::new() },
            prefetch: None,
            enrol_token: None,
            outbox_bytes_max: OUTBOX_BYTES_DEFAULT + slots as usize * END_BYTES,
            supervisor_exe,
            boot_id_file: None,
            checks: Checks::default(),
            kill_by: Way::Cgroup,
            on_term: OnTerm::Release,
            secrets: None,
            log_bytes_max: LOG_BYTES_MAX_DEFAULT,
            upload_patience: UPLOAD_PATIENCE_DEFAULT,
            job_env: BTreeMap::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stats: Arc::default(),
        }
    }

    /// The least bound of the outbox, in bytes: with less, the ends of what runs on all slots would not fit.
    pub fn outbox_bytes_least(&self) -> usize {
        (self.room.slots as usize).saturating_mul(2).saturating_add(2).saturating_mul(END_BYTES)
    }
}
