//! The descriptions of tasks submitted lately: what an assignment needs, without asking the store.

use std::sync::Arc;

use bowline_core::id::{RunId, TaskId, TaskRef};
use bowline_core::name::{Namespace, StepName};
use bowline_core::row::{NewTaskRow, Row};
use bowline_core::spec::{Action, Command, TaskSpec, Work};
use bowline_store::TaskWork;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::config::{WORKS_BYTES_MAX, WORKS_MAX};
use crate::handle::Assigned;

/// The descriptions of tasks submitted lately.
#[derive(Debug)]
pub(crate) struct Works {
    cache: Cache<TaskId, Arc<Kept>, ByBytes>,
}

/// What is kept of a task.
#[derive(Debug)]
struct Kept {
    namespace: Namespace,
    run: Option<RunId>,
    step: Option<StepName>,
    spec: Arc<TaskSpec>,
    elements: Arc<Vec<Work>>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<TaskId, Arc<Kept>> for ByBytes {
    fn weight(&self, _task: &TaskId, kept: &Arc<Kept>) -> u64 {
        // All pieces of work in a task are much alike.
        let elements = kept.elements.first().map_or(0, |first| bytes_of(first) * kept.elements.len());
        (bytes_of(&kept.spec.work) + elements) as u64
    }
}

/// About so many bytes of memory.
fn bytes_of(work: &Work) -> usize {
    let action = match &work.action {
        Action::Command(Command::Argv(argv)) => argv.iter().map(|arg| arg.len() + 32).sum(),
        Action::Command(Command::Shell(text)) => text.len(),
        Action::Http(request) => request.url.len() + request.body.as_ref().map_or(0, String::len) + 256,
        Action::Noop | Action::Wait | Action::Sleep(_) => 0,
    };
    let env: usize = work.env.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    512 + action + env
}

impl Works {
    pub(crate) fn new() -> Self {
        Self { cache: Cache::with_weighter(WORKS_MAX, WORKS_BYTES_MAX, ByBytes) }
    }

    /// Remembers the tasks that a batch makes. Nobody asks for them before the batch is durable.
    pub(crate) fn note(&self, rows: &[Row]) {
        for row in rows {
            if let Row::NewTask(new) = row {
                self.insert(new);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.cache.clear();
    }

    fn insert(&self, new: &NewTaskRow) {
        let kept = Kept {
            namespace: new.row.namespace.clone(),
            run: new.row.run.map(|(run, _)| run),
            step: new.row.step.clone(),
            spec: Arc::clone(&new.spec),
            elements: Arc::clone(&new.elements),
        };
        self.cache.insert(new.row.id, Arc::new(kept));
    }

    /// What goes with an assignment, where it is remembered. A single task is forgotten with it: hardly any is
    /// assigned twice, and what is kept of it would take the place of one that nobody has asked for yet.
    pub(crate) fn take(&self, task: TaskRef) -> Option<Assigned> {
        let kept = match task.index {
            None => self.cache.remove(&task.task)?.1,
            Some(_) => self.cache.get(&task.task)?,
        };
        let work = match (task.index, kept.elements.is_empty()) {
            (_, true) | (None, _) => kept.spec.work.clone(),
            (Some(index), false) => {
                let place = kept.spec.array.as_ref()?.place_of(index)?;
                kept.elements.get(usize::try_from(place).ok()?)?.clone()
            }
        };
        Some(Assigned {
            work: Arc::new(work),
            namespace: kept.namespace.clone(),
            run: kept.run,
            step: kept.step.clone(),
        })
    }
}

/// What goes with an assignment, from stored rows.
pub(crate) fn assigned(TaskWork { row, work }: TaskWork) -> Assigned {
    Assigned { work, namespace: row.namespace, run: row.run.map(|(run, _)| run), step: row.step }
}

#[cfg(test)]
mod tests {
    use bowline_core::state::StateKind;
    use bowline_store::conformance::rows::plain_task;

    use super::*;

    /// Those that nobody has asked for yet are remembered, however many were asked for before.
    #[test]
    fn whoever_was_assigned_takes_nobodys_place() {
        let works = Works::new();
        let (first, most) = (1, WORKS_MAX as u64);
        for id in first..=most {
            works.note(&[plain_task(id, StateKind::Ready, 1)]);
            works.take(TaskRef::whole(TaskId(id)));
        }
        assert!(works.take(TaskRef::whole(TaskId(most))).is_none());
        let next: Vec<_> = (most + 1..=most + 10_000).collect();
        let rows: Vec<_> = next.iter().map(|id| plain_task(*id, StateKind::Ready, 1)).collect();
        works.note(&rows);
        let remembered = next.iter().filter(|id| works.take(TaskRef::whole(TaskId(**id))).is_some()).count();
        assert!(remembered > 9_900, "{remembered} of {}", next.len());
    }
}
