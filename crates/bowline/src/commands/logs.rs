//! `bowline logs`: a task's log, as it is or as it grows.

use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use bowline_client::{Client, LogRequest, LogStart, LogStream};
use bowline_core::id::TaskRef;
use clap::ValueEnum;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::ids::{Id, Thing};
use crate::logview::{Look, View};
use crate::{output, signals};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline logs 4711
  bowline logs last -f
  bowline logs 4711.7 --attempt 1 --tail 100
  bowline logs last -f --timestamps
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
    /// Only this stream, of a task whose streams are kept apart [default: each to its own side]
    #[arg(long, value_name = "STREAM")]
    stream: Option<Stream>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stream {
    /// Standard output, and standard error with it where they are not split
    Out,
    /// Standard error, where they are split
    Err,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// Shows it.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let task = match args.id.resolve(&on.config)? {
        Thing::Task(task) => task,
        Thing::Run(run) => {
            let what = super::runs::What { tail: args.tail, attempt: args.attempt, look: args.look };
            return super::runs::logs(on, run, what).await;
        }
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
    // Of a task that has ended the rest may still be on its way: a log comes in its own time.
    let ended = !args.follow && client.task(task).await.is_ok_and(|task| task.state.is_ended());
    let request = LogRequest {
        attempt: args.attempt,
        stream: args.stream.map(|stream| stream.name().to_owned()),
        start: args.tail.map_or_else(LogStart::default, LogStart::Tail),
        follow: args.follow || ended,
        ..LogRequest::new(task)
    };
    copy(client, request, (args.look, "")).await.with_context(|| format!("The log of task {task} cannot be shown."))
}

/// How long the end of standard error is waited for once standard output has ended.
const ERRORS_LATE: Duration = Duration::from_millis(500);

/// Copies a log: standard output to standard output, and what a job wrote to standard error alone
/// to standard error. With a stream named, that one goes to standard output. `before` stands before each line.
pub(crate) async fn copy(client: &Client, request: LogRequest, (look, before): (Look, &str)) -> anyhow::Result<()> {
    let view = View::new(look, before, &std::io::stdout());
    if request.stream.is_some() {
        return copy_one(log(client, request, look), view, output::raw).await;
    }
    let errors = LogRequest { stream: Some("err".to_owned()), ..request.clone() };
    let (mut rest, follow) = (log(client, errors, look), request.follow);
    let mut other = View::new(look, before, &std::io::stderr());
    let mut out = pin!(copy_one(log(client, request, look), view, output::raw));
    let mut may_grow = true;
    loop {
        tokio::select! {
            copied = &mut out => {
                copied?;
                break;
            }
            piece = rest.piece(), if follow && may_grow => match piece {
                Ok(Some(piece)) => output::raw_error(&other.show(piece))?,
                Ok(None) => may_grow = false,
                Err(error) if error.is_not_found() => may_grow = false,
                Err(error) => return Err(error.into()),
            },
        }
    }
    let finish = async {
        while let Some(piece) = rest.piece().await? {
            output::raw_error(&other.show(piece))?;
        }
        output::raw_error(other.end())?;
        anyhow::Ok(())
    };
    match (may_grow, follow) {
        (false, true | false) => Ok(()),
        // It was never apart, or comes in its own time: no reason to keep anybody waiting.
        (true, true) => tokio::time::timeout(ERRORS_LATE, finish).await.unwrap_or(Ok(())),
        (true, false) => finish.await,
    }
}

fn log(client: &Client, request: LogRequest, look: Look) -> LogStream {
    let log = client.log(request);
    if look.timestamps { log.with_times() } else { log }
}

async fn copy_one(mut log: LogStream, mut view: View, to: impl Fn(&[u8]) -> std::io::Result<()>) -> anyhow::Result<()> {
    while let Some(piece) = log.piece().await? {
        to(&view.show(piece))?;
    }
    to(view.end())?;
    Ok(())
}
