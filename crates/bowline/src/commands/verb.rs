//! Verbs on many tasks at once: by ids, or by a filter with `--all`. Of a filter it is first said how
//! many would be touched.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use bowline_api::{Bulk, BulkAnswer, BulkFilter, TaskVerbName};
use bowline_client::Client;
use bowline_core::id::{RunId, TaskRef};
use bowline_core::input::RunVerb;
use bowline_core::state::StateKind;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::ids::{Id, Thing};
use crate::output::clean;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline cancel 4711 4712 r12
  bowline retry last
  bowline cancel --all --label team=lab --state ready    says how many, and asks
  bowline retry --all --name 'nightly-*' --yes

With --all the filter says which tasks; without any filter it is all of the namespace.
Where standard input is no terminal, --all needs --yes.")]
pub(crate) struct Args {
    /// Tasks, elements, runs, or `last`
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Id>,
    /// All tasks that the filter matches
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With --all: do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say how many it would touch, and touch none
    #[arg(long)]
    dry_run: bool,
}

/// Which tasks.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Filter (with --all)")]
pub(crate) struct Filter {
    /// In this state; may be repeated
    #[arg(long, value_name = "STATE", value_parser = state, requires = "all")]
    state: Vec<StateKind>,
    /// Of this name; `*` stands for anything
    #[arg(long, value_name = "NAME", requires = "all")]
    name: Option<String>,
    /// With this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, requires = "all")]
    label: Vec<(String, String)>,
    /// That hold this resource, or wait for it
    #[arg(long, value_name = "NAME", requires = "all")]
    resource: Option<String>,
    /// Last given to this worker
    #[arg(long, value_name = "WORKER", requires = "all")]
    worker: Option<String>,
    /// Submitted at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", requires = "all")]
    since: Option<jiff::Timestamp>,
}

/// `bowline cancel`.
pub(crate) async fn cancel(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    apply(on, args, TaskVerbName::Cancel).await
}

/// `bowline retry`.
pub(crate) async fn retry(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    apply(on, args, TaskVerbName::Retry).await
}

/// Any verb.
pub(crate) async fn apply(on: &Setting, args: Args, verb: TaskVerbName) -> anyhow::Result<Exit> {
    let client = on.client()?;
    if args.all {
        return by_filter(on, &client, &args, verb).await;
    }
    let (tasks, runs) = split(on, &args.ids)?;
    let mut exit = Exit::GOOD;
    if !tasks.is_empty() {
        let bulk = Bulk { verb, ids: tasks, filter: None, cursor: None, reason: args.reason, dry_run: args.dry_run };
        let answer = client.bulk(&bulk).await?;
        exit = tell(on, &answer, verb)?;
    }
    for run in runs {
        on_run(on, &client, run, verb, args.dry_run.into()).await?;
    }
    Ok(exit)
}

/// Whether to do it or only to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    Really,
    Looking,
}

impl From<bool> for Doing {
    fn from(dry_run: bool) -> Self {
        if dry_run { Self::Looking } else { Self::Really }
    }
}

fn split(on: &Setting, ids: &[Id]) -> anyhow::Result<(Vec<TaskRef>, Vec<RunId>)> {
    let mut tasks = Vec::new();
    let mut runs = Vec::new();
    for id in ids {
        match id.resolve(&on.config)? {
            Thing::Task(task) => tasks.push(task),
            Thing::Run(run) => runs.push(run),
        }
    }
    Ok((tasks, runs))
}

async fn on_run(on: &Setting, client: &Client, run: RunId, verb: TaskVerbName, doing: Doing) -> anyhow::Result<()> {
    let verb = match verb {
        TaskVerbName::Cancel => RunVerb::Cancel,
        TaskVerbName::Retry => RunVerb::Retry,
        TaskVerbName::Pause => RunVerb::Pause,
        TaskVerbName::Resume => RunVerb::Resume,
        TaskVerbName::Delete => {
            return Err(Trouble::usage(format!("A run cannot be deleted: leave r{run} out.")).into());
        }
    };
    let run = match doing {
        Doing::Really => client.run_verb(run, verb).await?,
        Doing::Looking => client.run(run).await?,
    };
    if on.out.is_json() {
        on.out.item(&run)?;
    } else {
        on.out.line(format!("{} {}", run.id, run.state))?;
    }
    Ok(())
}

async fn by_filter(on: &Setting, client: &Client, args: &Args, verb: TaskVerbName) -> anyhow::Result<Exit> {
    let filter = BulkFilter {
        states: args.filter.state.clone(),
        name: args.filter.name.clone(),
        labels: args.filter.label.iter().cloned().collect::<BTreeMap<_, _>>(),
        resource: args.filter.resource.clone(),
        worker: args.filter.worker.clone(),
        since: args.filter.since,
        ..BulkFilter::default()
    };
    let reason = args.reason.clone();
    let mut bulk = Bulk { verb, ids: Vec::new(), filter: Some(filter), cursor: None, reason, dry_run: true };
    let mut would = count(on, client, bulk.clone()).await?;
    let tasks = if would.touched == 1 { "task" } else { "tasks" };
    let say = format!("{} would touch {} {tasks}.", verb.name(), would.touched);
    if args.dry_run {
        if on.out.is_json() {
            on.out.document(&would)?;
        } else {
            on.out.line(say)?;
        }
        return Ok(Exit::GOOD);
    }
    on.out.note(&say);
    if would.touched == 0 {
        if on.out.is_json() {
            would.dry_run = false;
            on.out.document(&would)?;
        }
        return Ok(Exit::GOOD);
    }
    if !args.yes && !agreed(on)? {
        on.out.note("Nothing was done.");
        return Ok(Exit::FAILED);
    }
    bulk.dry_run = false;
    in_batches(on, client, bulk, would.touched).await
}

/// How many a filter matches, counted in batches.
async fn count(on: &Setting, client: &Client, mut bulk: Bulk) -> anyhow::Result<BulkAnswer> {
    let mut all = client.bulk(&bulk).await?;
    while let Some(next) = all.next.take() {
        bulk.cursor = Some(next);
        let more = client.bulk(&bulk).await?;
        all.touched += more.touched;
        all.items.extend(more.items);
        (all.next, all.more) = (more.next, more.more);
        progress(on, &format!("{} tasks match so far", all.touched));
    }
    Ok(all)
}

/// Batch after batch, each its own commit: what is done stays done where one fails or somebody interrupts.
async fn in_batches(on: &Setting, client: &Client, mut bulk: Bulk, of: u64) -> anyhow::Result<Exit> {
    let (mut touched, mut refused, mut exit, mut batches) = (0, 0, Exit::GOOD, 0_u64);
    loop {
        let answer = client.bulk(&bulk).await?;
        let told = tell(on, &answer, bulk.verb)?;
        exit = if told == Exit::GOOD { exit } else { told };
        touched += answer.touched;
        refused += answer.refused;
        batches += 1;
        bulk.cursor = answer.next;
        if bulk.cursor.is_none() {
            break;
        }
        progress(on, &format!("{}: {touched} of {of} tasks", bulk.verb.name()));
    }
    if batches > 1 && !on.out.is_json() {
        on.out.note(format!("{} touched {touched} tasks; {refused} were refused.", bulk.verb.name()));
    }
    Ok(exit)
}

/// How far it is, for who looks on.
fn progress(on: &Setting, text: &str) {
    if std::io::stderr().is_terminal() && !on.out.is_json() {
        on.out.note(text);
    }
}

/// Asks whether to go on. Without a terminal to ask on that is wrong usage.
pub(crate) fn agreed(on: &Setting) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Trouble::usage("There is no terminal to ask on: say --yes.").into());
    }
    on.out.note("Go on? [y/N]");
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn tell(on: &Setting, answer: &BulkAnswer, verb: TaskVerbName) -> anyhow::Result<Exit> {
    if on.out.is_json() {
        on.out.document(answer)?;
    } else {
        for item in &answer.items {
            match (&item.state, &item.message) {
                (Some(state), _) => on.out.line(format!("{} {state}", item.id))?,
                (None, message) => {
                    let message = message.as_deref().unwrap_or("refused");
                    on.out.note(format!("error: {} {}: {}", verb.name(), item.id, clean(message)));
                }
            }
        }
    }
    let of = |code: &str| answer.items.iter().any(|item| item.code.as_deref() == Some(code));
    Ok(match answer.refused {
        0 => Exit::GOOD,
        _ if of("not_found") => Exit::MISSING,
        _ => Exit::REFUSED,
    })
}

/// Reads a state's name; a wrong one names the nearest.
pub(crate) fn state(text: &str) -> Result<StateKind, String> {
    StateKind::parse(text).ok_or_else(|| {
        let names = StateKind::ALL.map(StateKind::name);
        match crate::nearest::nearest(text, names.into_iter()) {
            Some(near) => format!("there is no state `{text}`; did you mean `{near}`?"),
            None => format!("there is no state `{text}`; there are {}", names.join(", ")),
        }
    })
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
