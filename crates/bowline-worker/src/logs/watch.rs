//! Is told by the kernel when something happens to a file or in a folder (inotify), so that nothing is
//! polled. Where the kernel has no room for it the caller looks now and then instead.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Files and folders that are watched, each under a key.
#[derive(Debug)]
pub(crate) struct Watcher<K> {
    fd: AsyncFd<OwnedFd>,
    keys: HashMap<i32, K>,
    wds: HashMap<K, (i32, PathBuf)>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened<K> {
    /// Something, to this one; in a folder, to the file of this name.
    To(K, Option<String>),
    /// Too much to be told.
    TooMuch,
}

impl<K: Clone + Eq + std::hash::Hash> Watcher<K> {
    /// Watches nothing yet.
    #[expect(deprecated, reason = "an owned descriptor has the safety that the other way asks for by hand")]
    pub(crate) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { fd: AsyncFd::new(fd)?, keys: HashMap::new(), wds: HashMap::new() })
    }

    /// Watches a file for being written, or a folder for files that are moved into it.
    pub(crate) fn add(&mut self, key: K, path: &Path, what: WatchFlags) -> io::Result<()> {
        let wd = inotify::add_watch(self.fd.get_ref(), path, what)?;
        self.keys.insert(wd, key.clone());
        self.wds.insert(key, (wd, path.to_owned()));
        Ok(())
    }

    /// Where this one lies.
    pub(crate) fn path(&self, key: &K) -> Option<&Path> {
        self.wds.get(key).map(|(_, path)| path.as_path())
    }

    /// Watches it no more.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((wd, _)) = self.wds.remove(key) {
            self.keys.remove(&wd);
            // The kernel has let go of one that was removed.
            let _gone = inotify::remove_watch(self.fd.get_ref(), wd);
        }
    }

    /// What has happened, when something has.
    pub(crate) async fn next(&self) -> Vec<Happened<K>> {
        loop {
            // The descriptor lives as long as this.
            let Ok(mut ready) = self.fd.readable().await else { return std::future::pending().await };
            let happened = self.drain();
            ready.clear_ready();
            if !happened.is_empty() {
                return happened;
            }
        }
    }

    fn drain(&self) -> Vec<Happened<K>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
        let mut happened = Vec::new();
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                happened.push(Happened::TooMuch);
            } else if let Some(key) = self.keys.get(&event.wd()) {
                let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                let what = Happened::To(key.clone(), name);
                if happened.last() != Some(&what) {
                    happened.push(what);
                }
            }
        }
        happened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_is_told_under_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inside) = (folder.path().join("log"), folder.path().join("artifacts"));
        std::fs::write(&file, b"").unwrap();
        std::fs::create_dir(&inside).unwrap();
        let mut watcher = Watcher::new().unwrap();
        watcher.add(1, &file, WatchFlags::MODIFY).unwrap();
        watcher.add(2, &inside, WatchFlags::MOVED_TO).unwrap();
        assert!(watcher.add(3, &folder.path().join("none"), WatchFlags::MODIFY).is_err());
        std::fs::write(&file, b"text").unwrap();
        let bound = std::time::Duration::from_secs(20);
        let next = tokio::time::timeout(bound, watcher.next()).await.unwrap();
        assert!(next.contains(&Happened::To(1, None)), "{next:?}");
        watcher.remove(&1);
        std::fs::write(inside.join("half"), b"x").unwrap();
        std::fs::rename(inside.join("half"), inside.join("whole")).unwrap();
        let next = tokio::time::timeout(bound, watcher.next()).await.unwrap();
        assert_eq!(next, [Happened::To(2, Some("whole".to_owned()))]);
    }
}
