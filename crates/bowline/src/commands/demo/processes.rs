//! The demo's processes as `/proc` shows them: known by the demo's folder, whose name nobody else has,
//! by the cgroup of its jobs, and by the numbers that were seen.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bowline_core::id::TaskRef;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::runtime::began;

/// Processes that may stand between a supervisor and a job's first process.
const KEEPERS_MAX: usize = 2;

/// The three that are killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Decides and remembers.
    Server,
    /// Holds the identity and the outbox.
    Worker,
    /// Parent of all jobs.
    Supervisor,
}

impl Role {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Supervisor => "supervisor",
        }
    }

    /// The words of its command line, behind the program's name.
    fn words(self) -> &'static [&'static [u8]] {
        match self {
            Self::Server => &[b"server", b"start"],
            Self::Worker => &[b"worker", b"start"],
            Self::Supervisor => &[b"supervisor"],
        }
    }
}

/// One process of this boot: a number that is used again is told by when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    began: u64,
}

impl Process {
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, began: began(pid)? })
    }

    /// Whether it is still there. A zombie is not.
    pub(super) fn is_alive(self) -> bool {
        began(self.pid) == Some(self.began)
    }

    /// Kills it, and nobody who has its number by now.
    pub(super) fn kill(self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.is_alive() {
            // It may end by itself just now.
            pidfd_send_signal(&handle, Signal::KILL).ok();
        }
    }
}

/// A job's first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    /// Which.
    pub(super) process: Process,
    /// Whose it is.
    pub(super) task: TaskRef,
    /// In which attempt.
    pub(super) attempt: u32,
}

/// A process that should be gone.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Left {
    pid: u32,
    #[serde(skip)]
    process: Process,
    /// Its command line.
    pub(super) command: String,
}

impl Left {
    /// Kills it.
    pub(super) fn kill(&self) {
        self.process.kill();
    }
}

/// All processes of the demo.
#[derive(Debug)]
pub(super) struct Kin {
    folder: PathBuf,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    processes: BTreeSet<Process>,
    /// cgroups in which a job lived: lines of `/proc/PID/cgroup`, without the job's own part.
    cgroups: BTreeSet<String>,
}

impl Kin {
    /// Those that know of this folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, seen: Mutex::default() }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The living process in this role.
    pub(super) fn find(&self, role: Role) -> Option<Process> {
        let found = pids().find(|pid| {
            let line = read(*pid, "cmdline");
            let mut words = line.split(|byte| *byte == 0).skip(1);
            role.words().iter().all(|word| words.next() == Some(*word)) && contains(&line, self.bytes())
        });
        let process = Process::of(found?)?;
        self.note(process);
        Some(process)
    }

    /// The jobs that run under that supervisor at this moment: of each its first process. Between the two
    /// may stand a process that keeps the job together.
    pub(super) fn jobs(&self, supervisor: Process) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut parents = vec![(supervisor.pid, 0)];
        while let Some((parent, depth)) = parents.pop() {
            for child in children(parent) {
                match self.job(child) {
                    Some(job) => jobs.push(job),
                    None if depth < KEEPERS_MAX => parents.push((child, depth + 1)),
                    None => {}
                }
            }
        }
        jobs
    }

    fn job(&self, pid: u32) -> Option<Job> {
        let process = Process::of(pid)?;
        let environ = read(pid, "environ");
        let variable = |name: &str| {
            let mut all = environ.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
            all.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let task = variable("BOWLINE_TASK_ID")?.parse().ok()?;
        let attempt = variable("BOWLINE_ATTEMPT")?.parse().ok()?;
        self.note(process);
        self.note_cgroup(pid);
        Some(Job { process, task, attempt })
    }

    fn note(&self, process: Process) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).processes.insert(process);
    }

    fn note_cgroup(&self, pid: u32) {
        let text = read(pid, "cgroup");
        let text = String::from_utf8_lossy(&text);
        let Some((home, _)) = text.lines().find_map(|line| line.strip_prefix("0::")?.rsplit_once("/job-")) else {
            return;
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).cgroups.insert(format!("0::{home}/"));
    }

    /// Every process of the demo that is there, this one excepted.
    pub(super) fn left(&self) -> Vec<Left> {
        let own = std::process::id();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let pids = pids().filter(|pid| *pid != own);
        pids.filter_map(Process::of)
            .filter(|process| {
                seen.processes.contains(process) || self.knows(process.pid) || seen.is_in_cgroup(process.pid)
            })
            .map(|process| {
                let line = String::from_utf8_lossy(&read(process.pid, "cmdline")).replace('\0', " ");
                Left { pid: process.pid, process, command: line.trim_end().to_owned() }
            })
            .collect()
    }

    /// Whether a process knows of the folder: by its command line, its environment, or by being in it.
    fn knows(&self, pid: u32) -> bool {
        contains(&read(pid, "cmdline"), self.bytes())
            || contains(&read(pid, "environ"), self.bytes())
            || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(&self.folder))
    }

    fn bytes(&self) -> &[u8] {
        self.folder.as_os_str().as_bytes()
    }
}

impl Seen {
    fn is_in_cgroup(&self, pid: u32) -> bool {
        let text = read(pid, "cgroup");
        let text = String::from_utf8_lossy(&text);
        text.lines().any(|line| self.cgroups.iter().any(|cgroup| line.starts_with(cgroup)))
    }
}

fn children(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A file of a process; empty where it is gone or may not be looked at.
fn read(pid: u32, what: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default()
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to be found is started")]
    fn a_process_in_the_folder_is_found_killed_and_gone() {
        let folder = tempfile::tempdir().unwrap();
        let kin = Kin::new(fs::canonicalize(folder.path()).unwrap());
        assert!(kin.left().is_empty());
        let mut child = std::process::Command::new("sleep").arg("600").current_dir(folder.path()).spawn().unwrap();
        // It is in the folder before it is `sleep`.
        let left = kin.left();
        assert_eq!(left.iter().map(|left| left.pid).collect::<Vec<_>>(), [child.id()]);
        left[0].kill();
        child.wait().unwrap();
        assert!(kin.left().is_empty());
        assert_eq!(kin.find(Role::Server), None);
    }

    #[test]
    fn parts_are_found_anywhere() {
        assert!(contains(b"xabcx", b"abc") && contains(b"abc", b"abc"));
        assert!(!contains(b"ab", b"abc") && !contains(b"", b"abc"));
    }
}
