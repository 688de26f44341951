//! The state directory: who may use it, and where in it what lies.
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while a worker lives; holds its process id |
//! | `server` | the address of the server whose place this is; of every place |
//! | `servers/HOST_PORT/` | the place of a further server: everything below, once more |
//! | `id` | the directory's own id, random, made with it; and the identity or the pool that it belongs to |
//! | `identity` | of a pool's worker: the identity that it was given last |
//! | `key` | the worker's key, mode 0600; `key.new` until the server knows it |
//! | `journal.db` | journal and outbox |
//! | `reserve` | room for the worst, given up when the disk is full |
//! | `probe.log` | what the last probe said |
//! | `supervisor/` | the supervisor's own state |
//! | `jobs/KEY/` | what one attempt's job reads and writes |
//! | `spare/N/` | such folders of attempts that are done with, emptied, for the next ones |

mod owner;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_core::name::WorkerName;

use crate::error::WorkerError;
pub use owner::Owner;

/// Digits of a directory's id.
const ID_HEX_BYTES: usize = 32;
/// Digits of a key.
const KEY_HEX_BYTES: usize = 64;
/// Between two tries to get the lock.
const LOCK_EVERY: Duration = Duration::from_millis(20);

/// A state directory that is ours: nobody else uses it while this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

/// What is kept for one server. A server's trouble stays within its place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: PathBuf,
    id: String,
}

impl StateDir {
    /// Makes the directory where it is missing, and locks it. Blocks, at most for `within`: the process
    /// before may be about to leave.
    pub(crate) fn open(path: &Path, within: Duration) -> Result<Self, WorkerError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("making the state directory", path))?;
        let private = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        private.map_err(failed("closing the state directory to others", path))?;
        // Jobs run elsewhere: every path must hold from there too.
        let path = path.canonicalize().map_err(failed("resolving the state directory", path))?;
        let lock = lock(&path, within)?;
        Ok(Self { path, _lock: lock })
    }

    /// The place of each of these servers. One alone has the directory itself, wherever the server is now,
    /// unless it has had a place of its own beside others before. Of several the directory itself is for the one that had it
    /// before, or else for the first; each other one has a place of its own, found by its address.
    pub(crate) fn places(&self, servers: &[String], owner: &Owner) -> Result<Vec<Place>, WorkerError> {
        let own = |server: &str| self.path.join("servers").join(folder_name(server));
        let noted = read_note(&self.path)?;
        let is_root = |index: usize, server: &str| match (&noted, servers) {
            (Some(noted), [_, _, ..]) => noted == server,
            (None, [_, _, ..]) => index == 0 && !own(server).exists(),
            (_, _) => noted.as_deref() == Some(server) || !own(server).exists(),
        };
        let place = |(index, server): (usize, &String)| {
            let path = if is_root(index, server) { self.path.clone() } else { own(server) };
            Place::open(path, server, owner)
        };
        servers.iter().enumerate().map(place).collect()
    }
}

impl Place {
    fn open(path: PathBuf, server: &str, owner: &Owner) -> Result<Self, WorkerError> {
        for folder in [path.clone(), path.join("supervisor"), path.join("jobs")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(failed("making a folder", &folder))?;
        }
        spread(&jobs(&path));
        if read_note(&path)?.as_deref() != Some(server) {
            let note = path.join("server");
            write_private(&note, server).map_err(failed("noting the server", &note))?;
        }
        let id = id(&path, owner)?;
        Ok(Self { path, id })
    }

    /// The directory's own id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.path
    }

    /// Keeps the identity that a pool's worker was given, to be shown.
    pub(crate) fn note_given(&self, name: &WorkerName) {
        if let Err(error) = owner::note_given(&self.path, name) {
            tracing::warn!(%error, %name, "which identity this worker was given cannot be noted");
        }
    }

    /// What the last probe said.
    pub(crate) fn probe_log(&self) -> PathBuf {
        probe_log(&self.path)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    pub(crate) fn supervisor(&self) -> PathBuf {
        self.path.join("supervisor")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        jobs(&self.path)
    }

    pub(crate) fn spare(&self) -> PathBuf {
        self.path.join("spare")
    }

    /// The key, where the server knows it.
    pub(crate) fn key(&self) -> Result<Option<String>, WorkerError> {
        read_key(&self.path.join("key"))
    }

    /// A key that is to be enrolled: the same one until it is.
    pub(crate) fn new_key(&self) -> Result<String, WorkerError> {
        let path = self.path.join("key.new");
        if let Some(key) = read_key(&path)? {
            return Ok(key);
        }
        let key = random_hex();
        write_private(&path, &key).map_err(failed("writing the key", &path))?;
        Ok(key)
    }

    /// The server knows the new key.
    pub(crate) fn key_is_enrolled(&self) -> Result<(), WorkerError> {
        let path = self.path.join("key");
        let renamed = fs::rename(self.path.join("key.new"), &path);
        renamed.and_then(|()| File::open(&self.path)?.sync_all()).map_err(failed("keeping the key", &path))
    }
}

/// Where the last probe's words lie, below the folder of a server.
pub(crate) fn probe_log(folder: &Path) -> PathBuf {
    folder.join("probe.log")
}

/// Where the folders of the attempts lie, below the folder of a server.
pub(crate) fn jobs(folder: &Path) -> PathBuf {
    folder.join("jobs")
}

/// Asks the file system to give each job's folder a place of its own: ext4 puts folders that lie side by side into one
/// region, and makes files there slowly for minutes after many were removed, as those of jobs are.
#[cfg(target_os = "linux")]
fn spread(folder: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(folder) = File::open(folder) else { return };
    if let Ok(flags) = ioctl_getflags(&folder) {
        let _refused = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
}

/// Other systems place folders as they see fit.
#[cfg(not(target_os = "linux"))]
fn spread(_folder: &Path) {}

/// 32 random bytes in hex: two random UUIDs hold 244 random bits.
pub(crate) fn random_hex() -> String {
    let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    random.map(|part| part.simple().to_string()).concat()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkerError {
    let path = path.to_owned();
    move |source| WorkerError::StateDir { what, path, source }
}

/// A folder's name for a server's address.
fn folder_name(server: &str) -> String {
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    address.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '_' }).collect()
}

fn read_note(place: &Path) -> Result<Option<String>, WorkerError> {
    let path = place.join("server");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("reading which server this is for", &path)(source)),
    }
}

fn lock(dir: &Path, within: Duration) -> Result<File, WorkerError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(failed("opening the lock", &path))?;
    let mut tries = within.as_millis() / LOCK_EVERY.as_millis();
    let mut locked = file.try_lock();
    if matches!(locked, Err(TryLockError::WouldBlock)) && tries > 0 {
        let (dir, pid) = (dir.display(), holder(&mut file));
        tracing::warn!("waiting for process {pid} to leave the state directory {dir}, for {within:?} at most");
    }
    while matches!(locked, Err(TryLockError::WouldBlock)) && tries > 0 {
        tries -= 1;
        std::thread::park_timeout(LOCK_EVERY);
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(WorkerError::StateDirBusy { path: dir.to_owned(), pid: holder(&mut file) });
        }
        Err(TryLockError::Error(source)) => return Err(failed("locking", &path)(source)),
    }
    let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(failed("writing the lock", &path))?;
    Ok(file)
}

/// Who holds the lock. Only to name it: what cannot be read is shown as unknown.
fn holder(lock: &mut File) -> String {
    let mut pid = String::new();
    let read = lock.rewind().and_then(|()| lock.read_to_string(&mut pid));
    if read.is_err() || pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() }
}

fn id(dir: &Path, ours: &Owner) -> Result<String, WorkerError> {
    let path = dir.join("id");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (id, note) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            if !is_hex(id, ID_HEX_BYTES) {
                return Err(WorkerError::DamagedId(path));
            }
            match (Owner::read(note, dir), note) {
                (Some(theirs), _) if !theirs.is_same(ours) => {
                    let flag = theirs.flag();
                    let (theirs, ours) = (theirs.to_string(), ours.to_string());
                    Err(WorkerError::OtherIdentity { path: dir.to_owned(), theirs, ours, flag })
                }
                // The first versions noted nothing.
                (Some(_), _) | (None, "") => Ok(id.to_owned()),
                (None, _) => Err(WorkerError::DamagedId(path)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let noted = write_private(&path, &format!("{id} {}", ours.note()));
            noted.map_err(failed("writing the id", &path))?;
            Ok(id)
        }
        Err(source) => Err(failed("reading the id", &path)(source)),
    }
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_key(path: &Path) -> Result<Option<String>, WorkerError> {
    match fs::read_to_string(path) {
        Ok(key) => {
            let key = key.trim();
            if is_hex(key, KEY_HEX_BYTES) {
                Ok(Some(key.to_owned()))
            } else {
                Err(WorkerError::DamagedKey(path.to_owned()))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("reading the key", path)(source)),
    }
}

/// For fuzzing and tests: reads whatever lies in a place. Panics where something is taken that cannot be meant.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn look(place: &Path, owner: &Owner) {
    for name in ["key", "key.new"] {
        if let Ok(Some(key)) = read_key(&place.join(name)) {
            assert!(is_hex(&key, KEY_HEX_BYTES), "`{key}` is no key");
        }
    }
    if let Ok(Some(server)) = read_note(place) {
        let folder = folder_name(&server);
        assert!(!folder.contains('/'), "`{folder}` leads out of the directory");
    }
    if let Ok(id) = id(place, owner) {
        assert!(is_hex(&id, ID_HEX_BYTES), "`{id}` is no id");
    }
}

/// Writes a file that only we may read, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests;
