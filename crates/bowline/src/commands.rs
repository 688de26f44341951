//! The commands: one file each.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod gang;
pub(crate) mod logs;
pub(crate) mod namespace;
pub(crate) mod resource;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod server;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod supervisor;
pub(crate) mod task;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod verb;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod worker;
pub(crate) mod workflow;

use std::future::Future;
use std::num::NonZero;

use anyhow::Context;
use bowline_core::name::Namespace;

use crate::args::{Cli, Command};
use crate::config::Config;
use crate::exit::Exit;
use crate::output::Output;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The settings.
    pub(crate) config: Config,
    /// Where answers go.
    pub(crate) out: Output,
    /// The namespace of tasks and runs.
    pub(crate) namespace: Namespace,
}

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Exit> {
    let config = cli.global.config()?;
    let namespace = config.parsed("namespace")?.unwrap_or_default();
    let on = Setting { config, out: cli.global.output(), namespace };
    match cli.command {
        Command::Up(args) => wide(up::run(&on, args)),
        Command::Run(args) => wide(run::run(&on, args)),
        Command::Demo(args) => wide(demo::run(&on, args)),
        Command::Submit(args) => narrow(submit::run(&on, *args)),
        Command::Status(args) => narrow(status::run(&on, args)),
        Command::Logs(args) => narrow(logs::run(&on, args)),
        Command::Explain(args) => narrow(explain::run(&on, args)),
        Command::Cancel(args) => narrow(verb::cancel(&on, args)),
        Command::Retry(args) => narrow(verb::retry(&on, args)),
        Command::Wait(args) => narrow(wait::run(&on, args)),
        Command::Task(command) => narrow(task::run(&on, command)),
        Command::Runs(command) => narrow(runs::run(&on, command)),
        Command::Workflow(command) => narrow(workflow::run(&on, command)),
        Command::Worker(command) => wide(worker::run(&on, command)),
        Command::Resource(command) => narrow(resource::run(&on, command)),
        Command::Gang(command) => narrow(gang::run(&on, command)),
        Command::Namespace(command) => narrow(namespace::run(&on, command)),
        Command::Token(command) => narrow(token::run(&on, command)),
        Command::Server(command) => wide(server::run(&on, command)),
        Command::Events(args) => narrow(events::run(&on, args)),
        Command::Doctor(args) => narrow(doctor::run(&on, args)),
        Command::Completions(args) => completions::run(args),
        Command::Version(args) => narrow(version::run(&on, args)),
        Command::Supervisor(args) | Command::SupervisorStage(args) => supervisor::refuse(args),
    }
}

/// On one thread: for commands that ask a server.
fn narrow(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("The asynchronous runtime cannot be started.")?;
    runtime.block_on(command)
}

/// On half of the processors: for what serves. What decides and what writes have threads of their own beside these, and
/// each further one that sleeps is woken for nothing when a lone request comes.
fn wide(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let processors = std::thread::available_parallelism().map_or(2, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads((processors / 2).max(1))
        .enable_all()
        .build()
        .context("The asynchronous runtime cannot be started.")?;
    let outcome = runtime.block_on(command);
    // Whatever still blocks a thread belongs to nobody: the process is over.
    runtime.shutdown_background();
    outcome
}
