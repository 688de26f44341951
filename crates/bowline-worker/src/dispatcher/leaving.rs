//! Leaving on purpose: what becomes of the attempts, and when the process may end.

use bowline_core::id::AttemptRef;
use bowline_core::message::FromWorker;
use bowline_supervisor::wire::{Request, ShutdownMode};

use super::{Dispatcher, Timer};
use crate::attempt::machine::{Event, State, Then};
use crate::config::{LEAVE_WITHIN, OnTerm, WorkerExit};

/// How a worker leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its attempts run to their end.
    Finish,
    /// Its attempts are stopped and given back.
    Release,
    /// Its identity is another's.
    Fenced(String),
}

/// See [`Mode`].
#[derive(Debug)]
pub(super) struct Leaving {
    mode: Mode,
}

impl Leaving {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode }
    }
}

impl Dispatcher {
    /// Told to stop: as the configuration says.
    pub(super) fn leave(&mut self) {
        tracing::info!(on_term = ?self.config.on_term, "told to stop");
        match self.config.on_term {
            OnTerm::Handoff => {
                self.say_timely(FromWorker::Bye { why: "the worker stops; its jobs run on".to_owned() });
                self.exit = Some(WorkerExit::Stopped);
            }
            // What became of the jobs is not known yet: the next start tells, from their records.
            OnTerm::Finish { .. } | OnTerm::Release if !self.supervision.is_known() => self.depart(WorkerExit::Stopped),
            OnTerm::Finish { within } => {
                self.leaving = Some(Leaving::new(Mode::Finish));
                self.give_back(|state| state == State::Queued);
                self.timers.after(within, Timer::Leave);
            }
            OnTerm::Release => self.release_all(),
        }
    }

    fn release_all(&mut self) {
        self.leaving = Some(Leaving::new(Mode::Release));
        self.give_back(|_| true);
        self.timers.after(LEAVE_WITHIN, Timer::Leave);
    }

    fn give_back(&mut self, which: impl Fn(State) -> bool) {
        let attempts: Vec<AttemptRef> =
            self.attempts.iter().filter(|(_, known)| which(known.state)).map(|(attempt, _)| *attempt).collect();
        for attempt in attempts {
            if let Some(known) = self.attempts.get_mut(&attempt) {
                known.why = "the worker was told to stop";
            }
            self.happen(attempt, Event::Stop(Then::GiveBack));
        }
    }

    /// The time to leave in order is over.
    pub(super) fn leave_by_passed(&mut self) {
        match self.leaving.as_ref().map(|leaving| leaving.mode.clone()) {
            None => {}
            Some(Mode::Finish) => self.release_all(),
            Some(Mode::Release) => {
                tracing::warn!(
                    attempts = self.attempts.len(),
                    unacknowledged = self.outbox.len(),
                    "leaving although not everything is delivered; the next start goes on with it"
                );
                self.depart(WorkerExit::Stopped);
            }
            Some(Mode::Fenced(why)) => self.depart(WorkerExit::Fenced { why }),
        }
    }

    /// Leaves as soon as nothing holds it here.
    pub(super) fn settle_leaving(&mut self) {
        let Some(leaving) = &self.leaving else { return };
        let jobs_left = self.attempts.values().any(|known| known.state != State::Ended);
        if jobs_left || self.exit.is_some() {
            return;
        }
        match leaving.mode.clone() {
            Mode::Fenced(why) => self.depart(WorkerExit::Fenced { why }),
            Mode::Finish | Mode::Release => {
                let delivered = self.attempts.is_empty() && self.outbox.len() == 0;
                // What is not delivered lies in the journal: no need to wait for a server that is not there.
                if delivered || self.is_cut_off() {
                    self.depart(WorkerExit::Stopped);
                }
            }
        }
    }

    fn depart(&mut self, exit: WorkerExit) {
        let why = match &exit {
            WorkerExit::Stopped => "the worker stops".to_owned(),
            WorkerExit::Fenced { why } => why.clone(),
        };
        self.say_timely(FromWorker::Bye { why });
        // Whatever runs still is stopped with it.
        self.jobs.send(Request::Shutdown(ShutdownMode::StopJobs));
        self.exit = Some(exit);
    }
}
