//! TERM and KILL to all of a job.

use rustix::process::{Signal, kill_process_group};

use super::body::{Bodies, Body, First};
use super::members;
use crate::log::Log;
use crate::procs::{self, Process, to_pid};
use crate::{cgroup, keeper};

/// A job that makes processes faster than they can be stopped is killed one by one, again and again.
const HOLD_ROUNDS_MAX: usize = 32;

/// Kills all of a job that can be found, in the strongest way that it has, and then one by one what that
/// may have missed. Tells whom it found.
pub(super) fn kill_all(bodies: &Bodies, body: &Body, helper: Option<u32>, log: &mut Log) -> Vec<Process> {
    let mut found = members::of(bodies, body, helper);
    match (&body.cgroup, body.keeper()) {
        (Some(path), _) => {
            if let Err(error) = cgroup::kill(path) {
                log.say(format_args!("{}: its cgroup refused the kill: {error}; one by one instead", body.key));
            }
        }
        // All others in the namespace go with its first.
        (None, Some((keeper, keeper::Home::Namespace))) => procs::signal(keeper, Signal::KILL),
        (None, _) => found = hold_still(bodies, body, helper, found),
    }
    for process in &found {
        procs::signal(process, Signal::KILL);
    }
    found
}

/// Stops all of a job, those too that are born meanwhile: what stands still makes no more.
fn hold_still(bodies: &Bodies, body: &Body, helper: Option<u32>, mut found: Vec<Process>) -> Vec<Process> {
    let mut stopped = 0;
    for _ in 0..HOLD_ROUNDS_MAX {
        for process in &found[stopped..] {
            procs::signal(process, Signal::STOP);
        }
        stopped = found.len();
        let born = members::of(bodies, body, helper);
        found.extend(
            born.into_iter().filter(|process| !found.iter().any(|known| known.is_same(process))).collect::<Vec<_>>(),
        );
        if found.len() == stopped {
            break;
        }
    }
    found
}

/// Sends TERM to all of a job that has not got it, once each: many programs take a second one for
/// impatience. What was stopped has to go on to hear it. Tells who got it now.
pub(super) fn term(bodies: &Bodies, body: &Body, helper: Option<u32>) -> Vec<Process> {
    let mut found = members::of(bodies, body, helper);
    found.retain(|process| !body.termed.iter().any(|termed| termed.is_same(process)));
    let first = body.main.process.pid;
    // While its first process is not reaped, its number is nobody else's group. A keeper's child is
    // reaped by the keeper, and may be gone.
    let is_leader = body.main.kept.is_none()
        && body.first == First::Alive
        && found.iter().any(|process| process.pid == first && process.group == first);
    for signal in [Signal::TERM, Signal::CONT] {
        if is_leader && let Some(group) = to_pid(first) {
            kill_process_group(group, signal).ok();
        }
        for process in found.iter().filter(|process| !is_leader || process.group != first) {
            procs::signal(process, signal);
        }
    }
    found
}
