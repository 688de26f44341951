//! The command line as it is written: nouns, then verbs; the handful used all day alone.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands;
use crate::config::Config;
use crate::connect;
use crate::output::{Format, Output};

/// A job server and worker fleet that never drops the rope.
#[derive(Debug, Parser)]
#[command(
    name = "bowline",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100,
    after_help = "Examples:
  bowline run census.yaml --input root=/usr/share   run a workflow file, here and now
  bowline demo                                      see that nothing is lost
  bowline up                                        a server and a worker on this machine
  bowline submit --wait -- make test                a task; follows it, ends with its status
  bowline status                                    what runs, what waits, and why

Exit status:
  0 done and good       1 a task or run failed   2 wrong usage        3 no such thing
  4 server not reached  5 refused              124 waited too long  130 interrupted
  `wait` and `submit --wait` of one task end with its command's own status (128+n for a signal),
  and with 125 where Bowline itself could not run it."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The server to use [default: the live local one]; `worker start` takes several
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Vec<String>,
    /// The file that holds the token [default: found by itself for a local server of yours]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Vec<PathBuf>,
    /// The namespace of tasks and runs
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// One JSON document, or one a line where it streams
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The configuration file to read instead of the usual ones
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How server and worker write their log: `text` or `json`
    #[arg(long, global = true, value_name = "FORMAT", hide_short_help = true)]
    pub(crate) log_format: Option<String>,
}

impl Global {
    /// The settings, with these flags on top.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let paths: Vec<_> = self.token_file.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let several = |values: &[String], between: &str| (!values.is_empty()).then(|| values.join(between));
        let flags = [
            ("server", several(&self.server, " ")),
            ("token_file", several(&paths, connect::BETWEEN_FILES)),
            ("namespace", self.namespace.clone()),
            ("log_format", self.log_format.clone()),
        ];
        Config::load(&flags, self.config.as_deref())
    }

    /// How to answer.
    pub(crate) fn output(&self) -> Output {
        Output::new(if self.json { Format::Json } else { Format::People })
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server and a worker here, until Ctrl-C
    Up(commands::up::Args),
    /// Run a workflow file to its end
    Run(commands::run::Args),
    /// See that nothing is lost when everything is killed
    Demo(commands::demo::Args),
    /// Submit a task
    Submit(Box<commands::submit::Args>),
    /// Show what runs, what waits and why, on one screen
    Status(commands::status::Args),
    /// Show a task's log
    Logs(commands::logs::Args),
    /// Tell why a task waits
    Explain(commands::explain::Args),
    /// Cancel tasks or runs
    Cancel(commands::verb::Args),
    /// Run ended tasks or runs again
    Retry(commands::verb::Args),
    /// Wait until tasks or runs have ended
    Wait(commands::wait::Args),
    /// Everything about tasks
    #[command(subcommand)]
    Task(commands::task::Command),
    /// Everything about runs of workflows
    #[command(subcommand)]
    Runs(commands::runs::Command),
    /// Check and list workflow files
    #[command(subcommand)]
    Workflow(commands::workflow::Command),
    /// Start and steer workers
    #[command(subcommand)]
    Worker(commands::worker::Command),
    /// Declare, look at and change resources: locks, licences, devices
    #[command(subcommand)]
    Resource(commands::resource::Command),
    /// In a job: locks, barriers and values among the members of its gang
    #[command(subcommand)]
    Gang(commands::gang::Command),
    /// Pause and resume namespaces, or everything
    #[command(subcommand)]
    Namespace(commands::namespace::Command),
    /// Make tokens
    #[command(subcommand)]
    Token(commands::token::Command),
    /// Start a server, back it up, put it back, check its data
    #[command(subcommand)]
    Server(commands::server::Command),
    /// Follow every change as it happens
    Events(commands::events::Args),
    /// Print all settings and check this machine
    Doctor(commands::doctor::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
    /// Print the version
    Version(commands::version::Args),
    /// The parent of all of a worker's jobs: started by workers
    #[command(hide = true)]
    Supervisor(commands::supervisor::Args),
    /// The first moments of a job's process: started by supervisors
    #[command(hide = true)]
    SupervisorStage(commands::supervisor::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            if command.is_hide_set() {
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:") && help.contains("bowline"), "`{path}` shows no example");
            for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
                check(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        check(&Cli::command(), "bowline");
    }
}
