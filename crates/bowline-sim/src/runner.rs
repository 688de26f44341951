//! Runs seeds, and says what came of it: inputs per second, faults by kind, rare paths, violations with the command
//! that replays them; and proves by mutants that the checker can fail.

mod clock;
mod mutants;
pub mod options;
mod seeds;
mod tally;

use crate::caught;
use crate::drive::{Outcome, Setup};
use crate::shrink;
use crate::trace::Keep;
use options::{Mode, Options};
use tally::Tally;

/// A failing seed is run again so many times at most to make it smaller.
const SHRINK_TRIES_MAX: u32 = 400;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Something is broken, or was never reached.
    Failed,
}

/// Does what the options say.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Verdict {
    match &options.mode {
        Mode::Seed(seed) => one(options, *seed, say),
        Mode::Seeds(from, to) => seeds::range(options, *from..*to, say),
        Mode::For(length) => seeds::endless(options, Some(*length), say),
        Mode::Known => seeds::endless(options, None, say),
        Mode::Mutants(name) => mutants::all(options, name.as_deref(), say),
    }
}

fn setup(options: &Options, seed: u64) -> Setup {
    let mut setup = Setup::new(seed);
    setup.without.clone_from(&options.without);
    setup.only.clone_from(&options.only);
    setup.mutant = options.mutant;
    setup
}

/// One seed, with all that there is to say of it.
fn one(options: &Options, seed: u64, say: &mut dyn FnMut(&str)) -> Verdict {
    let keep = if options.trace { Keep::Lines } else { Keep::Hash };
    let began = clock::now();
    let outcome = caught::run(&Setup { keep, ..setup(options, seed) });
    let took = clock::now().duration_since(began);
    outcome.lines.iter().for_each(|line| say(line));
    let mut tally = Tally::default();
    tally.add(&outcome);
    if options.json {
        say(&tally.json(took, std::slice::from_ref(&outcome)));
    } else {
        tally.lines(took, 1).iter().for_each(|line| say(line));
        say(&format!("seed {seed}: the trace's hash is {:016x}", outcome.hash));
    }
    judge(options, &outcome, say)
}

/// Says what is broken, made smaller, and how to see it again.
fn judge(options: &Options, outcome: &Outcome, say: &mut dyn FnMut(&str)) -> Verdict {
    let Some(violation) = &outcome.violation else { return Verdict::Passed };
    let text = |violation: &crate::check::Violation| {
        format!(
            "{} is broken at {}.{:06} s: {}",
            violation.invariant,
            violation.at / 1_000_000,
            violation.at % 1_000_000,
            violation.what
        )
    };
    say(&format!("seed {}: {}", outcome.seed, text(violation)));
    let whole = setup(options, outcome.seed);
    if !options.shrink {
        say(&format!("replay: {}", shrink::command(&whole)));
        return Verdict::Failed;
    }
    let (small, after) = shrink::shrink(&whole, outcome, SHRINK_TRIES_MAX, &mut caught::run);
    if let Some(violation) = &after.violation {
        say(&format!("smaller ({} things happen, {} inputs): {}", after.happened.len(), after.inputs, text(violation)));
    }
    say(&format!("replay: {}", shrink::command(&small)));
    Verdict::Failed
}
