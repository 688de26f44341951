//! What follows from an attempt's end, a stop, a loss: the arms of the one table, by name.

use super::{Begun, Context, Holder, Intent, LOSSES_ALL_MAX, LOSSES_MAX, LostEnds, State, Step};
use crate::message::JobEnd;
use crate::mutant::{self, Mutant};
use crate::probe::{self, Path};
use crate::spec::OnWorkerLoss;
use crate::state::{AttemptEnd, JobError, Outcome, TimeoutKind};

/// Whether a stop with this intent is followed by another attempt: then a cancel, or the round's own
/// limit, may still take its place. Any other intent stands once it is committed.
pub(super) fn yields(intent: &Intent, cx: &Context) -> bool {
    match intent {
        Intent::GiveBack => true,
        Intent::End(outcome) => is_attempts_own(outcome) && cx.extra_left > 0,
    }
}

/// Limits of the attempt, not of the round.
pub(super) fn is_attempts_own(intent: &Outcome) -> bool {
    match intent {
        Outcome::Timeout { which: TimeoutKind::Setup | TimeoutKind::Run } | Outcome::Error(_) => true,
        Outcome::Timeout { which: TimeoutKind::Queue | TimeoutKind::Total | TimeoutKind::Deadline }
        | Outcome::Succeeded
        | Outcome::Lost { .. }
        | Outcome::Rejected { .. }
        | Outcome::Cancelled { .. }
        | Outcome::Skipped { .. } => false,
    }
}

pub(super) fn stop(on: Holder, intent: Outcome) -> Step {
    Step::to(State::Stopping { on, intent: Intent::end(intent) })
}

pub(super) fn give_back(on: Holder) -> Step {
    Step::to(State::Stopping { on, intent: Intent::GiveBack })
}

pub(super) fn stop_elements(intent: Outcome, cx: &Context) -> Step {
    if cx.live_elements == 0 { Step::ended(intent) } else { stop(Holder::Elements, intent) }
}

/// No process is left of what was being stopped: its intent comes true.
pub(super) fn stopped(intent: &Outcome, cx: &Context) -> Step {
    let end = match intent {
        Outcome::Timeout { .. } => AttemptEnd::TimedOut,
        Outcome::Cancelled { .. } | Outcome::Skipped { .. } | Outcome::Rejected { .. } => AttemptEnd::Cancelled,
        Outcome::Error(_) => AttemptEnd::Failed,
        Outcome::Lost { .. } => AttemptEnd::Lost,
        Outcome::Succeeded => AttemptEnd::Succeeded,
    };
    let step = if is_attempts_own(intent) { fail(intent.clone(), cx) } else { Step::ended(intent.clone()) };
    step.and_attempt(end)
}

pub(super) fn attempt_end(how: &JobEnd) -> AttemptEnd {
    match how {
        JobEnd::Success => AttemptEnd::Succeeded,
        JobEnd::Error(_) | JobEnd::Stopped => AttemptEnd::Failed,
        JobEnd::Timeout(_) => AttemptEnd::TimedOut,
    }
}

/// What an attempt's end makes of a task that nobody is stopping.
pub(super) fn finish(how: JobEnd, cx: &Context, end: Option<AttemptEnd>) -> Step {
    let mut step = match how {
        JobEnd::Success => Step::ended(Outcome::Succeeded),
        JobEnd::Error(error) => fail(Outcome::Error(error), cx),
        JobEnd::Timeout(which) => fail(Outcome::Timeout { which }, cx),
        JobEnd::Stopped => {
            let message = "the worker stopped the job although nobody had asked for it".to_owned();
            fail(Outcome::Error(JobError { exit_status: None, signal: None, message }), cx)
        }
    };
    step.attempt = end;
    step
}

pub(super) fn fail(failure: Outcome, cx: &Context) -> Step {
    let next = if cx.extra_left > 0 {
        State::Scheduled { until: cx.retry_at }
    } else {
        State::Ended { outcome: Box::new(failure.clone()) }
    };
    Step { next, attempt: None, failure: Some(failure), lost: None }
}

/// Who must not rerun is never poison: whoever knows decides after each loss.
pub(super) fn lose(why: String, cx: &Context) -> Step {
    let losses = cx.losses + 1;
    let next = match cx.on_loss {
        OnWorkerLoss::Rerun if cx.lost_ends == LostEnds::Yes => {
            let message = format!("lost because {why}, and its gang ends with the first of its members that is lost");
            State::Ended { outcome: Box::new(Outcome::Lost { message }) }
        }
        OnWorkerLoss::Fail if mutant::is(Mutant::DoubtIsRerun) => State::Waiting,
        OnWorkerLoss::Fail => State::InDoubt,
        OnWorkerLoss::Rerun if cx.lost_on >= LOSSES_MAX => {
            probe::reached(Path::PoisonByDifferentWorkers);
            let message = format!("lost on {} different workers, the last time because {why}", cx.lost_on);
            State::Ended { outcome: Box::new(Outcome::Lost { message }) }
        }
        OnWorkerLoss::Rerun if losses >= LOSSES_ALL_MAX => {
            probe::reached(Path::PoisonByCount);
            let message = format!("lost {losses} times, the last time because {why}");
            State::Ended { outcome: Box::new(Outcome::Lost { message }) }
        }
        OnWorkerLoss::Rerun => State::Waiting,
    };
    Step { next, attempt: Some(AttemptEnd::Lost), failure: None, lost: Some(why) }
}

/// A started job given back: a task that must not rerun waits for somebody who knows.
pub(super) fn release_started(cx: &Context) -> Step {
    let next = match cx.on_loss {
        OnWorkerLoss::Rerun => State::Waiting,
        OnWorkerLoss::Fail => {
            probe::reached(Path::DrainLeavesADoubt);
            State::InDoubt
        }
    };
    Step::to(next).and_attempt(AttemptEnd::Released)
}

pub(super) fn given_back(cx: &Context) -> Step {
    match cx.begun {
        Begun::Yes => release_started(cx),
        Begun::No => Step::to(State::Waiting).and_attempt(AttemptEnd::Released),
    }
}
