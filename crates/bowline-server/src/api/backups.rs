//! `/backup`: a copy of everything, made while the server goes on; and `/accept-rollback`.

use std::io::{self, BufWriter, Write};

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_api::{NewGeneration, PageQuery, Problem, from_core_time};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::Params;
use super::fault::Fault;
use super::shell::Shell;
use crate::auth::Caller;
use crate::backup::{self, Contents};
use crate::clock;

/// Pieces that wait for the connection.
const PIECES_MAX: usize = 8;
/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// Told before the first byte: about how many there will be.
const SIZE_HEADER: &str = "bowline-backup-bytes";

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(make)).routes(routes!(accept_rollback))
}

/// What is to be in a backup.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct BackupQuery {
    /// Logs and artifacts too.
    with_blobs: Option<bool>,
    /// Accepted and not used: a backup holds all namespaces.
    namespace: Option<String>,
}

/// A backup as a tar file: the store as it is at one moment, the secrets, and with `with_blobs` logs and
/// artifacts; at its end `manifest.json` with the digest of everything. One that breaks off has none, and
/// is no backup. One at a time.
#[utoipa::path(get, path = "/backup", tag = "system", params(BackupQuery),
    responses((status = 200, content_type = "application/x-tar", body = Vec<u8>), (status = "default", body = Problem)))]
async fn make(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<BackupQuery>,
) -> Result<Response, Fault> {
    caller.administer()?;
    let contents = if query.with_blobs == Some(true) { Contents::All } else { Contents::Store };
    let place = shell.backup_place().ok_or_else(|| {
        Fault::new(StatusCode::CONFLICT, "conflict", "Another backup is being made. Try again when it is done.")
    })?;
    let data = shell.app.config.data.clone();
    let size = backup_size(&data);
    let (pieces, stream) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let (stopping, now) = (shell.app.stopping.clone(), from_core_time(clock::wall()));
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe { pieces: pieces.clone(), stopping };
        let out = BufWriter::with_capacity(PIECE_BYTES, pipe);
        if let Err(error) = backup::write(&data, contents, now, out) {
            tracing::error!(error = &error as &dyn std::error::Error, "a backup broke off");
            drop(pieces.blocking_send(Err(io::Error::other("the backup broke off; the server's log says why"))));
        }
        drop(place);
    });
    let mut response = Body::from_stream(ReceiverStream::new(stream)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(SIZE_HEADER, HeaderValue::from(size));
    Ok(response)
}

/// About how many bytes the store's copy will have, for whoever shows how far it is.
fn backup_size(data: &std::path::Path) -> u64 {
    std::fs::metadata(data.join(backup::STORE_FILE)).map_or(0, |file| file.len())
}

/// Where a backup's bytes go: to whoever asked, as fast as he takes them.
struct Pipe {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    stopping: tokio_util::sync::CancellationToken,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopping.is_cancelled() {
            return Err(io::Error::other("the server is stopping"));
        }
        let piece = Bytes::copy_from_slice(bytes);
        match self.pieces.blocking_send(Ok(piece)) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for it has left")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The store was put back to an earlier state, and that is to stand: begins a later generation, and the
/// server leads again. What was done after that state is forgotten; results of it that workers still
/// bring end nothing.
#[utoipa::path(post, path = "/accept-rollback", tag = "system", params(PageQuery),
    responses((status = 200, body = NewGeneration), (status = "default", body = Problem)))]
async fn accept_rollback(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Params(_query): Params<PageQuery>,
) -> Result<Json<NewGeneration>, Fault> {
    caller.administer()?;
    tracing::warn!(by = %caller.actor.0, "the store's earlier state is accepted");
    let generation = shell.app.leader.accept_rollback().await?;
    Ok(Json(NewGeneration { generation: generation.0 }))
}
