//! The rows: each has a file of its own below this one, and is measured anew in each run, its ceiling beside it.

mod artifacts;
mod backlog;
mod bulk;
mod churn;
mod explain;
mod idle;
mod latency;
mod lines;
mod logs;
mod matching;
mod memory;
mod noop;
mod one_line;
mod restart;
mod spawn;
mod submit;

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::args::Plan;
use crate::row::Row;
use crate::tell;

/// Which row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Tasks that do nothing, from submit to the last one recorded.
    Noop,
    /// Submits: one by one, from many clients, in bulk.
    Submit,
    /// One task at a time, from submit to its start in the worker.
    Latency,
    /// Processes.
    Spawn,
    /// A short queue against a long one.
    Backlog,
    /// Memory of the server for each queued task.
    Memory,
    /// From the server's start to the first task that begins.
    Restart,
    /// What costs something while nothing is done.
    Idle,
    /// Logs: one as fast as it can, many at once.
    Logs,
    /// Artifacts: one large, many small.
    Artifacts,
    /// `noop` over and over, with retention on.
    Churn,
    /// Tasks that hold some of many resources.
    Lines,
    /// A long line behind one resource, and unrelated tasks behind it.
    OneLine,
    /// Finding a task for a worker among many lanes.
    Match,
    /// Why a task waits, among many.
    Explain,
    /// Verbs by filter over many tasks, and an array of many elements.
    Bulk,
}

impl Workload {
    pub(crate) const ALL: [Self; 16] = [
        Self::Noop,
        Self::Submit,
        Self::Latency,
        Self::Spawn,
        Self::Backlog,
        Self::Memory,
        Self::Restart,
        Self::Idle,
        Self::Logs,
        Self::Artifacts,
        Self::Churn,
        Self::Lines,
        Self::OneLine,
        Self::Match,
        Self::Explain,
        Self::Bulk,
    ];

    fn measure(self, plan: &Plan) -> Result<Vec<Row>> {
        match self {
            Self::Noop => noop::measure(plan),
            Self::Submit => submit::measure(plan),
            Self::Latency => latency::measure(plan),
            Self::Spawn => spawn::measure(plan),
            Self::Backlog => backlog::measure(plan),
            Self::Memory => memory::measure(plan),
            Self::Restart => restart::measure(plan),
            Self::Idle => idle::measure(plan),
            Self::Logs => logs::measure(plan),
            Self::Artifacts => artifacts::measure(plan),
            Self::Churn => churn::measure(plan),
            Self::Lines => lines::measure(plan),
            Self::OneLine => one_line::measure(plan),
            Self::Match => matching::measure(plan),
            Self::Explain => explain::measure(plan),
            Self::Bulk => bulk::measure(plan),
        }
    }
}

/// Measures what is asked for; each row is told as soon as it is there.
pub(crate) fn measure_all(plan: &Plan) -> Result<()> {
    let open = |path| File::create(path).with_context(|| format!("making {}", std::path::Path::new(path).display()));
    let mut file = plan.json.as_ref().map(open).transpose()?;
    let mut failed = 0;
    for workload in &plan.rows {
        tell(&format!("{workload:?} …"));
        match workload.measure(plan) {
            Ok(rows) => rows.iter().try_for_each(|row| print(row, file.as_mut()))?,
            Err(error) => {
                // The other rows are good without it.
                tell(&format!("{workload:?} could not be measured: {error:#}"));
                failed += 1;
            }
        }
    }
    anyhow::ensure!(failed == 0, "{failed} of {} rows could not be measured", plan.rows.len());
    Ok(())
}

fn print(row: &Row, file: Option<&mut File>) -> Result<()> {
    let line = serde_json::to_string(row)?;
    writeln!(std::io::stdout().lock(), "{line}")?;
    if let Some(file) = file {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// What drives clients: one thread, so that it takes as little of the machine as it can.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
