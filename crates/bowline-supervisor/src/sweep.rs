//! Killing what a dead supervisor left: found by its records, and by nothing else.
//!
//! A process is taken for a job's when it is in the job's cgroup, carries the job's mark (which no other
//! job ever had), is the very first process that was recorded (number and start), or descends from
//! one of these. A process number alone proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::clock::boottime;
use crate::procs::{self, Process};
use crate::records::files::{self, Record};
use crate::records::{Entry, Loaded};
use crate::{boot, cgroup, paths, socket, spawn};

/// What can't be killed within so long is named.
const BOUND: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Processes that were killed, by the key of their job.
    pub killed: BTreeMap<String, BTreeSet<u32>>,
    /// Of these, the ones that are still there.
    pub stuck: BTreeMap<String, BTreeSet<u32>>,
    /// Records that can't be read, by file name.
    pub damaged: Vec<String>,
}

/// Why nothing was swept.
#[derive(Debug)]
pub enum SweepError {
    /// A supervisor is alive: the jobs are its own.
    Alive,
    /// The state folder or `/proc` could not be read.
    Io(io::Error),
}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive => f.write_str("a supervisor is alive in this state folder; its jobs were left alone"),
            Self::Io(_) => f.write_str("the leftovers of a dead supervisor could not be looked for"),
        }
    }
}

impl std::error::Error for SweepError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Alive => None,
            Self::Io(source) => Some(source),
        }
    }
}

/// Finds by its records what a dead supervisor left running, and kills it. Refused while one is alive.
/// Takes at most about 10 s. A new supervisor does this by itself before it takes its first job.
pub fn sweep_leftovers(state_dir: &Path) -> Result<Swept, SweepError> {
    let folder = paths::own(state_dir);
    if !folder.exists() {
        return Ok(Swept::default());
    }
    let lock = socket::lock(&paths::lock_path(&folder)).map_err(SweepError::Io)?;
    let Some(_lock) = lock else { return Err(SweepError::Alive) };
    let records = files::load(&folder).map_err(SweepError::Io)?;
    let boot_id = boot::boot_id(None).map_err(SweepError::Io)?;
    let mut swept = sweep(&folder, &records.whole, &boot_id).map_err(SweepError::Io)?;
    swept.damaged = records.damaged;
    Ok(swept)
}

/// As [`sweep_leftovers`], by whoever holds the lock.
pub(crate) fn sweep(state_dir: &Path, records: &[Loaded], boot_id: &str) -> io::Result<Swept> {
    let open: Vec<&Loaded> = records.iter().filter(|record| record.may_have_left_something(boot_id)).collect();
    let mut swept = Swept::default();
    let give_up_at = boottime() + BOUND;
    while !open.is_empty() {
        let found = find(&open)?;
        swept.stuck.clear();
        for (key, process) in &found {
            swept.killed.entry(key.clone()).or_default().insert(process.pid);
            swept.stuck.entry(key.clone()).or_default().insert(process.pid);
        }
        if found.is_empty() || boottime() >= give_up_at {
            break;
        }
        kill(&open, &found);
        spawn::pause(LOOK_EVERY);
    }
    for record in &open {
        if !swept.stuck.contains_key(&record.begun.key) {
            if let Some(path) = &record.begun.cgroup {
                cgroup::remove(path);
            }
            // Where the disk refuses it, the next sweep just looks again.
            Record::reopen(state_dir, record).and_then(|mut record| record.add(&Entry::Clean)).ok();
        }
    }
    remove_homes(records, boot_id);
    Ok(swept)
}

/// Removes the folders of all jobs' cgroups where they are empty, as they should be.
fn remove_homes(records: &[Loaded], boot_id: &str) {
    let own = records.iter().filter(|record| record.begun.boot_id == boot_id);
    let homes: BTreeSet<&Path> = own.filter_map(|record| record.begun.cgroup.as_deref()?.parent()).collect();
    for home in homes {
        cgroup::remove_folder(home);
    }
}

fn kill(open: &[&Loaded], found: &[(String, Process)]) {
    for path in open.iter().filter_map(|record| record.begun.cgroup.as_deref()) {
        if cgroup::is_populated(path) {
            cgroup::kill(path).ok();
        }
    }
    for (_, process) in found {
        procs::signal(process, Signal::KILL);
    }
}

fn find(open: &[&Loaded]) -> io::Result<Vec<(String, Process)>> {
    let oldest = open.iter().map(|record| procs::ticks(record.begun.at)).min().unwrap_or(u64::MAX);
    let by_mark: BTreeMap<&str, &str> =
        open.iter().map(|record| (record.begun.mark.as_str(), record.begun.key.as_str())).collect();
    let own = std::process::id();
    let all = procs::all()?;
    let mut found: Vec<(String, Process)> = Vec::new();
    for process in all.iter().filter(|process| process.start_ticks >= oldest && process.pid != own) {
        let first = open.iter().find(|record| is_first(record, process)).map(|record| record.begun.key.as_str());
        let key = first.or_else(|| by_mark.get(procs::mark_of(process.pid)?.as_str()).copied());
        if let Some(key) = key {
            found.push((key.to_owned(), *process));
        }
    }
    for record in open {
        let inside = record.begun.cgroup.as_deref().map(cgroup::processes).unwrap_or_default();
        found.extend(inside.into_iter().map(|process| (record.begun.key.clone(), process)));
    }
    Ok(with_descendants(found, &all, own))
}

fn is_first(record: &Loaded, process: &Process) -> bool {
    record.spawned.is_some_and(|first| first.pid == process.pid && first.start_ticks == process.start_ticks)
}

fn with_descendants(found: Vec<(String, Process)>, all: &[Process], own: u32) -> Vec<(String, Process)> {
    let mut out: BTreeMap<u32, (String, Process)> = BTreeMap::new();
    for (key, root) in found {
        for process in procs::with_descendants(vec![root], all) {
            if process.pid != own {
                out.entry(process.pid).or_insert_with(|| (key.clone(), process));
            }
        }
    }
    out.into_values().collect()
}
