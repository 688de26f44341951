//! Tasks: submitting, listing, and everything that can be read of one.

mod bulk;
mod elements;
mod filter;
mod submit;
mod verbs;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{Artifact, Attempt, Explanation, HistoryEntry, List, PageQuery, Problem, Task, TaskQuery, WaitQuery};
use bowline_core::answer::Answer;
use bowline_core::explain::WaitReason;
use bowline_core::id::TaskRef;
use bowline_core::input::Request;
use bowline_core::row::Subject;
use bowline_core::state::Phase;
use bowline_store::AttemptFilter;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{Changes, Woken, wait_length};
use super::extract::{Params, page_limit, task_id};
use super::fault::Fault;
use super::find;
use super::shell::{Shell, unexpected};
use super::show::{self, Depth};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new()
        .routes(routes!(submit::submit, list))
        .routes(routes!(bulk::bulk))
        .routes(routes!(get_one, verbs::delete))
        .routes(routes!(attempts))
        .routes(routes!(history))
        .routes(routes!(explain))
        .routes(routes!(artifacts))
        .routes(routes!(super::artifacts::download))
        .routes(routes!(super::logs::logs))
        .routes(routes!(verbs::cancel))
        .routes(routes!(verbs::retry))
        .routes(routes!(verbs::pause))
        .routes(routes!(verbs::resume))
        .routes(routes!(verbs::complete))
        .routes(routes!(verbs::resolve))
        .routes(routes!(elements::elements))
}

/// One page of tasks. Those that wait say why.
#[utoipa::path(get, path = "/tasks", tag = "tasks", params(TaskQuery),
    responses((status = 200, body = List<Task>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<TaskQuery>,
) -> Result<Json<List<Task>>, Fault> {
    page(&shell, &caller, &query).await.map(Json)
}

/// One page of tasks.
pub(super) async fn page(shell: &Shell, caller: &Caller, query: &TaskQuery) -> Result<List<Task>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let filter = filter::filter(query, namespace, &caller.actor)?;
    let sort = filter::sort(query.sort.as_deref())?;
    let limit = page_limit(query.limit)?;
    let cursor = query.cursor.clone();
    let names = shell.names();
    let mut list = shell
        .read(move |store| {
            let page = store.tasks(&filter, sort, cursor.as_deref(), limit)?;
            let mut items = Vec::with_capacity(page.items.len());
            for row in page.items {
                if let Some(found) = store.task(row.id)? {
                    items.push(show::task(&found, Depth::List, &names, store)?);
                }
            }
            Ok(List { items, next_cursor: page.next })
        })
        .await?;
    add_phase(shell, &mut list.items);
    add_why(shell, caller, &mut list.items).await;
    Ok(list)
}

/// What only the worker tells: that a job is over, and its artifacts are on their way.
fn add_phase(shell: &Shell, tasks: &mut [Task]) {
    for task in tasks {
        if task.phase == Some(Phase::Running) && shell.app.uploads.of(task.id, task.attempt).is_some() {
            task.phase = Some(Phase::Uploading);
        }
    }
}

/// Says why each waits. Where nobody leads just now the list is good without it.
async fn add_why(shell: &Shell, caller: &Caller, tasks: &mut [Task]) {
    let waits = |task: &&Task| !task.state.is_ended() && !task.state.is_live();
    let waiting: Vec<TaskRef> = tasks.iter().filter(waits).map(|task| task.id).collect();
    if waiting.is_empty() {
        return;
    }
    let request = Request::WhyWaiting { tasks: waiting };
    if let Ok(Answer::WhyWaiting(reasons)) = shell.ask(caller.actor.clone(), request).await {
        let reasons: std::collections::HashMap<TaskRef, _> = reasons.into_iter().collect();
        for task in tasks {
            let reason = reasons.get(&task.id);
            task.why = reason.map(bowline_api::why::why);
            if matches!(reason, Some(WaitReason::Aside { .. })) {
                let waiting = task.resources.iter_mut().filter(|resource| resource.state == "waiting");
                waiting.for_each(|resource| "aside".clone_into(&mut resource.state));
            }
        }
    }
}

/// One task, or an element of an array; with `wait`, when it has ended.
#[utoipa::path(get, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path), WaitQuery),
    responses((status = 200, body = Task), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WaitQuery>,
) -> Result<Json<Task>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let wait = wait_length(query.wait)?;
    // Subscribed before the first look: no change falls between the two.
    let mut changes = Changes::of(&shell, Subject::Task(id), Some(wait.unwrap_or_default()));
    loop {
        let (names, namespace) = (shell.names(), namespace.clone());
        let mut task = shell.read(move |store| find::document(store, id, namespace.as_ref(), &names)).await?;
        if wait.is_none() || task.state.is_ended() || changes.next().await == Woken::Over {
            add_phase(&shell, std::slice::from_mut(&mut task));
            add_why(&shell, &caller, std::slice::from_mut(&mut task)).await;
            return Ok(Json(task));
        }
    }
}

/// Its attempts, oldest first. Of an array as a whole: those of all its elements.
#[utoipa::path(get, path = "/tasks/{id}/attempts", tag = "tasks", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = List<Attempt>), (status = "default", body = Problem)))]
async fn attempts(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<List<Attempt>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let names = shell.names();
    let items = shell
        .read(move |store| {
            find::task(store, id, namespace.as_ref())?;
            let rows = store.attempts(&AttemptFilter::Of(id))?;
            let items: Result<Vec<_>, _> = rows.iter().map(|row| show::attempt(row, &names, store)).collect();
            Ok(items?)
        })
        .await?;
    Ok(Json(List { items, next_cursor: None }))
}

/// One page of its history, oldest first.
#[utoipa::path(get, path = "/tasks/{id}/history", tag = "tasks", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = List<HistoryEntry>), (status = "default", body = Problem)))]
async fn history(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<List<HistoryEntry>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let limit = page_limit(query.limit)?;
    let list = shell
        .read(move |store| {
            find::task(store, id, namespace.as_ref())?;
            Ok(show::history_page(store, &Subject::Task(id), query.cursor.as_deref(), limit)?)
        })
        .await?;
    Ok(Json(list))
}

/// Why it is where it is: every reason, from the engine itself.
#[utoipa::path(get, path = "/tasks/{id}/explain", tag = "tasks", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Explanation), (status = "default", body = Problem)))]
async fn explain(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<Explanation>, Fault> {
    let namespace = caller.read(query.namespace.as_deref())?;
    let task = task_id(&id)?;
    match shell.ask(caller.actor, Request::Explain { namespace, task }).await? {
        Answer::Explained(explained) => {
            let mut explanation = bowline_api::why::explanation(&explained);
            let stuck = shell.app.sessions.stuck(explained.task);
            explanation.reasons.extend(stuck.iter().map(|(attempt, pids)| bowline_api::why::stuck(*attempt, pids)));
            Ok(Json(explanation))
        }
        other => Err(unexpected("explain the task", &other)),
    }
}

/// Files that its attempts left. Of an array as a whole: those of all its elements.
#[utoipa::path(get, path = "/tasks/{id}/artifacts", tag = "tasks", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = List<Artifact>), (status = "default", body = Problem)))]
async fn artifacts(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<List<Artifact>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let items = shell
        .read(move |store| {
            find::task(store, id, namespace.as_ref())?;
            Ok(store.artifacts(id)?.iter().map(show::artifact).collect())
        })
        .await?;
    Ok(Json(List { items, next_cursor: None }))
}
