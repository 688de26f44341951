//! Ids as people write them: a task `4711`, an array's element `4711.7`, a run `r12`, and `last`:
//! whatever this user submitted last.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use bowline_core::id::{RunId, TaskRef};

use crate::config::{Config, Environment};
use crate::exit::Trouble;
use crate::runtime;

/// Largest file that remembers an id, in bytes.
const LAST_BYTES_MAX: u64 = 64;

/// An id as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Id {
    /// A task, an array, an element.
    Task(TaskRef),
    /// A run.
    Run(RunId),
    /// The one submitted last.
    Last,
}

/// An id that names something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    /// A task, an array, an element.
    Task(TaskRef),
    /// A run.
    Run(RunId),
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        text.parse::<Thing>().map(|thing| match thing {
            Thing::Task(task) => Self::Task(task),
            Thing::Run(run) => Self::Run(run),
        })
    }
}

impl FromStr for Thing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(run) = RunId::parse(text) {
            return Ok(Self::Run(run));
        }
        text.parse().map(Self::Task).map_err(|_| {
            format!("`{text}` is no id: write a task such as `4711` or `4711.7`, a run such as `r12`, or `last`")
        })
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(f, "{task}"),
            Self::Run(run) => write!(f, "r{run}"),
        }
    }
}

impl Id {
    /// What it names.
    pub(crate) fn resolve(self, config: &Config) -> anyhow::Result<Thing> {
        match self {
            Self::Task(task) => Ok(Thing::Task(task)),
            Self::Run(run) => Ok(Thing::Run(run)),
            Self::Last => recall(config.environment()),
        }
    }

    /// The task that it names; a run is refused.
    pub(crate) fn task(self, config: &Config) -> anyhow::Result<TaskRef> {
        match self.resolve(config)? {
            Thing::Task(task) => Ok(task),
            Thing::Run(run) => Err(Trouble::usage(format!(
                "`r{run}` is a run, and this command wants a task: `bowline runs show r{run}` lists the run's tasks."
            ))
            .into()),
        }
    }

    /// The run that it names; a task is refused.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<RunId> {
        match self.resolve(config)? {
            Thing::Run(run) => Ok(run),
            Thing::Task(task) => Err(Trouble::usage(format!(
                "`{task}` is a task, and this command wants a run such as `r12`: `bowline runs list` shows them."
            ))
            .into()),
        }
    }
}

fn file(environment: &Environment) -> Option<PathBuf> {
    environment.state_home().map(|home| home.join("bowline/last"))
}

/// Remembers what was submitted last. A machine on which it cannot be kept has no `last`.
pub(crate) fn remember(config: &Config, thing: Thing) {
    let Some(path) = file(config.environment()) else { return };
    let Some(folder) = path.parent() else { return };
    if runtime::make_private(folder).is_err() {
        return;
    }
    let fresh = folder.join(format!(".last-{}", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| writeln!(file, "{thing}"))
        .and_then(|()| std::fs::rename(&fresh, &path));
    if written.is_err() {
        drop(std::fs::remove_file(&fresh));
    }
}

fn recall(environment: &Environment) -> anyhow::Result<Thing> {
    let none =
        || Trouble::new(crate::exit::Exit::MISSING, "There is no `last`: you have not submitted anything here yet.");
    let path = file(environment).ok_or_else(none)?;
    let metadata = std::fs::metadata(&path).map_err(|_| none())?;
    if metadata.len() > LAST_BYTES_MAX {
        return Err(none().into());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("`{}` cannot be read.", path.display()))?;
    text.trim().parse().map_err(|_| none().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_all_their_forms() {
        assert_eq!("4711".parse(), Ok(Id::Task("4711".parse().unwrap())));
        assert_eq!("4711.7".parse(), Ok(Id::Task("4711.7".parse().unwrap())));
        assert_eq!("r12".parse(), Ok(Id::Run(RunId(12))));
        assert_eq!("last".parse(), Ok(Id::Last));
        for bad in ["", "r", "x1", "1.", "1.2.3", "-1", "rlast"] {
            assert!(bad.parse::<Id>().unwrap_err().contains("is no id"), "{bad}");
        }
    }

    #[test]
    fn last_is_what_was_remembered() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("XDG_STATE_HOME", home.path().to_str().unwrap())]);
        assert!(recall(&environment).is_err());
        let folder = home.path().join("bowline");
        runtime::make_private(&folder).unwrap();
        std::fs::write(folder.join("last"), "r3\n").unwrap();
        assert_eq!(recall(&environment).unwrap(), Thing::Run(RunId(3)));
    }
}
