//! `bowline runs explain`: why a run has not ended.

use bowline_api::{RunExplanation, StepExplanation};
use bowline_core::id::RunId;

use super::Setting;
use crate::clock::age;
use crate::exit::Exit;
use crate::ids::Id;
use crate::output::clean;
use crate::watch::{Sight, Watch};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline runs explain r12
  bowline runs explain last --watch

With --watch it ends when the run has ended.")]
pub(crate) struct Args {
    /// A run such as `r12`, or `last`
    pub(super) id: Id,
    #[command(flatten)]
    pub(super) watch: Watch,
}

/// Tells.
pub(crate) async fn run(on: &Setting, run: RunId, watch: Watch) -> anyhow::Result<Exit> {
    watch.look(on, async |on| one(on, run).await).await
}

async fn one(on: &Setting, run: RunId) -> anyhow::Result<Sight> {
    let explained = on.client()?.explain_run(run).await?;
    let sight = if explained.ended { Sight::Over } else { Sight::Open };
    if on.out.is_json() {
        on.out.document(&explained)?;
    } else {
        tell(on, &explained)?;
    }
    Ok(sight)
}

fn tell(on: &Setting, explained: &RunExplanation) -> anyhow::Result<()> {
    let RunExplanation { run, state, steps_ended, .. } = explained;
    if explained.ended {
        on.out.line(format!("{run} has ended: {state}"))?;
        return Ok(());
    }
    let steps = explained.steps.len() as u64 + steps_ended;
    on.out
        .line(format!("{run} is {state} since {}; {steps_ended} of {steps} steps have ended", age(explained.since)))?;
    for reason in &explained.reasons {
        on.out.line(format!("  - {}", clean(&reason.sentence)))?;
    }
    for step in &explained.steps {
        on.out.line(format!("step {}{}", clean(&step.step), of_task(step)))?;
        on.out.line(format!("  {}", clean(&step.sentence)))?;
        for why in &step.why {
            on.out.line(format!("  - {}: {}", who(why.tasks, &why.first.to_string()), clean(&why.why.sentence)))?;
        }
    }
    if explained.steps.is_empty() {
        on.out.line("  All its steps have ended; its result is to be evaluated.")?;
    }
    Ok(())
}

fn of_task(step: &StepExplanation) -> String {
    step.task.as_ref().map_or_else(String::new, |task| format!(" (task {task})"))
}

fn who(tasks: u64, first: &str) -> String {
    match tasks {
        1 => first.to_owned(),
        more => format!("{first} and {} more", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_reason_is_told_of() {
        assert_eq!([who(1, "7"), who(3, "7.2")], ["7", "7.2 and 2 more"]);
    }
}
