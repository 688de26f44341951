//! Putting a blob: its bytes go to the disk as they come, and stay there where the connection breaks.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bowline_api::Problem;
use bowline_blob::{BlobError, BlobStore, Digest};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use super::super::fault::Fault;
use super::super::shell::Shell;
use super::{UPLOAD_LENGTH, UPLOAD_OFFSET, digest_of};
use crate::auth::Caller;

/// Pieces between the connection and the disk.
const PIECES_MAX: usize = 4;
/// A sender that is silent for so long is gone: another may go on with the upload.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How much of a refused body is still read.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// What became of what came.
enum Put {
    /// It is whole and durable.
    Whole,
    /// So many bytes have come.
    Part(u64),
    /// The upload has come to another place than its sender thinks.
    Elsewhere(u64),
}

/// Bytes of a blob from `Upload-Offset` on, of `Upload-Length` in all. 201: the blob is whole, its
/// bytes have the digest, and it is durable. 202: so much has come (`Upload-Offset`), go on from there.
/// 409: another offset is wanted (told in `Upload-Offset`), or somebody else uploads the blob just now.
#[utoipa::path(put, path = "/blobs/{digest}", tag = "blobs", params(("digest" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201), (status = 202), (status = "default", body = Problem)))]
pub(super) async fn put(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    caller.handle_blobs()?;
    let digest = digest_of(&digest)?;
    let (offset, total) = (number(&headers, &UPLOAD_OFFSET)?, number(&headers, &UPLOAD_LENGTH)?);
    let most = shell.app.config.blob_bytes_max;
    if total > most {
        return Err(Fault::too_large(format!(
            "A blob may have {most} bytes on this server, and this one has {total}."
        )));
    }
    let (pieces, to_write) = mpsc::channel(PIECES_MAX);
    let blobs = Arc::clone(&shell.app.blobs);
    let writing = tokio::task::spawn_blocking(move || write(&blobs, digest, (offset, total), to_write));
    tokio::select! {
        () = receive(body, pieces) => {}
        // What has come is on the disk.
        () = shell.app.stopping.cancelled() => return Err(Fault::stopping()),
    }
    let written = writing.await.map_err(|error| Fault::internal("store the blob", &error))?;
    let told = |status: StatusCode, offset: u64| (status, [(UPLOAD_OFFSET, HeaderValue::from(offset))]);
    match written {
        Ok(Put::Whole) => Ok(told(StatusCode::CREATED, total).into_response()),
        Ok(Put::Part(come)) => Ok(told(StatusCode::ACCEPTED, come).into_response()),
        Ok(Put::Elsewhere(come)) => {
            let fault = Fault::new(
                StatusCode::CONFLICT,
                "other_offset",
                format!("{come} bytes of the blob {digest} have come: go on from there."),
            );
            Ok(([(UPLOAD_OFFSET, HeaderValue::from(come))], fault).into_response())
        }
        Err(error) => Err(fault(&error)),
    }
}

fn fault(error: &BlobError) -> Fault {
    let detail = format!("{error}.");
    match error {
        BlobError::Busy(_) => Fault::new(StatusCode::CONFLICT, "upload_under_way", detail),
        BlobError::Damaged { .. } => Fault::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "other_bytes",
            format!("{detail} What came was thrown away; send the blob again."),
        ),
        BlobError::TooMany { .. } | BlobError::BadDigest(_) => Fault::invalid(detail),
        BlobError::Io { .. } => not_stored(error),
    }
}

/// The disk does not take it.
pub(super) fn not_stored(error: &BlobError) -> Fault {
    tracing::error!(error = error as &dyn std::error::Error, "blob not stored");
    Fault::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "not_stored",
        "The server cannot store the blob at the moment. Its log says why; what has come stays.",
    )
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Fault> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    value.ok_or_else(|| Fault::invalid(format!("The header `{name}` must be there, and hold a number of bytes.")))
}

/// Hands over what comes, until it ends, breaks off, or nobody takes it any more.
async fn receive(body: Body, pieces: mpsc::Sender<Bytes>) {
    let mut stream = body.into_data_stream();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENCE_MAX, stream.next()).await {
        if pieces.send(piece).await.is_err() {
            // So that its sender gets to the answer.
            let mut drained = 0;
            while drained < DRAIN_BYTES_MAX
                && let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENCE_MAX, stream.next()).await
            {
                drained += piece.len();
            }
            return;
        }
    }
}

/// Blocks.
fn write(
    blobs: &BlobStore,
    digest: Digest,
    (offset, total): (u64, u64),
    mut pieces: mpsc::Receiver<Bytes>,
) -> Result<Put, BlobError> {
    if blobs.touch(digest)?.is_some() {
        return Ok(Put::Whole);
    }
    let mut upload = blobs.upload(digest, total)?;
    if upload.offset() != offset {
        return Ok(Put::Elsewhere(upload.offset()));
    }
    while let Some(piece) = pieces.blocking_recv() {
        upload.write(&piece)?;
    }
    if !upload.is_whole() {
        return Ok(Put::Part(upload.offset()));
    }
    upload.finish()?;
    Ok(Put::Whole)
}
