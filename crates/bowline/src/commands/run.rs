//! `bowline run`: a workflow file to its end, on the server that is there, or on its own.

mod local;
mod progress;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bowline_api::{EventQuery, NewRun, Run};
use bowline_client::{Client, ClientError, Write};
use bowline_core::id::RunId;
use bowline_core::input::RunVerb;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::Setting;
use super::workflow::Source;
use crate::exit::{Exit, Trouble};
use crate::ids::{self, Thing};
use crate::output::{clean, clean_lines};
use crate::{artifacts, connect, failures, signals};
use local::Local;
use progress::Progress;

/// What happens within so long is shown together.
const REDRAW: Duration = Duration::from_millis(100);
/// How long a server may be away while a run on it is watched.
const AWAY_MAX: Duration = Duration::from_mins(5);
/// How long a cancelled local run may take to end before everything is stopped.
const CANCEL_MAX: Duration = Duration::from_secs(20);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline run census.yaml
  bowline run census.yaml --input root=/usr/share --out results/
  bowline run census.yaml --local --slots 4
  bowline run census.yaml --lock db --license sim=2   held from before its first step to its end
  bowline run census.yaml --json

Uses the server that is there (--server, BOWLINE_SERVER, a live local one) and says which; where
none is, or with --local, it brings a server and a worker of its own, in a temporary folder, and
leaves nothing of them. Ctrl-C cancels a local run; from a server's run it detaches.
Every mistake in the file is shown before anything starts (status 2).")]
pub(crate) struct Args {
    /// The workflow file
    file: PathBuf,
    /// An input's value; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = input)]
    input: Vec<(String, String)>,
    /// Where the files go that the workflow names as its result
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Bring an own server and worker, whatever else is there
    #[arg(long)]
    local: bool,
    /// Keep the data folder of a local run, and say where it is
    #[arg(long)]
    keep: bool,
    /// Refuse it where what it holds as a whole is not possible now; it waits, with a note, where not said
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    resources: super::submit::Resources,
    #[command(flatten)]
    worker: super::worker::Offers,
}

fn input(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let source = Source::read(&args.file)?;
    let Some(inputs) = check(on, &source, &args) else { return Ok(Exit::USAGE) };
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("The folder `{}` cannot be made.", args.out.display()))?;
    let resources = args.resources.list();
    let new = NewRun {
        workflow: source.text,
        file: Some(source.name),
        inputs,
        resources,
        strict: args.strict.then_some(true),
    };
    let mut stop = signals::Stop::new()?;
    if let Some(client) = server(on, &args).await? {
        return on_server(on, &client, &new, &args.out, &mut stop).await;
    }
    let mut local = tokio::select! {
        local = Local::start(on, &args) => local?,
        () = stop.asked() => return Ok(Exit::INTERRUPTED),
    };
    let outcome = on_local(on, &mut local, &new, &args.out, &mut stop).await;
    local.stop(on, &mut stop).await;
    outcome
}

/// Checks the file and the inputs; tells every mistake. `None`: there are some.
fn check(on: &Setting, source: &Source, args: &Args) -> Option<serde_json::Map<String, Value>> {
    let workflow = match source.check() {
        Ok(workflow) => workflow,
        Err(mistakes) => {
            on.out.note(source.render(&mistakes));
            return None;
        }
    };
    let given: BTreeMap<String, Value> =
        args.input.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    if let Err(errors) = workflow.inputs(&given) {
        for error in &errors {
            on.out.note(format!("error: {}", clean_lines(&error.message)));
        }
        return None;
    }
    Some(given.into_iter().collect())
}

/// The server to use. `None`: an own one. A server that was named must answer.
async fn server(on: &Setting, args: &Args) -> anyhow::Result<Option<Client>> {
    if args.local {
        return Ok(None);
    }
    let located = connect::locate(&on.config);
    let named = on.config.get("server").is_some();
    let client = match connect::client_of(on, &located) {
        Ok(client) => client,
        Err(error) if named => return Err(error),
        Err(_) => return Ok(None),
    };
    match client.version().await {
        Ok(_) => {
            on.out.note(format!("Running on the server {} (from: {}).", located.url, located.how));
            Ok(Some(client))
        }
        Err(error) if named || !error.is_unreachable() => Err(anyhow::Error::new(error).context(Trouble::new(
            Exit::UNREACHABLE,
            format!("The server {} cannot be used; `--local` brings an own one.", located.url),
        ))),
        Err(_) => Ok(None),
    }
}

async fn start(on: &Setting, client: &Client, new: &NewRun) -> anyhow::Result<RunId> {
    let started = client.start_run(new, &Write::default()).await?;
    for warning in &started.warnings {
        on.out.note(format!("note: {}", clean(warning)));
    }
    let id = started.id.as_deref().and_then(RunId::parse).context("The server started a run and did not say which.")?;
    ids::remember(&on.config, Thing::Run(id));
    Ok(id)
}

async fn on_server(
    on: &Setting,
    client: &Client,
    new: &NewRun,
    out: &Path,
    stop: &mut signals::Stop,
) -> anyhow::Result<Exit> {
    let id = start(on, client, new).await?;
    on.out.note(format!("started r{id}"));
    tokio::select! {
        run = watch(on, client, id) => finish(on, client, &run?, out).await,
        () = stop.asked() => {
            on.out.note(format!(
                "Detached: r{id} goes on. `bowline wait r{id}` waits for it, `bowline runs show r{id}` shows it, \
                 `bowline cancel r{id}` ends it."
            ));
            Ok(Exit::INTERRUPTED)
        }
    }
}

async fn on_local(
    on: &Setting,
    local: &mut Local,
    new: &NewRun,
    out: &Path,
    stop: &mut signals::Stop,
) -> anyhow::Result<Exit> {
    let client = local.client(on)?;
    let id = start(on, &client, new).await?;
    let ended = async {
        tokio::select! {
            run = watch(on, &client, id) => run,
            error = local.broken() => Err(error),
        }
    };
    tokio::select! {
        run = ended => finish(on, &client, &run?, out).await,
        () = stop.asked() => {
            on.out.note("Cancelling. Ctrl-C again to stop at once.");
            let cancel = async {
                client.run_verb(id, RunVerb::Cancel).await?;
                client.wait_run(id, Some(CANCEL_MAX)).await
            };
            tokio::select! {
                cancelled = cancel => {
                    if let Err(error) = cancelled {
                        on.out.note(format!("The cancel did not come to its end: {error}."));
                    }
                }
                () = stop.asked() => {}
            }
            Ok(Exit::INTERRUPTED)
        }
    }
}

/// Shows a run until it has ended.
async fn watch(on: &Setting, client: &Client, id: RunId) -> anyhow::Result<Run> {
    let client = client.with_patience(AWAY_MAX);
    let query = EventQuery { run: Some(format!("r{id}")), ..EventQuery::default() };
    let mut events = client.events(query.clone());
    let mut progress = Progress::new(on.out);
    loop {
        let first = events.next().await;
        let until = Instant::now() + REDRAW;
        let mut next = Ok(first);
        while let Ok(item) = next {
            match item {
                Ok(item) => progress.event(&item)?,
                // What was missed is in the run itself, which is read below.
                Err(error) if is_gone(&error) => events = client.events(query.clone()),
                Err(error) => return Err(error.into()),
            }
            next = timeout_at(until, events.next()).await;
        }
        let run = client.run(id).await?;
        progress.show(&run);
        if run.ended {
            progress.done();
            return Ok(run);
        }
    }
}

fn is_gone(error: &ClientError) -> bool {
    error.api().is_some_and(|problem| problem.code == "events_gone")
}

/// Fetches the result, tells the end.
async fn finish(on: &Setting, client: &Client, run: &Run, out: &Path) -> anyhow::Result<Exit> {
    let id = RunId::parse(&run.id).context("The server called the run by no run's name.")?;
    let left = client.run_artifacts(id).await?.items;
    let results = left.iter().filter(|left| left.result).map(|left| &left.artifact);
    let artifacts::Fetched { files, failed: unfetched } = artifacts::fetch(client, out, results).await?;
    for failed in &unfetched {
        on.out.note(failed);
    }
    let good = run.state == "succeeded" && unfetched.is_empty();
    if on.out.is_json() {
        on.out.item(&serde_json::json!({"run": run, "files": files}))?;
        return Ok(if good { Exit::GOOD } else { Exit::FAILED });
    }
    let failed = failures::tell(client, id, run).await?;
    if !failed.is_empty() {
        on.out.note(failed.trim_end());
    }
    for file in &files {
        on.out.note(format!("wrote {}", clean(&file.display().to_string())));
    }
    if let Some(result) = run.result.as_ref().filter(|result| !result.is_null()) {
        on.out.line(clean_lines(&serde_json::to_string_pretty(result)?))?;
    }
    if good {
        on.out.note(format!("{} succeeded", run.id));
        return Ok(Exit::GOOD);
    }
    // What a failed step says has been told above.
    let why = run.outcome.as_ref().filter(|_| failed.is_empty());
    let why = why.map(|outcome| format!(": {}", clean_lines(&outcome.message))).unwrap_or_default();
    on.out.note(format!("{} {}{why}", run.id, run.state));
    Ok(Exit::FAILED)
}
