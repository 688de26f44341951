//! The binary: commands, configuration, rendering, and the children of `up`.
//!
//! **Invariant:** decides nothing about tasks; whatever it shows it was told. The environment is read
//! in one module ([`config`]), processes are started in one ([`process`]), errors are told in one
//! place ([`exit`]).

mod args;
mod artifacts;
mod clock;
mod commands;
mod config;
mod connect;
mod exit;
mod failures;
mod follow;
mod house;
mod ids;
mod logging;
mod logview;
mod nearest;
mod notify;
mod output;
mod process;
mod runtime;
mod signals;
mod watch;

use std::process::ExitCode;

use clap::Parser;

/// What one thread of a server makes another one lets go: batches, messages, answers. The C library's allocator asks for a
/// lock then, and goes to the kernel for every 128 KiB that a thread needs more: a fifth of what a task costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A supervisor's processes are small and quick: nothing else is looked at before them.
    if let Some(exit) = bowline_supervisor::dispatch(std::env::args_os()) {
        return ExitCode::from(exit);
    }
    match args::Cli::try_parse() {
        Ok(cli) => exit::report(commands::run(cli)),
        Err(error) => exit::usage(&error),
    }
}
