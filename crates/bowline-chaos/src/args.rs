//! What can be asked for, read and checked before anything starts.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use crate::plan::Kind;

/// Arguments.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Clone, Parser)]
#[command(
    name = "bowline-chaos",
    about = "Real faults against the shipped binary, judged from outside",
    after_help = "Each kind of fault comes once, whatever --for says; then they go on until it is over. Every five minutes
everything is judged and begun anew. Ctrl-C ends in order, with the table; a second one kills everything.
Exits with 1 where something was found: what, and the folder with all that was said, come with the table."
)]
pub(crate) struct Args {
    /// The program that is tested
    #[arg(long, value_name = "FILE")]
    pub(crate) bowline: PathBuf,
    /// An older one, to upgrade from and to go back to [default: a copy of the same]
    #[arg(long, value_name = "FILE")]
    pub(crate) old: Option<PathBuf>,
    /// Go on with faults for so long
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub(crate) length: Duration,
    /// Kinds of faults, with commas between: kill, stop, netns, relay, disk, store, clock, herd, upgrade
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub(crate) faults: Vec<Kind>,
    /// The same seed makes the same plan of faults and work
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// The table as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the folder where nothing was found too
    #[arg(long)]
    pub(crate) keep: bool,
    /// Say the plan of faults and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Instead of faults of all kinds: the order of lines, under kills; see `cargo xtask lines`
    #[arg(long, conflicts_with_all = ["old", "faults", "plan"])]
    pub(crate) lines: bool,
    /// With --lines: go on in the folder of a run that was left
    #[arg(long, value_name = "DIR", requires = "lines")]
    pub(crate) resume: Option<PathBuf>,
    /// The folder of this run: made by the first process, told to those inside
    #[arg(long, hide = true)]
    pub(crate) room: Option<PathBuf>,
}

impl Args {
    /// The kinds that were asked for: all of them where nothing was said.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let all = Kind::ALL.into_iter();
        all.filter(|kind| self.faults.is_empty() || self.faults.contains(kind)).collect()
    }
}

/// Reads the command line; `--help` and mistakes are said here.
pub(crate) fn parse(words: &[OsString]) -> Result<Args> {
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(said) => said.exit(),
    };
    for program in [Some(&args.bowline), args.old.as_ref()].into_iter().flatten() {
        ensure!(
            program.is_file(),
            "there is no program `{}`: build it first, or use `cargo xtask chaos`",
            program.display()
        );
    }
    Ok(args)
}

fn kind(text: &str) -> Result<Kind> {
    let all = Kind::ALL.map(Kind::name);
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == text.trim())
        .with_context(|| format!("there is no such kind; there are {}", all.join(", ")))
}

/// `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration> {
    let (mut total, mut number) = (Duration::ZERO, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let count: u64 = number.parse().context("a number and a unit, such as 90s, 5m or 1h30m")?;
        number.clear();
        total += match letter {
            's' => Duration::from_secs(count),
            'm' => Duration::from_mins(count),
            'h' => Duration::from_hours(count),
            'd' => Duration::from_hours(24 * count),
            _ => bail!("units are s, m, h and d"),
        };
    }
    ensure!(number.is_empty() && !text.is_empty(), "a number and a unit, such as 90s, 5m or 1h30m");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        for bad in ["", "5", "m", "5x", "1m5"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_are_named_and_all_where_none_is() {
        assert_eq!(kind("kill").unwrap(), Kind::Kill);
        assert!(kind("fire").unwrap_err().to_string().contains("upgrade"));
        let args = Args::try_parse_from(["bowline-chaos", "--bowline", "b", "--faults", "disk,kill"]).unwrap();
        assert_eq!(args.kinds(), [Kind::Kill, Kind::Disk]);
    }
}
