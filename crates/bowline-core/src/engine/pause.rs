//! Pauses: who stopped what from being claimed, and since when. What runs, runs on.

use std::collections::BTreeMap;

use crate::id::{AttemptNo, RunId, TaskId, TaskRef};
use crate::message::Paused;
use crate::name::{Actor, Namespace};
use crate::row::{PauseMark, PauseRow, Subject};
use crate::run::NodeState;

use super::Engine;
use super::out::Cause;

/// Pauses of namespaces and of everything.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    marks: BTreeMap<Option<Namespace>, PauseMark>,
}

impl Pauses {
    /// Of everything.
    pub(super) fn all(&self) -> Option<&PauseMark> {
        self.marks.get(&None)
    }

    /// Of this namespace alone.
    pub(super) fn of(&self, namespace: &Namespace) -> Option<&PauseMark> {
        if self.marks.is_empty() { None } else { self.marks.get(&Some(namespace.clone())) }
    }

    /// Paused namespaces, each with who paused it.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&Namespace, &PauseMark)> {
        self.marks.iter().filter_map(|(namespace, mark)| Some((namespace.as_ref()?, mark)))
    }

    /// As a row says.
    pub(super) fn set(&mut self, row: PauseRow) {
        match row.mark {
            Some(mark) => self.marks.insert(row.namespace, mark),
            None => self.marks.remove(&row.namespace),
        };
    }
}

/// The word in the history.
pub(super) fn word(paused: Paused) -> &'static str {
    match paused {
        Paused::Yes => "paused",
        Paused::No => "resumed",
    }
}

impl Engine {
    /// The mark that a change to this leaves. `None` where nothing changes.
    #[expect(clippy::option_option, reason = "whether it changes, and to what: both may be nothing")]
    pub(super) fn new_mark(&self, is_marked: bool, paused: Paused, by: &Actor) -> Option<Option<PauseMark>> {
        match (is_marked, paused) {
            (true, Paused::Yes) | (false, Paused::No) => None,
            (false, Paused::Yes) => Some(Some(PauseMark { by: by.clone(), since: self.now })),
            (true, Paused::No) => Some(None),
        }
    }

    pub(super) fn pause_namespace(&mut self, actor: &Actor, namespace: Option<&Namespace>, paused: Paused) {
        let namespace = namespace.cloned();
        let is_marked = self.pauses.marks.contains_key(&namespace);
        if let Some(mark) = self.new_mark(is_marked, paused, actor) {
            let row = PauseRow { namespace: namespace.clone(), mark };
            self.pauses.set(row.clone());
            self.lanes.join_anew();
            self.gangs.stir();
            self.out.pauses.insert(namespace.clone(), row);
            let subject = Subject::Namespace(namespace.clone());
            self.tell_of(subject, namespace.clone(), AttemptNo(0), word(paused), &Cause::new(actor, ""));
            self.restand_namespace(namespace.as_ref());
        }
    }

    /// The task itself.
    pub(super) fn pause_task(&mut self, actor: &Actor, id: TaskId, paused: Paused) {
        let is_marked = self.tasks.get(&id).is_some_and(|task| task.paused().is_some());
        if let Some(mark) = self.new_mark(is_marked, paused, actor) {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.set_paused(mark);
            }
            self.touch_task(id);
            self.tell(TaskRef::whole(id), AttemptNo(0), word(paused), &Cause::new(actor, ""));
            self.stand_anew(id);
        }
    }

    /// After a pause began or ended: in the lane or out of it.
    pub(super) fn stand_anew(&mut self, id: TaskId) {
        let whole = TaskRef::whole(id);
        if self.is_stood_down(id) && self.tasks.get(&id).is_some_and(|task| task.array().is_none()) {
            self.unline(whole);
        } else {
            self.line_up(whole);
        }
        self.restand_task(id);
    }

    /// The tasks of a run.
    pub(super) fn stand_run_anew(&mut self, run: RunId) {
        let tasks: Vec<TaskId> = self.runs.get(&run).map_or_else(Vec::new, |run| {
            let active = |state: &NodeState| match state {
                NodeState::Active { task } => Some(*task),
                NodeState::Pending | NodeState::Due | NodeState::Ended { .. } => None,
            };
            run.nodes.iter().filter_map(|node| active(&node.state)).chain(run.keeper).collect()
        });
        for task in tasks {
            self.stand_anew(task);
        }
    }
}
