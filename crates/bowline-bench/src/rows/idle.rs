//! What costs something while nothing is done: memory and writes of a server, a worker and a supervisor at rest; and
//! the processor time that a thousand connected workers cost which have nothing to do.

use anyhow::{Result, ensure};

use super::runtime;
use crate::args::Plan;
use crate::clock::{Stopwatch, as_f64, pause};
use crate::drive::{command, until, work_off};
use crate::fleet;
use crate::process::{cpu_us, written_bytes};
use crate::row::{Row, Runs};
use crate::site::{Site, Voice};

const MIB: f64 = 1_048_576.0;
/// How long all workers may take to be there.
const CONNECT_MAX: std::time::Duration = std::time::Duration::from_mins(2);

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let [mut memory, mut writes, mut fleet] = [(); 3].map(|()| Runs::default());
    for _ in 0..plan.runs {
        at_rest(plan, &mut memory, &mut writes)?;
        crowd(plan, &mut fleet)?;
    }
    Ok(vec![
        memory.row("idle/memory", "MiB", Some("≤ 40, server, worker and supervisor together")),
        writes.row("idle/commits", "commits", Some("none")),
        fleet.row("idle/fleet", "% of a core", Some("≤ 5")),
    ])
}

fn at_rest(plan: &Plan, memory: &mut Runs, writes: &mut Runs) -> Result<()> {
    let mut site = Site::start(plan)?;
    site.employ(2, Voice::Quiet, &[])?;
    let runtime = runtime()?;
    runtime.block_on(site.manned())?;
    // The supervisor is started by the first job.
    runtime.block_on(work_off(site.client(), 1, |_| command(&["/bin/true"])))?;
    pause(plan.size.watch / 4);
    let commit = async || anyhow::Ok(site.client().version().await?.commit_no);
    let (before, written, cpu) = (runtime.block_on(commit())?, written_bytes(site.server_pid()), site.cpu());
    let watch = Stopwatch::start();
    pause(plan.size.watch);
    let (seconds, cpu_after) = (watch.elapsed().as_secs_f64(), site.cpu());
    let after = runtime.block_on(commit())?;
    let parts = site.memory();
    memory.add(parts.iter().sum::<f64>() / MIB);
    for (name, part) in ["server_mib", "worker_mib", "supervisor_mib"].into_iter().zip(parts) {
        memory.more(name, part / MIB);
    }
    let commits = after.zip(before).map(|(after, before)| after - before);
    ensure!(commits.is_some(), "the server does not lead");
    writes
        .add(as_f64(commits.unwrap_or_default()))
        .more("server_written_bytes", written_bytes(site.server_pid()) - written)
        .more("server_cpu_percent", (cpu_after.server - cpu.server) / 1e4 / seconds)
        .more("worker_cpu_percent", (cpu_after.workers - cpu.workers) / 1e4 / seconds);
    site.stop()
}

fn crowd(plan: &Plan, runs: &mut Runs) -> Result<()> {
    let site = Site::start(plan)?;
    let workers = plan.size.fleet;
    let cpu = runtime()?.block_on(async {
        let fleet = fleet::connect(site.client(), workers).await?;
        let all = async || Ok(site.client().queue().await?.workers_connected >= u64::from(workers));
        until(CONNECT_MAX, "all workers are connected", all).await?;
        tokio::time::sleep(plan.size.watch / 4).await;
        let (before, watch) = (cpu_us(site.server_pid()), Stopwatch::start());
        tokio::time::sleep(plan.size.watch).await;
        let cpu = (cpu_us(site.server_pid()) - before) / 1e4 / watch.elapsed().as_secs_f64();
        let there = site.client().queue().await?.workers_connected;
        ensure!(there >= u64::from(workers), "only {there} of {workers} workers have stayed");
        drop(fleet);
        anyhow::Ok(cpu)
    })?;
    let memory = site.memory()[0] / MIB;
    runs.add(cpu).more("workers", f64::from(workers)).more("server_mib", memory);
    site.stop()
}
