//! Proof that the checker can fail: with each known mistake switched on, it must say so within a bound.

use std::collections::BTreeMap;

use bowline_core::mutant::Mutant;

use super::options::Options;
use super::{Verdict, clock};
use crate::caught;
use crate::drive::Setup;

/// The seed at which each mutant was caught when somebody looked last: tried first.
const KNOWN: &str = include_str!("../../mutants.txt");
/// Seeds that are tried for one mutant that is asked for by name; where all are, each is tried on [`FEW`].
const SEEDS_MAX: u64 = 300;
/// Seeds that are tried for each of all mutants: those that nobody has looked for yet.
const FEW: u64 = 10;
/// Inputs that one mutant may cost.
const INPUTS_MAX: u64 = 20_000_000;

fn known(mutant: Mutant) -> Option<u64> {
    let mut lines = KNOWN.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == mutant.name()).and_then(|(_, seed)| seed.trim().parse().ok())
}

/// Whether it is known that nobody catches it yet: written down as `NAME open`.
fn is_open(mutant: Mutant) -> bool {
    KNOWN
        .lines()
        .filter_map(|line| line.split_once(' '))
        .any(|(name, seed)| name == mutant.name() && seed.trim() == "open")
}

/// How one was caught.
struct Caught {
    line: String,
    verdict: Verdict,
}

fn hunt(mutant: Mutant, seeds_max: u64, sound: &mut BTreeMap<u64, bool>) -> Caught {
    let mut inputs = 0;
    let seeds = known(mutant).into_iter().chain(0..seeds_max);
    for (tried, seed) in seeds.enumerate() {
        // A seed that fails without the mistake says nothing of it.
        let is_sound = *sound.entry(seed).or_insert_with(|| caught::run(&Setup::new(seed)).violation.is_none());
        if !is_sound {
            continue;
        }
        let outcome = caught::run(&Setup { mutant: Some(mutant), ..Setup::new(seed) });
        inputs += outcome.inputs;
        if let Some(violation) = outcome.violation {
            let (name, invariant) = (mutant.name(), violation.invariant.name());
            let line = format!(
                "{name:<44} caught by {invariant:<8} after {inputs:>9} inputs, seed {seed} ({} runs)",
                tried + 1
            );
            return Caught { line, verdict: Verdict::Passed };
        }
        if inputs > INPUTS_MAX {
            break;
        }
    }
    let line = format!("{:<44} NOT CAUGHT within {inputs} inputs", mutant.name());
    Caught { line, verdict: Verdict::Failed }
}

/// All mutants, or the one of this name.
pub(super) fn all(_: &Options, name: Option<&str>, say: &mut dyn FnMut(&str)) -> Verdict {
    let began = clock::now();
    let chosen: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|mutant| name.is_none_or(|name| name == mutant.name())).collect();
    if chosen.is_empty() {
        say("there is no such mutant");
        return Verdict::Failed;
    }
    let mut verdict = Verdict::Passed;
    let mut missed = 0;
    let mut sound = BTreeMap::new();
    for mutant in &chosen {
        if name.is_none() && is_open(*mutant) {
            missed += 1;
            say(&format!("{:<44} is not caught yet, and not tried", mutant.name()));
            continue;
        }
        let caught = hunt(*mutant, if name.is_some() { SEEDS_MAX } else { FEW }, &mut sound);
        say(&caught.line);
        if caught.verdict == Verdict::Failed {
            verdict = Verdict::Failed;
            missed += 1;
        }
    }
    let took = clock::now().duration_since(began);
    say(&format!("{} mutants, {} caught, {missed} not, in {} s", chosen.len(), chosen.len() - missed, took.as_secs()));
    verdict
}
