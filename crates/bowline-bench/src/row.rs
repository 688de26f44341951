//! One line of output for each figure.

use std::io::{self, Write};

use serde::Serialize;

/// A figure: the median of its runs, beside its ceiling.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    value: f64,
    unit: &'a str,
    ceiling: Option<f64>,
    ratio: Option<f64>,
    /// Every run's figure, in the order in which they were taken.
    runs: &'a [f64],
}

/// Prints the tasks per second of all runs; gives back their median.
pub(crate) fn print(name: &str, runs: &[f64], ceiling: Option<f64>) -> anyhow::Result<f64> {
    let runs: Vec<f64> = runs.iter().map(|value| rounded(*value, 1.0)).collect();
    let value = median(&runs);
    let ratio = ceiling.map(|ceiling| rounded(value / ceiling, 1_000.0));
    let row = Row { name, value, unit: "tasks/s", ceiling, ratio, runs: &runs };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &row)?;
    writeln!(out)?;
    Ok(value)
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// The middle one; of an even number the mean of the two.
fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        for (runs, expected) in [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)] {
            assert!((median(&runs) - expected).abs() < f64::EPSILON, "{runs:?}");
        }
    }
}
