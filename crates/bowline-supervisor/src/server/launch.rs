//! Giving birth to a job: its files, its record, its cgroup, its first process.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::job::{Live, Main, Phase};
use super::spawn::{Birth, abandon};
use crate::procs::MARK_VARIABLE;
use crate::records::{Begun, Entry, Record, Spawned};
use crate::stage::Spec;
use crate::ways::Ways;
use crate::wire::{Start, StartFailed, Step, is_valid_key};
use crate::{cgroup, records};

/// Descriptors that a job takes here: its record, its process, the stage's and the keeper's report.
const FILES_PER_JOB: u64 = 4;
/// Descriptors for everything else.
const FILES_RESERVED: u64 = 64;

/// What all jobs have in common.
#[derive(Debug)]
pub(super) struct Launcher {
    /// The state folder, which supervisors of other versions use too.
    pub(super) root: PathBuf,
    /// This supervisor's own folder in it.
    pub(super) state_dir: PathBuf,
    /// Tells this state folder's jobs from all others on the machine.
    pub(super) id: String,
    pub(super) boot_id: String,
    pub(super) ways: Ways,
    /// Goes into the marks: no two jobs have the same, whatever their keys.
    pub(super) births: u64,
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

type Failure = (Step, i32);

fn at(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| (step, error.raw_os_error().unwrap_or(0))
}

/// Whether one more job may live beside so many: without a descriptor to look at processes with,
/// nobody could tell what is left of a job.
pub(super) fn has_room(jobs: usize) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (jobs as u64 + 1) * FILES_PER_JOB + FILES_RESERVED <= limit
}

impl Launcher {
    /// Starts a job's first process. Where that fails, nothing is left of it.
    pub(super) fn launch(&mut self, start: Start, now: Duration) -> Result<Live, StartFailed> {
        let key = start.key.clone();
        self.births += 1;
        self.try_launch(start, now).map_err(|(step, errno)| StartFailed { key, step, errno })
    }

    fn try_launch(&self, start: Start, now: Duration) -> Result<Live, Failure> {
        if !is_valid_key(&start.key) || start.argv.is_empty() || start.argv[0].is_empty() {
            return Err((Step::Input, Errno::INVAL.raw_os_error()));
        }
        let files = open_files(&start)?;
        let mark = format!("{}:{}:{}:{}", self.id, start.key, now.as_nanos(), self.births);
        let cgroup = self.make_cgroup(&start.key);
        let begun = Begun {
            key: start.key.clone(),
            boot_id: self.boot_id.clone(),
            mark: mark.clone(),
            cgroup: cgroup.clone(),
            at: now,
        };
        let undo_cgroup = |_: &Failure| cgroup.iter().for_each(|path| cgroup::remove(path));
        let mut record = Record::create(&self.state_dir, &begun).map_err(at(Step::Record)).inspect_err(undo_cgroup)?;
        let birth = Birth { ways: &self.ways, cgroup: cgroup.as_deref(), mark: &mark };
        let main = birth
            .spawn(self.spec(&start, &mark), files)
            .map_err(at(Step::Spawn))
            .and_then(|main| write_birth(&mut record, main).map_err(at(Step::Record)))
            .inspect_err(undo_cgroup)
            .inspect_err(|_| self.undo_record(&start.key))?;
        Ok(Live {
            key: start.key,
            number: self.births,
            record,
            mark,
            cgroup,
            run_limit: start.run_limit,
            lease: start.lease,
            stop_after: start.stop_after,
            renewed_at: now,
            grace: start.grace,
            main,
            phase: Phase::Starting,
            report: None,
            started_at: None,
            stopped: None,
            end: None,
            termed: Vec::new(),
            leftovers: Vec::new(),
            wake_at: None,
            look_every: Duration::ZERO,
        })
    }

    /// A cgroup of the job's own, where one can be had: a job that can't have one runs without.
    fn make_cgroup(&self, key: &str) -> Option<PathBuf> {
        self.ways.cgroup.as_ref()?.job(key).ok()
    }

    fn undo_record(&self, key: &str) {
        // Where it stays, the next supervisor tells the job as lost, which it is.
        records::remove(&self.state_dir, key).ok();
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

/// Writes down who the first process is; without that it may not live.
fn write_birth(record: &mut Record, main: Main) -> io::Result<Main> {
    let spawned = Spawned { pid: main.process.pid, start_ticks: main.process.start_ticks };
    match record.add(&Entry::Spawned(spawned)) {
        Ok(()) => Ok(main),
        Err(error) => {
            abandon(&main);
            Err(error)
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
