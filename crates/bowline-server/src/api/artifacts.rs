//! The bytes of artifacts.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bowline_api::Problem;
use bowline_blob::Digest;
use bowline_core::id::TaskRef;
use bowline_core::row::ArtifactRow;
use serde::{Deserialize, Serialize};

use super::blobs::give;
use super::extract::{Params, task_id};
use super::fault::Fault;
use super::find;
use super::shell::Shell;
use crate::auth::Caller;

/// Which of the attempts' files.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct ArtifactQuery {
    /// In this namespace. `default` where not said.
    namespace: Option<String>,
    /// Of this attempt. The newest that has it where not said.
    attempt: Option<u32>,
}

/// The bytes of a file that an attempt left, or the range of them that `Range` names.
#[utoipa::path(get, path = "/tasks/{id}/artifacts/{*name}", tag = "tasks",
    params(("id" = String, Path), ("name" = String, Path), ArtifactQuery),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>), (status = "default", body = Problem)))]
pub(super) async fn download(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path((id, name)): Path<(String, String)>,
    Params(query): Params<ArtifactQuery>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let namespace = caller.read_some(query.namespace.as_deref())?;
    let id = task_id(&id)?;
    let row = shell
        .read(move |store| {
            find::task(store, id, namespace.as_ref())?;
            newest(store.artifacts_named(id, &name)?, query.attempt).ok_or_else(|| no_artifact(id, &name))
        })
        .await?;
    let digest: Digest = row.digest.parse().map_err(|error| Fault::internal("read the artifact", &error))?;
    give(&shell, digest, &headers).await?.ok_or_else(|| {
        Fault::new(
            StatusCode::GONE,
            "blob_lost",
            format!("The bytes of `{}` of task {id} (blob {digest}) are not on this server any more.", row.name),
        )
    })
}

fn newest(rows: Vec<ArtifactRow>, attempt: Option<u32>) -> Option<ArtifactRow> {
    let wanted = |row: &ArtifactRow| attempt.is_none_or(|attempt| row.attempt.fence.attempt.0 == attempt);
    rows.into_iter().filter(wanted).max_by_key(|row| row.attempt.fence)
}

fn no_artifact(task: TaskRef, name: &str) -> Fault {
    let name: String = name.chars().take(200).collect();
    Fault::not_found(format!(
        "Task {task} has left no file `{name}`. `bowline task artifacts {task}` shows what it has left."
    ))
}
