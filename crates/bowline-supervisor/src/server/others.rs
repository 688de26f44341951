//! Supervisors of other versions in the same state folder: what a dead one left is taken over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::log::Log;
use crate::procs::{self, Process};
use crate::records::Loaded;
use crate::records::files;
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
        let Ok(records) = files::load(&folder) else { continue };
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
