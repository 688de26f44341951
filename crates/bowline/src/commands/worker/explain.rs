//! `bowline worker explain`: why a worker is idle, or takes no more.

use bowline_api::{LaneMiss, WorkerExplanation};
use bowline_core::size::format_amount;

use super::Setting;
use crate::exit::Exit;
use crate::output::clean;
use crate::watch::{Sight, Watch};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline worker explain lab-3
  bowline worker explain lab-3 --json
  bowline worker explain lab-3 --watch")]
pub(crate) struct Args {
    /// Its name
    name: String,
    #[command(flatten)]
    watch: Watch,
}

/// Tells.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let Args { name, watch } = args;
    watch
        .look(on, async |on| {
            let explained = on.client()?.explain_worker(&name).await?;
            if on.out.is_json() {
                on.out.document(&explained)?;
            } else {
                tell(on, &explained)?;
            }
            Ok(Sight::Open)
        })
        .await
}

fn tell(on: &Setting, explained: &WorkerExplanation) -> anyhow::Result<()> {
    let amounts = explained.amounts.iter().map(|(name, all)| {
        let used = explained.amounts_used.get(name).copied().unwrap_or_default();
        format!(", {} of {} {name}", format_amount(name, used), format_amount(name, *all))
    });
    let amounts: String = amounts.collect();
    let beyond = if explained.beyond > 0 { format!(", {} beyond them", explained.beyond) } else { String::new() };
    on.out.line(clean(&format!(
        "{}: {} of {} slots taken{beyond}{amounts}",
        explained.worker, explained.slots_used, explained.slots
    )))?;
    for reason in &explained.reasons {
        on.out.line(format!("  - {}", clean(&reason.sentence)))?;
    }
    if explained.reasons.is_empty() {
        on.out.line("  Nothing keeps work from it.")?;
    }
    if !explained.lanes.is_empty() {
        let more = match explained.lanes_more {
            0 => String::new(),
            more => format!(" (the nearest {} of {})", explained.lanes.len(), explained.lanes.len() as u64 + more),
        };
        on.out.line(format!("\nWhat waits, and what it misses here{more}:"))?;
        on.out
            .table(&["first", "ready", "namespace", "asks for", "misses"], explained.lanes.iter().map(row).collect())?;
    }
    Ok(())
}

fn row(lane: &LaneMiss) -> Vec<String> {
    vec![
        lane.first.to_string(),
        lane.ready.to_string(),
        lane.namespace.clone(),
        lane.lane.clone(),
        lane.sentence.clone(),
    ]
}
