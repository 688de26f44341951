//! What all parts of a run share: the judge, who has been submitted lately, and what is counted. It is written down
//! every now and then, and a run goes on from there.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::deeds::Deeds;
use super::order::{Judge, Kind, Wrong};
use crate::table::say;

/// Tasks whose turn may come to be cancelled, paused or retried.
const RECENT_MAX: usize = 200;
/// Events that are kept.
const HEARD_MAX: usize = 20_000;
/// Findings that are kept with all their words.
const TOLD_MAX: usize = 60;

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Books {
    pub(crate) seed: u64,
    /// Seconds of earlier runs.
    pub(crate) spent_s: u64,
    pub(crate) judge: Judge,
    pub(crate) deeds: Deeds,
    /// Tasks that were submitted last.
    pub(crate) recent: VecDeque<u64>,
    /// Tasks that ended, until they are deleted.
    pub(crate) ended: VecDeque<u64>,
    /// Runs that were started last.
    pub(crate) runs: VecDeque<String>,
    /// By what was done.
    pub(crate) done: BTreeMap<String, u64>,
    /// By kind of fault.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Found in the record, by kind.
    pub(crate) wrong: BTreeMap<String, u64>,
    /// Found in fact, by the marks.
    pub(crate) in_fact: u64,
    /// Whatever else must not be.
    pub(crate) other: u64,
    /// What was found, in words.
    pub(crate) told: Vec<String>,
    /// The last events, for whoever looks into a finding.
    #[serde(skip)]
    pub(crate) heard: VecDeque<String>,
    /// The longest time between an event and its being judged.
    pub(crate) lag_us: i64,
}

/// Shared.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<Books>>);

impl Shared {
    pub(crate) fn new(books: Books) -> Self {
        Self(Arc::new(Mutex::new(books)))
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what was done.
    pub(crate) fn done(&self, what: &str) {
        *self.books().done.entry(what.to_owned()).or_default() += 1;
    }

    /// Something that must not be, and is neither the order's nor a job's.
    pub(crate) fn find(&self, what: &str) {
        let mut books = self.books();
        books.other += 1;
        books.tell(what);
    }
}

impl Books {
    /// Takes what the judge found.
    pub(crate) fn take_wrongs(&mut self) {
        for Wrong { kind, text } in self.judge.take_wrongs() {
            *self.wrong.entry(kind.name().to_owned()).or_default() += 1;
            self.tell(&format!("{}: {text}", kind.name()));
        }
    }

    /// Reads what jobs did in fact.
    pub(crate) fn read_deeds(&mut self) -> Result<()> {
        for what in self.deeds.read()? {
            self.in_fact += 1;
            self.tell(&format!("in fact: {what}"));
        }
        Ok(())
    }

    fn tell(&mut self, what: &str) {
        if self.told.len() < TOLD_MAX {
            say(&format!("found: {what}"));
            self.told.push(what.to_owned());
        }
    }

    /// An event was heard.
    pub(crate) fn note_heard(&mut self, line: String) {
        self.heard.push_back(line);
        if self.heard.len() > HEARD_MAX {
            self.heard.pop_front();
        }
    }

    /// How much was found.
    pub(crate) fn found(&self) -> u64 {
        self.wrong.values().sum::<u64>() + self.in_fact + self.other
    }

    /// How often that was found.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.wrong.get(kind.name()).copied().unwrap_or_default()
    }

    /// A task has been submitted.
    pub(crate) fn note_submitted(&mut self, task: u64) {
        self.recent.push_back(task);
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// A run has been started.
    pub(crate) fn note_run(&mut self, run: &str) {
        self.runs.push_back(run.to_owned());
        while self.runs.len() > RECENT_MAX {
            self.runs.pop_front();
        }
    }

    /// All of it, so that a run can go on from here.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(self)?).with_context(|| format!("writing `{}`", new.display()))?;
        std::fs::rename(&new, path).with_context(|| format!("writing `{}`", path.display()))
    }

    /// What was written down.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("reading `{}`, to go on from there", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("`{}` is not what a run writes down", path.display()))
    }
}
