//! Blobs by the hash of their bytes: asked for, put in parts that go on after a cut, and given out in
//! ranges, checked as they are read.
//!
//! An upload is `HEAD`, which tells how much has come (`Upload-Offset`), or that all is there (then
//! nothing is to be sent); then `PUT` with `Upload-Offset` (what was told) and `Upload-Length` (bytes
//! in all), as often as it takes: whatever has come stays. Small ones go together, without asking.

mod many;
mod put;
mod range;

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_api::Problem;
use bowline_blob::{BlobError, BlobStore, Digest};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::fault::Fault;
use super::shell::Shell;
use crate::auth::Caller;
use range::Range;

/// How many bytes of an upload have come.
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// How many bytes an upload has.
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

pub(super) fn routes() -> OpenApiRouter<Shell> {
    OpenApiRouter::new().routes(routes!(head, get, put::put)).routes(routes!(many::put_many))
}

fn digest_of(text: &str) -> Result<Digest, Fault> {
    text.parse().map_err(|error: BlobError| Fault::invalid(format!("{error}.")))
}

/// Whether all bytes of a blob are there (200, with their count), or how many have come of them (404,
/// with `Upload-Offset`). One that is there counts as wanted from now on.
#[utoipa::path(head, path = "/blobs/{digest}", tag = "blobs", params(("digest" = String, Path)),
    responses((status = 200), (status = "default", body = Problem)))]
async fn head(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(digest): Path<String>,
) -> Result<Response, Fault> {
    caller.handle_blobs()?;
    let digest = digest_of(&digest)?;
    let blobs = Arc::clone(&shell.app.blobs);
    let found = shell
        .blocking("look for the blob", move || {
            let failed = |error| Fault::internal("look for the blob", &error);
            let size = blobs.touch(digest).map_err(failed)?;
            let come = if size.is_none() { blobs.come(digest).map_err(failed)? } else { 0 };
            Ok((size, come))
        })
        .await?;
    Ok(match found {
        (Some(size), _) => {
            let headers = [(header::CONTENT_LENGTH, size), (UPLOAD_OFFSET, size)];
            (headers.map(|(name, value)| (name, HeaderValue::from(value))), Body::empty()).into_response()
        }
        (None, come) => (StatusCode::NOT_FOUND, [(UPLOAD_OFFSET, HeaderValue::from(come))]).into_response(),
    })
}

/// A blob's bytes, or the range of them that `Range` names.
#[utoipa::path(get, path = "/blobs/{digest}", tag = "blobs", params(("digest" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 206, content_type = "application/octet-stream", body = Vec<u8>), (status = "default", body = Problem)))]
async fn get(
    State(shell): State<Shell>,
    Extension(caller): Extension<Caller>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    caller.handle_blobs()?;
    let digest = digest_of(&digest)?;
    give(&shell, digest, &headers).await?.ok_or_else(|| Fault::not_found(format!("There is no blob {digest}.")))
}

/// Gives out a blob. `None`: there is none. Its first piece is checked before anything is said; where a
/// later one is damaged, the answer breaks off.
pub(super) async fn give(shell: &Shell, digest: Digest, headers: &HeaderMap) -> Result<Option<Response>, Fault> {
    let (blobs, asked) = (Arc::clone(&shell.app.blobs), headers.clone());
    let begun = shell.blocking("read the blob", move || begin(&blobs, digest, &asked)).await?;
    let Some(Begun { size, range, first }) = begun else { return Ok(None) };
    let (from, to) = range.bounds(size);
    let body = body(shell.clone(), digest, (from, to), first);
    let mut response = (range.status(), body).into_response();
    let put = response.headers_mut();
    put.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    put.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    put.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    put.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    let text = |text: String| HeaderValue::try_from(text).map_err(|error| Fault::internal("give out the blob", &error));
    put.insert(header::ETAG, text(format!("\"{digest}\""))?);
    if let Range::Part(..) = range {
        put.insert(header::CONTENT_RANGE, text(format!("bytes {from}-{}/{size}", to - 1))?);
    }
    Ok(Some(response))
}

/// A blob that is given out: what of it, and the first of that.
struct Begun {
    size: u64,
    range: Range,
    first: Option<Bytes>,
}

/// Blocks.
fn begin(blobs: &BlobStore, digest: Digest, headers: &HeaderMap) -> Result<Option<Begun>, Fault> {
    let failed = |error| Fault::internal("look for the blob", &error);
    let size = match blobs.size(digest).map_err(failed)? {
        None if blobs.is_damaged(digest).map_err(failed)? => return Err(damaged(digest)),
        None => return Ok(None),
        Some(size) => size,
    };
    let range = Range::asked(headers, digest, size)?;
    let (from, to) = range.bounds(size);
    let first = if from < to { Some(read(blobs, digest, (from, to))?) } else { None };
    Ok(Some(Begun { size, range, first }))
}

fn damaged(digest: Digest) -> Fault {
    Fault::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "blob_damaged",
        format!(
            "The bytes of blob {digest} were damaged on the server's disk, and are not given out. Its file is kept in `blobs/damaged` for whoever looks into it; run the task again to have it made anew."
        ),
    )
}

/// The next bytes, checked; never empty.
async fn piece(shell: &Shell, digest: Digest, range: (u64, u64)) -> Result<Bytes, Fault> {
    let blobs = Arc::clone(&shell.app.blobs);
    shell.blocking("read the blob", move || read(&blobs, digest, range)).await
}

/// Blocks.
fn read(blobs: &BlobStore, digest: Digest, (from, to): (u64, u64)) -> Result<Bytes, Fault> {
    let piece =
        blobs.read(digest).and_then(|reader| reader.map_or_else(|| Ok(Vec::new()), |reader| reader.piece(from)));
    let mut bytes = piece.map_err(|error| match error {
        BlobError::Damaged { .. } => {
            tracing::error!(%digest, error = &error as &dyn std::error::Error, "a blob is damaged; put aside");
            damaged(digest)
        }
        error => Fault::internal("read the blob", &error),
    })?;
    bytes.truncate(usize::try_from(to - from).unwrap_or(usize::MAX));
    if bytes.is_empty() { Err(Fault::broken("read the blob")) } else { Ok(bytes.into()) }
}

fn body(shell: Shell, digest: Digest, (from, to): (u64, u64), first: Option<Bytes>) -> Body {
    let state = Some((shell, from, first));
    Body::from_stream(futures::stream::unfold(state, move |state| async move {
        let (shell, from, first) = state.filter(|state| state.1 < to)?;
        let next = match first {
            Some(first) => Ok(first),
            None => piece(&shell, digest, (from, to)).await,
        };
        Some(match next {
            Ok(bytes) => {
                let at = from + bytes.len() as u64;
                (Ok(bytes), Some((shell, at, None)))
            }
            Err(_) => (Err(std::io::Error::other("the blob cannot be read")), None),
        })
    }))
}
