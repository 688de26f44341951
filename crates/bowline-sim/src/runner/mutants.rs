//! Proof that the checker can fail: with each known mistake switched on, it must say so within a bound.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bowline_core::mutant::Mutant;

use super::options::Options;
use super::{Verdict, clock};
use crate::caught;
use crate::drive::Setup;
use crate::workload::shape::{GANGS, LIMITS, LINES, TRIALS};

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
    // Of every kind of seed some: those with resources, limits, gangs and trials too.
    let fresh = (0..seeds_max)
        .flat_map(|seed| [seed, LINES.start + seed, LIMITS.start + seed, GANGS.start + seed, TRIALS.start + seed]);
    let seeds = known(mutant).into_iter().chain(fresh);
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

/// What came of one: the line about it, and whether it was caught. Nobody tries one that is known to be missed,
/// unless it is asked for.
fn tried(mutant: Mutant, is_asked_for: bool, sound: &mut BTreeMap<u64, bool>) -> (Caught, bool) {
    if !is_asked_for && is_open(mutant) {
        let line = format!("{:<44} is not caught yet, and not tried", mutant.name());
        return (Caught { line, verdict: Verdict::Passed }, false);
    }
    let caught = hunt(mutant, if is_asked_for { SEEDS_MAX } else { FEW }, sound);
    let is_caught = caught.verdict == Verdict::Passed;
    (caught, is_caught)
}

/// All mutants, or the one of this name, on as many threads as are wanted.
pub(super) fn all(options: &Options, name: Option<&str>, say: &mut dyn FnMut(&str)) -> Verdict {
    let began = clock::now();
    let chosen: Vec<Mutant> =
        Mutant::ALL.iter().copied().filter(|mutant| name.is_none_or(|name| name == mutant.name())).collect();
    if chosen.is_empty() {
        say("there is no such mutant");
        return Verdict::Failed;
    }
    let next = Mutex::new(chosen.iter().copied());
    let (outcomes, heard) = std::sync::mpsc::channel();
    let work = |outcomes: std::sync::mpsc::Sender<(Caught, bool)>| {
        let mut sound = BTreeMap::new();
        loop {
            let mutant = next.lock().ok().and_then(|mut mutants| mutants.next());
            let Some(mutant) = mutant else { return };
            // Whoever listens listens to the end.
            let _listened = outcomes.send(tried(mutant, name.is_some(), &mut sound));
        }
    };
    let (mut verdict, mut count) = (Verdict::Passed, 0);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            let outcomes = outcomes.clone();
            scope.spawn(|| work(outcomes));
        }
        drop(outcomes);
        for (caught, is_caught) in heard {
            say(&caught.line);
            count += usize::from(is_caught);
            if caught.verdict == Verdict::Failed {
                verdict = Verdict::Failed;
            }
        }
    });
    let (all, took) = (chosen.len(), clock::now().duration_since(began).as_secs());
    // A thread that panicked took its mutant with it.
    say(&format!("{all} mutants, {count} caught, {} not, in {took} s", all - count));
    verdict
}
