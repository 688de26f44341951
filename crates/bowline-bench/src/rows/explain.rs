//! Why a task waits, asked over REST while a great many do.

use anyhow::{Result, ensure};
use bowline_client::Write;

use super::runtime;
use crate::args::Plan;
use crate::clock::{Stopwatch, millis};
use crate::drive::{noop, submit};
use crate::figures::{median, percentile};
use crate::row::{Row, Runs};
use crate::site::Site;

/// Questions to a run.
const QUESTIONS: usize = 200;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut runs = Runs::default();
    for _ in 0..plan.runs {
        let site = Site::start(plan)?;
        let each = runtime()?.block_on(ask(site.client(), plan.size.queued))?;
        runs.add(median(&each)).more("p99_ms", percentile(&each, 99));
        site.stop()?;
    }
    Ok(vec![runs.row("explain", "ms", Some("≤ 5"))])
}

async fn ask(client: &bowline_client::Client, queued: u64) -> Result<Vec<f64>> {
    // Some of everywhere in the queue, and the last one.
    let mut some = submit(client, queued, |_| noop()).await?;
    some.extend(client.submit(&noop(), &Write::default()).await?.ids);
    let mut each = Vec::new();
    for id in some.iter().cycle().take(QUESTIONS) {
        let watch = Stopwatch::start();
        let explanation = client.explain(*id).await?;
        each.push(millis(watch.elapsed()));
        ensure!(!explanation.reasons.is_empty(), "nobody knows why {id} waits");
    }
    Ok(each)
}
