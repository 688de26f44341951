//! The driver of the attempts' machine: feeds it what happens, and does what it says.

use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{Finished, FromWorker, JobEnd};
use bowline_core::mutant::{self, Mutant};
use bowline_core::probe::{self, Path};
use bowline_core::spec::Action;
use bowline_core::state::TimeoutKind;
use bowline_protocol::WorkerMessage;
use bowline_supervisor::wire::{Request, Start};

use super::{Action as Wanted, Dispatcher, Plan, Timer, Trouble, Unprepared};
use crate::attempt::machine::{End, Event, Over, State, Step, Then};
use crate::attempt::{Ahead, Announced, Attempt, Origin, Requested, key_of};
use crate::collect::Collected;
use crate::config::GRACE;
use crate::journal::{After, Op};
use crate::shares::Weight;
use crate::state_dir::jobs;

/// So many are made ready before there is a slot for them.
const AHEAD_MAX: usize = 8;
/// Before the supervisor has told of its jobs nobody knows what is set up: it is looked again after so long.
const SETUP_AGAIN: Duration = Duration::from_secs(1);

impl Dispatcher {
    /// It is journaled: it may begin when there is a slot.
    pub(super) fn may_begin(&mut self, attempt: AttemptRef) {
        if self.attempts.get(&attempt).is_some_and(|known| known.state == State::Queued) {
            self.queue.push_back(attempt);
        }
    }

    /// Begins what waits for a slot, in order, and makes ready what comes next.
    pub(super) fn begin_queued(&mut self) {
        self.begin_all();
        self.prepare_ahead();
    }

    /// While short jobs take all slots the next ones are made ready: when a slot is free they have only to be started.
    fn prepare_ahead(&mut self) {
        let can_be_called_for = self.leaving.is_none() && self.unfit().is_none() && !self.outbox.is_full();
        if !can_be_called_for || !self.demand.is_quick() || !self.supervision.is_known() {
            return;
        }
        let most = (self.config.room.slots as usize).min(AHEAD_MAX);
        for attempt in self.queue.iter().take(most).copied().collect::<Vec<_>>() {
            let is_next = |known: &Attempt| {
                known.state == State::Queued
                    && matches!(known.ahead, Ahead::No)
                    && matches!(known.work.action, Action::Command(_))
                    // A secret is as it is when the job begins.
                    && known.work.secrets.is_empty()
            };
            if !self.attempts.get(&attempt).is_some_and(is_next) {
                continue;
            }
            if let Some(plan) = self.plan(attempt)
                && let Some(known) = self.attempts.get_mut(&attempt)
            {
                known.ahead = Ahead::UnderWay;
                self.want(Wanted::Prepare(attempt, Box::new(plan)));
            }
        }
    }

    fn begin_all(&mut self) {
        if self.is_handing_over() {
            return;
        }
        while let Some(attempt) = self.queue.front().copied() {
            // What begins must be able to tell its end.
            if self.outbox.is_full() {
                return;
            }
            let Some(known) = self.attempts.get(&attempt).filter(|known| known.state == State::Queued) else {
                self.queue.pop_front();
                continue;
            };
            let unfit = self.unfit();
            let may_begin = || self.share.may_begin(&known.claim) || mutant::is(Mutant::SlotsNotCounted);
            if unfit.is_none() && !may_begin() {
                return;
            }
            self.queue.pop_front();
            match unfit {
                None => self.happen(attempt, Event::Begin),
                Some(why) => {
                    probe::reached(Path::UnfitWithQueue);
                    self.give_back_queued(attempt, why);
                }
            }
        }
        self.share.nothing_waits();
    }

    /// What is here but has not begun, while this worker is not fit for it.
    fn give_back_queued(&mut self, attempt: AttemptRef, why: &'static str) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.why = why;
        }
        self.happen(attempt, Event::Stop(Then::GiveBack));
    }

    /// Moves an attempt's machine, and does what follows.
    pub(super) fn happen(&mut self, attempt: AttemptRef, event: Event) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        let before = known.state;
        let (next, steps, _) = before.on(event);
        notice(before, event);
        known.state = next;
        tracing::debug!(%attempt, ?before, ?event, ?next, "attempt");
        self.weigh(attempt, before, next);
        for step in steps {
            self.act(attempt, step);
        }
    }

    /// Counts what an attempt takes, where that has changed.
    pub(super) fn weigh(&mut self, attempt: AttemptRef, before: State, next: State) {
        let is_known = self.supervision.is_known() || mutant::is(Mutant::JournaledBegunUnasked);
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        let weight = match known.origin {
            // Its job may live, and what killed this worker's process may have left it to a supervisor that is
            // still clearing up: another server's work waits until it is known.
            Origin::Journal if next == State::Queued && !is_known => Weight::Begun,
            Origin::Journal | Origin::Handed | Origin::Settled => weight(next),
        };
        let was = std::mem::replace(&mut known.weight, weight);
        self.share.moved(&known.claim, (was, weight), self.now.at);
        match (has_begun(before), has_begun(next)) {
            (false, true) => {
                known.begun = Some(self.now.at);
                self.begun += 1;
            }
            (true, false) => self.begun = self.begun.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
        self.outbox.keep_room(self.begun);
    }

    fn act(&mut self, attempt: AttemptRef, step: Step) {
        match step {
            Step::Prepare => self.prepare(attempt),
            Step::Launch => self.launch(attempt),
            Step::Kill => self.kill(attempt),
            Step::Announce => self.announce(attempt),
            Step::Collect => self.collect(attempt),
            Step::End(end) => self.end(attempt, end),
        }
    }

    fn plan(&self, attempt: AttemptRef) -> Option<Plan> {
        let known = self.attempts.get(&attempt)?;
        Some(Plan {
            handover: known.handover.clone(),
            work: known.work.clone(),
            folder: known.folder.clone(),
            worker: self.name.as_str().to_owned(),
            server: self.config.server.clone(),
            base_env: self.job_env.clone(),
            secrets: self.config.secrets.clone(),
        })
    }

    fn prepare(&mut self, attempt: AttemptRef) {
        let Some(plan) = self.plan(attempt) else { return };
        match &plan.work.action {
            Action::Command(_) => self.prepare_command(attempt, plan),
            // They have nothing to prepare.
            Action::Noop | Action::Http(_) => self.happen(attempt, Event::Prepared),
            Action::Wait | Action::Sleep(_) => {
                let name = plan.work.action.name();
                self.failed(attempt, Collected::failure(format!("a worker has no driver for the action `{name}`")));
                self.happen(attempt, Event::PrepareFailed);
            }
        }
    }

    fn prepare_command(&mut self, attempt: AttemptRef, plan: Plan) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        match std::mem::replace(&mut known.ahead, Ahead::No) {
            Ahead::Ready(start) => {
                probe::reached(Path::BegunMadeReady);
                self.prepared(attempt, Ok(start));
            }
            // It will be said that it is, as if it had been asked for now.
            Ahead::UnderWay => known.ahead = Ahead::UnderWay,
            Ahead::No | Ahead::Failed => self.want(Wanted::Prepare(attempt, Box::new(plan))),
        }
    }

    fn failed(&mut self, attempt: AttemptRef, outcome: Collected) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.outcome = Some(outcome);
        }
    }

    pub(super) fn prepared(&mut self, attempt: AttemptRef, outcome: Result<Option<Box<Start>>, Unprepared>) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if let Ahead::UnderWay = std::mem::replace(&mut known.ahead, Ahead::No) {
            match known.state {
                State::Queued => {
                    known.ahead = outcome.map_or(Ahead::Failed, Ahead::Ready);
                    return;
                }
                // Called back or stopped meanwhile: now its folder may go.
                State::Ended => {
                    self.ending.insert(attempt);
                    return;
                }
                // Its slot came first.
                State::Preparing | State::Stopping { .. } | State::Starting | State::Running | State::Collecting => {}
            }
        }
        match outcome {
            Ok(start) => {
                known.start = start;
                self.happen(attempt, Event::Prepared);
            }
            Err(Unprepared::NoRoom(why)) => {
                self.no_room_for(attempt, why);
                self.happen(attempt, Event::PrepareFailed);
            }
            Err(Unprepared::Failed(why)) => {
                known.outcome = Some(Collected::failure(why));
                self.happen(attempt, Event::PrepareFailed);
            }
        }
    }

    /// The disk is full: that is this worker's trouble, not the task's, which is given back before it began.
    pub(super) fn no_room_for(&mut self, attempt: AttemptRef, why: String) {
        self.trouble(Trouble::Disk, why);
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.why = "the worker's disk is full";
        }
        self.happen(attempt, Event::Stop(Then::GiveBack));
    }

    fn launch(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        match &known.work.action {
            Action::Command(_) => {
                if let Some(start) = known.start.clone() {
                    self.ask(Request::Start(start));
                }
                self.open_bulk(attempt);
            }
            Action::Http(request) => {
                let (request, limit) = (Box::new(request.clone()), known.handover.assign.run_timeout);
                known.request = Requested::Yes;
                self.want(Wanted::Perform(attempt, request, limit));
                self.happen(attempt, Event::JobStarted);
            }
            Action::Noop | Action::Wait | Action::Sleep(_) => {
                known.outcome = Some(Collected::bare(JobEnd::Success));
                self.happen(attempt, Event::JobStarted);
                self.happen(attempt, Event::JobOver(Over::ByItself));
            }
        }
    }

    /// Asks for an attempt's job to be stopped. May be asked again.
    pub(super) fn kill(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.request == Requested::Yes {
            known.request = Requested::No;
            self.want(Wanted::Abort(attempt));
            self.happen(attempt, Event::JobOver(Over::Asked));
        } else {
            let grace = known.work.grace.map_or(GRACE, |span| span.0);
            self.ask(Request::Kill { key: key_of(attempt), grace });
        }
    }

    fn announce(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.announced == Announced::No {
            known.announced = Announced::Yes;
            known.start = None;
            self.batch.ops.push(Op::MarkStarted { attempt });
            self.say(attempt, WorkerMessage::Engine(FromWorker::Started(attempt)));
        }
    }

    fn collect(&mut self, attempt: AttemptRef) {
        let Some(plan) = self.plan(attempt) else { return };
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        match &known.work.action {
            Action::Command(_) => {
                let how = known.outcome.take().map_or(JobEnd::Success, |outcome| outcome.how);
                self.want(Wanted::Collect(attempt, Box::new(plan), how));
            }
            Action::Noop | Action::Http(_) | Action::Wait | Action::Sleep(_) => self.happen(attempt, Event::Collected),
        }
    }

    /// An `http` action has its answer.
    pub(super) fn answered(&mut self, attempt: AttemptRef, collected: Collected) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        known.outcome = Some(collected);
        known.request = Requested::No;
        self.happen(attempt, Event::JobOver(Over::ByItself));
    }

    /// Records an attempt's end: from here on it is to be delivered.
    fn end(&mut self, attempt: AttemptRef, end: End) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        known.start = None;
        let (outcome, why, begun) = (known.outcome.take(), known.why, known.begun);
        if let Some(begun) = begun {
            self.demand.took(self.now.at.since(begun));
        }
        match end {
            End::Collected | End::Failed => {
                let lost = || Collected::failure("the worker does not know how it ended");
                self.finish(attempt, outcome.unwrap_or_else(lost));
            }
            End::SetupTimeout => self.finish(attempt, Collected::bare(JobEnd::Timeout(TimeoutKind::Setup))),
            End::Stopped => self.finish(attempt, Collected::bare(JobEnd::Stopped)),
            End::Lost if mutant::is(Mutant::LostSaidSucceeded) => {
                self.finish(attempt, Collected::bare(JobEnd::Success));
            }
            End::Lost => self.lost(attempt, why),
            End::ReleasedUnstarted => self.release(attempt, false, why),
            End::ReleasedStarted => self.release(attempt, true, why),
            End::Nothing => {
                self.let_go(attempt);
                self.say_nothing(attempt);
            }
        }
        self.batch.ops.push(Op::MarkEnded { attempt });
        self.batch.after.push(After::Forget(attempt));
        if mutant::is(Mutant::JobForgottenBeforeJournaled) {
            self.forget_job(attempt);
        }
        self.logs_are_over(attempt);
        self.drop_files(attempt);
        self.ending.insert(attempt);
    }

    pub(super) fn finish(&mut self, attempt: AttemptRef, collected: Collected) {
        if mutant::is(Mutant::ResultWaitsForItsLog)
            && let Some(known) = self.attempts.get_mut(&attempt)
            && known.logs.iter().any(|log| !log.is_delivered())
        {
            known.outcome = Some(collected);
            return;
        }
        let mut end = Finished { attempt, how: collected.how, result: collected.result };
        let is_torn = |log: &crate::logs::LogMark| log.acked > 0 && !log.is_delivered();
        if mutant::is(Mutant::MissingLogFailsItsResult)
            && self.attempts.get(&attempt).is_some_and(|known| known.logs.iter().any(is_torn))
        {
            end.how = Collected::failure("its log could not be kept").how;
        }
        self.say(attempt, WorkerMessage::Engine(FromWorker::Finished(end)));
    }

    fn release(&mut self, attempt: AttemptRef, started: bool, why: &str) {
        let why = if why.is_empty() { "its job is gone, and nobody knows how it ended" } else { why };
        let released = FromWorker::Released { attempt, started, why: why.to_owned() };
        self.say(attempt, WorkerMessage::Engine(released));
    }

    /// Nobody knows how its job ended, and none of its processes is left.
    fn lost(&mut self, attempt: AttemptRef, why: &str) {
        let why = if why.is_empty() { "its job is gone, and nobody knows how it ended" } else { why };
        self.say(attempt, WorkerMessage::Engine(FromWorker::Gone { attempt, why: why.to_owned() }));
    }

    fn say_nothing(&mut self, attempt: AttemptRef) {
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.logs.clear();
        }
    }

    pub(super) fn start_by_passed(&mut self, attempt: AttemptRef) {
        let Some(known) = self.attempts.get_mut(&attempt) else { return };
        if known.state == State::Queued {
            probe::reached(Path::StartByPassed);
            known.why = "the worker had no room to begin it in time";
            self.happen(attempt, Event::Stop(Then::GiveBack));
        }
    }

    pub(super) fn setup_passed(&mut self, attempt: AttemptRef) {
        if !self.supervision.is_known() {
            // Its job may run since long: the supervisor has not told yet.
            return self.later(SETUP_AGAIN, Timer::Setup(attempt));
        }
        let Some(known) = self.attempts.get(&attempt) else { return };
        match known.state {
            State::Queued | State::Preparing | State::Starting => {
                self.happen(attempt, Event::Stop(Then::SetupTimeout));
            }
            State::Running | State::Stopping { .. } | State::Collecting | State::Ended => {}
        }
    }

    /// Lets go of attempts of which nothing is left to be delivered.
    pub(super) fn settle_ended(&mut self) {
        while let Some(attempt) = self.ending.pop_first() {
            let Some(known) = self.attempts.get(&attempt) else { continue };
            let done = known.state == State::Ended
                && !matches!(known.ahead, Ahead::UnderWay)
                && !self.outbox.holds(attempt)
                && known.logs.iter().all(crate::logs::LogMark::is_delivered);
            if done {
                self.attempts.remove(&attempt);
                self.drop_bulk(attempt);
                self.batch.ops.push(Op::DropAttempt { attempt });
                // A process that finds the attempt in the journal finds its log too.
                self.batch.after.push(After::Remove(attempt));
            }
        }
    }

    /// Nothing of it is in the journal any more.
    pub(super) fn remove_folder(&mut self, attempt: AttemptRef) {
        // Handed over again meanwhile: its folder is cleared when it begins.
        if !self.attempts.contains_key(&attempt) {
            self.want(Wanted::Remove(jobs(&self.folder).join(key_of(attempt))));
        }
    }
}

/// Rare ways of an attempt's machine.
fn notice(before: State, event: Event) {
    match (before, event) {
        (State::Stopping { then: Then::GiveBack, .. }, Event::JobOver(Over::ByItself)) => {
            probe::reached(Path::ResultCrossingGiveBack);
        }
        (State::Starting, Event::JobOver(_)) => probe::reached(Path::StartMissed),
        _ => {}
    }
}

/// What an attempt in this state takes.
fn weight(state: State) -> Weight {
    match state {
        State::Stopping { .. } if mutant::is(Mutant::SlotFreedAtKill) => Weight::Nothing,
        State::Queued => Weight::Held,
        State::Preparing | State::Starting | State::Running | State::Stopping { .. } => Weight::Begun,
        State::Collecting | State::Ended => Weight::Nothing,
    }
}

/// Whether its end is still to come, and room is kept for it.
fn has_begun(state: State) -> bool {
    match state {
        State::Queued | State::Ended => false,
        State::Preparing | State::Starting | State::Running | State::Stopping { .. } | State::Collecting => true,
    }
}
