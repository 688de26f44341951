//! `bowline task list`.

use bowline_api::{Task, TaskQuery};
use bowline_client::Client;
use clap::ValueEnum;

use super::Setting;
use crate::clock::{age, between, short};
use crate::exit::Exit;
use crate::ids::Id;
use crate::watch::{Sight, Watch};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task list
  bowline task list --state ready,running --label team=lab
  bowline task list --name 'nightly-*' --since 2h
  bowline task list --run r12 --limit 1000 --json
  bowline task list --resource db
  bowline task list --state unfinished --watch")]
pub(crate) struct Args {
    /// In one of these states; `unfinished` and `ended` stand for all of that kind
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// Of this name; `*` stands for anything
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// With this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// That hold this resource, or wait for it
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Last given to this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<String>,
    /// Of this run
    #[arg(long, value_name = "RUN")]
    run: Option<Id>,
    /// Submitted since this time (RFC 3339), or within this long
    #[arg(long, value_name = "TIME|DURATION")]
    since: Option<String>,
    /// Submitted by whoever asks
    #[arg(long)]
    mine: bool,
    /// In which order
    #[arg(long, value_enum, default_value = "newest")]
    sort: Sort,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

/// How many.
pub(crate) fn limit(text: &str) -> Result<usize, String> {
    let limit: usize = text.parse().map_err(|_| "write a number".to_owned())?;
    if limit == 0 { Err("at least 1, or nothing can be shown".to_owned()) } else { Ok(limit) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Newest first
    Newest,
    /// Oldest first
    Oldest,
}

/// Lists.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let query = TaskQuery {
        state: args.state,
        name: args.name,
        label: (!args.label.is_empty()).then(|| args.label.join(",")),
        resource: args.resource,
        worker: args.worker,
        since: args.since,
        mine: args.mine.then_some(true),
        run: args.run.map(|run| run.run(&on.config)).transpose()?.map(|run| format!("r{run}")),
        sort: Some(if args.sort == Sort::Newest { "newest" } else { "oldest" }.to_owned()),
        ..TaskQuery::default()
    };
    args.watch.look(on, async |on| look(on, &client, query.clone(), args.limit).await).await
}

async fn look(on: &Setting, client: &Client, query: TaskQuery, limit: usize) -> anyhow::Result<Sight> {
    let (tasks, more) = read(client, query, limit).await?;
    if on.out.is_json() {
        on.out.document(&tasks)?;
    } else {
        table(on, &tasks)?;
        if more {
            on.out.note(format!("There are more than {limit} of them; see --limit."));
        }
    }
    Ok(Sight::Open)
}

/// The tasks, and whether there are more.
async fn read(client: &Client, mut query: TaskQuery, limit: usize) -> anyhow::Result<(Vec<Task>, bool)> {
    let mut tasks: Vec<Task> = Vec::new();
    while tasks.len() < limit {
        query.limit = Some((limit - tasks.len()).min(bowline_api::PAGE_MAX));
        let page = client.tasks(&query).await?;
        tasks.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok((tasks, query.cursor.is_some()))
}

/// The table of tasks.
pub(crate) fn table(on: &Setting, tasks: &[Task]) -> anyhow::Result<()> {
    let head = ["id", "name", "state", "age", "ran", "worker", "note"];
    Ok(on.out.table(&head, tasks.iter().map(row).collect())?)
}

fn row(task: &Task) -> Vec<String> {
    let dash = || "-".to_owned();
    let ran = task.started_at.map_or_else(dash, |start| match task.ended_at {
        Some(end) => short(between(start, end)),
        None => age(start),
    });
    vec![
        task.id.to_string(),
        task.name.clone().unwrap_or_else(|| task.action.clone()),
        task.state.to_string(),
        age(task.submitted_at),
        ran,
        task.worker.clone().unwrap_or_else(dash),
        note(task),
    ]
}

/// What it holds of resources, with the units.
pub(crate) fn holds(task: &Task) -> Option<String> {
    let held = task.resources.iter().filter(|resource| resource.state == "granted");
    let held: Vec<String> = held.map(|resource| with_units(&resource.name, &resource.units)).collect();
    (!held.is_empty()).then(|| format!("holds {}", held.join(", ")))
}

fn with_units(name: &str, units: &[String]) -> String {
    if units.is_empty() { name.to_owned() } else { format!("{name} ({})", units.join(", ")) }
}

/// What is worth a word: how far an array is, what it holds, why it waits, why it failed.
fn note(task: &Task) -> String {
    let mut words = Vec::new();
    if let Some(array) = &task.array {
        let ended = array.succeeded + array.failed + array.cancelled + array.skipped;
        words.push(format!("{ended} of {} ended, {} failed", array.count, array.failed));
    }
    if let Some(paused) = &task.paused {
        words.push(format!("paused by {} for {}", paused.by, age(paused.since)));
    }
    words.extend(holds(task));
    if let Some(why) = &task.why {
        words.push(why.sentence.clone());
    } else if let Some(outcome) = &task.outcome
        && outcome.kind != "succeeded"
    {
        words.push(outcome.message.clone());
    }
    words.join("; ")
}
