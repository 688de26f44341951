//! Which processes belong to which job.
//!
//! The supervisor is its jobs' subreaper: whatever a job's processes leave behind becomes the supervisor's
//! own child. So a job that has lost its first process is over when the supervisor has no
//! child that belongs to it, its cgroup, where it has one, is empty, and its keeper, where it has one, has
//! ended. An orphan is known by its cgroup, its keeper, its mark, its session or its process group. One that
//! has shed all of them (a *stray*: its keeper was killed) may be of any job that lived when it began; it
//! goes with the last of these.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::job::{Job, Live, Reaped};
use crate::cgroup;
use crate::procs::{self, Process};

/// All jobs, by key.
pub(super) type Jobs = BTreeMap<String, Job>;

/// All processes of a job that are not zombies, its first one included while that lives.
pub(super) fn of(jobs: &Jobs, live: &Live) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let keeper = live.keeper().map(|(keeper, _)| keeper.pid);
    if keeper.is_some() || live.is_main_alive() {
        found.extend(procs::process(live.main.process.pid));
    }
    let orphans = foreign_children(jobs).unwrap_or_default().into_iter().filter_map(procs::process);
    found.extend(orphans.filter(|orphan| is_of(jobs, live, orphan)));
    // Where `/proc` can't be read, what is known must do.
    found = procs::with_descendants(found, &procs::all().unwrap_or_default());
    found.retain(|process| Some(process.pid) != keeper);
    if let Some(path) = &live.cgroup {
        for process in cgroup::processes(path) {
            if !found.iter().any(|known| known.pid == process.pid) {
                found.push(process);
            }
        }
    }
    found
}

/// Whether anything is left of a job whose first process has ended. Where nobody can tell: yes.
pub(super) fn is_anything_left(jobs: &Jobs, live: &Live) -> bool {
    if live.keeper().is_some() || live.cgroup.as_deref().is_some_and(cgroup::is_populated) {
        return true;
    }
    let Ok(children) = foreign_children(jobs) else { return true };
    children.into_iter().any(|pid| match procs::look_at(pid) {
        Ok(Some(orphan)) => is_of(jobs, live, &orphan),
        Ok(None) => false,
        Err(_) => true,
    })
}

/// The supervisor's children that are no job's first process or keeper: orphans, zombies too.
pub(super) fn foreign_children(jobs: &Jobs) -> io::Result<Vec<u32>> {
    let children = procs::own_children()?;
    let firsts: BTreeSet<u32> =
        lives(jobs).filter(|live| live.main.reaped == Reaped::No).map(|live| live.main.process.pid).collect();
    Ok(children.into_iter().filter(|pid| !firsts.contains(pid)).collect())
}

fn is_of(jobs: &Jobs, live: &Live, orphan: &Process) -> bool {
    if is_known(live, orphan) {
        return true;
    }
    let is_others = lives(jobs)
        .filter(|other| other.key != live.key)
        .any(|other| is_known(other, orphan) || other.main.process.start_ticks <= orphan.start_ticks);
    !is_others
}

fn is_known(live: &Live, orphan: &Process) -> bool {
    let first = live.first();
    let is_in_session =
        (orphan.session == first.pid || orphan.group == first.pid) && orphan.start_ticks >= first.start_ticks;
    is_in_session || procs::mark_of(orphan.pid).is_some_and(|mark| mark == live.mark)
}

fn lives(jobs: &Jobs) -> impl Iterator<Item = &Live> {
    jobs.values().filter_map(|job| match job {
        Job::Live(live) => Some(&**live),
        Job::Ended(_) | Job::Lost(_) => None,
    })
}
