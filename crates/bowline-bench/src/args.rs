//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use bowline_core::time::Span;
use clap::{Parser, Subcommand};

use crate::plays::Play;
use crate::rows::Workload;
use crate::size::Size;

/// Workloads against Bowline, beside their ceilings.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Which rows; all where none is named.
    #[arg(value_enum, value_name = "ROW")]
    rows: Vec<Workload>,
    /// Also write the rows to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Small sizes, to try something out.
    #[arg(long, conflicts_with = "tiny")]
    quick: bool,
    /// The smallest sizes: only whether each row runs.
    #[arg(long)]
    tiny: bool,
    /// How often each figure is taken; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// How long `churn` goes on.
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<Span>,
    /// The `bowline` program to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    bowline: Option<PathBuf>,
    /// Where data folders are made. A temporary folder of the system's where not said.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    play: Option<Played>,
}

#[derive(Debug, Subcommand)]
enum Played {
    /// Plays the job of a workload.
    #[command(subcommand, hide = true)]
    Play(Play),
}

/// What is to be done.
pub(crate) enum Command {
    Play(Play),
    Measure(Box<Plan>),
}

/// What is to be measured, and with what.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Vec<Workload>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) size: Size,
    pub(crate) runs: u32,
    /// The `bowline` program.
    pub(crate) program: PathBuf,
    folder: Option<PathBuf>,
}

impl Args {
    pub(crate) fn command(self) -> Command {
        if let Some(Played::Play(play)) = self.play {
            return Command::Play(play);
        }
        let mut size = match (self.quick, self.tiny) {
            (_, true) => Size::tiny(),
            (true, false) => Size::quick(),
            (false, false) => Size::full(),
        };
        size.churn = self.length.map_or(size.churn, |length| length.0.max(Duration::from_secs(1)));
        let rows = if self.rows.is_empty() { Workload::ALL.to_vec() } else { self.rows };
        let program = self.bowline.unwrap_or_else(|| own_folder().join("bowline"));
        Command::Measure(Box::new(Plan { rows, json: self.json, size, runs: self.runs, program, folder: self.folder }))
    }
}

/// The folder of this program.
fn own_folder() -> PathBuf {
    std::env::current_exe().ok().and_then(|own| own.parent().map(PathBuf::from)).unwrap_or_default()
}

impl Plan {
    /// A folder that goes with what is measured in it.
    pub(crate) fn folder(&self) -> std::io::Result<tempfile::TempDir> {
        let named = tempfile::Builder::new().prefix("bench-").to_owned();
        self.folder.as_ref().map_or_else(|| named.tempdir(), |folder| named.tempdir_in(folder))
    }
}
