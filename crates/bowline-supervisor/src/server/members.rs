//! Which processes belong to which job.
//!
//! The supervisor is its jobs' subreaper: whatever a job's processes leave behind becomes the supervisor's
//! own child. So a job that has lost its first process is over when the supervisor has no
//! child that belongs to it, its cgroup, where it has one, is empty, and its keeper, where it has one, has
//! ended. An orphan is known by its cgroup, its keeper, its mark, its session or its process group. One that
//! has shed all of them (a *stray*: its keeper was killed) may be of any job that lived when it began; it
//! goes with the last of these.

use std::collections::BTreeSet;
use std::io;

use super::body::{Bodies, Body, First, Reaped};
use crate::cgroup;
use crate::procs::{self, Process};

/// All processes of a job that are not zombies, its first one included while that lives. `helper`: a child
/// of the supervisor that is no job's.
pub(super) fn of(bodies: &Bodies, body: &Body, helper: Option<u32>) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let keeper = body.keeper().map(|(keeper, _)| keeper.pid);
    if keeper.is_some() || body.first == First::Alive {
        found.extend(procs::process(body.main.process.pid));
    }
    let orphans = foreign_children(bodies, helper).unwrap_or_default().into_iter().filter_map(procs::process);
    found.extend(orphans.filter(|orphan| is_of(bodies, body, orphan)));
    // Where `/proc` can't be read, what is known must do.
    found = procs::with_descendants(found, &procs::all().unwrap_or_default());
    found.retain(|process| Some(process.pid) != keeper);
    if let Some(path) = &body.cgroup {
        for process in cgroup::processes(path) {
            if !found.iter().any(|known| known.pid == process.pid) {
                found.push(process);
            }
        }
    }
    found
}

/// Whether anything is left of a job whose first process has ended. Where nobody can tell: yes.
pub(super) fn is_anything_left(bodies: &Bodies, body: &Body, helper: Option<u32>) -> bool {
    // The kernel removes no cgroup that a process is in: mostly this says all there is to know.
    if body.keeper().is_some() || body.cgroup.as_deref().is_some_and(|path| !cgroup::is_gone_or_empty(path)) {
        return true;
    }
    let Ok(children) = foreign_children(bodies, helper) else { return true };
    children.into_iter().any(|pid| match procs::look_at(pid) {
        Ok(Some(orphan)) => is_of(bodies, body, &orphan),
        Ok(None) => false,
        Err(_) => true,
    })
}

/// The supervisor's children that are no job's first process or keeper, and no helper: orphans, zombies too.
pub(super) fn foreign_children(bodies: &Bodies, helper: Option<u32>) -> io::Result<Vec<u32>> {
    let children = procs::own_children()?;
    let unreaped = bodies.values().filter(|body| body.main.reaped == Reaped::No);
    let own: BTreeSet<u32> = unreaped.map(|body| body.main.process.pid).chain(helper).collect();
    Ok(children.into_iter().filter(|pid| !own.contains(pid)).collect())
}

fn is_of(bodies: &Bodies, body: &Body, orphan: &Process) -> bool {
    if is_known(body, orphan) {
        return true;
    }
    let is_others = bodies
        .values()
        .filter(|other| other.key != body.key)
        .any(|other| is_known(other, orphan) || other.main.process.start_ticks <= orphan.start_ticks);
    !is_others
}

fn is_known(body: &Body, orphan: &Process) -> bool {
    let first = body.first();
    let is_in_session =
        (orphan.session == first.pid || orphan.group == first.pid) && orphan.start_ticks >= first.start_ticks;
    is_in_session || procs::mark_of(orphan.pid).is_some_and(|mark| mark == body.mark)
}
