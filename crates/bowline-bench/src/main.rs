//! Workloads against Bowline: the real server and worker over TCP, each row beside its ceiling in the same run, that
//! is beside what the parts below it do by themselves. One JSON object a row.
//!
//! Figures are only good from a release build, on a machine with nothing else to do. Nothing here asserts a speed:
//! ratios are to be read, and docs/performance.md says what was found.

mod args;
mod ceiling;
mod clock;
mod drive;
mod engine;
mod figures;
mod fleet;
mod plays;
mod process;
mod row;
mod rows;
mod site;
mod size;
mod worker;

use std::process::ExitCode;

use clap::Parser as _;

/// That of the program that is measured: its parts are measured in here too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match args::Args::parse().command() {
        args::Command::Play(play) => plays::play(&play),
        args::Command::Measure(plan) => rows::measure_all(&plan),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("bowline-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something to whoever runs this; standard output is for rows.
#[expect(clippy::print_stderr, reason = "this is a command line tool; standard output is for rows")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}
