//! Time as the engine sees it: numbers that come in from outside.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on the server's clock: microseconds since 1970-01-01 UTC. Never goes back within a
/// store's life; see the leader's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// So long after this moment. Saturates.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(micros(length)))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Whole microseconds. Saturates.
pub fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: write a number with a unit, such as `250ms`, `90s`, `5m`, `1h30m`, `2d`")]
pub struct BadDuration(String);

/// Units of a duration, longest first, with their length in microseconds.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("ms", 1_000), ("us", 1), ("m", 60_000_000), ("s", 1_000_000)];

/// Digits behind a point that count: those after them are less than a microsecond even of days.
const FRACTION_DIGITS_MAX: usize = 15;

/// Reads `90s`, `5m`, `1h30m`, `2d`, `250ms`, `1.5s`. A bare `0` is fine; any other bare number is
/// refused, because nobody can tell what it means.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number = &rest[..digits];
        rest = &rest[digits..];
        let (unit, size) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(bad)?;
        rest = &rest[unit.len()..];
        total = part(number, size).and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
    }
    Ok(Duration::from_micros(total))
}

/// So many units of this size, in whole microseconds: exact, but that what is below one is rounded.
fn part(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u64>().ok() };
    let fraction = fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let below = (u128::from(digits(fraction)?) * u128::from(size) + scale / 2) / scale;
    digits(whole)?.checked_mul(size)?.checked_add(u64::try_from(below).ok()?)
}

/// Writes a duration so that [`parse_duration`] reads the same one, to the microsecond.
pub fn format_duration(length: Duration) -> String {
    let mut left = micros(length);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [UNITS[0], UNITS[1], UNITS[4], UNITS[5], UNITS[2], UNITS[3]] {
        if left >= size {
            text.push_str(&(left / size).to_string());
            text.push_str(unit);
            left %= size;
        }
    }
    text
}

/// A length of time as people write it (`90s`, `1h30m`), in documents and in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Span {
    type Err = BadDuration;

    fn from_str(text: &str) -> Result<Self, BadDuration> {
        parse_duration(text).map(Self)
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_the_same_one_it_was_read_as() {
        for (text, micros) in [
            ("213503982d8h1m49s551ms615us", 18_446_744_073_709_551_615_u64),
            ("1010000000us", 1_010_000_000),
            ("0.5us", 1),
            ("0.4us", 0),
            ("1.5s", 1_500_000),
            (".5h", 1_800_000_000),
            ("1.d", 86_400_000_000),
            ("0.000000000011574074074074074d", 1),
            ("104249991d1us", 9_007_199_222_400_000_001),
        ] {
            let length = parse_duration(text).unwrap();
            assert_eq!(length, Duration::from_micros(micros), "`{text}`");
            assert_eq!(parse_duration(&format_duration(length)), Ok(length), "`{text}`");
        }
    }

    #[test]
    fn what_no_server_counts_to_is_no_duration() {
        for text in
            ["1010000000d", "213503982d8h1m49s551ms616us", "18446744073709551616us", "1.5.3s", ".s", "s", "5", ""]
        {
            assert_eq!(parse_duration(text), Err(BadDuration(text.to_owned())));
        }
    }
}
