//! Every setting, with where its value came from: flags, then `BOWLINE_*`, then the file of
//! `--config` (else the user's file, then the machine's), then defaults. The environment is read
//! here and nowhere else. The current folder is never looked at: a checkout must not configure
//! whoever enters it.

mod environment;
mod file;

pub(crate) use environment::Environment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file.
    pub(crate) key: &'static str,
    /// Its variable.
    pub(crate) variable: &'static str,
    /// What holds where nothing is said.
    pub(crate) default: Option<&'static str>,
    /// What it is for.
    pub(crate) about: &'static str,
}

const fn setting(
    key: &'static str,
    variable: &'static str,
    default: Option<&'static str>,
    about: &'static str,
) -> Setting {
    Setting { key, variable, default, about }
}

/// All of them.
pub(crate) const SETTINGS: [Setting; 10] = [
    setting(
        "server",
        "BOWLINE_SERVER",
        None,
        "which server commands use; several for `worker start`, with spaces between",
    ),
    setting("token_file", "BOWLINE_TOKEN_FILE", None, "the file that holds the token"),
    setting("namespace", "BOWLINE_NAMESPACE", Some("default"), "the namespace of tasks and runs"),
    setting("data", "BOWLINE_DATA", Some(".bowline"), "the server's data folder, and `up`'s"),
    setting("listen", "BOWLINE_LISTEN", Some("127.0.0.1:7420"), "the address that a server listens on"),
    setting("state", "BOWLINE_STATE", None, "a worker's state folder"),
    setting("identity", "BOWLINE_IDENTITY", None, "a worker's identity; the host's name where not said"),
    setting("slots", "BOWLINE_SLOTS", None, "a worker's slots; the number of processors where not said"),
    setting("log", "BOWLINE_LOG", Some("info"), "levels of the log, such as `info` or `warn,bowline_leader=debug`"),
    setting("log_format", "BOWLINE_LOG_FORMAT", Some("text"), "`text` or `json`"),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// That variable.
    Variable(&'static str),
    /// That file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    /// As written.
    pub(crate) text: String,
    /// Where.
    pub(crate) origin: Origin,
}

/// All settings, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    values: BTreeMap<&'static str, Value>,
    environment: Environment,
    files: Vec<PathBuf>,
    flags: Vec<(&'static str, Option<String>)>,
    named: Option<PathBuf>,
}

impl Config {
    /// Resolves everything. `flags` are those of the command line, by key.
    pub(crate) fn load(flags: &[(&'static str, Option<String>)], named: Option<&Path>) -> anyhow::Result<Self> {
        Self::layered(Environment::capture(), flags, named)
    }

    fn layered(
        environment: Environment,
        flags: &[(&'static str, Option<String>)],
        named: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut values = BTreeMap::new();
        for setting in &SETTINGS {
            if let Some(text) = setting.default {
                values.insert(setting.key, Value { text: text.to_owned(), origin: Origin::Default });
            }
        }
        let files = file::read_all(&environment, named)?;
        for (path, table) in &files {
            for (key, text) in table {
                values.insert(key, Value { text: text.clone(), origin: Origin::File(path.clone()) });
            }
        }
        for setting in &SETTINGS {
            if let Some(text) = environment.text(setting.variable) {
                values.insert(setting.key, Value { text, origin: Origin::Variable(setting.variable) });
            }
        }
        for (key, text) in flags {
            if let Some(text) = text {
                values.insert(key, Value { text: text.clone(), origin: Origin::Flag });
            }
        }
        let files = files.into_iter().map(|(path, _)| path).collect();
        Ok(Self { values, environment, files, flags: flags.to_vec(), named: named.map(Path::to_owned) })
    }

    /// The settings with the files as they are now, under the same flags and variables.
    pub(crate) fn reread(&self) -> anyhow::Result<Self> {
        Self::layered(self.environment.clone(), &self.flags, self.named.as_deref())
    }

    /// A setting's value, where it has one.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Its text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).map(|value| value.text.as_str())
    }

    /// The environment as it was at the start.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The files that were read.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A setting's value as something other than text; the error says where the value came from.
    pub(crate) fn parsed<T>(&self, key: &str) -> anyhow::Result<Option<T>>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.text.parse().map(Some).map_err(|error| {
            crate::exit::Trouble::usage(format!(
                "The setting `{key}` is `{}` (from: {}), which cannot be used: {error}.",
                value.text, value.origin
            ))
            .into()
        })
    }
}

#[cfg(test)]
mod tests;
