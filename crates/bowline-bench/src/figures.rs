//! Medians, percentiles, and figures short enough to read.

/// The middle one; of an even number the mean of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The one below which so many of a hundred lie.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// To four digits, or to the unit where it is larger.
pub(crate) fn rounded(value: f64) -> f64 {
    let parts = match value.abs() {
        size if size >= 1_000.0 => 1.0,
        size if size >= 10.0 => 100.0,
        _ => 10_000.0,
    };
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::{median, percentile, rounded};

    #[test]
    fn medians_and_percentiles() {
        for (runs, expected) in [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)] {
            assert!((median(&runs) - expected).abs() < f64::EPSILON, "{runs:?}");
        }
        let hundred: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99), percentile(&[], 50)), (50.0, 99.0, 0.0));
    }

    #[test]
    fn figures_are_short() {
        assert_eq!((rounded(12_345.678), rounded(12.345_67), rounded(0.123_456)), (12_346.0, 12.35, 0.1235));
    }
}
