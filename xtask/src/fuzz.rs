//! `cargo xtask fuzz`: builds the targets in `fuzz/` and runs them, several at a time, each for its share of the time; tells what
//! each did, and makes what broke something small and easy to repeat.
//!
//! The layout is that of cargo-fuzz, which may be used beside this. It is not needed, and neither is a nightly
//! toolchain: libFuzzer comes with the crate `libfuzzer-sys`, and what it asks of the compiler are flags that every one has.

mod build;
mod one;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::say;
pub(crate) use build::{is_compiler, wrapped};
use one::{Outcome, Target};

/// How long all targets together run where nothing is said: until somebody stops it, in rounds of so long a target.
const ROUND: Duration = Duration::from_mins(10);

/// How long all targets together run within `cargo xtask test`.
const BOUNDED: Duration = Duration::from_secs(30);
/// Programs that building needs, and the Debian package that has each: libFuzzer is C++.
pub(crate) const PROGRAMS: [(&str, &str); 1] = [("c++", "g++")];

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    targets: Vec<String>,
    within: Option<Duration>,
    input: Option<PathBuf>,
    keep: Keep,
}

/// What becomes of new inputs that reach new code.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// They stay under `target/`, for later runs on this machine.
    #[default]
    Here,
    /// The best of them go into the committed corpus.
    Committed,
}

/// Every target, for a while.
pub(crate) fn bounded(root: &Path) -> Result<()> {
    run(root, &["--for".to_owned(), BOUNDED.as_secs().to_string()])
}

/// Runs what the arguments ask for.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let wanted = wanted(arguments)?;
    let all = build::targets(root)?;
    if let Some(unknown) = wanted.targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{unknown}`; there are: {}", all.join(", "));
    }
    let targets = if wanted.targets.is_empty() { all } else { wanted.targets.clone() };
    let program = build::build(root)?;
    let targets: Vec<Target<'_>> =
        targets.iter().map(|name| Target { root, program: &program, name: name.as_str() }).collect();
    if let Some(input) = &wanted.input {
        let [only] = targets.as_slice() else { bail!("`--input` is for one target: name it") };
        return only.replay(input);
    }
    if wanted.keep == Keep::Committed {
        return targets.iter().try_for_each(Target::merge);
    }
    loop {
        let share = wanted.within.map_or(ROUND, |all| share(all, targets.len()));
        let outcomes = all_of(&targets, share)?;
        table(&outcomes);
        let findings: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
        if findings > 0 {
            bail!("fuzz: {findings} findings; each is told above, with how to repeat it");
        }
        if wanted.within.is_some() {
            return Ok(());
        }
    }
}

/// `60` and `60s`, `10m`, `8h`.
pub(crate) fn span(text: &str) -> Result<Duration> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => match &text[at..] {
            "s" => (&text[..at], 1),
            "m" => (&text[..at], 60),
            "h" => (&text[..at], 3_600),
            _ => bail!("`{text}` is no time: write `60s`, `10m` or `8h`"),
        },
    };
    let number: u64 = number.parse().with_context(|| format!("`{text}` is no time: write `60s`, `10m` or `8h`"))?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

fn wanted(arguments: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("`{argument}` wants a value"));
        match argument.as_str() {
            "--for" => wanted.within = Some(span(value()?)?),
            "--input" => wanted.input = Some(PathBuf::from(value()?)),
            "--keep" => wanted.keep = Keep::Committed,
            option if option.starts_with('-') => bail!("fuzz knows no `{option}`: see `cargo xtask help`"),
            target => wanted.targets.push(target.to_owned()),
        }
    }
    Ok(wanted)
}

/// Targets at a time.
fn lanes() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Each target's time, where all together have so long. Never less than a second.
fn share(all: Duration, targets: usize) -> Duration {
    let rounds = targets.div_ceil(lanes()).max(1);
    (all / u32::try_from(rounds).unwrap_or(u32::MAX)).max(Duration::from_secs(1))
}

fn all_of(targets: &[Target<'_>], share: Duration) -> Result<Vec<Outcome>> {
    let next = Mutex::new(targets.iter());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let lane = || -> Result<()> {
            loop {
                let Some(target) = next.lock().ok().and_then(|mut next| next.next()) else { return Ok(()) };
                let outcome = target.run(share)?;
                if let Ok(mut outcomes) = outcomes.lock() {
                    outcomes.push(outcome);
                }
            }
        };
        let lanes: Vec<_> = (0..lanes().min(targets.len())).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| bail!("a lane of targets panicked")))
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(outcomes)
}

fn table(outcomes: &[Outcome]) {
    say("target          executions       /s  coverage  corpus  findings");
    for Outcome { target, executions, per_second, coverage, corpus, findings } in outcomes {
        let findings = findings.len();
        say(&format!("{target:<14} {executions:>11} {per_second:>8} {coverage:>9} {corpus:>7} {findings:>9}"));
    }
    for finding in outcomes.iter().flat_map(|outcome| &outcome.findings) {
        say(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(span("60").unwrap(), Duration::from_mins(1));
        assert_eq!(span("10m").unwrap(), Duration::from_mins(10));
        assert!(span("1d").is_err() && span("").is_err() && span("s").is_err());
    }
}
