//! What decides: a supervisor without processes, files, sockets and clocks.
//!
//! Everything that happens comes in as a call that names the moment; what is to be done goes to the
//! [`Host`], in the order in which it must be done, and what comes back from there is taken as a fact. The
//! shell beside it (`server`) is one host, the simulation has another; both run this same code.
//!
//! ```text
//!  worker ── greet · request · gone ──►┌─────────┐──► prepare · write · spawn · write ──► a job lives
//!  a job ─── reported · ended · over ─►│ Machine │──► term · kill · reap · release
//!  time ──── tick ────────────────────►└─────────┘──► tell · sync
//! ```
//!
//! Invariant: a job's record is written before its first process is made, its end before that process is
//! reaped, and told when none of its processes is left.

mod before;
mod births;
mod ends;
mod host;
mod job;
mod requests;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use before::TakenOver;
use ends::Ends;
pub use host::{Disk, Failure, Host, Left, Prepared, Processes, Voice};
pub use job::Job;
use job::Live;

use crate::records::Records;
pub use crate::report::Report;
use crate::wire::ShutdownMode;

/// Orphans that end wait so long to be reaped, so that many are reaped at once.
const REAP_EVERY: Duration = Duration::from_millis(50);

/// What a supervisor begins with.
#[derive(Debug)]
pub struct Begin {
    /// Names its state folder: goes into the marks of its jobs.
    pub id: String,
    /// Which boot of the machine this is.
    pub boot_id: String,
    /// Without a job and without a worker for so long, it leaves.
    pub idle_bound: Duration,
    /// What the one before left on disk.
    pub records: Records,
    /// Jobs of the one before of which something could not be killed.
    pub stuck: BTreeSet<String>,
}

/// Whether a supervisor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It has something to do, or may yet get it.
    Stay,
    /// It was told to leave and may, or nobody needs it.
    Leave,
}

/// What becomes of a connection that has said Hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// It is the worker's now. The one before it, if there was one, is to be closed.
    Welcome {
        /// The one before.
        replaced: Option<u64>,
    },
    /// It speaks another version.
    Refused,
}

/// The supervisor, as far as it decides.
#[derive(Debug)]
pub struct Machine {
    id: String,
    boot_id: String,
    idle_bound: Duration,
    jobs: BTreeMap<String, Job>,
    damaged: Vec<String>,
    /// Goes into the marks: no two jobs have the same, whatever their keys.
    births: u64,
    /// Jobs of a supervisor that is gone of which something is left. Their loss is told when it is.
    stuck_before: BTreeSet<String>,
    look_before_at: Option<Duration>,
    /// The connection that said Hello last.
    active: Option<u64>,
    leaving: Option<ShutdownMode>,
    idle_since: Option<Duration>,
    reap_at: Option<Duration>,
    /// When the newest answered heartbeat of each lease group was sent.
    leases: BTreeMap<String, Duration>,
    ends: Ends,
}

impl Machine {
    /// A supervisor that has just become the only one of its state folder.
    pub fn new(begin: Begin, now: Duration) -> Self {
        let mut jobs = BTreeMap::new();
        for record in &begin.records.whole {
            jobs.insert(record.begun.key.clone(), before::job_of(record, &begin.boot_id));
        }
        for ended in begin.records.ends {
            reached!(EndKnownFromItsSlotAlone);
            // Its own record went with the machine; its end was synced.
            jobs.entry(ended.key().to_owned()).or_insert(Job::Ended(ended));
        }
        Self {
            id: begin.id,
            boot_id: begin.boot_id,
            idle_bound: begin.idle_bound,
            jobs,
            damaged: begin.records.damaged,
            births: 0,
            look_before_at: (!begin.stuck.is_empty()).then_some(now),
            stuck_before: begin.stuck,
            active: None,
            leaving: None,
            idle_since: None,
            reap_at: None,
            leases: BTreeMap::new(),
            ends: Ends::default(),
        }
    }

    /// Which boot of the machine it lives in.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The worker's connection, if there is one: events go there.
    pub fn active(&self) -> Option<u64> {
        self.active
    }

    /// All jobs that are not forgotten, by key.
    pub fn jobs(&self) -> &BTreeMap<String, Job> {
        &self.jobs
    }

    /// A connection has said Hello. The newest one is the worker's.
    pub fn greet(&mut self, connection: u64, theirs: u32, own: u32) -> Greeting {
        if theirs != own {
            return Greeting::Refused;
        }
        Greeting::Welcome { replaced: self.active.replace(connection) }
    }

    /// A connection is closed. `now`: its worker forgets nothing any more, so what has ended is synced.
    pub fn gone(&mut self, connection: u64, now: Duration) {
        if self.active == Some(connection) {
            self.active = None;
            self.ends.hurry(now);
        }
    }

    /// A child has ended that may be an orphan.
    pub fn child_ended(&mut self, now: Duration) {
        self.reap_at.get_or_insert(now + REAP_EVERY);
    }

    /// Does what is due. To be called after everything that has come, and at [`Machine::next_at`].
    pub fn tick(&mut self, now: Duration, host: &mut impl Host) {
        let is_due = |live: &&Live| live.wake_at.is_some_and(|at| at <= now);
        let due: Vec<String> = self.lives().filter(is_due).map(|live| live.key.clone()).collect();
        for key in due {
            self.look(&key, now, host);
        }
        if self.look_before_at.is_some_and(|at| at <= now) {
            self.look_at_stuck_before(now, host);
        }
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reap_at = None;
            host.reap_orphans();
        }
        self.sync_ends(now, host);
    }

    /// The earliest moment at which something is to be done without being told.
    pub fn next_at(&self) -> Option<Duration> {
        let idle_at = self.idle_since.map(|since| since.saturating_add(self.idle_bound));
        let jobs = self.lives().filter_map(|live| live.wake_at);
        jobs.chain(self.reap_at).chain(self.look_before_at).chain(self.ends.next_at()).chain(idle_at).min()
    }

    /// Whether it goes on. To be asked after each [`Machine::tick`].
    pub fn course(&mut self, now: Duration, host: &mut impl Host) -> Course {
        if !self.may_leave(now) {
            return Course::Stay;
        }
        // What syncs them outlives this process.
        self.ends.hurry(now);
        self.sync_ends(now, host);
        Course::Leave
    }

    fn may_leave(&mut self, now: Duration) -> bool {
        let has_jobs = self.lives().next().is_some();
        match self.leaving {
            Some(ShutdownMode::WhenIdle) => return !has_jobs,
            // What can't be killed is on record; the next supervisor looks for it.
            Some(ShutdownMode::StopJobs) => return self.lives().all(Live::is_stuck),
            None => {}
        }
        if has_jobs || self.active.is_some() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now >= since.saturating_add(self.idle_bound)
    }

    fn lives(&self) -> impl Iterator<Item = &Live> {
        self.jobs.values().filter_map(Job::live)
    }

    fn live_mut(&mut self, key: &str) -> Option<&mut Live> {
        match self.jobs.get_mut(key) {
            Some(Job::Live(live)) => Some(live),
            Some(Job::Ended(_) | Job::Lost(_)) | None => None,
        }
    }
}
