//! What a worker holds, told so that somebody who waits for it knows for what and until when.

use bowline_api::{HeldAttempt, HeldTask, from_core_time};
use bowline_core::id::AttemptRef;
use bowline_store::ReadStore;

use crate::api::fault::Fault;
use crate::api::shell::Shell;
use crate::api::{find, show};

/// Most attempts that are told of in full.
const TOLD_MAX: usize = 1_000;

/// Adds to each attempt what it is one of.
pub(super) async fn tell(shell: &Shell, of: &[AttemptRef], held: &mut [HeldAttempt]) -> Result<(), Fault> {
    let attempts: Vec<AttemptRef> = of.iter().take(TOLD_MAX).copied().collect();
    let tasks = shell.read(move |store| attempts.iter().map(|attempt| held_task(store, *attempt)).collect());
    let tasks: Vec<Option<HeldTask>> = tasks.await?;
    for (held, task) in held.iter_mut().zip(tasks) {
        held.of = task;
    }
    Ok(())
}

/// `None` where it has been removed meanwhile. Blocks.
fn held_task(store: &dyn ReadStore, attempt: AttemptRef) -> Result<Option<HeldTask>, Fault> {
    let Some(found) = store.task(attempt.task.task)? else { return Ok(None) };
    let element = match attempt.task.index {
        Some(index) => find::element(store, attempt.task.task, index)?,
        None => None,
    };
    let unit = element.as_ref().map_or(&found.row.unit, |element| &element.unit);
    let until = unit.started_at.zip(found.spec.timeouts.run).map(|(start, limit)| start.plus(limit.0));
    Ok(Some(HeldTask {
        namespace: found.row.namespace.to_string(),
        name: found.row.name.clone(),
        action: found.row.action.clone(),
        state: unit.state,
        started_at: show::time(unit.started_at),
        until: until.map(from_core_time),
    }))
}
