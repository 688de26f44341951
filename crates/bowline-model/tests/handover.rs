//! The model of how work changes hands, checked to its last state; and each flaw, which must be found.
#![allow(clippy::print_stderr, reason = "the size of what was searched is worth a line")]

use bowline_model::{Flaw, Handover, Troubles};
use stateright::{Checker, Expectation, Model};

const BOTH: &[usize] = &[0, 1];

/// Searches everything, and says how much that was.
fn search(flaw: Flaw, troubles: Troubles, tasks: &'static [usize]) -> impl Checker<Handover> {
    let checker = Handover { flaw, troubles, tasks }.checker().threads(2).spawn_bfs().join();
    eprintln!("{flaw:?}, {troubles:?}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker
}

/// Every promise holds in every state, and what should be possible is.
fn holds(troubles: Troubles, tasks: &'static [usize]) {
    let checker = search(Flaw::None, troubles, tasks);
    for property in checker.model().properties() {
        if property.expectation == Expectation::Always {
            checker.assert_no_discovery(property.name);
        }
    }
    checker.assert_any_discovery("everything ends");
}

/// The flaw breaks this promise.
fn is_found(flaw: Flaw, troubles: Troubles, promise: &'static str) {
    let checker = search(flaw, troubles, &[1]);
    let path = checker.assert_any_discovery(promise);
    eprintln!("{flaw:?} is found after {} steps", path.into_vec().len());
}

const NONE: Troubles = Troubles { server_crashes: 0, cuts: 0, reboots: 0, losses: 0, restores: 0, repeats: 0 };

#[test]
fn two_tasks_and_a_server_that_dies() {
    holds(Troubles { server_crashes: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_and_a_connection_that_breaks() {
    holds(Troubles { cuts: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_and_a_lease_that_runs_out() {
    let troubles = Troubles { losses: 1, ..NONE };
    holds(troubles, BOTH);
    let checker = search(Flaw::None, troubles, &[0]);
    checker.assert_any_discovery("a late report is taken");
    checker.assert_any_discovery("two attempts of one task at once, where that is allowed");
}

#[test]
fn one_task_and_everything_at_once() {
    for task in [&[0][..], &[1]] {
        holds(Troubles { server_crashes: 1, cuts: 1, losses: 1, ..NONE }, task);
        holds(Troubles { cuts: 1, reboots: 1, repeats: 1, ..NONE }, task);
        holds(Troubles { restores: 1, losses: 1, ..NONE }, task);
    }
    holds(Troubles { restores: 1, reboots: 1, repeats: 1, ..NONE }, &[1]);
}

#[test]
fn what_is_said_before_it_is_durable_is_found() {
    is_found(Flaw::EffectBeforeCommit, Troubles { server_crashes: 1, ..NONE }, "what runs is on record");
    is_found(Flaw::EffectBeforeCommit, Troubles { server_crashes: 1, ..NONE }, "what must not overlap runs once");
}

#[test]
fn a_fence_without_a_generation_is_found() {
    let promise = "a report ends the attempt that it is about";
    is_found(Flaw::FenceWithoutGeneration, Troubles { restores: 1, ..NONE }, promise);
}

#[test]
fn a_hello_that_requeues_what_is_pending_is_found() {
    let promise = "finished work is not made again";
    is_found(Flaw::HelloRequeuesPending, Troubles { cuts: 1, ..NONE }, promise);
}

#[test]
fn an_assignment_of_a_session_that_is_over_is_found() {
    is_found(Flaw::StaleAssignBegun, Troubles { cuts: 1, ..NONE }, "what must not overlap runs once");
}

#[test]
fn a_lease_that_frees_what_must_not_overlap_is_found() {
    is_found(Flaw::LeaseFreesForbidden, Troubles { losses: 1, ..NONE }, "what must not overlap runs once");
}
