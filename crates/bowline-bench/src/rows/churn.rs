//! `noop` over and over, with retention on: the rate at the end beside that at the start, and whether store and memory
//! stay as they are.

use std::path::Path;

use anyhow::Result;

use super::runtime;
use crate::args::Plan;
use crate::clock::{Stopwatch, as_f64};
use crate::drive::{noop, submit, unfinished, until_left};
use crate::figures::median;
use crate::process::private_bytes;
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};

/// What has ended is kept for so long, that something is removed all the time.
const KEPT: [&str; 4] = ["--keep-ended", "2s", "--keep-events", "2s"];
/// Most tasks of a turn. Two of them overlap, so that the worker never waits.
const TURN_MAX: u64 = 5_000;
/// The time is looked at in so many parts.
const PARTS: u32 = 10;
const MIB: f64 = 1_048_576.0;

/// What was seen in a part of the time.
struct Part {
    rate: f64,
    store: f64,
    memory: f64,
}

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut site = Site::start_with(plan, &KEPT)?;
    site.employ(2, Voice::Quiet, &[])?;
    let parts = runtime()?.block_on(go_on(plan, &site))?;
    site.stop()?;
    let mut runs = Runs::default();
    let third = (parts.len() / 3).max(1);
    let rate = |parts: &[Part]| median(&parts.iter().map(|part| part.rate).collect::<Vec<_>>());
    let (first, last) = (rate(&parts[..third]), rate(&parts[parts.len() - third..]));
    runs.add(last).ceiling(first);
    for (when, part) in [("at_a_third", parts.get(third)), ("at_the_end", parts.last())] {
        if let Some(part) = part {
            runs.more(&format!("store_mib_{when}"), part.store).more(&format!("memory_mib_{when}"), part.memory);
        }
    }
    Ok(vec![runs.row("churn", "tasks/s", Some("≥ 90 % of the start, store and memory flat"))])
}

async fn go_on(plan: &Plan, site: &Site) -> Result<Vec<Part>> {
    site.manned().await?;
    let (client, whole, mut parts) = (site.client(), Stopwatch::start(), Vec::new());
    let turn = plan.size.noop.min(TURN_MAX);
    for number in 1..=PARTS {
        let (watch, mut done) = (Stopwatch::start(), 0);
        while done == 0 || whole.elapsed() < plan.size.churn * number / PARTS {
            submit(client, turn, |_| noop()).await?;
            until_left(client, turn).await?;
            done += turn;
        }
        let rate = as_f64(done) / watch.elapsed().as_secs_f64();
        let store = folder_bytes(&site.path().join("data")) / MIB;
        parts.push(Part { rate, store, memory: private_bytes(site.server_pid()) / MIB });
    }
    until_left(client, 0).await?;
    anyhow::ensure!(unfinished(client).await? == 0, "not all tasks have ended");
    Ok(parts)
}

/// Bytes of the files in a folder, those of the folders in it left out.
fn folder_bytes(folder: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file);
    as_f64(files.map(|data| data.len()).sum())
}
