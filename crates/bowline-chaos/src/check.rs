//! Whether all that was promised was kept, judged from outside: by the answers of REST, by the events, and by the
//! marks that jobs left on a disk.
//!
//! `facts` asks, `judge` decides and asks nobody: it can be shown that it finds what is wrong.

pub(crate) mod facts;
mod judge;
pub(crate) mod marks;
mod order;

use std::collections::BTreeMap;

use crate::load::Ledger;
use crate::watch::Event;
use facts::{ArtifactFact, AttemptFact, LogFact, RunFact, TaskFact};
use marks::Mark;

pub(crate) use judge::judge;

/// What must be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// Acknowledged, and not there, not ended, or not ended as it had to.
    Lost,
    /// Begun, ended or taken more than once; in fact, for what must not overlap.
    Doubled,
    /// Before what it waits for; log lines and events with gaps or repeats.
    OutOfOrder,
    /// More at once than there is room for.
    TooMuch,
    /// Processes that nobody ended.
    Left,
    /// Whatever else must not be.
    Other,
}

/// All that was found, by what it breaks.
pub(crate) type Findings = BTreeMap<Broken, Vec<String>>;

/// Everything that is known of a site when nothing goes on any more.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) ledger: Ledger,
    /// By id; elements of arrays too.
    pub(crate) tasks: BTreeMap<String, TaskFact>,
    pub(crate) attempts: BTreeMap<String, Vec<AttemptFact>>,
    pub(crate) histories: BTreeMap<String, Vec<Event>>,
    pub(crate) runs: BTreeMap<String, RunFact>,
    pub(crate) logs: Vec<LogFact>,
    pub(crate) artifacts: BTreeMap<String, ArtifactFact>,
    pub(crate) events: Vec<Event>,
    pub(crate) event_faults: Vec<String>,
    pub(crate) marks: Vec<Mark>,
    /// Slots of each worker, and licences.
    pub(crate) workers: BTreeMap<String, (u64, u64)>,
    /// Tasks in doubt that were settled by hand.
    pub(crate) resolved: Vec<String>,
    /// What had not ended in time.
    pub(crate) unended: Vec<String>,
    pub(crate) had_full_disks: bool,
    pub(crate) froze_supervisor: bool,
}

/// Adds a finding.
pub(crate) fn find(findings: &mut Findings, broken: Broken, what: String) {
    findings.entry(broken).or_default().push(what);
}
