//! Giving birth to a job: its files, its cgroup, its first process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::body::Main;
use super::spawn::Birth;
use crate::machine::Failure;
use crate::procs::MARK_VARIABLE;
use crate::stage::Spec;
use crate::ways::Ways;
use crate::wire::{Start, Step};

/// Descriptors that a job takes here: its record, its process, the stage's and the keeper's report.
const FILES_PER_JOB: u64 = 4;
/// Descriptors for everything else.
const FILES_RESERVED: u64 = 64;

/// What all jobs have in common.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) ways: Ways,
    /// The jobs' soft limit of open files; the supervisor has raised its own.
    pub(super) nofile: Option<u64>,
}

/// The files of a job, open.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) stdin: Stdio,
    pub(super) stdout: File,
    pub(super) stderr: File,
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
    pub(super) fn spawn(&self, start: &Start, mark: &str, files: Files, cgroup: Option<&Path>) -> io::Result<Main> {
        Birth { ways: &self.ways, cgroup, mark }.spawn(self.spec(start, mark), files)
    }

    fn spec(&self, start: &Start, mark: &str) -> Spec {
        let mut env = start.env.clone();
        env.retain(|(name, _)| name != MARK_VARIABLE);
        env.push((MARK_VARIABLE.into(), mark.into()));
        Spec {
            argv: start.argv.clone(),
            env,
            cwd: start.cwd.clone(),
            cgroup: None,
            umask: start.umask,
            nofile: self.nofile,
        }
    }
}

fn open_files(start: &Start) -> Result<Files, Failure> {
    let stdin = match &start.stdin {
        None => Stdio::null(),
        Some(path) => open_file(path, OFlags::RDONLY).map_err(at(Step::Stdin))?.into(),
    };
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let stdout = open_file(&start.stdout, append).map_err(at(Step::Stdout))?;
    let stderr = match &start.stderr {
        None => stdout.try_clone(),
        Some(path) => open_file(path, append),
    };
    Ok(Files { stdin, stdout, stderr: stderr.map_err(at(Step::Stderr))? })
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
