//! Logs: one job that writes as fast as it can, read by a follower until it is sealed, beside a file that is written
//! and made durable; and what many jobs that write 1 MB/s each do to the results of others.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_api::{Amount, NewTask};
use bowline_client::{Client, LogRequest, Write};
use bowline_core::id::TaskRef;

use super::runtime;
use crate::args::Plan;
use crate::ceiling::disk::{self, MB};
use crate::clock::{Stopwatch, as_f64, millis};
use crate::drive::{WORK_MAX, noop, succeeded};
use crate::figures::{median, percentile};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice, each};

/// What each of many jobs writes in a second, in bytes.
const STEADY_BYTES: u64 = 1_000_000;
/// Between two results that are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Slots beside those of the jobs that write.
const SPARE: u32 = 4;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut one, mut many] = [(); 2].map(|()| Runs::default());
    for _ in 0..plan.runs {
        fast(plan, &mut one)?;
        steady(plan, &mut many)?;
    }
    Ok(vec![
        one.row("logs/one", "MB/s", Some("≥ 300")),
        many.row("logs/results beside 1 MB/s each", "ms", Some("≤ 50 later than without")),
    ])
}

fn fast(plan: &Plan, runs: &mut Runs) -> Result<()> {
    let bytes = plan.size.log_bytes;
    let mut site = Site::start(plan)?;
    let ceiling = disk::write(&site.path().join("ceiling"), bytes)?;
    site.employ(2, Voice::Quiet, &["--log-limit", "64GiB"])?;
    let runtime = runtime()?;
    runtime.block_on(site.manned())?;
    let before = site.cpu();
    let task = writes(bytes, None)?;
    let seconds = runtime.block_on(followed(site.client(), &task, bytes))?;
    let cpu = each(before, site.cpu(), bytes / 1_000_000);
    runs.add(as_f64(bytes) / MB / seconds).ceiling(ceiling);
    runs.more("server_cpu_us_per_mb", cpu.server).more("worker_job_cpu_us_per_mb", cpu.workers);
    site.stop()
}

/// A task that writes a log.
fn writes(bytes: u64, over: Option<Duration>) -> Result<NewTask> {
    let own = std::env::current_exe()?.to_string_lossy().into_owned();
    let mut words = vec![own, "play".to_owned(), "log".to_owned(), "--bytes".to_owned(), bytes.to_string()];
    if let Some(over) = over {
        words.extend(["--over".to_owned(), format!("{}ms", over.as_millis())]);
    }
    Ok(NewTask { command: Some(words), log_limit: Some(Amount(64 << 30)), ..NewTask::default() })
}

/// Reads a task's log to its end. Seconds since the submit.
async fn followed(client: &Client, task: &NewTask, bytes: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    let submitted = client.submit(task, &Write::default()).await?;
    let id = submitted.ids[0];
    let mut log = client.log(LogRequest { follow: true, ..LogRequest::new(id) });
    let mut read = 0;
    while let Some(piece) = log.next().await? {
        read += piece.len() as u64;
    }
    let seconds = watch.elapsed().as_secs_f64();
    ensure!(read == bytes, "the log has {bytes} bytes, and {read} were read");
    client.wait_task(id, Some(WORK_MAX)).await?;
    succeeded(client, &[id]).await?;
    Ok(seconds)
}

fn steady(plan: &Plan, runs: &mut Runs) -> Result<()> {
    let (jobs, length) = plan.size.log_jobs;
    let mut site = Site::start(plan)?;
    site.employ(jobs + SPARE, Voice::Quiet, &[])?;
    let runtime = runtime()?;
    let (without, with) = runtime.block_on(async {
        site.manned().await?;
        let client = site.client();
        let without = results(client, length).await?;
        let bytes = STEADY_BYTES * u64::try_from(length.as_millis())? / 1_000;
        let task = writes(bytes, Some(length))?;
        let submitted = client.submit_many(vec![task; jobs as usize], &Write::default()).await?;
        let with = results(client, length).await?;
        whole(client, &submitted.ids, bytes).await?;
        anyhow::Ok((without, with))
    })?;
    runs.add(percentile(&with, 99) - median(&without)).more("without_p50_ms", median(&without));
    runs.more("with_p50_ms", median(&with)).more("with_p99_ms", percentile(&with, 99)).more("jobs", f64::from(jobs));
    site.stop()
}

/// For so long, how many milliseconds each of one task after the other takes from its submit to its recorded end.
async fn results(client: &Client, length: Duration) -> Result<Vec<f64>> {
    let (watch, mut each) = (Stopwatch::start(), Vec::new());
    while watch.elapsed() < length {
        let one = Stopwatch::start();
        let submitted = client.submit(&noop(), &Write::default()).await?;
        client.wait_task(submitted.ids[0], Some(WORK_MAX)).await?;
        each.push(millis(one.elapsed()));
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(each)
}

/// Waits for these tasks, and sees that nothing of their logs is missing.
async fn whole(client: &Client, tasks: &[TaskRef], bytes: u64) -> Result<()> {
    for id in tasks {
        client.wait_task(*id, Some(WORK_MAX)).await?;
        let mut log = client.log(LogRequest { follow: true, ..LogRequest::new(*id) });
        let mut read = 0;
        while let Some(piece) = log.next().await? {
            read += piece.len() as u64;
        }
        ensure!(read == bytes, "the log of {id} has {bytes} bytes, and {read} were read");
    }
    succeeded(client, tasks).await
}
