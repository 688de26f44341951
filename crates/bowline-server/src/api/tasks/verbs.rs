//! What can be done with one task.

use axum::Extension;
use axum::Json;
use axum::extract::{Path, State};
use bowline_api::{Complete, Problem, Verdict};
use bowline_core::answer::Answer;
use bowline_core::id::TaskRef;
use bowline_core::input::{Completion, Request, TaskVerb};
use bowline_core::spec::RESULT_BYTES_MAX;
use serde::{Deserialize, Serialize};

use crate::api::extract::{MaybeDoc, Params, task_id};
use crate::api::fault::Fault;
use crate::api::find;
use crate::api::shell::{Shell, unexpected};
use crate::auth::Caller;

/// How to act.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct VerbQuery {
    /// In this namespace. `default` where not said.
    namespace: Option<String>,
    /// Why, for people.
    reason: Option<String>,
    /// Only look whether it is there, and change nothing.
    dry_run: Option<bool>,
}

/// One verb on one task.
async fn act(shell: Shell, caller: Caller, id: &str, query: VerbQuery, verb: TaskVerb) -> Result<Json<Verdict>, Fault> {
    let namespace = caller.operate(query.namespace.as_deref())?;
    let id = task_id(id)?;
    if query.dry_run == Some(true) {
        let names = shell.names();
        let task = shell.read(move |store| find::document(store, id, Some(&namespace), &names)).await?;
        return Ok(Json(Verdict { id, state: task.state }));
    }
    let request = Request::Tasks { namespace, tasks: vec![id], verb };
    match shell.ask(caller.actor, request).await? {
        Answer::Tasks(outcomes) => verdict(id, outcomes).map(Json),
        other => Err(unexpected("act on the task", &other)),
    }
}

fn verdict(
    id: TaskRef,
    outcomes: Vec<(TaskRef, Result<bowline_core::state::StateKind, bowline_core::answer::Refusal>)>,
) -> Result<Verdict, Fault> {
    match outcomes.into_iter().next() {
        Some((id, Ok(state))) => Ok(Verdict { id, state }),
        Some((_, Err(refusal))) => Err(refusal.into()),
        None => Err(find::no_task(id, None)),
    }
}

/// Why a cancel was asked for, where nobody said.
pub(super) fn cancelled_by(caller: &Caller, reason: Option<String>) -> String {
    reason.unwrap_or_else(|| format!("cancelled by {}", caller.actor.0))
}

/// Ends it. What runs is stopped first.
#[utoipa::path(post, path = "/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path), VerbQuery),
    responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn cancel(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(mut query): Params<VerbQuery>,
) -> Result<Json<Verdict>, Fault> {
    let why = cancelled_by(&caller, query.reason.take());
    act(shell, caller, &id, query, TaskVerb::Cancel { why }).await
}

/// A new round of an ended task. Of an array: of its elements that did not succeed.
#[utoipa::path(post, path = "/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path), VerbQuery),
    responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn retry(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
) -> Result<Json<Verdict>, Fault> {
    act(shell, caller, &id, query, TaskVerb::Retry).await
}

/// Not claimed until resumed. What runs, runs on.
#[utoipa::path(post, path = "/tasks/{id}/pause", tag = "tasks", params(("id" = String, Path), VerbQuery),
    responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn pause(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
) -> Result<Json<Verdict>, Fault> {
    act(shell, caller, &id, query, TaskVerb::Pause).await
}

/// Claimed again.
#[utoipa::path(post, path = "/tasks/{id}/resume", tag = "tasks", params(("id" = String, Path), VerbQuery),
    responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn resume(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
) -> Result<Json<Verdict>, Fault> {
    act(shell, caller, &id, query, TaskVerb::Resume).await
}

/// Removes an ended task with all that it left.
#[utoipa::path(delete, path = "/tasks/{id}", tag = "tasks", params(("id" = String, Path), VerbQuery),
    responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn delete(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
) -> Result<Json<Verdict>, Fault> {
    act(shell, caller, &id, query, TaskVerb::Delete).await
}

/// Ends a `wait`: well, with a result; or with a failure.
#[utoipa::path(post, path = "/tasks/{id}/complete", tag = "tasks", params(("id" = String, Path), VerbQuery),
    request_body = Complete, responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn complete(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
    MaybeDoc(how): MaybeDoc<Complete>,
) -> Result<Json<Verdict>, Fault> {
    let how = completion(how)?;
    act(shell, caller, &id, query, TaskVerb::Complete { how }).await
}

/// Says how a task in doubt really ended: well, with a result where it has one; or with a failure.
#[utoipa::path(post, path = "/tasks/{id}/resolve", tag = "tasks", params(("id" = String, Path), VerbQuery),
    request_body = Complete, responses((status = 200, body = Verdict), (status = "default", body = Problem)))]
pub(super) async fn resolve(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Params(query): Params<VerbQuery>,
    MaybeDoc(how): MaybeDoc<Complete>,
) -> Result<Json<Verdict>, Fault> {
    let how = completion(how)?;
    act(shell, caller, &id, query, TaskVerb::Resolve { how }).await
}

fn completion(how: Complete) -> Result<Completion, Fault> {
    match (how.result, how.failure) {
        (Some(_), Some(_)) => Err(Fault::field("failure", "Give only one of `result` and `failure`.")),
        (None, Some(failure)) => Ok(Completion::Failure(failure)),
        (result, None) => {
            let json = result.map(|result| result.to_string());
            if json.as_ref().is_some_and(|json| json.len() > RESULT_BYTES_MAX) {
                return Err(Fault::too_large(format!("A result has at most {RESULT_BYTES_MAX} bytes (1 MiB).")));
            }
            Ok(Completion::Success(json))
        }
    }
}
