//! Memory of the server for each task that is queued, and for each element of an array that has not started: what is
//! added by the last nine tenths, so that what is there once (the store's cache, buffers) does not count.

use anyhow::Result;
use bowline_api::NewTask;
use bowline_client::Write;

use super::runtime;
use crate::args::Plan;
use crate::clock::as_f64;
use crate::drive::{noop, submit};
use crate::process::private_bytes;
use crate::row::{Row, Runs};
use crate::site::Site;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut task, mut loaded, mut element] = [(); 3].map(|()| Runs::default());
    let queued = plan.size.queued;
    for _ in 0..plan.runs {
        let mut site = Site::start(plan)?;
        let runtime = runtime()?;
        let empty = private_bytes(site.server_pid());
        runtime.block_on(submit(site.client(), queued / 10, |_| noop()))?;
        let some = private_bytes(site.server_pid());
        runtime.block_on(submit(site.client(), queued - queued / 10, |_| noop()))?;
        let all = private_bytes(site.server_pid());
        task.add((all - some) / as_f64(queued - queued / 10)).more("all_bytes", (all - empty) / as_f64(queued));
        let elements = plan.size.elements;
        let array = NewTask { array: Some(format!("1-{elements}").parse()?), ..noop() };
        runtime.block_on(site.client().submit(&array, &Write::default()))?;
        let with_array = private_bytes(site.server_pid());
        element.add((with_array - all).max(0.0) / f64::from(elements));
        site.rest()?;
        site.resume()?;
        loaded.add((private_bytes(site.server_pid()) - empty) / as_f64(queued));
        site.stop()?;
    }
    Ok(vec![
        task.row("memory/task", "bytes", Some("≤ 300")),
        loaded.row("memory/task/after a restart", "bytes", Some("≤ 300")),
        element.row("memory/element", "bytes", Some("≤ 1")),
    ])
}
