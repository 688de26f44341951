//! Resources: what is declared, who holds it, who is next.

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{List, PageQuery, Problem, Resource, ResourceChange, ResourceEntry, WriteQuery, resource};
use bowline_core::answer::{Answer, Refusal, RefusalCode};
use bowline_core::engine::check_resource_change;
use bowline_core::input::Request;
use bowline_core::name::ResourceName;
use bowline_core::resource::ResourceView;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Doc, Params, sentence};
use super::fault::Fault;
use super::shell::{Shell, unexpected};
use crate::auth::Caller;

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get_one, put, delete))
}

fn named(name: &str) -> Result<ResourceName, Fault> {
    ResourceName::new(name).map_err(|error| Fault::field("name", sentence(&error.to_string())))
}

/// All resources, by name: declared, held or waited for.
#[utoipa::path(get, path = "/resources", tag = "resources", params(PageQuery),
    responses((status = 200, body = List<ResourceEntry>), (status = "default", body = Problem)))]
async fn list(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<List<ResourceEntry>>, Fault> {
    caller.look_around()?;
    match shell.ask(caller.actor, Request::Resources).await? {
        Answer::Resources(all) => {
            Ok(Json(List { items: all.iter().map(resource::entry).collect(), next_cursor: None }))
        }
        other => Err(unexpected("list the resources", &other)),
    }
}

async fn look(shell: &Shell, caller: &Caller, name: ResourceName) -> Result<Result<ResourceView, Refusal>, Fault> {
    match shell.app.leader.request(caller.actor.clone(), Request::Resource { name }).await {
        Ok(Answer::Resource(view)) => Ok(Ok(*view)),
        Ok(other) => Err(unexpected("look at the resource", &other)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// One resource: how much there is, who holds it since when, and who is next.
#[utoipa::path(get, path = "/resources/{name}", tag = "resources", params(("name" = String, Path), PageQuery),
    responses((status = 200, body = Resource), (status = "default", body = Problem)))]
async fn get_one(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<Resource>, Fault> {
    caller.look_around()?;
    Ok(Json(resource::document(&look(&shell, &caller, named(&name)?).await??)))
}

/// Declares a resource, or changes it: its capacity, its units, whether it is in service. What is not said stays.
/// Whoever holds more than there is from then on keeps it to its end.
#[utoipa::path(put, path = "/resources/{name}", tag = "resources", params(("name" = String, Path), WriteQuery),
    request_body = ResourceChange, responses((status = 200, body = Resource), (status = "default", body = Problem)))]
async fn put(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
    Doc(change): Doc<ResourceChange>,
) -> Result<Json<Resource>, Fault> {
    caller.administer()?;
    let name = named(&name)?;
    let change = change.resolve().map_err(Fault::mistakes)?;
    if query.dry_run == Some(true) {
        check_resource_change(&name, &change)?;
        let known = look(&shell, &caller, name.clone()).await?;
        return match known {
            Ok(view) => Ok(Json(resource::document(&view))),
            Err(refusal) if refusal.code == RefusalCode::NotFound => Ok(Json(resource::not_yet(&name, &change))),
            Err(refusal) => Err(refusal.into()),
        };
    }
    match shell.ask(caller.actor, Request::SetResource { name, change }).await? {
        Answer::Resource(view) => Ok(Json(resource::document(&view))),
        other => Err(unexpected("set the resource", &other)),
    }
}

/// Removes a declared resource that nobody holds or waits for.
#[utoipa::path(delete, path = "/resources/{name}", tag = "resources", params(("name" = String, Path), WriteQuery),
    responses((status = 200, description = "The resource as it was", body = Resource), (status = "default", body = Problem)))]
async fn delete(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Params(query): Params<WriteQuery>,
) -> Result<Json<Resource>, Fault> {
    caller.administer()?;
    let name = named(&name)?;
    let was = look(&shell, &caller, name.clone()).await??;
    if query.dry_run != Some(true) {
        match shell.ask(caller.actor, Request::DeleteResource { name }).await? {
            Answer::Done => {}
            other => return Err(unexpected("delete the resource", &other)),
        }
    }
    Ok(Json(resource::document(&was)))
}
