//! From the engine's microseconds to RFC 3339, and back.

use bowline_core::time::Timestamp;

/// The same moment, as documents write it. A moment past the year 9999 is shown as that.
pub fn from_core_time(at: Timestamp) -> jiff::Timestamp {
    i64::try_from(at.0)
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .unwrap_or(jiff::Timestamp::MAX)
}

/// The same moment, as the engine counts it. A moment before 1970 becomes 1970.
pub fn to_core_time(at: jiff::Timestamp) -> Timestamp {
    Timestamp(u64::try_from(at.as_microsecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_way_there_and_back() {
        let at = Timestamp(1_700_000_000_123_456);
        assert_eq!(from_core_time(at).to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(to_core_time(from_core_time(at)), at);
    }

    #[test]
    fn what_no_calendar_holds_is_bounded() {
        assert_eq!(from_core_time(Timestamp(u64::MAX)), jiff::Timestamp::MAX);
        assert_eq!(to_core_time(jiff::Timestamp::MIN), Timestamp(0));
    }
}
