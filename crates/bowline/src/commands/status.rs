//! `bowline status`: one screen of what runs, what waits, and why.

use bowline_api::{List, Queue, RunQuery, Task, TaskQuery, Worker};
use serde::Serialize;

use super::Setting;
use crate::exit::Exit;
use crate::watch::{Sight, Watch};

/// Most tasks and runs shown.
const SHOWN_MAX: usize = 10;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline status
  bowline status --json
  bowline status --watch")]
pub(crate) struct Args {
    #[command(flatten)]
    watch: Watch,
}

#[derive(Debug, Serialize)]
struct Status {
    server: String,
    version: bowline_api::Version,
    queue: Queue,
    workers: Vec<Worker>,
    runs: Vec<bowline_api::Run>,
    running: Vec<Task>,
    waiting: Vec<Task>,
}

/// Shows it.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    args.watch.look(on, look).await
}

async fn look(on: &Setting) -> anyhow::Result<Sight> {
    let client = on.client()?;
    let page = |state: &str, sort: &str| TaskQuery {
        state: Some(state.to_owned()),
        sort: Some(sort.to_owned()),
        limit: Some(SHOWN_MAX),
        ..TaskQuery::default()
    };
    let List { items: running, .. } = client.tasks(&page("running,assigned,stopping", "oldest")).await?;
    let waiting = client.tasks(&page("ready,waiting,blocked,scheduled,in_doubt", "oldest")).await?.items;
    let unfinished = RunQuery { state: Some("unfinished".to_owned()), limit: Some(SHOWN_MAX), ..RunQuery::default() };
    let status = Status {
        server: client.base_url().to_owned(),
        version: client.version().await?,
        queue: client.queue().await?,
        workers: client.workers().await?.items,
        runs: client.runs(&unfinished).await?.items,
        running,
        waiting,
    };
    if on.out.is_json() {
        on.out.document(&status)?;
    } else {
        show(on, &status)?;
    }
    Ok(Sight::Open)
}

fn show(on: &Setting, status: &Status) -> anyhow::Result<()> {
    let queue = &status.queue;
    on.out.line(format!("server   {}  {} ({})", status.server, status.version.version, status.version.status))?;
    let states: Vec<String> = queue.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let states = if states.is_empty() { "nothing unfinished".to_owned() } else { states.join(", ") };
    on.out.line(format!("tasks    {states}"))?;
    on.out.line(format!(
        "workers  {} of {} connected, {} of {} slots taken",
        queue.workers_connected, queue.workers, queue.slots_used, queue.slots
    ))?;
    for line in super::namespace::paused(queue) {
        on.out.line(format!("paused   {line}"))?;
    }
    if !status.workers.is_empty() {
        on.out.line("")?;
        super::worker::table(on, &status.workers)?;
    }
    if !status.runs.is_empty() {
        on.out.line("")?;
        super::runs::table(on, &status.runs)?;
    }
    for (head, tasks) in [("Running", &status.running), ("Waiting", &status.waiting)] {
        if !tasks.is_empty() {
            on.out.line(format!("\n{head}:"))?;
            super::task::list::table(on, tasks)?;
        }
    }
    Ok(())
}
