//! What the server says: one handler a kind.

use bowline_core::id::AttemptRef;
use bowline_core::message::{Assured, Finished, FromWorker, JobEnd, StopWhy, ToWorker, Verdict};
use bowline_core::mutant::{self, Mutant};
use bowline_core::name::WorkerName;
use bowline_core::probe::{self, Path};
use bowline_core::spec::Action;
use bowline_core::state::JobError;
use bowline_protocol::{Handover, ServerMessage, WorkerMessage, limits};
use prost::Message as _;

use super::{Action as Wanted, Dispatcher, Timer};
use crate::attempt::machine::{Event, State, Then};
use crate::attempt::{Ahead, Attempt, Origin, key_of};
use crate::journal::{After, Op};
use crate::pool::chain;
use crate::state_dir::jobs;

impl Dispatcher {
    pub(super) fn on_server(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Assign(handover) => self.assigned(*handover),
            ServerMessage::LogAck(_) => tracing::debug!("a log is acknowledged on the wrong connection"),
            ServerMessage::Engine(message) => match message {
                ToWorker::Welcome { epoch, name, incarnation, generation, heartbeat, verdicts, left } => {
                    tracing::info!(%epoch, %incarnation, %generation, worker = %name, "welcome");
                    self.incarnation = incarnation;
                    self.named(name);
                    self.in_the_way.clear();
                    if !left.is_empty() {
                        tracing::info!(?left, "what the process before left under this identity");
                    }
                    self.welcomed(heartbeat);
                    self.led_by(generation);
                    self.put_seen();
                    for (attempt, verdict) in verdicts {
                        self.judged(attempt, verdict);
                    }
                }
                ToWorker::TryLater { why, left } => self.try_later(&why, &left),
                ToWorker::Fenced { why } => self.fenced(why),
                ToWorker::HeartbeatAck => self.heartbeat_answered(),
                ToWorker::Assign(assign) => {
                    tracing::error!(attempt = %assign.attempt, "an assignment came without its work");
                }
                ToWorker::Cancel { attempt, why } => self.cancelled(attempt, why),
                ToWorker::Pause { paused } => tracing::info!(?paused, "the server says whether it hands over more"),
                ToWorker::Drain(drain) => self.drain(drain),
                ToWorker::Undrain => self.undrain(),
                ToWorker::Ack { attempt, of } => self.acknowledged(attempt, &of),
                ToWorker::Verdict { attempt, verdict } => self.judged(attempt, verdict),
            },
        }
    }

    /// The server has said which identity it has.
    fn named(&mut self, name: WorkerName) {
        if self.config.pool.is_some() {
            self.want(Wanted::NoteName(name.clone()));
        }
        if self.name != name {
            // A job is told the name, and these were made ready with the one before.
            for known in self.attempts.values_mut().filter(|known| matches!(known.ahead, Ahead::Ready(_))) {
                known.ahead = Ahead::No;
            }
        }
        self.name = name;
    }

    /// An attempt is handed over. It is journaled first; see [`Dispatcher::may_begin`].
    fn assigned(&mut self, handover: Handover) {
        let attempt = handover.assign.attempt;
        if !self.link.is_of_session(handover.assign.session) && !mutant::is(Mutant::OldAssignmentTaken) {
            tracing::warn!(%attempt, "an assignment of another session is dropped");
            return;
        }
        if self.is_over(attempt) {
            // Its store was put back, and gives an old name to what nobody has begun: that gets a name of its own.
            return self.give_back_unstarted(attempt, "its name is that of an attempt that has ended here");
        }
        if self.attempts.contains_key(&attempt) || self.outbox.holds(attempt) {
            probe::reached(Path::AssignedAgain);
            tracing::debug!(%attempt, "assigned again");
            return;
        }
        self.stats.attempt_taken();
        // What comes while jobs are handed over is for the next process.
        let leaves = self.leaving.is_some() && !self.is_handing_over();
        if self.leaving.is_some() {
            probe::reached(if leaves { Path::AssignedWhileLeaving } else { Path::AssignedWhileHandingOver });
        }
        if self.holds_too_many() || leaves || self.outbox.is_full() {
            self.give_back_unstarted(attempt, "the worker has no room for it, or is leaving");
            return;
        }
        // It was handed over before the server knew of the trouble.
        if let Some(why) = self.unfit() {
            self.give_back_unstarted(attempt, why);
            return;
        }
        let work = match handover.work() {
            Ok(work) => work,
            Err(error) => {
                let message = format!("the worker cannot read this work: {}", chain(&error));
                self.finish_at_once(attempt, JobEnd::Error(JobError { message, ..JobError::default() }));
                return;
            }
        };
        let folder = jobs(&self.folder).join(key_of(attempt));
        let fresh = Attempt::new(handover.clone(), work, folder, Origin::Handed);
        if fresh.work.action == Action::Noop && self.queue.is_empty() && self.share.may_begin(&fresh.claim) {
            self.do_nothing(attempt);
            return;
        }
        let limits = (handover.assign.start_by, handover.assign.setup_timeout);
        let assign = ServerMessage::Assign(Box::new(handover)).to_wire().encode_to_vec();
        self.batch.ops.push(Op::PutAttempt { attempt, assign });
        self.batch.after.push(After::Begin(attempt));
        self.later(limits.0, Timer::StartBy(attempt));
        self.later(limits.1, Timer::Setup(attempt));
        self.attempts.insert(attempt, fresh);
        self.weigh(attempt, State::Ended, State::Queued);
        if mutant::is(Mutant::BegunBeforeJournaled) {
            self.may_begin(attempt);
        }
    }

    /// A no-op: done as soon as both its messages are durable.
    pub(super) fn do_nothing(&mut self, attempt: AttemptRef) {
        self.say(attempt, WorkerMessage::Engine(FromWorker::Started(attempt)));
        self.finish_at_once(attempt, JobEnd::Success);
        self.demand.took(std::time::Duration::ZERO);
    }

    fn finish_at_once(&mut self, attempt: AttemptRef, how: JobEnd) {
        let end = Finished { attempt, how, result: None };
        self.say(attempt, WorkerMessage::Engine(FromWorker::Finished(end)));
    }

    fn give_back_unstarted(&mut self, attempt: AttemptRef, why: &str) {
        let released = FromWorker::Released { attempt, started: false, why: why.to_owned() };
        self.say(attempt, WorkerMessage::Engine(released));
    }

    /// Whether more is here than any server may hand over. What has ended, and of which only the log is under way, takes no
    /// room: however long the server is without a place for logs, work goes on.
    fn holds_too_many(&self) -> bool {
        let most = (self.config.room.slots.saturating_add(limits::PREFETCH_MAX)) as usize;
        let has_not_ended = |known: &&Attempt| known.state != State::Ended;
        self.attempts.len() >= most && self.attempts.values().filter(has_not_ended).count() >= most
    }

    /// Whether it has ended here, its end was answered, and nothing but its log is left.
    fn is_over(&self, attempt: AttemptRef) -> bool {
        self.attempts.get(&attempt).is_some_and(|known| known.state == State::Ended) && !self.outbox.holds(attempt)
    }

    fn cancelled(&mut self, attempt: AttemptRef, why: StopWhy) {
        if self.is_over(attempt) {
            let gone = FromWorker::Gone { attempt, why: "it has ended here before".to_owned() };
            return self.say(attempt, WorkerMessage::Engine(gone));
        }
        let Some(known) = self.attempts.get_mut(&attempt) else {
            tracing::debug!(%attempt, ?why, "to be stopped, and not here");
            // Where its end is on its way, that is the answer.
            if !self.outbox.holds_end(attempt) {
                let gone = FromWorker::Gone { attempt, why: "its worker knows nothing of it".to_owned() };
                self.say(attempt, WorkerMessage::Engine(gone));
            }
            return;
        };
        if matches!(known.state, State::Collecting | State::Ended) {
            probe::reached(Path::StopCrossingEnd);
        }
        let then = match why {
            StopWhy::Cancel | StopWhy::Timeout => Then::Stopped,
            StopWhy::Drain => {
                known.why = "the worker is drained";
                Then::GiveBack
            }
            // What has begun is not called back.
            StopWhy::Recall if known.state != State::Queued => {
                probe::reached(Path::RecallCrossingBegin);
                if mutant::is(Mutant::BegunRecalledAsUnbegun) {
                    self.give_back_unstarted(attempt, "called back");
                }
                return;
            }
            StopWhy::Recall => {
                known.why = "called back before it began";
                Then::GiveBack
            }
        };
        self.happen(attempt, Event::Stop(then));
    }

    fn acknowledged(&mut self, attempt: AttemptRef, of: &Assured) {
        if let Some(seq) = self.outbox.acknowledge(attempt, of) {
            self.batch.ops.push(Op::DropMessage { seq });
            self.ending.insert(attempt);
        }
    }

    fn judged(&mut self, attempt: AttemptRef, verdict: Verdict) {
        let is_recovered = self.attempts.get(&attempt).is_some_and(|known| known.origin != Origin::Handed);
        if is_recovered && matches!(verdict, Verdict::Stop | Verdict::Superseded | Verdict::Gone) {
            probe::reached(Path::RecoveredUnknownToServer);
        }
        match verdict {
            Verdict::Continue => self.goes_on(attempt),
            Verdict::Stop => self.happen(attempt, Event::Stop(Then::Stopped)),
            Verdict::Superseded => {
                self.count_refused(attempt);
                self.happen(attempt, Event::Stop(Then::Stopped));
            }
            Verdict::Missing => self.send_files_again(attempt),
            Verdict::Gone => {
                self.count_refused(attempt);
                self.happen(attempt, Event::Stop(Then::Nothing));
                self.let_go(attempt);
            }
        }
    }

    /// What was said of it came too late.
    fn count_refused(&self, attempt: AttemptRef) {
        for kind in self.outbox.kinds_sent(attempt) {
            self.stats.refused(kind);
        }
    }

    /// The server knows nothing of it any more: nothing is said of it, and what it left goes.
    pub(super) fn let_go(&mut self, attempt: AttemptRef) {
        for seq in self.outbox.let_go(attempt) {
            self.batch.ops.push(Op::DropMessage { seq });
        }
        self.drop_bulk(attempt);
        if let Some(known) = self.attempts.get_mut(&attempt)
            && known.state == State::Ended
        {
            known.logs.clear();
            self.ending.insert(attempt);
        }
    }

    fn fenced(&mut self, why: String) {
        if mutant::is(Mutant::FencedIgnored) {
            return;
        }
        if self.attempts.values().any(|known| known.state.may_have_job()) {
            probe::reached(Path::FencedWithJobs);
        }
        let server = &self.config.server;
        tracing::error!(
            why,
            server,
            "another process acts under this identity, or it was forgotten: stopping all jobs"
        );
        self.drop_link();
        let attempts: Vec<_> = self.attempts.keys().copied().collect();
        for attempt in attempts {
            self.happen(attempt, Event::Stop(Then::Nothing));
            self.let_go(attempt);
        }
        self.begin_fenced(why);
    }
}
