//! Sizes in bytes, as people write them.

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size: write a number of bytes, or one with a unit, such as `512KiB`, `64MiB`, `2GB`")]
pub struct BadSize(String);

const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Reads `64MiB`, `2GB`, `512`. Bytes.
pub fn parse_size(text: &str) -> Result<u64, BadSize> {
    let bad = || BadSize(text.to_owned());
    let text_trimmed = text.trim();
    let (number, unit) = match text_trimmed.find(|c: char| c.is_ascii_alphabetic()) {
        None => (text_trimmed, 1),
        Some(at) => {
            let unit = text_trimmed[at..].trim();
            let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
            (text_trimmed[..at].trim(), size)
        }
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)
}

/// Writes a size for people: `1.5MiB`. Not exact.
pub fn format_size(bytes: u64) -> String {
    let unit = UNITS[..4].iter().rev().find(|(_, size)| bytes >= *size);
    match unit {
        None => format!("{bytes}B"),
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        Some((name, size)) => format!("{:.1}{name}", bytes as f64 / *size as f64),
    }
}
