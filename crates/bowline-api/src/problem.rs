//! Errors as documents (RFC 9457, `application/problem+json`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// What went wrong, and what to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` is what tells problems apart.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs: `invalid`, `not_found`, `conflict`, `idempotency_key_reused`,
    /// `too_large`, `unauthenticated`, `forbidden`, `foreign_origin`, `wrong_host`, `events_gone`,
    /// `not_leading`, `busy`, `method_not_allowed`, `unsupported_media_type`, `internal`.
    pub code: String,
    /// Whole sentences for people: what happened, to what, and what to do next.
    pub detail: String,
    /// Every mistake found, where there is more to say than `detail` does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem without further mistakes.
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: detail.into(),
            mistakes: Vec::new(),
        }
    }
}

/// One mistake in what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// What is wrong, as a whole sentence.
    pub message: String,
    /// The field: `tasks[3].timeouts.run`. Of a workflow file: the place within it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The file, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column in that line, from 1, in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The mistake as shown on a terminal: the line with a caret below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
}

impl Mistake {
    /// A mistake in a field.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: Some(path.into()), message: message.into(), ..Self::default() }
    }
}
