//! Dependencies between tasks: who waits for whom, and what an end brings about.

use crate::id::{TaskId, TaskRef};
use crate::machine::Event;
use crate::probe::{self, Path};
use crate::spec::Dependency;
use crate::state::StateKind;

use super::Engine;
use super::element::is_met;
use super::out::Cause;

impl Engine {
    /// The state of a dependency that is in memory.
    pub(super) fn dependency_state(&self, target: TaskRef) -> Option<StateKind> {
        let task = self.tasks.get(&target.task)?;
        let whole = task.hot.state.kind();
        match (target.index, task.array()) {
            (None, _) => Some(whole),
            (Some(index), Some(array)) => array.element_state(index, whole),
            (Some(_), None) => None,
        }
    }

    /// Notes what a task still waits for.
    pub(super) fn watch(&mut self, id: TaskId, open: Vec<Dependency>) {
        for dependency in &open {
            self.dependents.entry(dependency.task).or_default().insert(id);
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            task.set_open(open);
        }
    }

    /// The task waits for nothing any more.
    pub(super) fn forget_open(&mut self, id: TaskId, open: &[Dependency]) {
        for dependency in open {
            if let Some(waiting) = self.dependents.get_mut(&dependency.task) {
                waiting.remove(&id);
                if waiting.is_empty() {
                    self.dependents.remove(&dependency.task);
                }
            }
        }
    }

    /// A task or element has ended: those who wait for it go on, or never will.
    pub(super) fn dependency_ended(&mut self, target: TaskRef, end: StateKind) {
        let Some(waiting) = self.dependents.remove(&target) else { return };
        for id in waiting {
            self.dependency_of(id, target, end);
        }
    }

    fn dependency_of(&mut self, id: TaskId, target: TaskRef, end: StateKind) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(open) = task.take_open() else { return };
        let is_lost = open.iter().any(|dependency| dependency.task == target && !is_met(dependency.on, end));
        let left: Vec<Dependency> = open.iter().filter(|dependency| dependency.task != target).copied().collect();
        let is_free = left.is_empty();
        task.set_open(left);
        let whole = TaskRef::whole(id);
        if is_lost {
            probe::reached(Path::DependencyLost);
            let message = format!("task {target}, on which it depends, ended as {end}");
            let cause = Cause::server(message.clone());
            self.shift(whole, Event::Unmeetable(message), &cause).ok();
        } else if is_free {
            self.shift(whole, Event::Met, &Cause::server("its dependencies are met")).ok();
        }
    }
}
