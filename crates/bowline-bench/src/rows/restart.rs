//! From the server's start, with so many unfinished tasks in the store, to the first one that begins in a worker. The
//! worker is started at the same moment: one that was there before would come back when its pause is over.

use anyhow::Result;

use super::runtime;
use crate::args::Plan;
use crate::clock::Stopwatch;
use crate::drive::{command, submit};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};
use crate::worker::next_begin;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut runs = Runs::default();
    for _ in 0..plan.runs {
        let mut site = Site::start(plan)?;
        runtime()?.block_on(submit(site.client(), plan.size.queued, |_| command(&["/bin/true"])))?;
        site.rest()?;
        let watch = Stopwatch::start();
        site.employ(2, Voice::Steps, &[])?;
        site.resume()?;
        let served = watch.elapsed();
        let (begun, _) = next_begin(site.worker()?)?;
        runs.add(begun.since(watch).as_secs_f64()).more("serving_after_s", served.as_secs_f64());
        site.stop()?;
    }
    Ok(vec![runs.row("restart", "s", Some("≤ 5"))])
}
