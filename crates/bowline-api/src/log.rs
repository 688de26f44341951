//! How a log says what is missing in it.

/// Stands where a job truncated its own output.
pub const LOG_TRUNCATED: &str =
    "[bowline: the job truncated its own output here; what it had written and nobody had read yet is lost]";

/// Stands for bytes of a log that are not kept.
pub fn log_left_out(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("[bowline: {grouped} bytes are left out here: the log is longer than its limit]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (bytes, text) in [(1, " 1 "), (999, " 999 "), (1_000, " 1,000 "), (1_234_567, " 1,234,567 ")] {
            assert!(log_left_out(bytes).contains(text), "{}", log_left_out(bytes));
        }
    }
}
