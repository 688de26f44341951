//! What came of it: counted while it goes on, and told at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::check::{Broken, Findings};
use crate::plan::Kind;

/// At most so many findings of a sort are told; all are in the folder.
const TOLD_MAX: usize = 12;

/// What is promised to be zero, as it is called.
const ZEROES: [(Broken, &str); 6] = [
    (Broken::Lost, "lost"),
    (Broken::Doubled, "doubled"),
    (Broken::OutOfOrder, "out_of_order"),
    (Broken::TooMuch, "too_much_at_once"),
    (Broken::Left, "leftover_processes"),
    (Broken::Other, "other"),
];

/// One kind of fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    pub(crate) done: u64,
    pub(crate) longest_recovery: Option<Duration>,
}

/// All that is counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seed: u64,
    pub(crate) acts: u64,
    pub(crate) took: Duration,
    pub(crate) rows: BTreeMap<Kind, Row>,
    pub(crate) tasks: usize,
    pub(crate) runs: usize,
    pub(crate) attempts: usize,
    pub(crate) attempts_lost: usize,
    pub(crate) executions: usize,
    pub(crate) events: usize,
    pub(crate) log_bytes: usize,
    pub(crate) repeated: u64,
    /// Cgroups that supervisors left behind, with nothing in them.
    pub(crate) empty_cgroups: usize,
    pub(crate) notes: Vec<String>,
    pub(crate) findings: Findings,
}

impl Tally {
    pub(crate) fn recovered(&mut self, kinds: impl IntoIterator<Item = Kind>, within: Duration) {
        for kind in kinds {
            let row = self.rows.entry(kind).or_default();
            row.longest_recovery = row.longest_recovery.max(Some(within));
        }
    }

    pub(crate) fn find(&mut self, broken: Broken, what: String) {
        say(&format!("found: {what}"));
        self.findings.entry(broken).or_default().push(what);
    }

    fn count(&self, broken: Broken) -> usize {
        self.findings.get(&broken).map_or(0, Vec::len)
    }

    /// The table, or one JSON document.
    pub(crate) fn print(&self, as_json: bool) -> Result<()> {
        if as_json {
            return out(&self.json().to_string());
        }
        out(&format!("seed {}, {} s, {} acts", self.seed, self.took.as_secs(), self.acts))?;
        out("FAULTS       DONE  LONGEST RECOVERY")?;
        for (kind, row) in &self.rows {
            let longest = row
                .longest_recovery
                .map_or_else(|| "-".to_owned(), |longest| format!("{:.1} s", longest.as_secs_f64()));
            out(&format!("{:<10} {:>6}  {longest:>16}", kind.name(), row.done))?;
        }
        if self.empty_cgroups > 0 {
            out(&format!("note: {} empty cgroups were left behind", self.empty_cgroups))?;
        }
        for note in &self.notes {
            out(&format!("note: {note}"))?;
        }
        let (tasks, runs, repeated) = (self.tasks, self.runs, self.repeated);
        out(&format!(
            "tasks {tasks}, and {runs} runs; {repeated} submits sent twice; attempts {}, of which {} were lost;",
            self.attempts, self.attempts_lost
        ))?;
        out(&format!(
            "executions by their marks {}; events {}; bytes of logs compared {}",
            self.executions, self.events, self.log_bytes
        ))?;
        let zeroes = ZEROES.map(|(broken, name)| format!("{} {}", name.replace('_', " "), self.count(broken)));
        out(&zeroes.join(" · "))?;
        for (broken, name) in ZEROES {
            for what in self.findings.get(&broken).into_iter().flatten().take(TOLD_MAX) {
                out(&format!("{}: {what}", name.replace('_', " ")))?;
            }
        }
        Ok(())
    }

    fn json(&self) -> serde_json::Value {
        let faults: serde_json::Map<_, _> = self
            .rows
            .iter()
            .map(|(kind, row)| {
                let longest = row.longest_recovery.map(|longest| longest.as_secs_f64());
                (kind.name().to_owned(), json!({ "done": row.done, "longest_recovery_s": longest }))
            })
            .collect();
        let mut all = json!({
            "seed": self.seed, "seconds": self.took.as_secs(), "acts": self.acts, "faults": faults, "tasks": self.tasks,
            "runs": self.runs, "repeated_submits": self.repeated, "attempts": self.attempts,
            "attempts_lost": self.attempts_lost, "executions": self.executions, "events": self.events,
            "log_bytes": self.log_bytes, "empty_cgroups": self.empty_cgroups, "notes": self.notes,
        });
        for (broken, name) in ZEROES {
            all[name] = self.count(broken).into();
        }
        all["findings"] = self.findings.values().flatten().cloned().collect::<Vec<_>>().into();
        all
    }
}

/// Says a line to whoever watches.
pub(crate) fn say(line: &str) {
    // Nobody may be there to read it.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// Says a line of the answer.
pub(crate) fn out(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
