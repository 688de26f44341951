//! Workloads against Bowline, each beside its ceiling in the same run: how fast the parts below it
//! are by themselves. One JSON object a row, on standard output.
//!
//! Figures are only good from a release build, on a machine with nothing else to do.

mod clock;
mod engine;
mod row;
mod server;
mod store;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Workloads against Bowline, beside their ceilings.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Which workload.
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Tasks that do nothing, from submit to their end.
    Noop(Noop),
}

/// What can be set about the `noop` workload.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Noop {
    /// How many tasks.
    #[arg(long, default_value_t = 50_000)]
    tasks: u64,
    /// How often each figure is taken; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Attempts that the worker holds at a time, where the bench itself plays the worker.
    #[arg(long, default_value_t = 1_024)]
    in_flight: u32,
    /// The `bowline` program to measure over TCP; without it that row is left out.
    #[arg(long, value_name = "PATH")]
    bowline: Option<PathBuf>,
    /// Where data folders are made. A temporary folder of the system's where not said.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Noop {
    /// A data folder that goes with the figure.
    pub(crate) fn data(&self) -> std::io::Result<tempfile::TempDir> {
        self.folder.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in)
    }
}

fn main() -> Result<()> {
    match Args::parse().workload {
        Workload::Noop(noop) => run_noop(&noop),
    }
}

/// Rounds of all figures, so that a busy moment of the machine does not hit one alone.
fn run_noop(noop: &Noop) -> Result<()> {
    let (mut alone, mut rows, mut both, mut whole) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..noop.runs {
        let recorded = engine::alone(noop)?;
        alone.push(recorded.tasks_per_second);
        rows.push(store::replay(noop, &recorded.batches)?);
        drop(recorded);
        both.push(engine::with_store(noop)?);
        if let Some(program) = &noop.bowline {
            whole.push(server::measure(noop, program)?);
        }
    }
    row::print("noop, engine alone", &alone, None)?;
    let ceiling = row::print("noop, its rows through the store alone", &rows, None)?;
    row::print("noop, engine and store in one process", &both, Some(ceiling))?;
    if !whole.is_empty() {
        row::print("noop, server and worker over TCP", &whole, Some(ceiling))?;
    }
    Ok(())
}
