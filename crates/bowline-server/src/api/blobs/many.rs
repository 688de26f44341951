//! Putting many small blobs with one request.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bowline_api::Problem;
use bowline_blob::{BlobStore, Digest};
use bowline_protocol::bundle;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::fault::Fault;
use super::super::shell::Shell;
use super::put::not_stored;
use crate::auth::Caller;

/// A bundle that has not come as a whole within this time is given up: its blobs can be sent one by one.
const COMES_WITHIN: Duration = Duration::from_mins(1);

/// Which of the blobs that were sent are there.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Stored {
    /// The digests of those that are whole, have the bytes that they were announced with, and are durable. What
    /// is not among them is to be sent by itself.
    stored: Vec<String>,
}

/// Blobs of at most 64 KiB each, together: of each a line with its digest and its length, then its bytes; at most
/// 512 of them, and 4 MiB. The answer names those that are durable; one that is not among them is sent by itself.
#[utoipa::path(post, path = "/blobs", tag = "blobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = Stored), (status = "default", body = Problem)))]
pub(super) async fn put_many(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Fault> {
    caller.handle_blobs()?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind != Some(bundle::MEDIA_TYPE) {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_media_type",
            format!("Blobs that go together are sent as `{}`.", bundle::MEDIA_TYPE),
        ));
    }
    let come = tokio::time::timeout(COMES_WITHIN, to_bytes(body, bundle::BYTES_MAX)).await;
    let come = come.map_err(|_| Fault::invalid("The blobs did not come in time. Send them one by one."))?;
    let body = come.map_err(|error| {
        Fault::too_large(format!(
            "The blobs cannot be read ({error}): at most {} bytes may go together.",
            bundle::BYTES_MAX
        ))
    })?;
    let (blobs, most) = (Arc::clone(&shell.app.blobs), shell.app.config.blob_bytes_max);
    let stored = shell.blocking("store blobs", move || store(&blobs, &body, most)).await?;
    Ok(Json(Stored { stored: stored.iter().map(Digest::to_string).collect() }))
}

/// Blocks.
fn store(blobs: &BlobStore, body: &Bytes, most: u64) -> Result<Vec<Digest>, Fault> {
    let sent = bundle::split(body).map_err(|error| Fault::invalid(format!("{error}.")))?;
    let sent: Result<Vec<_>, Fault> =
        sent.into_iter().map(|(digest, bytes)| Ok((super::digest_of(digest)?, bytes))).collect();
    let mut sent = sent?;
    // What is larger than a blob may be here is told when it comes by itself.
    sent.retain(|(_, bytes)| bytes.len() as u64 <= most);
    blobs.put_many(&sent).map_err(|error| not_stored(&error))
}
