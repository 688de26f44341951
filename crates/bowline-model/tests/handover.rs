//! The model of how work changes hands, checked to its last state; and each flaw, which must be found.
#![allow(clippy::print_stderr, reason = "the size of what was searched is worth a line")]

use std::collections::BTreeSet;

use bowline_model::{Flaw, Handover, States, Troubles};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const BOTH: &[usize] = &[0, 1];

const NONE: Troubles = Troubles::NONE;

/// Searches everything, and says how much that was.
fn search(model: Handover) -> impl Checker<Handover> {
    let checker = model.checker().threads(2).spawn_bfs().join();
    assert!(checker.is_done(), "to the last state");
    eprintln!("{model:?}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker
}

/// Every promise holds in every state, and what should be possible is.
fn holds(troubles: Troubles, tasks: &'static [usize]) -> impl Checker<Handover> {
    let checker = search(Handover { states: States::Merged, flaw: Flaw::None, troubles, tasks });
    for property in checker.model().properties() {
        if property.expectation == Expectation::Always {
            checker.assert_no_discovery(property.name);
        }
    }
    checker.assert_any_discovery("everything ends");
    if troubles.losses > 0 && tasks.contains(&0) {
        checker.assert_any_discovery("a late report is taken");
        checker.assert_any_discovery("two attempts of one task at once, where that is allowed");
    }
    checker
}

/// The flaw breaks this promise.
fn is_found(flaw: Flaw, troubles: Troubles, tasks: &'static [usize], promise: &'static str) {
    let model = Handover { states: States::Merged, flaw, troubles, tasks };
    let when = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = model.checker().threads(2).finish_when(when).spawn_bfs().join();
    let path = checker.assert_any_discovery(promise);
    eprintln!("{flaw:?} is found after {} steps, {} states", path.into_vec().len(), checker.unique_state_count());
}

#[test]
fn two_tasks_and_everything_at_once_but_a_restore() {
    holds(Troubles { restores: 0, ..Troubles::ALL }, BOTH);
}

#[test]
fn two_tasks_two_crashes_two_broken_connections_and_two_messages_that_come_twice() {
    holds(Troubles { server_crashes: 2, cuts: 2, repeats: 2, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_restore_a_crash_a_broken_connection_a_handover_and_a_message_that_comes_twice() {
    holds(Troubles { restores: 1, server_crashes: 1, cuts: 1, handovers: 1, repeats: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_restore_a_crash_a_broken_connection_a_restart_and_a_lease_that_runs_out() {
    holds(Troubles { restores: 1, server_crashes: 1, cuts: 1, reboots: 1, losses: 1, ..NONE }, BOTH);
}

#[test]
fn two_tasks_a_restore_a_crash_a_broken_connection_a_lease_that_runs_out_and_a_message_that_comes_twice() {
    holds(Troubles { restores: 1, server_crashes: 1, cuts: 1, losses: 1, repeats: 1, ..NONE }, BOTH);
}

#[test]
fn one_task_and_everything_at_once() {
    for task in [&[0][..], &[1]] {
        holds(Troubles::ALL, task);
    }
}

#[test]
fn what_is_said_before_it_is_durable_is_found() {
    let crash = Troubles { server_crashes: 1, ..NONE };
    is_found(Flaw::EffectBeforeCommit, NONE, BOTH, "what runs is on record");
    is_found(Flaw::EffectBeforeCommit, NONE, BOTH, "an acknowledged end stays");
    is_found(Flaw::EffectBeforeCommit, crash, BOTH, "what must not overlap runs once");
}

#[test]
fn a_fence_without_a_generation_is_found() {
    let promise = "a report ends the attempt that it is about";
    is_found(Flaw::FenceWithoutGeneration, Troubles { restores: 1, ..NONE }, BOTH, promise);
}

#[test]
fn a_hello_that_requeues_what_is_pending_is_found() {
    let promise = "finished work is not made again";
    is_found(Flaw::HelloRequeuesPending, Troubles { cuts: 1, ..NONE }, BOTH, promise);
}

#[test]
fn an_assignment_of_a_session_that_is_over_is_found() {
    let promise = "what must not overlap runs once";
    is_found(Flaw::StaleAssignBegun, Troubles { cuts: 1, ..NONE }, BOTH, promise);
    is_found(Flaw::StaleAssignBegun, Troubles { handovers: 1, ..NONE }, BOTH, promise);
}

#[test]
fn a_lease_that_frees_what_must_not_overlap_is_found() {
    is_found(Flaw::LeaseFreesForbidden, Troubles { losses: 1, ..NONE }, BOTH, "what must not overlap runs once");
}

#[test]
fn a_worker_that_forgets_what_it_ended_is_found() {
    is_found(Flaw::SettledForgotten, Troubles { repeats: 1, ..NONE }, BOTH, "finished work is not made again");
}

/// Where nothing is put back, a task that must not overlap is alone in the outbox, so that one task shows nothing.
#[test]
fn an_acknowledgement_that_settles_all_is_found_with_two_tasks() {
    let flaw = Flaw::AckSettlesAll;
    is_found(flaw, Troubles { cuts: 1, ..NONE }, BOTH, "finished work is not made again");
    for tasks in [&[0][..], &[1]] {
        let troubles = Troubles { restores: 0, ..Troubles::ALL };
        let alone = search(Handover { states: States::Merged, flaw, troubles, tasks });
        for property in alone.model().properties().iter().filter(|one| one.expectation == Expectation::Always) {
            alone.assert_no_discovery(property.name);
        }
    }
}

/// What is merged hides nothing: with each flaw and each trouble, every state apart breaks the same promises.
#[test]
fn every_state_apart_breaks_the_same_promises() {
    let troubles = [
        NONE,
        Troubles { server_crashes: 1, ..NONE },
        Troubles { cuts: 1, ..NONE },
        Troubles { handovers: 1, ..NONE },
        Troubles { reboots: 1, ..NONE },
        Troubles { losses: 1, ..NONE },
        Troubles { restores: 1, ..NONE },
        Troubles { repeats: 1, ..NONE },
    ];
    for (troubles, flaw) in troubles.iter().flat_map(|troubles| Flaw::ALL.map(|flaw| (*troubles, flaw))) {
        same_promises(flaw, troubles, BOTH);
    }
    for (task, flaw) in [&[0][..], &[1]].into_iter().flat_map(|task| Flaw::ALL.map(|flaw| (task, flaw))) {
        same_promises(flaw, Troubles { restores: 1, server_crashes: 1, ..NONE }, task);
        same_promises(flaw, Troubles { server_crashes: 1, cuts: 1, losses: 1, ..NONE }, task);
        same_promises(flaw, Troubles { server_crashes: 1, handovers: 1, ..NONE }, task);
    }
}

fn same_promises(flaw: Flaw, troubles: Troubles, tasks: &'static [usize]) {
    let [merged, each] = [States::Merged, States::Each].map(|states| {
        let checker = search(Handover { states, flaw, troubles, tasks });
        checker.discoveries().into_keys().collect::<BTreeSet<_>>()
    });
    assert_eq!(merged, each, "{flaw:?}, {troubles:?}, {tasks:?}");
}
