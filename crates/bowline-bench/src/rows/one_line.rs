//! A long line behind one resource that is held, and unrelated tasks behind it, beside as many without the line.

use std::time::Duration;

use anyhow::Result;
use bowline_api::{Ask, NewTask};
use bowline_client::Write;
use bowline_core::state::StateKind;

use super::runtime;
use crate::args::Plan;
use crate::drive::{command, noop, submit, until, work_off};
use crate::row::{Row, Runs};
use crate::site::{Cpu, Site, Voice, each};

const SLOTS: u32 = 8;
/// How long the holder may take to begin.
const BEGIN_MAX: Duration = Duration::from_mins(1);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let (waiting, unrelated) = plan.size.one_line;
    let mut runs = Runs::default();
    for _ in 0..plan.runs {
        let (without, _) = run(plan, 0, unrelated)?;
        let (with, cpu) = run(plan, waiting, unrelated)?;
        runs.add(with).ceiling(without).more("server_cpu_us", cpu.server);
    }
    Ok(vec![runs.row("one-line", "tasks/s", Some("≥ 90 % of the rate without the line"))])
}

fn run(plan: &Plan, waiting: u64, unrelated: u64) -> Result<(f64, Cpu)> {
    let mut site = Site::start(plan)?;
    site.employ(SLOTS, Voice::Quiet, &[])?;
    let (rate, cpu) = runtime()?.block_on(async {
        site.manned().await?;
        let client = site.client();
        let holder = client.submit(&in_line(command(&["sleep", "3600"])), &Write::default()).await?.ids[0];
        let runs = async || Ok(client.task(holder).await?.state == StateKind::Running);
        until(BEGIN_MAX, "the holder runs", runs).await?;
        submit(client, waiting, |_| in_line(noop())).await?;
        let before = site.cpu();
        let rate = work_off(client, unrelated, |_| noop()).await?;
        anyhow::Ok((rate, each(before, site.cpu(), unrelated)))
    })?;
    site.stop()?;
    Ok((rate, cpu))
}

fn in_line(task: NewTask) -> NewTask {
    NewTask { resources: vec![Ask::Exclusive { name: "one".to_owned() }], ..task }
}
