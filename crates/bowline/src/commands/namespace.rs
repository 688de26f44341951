//! `bowline namespace`: quotas and shares, what is used of them; pauses of a namespace or of everything.

mod set;

use bowline_api::{NamespaceDoc, PauseRequest, PausedDoc, PausedNamespace, Queue, TaskQuery};
use bowline_client::Client;
use bowline_core::message::Paused;
use bowline_core::name::Namespace;
use clap::Subcommand;
use serde::Serialize;

use super::Setting;
use crate::clock::age;
use crate::exit::Exit;
use crate::output::clean;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline namespace list
  bowline namespace set lab --max-running 20 --share 3
  bowline namespace show lab
  bowline namespace pause nightly
  bowline namespace pause --all          nothing at all is started, wherever it is
  bowline namespace resume --all")]
pub(crate) enum Command {
    /// List namespaces with what they use, and what is paused, by whom and since when
    #[command(after_help = "Examples:\n  bowline namespace list --json")]
    List,
    /// Show what is set about a namespace, and what it uses of that
    #[command(after_help = "Examples:\n  bowline namespace show lab\n  bowline namespace show default --json")]
    Show(set::One),
    /// Set quotas and shares of a namespace; what is not said stays
    Set(set::Set),
    /// Start nothing of namespaces until they are resumed; what runs, runs on
    #[command(after_help = "Examples:\n  bowline namespace pause nightly\n  bowline namespace pause --all")]
    Pause(Which),
    /// Let namespaces go on
    #[command(after_help = "Examples:\n  bowline namespace resume nightly\n  bowline namespace resume --all")]
    Resume(Which),
}

/// Which namespaces.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Their names
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<Namespace>,
    /// Everything, in every namespace; beside pauses of single ones
    #[arg(long)]
    all: bool,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List => list(on).await,
        Command::Show(one) => set::show(on, &one).await,
        Command::Set(args) => set::set(on, args).await,
        Command::Pause(which) => set(on, which, Paused::Yes).await,
        Command::Resume(which) => set(on, which, Paused::No).await,
    }
}

/// What is paused.
#[derive(Debug, Serialize)]
struct Pauses<'a> {
    everything: Option<&'a PausedDoc>,
    namespaces: &'a [PausedNamespace],
    all: &'a [NamespaceDoc],
}

async fn list(on: &Setting) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let queue = client.queue().await?;
    let all = client.namespaces().await?.items;
    if on.out.is_json() {
        on.out.document(&Pauses { everything: queue.all_paused.as_ref(), namespaces: &queue.paused, all: &all })?;
        return Ok(Exit::GOOD);
    }
    if !all.is_empty() {
        on.out.table(&["name", "queued", "running", "share"], all.iter().map(set::entry).collect())?;
    }
    let lines = paused(&queue);
    if lines.is_empty() {
        on.out.line("Nothing is paused.")?;
    }
    for line in lines {
        on.out.line(line)?;
    }
    Ok(Exit::GOOD)
}

/// What is paused, a line each.
pub(crate) fn paused(queue: &Queue) -> Vec<String> {
    let line = |what: &str, by: &str, since| format!("{}, by {} for {}", clean(what), clean(by), age(since));
    let all = queue.all_paused.iter().map(|paused| line("everything", &paused.by, paused.since));
    let some = queue.paused.iter().map(|paused| line(&paused.namespace, &paused.by, paused.since));
    all.chain(some).collect()
}

async fn set(on: &Setting, which: Which, paused: Paused) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let named = which.names.iter().map(|name| Some(name.to_string()));
    let what: Vec<Option<String>> = if which.all { vec![None] } else { named.collect() };
    for namespace in what {
        let seen = match (&namespace, paused) {
            (Some(name), Paused::Yes) => has_tasks(&client, name).await?,
            _ => true,
        };
        let name = namespace.clone().unwrap_or_else(|| "everything".to_owned());
        client.pause(&PauseRequest { namespace }, paused).await?;
        if !on.out.is_json() {
            let none = if seen {
                ""
            } else {
                "; it has no tasks yet: a namespace comes into being when one is submitted to it"
            };
            on.out.line(format!("{name} {}{none}", if paused == Paused::Yes { "paused" } else { "resumed" }))?;
        }
    }
    if on.out.is_json() { list(on).await } else { Ok(Exit::GOOD) }
}

async fn has_tasks(client: &Client, namespace: &str) -> anyhow::Result<bool> {
    let one = TaskQuery { namespace: Some(namespace.to_owned()), limit: Some(1), ..TaskQuery::default() };
    Ok(!client.tasks(&one).await?.items.is_empty())
}
