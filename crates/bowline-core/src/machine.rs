//! The state machine of a task, of an array's element, and of an array as a whole. Pure: it says
//! where an input leads, and what becomes of the live attempt; the engine does the rest.
//!
//! ```text
//!  begin ► scheduled ─Due► blocked ─Met► waiting ─Granted► ready ─Claimed► assigned ─Started► running
//!             ▲               │             ▲ ▲                 │(server,     │                 │
//!             │               │Unmeetable   │ │                 │ elements)   │Finished, also   │Finished,
//!             │               ▼             │ │                 └────────────►│without Started  │ElementsEnded
//!             │            skipped          │ └─Released, Lost─◄──────────────┴──────┬──────────┤
//!             └─Finished badly, attempts left─◄──────────────────────────────────────┤          ▼
//!                                           │                                        │      succeeded
//!   assigned, running ─Cancelled, Expired► stopping ─Finished, Released, Lost► cancelled    failed
//!                                                                              failed(timeout)
//!                                                                              scheduled (run, set-up limit)
//!   assigned, running ─Drained► stopping ─Released, Stopped► waiting | in_doubt
//!                                        ─Finished► as from running: a result is not thrown away
//!   assigned, running ─Lost, must not rerun► in_doubt ─Retried► waiting
//!                                                     ─late Finished, Resolved► succeeded | failed
//!   ready ─StoodAside► waiting
//!   waiting, ready, in_doubt ─Revived► running: the lost attempt goes on, where no newer one was claimed
//!   every state that is not ended ─Cancelled, Expired(total, deadline)► ended, through stopping where
//!                                                                              an attempt lives
//!   ended ─Retried► begin
//! ```
//!
//! What is not allowed is a named [`Refused`], never a panic and never silence.

mod follow;

use crate::id::WorkerId;
use crate::message::JobEnd;
use crate::mutant::{self, Mutant};
use crate::spec::OnWorkerLoss;
use crate::state::{AttemptEnd, Outcome, StateKind, TimeoutKind};
use crate::time::Timestamp;

use follow::{
    attempt_end, fail, finish, give_back, given_back, lose, release_started, stop, stop_elements, stopped, yields,
};

/// After losses on so many different workers in one round a task is poison.
pub const LOSSES_MAX: u32 = 3;
/// After so many losses in one round a task is poison, whichever workers they were on: one that takes its
/// only worker down does not run without end.
pub const LOSSES_ALL_MAX: u32 = 6;

/// Who holds what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A worker.
    Worker(WorkerId),
    /// The server itself; until then, where it has a time.
    Server {
        /// When a `sleep` ends.
        until: Option<Timestamp>,
    },
    /// Nobody: an array, whose elements are held each for itself.
    Elements,
}

/// A state with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Waits for a time.
    Scheduled {
        /// That time.
        until: Timestamp,
    },
    /// Waits for dependencies.
    Blocked,
    /// Waits for resources; has its ticket.
    Waiting,
    /// Waits for a worker.
    Ready,
    /// Waits for its worker to begin.
    Assigned {
        /// Who has it.
        worker: WorkerId,
    },
    /// Runs.
    Running {
        /// Who has it.
        on: Holder,
    },
    /// Waits for the report that no process is left.
    Stopping {
        /// Who has it.
        on: Holder,
        /// What the stop will bring.
        intent: Intent,
    },
    /// Waits for somebody who knows.
    InDoubt,
    /// The round is over.
    Ended {
        /// How.
        outcome: Box<Outcome>,
    },
}

/// What a stop will bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// The end of the attempt with this outcome, or of the round.
    End(Box<Outcome>),
    /// Its worker is drained: it is given back, unless a result comes before that.
    GiveBack,
}

impl Intent {
    /// This outcome.
    pub fn end(outcome: Outcome) -> Self {
        Self::End(Box::new(outcome))
    }
}

impl State {
    /// Its name.
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Scheduled { .. } => StateKind::Scheduled,
            Self::Blocked => StateKind::Blocked,
            Self::Waiting => StateKind::Waiting,
            Self::Ready => StateKind::Ready,
            Self::Assigned { .. } => StateKind::Assigned,
            Self::Running { .. } => StateKind::Running,
            Self::Stopping { .. } => StateKind::Stopping,
            Self::InDoubt => StateKind::InDoubt,
            Self::Ended { outcome } => outcome.state(),
        }
    }

    /// Where a round begins.
    pub fn begin(until: Option<Timestamp>, blocked: Blocked) -> Self {
        match (until, blocked) {
            (Some(until), Blocked::No | Blocked::Yes) => Self::Scheduled { until },
            (None, Blocked::Yes) => Self::Blocked,
            (None, Blocked::No) => Self::Waiting,
        }
    }
}

/// Whether dependencies are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// None is.
    No,
    /// Some are.
    Yes,
}

/// Whether the newest attempt's job has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It has not.
    No,
    /// It has.
    Yes,
}

/// Whether the newest attempt was lost and no newer one claimed: its late result is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It was not.
    No,
    /// It was.
    Wanted,
}

/// What the machine must know beside state and input.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Dependencies.
    pub blocked: Blocked,
    /// Whether the newest attempt was lost.
    pub late: Late,
    /// Failed attempts may still be followed by so many.
    pub extra_left: u32,
    /// Lost attempts so far in this round.
    pub losses: u32,
    /// Different workers that lost one in this round, the one that holds the newest attempt included.
    pub lost_on: u32,
    /// Whether the newest attempt's job has begun.
    pub begun: Begun,
    /// What follows a loss.
    pub on_loss: OnWorkerLoss,
    /// When the next attempt may begin, should this one fail.
    pub retry_at: Timestamp,
    /// Whether a loss ends the round: of a gang whose loss of one member ends all.
    pub lost_ends: LostEnds,
    /// Of an array: elements that still live.
    pub live_elements: u32,
}

/// Whether a loss ends the round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostEnds {
    /// As the task's own policy says.
    No,
    /// It does.
    Yes,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The time has come.
    Due,
    /// The last dependency is met.
    Met,
    /// A dependency can no longer be met.
    Unmeetable(String),
    /// All resources are granted.
    Granted,
    /// Its ticket stands aside: what was granted is given back.
    StoodAside,
    /// Claimed for somebody.
    Claimed(Holder),
    /// The job runs.
    Started,
    /// The attempt's end, as its worker (or the server, for what it holds) says.
    Finished(JobEnd),
    /// Given back, no process left.
    Released,
    /// The attempt is lost.
    Lost(String),
    /// The worker that holds it is drained.
    Drained,
    /// The worker of the lost attempt came back, and its job still runs.
    Revived(WorkerId),
    /// Somebody who knows says how the doubtful attempt ended.
    Resolved(Outcome),
    /// Somebody wants it ended.
    Cancelled(String),
    /// A limit ran out.
    Expired(TimeoutKind),
    /// Of an array: the last element has ended.
    ElementsEnded(Outcome),
    /// Somebody wants it to run again.
    Retried,
}

/// What is not allowed, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has ended.
    #[error("it has already ended")]
    Ended,
    /// It has not.
    #[error("it has not ended")]
    NotEnded,
    /// It has happened before.
    #[error("that has happened already")]
    Already,
    /// No attempt lives.
    #[error("no attempt of it lives")]
    NoAttempt,
    /// An attempt lives already.
    #[error("an attempt of it lives already")]
    HasAttempt,
    /// A stop is under way, and the intent that came first stands.
    #[error("it is being stopped already")]
    Stopping,
    /// This limit does not count here.
    #[error("that limit does not count in this state")]
    NotCounting,
    /// Nobody doubts how it ended.
    #[error("it is not in doubt")]
    NotInDoubt,
    /// It waits for something else.
    #[error("it waits for something else")]
    WaitsForOther,
    /// An array has elements; only those are claimed and finish. And the other way round.
    #[error("an array's elements act each for itself")]
    ArrayOnly,
}

/// Where an input leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The next state.
    pub next: State,
    /// How the live attempt ended, where it did.
    pub attempt: Option<AttemptEnd>,
    /// The attempt's failure, where it counts as one.
    pub failure: Option<Outcome>,
    /// Whether it counts as a loss.
    pub lost: Option<String>,
}

impl Step {
    fn to(next: State) -> Self {
        Self { next, attempt: None, failure: None, lost: None }
    }

    fn ended(outcome: Outcome) -> Self {
        Self::to(State::Ended { outcome: Box::new(outcome) })
    }

    fn and_attempt(mut self, end: AttemptEnd) -> Self {
        self.attempt = Some(end);
        self
    }
}

/// Moves the machine: the one table of states and inputs.
#[expect(clippy::too_many_lines, clippy::match_same_arms, reason = "one table, in the order of a task's life")]
pub fn step(state: &State, event: Event, cx: &Context) -> Result<Step, Refused> {
    use Event as E;
    use State as S;
    match (state, event) {
        // Mistakes, to be found: an end that is overwritten.
        (S::Ended { .. }, E::Cancelled(message)) if mutant::is(Mutant::CancelOverwritesSuccess) => {
            Ok(Step::ended(Outcome::Cancelled { message }))
        }
        (S::Stopping { on: Holder::Worker(_), intent: Intent::End(_) }, E::Finished(JobEnd::Success))
            if mutant::is(Mutant::SuccessOverwritesCancel) =>
        {
            Ok(Step::ended(Outcome::Succeeded).and_attempt(AttemptEnd::Succeeded))
        }
        // Whoever knows ends a doubt.
        (S::InDoubt, E::Resolved(outcome)) => Ok(Step::ended(outcome)),
        (
            S::Scheduled { .. }
            | S::Blocked
            | S::Waiting
            | S::Ready
            | S::Assigned { .. }
            | S::Running { .. }
            | S::Stopping { .. }
            | S::Ended { .. },
            E::Resolved(_),
        ) => Err(Refused::NotInDoubt),
        // A lost attempt goes on.
        (S::Waiting | S::Ready | S::InDoubt, E::Revived(worker)) => match cx.late {
            Late::Wanted => Ok(Step::to(S::Running { on: Holder::Worker(worker) })),
            Late::No => Err(Refused::NoAttempt),
        },
        (S::Scheduled { .. } | S::Blocked, E::Revived(_)) => Err(Refused::NoAttempt),
        (S::Assigned { .. } | S::Running { .. } | S::Stopping { .. }, E::Revived(_)) => Err(Refused::HasAttempt),
        (S::Ended { .. }, E::Revived(_) | E::Drained) => Err(Refused::Ended),
        // Its worker is drained.
        (S::Assigned { worker }, E::Drained) => Ok(give_back(Holder::Worker(*worker))),
        (S::Running { on: on @ Holder::Worker(_) }, E::Drained) => Ok(give_back(*on)),
        (S::Running { on: Holder::Elements }, E::Drained) => Err(Refused::ArrayOnly),
        (S::Stopping { .. }, E::Drained) => Err(Refused::Stopping),
        (
            S::Scheduled { .. }
            | S::Blocked
            | S::Waiting
            | S::Ready
            | S::InDoubt
            | S::Running { on: Holder::Server { .. } },
            E::Drained,
        ) => Err(Refused::NoAttempt),
        // Scheduled => (Blocked, Waiting, Ended)
        (S::Scheduled { .. }, E::Due) => Ok(Step::to(State::begin(None, cx.blocked))),
        (S::Scheduled { .. }, E::Met | E::Granted | E::Claimed(_)) => Err(Refused::WaitsForOther),
        // Blocked => (Waiting, Ended)
        (S::Blocked, E::Met) => Ok(Step::to(S::Waiting)),
        (S::Scheduled { .. } | S::Blocked, E::Unmeetable(message)) => Ok(Step::ended(Outcome::Skipped { message })),
        (S::Blocked, E::Due | E::Granted | E::Claimed(_)) => Err(Refused::WaitsForOther),
        // Waiting => (Ready, Ended)
        (S::Waiting, E::Granted) => Ok(Step::to(S::Ready)),
        (S::Waiting, E::Due | E::Met | E::Unmeetable(_) | E::Claimed(_)) => Err(Refused::WaitsForOther),
        // Ready => (Waiting, Assigned, Running, Ended)
        (S::Ready, E::StoodAside) => Ok(Step::to(S::Waiting)),
        (S::Scheduled { .. } | S::Blocked | S::Waiting | S::InDoubt, E::StoodAside) => Err(Refused::WaitsForOther),
        (S::Assigned { .. } | S::Running { .. } | S::Stopping { .. }, E::StoodAside) => Err(Refused::HasAttempt),
        (S::Ended { .. }, E::StoodAside) => Err(Refused::Ended),
        (S::Ready, E::Claimed(Holder::Worker(worker))) => Ok(Step::to(S::Assigned { worker })),
        (S::Ready, E::Claimed(on @ (Holder::Server { .. } | Holder::Elements))) => Ok(Step::to(S::Running { on })),
        (S::Ready, E::Due | E::Met | E::Unmeetable(_) | E::Granted) => Err(Refused::WaitsForOther),
        // What waits without an attempt.
        (S::Waiting | S::Ready, E::Expired(which @ TimeoutKind::Queue)) => Ok(Step::ended(Outcome::Timeout { which })),
        (
            S::Scheduled { .. } | S::Blocked | S::Waiting | S::Ready | S::InDoubt,
            E::Expired(which @ (TimeoutKind::Total | TimeoutKind::Deadline)),
        ) => Ok(Step::ended(Outcome::Timeout { which })),
        (
            S::Scheduled { .. } | S::Blocked | S::InDoubt,
            E::Expired(TimeoutKind::Queue | TimeoutKind::Setup | TimeoutKind::Run),
        )
        | (S::Waiting | S::Ready, E::Expired(TimeoutKind::Setup | TimeoutKind::Run)) => Err(Refused::NotCounting),
        (S::Scheduled { .. } | S::Blocked | S::Waiting | S::Ready | S::InDoubt, E::Cancelled(message)) => {
            Ok(Step::ended(Outcome::Cancelled { message }))
        }
        (S::Waiting | S::Ready | S::InDoubt, E::Finished(how)) => match cx.late {
            Late::Wanted => Ok(finish(how, cx, None)),
            Late::No => Err(Refused::NoAttempt),
        },
        (S::Scheduled { .. } | S::Blocked, E::Finished(_))
        | (
            S::Scheduled { .. } | S::Blocked | S::Waiting | S::Ready | S::InDoubt,
            E::Started | E::Released | E::Lost(_),
        ) => Err(Refused::NoAttempt),
        (S::Scheduled { .. } | S::Blocked | S::Waiting | S::Ready, E::Retried) => Err(Refused::NotEnded),
        (S::Scheduled { .. } | S::Blocked | S::Waiting | S::InDoubt, E::ElementsEnded(_)) => Err(Refused::ArrayOnly),
        (S::Ready | S::Running { on: Holder::Elements }, E::ElementsEnded(outcome)) => Ok(Step::ended(outcome)),
        // InDoubt => (Waiting, Ended)
        (S::InDoubt, E::Retried) => Ok(Step::to(S::Waiting)),
        (S::InDoubt, E::Due | E::Met | E::Unmeetable(_) | E::Granted | E::Claimed(_)) => Err(Refused::WaitsForOther),
        // Assigned => (Running, Stopping, Waiting, Scheduled, InDoubt, Ended)
        (S::Assigned { worker }, E::Started) => Ok(Step::to(S::Running { on: Holder::Worker(*worker) })),
        (S::Assigned { .. }, E::Released) => Ok(Step::to(S::Waiting).and_attempt(AttemptEnd::Released)),
        (
            S::Assigned { worker },
            E::Expired(which @ (TimeoutKind::Setup | TimeoutKind::Total | TimeoutKind::Deadline)),
        ) => Ok(stop(Holder::Worker(*worker), Outcome::Timeout { which })),
        (S::Assigned { worker }, E::Cancelled(message)) => {
            Ok(stop(Holder::Worker(*worker), Outcome::Cancelled { message }))
        }
        (S::Assigned { .. }, E::Expired(TimeoutKind::Queue | TimeoutKind::Run)) => Err(Refused::NotCounting),
        (S::Assigned { .. } | S::Running { on: Holder::Worker(_) }, E::Finished(how)) => {
            let end = attempt_end(&how);
            Ok(finish(how, cx, Some(end)))
        }
        (S::Assigned { .. } | S::Running { on: Holder::Worker(_) }, E::Lost(why)) => Ok(lose(why, cx)),
        (S::Assigned { .. }, E::ElementsEnded(_)) => Err(Refused::ArrayOnly),
        // Running => (Stopping, Waiting, Scheduled, InDoubt, Ended)
        (S::Running { .. }, E::Started) => Err(Refused::Already),
        (S::Running { on: Holder::Worker(_) }, E::Released) => Ok(release_started(cx)),
        (
            S::Running { on: on @ Holder::Worker(_) },
            E::Expired(which @ (TimeoutKind::Run | TimeoutKind::Total | TimeoutKind::Deadline)),
        ) => Ok(stop(*on, Outcome::Timeout { which })),
        (S::Running { on: on @ Holder::Worker(_) }, E::Cancelled(message)) => {
            Ok(stop(*on, Outcome::Cancelled { message }))
        }
        (S::Running { on: Holder::Server { .. } }, E::Finished(how)) => {
            let end = attempt_end(&how);
            Ok(finish(how, cx, Some(end)))
        }
        (S::Running { on: Holder::Server { .. } }, E::Cancelled(message)) => {
            Ok(Step::ended(Outcome::Cancelled { message }).and_attempt(AttemptEnd::Cancelled))
        }
        (
            S::Running { on: Holder::Server { .. } },
            E::Expired(which @ (TimeoutKind::Total | TimeoutKind::Deadline)),
        ) => Ok(Step::ended(Outcome::Timeout { which }).and_attempt(AttemptEnd::TimedOut)),
        (S::Running { on: Holder::Server { .. } }, E::Expired(which @ TimeoutKind::Run)) => {
            Ok(fail(Outcome::Timeout { which }, cx).and_attempt(AttemptEnd::TimedOut))
        }
        (S::Running { on: Holder::Elements }, E::Cancelled(message)) => {
            Ok(stop_elements(Outcome::Cancelled { message }, cx))
        }
        (S::Running { on: Holder::Elements }, E::Expired(which @ (TimeoutKind::Total | TimeoutKind::Deadline))) => {
            Ok(stop_elements(Outcome::Timeout { which }, cx))
        }
        (S::Running { .. }, E::Expired(_)) => Err(Refused::NotCounting),
        (S::Running { on: Holder::Elements }, E::Finished(_) | E::Released | E::Lost(_)) => Err(Refused::ArrayOnly),
        (S::Running { on: Holder::Server { .. } }, E::Released | E::Lost(_)) => Err(Refused::NoAttempt),
        (S::Running { .. }, E::ElementsEnded(_)) => Err(Refused::ArrayOnly),
        (
            S::Assigned { .. } | S::Running { .. } | S::Stopping { .. },
            E::Due | E::Met | E::Unmeetable(_) | E::Granted | E::Claimed(_),
        ) => Err(Refused::HasAttempt),
        (S::Assigned { .. } | S::Running { .. } | S::Stopping { .. }, E::Retried) => Err(Refused::NotEnded),
        // Stopping => (Stopping, Scheduled, Waiting, InDoubt, Ended)
        (S::Stopping { on: Holder::Elements, intent: Intent::End(outcome) }, E::ElementsEnded(_)) => {
            Ok(Step::ended((**outcome).clone()))
        }
        (S::Stopping { on: Holder::Elements, intent: Intent::GiveBack }, E::ElementsEnded(outcome)) => {
            Ok(Step::ended(outcome))
        }
        (S::Stopping { on: Holder::Elements, .. }, E::Finished(_) | E::Released | E::Lost(_)) => {
            Err(Refused::ArrayOnly)
        }
        (
            S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, intent: Intent::GiveBack },
            E::Finished(JobEnd::Stopped) | E::Released,
        ) => Ok(given_back(cx)),
        (S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, intent: Intent::GiveBack }, E::Finished(how)) => {
            let end = attempt_end(&how);
            Ok(finish(how, cx, Some(end)))
        }
        (S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, intent: Intent::GiveBack }, E::Lost(why)) => {
            Ok(lose(why, cx))
        }
        (
            S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, intent: Intent::End(outcome) },
            E::Finished(_) | E::Released,
        ) => Ok(stopped(outcome, cx)),
        (S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, intent: Intent::End(outcome) }, E::Lost(why)) => {
            let mut step = stopped(outcome, cx).and_attempt(AttemptEnd::Lost);
            step.lost = Some(why);
            Ok(step)
        }
        (S::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, .. }, E::ElementsEnded(_)) => {
            Err(Refused::ArrayOnly)
        }
        (S::Stopping { .. }, E::Started) => Err(Refused::Stopping),
        (S::Stopping { on, intent }, E::Cancelled(message)) if yields(intent, cx) => {
            Ok(stop(*on, Outcome::Cancelled { message }))
        }
        (S::Stopping { on, intent }, E::Expired(which @ (TimeoutKind::Total | TimeoutKind::Deadline)))
            if yields(intent, cx) =>
        {
            Ok(stop(*on, Outcome::Timeout { which }))
        }
        (S::Stopping { .. }, E::Cancelled(_) | E::Expired(_)) => Err(Refused::Stopping),
        // Ended => a new round
        (S::Ended { .. }, E::Retried) => Ok(Step::to(State::begin(None, cx.blocked))),
        (
            S::Ended { .. },
            E::Due
            | E::Met
            | E::Unmeetable(_)
            | E::Granted
            | E::Claimed(_)
            | E::Started
            | E::Finished(_)
            | E::Released
            | E::Lost(_)
            | E::Cancelled(_)
            | E::Expired(_)
            | E::ElementsEnded(_),
        ) => Err(Refused::Ended),
    }
}

#[cfg(test)]
mod tests;
