//! `bowline task complete`: ends a task that waits for somebody; and `resolve`: says how a task in doubt
//! really ended.

use bowline_api::{Complete, Verdict};

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

/// Arguments of `resolve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline task resolve 4711 --success
  bowline task resolve 4711 --success --result '{\"invoices\": 12}'
  bowline task resolve 4711 --failure 'the invoices were not sent'
  bowline task retry 4711                                  runs it again instead

A task is in_doubt when its worker was lost, or its attempt given back after it had begun, and it must
not rerun by itself (--on-worker-loss fail). Look at what it was to do before you say how it ended.")]
pub(crate) struct Resolve {
    /// A task in doubt, an array's element, or `last`
    id: Id,
    /// It did what it was to do
    #[arg(long, conflicts_with = "failure")]
    success: bool,
    /// With --success: its result, as JSON
    #[arg(long, value_name = "JSON", requires = "success")]
    result: Option<String>,
    /// It failed, and why
    #[arg(long, value_name = "MESSAGE")]
    failure: Option<String>,
}

/// Says how it ended.
pub(super) async fn resolve(on: &Setting, args: Resolve) -> anyhow::Result<Exit> {
    if !args.success && args.failure.is_none() {
        let what =
            "Say how it ended: with --success, or with --failure MESSAGE. `bowline task retry` runs it again instead.";
        return Err(Trouble::usage(what.to_owned()).into());
    }
    let task = args.id.task(&on.config)?;
    let how = Complete { result: json(args.result)?, failure: args.failure };
    tell(on, &on.client()?.resolve(task, &how).await?)
}

fn json(text: Option<String>) -> anyhow::Result<Option<serde_json::Value>> {
    let wrong = |error| Trouble::usage(format!("The result is no JSON: {error}."));
    Ok(text.map(|text| serde_json::from_str(&text).map_err(wrong)).transpose()?)
}

fn tell(on: &Setting, verdict: &Verdict) -> anyhow::Result<Exit> {
    if on.out.is_json() {
        on.out.document(verdict)?;
    } else {
        on.out.line(format!("{} {}", verdict.id, verdict.state))?;
    }
    Ok(Exit::GOOD)
}

/// Ends it.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let task = args.id.task(&on.config)?;
    let how = Complete { result: json(args.result)?, failure: args.failure };
    tell(on, &on.client()?.complete(task, &how).await?)
}
