//! The state directory: who may use it, and where in it what lies.
//!
//! | name | what |
//! |---|---|
//! | `lock` | held while a worker lives; holds its process id |
//! | `id` | the directory's own id, random, made with it; and the identity that it belongs to |
//! | `key` | the worker's key, mode 0600; `key.new` until the server knows it |
//! | `journal.db` | journal and outbox |
//! | `supervisor/` | the supervisor's own state |
//! | `jobs/KEY/` | what one attempt's job reads and writes |

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bowline_core::name::WorkerName;

use crate::error::WorkerError;

/// A state directory that is ours: nobody else uses it while this lives.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    id: String,
    _lock: File,
}

impl StateDir {
    /// Makes the directory where it is missing, and locks it.
    pub(crate) fn open(path: &Path, identity: &WorkerName) -> Result<Self, WorkerError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed("making the state directory", path))?;
        let private = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        private.map_err(failed("closing the state directory to others", path))?;
        // Jobs run elsewhere: every path must hold from there too.
        let path = path.canonicalize().map_err(failed("resolving the state directory", path))?;
        let lock = lock(&path)?;
        let id = id(&path, identity)?;
        for folder in ["supervisor", "jobs"] {
            let folder = path.join(folder);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            made.map_err(failed("making a folder", &folder))?;
        }
        Ok(Self { path, id, _lock: lock })
    }

    /// The directory's own id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal.db")
    }

    pub(crate) fn supervisor(&self) -> PathBuf {
        self.path.join("supervisor")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.path.join("jobs")
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

/// 32 random bytes in hex: two random UUIDs hold 244 random bits.
pub(crate) fn random_hex() -> String {
    let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
    random.map(|part| part.simple().to_string()).concat()
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkerError {
    let path = path.to_owned();
    move |source| WorkerError::StateDir { what, path, source }
}

fn lock(dir: &Path) -> Result<File, WorkerError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = opened.map_err(failed("opening the lock", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only to name it: what cannot be read is shown as unknown.
            let _unreadable = file.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "?".to_owned() } else { pid.trim().to_owned() };
            return Err(WorkerError::StateDirBusy { path: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(source)) => return Err(failed("locking", &path)(source)),
    }
    let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(failed("writing the lock", &path))?;
    Ok(file)
}

fn id(dir: &Path, identity: &WorkerName) -> Result<String, WorkerError> {
    let path = dir.join("id");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (id, owner) = text.trim().split_once(' ').unwrap_or((text.trim(), identity.as_str()));
            if owner != identity.as_str() {
                let (theirs, ours) = (owner.to_owned(), identity.as_str().to_owned());
                return Err(WorkerError::OtherIdentity { path: dir.to_owned(), theirs, ours });
            }
            Ok(id.to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = uuid::Uuid::new_v4().simple().to_string();
            write_private(&path, &format!("{id} {identity}")).map_err(failed("writing the id", &path))?;
            Ok(id)
        }
        Err(source) => Err(failed("reading the id", &path)(source)),
    }
}

fn read_key(path: &Path) -> Result<Option<String>, WorkerError> {
    match fs::read_to_string(path) {
        Ok(key) => {
            let key = key.trim();
            let is_hex = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hex { Ok(Some(key.to_owned())) } else { Err(WorkerError::DamagedKey(path.to_owned())) }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("reading the key", path)(source)),
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
mod tests {
    use super::*;

    fn name(name: &str) -> WorkerName {
        WorkerName::new(name).unwrap()
    }

    #[test]
    fn a_second_worker_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = StateDir::open(dir.path(), &name("a")).unwrap();
        let refused = StateDir::open(dir.path(), &name("a")).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        StateDir::open(dir.path(), &name("a")).unwrap();
    }

    #[test]
    fn a_directory_belongs_to_one_identity_and_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let id = StateDir::open(dir.path(), &name("a")).unwrap().id().to_owned();
        assert_eq!(StateDir::open(dir.path(), &name("a")).unwrap().id(), id);
        let refused = StateDir::open(dir.path(), &name("b")).unwrap_err().to_string();
        assert!(refused.contains("`a`") && refused.contains("`b`"), "{refused}");
    }

    #[test]
    fn a_key_is_private_and_stays_the_same_until_it_is_enrolled() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path(), &name("a")).unwrap();
        assert_eq!(state.key().unwrap(), None);
        let key = state.new_key().unwrap();
        assert_eq!(state.new_key().unwrap(), key);
        state.key_is_enrolled().unwrap();
        assert_eq!(state.key().unwrap(), Some(key));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir.path().join("key")), mode(dir.path())), (0o600, 0o700));
        fs::write(dir.path().join("key"), "xyz").unwrap();
        assert!(matches!(state.key(), Err(WorkerError::DamagedKey(_))));
    }
}
