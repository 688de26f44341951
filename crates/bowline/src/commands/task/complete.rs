//! `bowline task complete`: ends a task that waits for somebody.

use bowline_api::Complete;

use super::Setting;
use crate::exit::{Exit, Trouble};
use crate::ids::Id;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task complete 4711
  bowline task complete 4711 --result '{\"approved\": true}'
  bowline task complete 4711 --failure 'the customer said no'")]
pub(crate) struct Args {
    /// A task with the action `wait`, or `last`
    id: Id,
    /// Its result, as JSON
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    /// It failed, and why
    #[arg(long, value_name = "TEXT", conflicts_with = "result")]
    failure: Option<String>,
}

/// Ends it.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let task = args.id.task(&on.config)?;
    let result = args
        .result
        .map(|text| {
            serde_json::from_str(&text).map_err(|error| Trouble::usage(format!("The result is no JSON: {error}.")))
        })
        .transpose()?;
    let verdict = on.client()?.complete(task, &Complete { result, failure: args.failure }).await?;
    if on.out.is_json() {
        on.out.document(&verdict)?;
    } else {
        on.out.line(format!("{} {}", verdict.id, verdict.state))?;
    }
    Ok(Exit::GOOD)
}
