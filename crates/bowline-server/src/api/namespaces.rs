//! Namespaces: quotas and shares, and what is used of them.

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{List, NamespaceChange, NamespaceDoc, PageQuery, Problem, WriteQuery, namespace};
use bowline_core::answer::Answer;
use bowline_core::engine::check_namespace_change;
use bowline_core::fair::NamespaceView;
use bowline_core::input::Request;
use bowline_core::name::Namespace;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Doc, Params, sentence};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get_one, put))
}

fn named(name: &str) -> Result<Namespace, Fault> {
    Namespace::new(name).map_err(|error| Fault::field("name", sentence(&error.to_string())))
}

/// Namespaces of which something is set, that are paused, or that have tasks that have not ended.
#[utoipa::path(get, path = "/namespaces", tag = "namespaces", params(PageQuery),
    responses((status = 200, body = List<NamespaceDoc>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<List<NamespaceDoc>>, Fault> {
    caller.look_around()?;
    match shell.ask(caller.actor, Request::Namespaces).await? {
        Answer::Namespaces(all) => {
            Ok(Json(List { items: all.iter().map(namespace::document).collect(), next_cursor: None }))
        }
        other => Err(unexpected("list the namespaces", &other)),
    }
}

async fn look(shell: &Shell, caller: Caller, name: Namespace) -> Result<NamespaceView, Fault> {
    match shell.ask(caller.actor, Request::Namespace { name }).await? {
        Answer::Namespace(view) => Ok(*view),
        other => Err(unexpected("look at the namespace", &other)),
    }
}

/// One namespace: what is set, and what it uses. One that nobody has used yet has nothing of both.
#[utoipa::path(get, path = "/namespaces/{name}", tag = "namespaces", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = NamespaceDoc), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<NamespaceDoc>, Fault> {
    caller.look_around()?;
    Ok(Json(namespace::document(&look(&shell, caller, named(&name)?).await?)))
}

/// Sets quotas and shares. What is not said stays; `null` takes it away. What runs, runs on.
#[utoipa::path(put, path = "/namespaces/{name}", tag = "namespaces", params(("name" = String, Path), WriteQuery),
    request_body = NamespaceChange,
    responses((status = 200, body = NamespaceDoc), (status = "default", body = Problem)))]
async fn put(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
    Doc(change): Doc<NamespaceChange>,
) -> Result<Json<NamespaceDoc>, Fault> {
    caller.administer()?;
    let name = named(&name)?;
    let change = change.resolve().map_err(Fault::mistakes)?;
    if query.dry_run == Some(true) {
        check_namespace_change(&change)?;
        let mut view = look(&shell, caller, name).await?;
        view.room = view.room.with(change);
        return Ok(Json(namespace::document(&view)));
    }
    match shell.ask(caller.actor, Request::SetNamespace { name, change }).await? {
        Answer::Namespace(view) => Ok(Json(namespace::document(&view))),
        other => Err(unexpected("set the namespace", &other)),
    }
}
