//! `bowline task`: everything about tasks.

mod complete;
mod elements;
pub(crate) mod list;
mod show;

use bowline_api::TaskVerbName;
use clap::Subcommand;

pub(crate) use show::tell_history as history;

use super::{Setting, explain, logs, submit, verb, wait};
use crate::exit::Exit;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline task list --state running
  bowline task show last
  bowline task history 4711")]
pub(crate) enum Command {
    /// Submit a task
    Submit(Box<submit::Args>),
    /// List tasks, with why each waits
    List(list::Args),
    /// List the elements of an array
    Elements(elements::Args),
    /// Show everything about a task
    Show(show::Args),
    /// Show a task's log
    Logs(logs::Args),
    /// Tell why a task waits
    Explain(explain::Args),
    /// Show what happened to a task, and by whom
    History(show::Args),
    /// List the files that a task left, or fetch them
    Artifacts(show::Artifacts),
    /// Cancel tasks
    Cancel(verb::Args),
    /// Run ended tasks again
    Retry(verb::Args),
    /// End a task that waits for somebody
    Complete(complete::Args),
    /// Say how a task in doubt really ended
    Resolve(complete::Resolve),
    /// Do not start tasks until they are resumed
    Pause(verb::Args),
    /// Let paused tasks go on
    Resume(verb::Args),
    /// Wait until tasks have ended
    Wait(wait::Args),
    /// Remove ended tasks with all that they left
    Delete(verb::Args),
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Submit(args) => submit::run(on, *args).await,
        Command::List(args) => list::run(on, args).await,
        Command::Elements(args) => elements::run(on, args).await,
        Command::Show(args) => show::run(on, args).await,
        Command::Logs(args) => logs::run(on, args).await,
        Command::Explain(args) => explain::run(on, args).await,
        Command::History(args) => show::history(on, args).await,
        Command::Artifacts(args) => show::artifacts(on, args).await,
        Command::Cancel(args) => verb::cancel(on, args).await,
        Command::Retry(args) => verb::retry(on, args).await,
        Command::Complete(args) => complete::run(on, args).await,
        Command::Resolve(args) => complete::resolve(on, args).await,
        Command::Pause(args) => verb::apply(on, args, TaskVerbName::Pause).await,
        Command::Resume(args) => verb::apply(on, args, TaskVerbName::Resume).await,
        Command::Wait(args) => wait::run(on, args).await,
        Command::Delete(args) => verb::apply(on, args, TaskVerbName::Delete).await,
    }
}
