//! One verb on many tasks.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use bowline_api::{Bulk, BulkAnswer, BulkFilter, BulkItem, Problem, TaskVerbName, WriteQuery, to_core_time};
use bowline_core::answer::Answer;
use bowline_core::id::TaskRef;
use bowline_core::input::{Request, TaskVerb};
use bowline_core::name::Namespace;
use bowline_core::spec::SUBMIT_TASKS_MAX;
use bowline_core::state::StateKind;
use bowline_store::{ReadStore, TaskFilter, TaskSort};

use super::filter::{resource, worker};
use super::verbs::cancelled_by;
use crate::api::extract::{Doc, Params, run_id};
use crate::api::fault::Fault;
use crate::api::find;
use crate::api::shell::{Shell, unexpected};
use crate::auth::Caller;

/// Tasks of a filter that are read and touched at a time: one commit, during which others wait.
const BATCH: usize = 2_000;

/// What a verb would touch.
struct Touched {
    tasks: Vec<(TaskRef, Result<StateKind, Fault>)>,
    next: Option<String>,
}

/// One verb on many tasks, named by ids or by a filter. With `dry_run` it says how many it would
/// touch, and touches none.
#[utoipa::path(post, path = "/tasks/bulk", tag = "tasks", params(WriteQuery), request_body = Bulk,
    responses((status = 200, body = BulkAnswer), (status = "default", body = Problem)))]
pub(super) async fn bulk(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<WriteQuery>,
    Doc(bulk): Doc<Bulk>,
) -> Result<Json<BulkAnswer>, Fault> {
    let namespace = caller.operate(query.namespace.as_deref())?;
    let dry_run = bulk.dry_run || query.dry_run == Some(true);
    let verb = bulk.verb;
    let reason = bulk.reason.clone();
    let touched = find_touched(&shell, bulk, namespace.clone()).await?;
    let next = touched.next;
    let items = if dry_run {
        touched.tasks.into_iter().map(|(id, state)| seen(id, state.ok())).collect()
    } else {
        let tasks: Vec<TaskRef> = touched.tasks.into_iter().map(|(id, _)| id).collect();
        let verb = match verb {
            TaskVerbName::Cancel => TaskVerb::Cancel { why: cancelled_by(&caller, reason) },
            TaskVerbName::Retry => TaskVerb::Retry,
            TaskVerbName::Pause => TaskVerb::Pause,
            TaskVerbName::Resume => TaskVerb::Resume,
            TaskVerbName::Delete => TaskVerb::Delete,
        };
        act(&shell, &caller, Request::Tasks { namespace, tasks, verb }).await?
    };
    let refused = items.iter().filter(|item: &&BulkItem| item.state.is_none()).count() as u64;
    Ok(Json(BulkAnswer { touched: items.len() as u64 - refused, refused, more: next.is_some(), next, dry_run, items }))
}

async fn act(shell: &Shell, caller: &Caller, request: Request) -> Result<Vec<BulkItem>, Fault> {
    let outcomes = match shell.ask(caller.actor.clone(), request).await? {
        Answer::Tasks(outcomes) => outcomes,
        other => return Err(unexpected("act on the tasks", &other)),
    };
    let item = |(id, outcome)| match outcome {
        Ok(state) => BulkItem { id, state: Some(state), code: None, message: None },
        Err(refusal) => {
            let refusal: bowline_core::answer::Refusal = refusal;
            BulkItem { id, state: None, code: Some(refusal.code.name().to_owned()), message: Some(refusal.message) }
        }
    };
    Ok(outcomes.into_iter().map(item).collect())
}

fn seen(id: TaskRef, state: Option<StateKind>) -> BulkItem {
    match state {
        Some(state) => BulkItem { id, state: Some(state), code: None, message: None },
        None => BulkItem {
            id,
            state: None,
            code: Some("not_found".to_owned()),
            message: Some(format!("There is no task {id} in this namespace.")),
        },
    }
}

async fn find_touched(shell: &Shell, bulk: Bulk, namespace: Namespace) -> Result<Touched, Fault> {
    if bulk.filter.is_none() && bulk.cursor.is_some() {
        return Err(Fault::field("cursor", "`cursor` says where to begin in a `filter`: give both, or leave it out."));
    }
    match (bulk.ids.is_empty(), bulk.filter) {
        (false, None) if bulk.ids.len() <= SUBMIT_TASKS_MAX => {
            let ids = bulk.ids;
            shell
                .read(move |store| {
                    let tasks = ids.into_iter().map(|id| (id, state(store, id, &namespace))).collect();
                    Ok(Touched { tasks, next: None })
                })
                .await
        }
        (false, None) => Err(Fault::too_large(format!("`ids` may hold at most {SUBMIT_TASKS_MAX} ids at a time."))),
        (true, Some(filter)) => {
            let filter = store_filter(filter, bulk.verb, namespace)?;
            let cursor = bulk.cursor;
            shell.read(move |store| matching(store, &filter, cursor.as_deref())).await
        }
        (true, None) => Err(Fault::invalid(
            "Nothing says which tasks. Give `ids`, or `filter`; an empty `filter` means all of the namespace.",
        )),
        (false, Some(_)) => Err(Fault::field("filter", "Give only one of `ids` and `filter`.")),
    }
}

fn state(store: &dyn ReadStore, id: TaskRef, namespace: &Namespace) -> Result<StateKind, Fault> {
    let found = find::task(store, id, Some(namespace))?;
    match id.index {
        None => Ok(found.row.unit.state),
        Some(index) => {
            Ok(find::element(store, id.task, index)?.map_or(found.row.unit.state, |element| element.unit.state))
        }
    }
}

fn matching(store: &dyn ReadStore, filter: &TaskFilter, cursor: Option<&str>) -> Result<Touched, Fault> {
    let page = store.tasks(filter, TaskSort::Oldest, cursor, BATCH)?;
    let tasks = page.items.iter().map(|row| (TaskRef::whole(row.id), Ok(row.unit.state))).collect();
    Ok(Touched { tasks, next: page.next })
}

fn store_filter(filter: BulkFilter, verb: TaskVerbName, namespace: Namespace) -> Result<TaskFilter, Fault> {
    let states = if filter.states.is_empty() { acted_on(verb) } else { filter.states };
    Ok(TaskFilter {
        namespace: Some(namespace),
        states,
        // Whoever is named is acted on as a whole.
        or_element_in_doubt: false,
        name: filter.name,
        labels: filter.labels.into_iter().collect(),
        resource: filter.resource.as_deref().map(resource).transpose()?,
        worker: filter.worker.as_deref().map(worker).transpose()?,
        since: filter.since.map(to_core_time),
        created_by: filter.created_by,
        run: filter.run.as_deref().map(run_id).transpose()?,
        node: None,
    })
}

/// The states on which a verb can act.
fn acted_on(verb: TaskVerbName) -> Vec<StateKind> {
    let can = |state: &StateKind| match verb {
        TaskVerbName::Cancel | TaskVerbName::Pause | TaskVerbName::Resume => !state.is_ended(),
        TaskVerbName::Retry => {
            matches!(state, StateKind::Failed | StateKind::Cancelled | StateKind::Skipped | StateKind::InDoubt)
        }
        TaskVerbName::Delete => state.is_ended(),
    };
    StateKind::ALL.into_iter().filter(can).collect()
}
