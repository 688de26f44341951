//! Giving birth to a job: its files, its record, its cgroup, its first process.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, fstat, memfd_create, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{PidfdFlags, Resource, Signal, getrlimit, pidfd_open, pidfd_send_signal};

use super::job::{Live, Main, Phase, ReportPipe};
use crate::cgroup::Home;
use crate::procs::{self, MARK_VARIABLE, Process};
use crate::records::{Begun, Entry, Record, Spawned};
use crate::stage::{STAGE_COMMAND, Spec};
use crate::wire::{Start, StartFailed, Step, is_valid_key};
use crate::{cgroup, records};

/// The report of a stage fits many times.
const REPORT_PIPE_BYTES: usize = 4096;

/// Descriptors that a job takes here: its record, its process, the stage's report.
const FILES_PER_JOB: u64 = 3;
/// Descriptors for everything else.
const FILES_RESERVED: u64 = 64;

/// What all jobs have in common.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) state_dir: PathBuf,
    /// Tells this state folder's jobs from all others on the machine.
    pub(super) id: String,
    pub(super) boot_id: String,
    pub(super) home: Option<Home>,
    /// Goes into the marks: no two jobs have the same, whatever their keys.
    pub(super) births: u64,
    /// The jobs' soft limit of open files; the supervisor has raised its own.
    pub(super) nofile: Option<u64>,
}

/// The files of a job, open.
struct Files {
    stdin: Stdio,
    stdout: File,
    stderr: File,
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
        let main = spawn(&self.spec(&start, &mark, cgroup.clone()), files, &mark)
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
        self.home.as_ref()?.job(key).ok()
    }

    fn undo_record(&self, key: &str) {
        // Where it stays, the next supervisor tells the job as lost, which it is.
        records::remove(&self.state_dir, key).ok();
    }

    fn spec(&self, start: &Start, mark: &str, cgroup: Option<PathBuf>) -> Spec {
        let mut env = start.env.clone();
        env.retain(|(name, _)| name != MARK_VARIABLE);
        env.push((MARK_VARIABLE.into(), mark.into()));
        Spec {
            supervisor: std::process::id(),
            argv: start.argv.clone(),
            env,
            cwd: start.cwd.clone(),
            cgroup,
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

/// Starts the stage. `posix_spawn` does it, because nothing is asked that would need a fork.
fn spawn(spec: &Spec, files: Files, mark: &str) -> io::Result<Main> {
    let mut description = File::from(memfd_create("bowline-job", MemfdFlags::CLOEXEC)?);
    description.write_all(&spec.encode())?;
    let (report, report_in) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Saves memory where there are many jobs; the default size does as well.
    fcntl_setpipe_size(&report, REPORT_PIPE_BYTES).ok();
    #[expect(clippy::disallowed_methods, reason = "this is where a job's first process starts")]
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(STAGE_COMMAND)
        .arg(description.as_raw_fd().to_string())
        .arg(report_in.as_raw_fd().to_string())
        .env_clear()
        .env(MARK_VARIABLE, mark)
        .stdin(files.stdin)
        .stdout(files.stdout)
        .stderr(files.stderr);
    // One thread only: no other process can be born while these two are inheritable.
    fcntl_setfd(&description, FdFlags::empty())?;
    fcntl_setfd(&report_in, FdFlags::empty())?;
    let child = command.spawn()?;
    let pid = child.id();
    let pidfd = pidfd_open(procs::to_pid(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    // A child that has ended already is a zombie: its start is of no use then, and it can't be
    // mistaken, because its number is not given away before it is reaped.
    let process = procs::process(pid).unwrap_or(Process {
        pid,
        parent: std::process::id(),
        group: pid,
        session: pid,
        start_ticks: 0,
    });
    Ok(Main { process, pidfd, report: Some(ReportPipe { pipe: File::from(report), bytes: Vec::new() }) })
}

/// Ends a first process that nobody will know of.
fn abandon(main: &Main) {
    pidfd_send_signal(&main.pidfd, Signal::KILL).ok();
    rustix::process::waitid(rustix::process::WaitId::PidFd(main.pidfd.as_fd()), rustix::process::WaitIdOptions::EXITED)
        .ok();
}
