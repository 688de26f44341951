//! What handlers take out of a request: queries, documents, ids. Everything wrong is a problem
//! document that names its place.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bowline_api::decode::{from_json, from_parts};
use bowline_api::{BODY_BYTES_MAX, PAGE_DEFAULT, PAGE_MAX};
use bowline_core::id::{RunId, TaskRef};
use bowline_core::input::IdempotencyKey;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::fault::Fault;

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// How much of a body that is too large is still read, so that its sender gets to the answer.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// The query, as a document.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let pairs = form_pairs(text);
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(pairs.as_bytes()));
    from_parts(deserializer).map_err(|mistake| Fault::mistakes(vec![*mistake]))
}

/// Parameters without a value (`?follow`) mean `true`.
fn form_pairs(text: &str) -> String {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<String> =
        pairs.map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=true") }).collect();
    pairs.join("&")
}

/// A body of at most [`BODY_BYTES_MAX`].
pub(crate) struct Payload(pub(crate) Bytes);

impl<S: Sync> FromRequest<S> for Payload {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        read_body(request.into_body()).await.map(Self)
    }
}

async fn read_body(body: Body) -> Result<Bytes, Fault> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Fault::invalid("The request's body broke off. Send it again."))?;
        seen = seen.saturating_add(piece.len());
        if seen > DRAIN_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&piece);
        }
    }
    if seen > BODY_BYTES_MAX {
        return Err(Fault::too_large(format!(
            "The request's body is larger than {BODY_BYTES_MAX} bytes (8 MiB), the most that is taken. Send it in parts, or keep large data in files and name them."
        )));
    }
    Ok(bytes.freeze())
}

/// A JSON document.
pub(crate) struct Doc<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Doc<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let Payload(bytes) = Payload::from_request(request, state).await?;
        document(&bytes).map(Self)
    }
}

/// A JSON document that may be left out.
pub(crate) struct MaybeDoc<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Sync> FromRequest<S> for MaybeDoc<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let Payload(bytes) = Payload::from_request(request, state).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) { Ok(Self(T::default())) } else { document(&bytes).map(Self) }
    }
}

/// Reads a document.
pub(crate) fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    from_json(bytes).map_err(|mistake| Fault::mistakes(vec![*mistake]))
}

/// The header `Idempotency-Key`, for this body.
pub(crate) fn idempotency_key(headers: &HeaderMap, body: &[u8]) -> Result<Option<IdempotencyKey>, Fault> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Fault::invalid(format!(
            "`Idempotency-Key` must have 1 to {KEY_BYTES_MAX} printable ASCII characters."
        )));
    }
    Ok(Some(IdempotencyKey { key: key.to_owned(), body: *blake3::hash(body).as_bytes() }))
}

/// A task's id out of a path.
pub(crate) fn task_id(text: &str) -> Result<TaskRef, Fault> {
    text.parse().map_err(|error: bowline_core::id::BadTaskRef| Fault::invalid(sentence(&error.to_string())))
}

/// A run's id out of a path.
pub(crate) fn run_id(text: &str) -> Result<RunId, Fault> {
    RunId::parse(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Fault::invalid(format!("`{shown}` is no run id: write it with an `r` before the number, such as `r12`."))
    })
}

/// How many items of a page.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, Fault> {
    match limit {
        None => Ok(PAGE_DEFAULT),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Fault::field("limit", format!("`limit` must be 1 to {PAGE_MAX}."))),
    }
}

/// An error's text as a sentence: with a full stop.
pub(crate) fn sentence(text: &str) -> String {
    if text.ends_with(['.', '?', '!']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use bowline_api::{LogQuery, TaskQuery};

    use super::*;

    #[test]
    fn queries_name_what_is_wrong() {
        for wrong in ["stat=running", "limit=many", "limit=-1", "mine=perhaps"] {
            let Err(fault) = query::<TaskQuery>(wrong) else { panic!("{wrong}") };
            assert_eq!(fault.status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
        let good: TaskQuery = query("limit=5&name=a%20b&mine").unwrap();
        assert_eq!((good.limit, good.name.as_deref(), good.mine), (Some(5), Some("a b"), Some(true)));
        assert_eq!(query::<LogQuery>("follow&offset=3").unwrap().offset, Some(3));
    }

    #[tokio::test]
    async fn a_body_has_a_bound_and_the_answer_names_it() {
        let fits = read_body(Body::from(vec![b' '; BODY_BYTES_MAX])).await.unwrap();
        assert_eq!(fits.len(), BODY_BYTES_MAX);
        let fault = read_body(Body::from(vec![b' '; BODY_BYTES_MAX + 1])).await.unwrap_err();
        assert_eq!(fault.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn ids_are_checked() {
        assert!(task_id("4711.7").is_ok());
        assert!(run_id("r12").is_ok());
        for bad in ["", "r", "12", "rx", "../etc"] {
            assert!(run_id(bad).is_err(), "{bad}");
        }
        for bad in ["", "x", "1.", ".1", "1.2.3", "-1"] {
            assert!(task_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pages_have_a_bound() {
        assert_eq!(page_limit(None).unwrap(), PAGE_DEFAULT);
        assert!(page_limit(Some(0)).is_err());
        assert!(page_limit(Some(PAGE_MAX + 1)).is_err());
    }
}
