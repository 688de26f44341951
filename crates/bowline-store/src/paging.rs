//! What every store's lists share: bounds, cursors, and how a name filter matches.

use crate::read::Page;
use crate::write::StoreError;

/// Most items of one page.
pub const PAGE_ITEMS_MAX: usize = 1_000;

/// The page's size for what was asked for: 1 to [`PAGE_ITEMS_MAX`].
pub fn page_size(limit: usize) -> usize {
    limit.clamp(1, PAGE_ITEMS_MAX)
}

/// Reads a cursor that is one number.
pub fn number_cursor(cursor: Option<&str>) -> Result<Option<u64>, StoreError> {
    cursor.map(|text| text.parse().map_err(|_| bad_cursor(text))).transpose()
}

/// A cursor that no list of this store has given out: the caller's doing, and no failure of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cursor of this list: begin again without one")]
pub struct BadCursor(String);

/// The error of a bad cursor. Its source is a [`BadCursor`].
pub fn bad_cursor(text: &str) -> StoreError {
    StoreError::new("reading a page", BadCursor(text.chars().take(40).collect()))
}

/// Cuts one item too many off a page, and says where the next one begins.
pub fn page_of<T>(mut items: Vec<T>, size: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > size;
    items.truncate(size);
    let next = if more { items.last().map(cursor) } else { None };
    Page { items, next }
}

/// Whether a name fits a pattern, in which `*` stands for anything.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("census", "census", true),
            ("census", "census2", false),
            ("cen*", "census", true),
            ("*sus", "census", true),
            ("c*n*s", "census", true),
            ("c*x*s", "census", false),
            ("*", "", true),
            ("ab*ba", "aba", false),
            ("[a]?", "[a]?", true),
            ("?", "a", false),
        ] {
            assert_eq!(name_matches(pattern, name), fits, "{pattern} on {name}");
        }
    }
}
