//! Processes: `/bin/true` as a command, end to end and through the supervisor alone, beside a bare loop of
//! `posix_spawn` with an output file for each, all in turn.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bowline_supervisor::client::Supervisor;
use bowline_supervisor::wire::{Event, Exit, Request, Start};
use bowline_supervisor::{Program, own_folder};

use super::runtime;
use crate::args::Plan;
use crate::ceiling::spawn::processes_per_second;
use crate::clock::Stopwatch;
use crate::drive::{command, work_off};
use crate::process::{cpu_us, dismiss, supervisors};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice, each};

/// How long the supervisor may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Slots, and what is to be reached with them: end to end, and by the supervisor alone.
const SLOTS: [(u32, &str, &str); 2] = [(2, "≥ 60 %", "≥ 80 %"), (8, "≥ 75 %", "≥ 90 %")];

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (slots, whole_bar, alone_bar) in SLOTS {
        let [mut whole, mut alone] = [(); 2].map(|()| Runs::default());
        for _ in 0..plan.runs {
            let before = bare(plan, slots)?;
            supervised(plan, slots, &mut alone)?;
            let between = bare(plan, slots)?;
            end_to_end(plan, slots, &mut whole)?;
            let after = bare(plan, slots)?;
            alone.ceiling(f64::midpoint(before, between));
            whole.ceiling(f64::midpoint(between, after));
        }
        rows.push(whole.row(&format!("spawn/{slots}"), "jobs/s", Some(whole_bar)));
        rows.push(alone.row(&format!("spawn/{slots}/supervisor"), "jobs/s", Some(alone_bar)));
    }
    Ok(rows)
}

fn bare(plan: &Plan, slots: u32) -> Result<f64> {
    let folder = plan.folder()?;
    processes_per_second(folder.path(), plan.size.spawn, slots)
}

fn end_to_end(plan: &Plan, slots: u32, whole: &mut Runs) -> Result<()> {
    let jobs = plan.size.spawn;
    let mut site = Site::start(plan)?;
    site.employ(slots, Voice::Quiet, &[])?;
    let runtime = runtime()?;
    runtime.block_on(site.manned())?;
    // The supervisor is started by the first job.
    runtime.block_on(work_off(site.client(), 1, |_| command(&["/bin/true"])))?;
    let before = site.cpu();
    let figure = runtime.block_on(work_off(site.client(), jobs, |_| command(&["/bin/true"])))?;
    let cpu = each(before, site.cpu(), jobs);
    whole.add(figure).more("server_cpu_us", cpu.server).more("worker_supervisor_jobs_cpu_us", cpu.workers);
    site.stop()
}

fn supervised(plan: &Plan, slots: u32, alone: &mut Runs) -> Result<()> {
    let folder = plan.folder()?;
    let program = Program::new(&plan.program, folder.path());
    let supervisor = Supervisor::ensure(&program, ANSWER_MAX).context("starting a supervisor")?;
    let pid = supervisors(&own_folder(folder.path())).first().copied().unwrap_or_default();
    let before = cpu_us(pid);
    let watch = Stopwatch::start();
    let jobs = plan.size.spawn;
    let outcome = work(&supervisor, folder.path(), (jobs, u64::from(slots)));
    alone.add(watch.per_second(jobs)).more("cpu_us", (cpu_us(pid) - before) / crate::clock::as_f64(jobs));
    drop(supervisor);
    dismiss(folder.path())?;
    outcome
}

/// Keeps so many jobs at work until all have ended.
fn work(supervisor: &Supervisor, folder: &Path, (jobs, slots): (u64, u64)) -> Result<()> {
    let (mut started, mut ended) = (0, 0);
    while ended < jobs {
        while started < jobs && started - ended < slots {
            let out = folder.join(format!("out-{started}"));
            let start = Start::new(format!("job-{started}"), vec!["/bin/true".into()], folder.to_owned(), out);
            supervisor.send(&Request::Start(Box::new(start)))?;
            started += 1;
        }
        match supervisor.receive(Some(ANSWER_MAX))? {
            Some(Event::Exited(exited)) if exited.exit == Exit::Code(0) => {
                supervisor.send(&Request::Forget { key: exited.key })?;
                ended += 1;
            }
            Some(Event::Started { .. } | Event::Starting { .. } | Event::Listed { .. }) => {}
            other => bail!("the supervisor said {other:?}"),
        }
    }
    Ok(())
}
