//! Runs: starting, listing, reading, and what can be done with them.

mod explain;
mod show;
mod start;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{
    HistoryEntry, List, PageQuery, Problem, Run, RunArtifact, RunQuery, Task, TaskQuery, WaitQuery, WriteQuery,
};
use bowline_core::answer::Answer;
use bowline_core::input::{Request, RunVerb};
use bowline_core::row::Subject;
use bowline_core::run::RunState;
use bowline_store::RunFilter;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{Changes, Woken, wait_length};
use super::extract::{Params, page_limit, run_id};
use super::fault::Fault;
use super::find;
use super::shell::{Shell, unexpected};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new()
        .routes(routes!(start::start, list))
        .routes(routes!(get_one))
        .routes(routes!(tasks))
        .routes(routes!(history))
        .routes(routes!(explain::explain))
        .routes(routes!(artifacts))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(pause))
        .routes(routes!(resume))
}

/// One page of runs, newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(RunQuery),
    responses((status = 200, body = List<Run>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<RunQuery>,
) -> Result<Json<List<Run>>, Fault> {
    let filter = RunFilter {
        namespace: caller.read_some(query.namespace.as_deref())?,
        states: query.state.as_deref().map(states).transpose()?.unwrap_or_default(),
        workflow: query.workflow,
    };
    let limit = page_limit(query.limit)?;
    let cursor = query.cursor;
    let page = shell.read(move |store| Ok(store.runs(&filter, cursor.as_deref(), limit)?)).await?;
    Ok(Json(List { items: page.items.iter().map(show::run).collect(), next_cursor: page.next }))
}

fn states(text: &str) -> Result<Vec<RunState>, Fault> {
    const ALL: [RunState; 6] = [
        RunState::Running,
        RunState::Stopping,
        RunState::Finishing,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Cancelled,
    ];
    let mut states = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match (word, RunState::parse(word)) {
            (_, Some(state)) => states.push(state),
            ("ended", None) => states.extend(ALL.into_iter().filter(|state| state.is_ended())),
            ("unfinished", None) => states.extend(ALL.into_iter().filter(|state| !state.is_ended())),
            (_, None) => {
                let names = ALL.map(RunState::name).join(", ");
                return Err(Fault::field("state", format!("A run's `state` is one of {names}, unfinished, ended.")));
            }
        }
    }
    Ok(states)
}

/// One run, with its steps and how far each is; with `wait`, when it has ended.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = String, Path), WaitQuery),
    responses((status = 200, body = Run), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WaitQuery>,
) -> Result<Json<Run>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = run_id(&id)?;
    let wait = wait_length(query.wait)?;
    let mut changes = Changes::of(&shell, Subject::Run(id), Some(wait.unwrap_or_default()));
    loop {
        let namespace = namespace.clone();
        let run = shell
            .read(move |store| {
                let found = find::run(store, id, namespace.as_ref())?;
                show::detail(&found, store)
            })
            .await?;
        if wait.is_none() || run.ended || changes.next().await == Woken::Over {
            return Ok(Json(run));
        }
    }
}

/// One page of its tasks.
#[utoipa::path(get, path = "/runs/{id}/tasks", tag = "runs", params(("id" = String, Path), TaskQuery),
    responses((status = 200, body = List<Task>), (status = "default", body = Problem)))]
async fn tasks(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(mut query): Params<TaskQuery>,
) -> Result<Json<List<Task>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let run = run_id(&id)?;
    shell.read(move |store| find::run(store, run, namespace.as_ref()).map(drop)).await?;
    query.run = Some(id);
    super::tasks::page(&shell, &caller, &query).await.map(Json)
}

/// One page of its history, oldest first.
#[utoipa::path(get, path = "/runs/{id}/history", tag = "runs", params(("id" = String, Path), PageQuery),
    responses((status = 200, body = List<HistoryEntry>), (status = "default", body = Problem)))]
async fn history(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<PageQuery>,
) -> Result<Json<List<HistoryEntry>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let run = run_id(&id)?;
    let limit = page_limit(query.limit)?;
    let read = shell.read(move |store| {
        find::run(store, run, namespace.as_ref())?;
        Ok(super::show::history_page(store, &Subject::Run(run), query.cursor.as_deref(), limit)?)
    });
    read.await.map(Json)
}

/// Files that its tasks left, and which of them are its result.
#[utoipa::path(get, path = "/runs/{id}/artifacts", tag = "runs", params(("id" = String, Path), WaitQuery),
    responses((status = 200, body = List<RunArtifact>), (status = "default", body = Problem)))]
async fn artifacts(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WaitQuery>,
) -> Result<Json<List<RunArtifact>>, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = run_id(&id)?;
    let items = shell
        .read(move |store| {
            let found = find::run(store, id, namespace.as_ref())?;
            show::artifacts(&found, store)
        })
        .await?;
    Ok(Json(List { items, next_cursor: None }))
}

/// One verb on a run; what comes back is the run after it.
async fn act(shell: Shell, caller: Caller, id: &str, query: WriteQuery, verb: RunVerb) -> Result<Json<Run>, Fault> {
    let namespace = caller.operate(query.namespace.as_deref())?;
    let run = run_id(id)?;
    if query.dry_run != Some(true) {
        let request = Request::Run { namespace: namespace.clone(), run, verb };
        match shell.ask(caller.actor, request).await? {
            Answer::Done => {}
            other => return Err(unexpected("act on the run", &other)),
        }
    }
    let read = shell.read(move |store| {
        let found = find::run(store, run, Some(&namespace))?;
        show::detail(&found, store)
    });
    read.await.map(Json)
}

/// Ends it and its tasks.
#[utoipa::path(post, path = "/runs/{id}/cancel", tag = "runs", params(("id" = String, Path), WriteQuery),
    responses((status = 200, body = Run), (status = "default", body = Problem)))]
async fn cancel(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Run>, Fault> {
    act(shell, caller, &id, query, RunVerb::Cancel).await
}

/// An ended one again, from its first failure. What succeeded stays.
#[utoipa::path(post, path = "/runs/{id}/retry", tag = "runs", params(("id" = String, Path), WriteQuery),
    responses((status = 200, body = Run), (status = "default", body = Problem)))]
async fn retry(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Run>, Fault> {
    act(shell, caller, &id, query, RunVerb::Retry).await
}

/// None of its tasks is claimed until it is resumed. What runs, runs on.
#[utoipa::path(post, path = "/runs/{id}/pause", tag = "runs", params(("id" = String, Path), WriteQuery),
    responses((status = 200, body = Run), (status = "default", body = Problem)))]
async fn pause(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Run>, Fault> {
    act(shell, caller, &id, query, RunVerb::Pause).await
}

/// On again.
#[utoipa::path(post, path = "/runs/{id}/resume", tag = "runs", params(("id" = String, Path), WriteQuery),
    responses((status = 200, body = Run), (status = "default", body = Problem)))]
async fn resume(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Run>, Fault> {
    act(shell, caller, &id, query, RunVerb::Resume).await
}
