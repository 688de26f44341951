//! `bowline explain`: why a task waits.

use super::Setting;
use crate::clock::age;
use crate::exit::Exit;
use crate::ids::{Id, Thing};
use crate::output::clean;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline explain 4711
  bowline explain 4711.7
  bowline explain r12       every unfinished task of the run
  bowline explain last --json")]
pub(crate) struct Args {
    /// A task, an array's element, a run, or `last`
    id: Id,
}

/// Tells.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    match args.id.resolve(&on.config)? {
        Thing::Task(task) => one(on, task).await?,
        Thing::Run(run) => super::runs::explain(on, run).await?,
    }
    Ok(Exit::GOOD)
}

async fn one(on: &Setting, task: bowline_core::id::TaskRef) -> anyhow::Result<()> {
    let explanation = on.client()?.explain(task).await?;
    if on.out.is_json() {
        on.out.document(&explanation)?;
        return Ok(());
    }
    on.out.line(format!("task {} is {} since {}", explanation.task, explanation.state, age(explanation.since)))?;
    for reason in &explanation.reasons {
        on.out.line(format!("  - {}", clean(&reason.sentence)))?;
    }
    if explanation.reasons.is_empty() {
        on.out.line("  It waits for nothing.")?;
    }
    Ok(())
}
