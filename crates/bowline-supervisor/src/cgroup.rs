//! Control groups (v2), where this machine lets us make some: a job in one can't hide a process.
//!
//! All of a supervisor's jobs are under one folder `bowline-jobs-ID`, beside the cgroup in which it was
//! started and never under it, because whoever stops that one must not stop the jobs.
//!
//! A supervisor holds a lock on its folder for as long as it lives. So the next one that begins, whosever it
//! is, knows which of the others beside its own are nobody's any more, and removes those that are empty
//! ([`sweep_homes`]).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::clock::boottime;
use crate::procs::{Process, process};
use crate::{clone, spawn};

/// Where cgroup v2 is mounted: alone, or beside v1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// Jobs that make cgroups of their own are followed so deep.
const DEPTH_MAX: usize = 16;
/// How the folders of all supervisors begin: a hexadecimal number of 16 digits follows, and nothing else.
const HOMES: &str = "bowline-jobs-";
/// Whoever sweeps holds a folder's lock for no longer.
const HOLD_BOUND: Duration = Duration::from_secs(1);
const HOLD_EVERY: Duration = Duration::from_millis(5);
/// So many folders of others are looked at, at most.
const HOMES_MAX: usize = 4_096;

/// The folder of all jobs' cgroups.
#[derive(Debug)]
pub(crate) struct Home {
    path: PathBuf,
    entry: Entry,
    /// Held for as long as this lives.
    _lock: File,
}

/// How a process gets into a cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is born there (`clone3`).
    Born,
    /// It writes itself there, before it becomes the program.
    Joins,
}

impl Home {
    /// Finds and makes it. The error says what is missing: then jobs run without.
    pub(crate) fn make(id: &str) -> io::Result<Self> {
        let home = beside_own()?.join(format!("{HOMES}{id}"));
        let lock = hold(&home)?;
        let probe = home.join("probe");
        make_folder(&probe)?;
        let can_kill = fs::OpenOptions::new().write(true).open(probe.join("cgroup.kill"));
        let folder = File::open(&probe);
        let born = folder.and_then(|folder| clone::try_once(clone::Place::Cgroup(folder.as_fd())));
        fs::remove_dir(&probe)?;
        let entry = if born.is_ok() { Entry::Born } else { Entry::Joins };
        can_kill.map(|_| Self { path: home, entry, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// Makes the cgroup of a job.
    pub(crate) fn job(&self, key: &str) -> io::Result<PathBuf> {
        // The prefix keeps a job's name from that of one of the kernel's own files.
        let path = self.path.join(format!("job-{key}"));
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// Removes the folder. It stays where a job is left in it.
    pub(crate) fn remove(&self) {
        remove_folder(&self.path);
    }
}

/// Makes a folder, where it is missing, and takes its lock. Whoever sweeps holds the lock for a moment, and may
/// remove the folder then: it is made anew.
fn hold(home: &Path) -> io::Result<File> {
    let give_up_at = boottime() + HOLD_BOUND;
    loop {
        make_folder(home)?;
        if let Some(lock) = lock(home)? {
            return Ok(lock);
        }
        if boottime() >= give_up_at {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{} is held by another", home.display())));
        }
        spawn::pause(HOLD_EVERY);
    }
}

/// Takes the lock of the folder that is at this path now. `None`: somebody has it, or it is just being removed.
fn lock(home: &Path) -> io::Result<Option<File>> {
    let folder = match File::open(home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Another one may have removed it, and its owner made it anew, before the lock was had.
    let is_there = fs::metadata(home).is_ok_and(|now| folder.metadata().is_ok_and(|held| held.ino() == now.ino()));
    Ok(is_there.then_some(folder))
}

/// Removes the folders of supervisors that are dead, where no process is in them: those beside `own`. Tells how
/// many. A folder in which a process is stays, and so does every living supervisor's.
pub(crate) fn sweep_homes(own: &Home) -> usize {
    let siblings = own.path.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
    let homes = siblings.map(|entry| entry.path()).filter(|path| is_home(path) && *path != own.path);
    homes.take(HOMES_MAX).filter(|home| sweep_home(home)).count()
}

fn sweep_home(home: &Path) -> bool {
    // Held until it is gone: who begins just now in this very folder waits for it, and makes it anew.
    let Ok(Some(_lock)) = lock(home) else { return false };
    if is_populated(home) {
        return false;
    }
    // The kernel refuses to remove what a process is in.
    remove(home);
    !home.exists()
}

fn is_home(path: &Path) -> bool {
    let id = path.file_name().and_then(|name| name.to_str()?.strip_prefix(HOMES));
    id.is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn beside_own() -> io::Result<PathBuf> {
    let missing = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
    let mount = MOUNTS
        .into_iter()
        .map(Path::new)
        .find(|mount| mount.join("cgroup.controllers").exists())
        .ok_or_else(|| missing("no cgroup v2 is mounted"))?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or_else(|| missing("not in a v2 cgroup"))?;
    if own.split('/').any(|part| part == "..") {
        return Err(missing("the own cgroup lies outside of what is mounted here"));
    }
    Ok(match Path::new(own).parent() {
        Some(parent) => mount.join(parent),
        None => mount.to_owned(),
    })
}

/// Whether a process is left in it or below. Where nobody can tell: yes.
pub(crate) fn is_populated(path: &Path) -> bool {
    match fs::read_to_string(path.join("cgroup.events")) {
        Ok(text) => !text.lines().any(|line| line == "populated 0"),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether no process is left in it and below. Removes it then, unless something was made below it.
pub(crate) fn is_gone_or_empty(path: &Path) -> bool {
    fs::remove_dir(path).is_ok() || !is_populated(path)
}

/// Kills all that is in it and below. Fine where it is removed already.
pub(crate) fn kill(path: &Path) -> io::Result<()> {
    // Not to be made where it is not.
    let file = File::options().write(true).open(path.join("cgroup.kill"));
    match file.and_then(|mut file| file.write_all(b"1")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.exists() => Ok(()),
        other => other,
    }
}

/// The processes in it and below.
pub(crate) fn processes(path: &Path) -> Vec<Process> {
    let mut found = Vec::new();
    for folder in tree(path) {
        if let Ok(text) = fs::read_to_string(folder.join("cgroup.procs")) {
            found.extend(text.lines().filter_map(|pid| pid.parse().ok()).filter_map(process));
        }
    }
    found
}

/// Removes it and what the job made below. It stays where a process is left.
pub(crate) fn remove(path: &Path) {
    // Mostly there is nothing below, or it is gone already.
    if fs::remove_dir(path).is_ok() || !path.exists() {
        return;
    }
    for folder in tree(path).iter().rev() {
        fs::remove_dir(folder).ok();
    }
}

/// Removes this one, if nothing is in it or below.
pub(crate) fn remove_folder(path: &Path) {
    fs::remove_dir(path).ok();
}

/// The folder itself first, then what is below.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![(path.to_owned(), 0)];
    let mut at = 0;
    while at < folders.len() {
        let (folder, depth) = folders[at].clone();
        at += 1;
        if depth == DEPTH_MAX {
            continue;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    folders.into_iter().map(|(folder, _)| folder).collect()
}
