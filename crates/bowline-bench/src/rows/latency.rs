//! One command at a time, from the moment its submit is sent until it has begun in the worker, where it is journaled
//! by then, and its process is started next: two commits, one after the other. Beside the store's own commit of one task in the same run,
//! at the same pace.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_client::Write;

use super::runtime;
use crate::args::Plan;
use crate::ceiling::commits;
use crate::clock::{Stopwatch, millis};
use crate::drive::{command, until_left};
use crate::figures::{median, percentile};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};
use crate::worker::next_begin;

/// Between the end of one and the next: no multiple of what anybody waits for.
const PAUSE: Duration = Duration::from_micros(7_300);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut middle, mut worst] = [(); 2].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let folder = plan.folder()?;
        let [commit, hurried] = [PAUSE, Duration::ZERO]
            .map(|pause| commits::of_one_task(folder.path(), plan.size.latency, pause).map(|each| median(&each)));
        let (commit, hurried) = (commit?, hurried?);
        let mut site = Site::start(plan)?;
        site.employ(2, Voice::Steps, &[])?;
        let each = runtime()?.block_on(one_at_a_time(&site, plan.size.latency))?;
        middle.add(median(&each)).ceiling(2.0 * commit + 1.0);
        middle.more("commit_p50_ms", commit).more("commit_p50_without_pause_ms", hurried);
        worst.add(percentile(&each, 99)).ceiling(10.0);
        site.stop()?;
    }
    Ok(vec![
        middle.row("latency/p50", "ms", Some("≤ 2 × the commit's p50 + 1 ms, which stands as the ceiling")),
        worst.row("latency/p99", "ms", Some("≤ 10")),
    ])
}

async fn one_at_a_time(site: &Site, count: u64) -> Result<Vec<f64>> {
    site.manned().await?;
    let (client, worker) = (site.client(), site.worker()?);
    let mut each = Vec::new();
    // The first ones find nothing in place yet.
    for number in 0..count + 3 {
        worker.hush();
        let sent = Stopwatch::start();
        let submitted = client.submit(&command(&["/bin/true"]), &Write::default()).await?;
        let (begun, attempt) = next_begin(worker)?;
        let id = submitted.ids.first().map(ToString::to_string).unwrap_or_default();
        ensure!(attempt.starts_with(&id), "the task {id} was submitted, and {attempt} began");
        if number >= 3 {
            each.push(millis(begun.since(sent)));
        }
        until_left(client, 0).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(each)
}
