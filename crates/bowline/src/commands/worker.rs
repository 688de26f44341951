//! `bowline worker`: starts one, lists and steers all.

mod offers;
mod start;
mod vitals;

use std::io;

use bowline_api::Worker;
use bowline_core::message::Paused;
use clap::Subcommand;

pub(crate) use offers::Offers;

use super::Setting;
use crate::clock::age;
use crate::exit::Exit;
use crate::output::clean;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline worker start --server http://10.0.0.1:7420 --token-file lab-3.token
  bowline worker list
  bowline worker pause lab-3")]
pub(crate) enum Command {
    /// Start a worker on this machine
    Start(start::Args),
    /// List workers
    #[command(after_help = "Examples:\n  bowline worker list --json")]
    List,
    /// Show everything about a worker
    #[command(after_help = "Examples:\n  bowline worker show lab-3")]
    Show(One),
    /// Give workers nothing new; what runs there, runs on
    #[command(after_help = "Examples:\n  bowline worker pause lab-3 lab-4")]
    Pause(Many),
    /// Let paused workers go on
    #[command(after_help = "Examples:\n  bowline worker resume lab-3")]
    Resume(Many),
}

/// One worker.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its name
    name: String,
}

/// Several workers.
#[derive(Debug, clap::Args)]
pub(crate) struct Many {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Start(args) => start::run(on, args).await,
        Command::List => list(on).await,
        Command::Show(args) => show(on, args).await,
        Command::Pause(args) => pause(on, args, Paused::Yes).await,
        Command::Resume(args) => pause(on, args, Paused::No).await,
    }
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

/// The table of workers.
pub(crate) fn table(on: &Setting, workers: &[Worker]) -> io::Result<()> {
    let rows = workers
        .iter()
        .map(|worker| {
            let note = match (&worker.broken, &worker.paused) {
                (Some(why), _) => format!("broken: {why}"),
                (None, Some(paused)) => format!("paused by {}", paused.by),
                (None, None) => String::new(),
            };
            vec![
                worker.name.clone(),
                worker.connection.name().to_owned(),
                format!("{}/{}", worker.slots_used, worker.slots),
                worker.attempts.len().to_string(),
                worker.version.clone().unwrap_or_else(|| "-".to_owned()),
                worker.heard_at.map_or_else(|| "-".to_owned(), age),
                note,
            ]
        })
        .collect();
    on.out.table(&["worker", "state", "slots", "attempts", "version", "heard", "note"], rows)
}

async fn show(on: &Setting, args: One) -> anyhow::Result<Exit> {
    let worker = on.client()?.worker(&args.name).await?;
    if on.out.is_json() {
        on.out.document(&worker)?;
        return Ok(Exit::GOOD);
    }
    table(on, std::slice::from_ref(&worker))?;
    let amounts: Vec<String> = worker
        .amounts
        .iter()
        .map(|(name, all)| format!("{name}={}/{all}", worker.amounts_used.get(name).copied().unwrap_or_default()))
        .collect();
    let attempts: Vec<String> =
        worker.attempts.iter().map(|attempt| format!("{}#{}", attempt.task, attempt.attempt)).collect();
    on.out.line("")?;
    for (name, value) in [
        ("actions", worker.actions.join(" ")),
        ("capabilities", worker.capabilities.join(" ")),
        ("amounts", amounts.join(" ")),
        ("attempts", attempts.join(" ")),
        ("incarnation", worker.incarnation.to_string()),
        ("enrolled", format!("{:.0}", worker.enrolled_at)),
    ] {
        on.out.line(format!("{name:<12} {}", clean(&value)))?;
    }
    if let Some(vitals) = &worker.vitals {
        on.out.line("")?;
        vitals::print(on, vitals)?;
    }
    Ok(Exit::GOOD)
}

async fn pause(on: &Setting, args: Many, paused: Paused) -> anyhow::Result<Exit> {
    let client = on.client()?;
    for name in &args.names {
        client.pause_worker(name, paused).await?;
        if on.out.is_json() {
            on.out.item(&client.worker(name).await?)?;
        } else {
            on.out.line(format!("{} {}", clean(name), if paused == Paused::Yes { "paused" } else { "resumed" }))?;
        }
    }
    Ok(Exit::GOOD)
}
