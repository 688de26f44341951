//! What a run holds as a whole is free when the run has ended, and not before.

use bowline_core::id::{NodeIndex, RunId, TaskRef};
use bowline_core::input::RunVerb;
use bowline_core::row::Loaded;

use super::Fork;
use crate::workload::verbs::run_verb;

impl Fork {
    /// Whether it holds something for a run as a whole: that run is ended.
    pub(super) fn end_holding_run(&mut self, unit: TaskRef) -> bool {
        let Some(run) = self.kept_run(unit) else { return false };
        self.request(run_verb(run, RunVerb::Cancel)).ok();
        for task in self.tasks_of(run) {
            self.finish_all(task);
        }
        true
    }

    fn kept_run(&mut self, unit: TaskRef) -> Option<RunId> {
        self.rows().into_iter().find_map(|row| match row {
            Loaded::Task(task, _) if task.id == unit.task => {
                task.run.filter(|(_, node)| *node == NodeIndex::KEEPER).map(|(run, _)| run)
            }
            _ => None,
        })
    }

    fn tasks_of(&mut self, run: RunId) -> Vec<TaskRef> {
        let is_its =
            |of: Option<(RunId, NodeIndex)>| of.is_some_and(|(of, node)| of == run && node != NodeIndex::KEEPER);
        let rows = self.rows().into_iter();
        rows.filter_map(|row| match row {
            Loaded::Task(task, _) if is_its(task.run) => Some(TaskRef::whole(task.id)),
            _ => None,
        })
        .collect()
    }
}
