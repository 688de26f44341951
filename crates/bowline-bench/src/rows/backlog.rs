//! A short queue against a long one: how quickly is submitted while so many wait, and how quickly the front of the
//! queue is worked off.

use anyhow::Result;
use bowline_api::PauseRequest;
use bowline_client::Client;
use bowline_core::message::Paused;

use super::{runtime, submit::one_by_one};
use crate::args::Plan;
use crate::clock::{Stopwatch, as_f64};
use crate::drive::{noop, submit, unfinished, until_left};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};

/// So many are submitted one by one.
const SUBMITS: u64 = 300;
/// The front of the queue is worked off so often.
const TURNS: u64 = 5;

/// What is possible with a queue.
struct Pace {
    submits: f64,
    dispatched: f64,
}

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let (short, long) = plan.size.backlog;
    let [mut submits, mut dispatched] = [(); 2].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let mut site = Site::start(plan)?;
        site.employ(2, Voice::Quiet, &[])?;
        let runtime = runtime()?;
        runtime.block_on(site.manned())?;
        let with_short = runtime.block_on(pace(site.client(), (short, short)))?;
        let with_long = runtime.block_on(pace(site.client(), (long, short)))?;
        submits.add(with_long.submits).ceiling(with_short.submits);
        dispatched.add(with_long.dispatched).ceiling(with_short.dispatched);
        site.stop()?;
    }
    let bar = Some("≥ 67 % of what it is with the short queue");
    Ok(vec![submits.row("backlog/submit", "tasks/s", bar), dispatched.row("backlog/dispatch", "tasks/s", bar)])
}

/// With so many queued, of which `front` are worked off at a time.
async fn pace(client: &Client, (queued, front): (u64, u64)) -> Result<Pace> {
    let everything = PauseRequest { namespace: None };
    client.pause(&everything, Paused::Yes).await?;
    let front = front.min(queued);
    let mut took = 0.0;
    let mut submits = 0.0;
    for turn in 0..TURNS {
        let missing = queued.saturating_sub(unfinished(client).await?);
        submit(client, missing, |_| noop()).await?;
        if turn == 0 {
            submits = one_by_one(client, SUBMITS.min(front)).await?;
        }
        let before = unfinished(client).await?;
        let watch = Stopwatch::start();
        client.pause(&everything, Paused::No).await?;
        until_left(client, before - front).await?;
        let left = unfinished(client).await?;
        // The worker goes on until it hears of the pause: what it does meanwhile counts.
        took += watch.elapsed().as_secs_f64() * as_f64(front) / as_f64(before - left).max(1.0);
        client.pause(&everything, Paused::Yes).await?;
    }
    Ok(Pace { submits, dispatched: as_f64(front * TURNS) / took })
}
