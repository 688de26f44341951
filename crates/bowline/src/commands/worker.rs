//! `bowline worker`: starts one, lists and steers all.

mod drain;
mod explain;
mod offers;
mod show;
mod start;
mod steer;
mod vitals;

use bowline_api::WorkerVerbName;
use clap::Subcommand;

pub(crate) use offers::Offers;
pub(crate) use show::table;

use super::Setting;
use crate::exit::Exit;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline worker start --server http://10.0.0.1:7420 --token-file lab-3.token
  bowline worker list
  bowline worker drain lab-3 --within 1h --wait")]
pub(crate) enum Command {
    /// Start a worker on this machine
    Start(Box<start::Args>),
    /// List workers
    #[command(after_help = "Examples:\n  bowline worker list --json")]
    List,
    /// Show everything about a worker
    #[command(after_help = "Examples:\n  bowline worker show lab-3")]
    Show(One),
    /// Tell why a worker is idle, or takes no more, and what the tasks that wait miss on it
    Explain(explain::Args),
    /// Give workers nothing new; what runs there, runs on
    #[command(
        after_help = "Examples:\n  bowline worker pause lab-3 lab-4\n  bowline worker pause --selector arch=arm64"
    )]
    Pause(steer::Chosen),
    /// Let paused workers go on
    #[command(after_help = "Examples:\n  bowline worker resume lab-3\n  bowline worker resume --all --yes")]
    Resume(steer::Chosen),
    /// Let workers let go of everything, and give them nothing until they are undrained
    Drain(drain::Args),
    /// Give drained workers work again, and those that were put aside
    #[command(after_help = "Examples:\n  bowline worker undrain lab-3")]
    Undrain(steer::Chosen),
    /// Remove workers that will never come back; what they had is lost, and goes on elsewhere
    #[command(after_help = "Examples:
  bowline worker forget lab-3

Only for a worker of which nothing runs any more: whoever says so vouches for it. Its attempts are lost,
and tasks that waited for proof of that go on. Should it come back it is told to stop its jobs and to end.")]
    Forget(steer::Chosen),
}

/// One worker.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: String,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start::run(on, *args).await,
        Command::List => list(on).await,
        Command::Show(args) => show::run(on, &args.name).await,
        Command::Explain(args) => explain::run(on, args).await,
        Command::Pause(chosen) => steer(on, &chosen, WorkerVerbName::Pause).await,
        Command::Resume(chosen) => steer(on, &chosen, WorkerVerbName::Resume).await,
        Command::Drain(args) => drain::run(on, args).await,
        Command::Undrain(chosen) => steer(on, &chosen, WorkerVerbName::Undrain).await,
        Command::Forget(chosen) => steer(on, &chosen, WorkerVerbName::Forget).await,
    }
}

async fn steer(on: &Setting, chosen: &steer::Chosen, verb: WorkerVerbName) -> anyhow::Result<Exit> {
    chosen.said()?;
    Ok(chosen.apply(on, &on.client()?, verb, None).await?.exit)
}

async fn list(on: &Setting) -> anyhow::Result<Exit> {
    let workers = on.client()?.workers().await?.items;
    if on.out.is_json() {
        on.out.document(&workers)?;
    } else {
        table(on, &workers)?;
    }
    Ok(Exit::GOOD)
}
