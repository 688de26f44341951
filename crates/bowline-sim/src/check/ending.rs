//! What must hold once the faults have stopped, everything is healed, and whatever waited for people has been settled:
//! I6, and the ends of I8, I11 and I13.

use bowline_core::id::{AttemptRef, TaskId, TaskRef};
use bowline_core::state::StateKind;

use super::{Check, Invariant};
use crate::process::ClusterId;

/// So many tasks and runs that have not ended are told of.
const TOLD_MAX: usize = 4;

impl Check {
    /// Whether everything that was acknowledged has ended.
    pub fn is_all_ended(&self) -> bool {
        self.views.iter().all(|view| {
            view.book.open_tasks().next().is_none() && view.book.runs.values().all(|state| state.is_ended())
        })
    }

    /// How much has ended, ever: rounds of tasks and elements, and runs. What comes to it from sockets of servers that stood
    /// still, or as the next steps of runs, takes nothing away from it.
    pub fn ended(&self) -> usize {
        let of = |view: &super::View| {
            let runs = view.book.runs.values().filter(|state| state.is_ended()).count();
            view.states.ended() + runs + view.book.runs_gone.len()
        };
        self.views.iter().map(of).sum()
    }

    /// I6: it has not, and the time is up.
    pub fn did_not_end(&mut self, at: u64) {
        for (cluster, view) in self.views.iter().enumerate() {
            let runs = view.book.runs.iter().filter(|(_, state)| !state.is_ended());
            let runs: Vec<String> = runs.map(|(run, state)| format!("run {run} is {}", state.name())).collect();
            let tasks: Vec<String> = view.book.open_tasks().map(|(id, _)| self.describe(cluster, id)).collect();
            if tasks.is_empty() && runs.is_empty() {
                continue;
            }
            let count = tasks.len() + runs.len();
            let some: Vec<String> = tasks.into_iter().chain(runs).take(TOLD_MAX).collect();
            let place = ClusterId(u32::try_from(cluster).unwrap_or(u32::MAX));
            // Its job is done, and nothing but its log is under way.
            let unheard = self.facts.well(place).find(|attempt| {
                let live = view.book.live.get(&attempt.task);
                self.has_stuck_logs && live.is_some_and(|fences| fences.contains(&attempt.fence))
            });
            let (invariant, more) = match unheard {
                Some(attempt) => {
                    (Invariant::I15, format!("; the job of {attempt} has ended well, and its log is stuck"))
                }
                None => (Invariant::I6, String::new()),
            };
            self.found.add(at, invariant, || {
                format!("after everything was healed {count} are left in cluster {cluster}: {}{more}", some.join("; "))
            });
        }
    }

    /// Units that wait for an attempt whose name meant another one before their store was put back behind everybody's
    /// back: to its worker they are the same, and it waits for ever. No part of Bowline can tell; people can.
    pub fn with_two_meanings(&self, cluster: ClusterId) -> Vec<TaskRef> {
        if !self.blind.contains(&cluster) {
            return Vec::new();
        }
        let is_unknown = |task: &TaskRef, fence| self.unknown.contains(&(cluster, AttemptRef { task: *task, fence }));
        let live = self.view(cluster).book.live.iter();
        let live = live.filter(|(task, fences)| fences.iter().any(|fence| is_unknown(task, *fence)));
        live.map(|(task, _)| *task).collect()
    }

    fn describe(&self, cluster: usize, id: TaskId) -> String {
        let book = &self.views[cluster].book;
        let Some(task) = book.tasks.get(&id) else { return format!("task {id}") };
        let elements = book.elements.range((id, 0)..=(id, u32::MAX)).filter(|(_, unit)| !unit.state.is_ended());
        let elements: Vec<String> = elements.map(|((_, index), unit)| format!("{index} {}", unit.state)).collect();
        let live = book.live.iter().filter(|(unit, live)| unit.task == id && !live.is_empty());
        let live: Vec<String> = live.map(|(unit, fences)| format!("{unit} {fences:?}")).collect();
        format!("task {id} is {} (elements {elements:?}, live {live:?})", task.unit.state)
    }

    /// I8, I11, I13: nothing is owed, nothing that was acknowledged is missing, nothing is left.
    pub fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// What is not settled, and against which invariant.
    fn unsettled(&self) -> Option<(Invariant, String)> {
        if let Some((worker, cluster, attempt, what)) = self.sessions.unacknowledged().next() {
            let text =
                format!("worker p{} was never answered to {what} of {attempt} by cluster {}", worker.0, cluster.0);
            return Some((Invariant::I8, text));
        }
        for (job, cluster, attempt) in self.facts.living() {
            let book = &self.views[cluster.0 as usize].book;
            let lives = book.attempts.get(&attempt).is_some_and(|row| row.end.is_none());
            if !lives {
                return Some((Invariant::I13, format!("{attempt} has ended, and its job {job:?} lives on")));
            }
        }
        for view in &self.views {
            let missing = view
                .asked
                .tasks
                .iter()
                .find(|task| !view.book.tasks.contains_key(task) && !view.book.gone.contains(task));
            if let Some(task) = missing {
                return Some((Invariant::I11, format!("task {task} was acknowledged, and is not in the store")));
            }
        }
        None
    }

    /// The time is up, and something is not settled.
    pub fn did_not_settle(&mut self, at: u64) {
        if let Some((invariant, what)) = self.unsettled() {
            self.found.add(at, invariant, || what);
        }
    }

    /// Units in doubt.
    pub fn in_doubt(&self, cluster: ClusterId) -> Vec<TaskRef> {
        let book = &self.view(cluster).book;
        let singles =
            book.open_tasks().filter(|(_, task)| task.count.is_none() && task.unit.state == StateKind::InDoubt);
        let singles = singles.map(|(id, _)| TaskRef::whole(id));
        let elements = book.elements.iter().filter(|(_, unit)| unit.state == StateKind::InDoubt);
        singles.chain(elements.map(|((task, index), _)| TaskRef::element(*task, *index))).collect()
    }
}
