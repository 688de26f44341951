//! Giving birth to a job: its files, its cgroup, its first process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::body::Main;
use super::spawn::{Birth, is_born_there};
use crate::cradle::Nursery;
use crate::machine::Failure;
use crate::plan::{Limits, Plan};
use crate::ways::Ways;
use crate::wire::{Start, Step};

/// Descriptors that a job takes here: its record, its process, its own and its keeper's report.
const FILES_PER_JOB: u64 = 4;
/// Descriptors for everything else.
const FILES_RESERVED: u64 = 64;

/// What all jobs have in common.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) ways: Ways,
    /// What the supervisor has changed for itself.
    pub(super) limits: Limits,
    /// Where nothing is to be read from.
    pub(super) null: File,
    pub(super) nursery: Nursery,
}

/// The files of a job, open.
#[derive(Debug)]
pub(super) struct Files {
    /// `None`: nothing is to be read.
    pub(super) stdin: Option<File>,
    pub(super) stdout: File,
    /// `None`: as standard output.
    pub(super) stderr: Option<File>,
}

/// What a job has before its first process.
#[derive(Debug)]
pub(super) struct Readied {
    pub(super) files: Files,
    pub(super) cgroup: Option<PathBuf>,
}

pub(super) fn at(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| (step, error.raw_os_error().unwrap_or(0))
}

/// Whether one more job may live beside so many: without a descriptor to look at processes with,
/// nobody could tell what is left of a job.
fn has_room(jobs: usize) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (jobs as u64 + 1) * FILES_PER_JOB + FILES_RESERVED <= limit
}

impl Launcher {
    /// Makes what a job needs, beside so many others.
    pub(super) fn prepare(&self, start: &Start, others: usize) -> Result<Readied, Failure> {
        if !has_room(others) {
            return Err((Step::Spawn, Errno::MFILE.raw_os_error()));
        }
        let files = open_files(start)?;
        // A job that can't have a cgroup runs without.
        let cgroup = self.ways.cgroup.as_ref().and_then(|home| home.job(&start.key).ok());
        Ok(Readied { files, cgroup })
    }

    /// Makes the first process.
    pub(super) fn spawn(&self, start: &Start, mark: &str, readied: &Readied) -> Result<Main, Failure> {
        let cgroup = readied.cgroup.as_deref();
        let to_join = cgroup.filter(|_| !is_born_there(&self.ways));
        let plan = Plan::new(start, mark, self.limits, to_join).map_err(|step| (step, Errno::INVAL.raw_os_error()))?;
        let birth = Birth { ways: &self.ways, cgroup, null: &self.null };
        birth.spawn(self.nursery.cradle(plan), &readied.files).map_err(at(Step::Spawn))
    }
}

fn open_files(start: &Start) -> Result<Files, Failure> {
    let open_one = |path: &PathBuf, flags, step| open_file(path, flags).map_err(at(step));
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let stdin = start.stdin.as_ref().map(|path| open_one(path, OFlags::RDONLY, Step::Stdin)).transpose()?;
    let stdout = open_one(&start.stdout, append, Step::Stdout)?;
    let stderr = start.stderr.as_ref().map(|path| open_one(path, append, Step::Stderr)).transpose()?;
    Ok(Files { stdin, stdout, stderr })
}

/// Opens a plain file or a character device. Never waits, as a FIFO without a partner would.
fn open_file(path: &Path, flags: OFlags) -> io::Result<File> {
    let common = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let fd = open(path, flags | common, Mode::from_raw_mode(0o600))?;
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => {}
        FileType::Directory => return Err(Errno::ISDIR.into()),
        _ => return Err(Errno::INVAL.into()),
    }
    rustix::fs::fcntl_setfl(&fd, flags & OFlags::APPEND)?;
    Ok(File::from(fd))
}
