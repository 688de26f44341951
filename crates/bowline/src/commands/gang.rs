//! `bowline gang`: what the members of a gang have among themselves, for scripts that run as one of them.

use std::time::Duration;

use anyhow::Context;
use bowline_api::{Arrive, GangPeer};
use bowline_core::state::StateKind;
use bowline_core::time::Span;
use clap::Subcommand;

use super::Setting;
use crate::exit::{Exit, Trouble};

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline gang lock db -- ./migrate
  bowline gang barrier ready
  bowline gang set leader 10.0.0.5:9000
  bowline gang wait leader
  bowline gang peers

These work in the job of a member: BOWLINE_SERVER and BOWLINE_TOKEN say whose gang it is.")]
pub(crate) enum Command {
    /// Take a lock among the members, first come, first served
    Lock(Lock),
    /// Give a lock up
    #[command(after_help = "Examples:\n  bowline gang unlock db")]
    Unlock(Named),
    /// Wait until all members, or so many, have come
    Barrier(Barrier),
    /// Wait for a value, or for the state of another member
    Wait(Wait),
    /// List the members: state, worker, address
    #[command(after_help = "Examples:\n  bowline gang peers --json")]
    Peers,
    /// Set a value that all members can get
    #[command(after_help = "Examples:\n  bowline gang set leader 10.0.0.5:9000")]
    Set(Set),
    /// Print a value
    #[command(after_help = "Examples:\n  bowline gang get leader")]
    Get(Named),
}

/// A lock, or a value.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Its name
    name: String,
}

/// A lock to take.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline gang lock db && ./migrate; bowline gang unlock db
  bowline gang lock db --timeout 30s -- ./migrate

The lock is the member's: it goes to the next in line when it is given up, or when the member's job is over or lost.")]
pub(crate) struct Lock {
    /// Its name
    name: String,
    /// Give up after so long (status 124)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Hold it while this runs, and give it up then
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A barrier to wait at.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline gang barrier ready
  bowline gang barrier halves --count 2
  bowline gang barrier done --live

Where too few members are left it says at once who is missing (status 5).")]
pub(crate) struct Barrier {
    /// Its name
    name: String,
    /// So many must come [default: all members]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Wait for the living alone
    #[arg(long)]
    live: bool,
    /// Give up after so long (status 124)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

/// What to wait for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline gang wait leader                      prints the value when it is set
  bowline gang wait --peer worker-1 running")]
pub(crate) struct Wait {
    /// The value's key; with --peer: the state
    #[arg(value_name = "KEY|STATE")]
    what: String,
    /// The member whose state it is: its name, its place from 0, or its task
    #[arg(long, value_name = "MEMBER")]
    peer: Option<String>,
    /// Give up after so long (status 124)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

/// A value to set.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// Its key
    key: String,
    /// The value, at most 64 KiB
    value: String,
}

fn length(span: Option<Span>) -> Option<Duration> {
    span.map(|span| span.0)
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    let client = on.client()?;
    match command {
        Command::Lock(args) => return lock(on, args).await,
        Command::Unlock(args) => drop(client.gang_unlock(&args.name).await?),
        Command::Barrier(args) => {
            let arrive = Arrive { count: args.count, live: args.live.then_some(true) };
            client.gang_barrier(&args.name, &arrive, length(args.timeout)).await?;
        }
        Command::Wait(args) => return wait(on, args).await,
        Command::Peers => {
            let peers = client.gang_peers().await?.peers;
            if on.out.is_json() {
                on.out.document(&peers)?;
            } else {
                let head = ["index", "task", "name", "state", "worker", "address", "attempt"];
                on.out.table(&head, peers.iter().map(row).collect())?;
            }
        }
        Command::Set(args) => drop(client.gang_set(&args.key, &args.value).await?),
        Command::Get(args) => on.out.line(client.gang_get(&args.name).await?.value)?,
    }
    Ok(Exit::GOOD)
}

fn row(peer: &GangPeer) -> Vec<String> {
    let state = peer.state.map_or_else(String::new, |state| state.to_string());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        peer.index.to_string(),
        peer.task.to_string(),
        text(&peer.name),
        state,
        text(&peer.worker),
        text(&peer.address),
        peer.attempt.to_string(),
    ]
}

async fn lock(on: &Setting, args: Lock) -> anyhow::Result<Exit> {
    let client = on.client()?;
    client.gang_lock(&args.name, length(args.timeout)).await?;
    let Some((program, rest)) = args.command.split_first() else { return Ok(Exit::GOOD) };
    let ran = crate::process::run_to_end(program, rest);
    // Whatever became of it, others may go on.
    client.gang_unlock(&args.name).await?;
    let status = ran.with_context(|| Trouble::usage(format!("`{program}` cannot be run.")))?;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    let code = status.code().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Exit(code))
}

async fn wait(on: &Setting, args: Wait) -> anyhow::Result<Exit> {
    let (client, within) = (on.client()?, length(args.timeout));
    let Some(member) = args.peer else {
        on.out.line(client.gang_wait_value(&args.what, within).await?.value)?;
        return Ok(Exit::GOOD);
    };
    let Some(state) = StateKind::parse(&args.what) else {
        return Err(Trouble::usage(format!("`{}` is no state; `running`, for example, is one.", args.what)).into());
    };
    let is_it = |peer: &&GangPeer| {
        peer.name.as_ref() == Some(&member) || peer.task.to_string() == member || peer.index.to_string() == member
    };
    if !client.gang_peers().await?.peers.iter().any(|peer| is_it(&peer)) {
        let what = format!("There is no member `{member}` in this gang; `bowline gang peers` lists them.");
        return Err(Trouble::new(Exit::MISSING, what).into());
    }
    // One that has ended gets to no other state by itself.
    let is_over = |peer: &GangPeer| peer.state.is_none_or(|now| now == state || now.is_ended());
    let peers =
        client.gang_wait_peers(within, &member, |peers| peers.peers.iter().find(is_it).is_none_or(is_over)).await?;
    let now = peers.peers.iter().find(is_it).and_then(|peer| peer.state);
    if now == Some(state) {
        return Ok(Exit::GOOD);
    }
    let now = now.map_or_else(String::new, |now| format!(" ({now})"));
    let what = format!("The member `{member}` has ended{now}, and will not be `{state}` by itself.");
    Err(Trouble::new(Exit::REFUSED, what).into())
}
