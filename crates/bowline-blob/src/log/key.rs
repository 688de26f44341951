//! Whose log, and where it lies: numbers and fixed words only, so that no name leads astray.

use std::fmt;
use std::path::{Path, PathBuf};

/// Whose log: one attempt, in plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogKey {
    /// The task.
    pub task: u64,
    /// The element, where it is of an array.
    pub index: Option<u32>,
    /// The generation in which the attempt was claimed.
    pub generation: u32,
    /// The attempt.
    pub attempt: u32,
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}#{}", self.task, self.attempt),
            Some(index) => write!(f, "{}.{index}#{}", self.task, self.attempt),
        }
    }
}

/// Which of an attempt's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogStream {
    /// Standard output; standard error too, where the two are not split.
    Output,
    /// Standard error, where it is split off.
    Error,
}

impl LogStream {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "out",
            Self::Error => "err",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tasks whose folders lie in one folder.
const TASKS_PER_FOLDER: u64 = 1_000;

impl LogKey {
    pub(super) fn folder_of(root: &Path, task: u64) -> PathBuf {
        Self::group_of(root, task).0.join(task.to_string())
    }

    /// The folder that a task's folder lies in, and the task's number among those there.
    pub(super) fn group_of(root: &Path, task: u64) -> (PathBuf, u64) {
        (root.join((task / TASKS_PER_FOLDER).to_string()), task % TASKS_PER_FOLDER)
    }

    pub(super) fn path(&self, root: &Path, stream: LogStream) -> PathBuf {
        let index = self.index.map_or_else(|| "_".to_owned(), |index| index.to_string());
        let name = format!("{index}.{}.{}.{}", self.generation, self.attempt, stream.name());
        Self::folder_of(root, self.task).join(name)
    }
}

/// At the end of a sealed log's name.
const SEALED: &str = ".sealed";
/// At the end of the name of what a log says of itself.
const INDEX: &str = ".index";

/// The name of the same log once it is sealed.
pub fn sealed(path: &Path) -> PathBuf {
    with(path, SEALED)
}

/// The name of what a log says of itself, sealed or not.
pub fn index(path: &Path) -> PathBuf {
    with(path, INDEX)
}

/// The name of the log, not sealed, to which a file of this name belongs.
pub fn log_of(name: &str) -> &str {
    [SEALED, INDEX].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
