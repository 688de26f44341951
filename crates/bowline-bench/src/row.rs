//! A row: what one workload measured, as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures::{median, rounded};

/// What one workload measured. `value` is the median of the runs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What is possible below it, measured in the same run: its median.
    pub(crate) ceiling: Option<f64>,
    /// The median of what each run reached of its own ceiling.
    pub(crate) ratio: Option<f64>,
    /// Every run's figure, in the order in which they were taken.
    pub(crate) runs: Vec<f64>,
    /// What it is to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<&'static str>,
    /// Medians of what else was seen: processor time of a task, for one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) more: BTreeMap<String, f64>,
}

/// What several runs of a workload measured.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    values: Vec<f64>,
    ceilings: Vec<f64>,
    more: BTreeMap<String, Vec<f64>>,
}

impl Runs {
    /// One more run.
    pub(crate) fn add(&mut self, value: f64) -> &mut Self {
        self.values.push(value);
        self
    }

    /// The ceiling of the last run.
    pub(crate) fn ceiling(&mut self, ceiling: f64) -> &mut Self {
        self.ceilings.push(ceiling);
        self
    }

    /// Something else of the last run.
    pub(crate) fn more(&mut self, name: &str, value: f64) -> &mut Self {
        self.more.entry(name.to_owned()).or_default().push(value);
        self
    }

    /// As a row.
    pub(crate) fn row(self, name: &str, unit: &'static str, bar: Option<&'static str>) -> Row {
        let Self { values, ceilings, more } = self;
        let has_ceiling = !ceilings.is_empty() && ceilings.len() == values.len();
        let ratios: Vec<f64> = values.iter().zip(&ceilings).map(|(value, ceiling)| value / ceiling).collect();
        Row {
            name: name.to_owned(),
            value: rounded(median(&values)),
            unit,
            ceiling: has_ceiling.then(|| rounded(median(&ceilings))),
            ratio: has_ceiling.then(|| rounded(median(&ratios))),
            runs: values.iter().map(|value| rounded(*value)).collect(),
            bar,
            more: more.into_iter().map(|(name, values)| (name, rounded(median(&values)))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn a_row_holds_each_runs_part_of_its_own_ceiling() {
        let mut runs = Runs::default();
        runs.add(50.0).ceiling(100.0).more("cpu", 3.0);
        runs.add(10.0).ceiling(50.0);
        runs.add(90.0).ceiling(100.0);
        let row = runs.row("x", "tasks/s", Some("≥ 40 %"));
        assert_eq!((row.value, row.ceiling, row.ratio), (50.0, Some(100.0), Some(0.5)));
        assert_eq!((row.runs, row.more["cpu"]), (vec![50.0, 10.0, 90.0], 3.0));
    }

    #[test]
    fn without_a_ceiling_there_is_no_ratio() {
        let mut runs = Runs::default();
        runs.add(5.0);
        let row = runs.row("x", "ms", None);
        assert_eq!((row.value, row.ceiling, row.ratio), (5.0, None, None));
    }
}
