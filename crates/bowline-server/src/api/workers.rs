//! Workers: what is stored of them, joined with what the leader knows now; what can be done with them;
//! and how one comes in.

mod enrol;
mod held;
mod show;
mod verbs;

use std::collections::HashMap;

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{List, PageQuery, Problem, Worker, WorkerExplanation};
use bowline_core::answer::{Answer, WorkerView};
use bowline_core::id::WorkerId;
use bowline_core::input::Request;
use bowline_core::name::WorkerName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Params, sentence};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get_one)).routes(routes!(explain)).merge(verbs::routes())
}

/// The one route that looks at its token itself: a worker that is known already needs none.
pub(super) fn enrol_route() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(enrol::enrol))
}

/// All workers, by name.
#[utoipa::path(get, path = "/workers", tag = "workers", params(PageQuery),
    responses((status = 200, body = List<Worker>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<List<Worker>>, Fault> {
    caller.look_around()?;
    Ok(Json(List { items: all(&shell, &caller).await?, next_cursor: None }))
}

/// One worker.
#[utoipa::path(get, path = "/workers/{name}", tag = "workers", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = Worker), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<Worker>, Fault> {
    caller.look_around()?;
    one(&shell, &caller, &name).await.map(Json)
}

/// Why it is idle, or takes no more than it has: every reason, and what the tasks that wait miss on it.
#[utoipa::path(get, path = "/workers/{name}/explain", tag = "workers", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = WorkerExplanation), (status = "default", body = Problem)))]
async fn explain(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<WorkerExplanation>, Fault> {
    caller.look_around()?;
    let worker = worker_name(&name)?;
    match shell.ask(caller.actor, Request::ExplainWorker { worker }).await? {
        Answer::WorkerExplained(explained) => Ok(Json(bowline_api::why::worker(&explained))),
        other => Err(unexpected("explain the worker", &other)),
    }
}

async fn one(shell: &Shell, caller: &Caller, name: &str) -> Result<Worker, Fault> {
    let rows = shell.read(|store| Ok(store.workers()?)).await?;
    let row = rows.into_iter().find(|row| row.name.as_str() == name).ok_or_else(|| no_worker(name))?;
    let overview = shell.overview(caller.actor.clone()).await?;
    let view = overview.workers.iter().find(|view| view.id == row.id);
    let mut worker = show::document(&row, view, &shell.app.sessions);
    worker.vitals = shell.app.sessions.report(row.id).as_ref().map(super::vitals::document);
    held::tell(shell, view.map_or(&[], |view| &view.attempts), &mut worker.attempts).await?;
    Ok(worker)
}

fn no_worker(name: &str) -> Fault {
    let name: String = name.chars().take(128).collect();
    Fault::not_found(format!("There is no worker `{name}`. `bowline worker list` shows those that there are."))
}

async fn all(shell: &Shell, caller: &Caller) -> Result<Vec<Worker>, Fault> {
    let rows = shell.read(|store| Ok(store.workers()?)).await?;
    let overview = shell.overview(caller.actor.clone()).await?;
    let views: HashMap<WorkerId, WorkerView> = overview.workers.into_iter().map(|view| (view.id, view)).collect();
    Ok(rows.iter().map(|row| show::document(row, views.get(&row.id), &shell.app.sessions)).collect())
}

fn worker_name(name: &str) -> Result<WorkerName, Fault> {
    WorkerName::new(name).map_err(|error| Fault::field("name", sentence(&error.to_string())))
}
