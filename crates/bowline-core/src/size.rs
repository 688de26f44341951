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

/// Amounts that are bytes, by name; of all others nobody knows the unit.
const IN_BYTES: [&str; 1] = ["memory"];
/// A whole number of a unit is shown up to here; beyond it, a decimal of the next one.
const WHOLE_MAX: u64 = 9_999;

/// Writes an amount of this name for people: memory as a size, exact where it is a whole number of a unit, others as they are.
pub fn format_amount(name: &str, amount: u64) -> String {
    if !IN_BYTES.contains(&name) || amount == 0 {
        return amount.to_string();
    }
    let units = UNITS[..4].iter().rev();
    let whole = units.filter(|(_, size)| amount.is_multiple_of(*size)).map(|(unit, size)| (amount / size, unit));
    match whole.into_iter().find(|(number, _)| *number <= WHOLE_MAX) {
        Some((number, unit)) => format!("{number}{unit}"),
        None => format_size(amount),
    }
}

/// Two amounts of this name, to be told apart.
pub fn format_amounts(name: &str, (one, other): (u64, u64)) -> (String, String) {
    let written = (format_amount(name, one), format_amount(name, other));
    if written.0 == written.1 { (one.to_string(), other.to_string()) } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_written_as_a_size_and_what_else_is_counted_as_it_is() {
        let memory = |bytes| format_amount("memory", bytes);
        assert_eq!([memory(8 << 30), memory(1536 << 20), memory(0), memory(100)], ["8GiB", "1536MiB", "0", "100B"]);
        assert_eq!([memory((8 << 30) + 1), memory(25_165_820 << 10)], ["8.0GiB", "24.0GiB"]);
        assert_eq!(format_amount("cpu", 4_096), "4096");
        assert_eq!(format_amounts("memory", (8 << 30, 2 << 30)), ("8GiB".to_owned(), "2GiB".to_owned()));
        let close = format_amounts("memory", ((8 << 30) + 2, (8 << 30) + 1));
        assert_eq!(close, ("8589934594".to_owned(), "8589934593".to_owned()), "what differs is seen to differ");
    }
}
