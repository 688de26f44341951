//! `bowline task list`.

use bowline_api::{Task, TaskQuery};
use clap::ValueEnum;

use super::Setting;
use crate::clock::{age, between, short};
use crate::exit::Exit;
use crate::ids::Id;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task list
  bowline task list --state ready,running --label team=lab
  bowline task list --name 'nightly-*' --since 2h
  bowline task list --run r12 --limit 1000 --json")]
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
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
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
    let mut query = TaskQuery {
        state: args.state,
        name: args.name,
        label: (!args.label.is_empty()).then(|| args.label.join(",")),
        worker: args.worker,
        since: args.since,
        mine: args.mine.then_some(true),
        run: args.run.map(|run| run.run(&on.config)).transpose()?.map(|run| format!("r{run}")),
        sort: Some(if args.sort == Sort::Newest { "newest" } else { "oldest" }.to_owned()),
        ..TaskQuery::default()
    };
    let mut tasks: Vec<Task> = Vec::new();
    while tasks.len() < args.limit {
        query.limit = Some((args.limit - tasks.len()).min(bowline_api::PAGE_MAX));
        let page = client.tasks(&query).await?;
        tasks.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if on.out.is_json() {
        on.out.document(&tasks)?;
    } else {
        table(on, &tasks)?;
        if query.cursor.is_some() {
            on.out.note(format!("There are more than {} of them; see --limit.", args.limit));
        }
    }
    Ok(Exit::GOOD)
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

/// What is worth a word: how far an array is, why it waits, why it failed.
fn note(task: &Task) -> String {
    let mut words = Vec::new();
    if let Some(array) = &task.array {
        let ended = array.succeeded + array.failed + array.cancelled + array.skipped;
        words.push(format!("{ended} of {} ended, {} failed", array.count, array.failed));
    }
    if task.paused.is_some() {
        words.push("paused".to_owned());
    }
    if let Some(why) = &task.why {
        words.push(why.sentence.clone());
    } else if let Some(outcome) = &task.outcome
        && outcome.kind != "succeeded"
    {
        words.push(outcome.message.clone());
    }
    words.join("; ")
}
