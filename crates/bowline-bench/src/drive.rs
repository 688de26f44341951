//! What clients do: submit in bulk, one by one, and wait until everything has ended.

use std::time::Duration;

use anyhow::{Result, ensure};
use bowline_api::NewTask;
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::spec::SUBMIT_TASKS_MAX;
use bowline_core::state::StateKind;

use crate::clock::{Stopwatch, as_f64};

/// Between two looks at what is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long any workload may take.
pub(crate) const WORK_MAX: Duration = Duration::from_mins(30);
/// Of the tasks of a workload so many are looked at when they have ended.
const LOOKED_AT: usize = 20;

/// A task that does nothing.
pub(crate) fn noop() -> NewTask {
    NewTask { action: Some("noop".to_owned()), ..NewTask::default() }
}

/// A task that runs a program.
pub(crate) fn command(argv: &[&str]) -> NewTask {
    NewTask { command: Some(argv.iter().map(|&word| word.to_owned()).collect()), ..NewTask::default() }
}

/// Waits for a condition.
pub(crate) async fn until(within: Duration, what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let watch = Stopwatch::start();
    loop {
        // Whoever is about to listen refuses connections until then.
        match holds().await {
            Ok(true) => return Ok(()),
            Err(error) if watch.elapsed() > within => return Err(error),
            Ok(false) | Err(_) => {}
        }
        ensure!(watch.elapsed() < within, "not so after {within:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Submits so many tasks in bulk. Gives back some of their ids, the first and the last among them.
pub(crate) async fn submit(client: &Client, count: u64, make: impl Fn(u64) -> NewTask) -> Result<Vec<TaskRef>> {
    submit_by(client, count, SUBMIT_TASKS_MAX as u64, make).await
}

/// The same, so many at a time.
pub(crate) async fn submit_by(
    client: &Client,
    count: u64,
    bulk: u64,
    make: impl Fn(u64) -> NewTask,
) -> Result<Vec<TaskRef>> {
    let mut some = Vec::new();
    let mut from = 0;
    while from < count {
        let to = count.min(from + bulk);
        let submitted = client.submit_many((from..to).map(&make).collect(), &Write::default()).await?;
        some.extend(submitted.ids.first().into_iter().chain(submitted.ids.last()).copied());
        from = to;
    }
    Ok(some)
}

/// Tasks that have not ended.
pub(crate) async fn unfinished(client: &Client) -> Result<u64> {
    Ok(client.queue().await?.states.values().sum())
}

/// Waits until no more than so many tasks have not ended.
pub(crate) async fn until_left(client: &Client, left: u64) -> Result<()> {
    until(WORK_MAX, "the tasks have ended", async || Ok(unfinished(client).await? <= left)).await
}

/// Looks at some of these tasks: each must have succeeded.
pub(crate) async fn succeeded(client: &Client, tasks: &[TaskRef]) -> Result<()> {
    let step = tasks.len().div_ceil(LOOKED_AT).max(1);
    for id in tasks.iter().step_by(step) {
        let task = client.task(*id).await?;
        ensure!(task.state == StateKind::Succeeded, "task {id} is {}", task.state);
    }
    Ok(())
}

/// Submits tasks and waits until the last one has ended. Tasks a second.
pub(crate) async fn work_off(client: &Client, count: u64, make: impl Fn(u64) -> NewTask) -> Result<f64> {
    let before = unfinished(client).await?;
    let watch = Stopwatch::start();
    let some = submit(client, count, make).await?;
    until_left(client, before).await?;
    let took = watch.elapsed();
    succeeded(client, &some).await?;
    Ok(as_f64(count) / took.as_secs_f64())
}
