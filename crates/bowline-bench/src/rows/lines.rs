//! Tasks that hold one to three of a thousand resources, beside as many that hold none, and beside as many that hold none
//! and are not given to a worker beforehand either: those that take two slots each of a worker with twice as many. And the
//! same with the shortest jobs that are processes.

use anyhow::Result;
use bowline_api::{Ask, NewTask};

use super::runtime;
use crate::args::Plan;
use crate::drive::{command, noop, work_off};
use crate::row::{Row, Runs};
use crate::site::{Cpu, Site, Voice, each};

const SLOTS: u32 = 8;

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let (resources, tasks) = plan.size.lines;
    let jobs = plan.size.spawn;
    let [mut runs, mut in_turn, mut as_jobs] = [(); 3].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let (without, _) = run(plan, (SLOTS, tasks), |_| noop())?;
        let (with, cpu) = run(plan, (SLOTS, tasks), |number| holding(noop(), number, resources))?;
        let (two_slots, other) = run(plan, (2 * SLOTS, tasks), |_| NewTask { slots: Some(2), ..noop() })?;
        runs.add(with).ceiling(without).more("server_cpu_us", cpu.server);
        in_turn.add(with).ceiling(two_slots).more("ceiling_server_cpu_us", other.server);
        let (without, _) = run(plan, (SLOTS, jobs), |_| job())?;
        let (with, cpu) = run(plan, (SLOTS, jobs), |number| holding(job(), number, resources))?;
        as_jobs.add(with).ceiling(without).more("server_cpu_us", cpu.server);
    }
    Ok(vec![
        runs.row("lines", "tasks/s", Some("≥ 60 % of the rate without")),
        in_turn.row(
            "lines/in-turn",
            "tasks/s",
            Some("≥ 60 % of the rate without, where nothing is given out beforehand"),
        ),
        as_jobs.row("lines/jobs", "jobs/s", Some("≥ 60 % of the rate without")),
    ])
}

/// Starts anew and works these off.
fn run(plan: &Plan, (slots, tasks): (u32, u64), make: impl Fn(u64) -> NewTask) -> Result<(f64, Cpu)> {
    let mut site = Site::start(plan)?;
    site.employ(slots, Voice::Quiet, &[])?;
    let runtime = runtime()?;
    runtime.block_on(site.manned())?;
    let before = site.cpu();
    let rate = runtime.block_on(work_off(site.client(), tasks, make))?;
    let cpu = each(before, site.cpu(), tasks);
    site.stop()?;
    Ok((rate, cpu))
}

/// The shortest one that is a process.
fn job() -> NewTask {
    command(&["/bin/true"])
}

/// This task, and it holds one to three resources, spread evenly and without a pattern that anybody could use.
fn holding(task: NewTask, number: u64, resources: u64) -> NewTask {
    let mut names: Vec<u64> = (0..=number % 3).map(|place| scattered(number * 3 + place) % resources).collect();
    names.sort_unstable();
    names.dedup();
    let ask = |name: u64| match number % 4 {
        0 => Ask::Shared { name: format!("r{name}") },
        _ => Ask::Exclusive { name: format!("r{name}") },
    };
    NewTask { resources: names.into_iter().map(ask).collect(), ..task }
}

/// Some other number for each: the finalizer of `SplitMix64`.
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::{holding, noop};

    #[test]
    fn each_holds_one_to_three() {
        let counts: Vec<usize> = (0..300).map(|number| holding(noop(), number, 1_000).resources.len()).collect();
        assert!(counts.iter().all(|count| (1..=3).contains(count)) && counts.contains(&1) && counts.contains(&3));
    }
}
