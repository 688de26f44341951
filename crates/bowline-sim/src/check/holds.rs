//! I5, of runs that hold something as a whole: whoever runs under what his run holds does so while the run holds it.
//!
//! That the holder itself is granted its resources in order, and no two hold the same, [`super::lines`] says of every task.

use std::collections::BTreeMap;

use bowline_core::effect::Batch;
use bowline_core::id::{NodeIndex, RunId, TaskId};
use bowline_core::row::{Row, TaskRow};
use bowline_core::state::StateKind;

use super::book::Book;
use super::{Found, Invariant};

/// What this rule remembers of a cluster: who holds it for each run; the newest one, where it was retried.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    keepers: BTreeMap<RunId, TaskId>,
}

/// Takes a batch that the book has already.
pub fn commit(holds: &mut Holds, book: &Book, (found, at): (&mut Found, u64), batch: &Batch) {
    for row in &batch.rows {
        match row {
            Row::NewTask(new) => {
                if let Some((run, NodeIndex::KEEPER)) = new.row.run {
                    holds.keepers.insert(run, new.row.id);
                }
            }
            Row::TaskGone(id) => holds.keepers.retain(|_, keeper| keeper != id),
            _ => {}
        }
    }
    let runs = batch.rows.iter().filter_map(run_of).filter(|run| holds.keepers.contains_key(run));
    for run in runs.collect::<std::collections::BTreeSet<RunId>>() {
        let keeper = holds.keepers.get(&run).and_then(|keeper| book.tasks.get(keeper));
        let is_held = keeper.is_some_and(|keeper| keeper.unit.state == StateKind::Running);
        let mut of_run = book.tasks.iter().filter(|(_, task)| task.run == Some(run) && task.spec.under_run);
        let live = of_run.find(|(_, task)| task.unit.state.is_live() || task.unit.state == StateKind::InDoubt);
        found.unless(is_held || live.is_none(), at, Invariant::I5, || {
            format!("{live:?} runs under what r{run} holds, and it holds nothing")
        });
    }
}

fn run_of(row: &Row) -> Option<RunId> {
    let of = |row: &TaskRow| row.run.map(|(run, _)| run);
    match row {
        Row::NewTask(new) => of(&new.row),
        Row::Task(row) => of(row),
        _ => None,
    }
}
