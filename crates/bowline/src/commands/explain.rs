//! `bowline explain`: why a task waits.

use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use super::Setting;
use crate::clock::age;
use crate::exit::Exit;
use crate::ids::{Id, Thing};
use crate::output::clean;
use crate::watch::{Sight, Watch};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline explain 4711
  bowline explain 4711.7
  bowline explain r12       every unfinished step of the run
  bowline explain last --watch

With --watch it ends when the task waits for nothing any more: it runs, or has ended. A run is watched to its end.")]
pub(crate) struct Args {
    /// A task, an array's element, a run, or `last`
    id: Id,
    #[command(flatten)]
    watch: Watch,
}

/// Tells.
pub(crate) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    match args.id.resolve(&on.config)? {
        Thing::Task(task) => args.watch.look(on, async |on| one(on, task).await).await,
        Thing::Run(run) => super::runs::explain::run(on, run, args.watch).await,
    }
}

async fn one(on: &Setting, task: TaskRef) -> anyhow::Result<Sight> {
    let explanation = on.client()?.explain(task).await?;
    let begun = matches!(explanation.state, StateKind::Running | StateKind::Stopping);
    let is_over = explanation.state.is_ended() || begun && explanation.reasons.is_empty();
    let sight = if is_over { Sight::Over } else { Sight::Open };
    if on.out.is_json() {
        on.out.document(&explanation)?;
        return Ok(sight);
    }
    on.out.line(format!("task {} is {} since {}", explanation.task, explanation.state, age(explanation.since)))?;
    for reason in &explanation.reasons {
        on.out.line(format!("  - {}", clean(&reason.sentence)))?;
    }
    if explanation.reasons.is_empty() {
        on.out.line("  It waits for nothing.")?;
    }
    Ok(sight)
}
