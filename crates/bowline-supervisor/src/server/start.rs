//! What a supervisor does before it takes its first job: it becomes the only one, kills what an
//! earlier one left, and reads how that one's jobs ended.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getpid, getrlimit, set_child_subreaper, setrlimit, setsid};

use super::launch::Launcher;
use super::others;
use crate::clock::boottime;
use crate::cradle::Nursery;
use crate::log::Log;
use crate::plan::Limits;
use crate::procs::Process;
use crate::records::Records;
use crate::records::files::{self, EndsFile};
use crate::ways::Ways;
use crate::{Options, boot, paths, signals, socket, spawn, sweep};

/// Somebody who only looks for leftovers holds the lock for no longer.
const LOCK_BOUND: Duration = Duration::from_millis(500);
const LOCK_EVERY: Duration = Duration::from_millis(10);

/// Everything that a supervisor begins with.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) listener: UnixListener,
    pub(super) launcher: Launcher,
    /// Its own folder.
    pub(super) folder: PathBuf,
    /// Names that.
    pub(super) id: String,
    pub(super) boot_id: String,
    pub(super) records: Records,
    pub(super) ends: EndsFile,
    /// Processes of lost jobs that could not be killed.
    pub(super) stuck: BTreeMap<String, Vec<Process>>,
    pub(super) log: Log,
    /// Held until the process ends.
    pub(super) lock: File,
}

/// `None`: another supervisor has this state folder.
pub(super) fn start(options: &Options) -> io::Result<Option<Start>> {
    if rustix::thread::gettid() != getpid() {
        return Err(io::Error::other("jobs die with the thread that starts them: it must be the main thread"));
    }
    let folder = paths::own(&options.state_dir);
    make_private_folder(&options.state_dir)?;
    make_private_folder(&folder)?;
    make_private_folder(&paths::jobs_dir(&folder))?;
    let Some(lock) = lock(&paths::lock_path(&folder))? else { return Ok(None) };
    let mut log = Log::begin(&paths::log_path(&folder))?;
    log.say(format_args!("supervisor begins, process {}", std::process::id()));
    become_parent_of_all(&mut log);
    let boot_id = boot::boot_id(options.boot_id_file.as_deref())?;
    others::take_over(&options.state_dir, &boot_id, &mut log);
    let records = files::load(&folder)?;
    let swept = sweep::sweep(&folder, &records.whole, &boot_id)?;
    for (key, pids) in &swept.killed {
        log.say(format_args!("killed what was left of {key}: {pids:?}"));
    }
    let id = folder_id(&folder)?;
    let ways = Ways::find(options.strongest, &id, |text| log.say(text));
    let stuck = others::processes_of(&swept);
    let listener = socket::bind(&options.socket)?;
    fs::set_permissions(&options.socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let nofile = raise_file_limit();
    let ends = EndsFile::open(&folder)?;
    let limits = Limits { nofile, signals: signals::not_default() };
    let launcher = Launcher { ways, limits, null: File::open("/dev/null")?, nursery: Nursery::default() };
    Ok(Some(Start { listener, launcher, folder, id, boot_id, records, ends, stuck, log, lock }))
}

fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(path: &Path) -> io::Result<Option<File>> {
    let give_up_at = boottime() + LOCK_BOUND;
    loop {
        if let Some(lock) = socket::lock(path)? {
            return Ok(Some(lock));
        }
        if boottime() >= give_up_at {
            return Ok(None);
        }
        spawn::pause(LOCK_EVERY);
    }
}

fn become_parent_of_all(log: &mut Log) {
    // It fails where the process leads a group already: then it has what it needs.
    setsid().ok();
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        log.say(format_args!("what jobs leave behind can't be followed: {error}"));
    }
    // Not to keep a file system busy.
    std::env::set_current_dir("/").ok();
}

/// A job takes a few descriptors here. The jobs themselves get the old limit back.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused there is room for fewer jobs.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    limit.current
}

/// Names a state folder: the same at each start, another one for each folder.
fn folder_id(state_dir: &Path) -> io::Result<String> {
    let path = fs::canonicalize(state_dir)?;
    Ok(format!("{:016x}", crate::records::checksum(path.as_os_str().as_bytes())))
}
