//! What the command line says.

use std::collections::BTreeSet;
use std::time::Duration;

use bowline_core::mutant::Mutant;
use bowline_core::time::parse_duration;

use crate::fault::Fault;

/// How to use it.
pub const HELP: &str = "\
cargo xtask sim [--for 10m] [--seed N [--trace]] [--seeds A..B] [--mutants [NAME]]

  --for TIME        runs the known seeds, then fresh ones, until the time is over; fails at a violation, and where a
                    rare path was never reached. Without anything else: 60s
  --known           runs the known seeds alone, and looks at the rare paths
  --seed N          runs one seed; --trace prints every event. The same seed gives the same trace
  --seeds A..B      runs these seeds, B left out
  --mutants [NAME]  switches on one known mistake after the other, and runs seeds until the checker has caught it
  --mutant NAME     with --seed or --seeds: with this mistake
  --without F,...   without these kinds of faults
  --only N,...      only these of the things that happen, by number (`none`: nothing happens)
  --jobs N          so many threads; 1 where not said
  --no-shrink       a failing seed is not made smaller
  --json            the summary as one JSON object";

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One seed.
    Seed(u64),
    /// These seeds, the last one left out.
    Seeds(u64, u64),
    /// For so long.
    For(Duration),
    /// The known seeds.
    Known,
    /// Mutants: this one, or all.
    Mutants(Option<String>),
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub mode: Mode,
    /// Print every event.
    pub trace: bool,
    /// Without these faults.
    pub without: BTreeSet<Fault>,
    /// Only these happenings.
    pub only: Option<BTreeSet<u32>>,
    /// With this mistake.
    pub mutant: Option<Mutant>,
    /// Threads.
    pub jobs: usize,
    /// Make failing seeds smaller.
    pub shrink: bool,
    /// As JSON.
    pub json: bool,
}

/// What runs where nothing is said.
const FOR_DEFAULT: Duration = Duration::from_mins(1);

/// Reads the command line. `None`: help is asked for. The error is a sentence.
pub fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        mode: Mode::For(FOR_DEFAULT),
        trace: false,
        without: BTreeSet::new(),
        only: None,
        mutant: None,
        jobs: 1,
        shrink: true,
        json: false,
    };
    let mut rest = arguments.iter().map(String::as_str).peekable();
    while let Some(word) = rest.next() {
        let mut value = |what: &str| rest.next().map(str::to_owned).ok_or_else(|| format!("`{word}` needs {what}"));
        match word {
            "--help" | "-h" => return Ok(None),
            "--for" => {
                let text = value("a length of time, such as 10m")?;
                options.mode = Mode::For(parse_duration(&text).map_err(|error| error.to_string())?);
            }
            "--known" => options.mode = Mode::Known,
            "--seed" => options.mode = Mode::Seed(number(&value("a number")?)?),
            "--seeds" => {
                let text = value("two numbers, such as 1..100")?;
                let (from, to) = text.split_once("..").ok_or_else(|| format!("`{text}` is no range: write 1..100"))?;
                options.mode = Mode::Seeds(number(from)?, number(to)?);
            }
            "--mutants" => {
                let name = rest.next_if(|next| !next.starts_with("--")).map(str::to_owned);
                options.mode = Mode::Mutants(name);
            }
            "--mutant" => {
                let name = value("a name")?;
                let found = Mutant::from_name(&name).ok_or_else(|| format!("there is no mutant `{name}`"))?;
                options.mutant = Some(found);
            }
            "--without" => {
                for name in value("kinds of faults")?.split(',') {
                    let known = Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
                    let fault = Fault::from_name(name)
                        .ok_or_else(|| format!("there is no fault `{name}`; there are: {known}"))?;
                    options.without.insert(fault);
                }
            }
            "--only" => {
                let text = value("numbers")?;
                let numbers = text.split(',').filter(|text| *text != "none");
                let numbers = numbers.map(|text| number(text).map(|number| u32::try_from(number).unwrap_or(u32::MAX)));
                options.only = Some(numbers.collect::<Result<_, _>>()?);
            }
            "--jobs" => options.jobs = usize::try_from(number(&value("a number")?)?).unwrap_or(1).max(1),
            "--trace" => options.trace = true,
            "--no-shrink" => options.shrink = false,
            "--json" => options.json = true,
            other => return Err(format!("`{other}` is not known")),
        }
    }
    Ok(Some(options))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Option<Options>, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_replay_command_is_read_as_it_is_written() {
        let options = read("--seed 7 --without kill-server,reboot --only 3,9").unwrap().unwrap();
        assert_eq!(options.mode, Mode::Seed(7));
        assert_eq!(options.without.len(), 2);
        assert_eq!(options.only, Some(BTreeSet::from([3, 9])));
        assert_eq!(read("--only none --seed 1").unwrap().unwrap().only, Some(BTreeSet::new()));
        assert_eq!(read("--mutants").unwrap().unwrap().mode, Mode::Mutants(None));
        assert_eq!(read("--mutants x --json").unwrap().unwrap().mode, Mode::Mutants(Some("x".to_owned())));
        assert_eq!(read("--help"), Ok(None));
        for bad in ["--seed", "--seed x", "--seeds 5", "--without nothing", "--what", "--for 7"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
