//! The one place where the command line reads a clock: only ever to show ages to people.

use std::time::Duration;

/// Now.
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// How long ago that was, for people: `12s`, `5m`, `3h`, `2d`. Zero for what lies ahead.
pub(crate) fn age(of: jiff::Timestamp) -> String {
    short(between(of, jiff::Timestamp::now()))
}

/// From one moment to a later one; zero where it is none.
pub(crate) fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// A length of time in its largest unit.
pub(crate) fn short(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_in_their_largest_unit() {
        assert_eq!(short(Duration::from_secs(59)), "59s");
        assert_eq!(short(Duration::from_secs(61)), "1m");
        assert_eq!(short(Duration::from_hours(2)), "2h");
        assert_eq!(short(Duration::from_secs(200_000)), "2d");
        let (early, late) = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::from_second(5).unwrap());
        assert_eq!(between(early, late), Duration::from_secs(5));
        assert_eq!(between(late, early), Duration::ZERO);
    }
}
