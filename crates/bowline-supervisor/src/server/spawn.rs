//! A job's first process, made in the strongest way that this machine offers: born in the job's cgroup,
//! or below a keeper in a PID namespace or beside the supervisor, or by `posix_spawn`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid};

use super::body::{Kept, Main, Reaped, ReportPipe};
use super::launch::Files;
use crate::cgroup;
use crate::clone::{Born, Place, copy_process, leave};
use crate::keeper::{self, Keeper};
use crate::procs::{self, MARK_VARIABLE, Process};
use crate::signals;
use crate::stage::{STAGE_COMMAND, Spec};
use crate::ways::{Namespaces, Ways};

/// The report of a stage fits many times.
const PIPE_BYTES: usize = 4096;
/// What a copy of the supervisor that could not become the stage ends with.
const EXIT_STATUS: u8 = 127;

/// What is known of a job that is to be born.
#[derive(Debug)]
pub(super) struct Birth<'a> {
    pub(super) ways: &'a Ways,
    /// Its own.
    pub(super) cgroup: Option<&'a Path>,
    pub(super) mark: &'a str,
}

/// The descriptors that a stage is born with.
struct Inherited {
    description: File,
    report: OwnedFd,
}

impl Birth<'_> {
    /// Makes it.
    pub(super) fn spawn(&self, mut spec: Spec, files: Files) -> io::Result<Main> {
        let cgroup = self.cgroup.map(File::open).transpose()?;
        let is_born_there = self.ways.cgroup.as_ref().is_some_and(|home| home.entry() == cgroup::Entry::Born);
        if !is_born_there {
            spec.cgroup = self.cgroup.map(Path::to_owned);
        }
        let (report, inherited) = inherited(&spec)?;
        let mut command = self.stage(&inherited, files);
        let made = match &cgroup {
            Some(folder) if is_born_there => born_in(Place::Cgroup(folder.as_fd()), &mut command),
            Some(_) => spawned(&mut command),
            None => return self.kept(command, report, &inherited),
        };
        made.map(|(pid, pidfd)| main(pid, pidfd, report, None))
    }

    /// Below a keeper, where one can be had.
    fn kept(&self, mut command: Command, report: File, inherited: &Inherited) -> io::Result<Main> {
        let homes: &[keeper::Home] = match self.ways.namespace {
            Namespaces::Yes => &[keeper::Home::Namespace, keeper::Home::Here],
            Namespaces::No => &[keeper::Home::Here],
        };
        let supervisor = pidfd_open(getpid(), PidfdFlags::empty())?;
        let (end, end_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&end, PIPE_BYTES).ok();
        for home in homes {
            let place = match home {
                keeper::Home::Here => Place::Here,
                keeper::Home::Namespace => Place::Namespace,
            };
            let held = signals::hold();
            match copy_process(place) {
                // A keeper hears no signal but KILL.
                Ok(Born::Child) => {
                    let (report, supervisor, home) = (&inherited.report, &supervisor, *home);
                    Keeper { command, report, end: &end_in, supervisor, home }.run()
                }
                Ok(Born::Parent { pid, pidfd }) => {
                    drop(held);
                    let kept = Kept { home: *home, end: File::from(end), first: None };
                    return Ok(main(pid, pidfd, report, Some(kept)));
                }
                Err(_) => drop(held),
            }
        }
        command.arg(std::process::id().to_string());
        command.spawn().and_then(|child| pidfd_of(&child)).map(|(pid, pidfd)| main(pid, pidfd, report, None))
    }

    /// The stage as a command, but for its parent's number.
    fn stage(&self, inherited: &Inherited, files: Files) -> Command {
        #[expect(clippy::disallowed_methods, reason = "this is where a job's first process starts")]
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(STAGE_COMMAND)
            .arg(inherited.description.as_raw_fd().to_string())
            .arg(inherited.report.as_raw_fd().to_string())
            .env_clear()
            .env(MARK_VARIABLE, self.mark)
            .stdin(files.stdin)
            .stdout(files.stdout)
            .stderr(Stdio::from(files.stderr));
        command
    }
}

/// Makes what a stage reads and where it reports.
fn inherited(spec: &Spec) -> io::Result<(File, Inherited)> {
    let mut description = File::from(memfd_create("bowline-job", MemfdFlags::CLOEXEC)?);
    description.write_all(&spec.encode())?;
    let (report, report_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Saves memory where there are many jobs; the default size does as well.
    fcntl_setpipe_size(&report, PIPE_BYTES).ok();
    // One thread only: no other process can be born while these two are inheritable.
    fcntl_setfd(&description, FdFlags::empty())?;
    fcntl_setfd(&report_in, FdFlags::empty())?;
    Ok((File::from(report), Inherited { description, report: report_in }))
}

/// A copy of this process, made in its place, that becomes the stage.
fn born_in(place: Place<'_>, command: &mut Command) -> io::Result<(u32, OwnedFd)> {
    command.arg(std::process::id().to_string());
    let held = signals::hold();
    match copy_process(place)? {
        Born::Child => {
            // What came meanwhile reaches the stage, not a handler of its parent.
            signals::set_defaults();
            drop(command.exec());
            leave(EXIT_STATUS)
        }
        Born::Parent { pid, pidfd } => {
            drop(held);
            Ok((pid, pidfd))
        }
    }
}

/// `posix_spawn` does it, because nothing is asked that would need a fork.
fn spawned(command: &mut Command) -> io::Result<(u32, OwnedFd)> {
    command.arg(std::process::id().to_string());
    command.spawn().and_then(|child| pidfd_of(&child))
}

fn pidfd_of(child: &std::process::Child) -> io::Result<(u32, OwnedFd)> {
    let pid = child.id();
    Ok((pid, pidfd_open(procs::to_pid(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?))
}

fn main(pid: u32, pidfd: OwnedFd, report: File, kept: Option<Kept>) -> Main {
    // A child that has ended already is a zombie: its start is of no use then, and it can't be
    // mistaken, because its number is not given away before it is reaped.
    let process = procs::process(pid).unwrap_or(Process {
        pid,
        parent: std::process::id(),
        group: pid,
        session: pid,
        start_ticks: 0,
    });
    let report = Some(ReportPipe { pipe: report, bytes: Vec::new() });
    Main { process, pidfd, reaped: Reaped::No, report, kept }
}

/// Ends a first process that nobody will know of.
pub(super) fn abandon(main: &Main) {
    pidfd_send_signal(&main.pidfd, Signal::KILL).ok();
    waitid(WaitId::PidFd(main.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
}
