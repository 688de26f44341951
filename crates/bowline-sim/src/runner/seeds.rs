//! Many seeds, on as many threads as are wanted. Each run lives in one thread, and shares nothing.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use super::options::Options;
use super::tally::Tally;
use super::{Verdict, clock, judge, setup};
use crate::caught;
use crate::drive::Outcome;

/// Seeds that once failed, and seeds that together reach every rare path: a line each, with what it is for.
const KNOWN: &str = include_str!("../../seeds.txt");
/// Rare paths that no seed is known to reach yet: each is still to be reached, and none may join them unseen.
const UNREACHED: &str = include_str!("../../unreached.txt");
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// So many failing seeds are made smaller; the others are only named.
const SHRUNK_MAX: usize = 3;

/// The known seeds, in their order.
pub(super) fn known() -> Vec<u64> {
    let first = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    KNOWN.lines().filter(|line| !line.starts_with('#')).filter_map(first).collect()
}

#[derive(Debug, Default)]
struct Shared {
    tally: Tally,
    failed: Vec<Outcome>,
    told_at: Duration,
}

fn run_all(
    options: &Options,
    seeds: impl Iterator<Item = u64> + Send,
    say: &mut dyn FnMut(&str),
    until: Option<Duration>,
) -> (Tally, Vec<Outcome>, Duration) {
    let began = clock::now();
    let (seeds, shared) = (Mutex::new(seeds), Mutex::new(Shared::default()));
    let (lines, to_say) = std::sync::mpsc::channel::<String>();
    let work = |lines: std::sync::mpsc::Sender<String>| loop {
        let took = clock::now().duration_since(began);
        if until.is_some_and(|until| took >= until) {
            return;
        }
        let next = seeds.lock().ok().and_then(|mut seeds| seeds.next());
        let Some(seed) = next else { return };
        let mut outcome = caught::run(&setup(options, seed));
        outcome.lines.clear();
        let Ok(mut shared) = shared.lock() else { return };
        shared.tally.add(&outcome);
        if outcome.violation.is_some() {
            shared.failed.push(outcome);
        }
        let took = clock::now().duration_since(began);
        if took >= shared.told_at + PROGRESS_EVERY {
            shared.told_at = took;
            // Whoever listens listens to the end.
            let _listened = lines.send(shared.tally.progress(took, options.jobs));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            let lines = lines.clone();
            scope.spawn(|| work(lines));
        }
        drop(lines);
        for line in to_say {
            if !options.json {
                say(&line);
            }
        }
    });
    let took = clock::now().duration_since(began);
    let shared = shared.into_inner().unwrap_or_default();
    (shared.tally, shared.failed, took)
}

fn report(
    options: &Options,
    (tally, mut failed, took): (Tally, Vec<Outcome>, Duration),
    say: &mut dyn FnMut(&str),
) -> Verdict {
    failed.sort_by_key(|outcome| outcome.seed);
    if options.json {
        say(&tally.json(took, &failed));
        return if failed.is_empty() { Verdict::Passed } else { Verdict::Failed };
    }
    tally.lines(took, options.jobs).iter().for_each(|line| say(line));
    let mut verdict = Verdict::Passed;
    for (place, outcome) in failed.iter().enumerate() {
        let options = Options { shrink: options.shrink && place < SHRUNK_MAX, ..options.clone() };
        verdict = judge(&options, outcome, say);
    }
    if verdict == Verdict::Passed {
        say(&format!("no invariant was broken in {} runs with {} inputs", tally.runs, tally.inputs));
    }
    verdict
}

/// These seeds.
pub(super) fn range(options: &Options, seeds: Range<u64>, say: &mut dyn FnMut(&str)) -> Verdict {
    let done = run_all(options, seeds, say, None);
    report(options, done, say)
}

/// The known seeds, then fresh ones for so long, where that is said. Where a rare path was never reached it fails.
pub(super) fn endless(options: &Options, length: Option<Duration>, say: &mut dyn FnMut(&str)) -> Verdict {
    let fresh = clock::fresh_seed();
    if let Some(length) = length.filter(|_| !options.json) {
        say(&format!("{} known seeds, then fresh ones from {fresh} on, for {} s", known().len(), length.as_secs()));
    }
    // Without a length there are no fresh ones.
    let fresh = if length.is_some() { fresh..u64::MAX } else { 0..0 };
    let done = run_all(options, known().into_iter().chain(fresh), say, length);
    let owed: Vec<&str> = UNREACHED.lines().filter(|line| !line.starts_with('#')).collect();
    let (still_owed, unreached): (Vec<&str>, Vec<&str>) =
        done.0.unreached().into_iter().partition(|path| owed.contains(path));
    let verdict = report(options, done, say);
    if !options.json && !still_owed.is_empty() {
        say(&format!("rare paths that no seed is known to reach yet: {}", still_owed.join(", ")));
    }
    if unreached.is_empty() {
        return verdict;
    }
    if !options.json {
        say(&format!("rare paths that were never reached: {}", unreached.join(", ")));
    }
    Verdict::Failed
}
