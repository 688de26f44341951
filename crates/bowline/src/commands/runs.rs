//! `bowline runs`: everything about runs of workflows.

pub(crate) mod explain;

use bowline_api::{PageQuery, Run, RunQuery, Step, Task, TaskQuery};
use bowline_client::{Client, LogRequest, LogStart};
use bowline_core::id::RunId;
use bowline_core::input::RunVerb;
use clap::Subcommand;

use super::Setting;
use crate::clock::{age, between, short};
use crate::exit::Exit;
use crate::ids::Id;
use crate::logview::Look;
use crate::output::{clean, clean_lines};

/// Most tasks of a run whose logs or reasons are shown.
const TASKS_MAX: usize = 100;

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  bowline runs list
  bowline runs show last
  bowline runs retry r12")]
pub(crate) enum Command {
    /// List runs, newest first
    List(List),
    /// Show a run with its steps
    #[command(after_help = "Examples:\n  bowline runs show r12\n  bowline runs show last --json")]
    Show(One),
    /// Show the logs of a run's failed tasks, or of all where none failed
    #[command(after_help = "Examples:\n  bowline runs logs r12\n  bowline runs logs last --tail 20 --timestamps")]
    Logs(Logs),
    /// Show what happened to a run, and by whom
    #[command(after_help = "Examples:\n  bowline runs history r12")]
    History(One),
    /// Tell why a run has not ended: its steps, and what their tasks wait for
    Explain(explain::Args),
    /// Cancel runs
    #[command(after_help = "Examples:\n  bowline runs cancel r12 r13")]
    Cancel(Many),
    /// Run ended runs again from the first failure; what succeeded stays
    #[command(after_help = "Examples:\n  bowline runs retry last")]
    Retry(Many),
    /// Start none of a run's tasks until it is resumed
    #[command(after_help = "Examples:\n  bowline runs pause r12")]
    Pause(Many),
    /// Let paused runs go on
    #[command(after_help = "Examples:\n  bowline runs resume r12")]
    Resume(Many),
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline runs list
  bowline runs list --state failed --workflow census")]
pub(crate) struct List {
    /// In one of these states; `unfinished` and `ended` stand for all of that kind
    #[arg(long, value_name = "STATE,…")]
    state: Option<String>,
    /// Of this workflow
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = super::task::list::limit)]
    limit: usize,
}

/// One run.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// A run such as `r12`, or `last`
    id: Id,
}

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// A run such as `r12`, or `last`
    id: Id,
    #[command(flatten)]
    what: What,
}

/// What of the logs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct What {
    /// Only the last so many lines of each
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Of this attempt of each task [default: the newest]
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// Several runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Many {
    /// Runs such as `r12`, or `last`
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Id>,
}

/// Runs the verb.
pub(crate) async fn run(on: &Setting, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::List(args) => list(on, args).await,
        Command::Show(args) => show(on, args.id.run(&on.config)?).await,
        Command::Logs(args) => logs(on, args.id.run(&on.config)?, args.what).await,
        Command::History(args) => history(on, args.id.run(&on.config)?).await,
        Command::Explain(args) => explain::run(on, args.id.run(&on.config)?, args.watch).await,
        Command::Cancel(args) => verb(on, args, RunVerb::Cancel).await,
        Command::Retry(args) => verb(on, args, RunVerb::Retry).await,
        Command::Pause(args) => verb(on, args, RunVerb::Pause).await,
        Command::Resume(args) => verb(on, args, RunVerb::Resume).await,
    }
}

async fn list(on: &Setting, args: List) -> anyhow::Result<Exit> {
    let query = RunQuery {
        state: args.state,
        workflow: args.workflow,
        limit: Some(args.limit.clamp(1, bowline_api::PAGE_MAX)),
        ..RunQuery::default()
    };
    let runs = on.client()?.runs(&query).await?.items;
    if on.out.is_json() {
        on.out.document(&runs)?;
    } else {
        table(on, &runs)?;
    }
    Ok(Exit::GOOD)
}

/// The table of runs.
pub(crate) fn table(on: &Setting, runs: &[Run]) -> anyhow::Result<()> {
    let rows = runs
        .iter()
        .map(|run| {
            let took = run.ended_at.map_or_else(|| age(run.started_at), |end| short(between(run.started_at, end)));
            let note = match (&run.paused, &run.outcome) {
                (Some(paused), _) => format!("paused by {} for {}", paused.by, age(paused.since)),
                (None, Some(outcome)) if outcome.kind != "succeeded" => outcome.message.clone(),
                (None, _) => String::new(),
            };
            vec![run.id.clone(), run.workflow.clone(), run.state.clone(), age(run.started_at), took, note]
        })
        .collect();
    Ok(on.out.table(&["run", "workflow", "state", "age", "took", "note"], rows)?)
}

async fn show(on: &Setting, id: RunId) -> anyhow::Result<Exit> {
    let run = on.client()?.run(id).await?;
    if on.out.is_json() {
        on.out.document(&run)?;
        return Ok(Exit::GOOD);
    }
    on.out.line(format!("run       {}", run.id))?;
    on.out.line(format!("workflow  {}", run.workflow))?;
    on.out.line(format!("state     {}", run.state))?;
    on.out.line(format!("started   {:.0} by {}", run.started_at, clean(&run.created_by)))?;
    if let Some(ended) = run.ended_at {
        on.out.line(format!("ended     {ended:.0} (took {})", short(between(run.started_at, ended))))?;
    }
    if let Some(paused) = &run.paused {
        on.out.line(format!("paused    by {} since {:.0}", clean(&paused.by), paused.since))?;
    }
    if let Some(outcome) = &run.outcome {
        on.out.line(format!("outcome   {}", clean_lines(&outcome.message)))?;
    }
    on.out.line("")?;
    on.out.table(
        &["step", "state", "task", "ended", "failed", "took", "note"],
        run.steps.iter().map(step_row).collect(),
    )?;
    if let Some(result) = &run.result {
        on.out.line(format!("\nresult    {}", clean_lines(&serde_json::to_string_pretty(result)?)))?;
    }
    Ok(Exit::GOOD)
}

fn step_row(step: &Step) -> Vec<String> {
    let took = match (step.started_at, step.ended_at) {
        (Some(start), Some(end)) => short(between(start, end)),
        (Some(start), None) => age(start),
        (None, _) => "-".to_owned(),
    };
    let note = match &step.outcome {
        Some(outcome) if outcome.kind != "succeeded" => outcome.message.clone(),
        _ => String::new(),
    };
    vec![
        step.name.clone(),
        step.state.name().to_owned(),
        step.task.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}/{}", step.progress.ended(), step.progress.total),
        step.progress.failed.to_string(),
        took,
        note,
    ]
}

/// A page of a run's tasks in these states.
async fn tasks(client: &Client, run: RunId, state: &str) -> anyhow::Result<Vec<Task>> {
    let query = TaskQuery {
        state: Some(state.to_owned()),
        sort: Some("oldest".to_owned()),
        limit: Some(TASKS_MAX),
        ..TaskQuery::default()
    };
    Ok(client.run_tasks(run, &query).await?.items)
}

/// Copies the logs of a run's failed tasks, or of all where none failed, with its step before each line.
pub(crate) async fn logs(on: &Setting, run: RunId, what: What) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let mut chosen = tasks(&client, run, "failed").await?;
    if chosen.is_empty() {
        chosen = tasks(&client, run, "unfinished,ended").await?;
    }
    for task in chosen {
        for id in crate::failures::with_logs(&client, &task).await? {
            let step = clean(task.step.as_deref().unwrap_or("task"));
            let before = match id.index {
                Some(index) => format!("{step}[{index}] | "),
                None => format!("{step} | "),
            };
            let start = what.tail.map_or_else(LogStart::default, LogStart::Tail);
            let request = LogRequest { start, attempt: what.attempt, ..LogRequest::new(id) };
            match super::logs::copy(&client, request, (what.look, &before)).await {
                // There is none of that attempt.
                Err(error) if is_missing(&error) => on.out.note(format!("{before}(no log)")),
                other => other?,
            }
        }
    }
    Ok(Exit::GOOD)
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<bowline_client::ClientError>().is_some_and(bowline_client::ClientError::is_not_found)
}

async fn history(on: &Setting, run: RunId) -> anyhow::Result<Exit> {
    let client = on.client()?;
    let mut page = PageQuery { limit: Some(bowline_api::PAGE_MAX), ..PageQuery::default() };
    let mut entries = Vec::new();
    loop {
        let answer = client.run_history(run, &page).await?;
        entries.extend(answer.items);
        page.cursor = answer.next_cursor;
        if page.cursor.is_none() {
            return super::task::history(on, entries);
        }
    }
}

async fn verb(on: &Setting, args: Many, verb: RunVerb) -> anyhow::Result<Exit> {
    let client = on.client()?;
    for id in args.ids {
        let run = client.run_verb(id.run(&on.config)?, verb).await?;
        if on.out.is_json() {
            on.out.item(&run)?;
        } else {
            on.out.line(format!("{} {}", run.id, run.state))?;
        }
    }
    Ok(Exit::GOOD)
}
