//! Finds what a path names, in the caller's namespace; what lies in another one is not found.

use bowline_api::Task;
use bowline_core::id::{RunId, TaskId, TaskRef};
use bowline_core::name::Namespace;
use bowline_core::row::ElementRow;
use bowline_store::{ReadStore, RunDetail, TaskDetail};

use super::fault::Fault;
use super::shell::Names;
use super::show::{self, Depth};

/// There is no such task here.
pub(crate) fn no_task(task: impl std::fmt::Display, namespace: Option<&Namespace>) -> Fault {
    let place = namespace.map_or_else(|| "in any namespace".to_owned(), |name| format!("in the namespace `{name}`"));
    Fault::not_found(format!("There is no task {task} {place}. `bowline task list` shows those that there are."))
}

/// A task, and the element where the id names one. Blocks.
pub(crate) fn task(store: &dyn ReadStore, id: TaskRef, namespace: Option<&Namespace>) -> Result<TaskDetail, Fault> {
    let found = store.task(id.task)?.filter(|found| namespace.is_none_or(|name| *name == found.row.namespace));
    let found = found.ok_or_else(|| no_task(id, namespace))?;
    match id.index {
        Some(index) if !show::has_element(&found.spec, index) => Err(no_task(id, namespace)),
        _ => Ok(found),
    }
}

/// An element's row, where it has begun or ended. Blocks.
pub(crate) fn element(store: &dyn ReadStore, task: TaskId, index: u32) -> Result<Option<ElementRow>, Fault> {
    let rows = store.elements(task, index.checked_sub(1), 1)?;
    Ok(rows.into_iter().next().filter(|row| row.index == index))
}

/// A task or element as a document, in full. Blocks.
pub(crate) fn document(
    store: &dyn ReadStore,
    id: TaskRef,
    namespace: Option<&Namespace>,
    names: &Names,
) -> Result<Task, Fault> {
    let found = task(store, id, namespace)?;
    let Some(index) = id.index else {
        return Ok(show::task(&found, Depth::Full, names, store)?);
    };
    let row = element(store, id.task, index)?;
    let mut doc = show::element(&found, index, row.as_ref(), names, store)?;
    doc.work = store.work(id)?.map(|work| bowline_api::action::work_doc(&work));
    if doc.state.is_ended() {
        doc.result = store.results(id.task)?.iter().find(|row| row.attempt.task == id).map(show::result);
    }
    Ok(doc)
}

/// A run. Blocks.
pub(crate) fn run(store: &dyn ReadStore, id: RunId, namespace: Option<&Namespace>) -> Result<RunDetail, Fault> {
    let found = store.run(id)?.filter(|found| namespace.is_none_or(|name| *name == found.row.namespace));
    found.ok_or_else(|| {
        let place =
            namespace.map_or_else(|| "in any namespace".to_owned(), |name| format!("in the namespace `{name}`"));
        Fault::not_found(format!("There is no run r{id} {place}. `bowline runs list` shows those that there are."))
    })
}
