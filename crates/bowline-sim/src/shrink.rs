//! Makes a failing seed smaller: kinds of faults are left out, then happenings, and what still breaks the same
//! invariant is kept (delta debugging: Zeller and Hildebrandt, 2002). Each kind of fault, and each happening, draws
//! from a stream of its own, so that leaving one out leaves the others as they were.

use std::collections::BTreeSet;

use crate::drive::{Outcome, Setup};
use crate::fault::Fault;

/// A run that is tried takes at most so many times the inputs of the one that failed.
const INPUTS_FACTOR: u64 = 3;

/// The smallest setup that was found, and what came of it. `tries_max` bounds how many runs it takes. `run` is
/// [`crate::drive::run`], with whatever catches a panic around it.
pub fn shrink(
    setup: &Setup,
    outcome: &Outcome,
    tries_max: u32,
    run: &mut dyn FnMut(&Setup) -> Outcome,
) -> (Setup, Outcome) {
    let invariant = outcome.violation.as_ref().map(|violation| violation.invariant);
    let mut tries = tries_max;
    let mut best = (setup.clone(), outcome.clone());
    let mut attempt = |setup: Setup, best: &mut (Setup, Outcome)| -> bool {
        if tries == 0 {
            return false;
        }
        tries -= 1;
        let setup = Setup { inputs_max: best.1.inputs.saturating_mul(INPUTS_FACTOR).max(10_000), ..setup };
        let outcome = run(&setup);
        let same = outcome.violation.as_ref().map(|violation| violation.invariant) == invariant;
        if same {
            // What was allowed to happen, and did not, changes nothing.
            let only = setup.only.is_some().then(|| outcome.happened.clone());
            *best = (Setup { only, ..setup }, outcome);
        }
        same
    };
    // First to what really happened.
    let only = best.1.happened.clone();
    attempt(Setup { only: Some(only), ..best.0.clone() }, &mut best);
    let kinds: Vec<Fault> = best.1.faults.keys().copied().collect();
    for fault in kinds {
        let mut without = best.0.without.clone();
        without.insert(fault);
        attempt(Setup { without, ..best.0.clone() }, &mut best);
    }
    let mut chunk = best.1.happened.len().div_ceil(2);
    while chunk > 0 {
        let all: Vec<u32> = best.1.happened.iter().copied().collect();
        let mut smaller = false;
        for part in all.chunks(chunk) {
            let left_out: BTreeSet<u32> = part.iter().copied().collect();
            let now: BTreeSet<u32> = best.0.only.clone().unwrap_or_else(|| best.1.happened.clone());
            let only: BTreeSet<u32> = now.difference(&left_out).copied().collect();
            if only.len() < now.len() {
                smaller |= attempt(Setup { only: Some(only), ..best.0.clone() }, &mut best);
            }
        }
        if !smaller || chunk > 1 {
            chunk /= 2;
        }
    }
    best.0.inputs_max = setup.inputs_max;
    best
}

/// The command that replays a setup.
pub fn command(setup: &Setup) -> String {
    use std::fmt::Write as _;
    let mut text = format!("cargo xtask sim --seed {}", setup.seed);
    if let Some(mutant) = setup.mutant {
        // Writing to a string does not fail.
        let _never = write!(text, " --mutant {}", mutant.name());
    }
    if !setup.without.is_empty() {
        let names: Vec<&str> = setup.without.iter().map(|fault| fault.name()).collect();
        let _never = write!(text, " --without {}", names.join(","));
    }
    if let Some(only) = &setup.only {
        let numbers: Vec<String> = only.iter().map(ToString::to_string).collect();
        let numbers = if numbers.is_empty() { "none".to_owned() } else { numbers.join(",") };
        let _never = write!(text, " --only {numbers}");
    }
    text
}
