//! The table of states and inputs, every pair of it.

use super::*;
use crate::id::WorkerId;
use crate::state::JobError;

fn states() -> Vec<State> {
    let on = Holder::Worker(WorkerId(1));
    let cancel = || Intent::end(Outcome::Cancelled { message: String::new() });
    let run = || Intent::end(Outcome::Timeout { which: TimeoutKind::Run });
    vec![
        State::Scheduled { until: Timestamp(5) },
        State::Blocked,
        State::Waiting,
        State::Ready,
        State::Assigned { worker: WorkerId(1) },
        State::Running { on },
        State::Running { on: Holder::Server { until: None } },
        State::Running { on: Holder::Elements },
        State::Stopping { on, intent: cancel() },
        State::Stopping { on, intent: run() },
        State::Stopping { on, intent: Intent::GiveBack },
        State::Stopping { on: Holder::Elements, intent: cancel() },
        State::InDoubt,
        State::Ended { outcome: Box::new(Outcome::Succeeded) },
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let expired = |which| Event::Expired(which);
    vec![
        ("due", Event::Due),
        ("met", Event::Met),
        ("unmeetable", Event::Unmeetable(String::new())),
        ("granted", Event::Granted),
        ("stood aside", Event::StoodAside),
        ("claimed", Event::Claimed(Holder::Worker(WorkerId(1)))),
        ("held", Event::Claimed(Holder::Server { until: None })),
        ("begun", Event::Claimed(Holder::Elements)),
        ("started", Event::Started),
        ("success", Event::Finished(JobEnd::Success)),
        ("error", Event::Finished(JobEnd::Error(JobError::default()))),
        ("stopped", Event::Finished(JobEnd::Stopped)),
        ("released", Event::Released),
        ("lost", Event::Lost(String::new())),
        ("cancel", Event::Cancelled(String::new())),
        ("queue", expired(TimeoutKind::Queue)),
        ("setup", expired(TimeoutKind::Setup)),
        ("run", expired(TimeoutKind::Run)),
        ("total", expired(TimeoutKind::Total)),
        ("deadline", expired(TimeoutKind::Deadline)),
        ("elements", Event::ElementsEnded(Outcome::Succeeded)),
        ("retry", Event::Retried),
        ("drain", Event::Drained),
        ("revive", Event::Revived(WorkerId(1))),
        ("resolve", Event::Resolved(Outcome::Succeeded)),
    ]
}

fn context() -> Context {
    Context {
        blocked: Blocked::No,
        late: Late::No,
        extra_left: 1,
        losses: 0,
        lost_on: 1,
        begun: Begun::No,
        on_loss: OnWorkerLoss::Rerun,
        retry_at: Timestamp(9),
        lost_ends: LostEnds::No,
        live_elements: 1,
    }
}

/// Where each state is led by what. What is not here is refused.
const TABLE: [(StateKind, &str); 14] = [
    (StateKind::Scheduled, "due>waiting unmeetable>skipped cancel>cancelled total>failed deadline>failed"),
    (StateKind::Blocked, "met>waiting unmeetable>skipped cancel>cancelled total>failed deadline>failed"),
    (StateKind::Waiting, "granted>ready cancel>cancelled queue>failed total>failed deadline>failed"),
    (
        StateKind::Ready,
        "stood aside>waiting claimed>assigned held>running begun>running cancel>cancelled queue>failed total>failed deadline>failed elements>succeeded",
    ),
    (
        StateKind::Assigned,
        "started>running success>succeeded error>scheduled stopped>scheduled released>waiting lost>waiting cancel>stopping setup>stopping total>stopping deadline>stopping drain>stopping",
    ),
    (
        StateKind::Running,
        "success>succeeded error>scheduled stopped>scheduled released>waiting lost>waiting cancel>stopping run>stopping total>stopping deadline>stopping drain>stopping",
    ),
    (
        StateKind::Running,
        "success>succeeded error>scheduled stopped>scheduled cancel>cancelled run>scheduled total>failed deadline>failed",
    ),
    (StateKind::Running, "cancel>stopping total>stopping deadline>stopping elements>succeeded"),
    (StateKind::Stopping, "success>cancelled error>cancelled stopped>cancelled released>cancelled lost>cancelled"),
    (
        StateKind::Stopping,
        "success>scheduled error>scheduled stopped>scheduled released>scheduled lost>scheduled cancel>stopping total>stopping deadline>stopping",
    ),
    (
        StateKind::Stopping,
        "success>succeeded error>scheduled stopped>waiting released>waiting lost>waiting cancel>stopping total>stopping deadline>stopping",
    ),
    (StateKind::Stopping, "elements>cancelled"),
    (StateKind::InDoubt, "cancel>cancelled total>failed deadline>failed retry>waiting resolve>succeeded"),
    (StateKind::Succeeded, "retry>waiting"),
];

#[test]
fn every_pair_leads_where_the_table_says_or_is_refused() {
    for (state, (kind, row)) in states().into_iter().zip(TABLE) {
        assert_eq!(state.kind(), kind);
        let mut led = Vec::new();
        for (name, event) in events() {
            if let Ok(step) = step(&state, event, &context()) {
                led.push(format!("{name}>{}", step.next.kind()));
            }
        }
        assert_eq!(led.join(" "), row, "{state:?}");
    }
}

#[test]
fn an_attempt_ends_exactly_when_its_unit_leaves_the_live_states() {
    for state in states() {
        let holds =
            matches!(&state, State::Assigned { .. } | State::Running { on: Holder::Worker(_) | Holder::Server { .. } })
                || matches!(&state, State::Stopping { on: Holder::Worker(_) | Holder::Server { .. }, .. });
        for (name, event) in events() {
            let Ok(step) = step(&state, event, &context()) else { continue };
            let leaves = holds && !step.next.kind().is_live();
            assert_eq!(step.attempt.is_some(), leaves, "{state:?} {name}");
        }
    }
}

#[test]
fn a_late_result_counts_and_a_late_attempt_goes_on_only_where_it_is_wanted() {
    let success = || Event::Finished(JobEnd::Success);
    let revived = || Event::Revived(WorkerId(1));
    for state in [State::Waiting, State::Ready, State::InDoubt] {
        let wanted = Context { late: Late::Wanted, ..context() };
        assert_eq!(step(&state, success(), &wanted).map(|step| step.next.kind()), Ok(StateKind::Succeeded));
        assert_eq!(step(&state, success(), &context()), Err(Refused::NoAttempt));
        assert_eq!(step(&state, revived(), &wanted).map(|step| step.next.kind()), Ok(StateKind::Running));
        assert_eq!(step(&state, revived(), &context()), Err(Refused::NoAttempt));
    }
}

#[test]
fn what_is_lost_too_often_or_must_not_rerun_does_not_run_again() {
    let running = State::Running { on: Holder::Worker(WorkerId(1)) };
    let lost = |cx: &Context| step(&running, Event::Lost("its machine burnt".into()), cx).map(|step| step.next.kind());
    let must_not = Context { on_loss: OnWorkerLoss::Fail, ..context() };
    assert_eq!(lost(&context()), Ok(StateKind::Waiting));
    assert_eq!(lost(&must_not), Ok(StateKind::InDoubt));
    assert_eq!(lost(&Context { lost_on: LOSSES_MAX, ..context() }), Ok(StateKind::Failed));
    assert_eq!(lost(&Context { losses: LOSSES_MAX, lost_on: 1, ..context() }), Ok(StateKind::Waiting));
    assert_eq!(lost(&Context { losses: LOSSES_ALL_MAX - 1, lost_on: 1, ..context() }), Ok(StateKind::Failed));
    assert_eq!(lost(&Context { losses: LOSSES_ALL_MAX, lost_on: 9, ..must_not }), Ok(StateKind::InDoubt));
}

#[test]
fn what_a_drain_stops_is_given_back_and_in_doubt_only_where_it_had_begun_and_must_not_rerun() {
    let on = Holder::Worker(WorkerId(1));
    let drained = State::Stopping { on, intent: Intent::GiveBack };
    let must_not = Context { on_loss: OnWorkerLoss::Fail, ..context() };
    for (cx, next) in [
        (context(), StateKind::Waiting),
        (Context { begun: Begun::Yes, ..context() }, StateKind::Waiting),
        (must_not, StateKind::Waiting),
        (Context { begun: Begun::Yes, ..must_not }, StateKind::InDoubt),
    ] {
        let step = step(&drained, Event::Released, &cx).unwrap();
        assert_eq!((step.next.kind(), step.attempt), (next, Some(AttemptEnd::Released)), "{cx:?}");
    }
    let finished = step(&drained, Event::Finished(JobEnd::Success), &context()).unwrap();
    assert_eq!(finished.next.kind(), StateKind::Succeeded, "finished work is not thrown away");
}
