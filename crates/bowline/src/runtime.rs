//! Files that live as long as a server does: which servers this user runs on this machine, where
//! they listen and where their token lies. In a folder that belongs to the user alone; what is
//! found there is trusted, so its owner and mode are checked first.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Environment;

/// Largest such file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most files looked at: more servers than this on one machine are not told apart.
const SERVERS_MAX: usize = 256;

/// A live server of this user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalServer {
    /// `http://127.0.0.1:7420`.
    pub(crate) url: String,
    /// Its administrator's token.
    pub(crate) token_file: PathBuf,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Its process.
    pub(crate) pid: u32,
    /// When that process began, in the kernel's ticks: a number used again is told by it.
    pub(crate) began: u64,
    /// Who starts it again should it die, and when that process began.
    #[serde(default)]
    pub(crate) keeper: Option<(u32, u64)>,
}

impl LocalServer {
    /// It runs, or is about to run again at the same address.
    fn is_alive(&self) -> bool {
        let lives = |(pid, since)| began(pid) == Some(since);
        lives((self.pid, self.began)) || self.keeper.is_some_and(lives)
    }
}

/// Whether a server's parent starts it again should it die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nobody does.
    No,
    /// Its parent does.
    ByParent,
}

impl From<bool> for Kept {
    fn from(by_parent: bool) -> Self {
        if by_parent { Self::ByParent } else { Self::No }
    }
}

impl Kept {
    fn keeper(self) -> Option<(u32, u64)> {
        match self {
            Self::No => None,
            Self::ByParent => {
                let parent = u32::try_from(rustix::process::getppid()?.as_raw_nonzero().get()).ok()?;
                Some((parent, began(parent)?))
            }
        }
    }
}

/// Says that this process serves. The file goes when the answer is dropped.
pub(crate) fn register(
    environment: &Environment,
    url: &str,
    data: &Path,
    token_file: &Path,
    kept: Kept,
) -> io::Result<Registration> {
    let folder = folder(environment);
    make_private(&folder)?;
    let pid = std::process::id();
    let data = std::fs::canonicalize(data)?;
    // Only one serves a data folder: whoever did before is gone.
    forget(&folder, &data);
    let server = LocalServer {
        url: url.to_owned(),
        token_file: std::path::absolute(token_file)?,
        data,
        pid,
        began: began(pid).unwrap_or(0),
        keeper: kept.keeper(),
    };
    let path = folder.join(format!("server-{pid}.json"));
    let text = serde_json::to_vec_pretty(&server).map_err(io::Error::other)?;
    let fresh = folder.join(format!(".server-{pid}.new"));
    drop(std::fs::remove_file(&fresh));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    io::Write::write_all(&mut file, &text)?;
    std::fs::rename(&fresh, &path)?;
    Ok(Registration { path })
}

fn forget(folder: &Path, data: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(SERVERS_MAX) {
        if read(&entry.path()).is_some_and(|server| server.data == data) {
            drop(std::fs::remove_file(entry.path()));
        }
    }
}

/// Held while the server serves.
#[derive(Debug)]
pub(crate) struct Registration {
    path: PathBuf,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A file left behind names a process that is gone, and is seen through.
        drop(std::fs::remove_file(&self.path));
    }
}

/// The user's live servers. Files of servers that are gone are removed on the way.
pub(crate) fn live(environment: &Environment) -> Vec<LocalServer> {
    let folder = folder(environment);
    if check_private(&folder).is_err() {
        return Vec::new();
    }
    let Ok(entries) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut servers: Vec<LocalServer> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("server-"))
        .take(SERVERS_MAX)
        .filter_map(|entry| {
            let server = read(&entry.path())?;
            if !server.is_alive() {
                drop(std::fs::remove_file(entry.path()));
                return None;
            }
            Some(server)
        })
        .collect();
    servers.sort_by(|a, b| a.url.cmp(&b.url));
    servers
}

fn read(path: &Path) -> Option<LocalServer> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let own = metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !own || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn folder(environment: &Environment) -> PathBuf {
    environment.runtime_home()
}

/// Makes a folder of the user alone, or checks that it is one.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    check_private(folder)
}

fn check_private(folder: &Path) -> io::Result<()> {
    let metadata = std::fs::symlink_metadata(folder)?;
    let own = metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
    let of_others = metadata.mode() & 0o077;
    if own && of_others == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("`{}` must be a folder that only you may use (mode 0700)", folder.display()),
    ))
}

/// When a process began, in ticks since boot; `None` where there is no such process.
pub(crate) fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after the last one are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A zombie has ended.
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_server_is_found_until_it_is_gone() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
        let environment = Environment::of(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]);
        assert_eq!(live(&environment), Vec::new());
        let held =
            register(&environment, "http://127.0.0.1:1", home.path(), &home.path().join("token"), Kept::No).unwrap();
        let found = live(&environment);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, std::process::id());
        drop(held);
        assert_eq!(live(&environment), Vec::new());
    }

    #[test]
    fn a_file_of_a_process_that_is_gone_is_seen_through() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]);
        let held =
            register(&environment, "http://127.0.0.1:1", home.path(), &home.path().join("token"), Kept::No).unwrap();
        let mut server = live(&environment).remove(0);
        server.began += 1;
        std::fs::write(&held.path, serde_json::to_vec(&server).unwrap()).unwrap();
        assert_eq!(live(&environment), Vec::new());
        assert!(!held.path.exists());
    }

    #[test]
    fn a_server_that_is_started_again_is_found_meanwhile_and_once() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]);
        let (url, token) = ("http://127.0.0.1:1", home.path().join("token"));
        let held = register(&environment, url, home.path(), &token, Kept::ByParent).unwrap();
        let mut server = live(&environment).remove(0);
        assert!(server.keeper.is_some());
        // It was killed; its parent lives.
        (server.pid, server.began) = (u32::MAX, 1);
        let path = held.path.with_file_name("server-4294967295.json");
        std::fs::write(&path, serde_json::to_vec(&server).unwrap()).unwrap();
        drop(held);
        assert_eq!(live(&environment), vec![server]);
        let _again = register(&environment, url, home.path(), &token, Kept::ByParent).unwrap();
        assert_eq!(live(&environment).len(), 1);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_others_may_enter_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("XDG_RUNTIME_DIR", home.path().to_str().unwrap())]);
        let _held =
            register(&environment, "http://127.0.0.1:1", home.path(), &home.path().join("token"), Kept::No).unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.path().join("bowline"), open).unwrap();
        assert_eq!(live(&environment), Vec::new());
    }
}
