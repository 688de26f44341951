//! Sums of many runs.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::probe::Path;
use serde_json::json;

use crate::drive::Outcome;
use crate::fault::Fault;
use crate::workload::Work;

/// Sums.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    pub(super) inputs: u64,
    virtual_us: u64,
    tasks: u64,
    jobs: u64,
    faults: BTreeMap<Fault, u64>,
    works: BTreeMap<Work, u64>,
    paths: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.inputs += outcome.inputs;
        self.virtual_us += outcome.virtual_us;
        self.tasks += outcome.tasks;
        self.jobs += outcome.jobs;
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (work, count) in &outcome.works {
            *self.works.entry(*work).or_default() += count;
        }
        for (path, count) in &outcome.paths {
            *self.paths.entry(path.name()).or_default() += count;
        }
    }

    /// Rare paths that no run has taken.
    pub(super) fn unreached(&self) -> Vec<&'static str> {
        let count = |path: &Path| self.paths.get(path.name()).copied().unwrap_or(0);
        Path::ALL.iter().filter(|path| count(path) == 0).map(|path| path.name()).collect()
    }

    pub(super) fn rate(&self, took: Duration, jobs: usize) -> u64 {
        let seconds = took.as_secs_f64() * f64::from(u32::try_from(jobs).unwrap_or(1));
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate, for people"
        )]
        let rate = if seconds > 0.0 { (self.inputs as f64 / seconds) as u64 } else { 0 };
        rate
    }

    pub(super) fn progress(&self, took: Duration, jobs: usize) -> String {
        format!(
            "{:>5} s  {} runs, {} inputs, {} inputs/s a core",
            took.as_secs(),
            self.runs,
            self.inputs,
            self.rate(took, jobs)
        )
    }

    pub(super) fn lines(&self, took: Duration, jobs: usize) -> Vec<String> {
        let mut lines = vec![
            format!("runs {}, inputs {}, {} inputs/s a core", self.runs, self.inputs, self.rate(took, jobs)),
            format!(
                "virtual time {} s, tasks acknowledged {}, jobs begun {}",
                self.virtual_us / 1_000_000,
                self.tasks,
                self.jobs
            ),
            "faults:".to_owned(),
        ];
        let row = |name: &str, count: u64| format!("  {name:<40} {count:>10}");
        lines.extend(Fault::ALL.iter().map(|fault| row(fault.name(), self.faults.get(fault).copied().unwrap_or(0))));
        lines.push("work:".to_owned());
        lines.extend(Work::ALL.iter().map(|work| row(work.name(), self.works.get(work).copied().unwrap_or(0))));
        lines.push("rare paths:".to_owned());
        lines.extend(Path::ALL.iter().map(|path| row(path.name(), self.paths.get(path.name()).copied().unwrap_or(0))));
        lines
    }

    pub(super) fn json(&self, took: Duration, failed: &[Outcome]) -> String {
        let names = |name: &'static str, count: u64| (name.to_owned(), json!(count));
        let faults: serde_json::Map<_, _> =
            self.faults.iter().map(|(fault, count)| names(fault.name(), *count)).collect();
        let works: serde_json::Map<_, _> = self.works.iter().map(|(work, count)| names(work.name(), *count)).collect();
        let paths: serde_json::Map<_, _> = self.paths.iter().map(|(path, count)| names(path, *count)).collect();
        let violations = failed.iter().filter_map(|outcome| {
            let violation = outcome.violation.as_ref()?;
            Some(json!({"seed": outcome.seed, "invariant": violation.invariant.name(), "what": violation.what}))
        });
        json!({
            "runs": self.runs,
            "inputs": self.inputs,
            "seconds": took.as_secs_f64(),
            "virtual_seconds": self.virtual_us / 1_000_000,
            "tasks": self.tasks,
            "jobs": self.jobs,
            "faults": faults,
            "work": works,
            "paths": paths,
            "unreached": self.unreached(),
            "violations": violations.collect::<Vec<_>>(),
        })
        .to_string()
    }
}
