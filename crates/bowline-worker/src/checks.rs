//! What a worker looks at to know whether it is fit: the disk of its state directory and the machine's
//! memory. Its probe is a job of its supervisor's, see `dispatcher::health`. Blocks; runs in the pool.

use std::path::Path;
use std::time::Duration;

use bowline_core::size::format_size;
use rustix::fs::statvfs;

use crate::reserve::{self, RESERVE_BYTES};

/// What is checked, how often, and what is too little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// Between two looks. A worker is broken, and fit again, within this and a few seconds.
    pub every: Duration,
    /// Bytes that must be free on the state directory's disk.
    pub disk_free_min: u64,
    /// Files that must be free to be made there.
    pub files_free_min: u64,
    /// Bytes of memory that must be available on the machine.
    pub memory_free_min: u64,
    /// A command that tells by its exit status whether the worker is fit.
    pub probe: Option<Probe>,
}

/// A command that tells whether a worker is fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// For `/bin/sh -c`. Status 0: fit.
    pub command: String,
    /// From the end of one to the begin of the next.
    pub every: Duration,
    /// One that takes longer has failed.
    pub timeout: Duration,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            disk_free_min: 8 << 20,
            files_free_min: 64,
            memory_free_min: 16 << 20,
            probe: None,
        }
    }
}

/// What a look found: why the worker is not fit. The sentences do not change while the trouble lasts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Of the disk.
    pub disk: Option<String>,
    /// Of the machine's memory.
    pub memory: Option<String>,
}

impl Checks {
    /// Looks, and takes the reserve back where there is room for it.
    pub(crate) fn look(&self, folder: &Path) -> Found {
        Found { disk: self.disk(folder), memory: self.memory() }
    }

    fn disk(&self, folder: &Path) -> Option<String> {
        let shown = folder.display();
        let disk = match statvfs(folder) {
            Ok(disk) => disk,
            Err(error) => return Some(format!("the disk of {shown} cannot be looked at: {error}")),
        };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.disk_free_min {
            return Some(format!("the disk of {shown} has less than {} free", format_size(self.disk_free_min)));
        }
        // Some file systems have no such number.
        if disk.f_files > 0 && disk.f_favail < self.files_free_min {
            return Some(format!("the disk of {shown} has room for fewer than {} files", self.files_free_min));
        }
        match reserve::hold(folder) {
            Ok(()) => None,
            Err(error) => Some(format!(
                "no {} can be kept on the disk of {shown} for the ends of what runs: {error}",
                format_size(RESERVE_BYTES)
            )),
        }
    }

    fn memory(&self) -> Option<String> {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // A kernel that does not say is not held against the worker.
        let available = available(&text)?;
        let too_little = available < self.memory_free_min;
        too_little.then(|| format!("less than {} of memory is available", format_size(self.memory_free_min)))
    }
}

/// Bytes, from `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_room_is_fit_and_one_without_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let checks = Checks { disk_free_min: 1, memory_free_min: 1, ..Checks::default() };
        assert_eq!(checks.look(folder.path()), Found::default());
        let greedy = Checks { disk_free_min: u64::MAX, memory_free_min: u64::MAX, ..Checks::default() };
        let found = greedy.look(folder.path());
        assert!(found.disk.unwrap().contains("less than"));
        assert!(found.memory.unwrap().contains("memory"));
        let files = Checks { files_free_min: u64::MAX, ..checks };
        // A file system without such a number has room.
        assert!(files.look(folder.path()).disk.is_none_or(|why| why.contains("files")));
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let found = Checks::default().look(Path::new("/no/such/folder"));
        assert!(found.disk.unwrap().contains("cannot be looked at"));
    }

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available("MemTotal: 5 kB\nMemAvailable:    12 kB\n"), Some(12 * 1024));
        assert_eq!(available("MemTotal: 5 kB\n"), None);
    }
}
