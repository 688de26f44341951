//! A job's first process, made in the strongest way that this machine offers: born in the job's cgroup,
//! or below a keeper in a PID namespace or beside the supervisor, or by itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid};

use super::body::{Kept, Main, Reaped, ReportPipe};
use super::launch::Files;
use crate::cgroup;
use crate::clock::boottime;
use crate::clone::{Born, Place, copy_process};
use crate::cradle::Cradle;
use crate::keeper::{self, Keeper};
use crate::plan::{Descriptors, Ready};
use crate::procs::{newborn, ticks};
use crate::signals;
use crate::ways::{Namespaces, Ways};

/// What a keeper tells fits many times.
const PIPE_BYTES: usize = 4096;

/// What is known of a job that is to be born.
#[derive(Debug)]
pub(super) struct Birth<'a> {
    pub(super) ways: &'a Ways,
    /// Its own.
    pub(super) cgroup: Option<&'a Path>,
    /// Where nothing is to be read from.
    pub(super) null: &'a File,
}

/// A process that was just made.
struct Newborn {
    pid: u32,
    pidfd: OwnedFd,
    /// Between these it was made, in ticks.
    made: (u64, u64),
}

impl Birth<'_> {
    /// Makes it.
    pub(super) fn spawn(&self, mut cradle: Cradle, files: &Files) -> io::Result<Main> {
        let (report, report_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let report = File::from(report);
        let stdin = files.stdin.as_ref().unwrap_or(self.null).as_raw_fd();
        let stdout = files.stdout.as_raw_fd();
        let stderr = files.stderr.as_ref().unwrap_or(&files.stdout).as_raw_fd();
        cradle.plan.set(getpid(), Descriptors { stdin, stdout, stderr, report: report_in.as_raw_fd() });
        let from = ticks(boottime());
        let (pid, pidfd) = match self.cgroup {
            Some(folder) if is_born_there(self.ways) => {
                let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
                cradle.bear(Place::Cgroup(folder.as_fd()), Ready::Shared)?
            }
            Some(_) => cradle.bear(Place::Here, Ready::Shared)?,
            None => return self.kept(cradle, report, &report_in),
        };
        let newborn = Newborn { pid, pidfd, made: (from, ticks(boottime())) };
        Ok(main(newborn, ReportPipe { pipe: report, bytes: Vec::new(), cradle: Some(cradle) }, None))
    }

    /// Below a keeper, where one can be had.
    fn kept(&self, mut cradle: Cradle, report: File, report_in: &OwnedFd) -> io::Result<Main> {
        let homes: &[keeper::Home] = match self.ways.namespace {
            Namespaces::Yes => &[keeper::Home::Namespace, keeper::Home::Here],
            Namespaces::No => &[keeper::Home::Here],
        };
        let supervisor = pidfd_open(getpid(), PidfdFlags::empty())?;
        let (end, end_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Saves memory where there are many jobs; the default size does as well.
        fcntl_setpipe_size(&end, PIPE_BYTES).ok();
        let from = ticks(boottime());
        for home in homes {
            let place = match home {
                keeper::Home::Here => Place::Here,
                keeper::Home::Namespace => Place::Namespace,
            };
            let held = signals::hold();
            match copy_process(place) {
                // A keeper hears no signal but KILL.
                Ok(Born::Child) => {
                    let (supervisor, home) = (&supervisor, *home);
                    Keeper { cradle, report: report_in, end: &end_in, supervisor, home }.run()
                }
                Ok(Born::Parent { pid, pidfd }) => {
                    drop(held);
                    let kept = Kept { home: *home, end: File::from(end), first: None };
                    let newborn = Newborn { pid, pidfd, made: (from, ticks(boottime())) };
                    // The keeper has a copy of the cradle.
                    let report = ReportPipe { pipe: report, bytes: Vec::new(), cradle: None };
                    return Ok(main(newborn, report, Some(kept)));
                }
                Err(_) => drop(held),
            }
        }
        let (pid, pidfd) = cradle.bear(Place::Here, Ready::Shared)?;
        let newborn = Newborn { pid, pidfd, made: (from, ticks(boottime())) };
        Ok(main(newborn, ReportPipe { pipe: report, bytes: Vec::new(), cradle: Some(cradle) }, None))
    }
}

/// Whether processes are born in their cgroups, and need not join them.
pub(super) fn is_born_there(ways: &Ways) -> bool {
    ways.cgroup.as_ref().is_some_and(|home| home.entry() == cgroup::Entry::Born)
}

fn main(newborn_process: Newborn, report: ReportPipe, kept: Option<Kept>) -> Main {
    let Newborn { pid, pidfd, made } = newborn_process;
    Main { process: newborn(pid, made), pidfd, reaped: Reaped::No, report: Some(report), kept }
}

/// Ends a first process that nobody will know of.
pub(super) fn abandon(main: &Main) {
    pidfd_send_signal(&main.pidfd, Signal::KILL).ok();
    waitid(WaitId::PidFd(main.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
}
