//! Leaving on purpose: what becomes of the attempts, and when the process may end. A drain that the server
//! asks for is the same, but that the worker stays in session unless it is told to exit.
//!
//! | mode | running attempts | it ends |
//! |---|---|---|
//! | finish | run to their end, at most so long; then as release | when the last one is delivered |
//! | release | are stopped and given back | when all that is delivered |
//! | handoff | run on under the supervisor | as soon as nothing is on its way to it any more |
//! | fenced | are stopped, nothing is said of them | when the last one is gone |

use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{Drain, DrainMode, Exit, FromWorker};
use bowline_supervisor::wire::{Request, ShutdownMode};

use super::{Dispatcher, Timer, Told};
use crate::attempt::machine::{Event, State, Then};
use crate::attempt::{Ahead, Requested};
use crate::config::{HANDOFF_WITHIN, LEAVE_WITHIN, OnTerm, WorkerExit};

/// How a worker leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its attempts run to their end.
    Finish,
    /// Its attempts are stopped and given back.
    Release,
    /// Its attempts run on without it. From this moment on (`CLOCK_BOOTTIME`) the server gives it nothing,
    /// once it has answered a heartbeat that left later.
    Handoff {
        /// The moment; `None`: the server has not been told.
        since: Option<Duration>,
    },
    /// Its identity is another's.
    Fenced(String),
}

/// See [`Mode`].
#[derive(Debug)]
pub(super) struct Leaving {
    mode: Mode,
    /// Whether the process ends.
    exit: Exit,
    no: u32,
}

impl Dispatcher {
    /// Told to stop: as the configuration says.
    pub(super) fn leave(&mut self) {
        self.told = Told::Leave;
        tracing::info!(on_term = ?self.config.on_term, server = self.config.server, "told to stop");
        if self.is_fenced() {
            return;
        }
        match self.config.on_term {
            OnTerm::Handoff => self.hand_over_jobs(),
            // What became of the jobs is not known yet: the next start tells, from their records.
            OnTerm::Finish { .. } | OnTerm::Release if !self.supervision.is_known() => self.depart(WorkerExit::Stopped),
            // The server wants them stopped already.
            OnTerm::Finish { .. } if self.leaves_by(&Mode::Release) => self.release_all(Exit::Yes),
            OnTerm::Finish { within } => self.finish_all(Some(within), Exit::Yes),
            OnTerm::Release => self.release_all(Exit::Yes),
        }
    }

    /// Told to stop once more, or at once: nothing is waited for.
    pub(super) fn release_now(&mut self) {
        self.told = Told::Release;
        tracing::info!(server = self.config.server, "told to stop now: giving everything back");
        if self.is_fenced() || self.leaves_by(&Mode::Release) && self.leaving.as_ref().is_some_and(ends) {
            return;
        }
        if self.supervision.is_known() { self.release_all(Exit::Yes) } else { self.depart(WorkerExit::Stopped) }
    }

    /// The server wants it drained.
    pub(super) fn drain(&mut self, drain: Drain) {
        tracing::info!(?drain, server = self.config.server, "the server drains this worker");
        self.config.stats.drained_for_good(drain.exit == Exit::Yes && drain.mode != DrainMode::Handoff);
        if self.is_fenced() || self.is_handing_over() || self.told == Told::Release {
            return;
        }
        // Whoever may send signals here has the last word, but for what is stronger.
        match (drain.mode, self.told) {
            (DrainMode::Release, Told::Nothing) => self.release_all(drain.exit),
            (DrainMode::Release, Told::Leave | Told::Release) => self.release_all(Exit::Yes),
            (DrainMode::Finish, Told::Nothing) => self.finish_all(drain.within, drain.exit),
            (DrainMode::Handoff, Told::Nothing) => self.hand_over_jobs(),
            (DrainMode::Finish | DrainMode::Handoff, Told::Leave | Told::Release) => {}
        }
    }

    /// A new session: the server says anew whether it wants it drained.
    pub(super) fn forget_drain(&mut self) {
        if self.told == Told::Nothing && !self.is_fenced() && !self.is_handing_over() && self.leaving.take().is_some() {
            self.config.stats.drained_for_good(false);
        }
    }

    /// The server lets it take work again; a signal stands.
    pub(super) fn undrain(&mut self) {
        if self.told == Told::Nothing && !self.is_fenced() && self.leaving.take().is_some() {
            self.config.stats.drained_for_good(false);
            tracing::info!(server = self.config.server, "taking work again");
        }
    }

    fn begin_leaving(&mut self, mode: Mode, exit: Exit, within: Option<Duration>) {
        self.leavings = self.leavings.wrapping_add(1);
        if let Some(within) = within {
            self.later(within, Timer::Leave(self.leavings));
        }
        self.leaving = Some(Leaving { mode, exit, no: self.leavings });
    }

    fn finish_all(&mut self, within: Option<Duration>, exit: Exit) {
        self.begin_leaving(Mode::Finish, exit, within);
        self.give_back(|state| state == State::Queued);
    }

    fn release_all(&mut self, exit: Exit) {
        self.begin_leaving(Mode::Release, exit, Some(LEAVE_WITHIN));
        self.give_back(|_| true);
    }

    fn hand_over_jobs(&mut self) {
        // A request that this process makes itself cannot be handed over: it is waited for.
        let requests = self.attempts.values().any(|known| known.request == Requested::Yes);
        let within = if requests { LEAVE_WITHIN } else { HANDOFF_WITHIN };
        self.begin_leaving(Mode::Handoff { since: None }, Exit::Yes, Some(within));
    }

    /// Its identity is another's: what it did is nobody's any more.
    pub(super) fn begin_fenced(&mut self, why: String) {
        self.begin_leaving(Mode::Fenced(why), Exit::Yes, Some(LEAVE_WITHIN));
    }

    fn give_back(&mut self, which: impl Fn(State) -> bool) {
        let attempts: Vec<AttemptRef> =
            self.attempts.iter().filter(|(_, known)| which(known.state)).map(|(attempt, _)| *attempt).collect();
        for attempt in attempts {
            if let Some(known) = self.attempts.get_mut(&attempt)
                && known.why.is_empty()
            {
                known.why =
                    if self.told == Told::Nothing { "the worker is drained" } else { "the worker was told to stop" };
            }
            self.happen(attempt, Event::Stop(Then::GiveBack));
        }
    }

    fn leaves_by(&self, mode: &Mode) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.mode == *mode)
    }

    fn is_fenced(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| matches!(leaving.mode, Mode::Fenced(_)))
    }

    /// Whether its jobs run on without it: it begins nothing more.
    pub(super) fn is_handing_over(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| matches!(leaving.mode, Mode::Handoff { .. }))
    }

    /// The time to leave in order is over.
    pub(super) fn leave_by_passed(&mut self, of: u32) {
        let Some(leaving) = self.leaving.as_ref().filter(|leaving| leaving.no == of) else { return };
        let exit = leaving.exit;
        match leaving.mode.clone() {
            Mode::Finish => self.release_all(exit),
            Mode::Release if exit == Exit::No => {
                let left: Vec<_> = self.attempts.keys().map(ToString::to_string).collect();
                tracing::warn!(?left, "drained, and not everything is gone or delivered yet");
            }
            Mode::Release => {
                tracing::warn!(
                    attempts = self.attempts.len(),
                    unacknowledged = self.outbox.len(),
                    "leaving although not everything is delivered; the next start goes on with it"
                );
                self.depart(WorkerExit::Stopped);
            }
            Mode::Handoff { .. } => {
                self.give_back_requests();
                self.go_and_leave_jobs();
            }
            Mode::Fenced(why) => self.depart(WorkerExit::Fenced { why }),
        }
    }

    /// Leaves as soon as nothing holds it here.
    pub(super) fn settle_leaving(&mut self) {
        let Some(leaving) = &self.leaving else { return };
        if self.exit.is_some() {
            return;
        }
        let jobs_left = || self.attempts.values().any(|known| known.state != State::Ended);
        match leaving.mode.clone() {
            Mode::Fenced(why) if !jobs_left() => self.depart(WorkerExit::Fenced { why }),
            Mode::Finish | Mode::Release if leaving.exit == Exit::Yes && !jobs_left() => {
                let delivered = self.attempts.is_empty() && self.outbox.len() == 0;
                // What is not delivered lies in the journal: no need to wait for a server that is not there.
                if delivered || self.is_cut_off() {
                    self.depart(WorkerExit::Stopped);
                }
            }
            Mode::Handoff { since } => self.settle_handoff(since),
            Mode::Fenced(_) | Mode::Finish | Mode::Release => {}
        }
    }

    /// What the server has sent before it knew must arrive and be journaled: else it would be given back, and
    /// begin anew.
    fn settle_handoff(&mut self, since: Option<Duration>) {
        let (Some(since), false) = (since, self.is_cut_off()) else {
            if self.is_cut_off() {
                return self.settle_work_at_hand();
            }
            // That it takes nothing more was said just now; the answer to this comes after it.
            let now = self.now.boot;
            if self.say_heartbeat()
                && let Some(leaving) = &mut self.leaving
            {
                leaving.mode = Mode::Handoff { since: Some(now) };
            }
            return;
        };
        if self.link.answered_at().is_some_and(|answered| answered >= since) {
            self.settle_work_at_hand();
        }
    }

    /// What this process does itself comes to its end first.
    fn settle_work_at_hand(&mut self) {
        let at_hand = self.attempts.values().any(|known| match known.state {
            State::Preparing | State::Collecting => true,
            State::Queued if matches!(known.ahead, Ahead::UnderWay) => true,
            State::Queued | State::Starting | State::Running | State::Stopping { .. } => {
                known.request == Requested::Yes
            }
            State::Ended => false,
        });
        if !at_hand && self.pending == 0 {
            self.go_and_leave_jobs();
        }
    }

    fn give_back_requests(&mut self) {
        let own: Vec<_> = self
            .attempts
            .iter()
            .filter(|(_, known)| known.request == Requested::Yes)
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in own {
            if let Some(known) = self.attempts.get_mut(&attempt) {
                known.why = "the worker was told to stop";
            }
            self.happen(attempt, Event::Stop(Then::GiveBack));
        }
    }

    fn go_and_leave_jobs(&mut self) {
        self.say_timely(FromWorker::Bye { why: "the worker stops; its jobs run on".to_owned() });
        self.exit = Some(WorkerExit::Stopped);
    }

    fn depart(&mut self, exit: WorkerExit) {
        let why = match &exit {
            WorkerExit::Stopped => "the worker stops".to_owned(),
            WorkerExit::Fenced { why } => why.clone(),
        };
        self.say_timely(FromWorker::Bye { why });
        // Whatever runs still is stopped with it.
        self.ask(Request::Shutdown(ShutdownMode::StopJobs));
        self.exit = Some(exit);
    }
}

fn ends(leaving: &Leaving) -> bool {
    leaving.exit == Exit::Yes
}
