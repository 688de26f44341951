//! Errors as problem documents. A refusal is the caller's doing and says what to do; a failure is
//! ours, goes to the log in full, and tells the caller only that it happened.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_api::resolve::Unfit;
use bowline_api::{Mistake, PROBLEM_TYPE, Problem};
use bowline_core::answer::{Refusal, RefusalCode};
use bowline_store::StoreError;
use bowline_store::paging::BadCursor;

/// What comes back in place of an answer.
#[derive(Debug)]
pub(crate) struct Fault {
    problem: Box<Problem>,
    status: StatusCode,
}

impl Fault {
    /// With this status, stable code and sentence.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { problem: Box::new(Problem::new(status.as_u16(), title, code, detail)), status }
    }

    /// The request is wrong.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// One field of it is wrong.
    pub(crate) fn field(path: &str, detail: impl Into<String>) -> Self {
        Self::mistakes(vec![Mistake::field(path, detail)])
    }

    /// These are wrong. The first one is the detail.
    pub(crate) fn mistakes(mistakes: Vec<Mistake>) -> Self {
        let first = mistakes.first().map_or_else(String::new, |mistake| mistake.message.clone());
        let detail = match mistakes.len() {
            0 | 1 => first,
            2 => format!("{first} There is one more mistake."),
            more => format!("{first} There are {} more mistakes.", more - 1),
        };
        let mut fault = Self::invalid(detail);
        fault.problem.mistakes = mistakes;
        fault
    }

    /// There is no such thing.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Larger than a bound, which the sentence names.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// The server goes down; what is asked for may be had after it is back.
    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server is stopping. Ask again when it is back.")
    }

    /// The token does not open this door.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// No token, or a wrong one.
    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// Our own failure: logged in full, told in short.
    pub(crate) fn internal(operation: &str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(operation, error = chain, "request failed");
        Self::broken(operation)
    }

    /// Our own failure, of which nothing more is known.
    pub(crate) fn broken(operation: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("The server failed to {operation}. Its log says why; try again."),
        )
    }

    /// What it says.
    pub(crate) fn detail(&self) -> &str {
        &self.problem.detail
    }

    /// Which status it has.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (self.status, [(header::CONTENT_TYPE, PROBLEM_TYPE)], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The status that goes with a refusal.
pub(crate) fn status_of(code: RefusalCode) -> StatusCode {
    match code {
        RefusalCode::Invalid => StatusCode::BAD_REQUEST,
        RefusalCode::NotFound => StatusCode::NOT_FOUND,
        RefusalCode::Conflict | RefusalCode::KeyReused => StatusCode::CONFLICT,
        RefusalCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalCode::Forbidden => StatusCode::FORBIDDEN,
        RefusalCode::NotLeading | RefusalCode::RolledBack => StatusCode::SERVICE_UNAVAILABLE,
        RefusalCode::Busy => StatusCode::TOO_MANY_REQUESTS,
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(status_of(refusal.code), refusal.code.name(), refusal.message)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error.source.downcast_ref::<BadCursor>() {
            Some(bad) => Self::field("cursor", format!("{bad}.")),
            None => Self::internal("read the store", &error),
        }
    }
}

impl From<Unfit> for Fault {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Mistakes(mistakes) => Self::mistakes(mistakes),
            Unfit::TooLarge(mistake) => Self::too_large(mistake.message),
        }
    }
}
