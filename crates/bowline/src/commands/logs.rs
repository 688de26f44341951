//! `bowline logs`: a task's log, as it is or as it grows.

use anyhow::Context;
use bowline_client::{Client, LogRequest, LogStart};
use bowline_core::id::TaskRef;
use clap::ValueEnum;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::ids::{Id, Thing};
use crate::{output, signals};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline logs 4711
  bowline logs last -f
  bowline logs 4711.7 --attempt 1 --tail 100
  bowline logs r12          the logs of the run's failed tasks, or of all where none failed")]
pub(crate) struct Args {
    /// A task, an array's element, a run, or `last`
    id: Id,
    /// Go on as it grows, until the attempt has ended
    #[arg(long, short)]
    follow: bool,
    /// Of this attempt [default: the newest]
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Only the last so many lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Which stream, of a task with --split-output
    #[arg(long, value_name = "STREAM", default_value = "out")]
    stream: Stream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Standard output, and standard error with it where they are not split
    Out,
    /// Standard error, where they are split
    Err,
}

/// Shows it.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let task = match args.id.resolve(&on.config)? {
        Thing::Task(task) => task,
        Thing::Run(run) => return super::runs::logs(on, run, args.tail).await,
    };
    let mut stop = signals::Stop::new()?;
    tokio::select! {
        shown = show(on, &client, task, &args) => shown.map(|()| Exit::GOOD),
        () = stop.asked() => Ok(Exit::INTERRUPTED),
    }
}

async fn show(on: &Setting, client: &Client, task: TaskRef, args: &Args) -> anyhow::Result<()> {
    if on.out.is_json() {
        return Err(Trouble::usage("A log is raw bytes and has no JSON form; leave --json out.").into());
    }
    let request = LogRequest {
        attempt: args.attempt,
        stream: (args.stream == Stream::Err).then(|| "err".to_owned()),
        start: args.tail.map_or_else(LogStart::default, LogStart::Tail),
        follow: args.follow,
        ..LogRequest::new(task)
    };
    copy(client, request).await.with_context(|| format!("The log of task {task} cannot be shown."))
}

/// Copies a log to standard output.
pub(crate) async fn copy(client: &Client, request: LogRequest) -> anyhow::Result<()> {
    let mut log = client.log(request);
    while let Some(bytes) = log.next().await? {
        output::raw(&bytes)?;
    }
    Ok(())
}
