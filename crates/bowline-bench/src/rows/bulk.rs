//! Verbs by filter over a great many tasks, and an array of as many elements with a window: how quickly, and how long
//! whoever asks something else meanwhile waits for the answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bowline_api::{Bulk, BulkFilter, NewTask, TaskVerbName};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use super::runtime;
use crate::args::Plan;
use crate::clock::{Stopwatch, as_f64, millis};
use crate::drive::{noop, submit, unfinished};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};

/// Elements that are at work at a time.
const WINDOW: u32 = 8;
/// How long elements are worked off before all others are cancelled.
const WORKED_OFF: Duration = Duration::from_secs(5);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut paused, mut cancelled, mut elements, mut ended] = [(); 4].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let mut site = Site::start(plan)?;
        let runtime = runtime()?;
        let all = runtime.block_on(submit(site.client(), plan.size.queued, |_| noop()))?;
        for (verb, runs) in [(TaskVerbName::Pause, &mut paused), (TaskVerbName::Cancel, &mut cancelled)] {
            let (rate, longest) = runtime.block_on(beside_questions(site.client(), all[0], verb, plan.size.queued))?;
            runs.add(rate).more("longest_wait_ms", longest);
        }
        ensure!(runtime.block_on(unfinished(site.client()))? == 0, "some were not cancelled");
        site.employ(WINDOW, Voice::Quiet, &[])?;
        runtime.block_on(site.manned())?;
        let (rate, millis) = runtime.block_on(array(site.client(), plan))?;
        elements.add(rate);
        ended.add(millis);
        site.stop()?;
    }
    Ok(vec![
        paused.row("bulk/pause", "tasks/s", None),
        cancelled.row("bulk/cancel", "tasks/s", None),
        elements.row("bulk/array", "elements/s", None),
        ended.row("bulk/array/cancel", "ms", None),
    ])
}

/// A verb on all, a batch at a time, while somebody asks one question after the other. Tasks a second, and the longest that a question took.
async fn beside_questions(client: &Client, task: TaskRef, verb: TaskVerbName, count: u64) -> Result<(f64, f64)> {
    let watch = Stopwatch::start();
    let (done, longest) = tokio::sync::watch::channel(());
    let questions = async {
        let (mut longest, done) = (0.0_f64, longest);
        while !done.has_changed().unwrap_or(true) {
            let watch = Stopwatch::start();
            client.explain(task).await?;
            longest = longest.max(millis(watch.elapsed()));
        }
        Ok::<_, anyhow::Error>(longest)
    };
    let work = async {
        let touched = on_all(client, verb).await?;
        done.send_replace(());
        ensure!(touched == count, "{verb:?} touched {touched} of {count}");
        Ok::<_, anyhow::Error>(watch.elapsed())
    };
    let (longest, took) = tokio::try_join!(questions, work)?;
    Ok((as_f64(count) / took.as_secs_f64(), longest))
}

async fn on_all(client: &Client, verb: TaskVerbName) -> Result<u64> {
    let filter = Some(BulkFilter::default());
    let mut bulk = Bulk { verb, ids: Vec::new(), filter, cursor: None, reason: None, dry_run: false };
    let mut touched = 0;
    loop {
        let answer = client.bulk(&bulk).await?;
        touched += answer.touched;
        if !answer.more {
            return Ok(touched);
        }
        bulk.cursor = Some(answer.next.context("more match, and nobody says where they begin")?);
    }
}

/// Elements a second of an array with a window, and the milliseconds in which the rest of it is cancelled.
async fn array(client: &Client, plan: &Plan) -> Result<(f64, f64)> {
    let array = NewTask { array: Some(format!("1-{}%{WINDOW}", plan.size.elements).parse()?), ..noop() };
    let id = *client.submit(&array, &Write::default()).await?.ids.first().context("nothing was submitted")?;
    let watch = Stopwatch::start();
    tokio::time::sleep(WORKED_OFF.min(plan.size.watch)).await;
    let ended = client.task(id).await?.array.map_or(0, |array| array.succeeded);
    let rate = f64::from(ended) / watch.elapsed().as_secs_f64();
    let watch = Stopwatch::start();
    client.task_verb(id, TaskVerbName::Cancel, None).await?;
    let end = client.wait_task(id, Some(WORKED_OFF)).await?;
    ensure!(matches!(end.state, StateKind::Cancelled | StateKind::Succeeded), "the array is {}", end.state);
    Ok((rate, millis(watch.elapsed())))
}
