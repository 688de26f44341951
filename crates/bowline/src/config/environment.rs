//! The environment as it was when the process began, and the folders that follow from it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The environment, read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: HashMap<OsString, OsString>,
}

impl Environment {
    /// As it is now.
    pub(crate) fn capture() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// With these alone.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        Self { variables: variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect() }
    }

    /// A variable that is set and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then(|| value.to_string_lossy().into_owned())
    }

    /// A variable that names a folder. Relative ones are ignored, as the XDG rules ask.
    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        self.folder("HOME").map(|home| home.join(below))
    }

    /// Where the user's configuration lies.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        self.folder("XDG_CONFIG_HOME").or_else(|| self.home(".config"))
    }

    /// Where the user's state lies.
    pub(crate) fn state_home(&self) -> Option<PathBuf> {
        self.folder("XDG_STATE_HOME").or_else(|| self.home(".local/state"))
    }

    /// Where the user's runtime files lie: a folder of the user alone, gone after a reboot.
    pub(crate) fn runtime_home(&self) -> PathBuf {
        let user = rustix::process::geteuid().as_raw();
        match self.folder("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("bowline"),
            None => std::env::temp_dir().join(format!("bowline-{user}")),
        }
    }
}
