//! Submits: one by one from one client, beside the store's own commits of one task, and what both are made of (a request
//! that changes nothing, a commit after a pause as long as the rest of a submit); from 64 clients, beside the one;
//! in bulk of 1,000. Nobody works meanwhile.

use std::time::Duration;

use anyhow::Result;
use bowline_client::{Client, Write};
use tokio::task::JoinSet;

use super::runtime;
use crate::args::Plan;
use crate::ceiling::commits;
use crate::clock::{Stopwatch, as_f64};
use crate::drive::{noop, submit_by};
use crate::row::{Row, Runs};
use crate::site::{Site, each};

/// Clients at a time.
const CLIENTS: u64 = 64;
/// Tasks to a submit in bulk.
const BULK: u64 = 1_000;
/// Commits at the pace of submits, at most.
const PACED_MAX: u64 = 2_000;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let (from_one, from_many) = plan.size.submits;
    let [mut one, mut many, mut bulk] = [(); 3].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let folder = plan.folder()?;
        let commits = commits::of_one_task(folder.path(), from_one, Duration::ZERO)?;
        let possible = 1e3 / mean(&commits);
        let site = Site::start(plan)?;
        let runtime = runtime()?;
        let asked = runtime.block_on(ask(site.client(), from_one))?;
        let before = site.cpu();
        let by_one = runtime.block_on(one_by_one(site.client(), from_one))?;
        let between = site.cpu();
        let by_many = runtime.block_on(from_clients(site.client(), from_many))?;
        let after = site.cpu();
        let apart = Duration::from_secs_f64((1.0 / by_one - 1.0 / possible).max(1e-6));
        let at_pace = commits::of_one_task(folder.path(), from_one.min(PACED_MAX), apart)?;
        one.add(by_one).ceiling(possible).more("server_cpu_us", each(before, between, from_one).server);
        one.more("request_ms", 1e3 / asked)
            .more("commit_ms", 1e3 / possible)
            .more("commit_ms_at_this_pace", mean(&at_pace));
        many.add(by_many).ceiling(by_one).more("server_cpu_us", each(between, after, from_many).server);
        let tasks = plan.size.bulks * BULK;
        let watch = Stopwatch::start();
        runtime.block_on(submit_by(site.client(), tasks, BULK, |_| noop()))?;
        bulk.add(watch.per_second(tasks)).more("server_cpu_us", each(after, site.cpu(), tasks).server);
        site.stop()?;
    }
    Ok(vec![
        one.row("submit/one", "tasks/s", Some("≥ 60 % of the store's commits")),
        many.row("submit/64", "tasks/s", Some("≥ 10 × one")),
        bulk.row("submit/bulk", "tasks/s", Some("≥ 100,000")),
    ])
}

fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / as_f64(all.len() as u64)
}

/// Requests a second that change nothing: what is needed to speak with the server at all.
async fn ask(client: &Client, count: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    for _ in 0..count {
        client.version().await?;
    }
    Ok(watch.per_second(count))
}

/// Submits a second.
pub(super) async fn one_by_one(client: &Client, count: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    for _ in 0..count {
        client.submit(&noop(), &Write::default()).await?;
    }
    Ok(watch.per_second(count))
}

async fn from_clients(client: &Client, count: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let client = client.clone();
        let own = count / CLIENTS + u64::from(number < count % CLIENTS);
        clients.spawn(async move { one_by_one(&client, own).await });
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    Ok(watch.per_second(count))
}
