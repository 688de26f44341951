//! What the supervisor says: events of jobs, and after each (re)connection what it knows of every job,
//! against which the attempts are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_supervisor::wire::{Event as Said, Exited, LostWhy, Refusal, Request, StartFailed, Step, StopReason};

use super::health::is_probe;
use super::{Dispatcher, FromSupervisor, Timer, Trouble};
use crate::attempt::machine::{Event, Over, State, Under};
use crate::attempt::{Announced, Origin, Requested, key_of, of_key};
use crate::collect::{self, Collected};
use crate::error::is_for_want_of_room;
use bowline_core::message::JobEnd;

/// Why an attempt is lost that its supervisor stopped because its server was away.
const STOPPED_AFTER: &str = "stopped by its supervisor (stop_after): no heartbeat was answered for too long";

/// What is known of the supervisor.
#[derive(Debug, Default)]
pub(super) struct Supervision {
    /// Attempts that it has told of since it was connected.
    reported: BTreeSet<AttemptRef>,
    phase: Phase,
    ever_listed: bool,
    /// Processes that cannot be killed.
    stuck: BTreeMap<AttemptRef, Vec<u32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Away,
    Listing,
    Listed,
}

impl Supervision {
    /// Whether it has told of every job at least once since this process began.
    pub(super) fn is_known(&self) -> bool {
        self.ever_listed
    }
}

impl Dispatcher {
    pub(super) fn on_supervisor(&mut self, said: FromSupervisor) {
        match said {
            FromSupervisor::Up { pid } => {
                tracing::info!(pid, "supervisor connected");
                self.supervision.phase = Phase::Listing;
                self.supervision.reported.clear();
                self.supervision.stuck.clear();
            }
            FromSupervisor::Down(why) => {
                tracing::warn!(why, "no connection to the supervisor");
                self.supervision.phase = Phase::Away;
                self.trouble(Trouble::Supervisor, format!("the supervisor is not there: {why}"));
            }
            FromSupervisor::Silent { pid, length } => {
                tracing::error!(pid, ?length, "the supervisor does not answer");
                let why = format!(
                    "the supervisor (process {pid}) has not answered for {} s: continue it (kill -CONT {pid}), or kill it and lose its jobs",
                    length.as_secs()
                );
                self.trouble(Trouble::Supervisor, why);
            }
            FromSupervisor::Answers => {
                if self.supervision.phase == Phase::Listed {
                    self.cleared(Trouble::Supervisor);
                }
            }
            FromSupervisor::Event(event) => self.on_job(event),
        }
    }

    fn on_job(&mut self, said: Said) {
        if let Some(key) = said.key().filter(|key| is_probe(key)).map(str::to_owned) {
            return self.on_probe(&key, &said);
        }
        match said {
            Said::Starting { key } => {
                self.known_job(&key);
            }
            Said::Started { key, .. } => {
                if let Some(attempt) = self.known_job(&key) {
                    self.happen(attempt, Event::JobStarted);
                }
            }
            Said::StartFailed(failed) => self.start_failed(&failed),
            Said::Exited(exited) => self.exited(&exited),
            Said::Lost { key, why } => {
                if let Some(attempt) = self.known_end(&key) {
                    tracing::warn!(%attempt, ?why, "a job is gone, and nobody knows how it ended");
                    self.lost_because(
                        attempt,
                        match why {
                            LostWhy::SupervisorDied => "the supervisor died, and its jobs with it",
                            LostWhy::Rebooted => "the machine was started anew",
                        },
                    );
                }
            }
            Said::Listed { live, ended, damaged } => {
                if !damaged.is_empty() {
                    tracing::error!(?damaged, "the supervisor has records that cannot be read");
                }
                tracing::debug!(live, ended, "the supervisor has told of every job");
                self.listed();
            }
            Said::Stuck { key, pids } => {
                tracing::error!(job = key, ?pids, "processes of a job cannot be killed: they keep their slot");
                if let Some(attempt) = of_key(&key) {
                    self.supervision.stuck.insert(attempt, pids);
                    self.say_heartbeat();
                }
            }
            Said::Refused { key, why } => self.refused(key.as_deref(), why),
            Said::Pong => {}
        }
    }

    /// The attempt of a living job. A job that nobody here knows is stopped.
    fn known_job(&mut self, key: &str) -> Option<AttemptRef> {
        let attempt = self.reported(key);
        if attempt.is_none() && !mutant::is(Mutant::UnknownJobLeftRunning) {
            probe::reached(Path::JobUnknownToWorker);
            tracing::warn!(job = key, "the supervisor has a job that this worker knows nothing of: stopping it");
            self.ask(Request::Kill { key: key.to_owned(), grace: Duration::ZERO });
        }
        attempt
    }

    /// The attempt of a job that is over. One that nobody here waits for is forgotten.
    fn known_end(&mut self, key: &str) -> Option<AttemptRef> {
        if of_key(key).is_some_and(|attempt| self.supervision.stuck.remove(&attempt).is_some()) {
            self.say_heartbeat();
        }
        let attempt = self.reported(key);
        if attempt.is_none() {
            // Its end is in the journal, or handed to it just now: the turn that does so is done before
            // anything else can send this.
            let handed_over = of_key(key).and_then(|attempt| self.attempts.get(&attempt));
            let may_go = handed_over.is_none_or(|known| known.origin == Origin::Settled);
            if may_go {
                self.ask(Request::Forget { key: key.to_owned() });
            }
        }
        attempt
    }

    /// Processes of jobs that were told to stop, and that cannot be killed.
    pub(super) fn stuck(&self) -> &BTreeMap<AttemptRef, Vec<u32>> {
        &self.supervision.stuck
    }

    /// The attempt that the supervisor tells of, where it has not ended here.
    fn reported(&mut self, key: &str) -> Option<AttemptRef> {
        let attempt = of_key(key)?;
        self.attempts.get(&attempt).filter(|known| known.state != State::Ended)?;
        self.supervision.reported.insert(attempt);
        self.adopt(attempt);
        Some(attempt)
    }

    /// A job of an earlier process of this worker goes on here.
    fn adopt(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.origin != Origin::Journal {
            return;
        }
        // Its end will be this process's to journal, before the supervisor may forget it.
        known.origin = Origin::Handed;
        let before = std::mem::replace(&mut known.state, State::Starting);
        self.weigh(attempt, before, State::Starting);
        self.open_bulk(attempt);
    }

    fn exited(&mut self, exited: &Exited) {
        let Some(attempt) = self.known_end(&exited.key) else { return };
        if exited.leftovers > 0 {
            tracing::info!(%attempt, leftovers = exited.leftovers, "processes that the job left behind were killed");
        }
        let over = match exited.stopped {
            None => Over::ByItself,
            Some(StopReason::RunLimit) => Over::RunLimit,
            Some(StopReason::Asked) => Over::Asked,
            Some(StopReason::Shutdown | StopReason::Other) => Over::SupervisorLeft,
            Some(StopReason::LeaseExpired) => {
                tracing::warn!(%attempt, "its server was away for longer than its stop_after: the supervisor stopped it");
                return self.lost_because(attempt, STOPPED_AFTER);
            }
        };
        // Told again while it is collected (after a new connection): what was collected stays.
        if let Some(known) = self.attempts.get_mut(&attempt).filter(|known| known.state != State::Collecting) {
            known.outcome = Some(Collected::bare(collect::job_end(exited)));
            if over == Over::SupervisorLeft {
                known.why = "the supervisor was told to leave";
            }
        }
        self.happen(attempt, Event::JobOver(over));
    }

    fn lost_because(&mut self, attempt: AttemptRef, why: &'static str) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.why = why;
        }
        self.happen(attempt, Event::JobLost);
    }

    fn start_failed(&mut self, failed: &StartFailed) {
        let Some(attempt) = self.known_end(&failed.key) else { return };
        if is_for_want_of_room(&std::io::Error::from_raw_os_error(failed.errno)) && failed.step != Step::Exec {
            self.no_room_for(attempt, format!("the worker's disk is full: {} failed", failed.step));
        } else if let Some(known) = self.attempts.get_mut(&attempt) {
            let error = collect::start_failure(&known.work, failed);
            known.outcome = Some(Collected::bare(JobEnd::Error(error)));
        }
        self.happen(attempt, Event::StartFailed);
    }

    fn refused(&mut self, key: Option<&str>, why: Refusal) {
        let attempt = key.and_then(of_key);
        match why {
            // The job is there: what it does is told.
            Refusal::KeyInUse => self.ask(Request::List),
            // Only a kill can have asked: there is no job to be killed.
            Refusal::UnknownKey => {
                if let Some(attempt) = attempt {
                    self.happen(attempt, Event::JobLost);
                }
            }
            Refusal::StillAlive => tracing::debug!(?key, "a living job is not forgotten"),
            // The connection breaks next; what was not started is started by the next supervisor.
            Refusal::NotUnderstood => tracing::warn!(?key, "the supervisor does not know a request"),
            Refusal::Leaving => tracing::warn!(?key, "the supervisor is leaving and starts nothing more"),
        }
    }

    /// Everything that the supervisor knows has been told: what it did not name has no job.
    fn listed(&mut self) {
        self.supervision.phase = Phase::Listed;
        self.cleared(Trouble::Supervisor);
        let unnamed: Vec<_> = self
            .attempts
            .iter()
            .filter(|(attempt, known)| known.request == Requested::No && !self.supervision.reported.contains(attempt))
            .map(|(attempt, known)| (*attempt, known.state, known.announced))
            .collect();
        for (attempt, state, announced) in unnamed {
            match state {
                State::Queued if announced == Announced::Yes => {
                    self.adopt(attempt);
                    self.happen(attempt, Event::JobLost);
                }
                State::Starting => self.start_again(attempt),
                State::Running => self.happen(attempt, Event::JobLost),
                // The order to start it may still lie behind the question that was just answered. It is killed below, behind
                // that order: the answer is its end, or that there is none.
                State::Queued
                | State::Stopping { under: Under::Job, .. }
                | State::Preparing
                | State::Stopping { under: Under::Preparation, .. }
                | State::Collecting
                | State::Ended => {}
            }
        }
        self.probe_anew();
        self.kill_what_is_stopping();
        if !self.supervision.ever_listed {
            self.supervision.ever_listed = true;
            self.unbegun_weigh_less();
            self.later(Duration::ZERO, Timer::Reconnect);
        }
    }

    /// Of what the journal holds, the supervisor has named all that has begun: the others only wait.
    fn unbegun_weigh_less(&mut self) {
        let queued: Vec<_> = self
            .attempts
            .iter()
            .filter(|(_, known)| known.state == State::Queued)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in queued {
            self.weigh(attempt, State::Queued, State::Queued);
        }
    }

    /// The order to start it was lost with the connection.
    fn start_again(&mut self, attempt: AttemptRef) {
        if let Some(start) = self.attempts.get(&attempt).and_then(|known| known.start.clone()) {
            probe::reached(Path::StartOrderedAgain);
            self.ask(Request::Start(start));
        }
    }

    /// An order to kill may have been lost with the connection: it may be given again.
    fn kill_what_is_stopping(&mut self) {
        let stopping = |state| matches!(state, State::Stopping { under: Under::Job, .. });
        let attempts: Vec<_> =
            self.attempts.iter().filter(|(_, known)| stopping(known.state)).map(|(attempt, _)| *attempt).collect();
        for attempt in attempts {
            probe::reached(Path::KillOrderedAgain);
            self.kill(attempt);
        }
    }

    /// Its end is in the journal: the supervisor's record of it may go.
    pub(super) fn forget_job(&mut self, attempt: AttemptRef) {
        self.ask(Request::Forget { key: key_of(attempt) });
    }
}
