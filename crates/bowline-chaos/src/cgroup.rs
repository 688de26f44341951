//! A cgroup of its own for everything that is started here, where this machine has version 2 and lets us make one.
//! Supervisors put those of their jobs beside their own: so all of them are found below this one.

use std::path::{Path, PathBuf};

/// Where version 2 is mounted: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// In which this program and what it starts are.
const INSIDE: &str = "inside";
/// What supervisors make begins so.
const OF_SUPERVISORS: &str = "bowline-";

/// Goes into a new one, named as the folder of this run. `None`: this machine has none for us.
pub(crate) fn enter(room: &Path) -> Option<PathBuf> {
    let home = own()?.join(room.file_name()?);
    std::fs::create_dir(&home).ok()?;
    let inside = home.join(INSIDE);
    let entered = std::fs::create_dir(&inside).and_then(|()| std::fs::write(inside.join("cgroup.procs"), "0"));
    if entered.is_err() {
        remove(&home);
        return None;
    }
    Some(home)
}

/// The cgroup that this process was put into by [`enter`].
pub(crate) fn home() -> Option<PathBuf> {
    let own = own()?;
    (own.file_name()? == INSIDE).then(|| own.parent().map(Path::to_owned))?
}

/// Removes what [`enter`] made, when everything in it has ended: called from outside.
pub(crate) fn forget(room: &Path) {
    let made = own().zip(room.file_name()).map(|(own, name)| own.join(name));
    if let Some(made) = made.filter(|made| made.is_dir()) {
        remove(&made);
    }
}

/// The cgroup in which this process is.
fn own() -> Option<PathBuf> {
    let mount = MOUNTS.into_iter().map(Path::new).find(|mount| mount.join("cgroup.controllers").exists())?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(mount.join(own.lines().find_map(|line| line.strip_prefix("0::/"))?))
}

/// What supervisors left below it: each cgroup, and the processes in it.
pub(crate) fn left(home: &Path) -> Vec<(PathBuf, Vec<String>)> {
    let own = children(home).into_iter();
    let own =
        own.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OF_SUPERVISORS)));
    own.flat_map(|path| tree(&path))
        .map(|path| {
            let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
            (path, text.lines().map(str::to_owned).collect())
        })
        .collect()
}

/// Kills all that is in it, and removes it. What is not gone yet stays.
fn remove(home: &Path) {
    std::fs::write(home.join("cgroup.kill"), "1").ok();
    for path in tree(home).iter().rev() {
        std::fs::remove_dir(path).ok();
    }
}

/// It and all below, each after what it is in.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let mut at = 0;
    while at < all.len() {
        all.extend(children(&all[at]));
        at += 1;
    }
    all
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
