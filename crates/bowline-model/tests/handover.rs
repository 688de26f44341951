//! The model of how work changes hands, checked to its last state; and each flaw, which must be found.
#![allow(clippy::print_stderr, reason = "the size of what was searched is worth a line")]

use bowline_model::{Flaw, Handover, Troubles};
use stateright::{Checker, Expectation, Model};

const BOTH: &[usize] = &[0, 1];

/// Searches everything, and says how much that was.
fn search(flaw: Flaw, troubles: Troubles, tasks: &'static [usize]) -> impl Checker<Handover> {
    let checker = Handover { flaw, troubles, tasks }.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done(), "to the last state");
    eprintln!(
        "{flaw:?}, {tasks:?}, {troubles:?}: {} states, depth {}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker
}

/// Every promise holds in every state, and what should be possible is.
fn holds(troubles: Troubles, tasks: &'static [usize]) -> impl Checker<Handover> {
    let checker = search(Flaw::None, troubles, tasks);
    for property in checker.model().properties() {
        if property.expectation == Expectation::Always {
            checker.assert_no_discovery(property.name);
        }
    }
    checker.assert_any_discovery("everything ends");
    checker
}

/// The flaw breaks this promise.
fn is_found(flaw: Flaw, troubles: Troubles, promise: &'static str) {
    let checker = search(flaw, troubles, BOTH);
    let path = checker.assert_any_discovery(promise);
    eprintln!("{flaw:?} is found after {} steps", path.into_vec().len());
}

const NONE: Troubles = Troubles { server_crashes: 0, cuts: 0, reboots: 0, losses: 0, restores: 0, repeats: 0 };

#[test]
fn two_tasks_a_server_that_dies_a_connection_that_breaks_and_a_message_that_comes_twice() {
    holds(Troubles { server_crashes: 1, cuts: 1, repeats: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_server_that_dies_a_connection_that_breaks_and_a_machine_that_restarts() {
    holds(Troubles { server_crashes: 1, cuts: 1, reboots: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_server_that_dies_a_connection_that_breaks_and_a_lease_that_runs_out() {
    let checker = holds(Troubles { server_crashes: 1, cuts: 1, losses: 1, ..NONE }, BOTH);
    checker.assert_any_discovery("a late report is taken");
    checker.assert_any_discovery("two attempts of one task at once, where that is allowed");
}

#[test]
fn two_tasks_a_server_that_dies_a_lease_that_runs_out_and_a_message_that_comes_twice() {
    holds(Troubles { server_crashes: 1, losses: 1, repeats: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_store_that_is_put_back_and_a_server_that_dies() {
    holds(Troubles { restores: 1, server_crashes: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_store_that_is_put_back_and_a_connection_that_breaks() {
    holds(Troubles { restores: 1, cuts: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_store_that_is_put_back_and_a_machine_that_restarts() {
    holds(Troubles { restores: 1, reboots: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_store_that_is_put_back_and_a_lease_that_runs_out() {
    let checker = holds(Troubles { restores: 1, losses: 1, ..NONE }, BOTH);
    checker.assert_any_discovery("a late report is taken");
}

#[test]
fn two_tasks_a_store_that_is_put_back_and_a_message_that_comes_twice() {
    holds(Troubles { restores: 1, repeats: 1, ..NONE }, BOTH);
}

#[test]
fn one_task_and_everything_at_once() {
    let all = Troubles { server_crashes: 1, cuts: 1, reboots: 1, losses: 1, restores: 0, repeats: 1 };
    for task in [&[0][..], &[1]] {
        holds(all, task);
        holds(Troubles { server_crashes: 1, cuts: 1, reboots: 1, restores: 1, ..NONE }, task);
        holds(Troubles { losses: 1, restores: 1, repeats: 1, ..NONE }, task);
    }
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
