//! Handing over everything that has not ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use bowline_core::id::{NodeIndex, TaskRef};
use bowline_core::row::{KEYS_LOADED_MAX, Loaded, PauseRow, key_hash};
use bowline_core::state::{AttemptEnd, StateKind};

use super::state::{State, StoredTask, with_elements};

impl State {
    pub(super) fn load(&self, each: &mut dyn FnMut(Loaded)) {
        each(Loaded::Counters(self.counters.get(&()).copied().unwrap_or_default()));
        self.workers.values().for_each(|row| each(Loaded::Worker(Box::new(row.clone()))));
        for (namespace, mark) in self.pauses.iter() {
            each(Loaded::Pause(PauseRow { namespace: namespace.clone(), mark: Some(mark.clone()) }));
        }
        self.tokens.values().for_each(|token| each(Loaded::Token(token.clone())));
        self.resources.values().for_each(|row| each(Loaded::Resource(Box::new(row.clone()))));
        self.namespaces.values().for_each(|row| each(Loaded::Namespace(Box::new(row.clone()))));
        self.rates.values().for_each(|row| each(Loaded::Rate(row.clone())));
        self.gangs.values().for_each(|row| each(Loaded::Gang(Box::new(row.clone()))));
        self.load_runs(each);
        self.load_tasks(each);
        let mut keys: Vec<u64> =
            self.keys.iter().map(|((namespace, key), _)| key_hash(namespace.as_str(), key)).collect();
        if keys.len() <= KEYS_LOADED_MAX {
            keys.sort_unstable();
            each(Loaded::Keys(keys));
        }
    }

    fn load_runs(&self, each: &mut dyn FnMut(Loaded)) {
        let unfinished = || self.runs.values().filter(|run| !run.row.state.is_ended());
        for run in unfinished() {
            each(Loaded::Run(Box::new(run.row.clone()), Arc::clone(&run.graph)));
        }
        for run in unfinished() {
            let id = run.row.id;
            for (_, node) in self.nodes.range((id, NodeIndex(0))..=(id, NodeIndex(u32::MAX))) {
                each(Loaded::Node(Box::new(node.clone())));
            }
        }
    }

    fn unfinished(&self) -> impl Iterator<Item = &StoredTask> {
        self.tasks.values().filter(|task| !task.row.unit.state.is_ended())
    }

    fn load_tasks(&self, each: &mut dyn FnMut(Loaded)) {
        for task in self.unfinished() {
            each(Loaded::Task(Box::new(task.row.clone()), Arc::clone(&task.spec)));
        }
        for task in self.unfinished() {
            let id = task.row.id;
            for (_, element) in self.elements.range((id, 0)..=(id, u32::MAX)) {
                each(Loaded::Element(Box::new(element.clone())));
            }
        }
        for task in self.unfinished() {
            let attempts = self.attempts.range(with_elements(task.row.id)).map(|(_, attempt)| attempt);
            for attempt in attempts.filter(|attempt| attempt.end.is_none_or(AttemptEnd::is_loss)) {
                each(Loaded::Attempt(Box::new(attempt.clone())));
            }
        }
        let needed: BTreeSet<TaskRef> =
            self.unfinished().flat_map(|task| task.spec.after.iter().map(|dependency| dependency.task)).collect();
        for task in needed {
            if let Some(state) = self.ended_state(task) {
                each(Loaded::Ended(task, state));
            }
        }
    }

    /// The state of a task that has ended, or of an element of one.
    fn ended_state(&self, task: TaskRef) -> Option<StateKind> {
        let whole = self.tasks.get(&task.task)?.row.unit.state;
        let element = task.index.and_then(|index| self.elements.get(&(task.task, index)));
        let state = element.map_or(whole, |element| element.unit.state);
        (whole.is_ended() && state.is_ended()).then_some(state)
    }
}
