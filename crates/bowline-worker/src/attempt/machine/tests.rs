//! Every state with every event.

use super::*;

const THENS: [Then; 4] = [Then::GiveBack, Then::SetupTimeout, Then::Stopped, Then::Nothing];
const OVERS: [Over; 4] = [Over::ByItself, Over::RunLimit, Over::Asked, Over::SupervisorLeft];

fn states() -> Vec<State> {
    let mut states =
        vec![State::Queued, State::Preparing, State::Starting, State::Running, State::Collecting, State::Ended];
    for then in THENS {
        states.push(State::Stopping { then, under: Under::Preparation });
        states.push(State::Stopping { then, under: Under::Job });
    }
    states
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Begin,
        Event::Prepared,
        Event::PrepareFailed,
        Event::JobStarted,
        Event::StartFailed,
        Event::JobLost,
        Event::Collected,
    ];
    events.extend(OVERS.map(Event::JobOver));
    events.extend(THENS.map(Event::Stop));
    events
}

#[test]
fn an_end_is_recorded_exactly_on_entering_ended() {
    for state in states() {
        for event in events() {
            let (next, steps, fit) = state.on(event);
            let ends = steps.iter().filter(|step| matches!(step, Step::End(_))).count();
            let enters = state != State::Ended && next == State::Ended;
            assert_eq!(ends, usize::from(enters), "{state:?} on {event:?} gives {steps:?}");
            if fit == Fit::Ignored {
                assert_eq!((next, steps.len()), (state, 0), "{state:?} on {event:?}");
            }
        }
    }
}

#[test]
fn an_ended_attempt_ignores_everything() {
    for event in events() {
        assert_eq!(State::Ended.on(event), (State::Ended, vec![], Fit::Ignored));
    }
}

#[test]
fn a_job_is_launched_only_after_its_preparation_and_never_when_it_is_to_stop() {
    for state in states() {
        for event in events() {
            let (_, steps, _) = state.on(event);
            if steps.contains(&Step::Launch) {
                assert_eq!((state, event), (State::Preparing, Event::Prepared));
            }
        }
    }
}

#[test]
fn whatever_may_have_a_job_gets_rid_of_it_before_it_is_stopped() {
    for state in states().into_iter().filter(|state| state.may_have_job()) {
        for then in THENS {
            let (next, steps, _) = state.on(Event::Stop(then));
            assert!(matches!(next, State::Stopping { under: Under::Job, .. }), "{state:?}");
            assert!(!steps.iter().any(|step| matches!(step, Step::End(_))), "{state:?}");
        }
    }
}

#[test]
fn every_state_comes_to_its_end_when_it_is_told_to_stop() {
    for state in states() {
        let (mut state, _, _) = state.on(Event::Stop(Then::Stopped));
        for event in [Event::Prepared, Event::Collected, Event::JobOver(Over::Asked)] {
            state = state.on(event).0;
        }
        assert_eq!(state, State::Ended);
    }
}

#[test]
fn a_give_back_yields_to_a_result_and_a_cancel_does_not() {
    let stopped = |then| State::Running.on(Event::Stop(then)).0.on(Event::JobOver(Over::ByItself));
    assert_eq!(stopped(Then::GiveBack), (State::Collecting, vec![Step::Collect], Fit::Expected));
    assert_eq!(stopped(Then::Stopped), (State::Ended, vec![Step::End(End::Stopped)], Fit::Expected));
}

#[test]
fn the_weightier_reason_to_stop_counts() {
    let (state, _, _) = State::Running.on(Event::Stop(Then::GiveBack)).0.on(Event::Stop(Then::Stopped));
    assert_eq!(state.on(Event::JobOver(Over::Asked)).1, [Step::End(End::Stopped)]);
    let (state, _, _) = State::Running.on(Event::Stop(Then::Stopped)).0.on(Event::Stop(Then::GiveBack));
    assert_eq!(state.on(Event::JobOver(Over::Asked)).1, [Step::End(End::Stopped)]);
}

#[test]
fn an_end_whose_start_was_missed_announces_the_start_first() {
    assert_eq!(
        State::Starting.on(Event::JobOver(Over::ByItself)),
        (State::Collecting, vec![Step::Announce, Step::Collect], Fit::Expected)
    );
}

#[test]
fn slots_are_taken_from_preparation_to_the_job_s_end() {
    let taking: Vec<_> = states().into_iter().filter(|state| state.takes_slot()).collect();
    assert!(!taking.contains(&State::Queued) && !taking.contains(&State::Collecting));
    assert!(taking.contains(&State::Preparing) && taking.contains(&State::Running));
}
