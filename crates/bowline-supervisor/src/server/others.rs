//! Supervisors of other versions in the same state folder: what a dead one left is taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::Server;
use super::job::Job;
use super::start::job_of;
use super::stop::LOOK_STUCK;
use crate::clock::boottime;
use crate::log::Log;
use crate::procs::{self, Process};
use crate::records::{self, Loaded};
use crate::sweep::Swept;
use crate::{paths, socket, sweep};

/// What was taken over.
#[derive(Debug, Default)]
pub(super) struct TakenOver {
    pub(super) records: Vec<Loaded>,
    /// Processes that could not be killed.
    pub(super) stuck: BTreeMap<String, Vec<Process>>,
}

/// Kills what dead supervisors of other versions left, and makes their records this one's own. Living ones
/// are left alone; a record that cannot be read stays where it is.
pub(super) fn take_over(root: &Path, boot_id: &str, log: &mut Log) -> TakenOver {
    let mut taken = TakenOver::default();
    for (version, folder) in paths::others(root) {
        // Whoever holds the lock lives.
        let Ok(Some(_lock)) = socket::lock(&paths::lock_path(&folder)) else { continue };
        let Ok(records) = records::load(&folder) else { continue };
        if records.whole.is_empty() {
            continue;
        }
        log.say(format_args!("takes over {} records of version {version}", records.whole.len()));
        match sweep::sweep(&folder, &records.whole, boot_id) {
            Ok(swept) => taken.stuck.extend(processes_of(&swept)),
            // They stay there until the next look.
            Err(error) => {
                log.say(format_args!("what version {version} left could not be looked for: {error}"));
                continue;
            }
        }
        for record in records.whole {
            let key = &record.begun.key;
            let to = paths::jobs_dir(&paths::own(root)).join(key);
            let moved = if to.exists() { Ok(()) } else { fs::rename(paths::jobs_dir(&folder).join(key), to) };
            match moved {
                Ok(()) => taken.records.push(record),
                Err(error) => log.say(format_args!("{key}: its record could not be taken over: {error}")),
            }
        }
    }
    taken
}

/// What a sweep could not kill.
pub(super) fn processes_of(swept: &Swept) -> BTreeMap<String, Vec<Process>> {
    let processes = |pids: &BTreeSet<u32>| pids.iter().filter_map(|pid| procs::process(*pid)).collect();
    swept.stuck.iter().map(|(key, pids)| (key.clone(), processes(pids))).collect()
}

impl Server {
    /// Tries again to kill what could not be killed of jobs whose supervisor is gone; tells the loss of
    /// those of which nothing is left now.
    pub(super) fn look_at_stuck_before(&mut self, now: Duration) {
        let is_there = |process: &Process| procs::process(process.pid).is_some_and(|found| found.is_same(process));
        let mut gone = Vec::new();
        for (key, processes) in &mut self.stuck_before {
            processes.retain(is_there);
            for process in processes.iter() {
                procs::signal(process, Signal::KILL);
            }
            if processes.is_empty() {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.stuck_before.remove(&key);
            if let Some(job) = self.jobs.get(&key) {
                let event = job.event(&key);
                self.emit(&event);
            }
        }
        self.look_before_at = (!self.stuck_before.is_empty()).then(|| now + LOOK_STUCK);
    }

    /// Looks whether a supervisor of another version is gone meanwhile.
    pub(super) fn take_over_others(&mut self) {
        let taken = take_over(&self.launcher.root, &self.launcher.boot_id, &mut self.log);
        for record in taken.records {
            let job: Job = job_of(&record, &self.launcher.boot_id);
            self.jobs.entry(record.begun.key).or_insert(job);
        }
        self.stuck_before.extend(taken.stuck);
        if !self.stuck_before.is_empty() {
            self.look_before_at.get_or_insert_with(boottime);
        }
    }
}
