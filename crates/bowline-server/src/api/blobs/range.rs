//! The header `Range`: one range of bytes. What cannot be understood counts as not said.

use axum::http::{HeaderMap, StatusCode, header};
use bowline_blob::Digest;

use super::super::fault::Fault;

/// What of a blob is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Whole,
    /// From this byte up to before that one.
    Part(u64, u64),
}

impl Range {
    /// What these headers ask of a blob of this size.
    pub(super) fn asked(headers: &HeaderMap, digest: Digest, size: u64) -> Result<Self, Fault> {
        // Whoever has bytes of another blob wants this one from its beginning.
        let fits = headers.get(header::IF_RANGE).is_none_or(|tag| tag.as_bytes() == format!("\"{digest}\"").as_bytes());
        let text = headers.get(header::RANGE).filter(|_| fits).and_then(|range| range.to_str().ok());
        let Some((from, to)) = text.and_then(parse) else { return Ok(Self::Whole) };
        let (from, to) = match (from, to) {
            (Some(from), to) => (from, to.map_or(size, |last| last.saturating_add(1)).min(size)),
            (None, Some(last)) => (size.saturating_sub(last), size),
            (None, None) => return Ok(Self::Whole),
        };
        if from < to {
            return Ok(Self::Part(from, to));
        }
        Err(Fault::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "no_such_range",
            format!("The blob {digest} has {size} bytes, and the range asked for has none of them."),
        ))
    }

    pub(super) fn bounds(self, size: u64) -> (u64, u64) {
        match self {
            Self::Whole => (0, size),
            Self::Part(from, to) => (from, to),
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part(..) => StatusCode::PARTIAL_CONTENT,
        }
    }
}

/// First and last byte as written. Of several ranges none is understood.
fn parse(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| -> Option<Option<u64>> {
        if text.is_empty() { Some(None) } else { text.trim().parse().ok().map(Some) }
    };
    Some((number(first.trim())?, number(last.trim())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let digest = Digest::of(b"x");
        let asked = |range: &str| {
            let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            Range::asked(&headers, digest, 100)
        };
        assert_eq!(asked("bytes=0-0").unwrap(), Range::Part(0, 1));
        assert_eq!(asked("bytes=90-").unwrap(), Range::Part(90, 100));
        assert_eq!(asked("bytes=90-500").unwrap(), Range::Part(90, 100));
        assert_eq!(asked("bytes=-7").unwrap(), Range::Part(93, 100));
        assert_eq!(asked("bytes=-700").unwrap(), Range::Part(0, 100));
        for whole in ["bytes=-", "lines=1-2", "bytes=a-b", "bytes=0-1,5-6"] {
            assert_eq!(asked(whole).unwrap(), Range::Whole, "{whole}");
        }
        for none in ["bytes=100-", "bytes=5-4", "bytes=-0"] {
            assert_eq!(asked(none).unwrap_err().status(), StatusCode::RANGE_NOT_SATISFIABLE, "{none}");
        }
    }
}
