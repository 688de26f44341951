//! Tasks that do nothing, in bulk, durable, history kept, to the last one recorded; beside SQLite alone making the row
//! changes that no queue can do without. And the parts of it: the engine, its rows through the store, both together.

use anyhow::Result;

use super::runtime;
use crate::args::Plan;
use crate::ceiling::{commits, rows};
use crate::drive::{noop, work_off};
use crate::engine;
use crate::row::{Row, Runs};
use crate::site::{Site, Voice, each};

pub(super) fn measure(plan: &Plan) -> Result<Vec<Row>> {
    let tasks = plan.size.noop;
    let [mut alone, mut stored, mut both, mut whole] = [(); 4].map(|()| Runs::default());
    for _ in 0..plan.runs {
        let folder = plan.folder()?;
        let ceiling = rows::tasks_per_second(folder.path(), tasks)?;
        let recorded = engine::alone(tasks)?;
        alone.add(recorded.tasks_per_second);
        stored.add(commits::of_batches(folder.path(), &recorded.batches, tasks)?).ceiling(ceiling);
        drop(recorded);
        both.add(engine::with_store(folder.path(), tasks)?).ceiling(ceiling);
        drop(folder);
        run(plan, &mut whole)?;
        whole.ceiling(ceiling);
    }
    Ok(vec![
        whole.row("noop", "tasks/s", Some("≥ 50,000, ≥ 40 %")),
        alone.row("noop/engine", "tasks/s", None),
        stored.row("noop/store", "tasks/s", None),
        both.row("noop/engine+store", "tasks/s", None),
    ])
}

fn run(plan: &Plan, whole: &mut Runs) -> Result<()> {
    let tasks = plan.size.noop;
    let mut site = Site::start(plan)?;
    site.employ(2, Voice::Quiet, &[])?;
    let runtime = runtime()?;
    runtime.block_on(site.manned())?;
    let before = site.cpu();
    let figure = runtime.block_on(work_off(site.client(), tasks, |_| noop()))?;
    let cpu = each(before, site.cpu(), tasks);
    whole.add(figure).more("server_cpu_us", cpu.server).more("worker_cpu_us", cpu.workers);
    site.stop()
}
