//! Makes an attempt ready: its folder, its files, its environment. Blocks; runs in the pool.
//!
//! An attempt's folder holds `work/` (where its job begins, unless its task names a folder),
//! `artifacts/`, `output`, `script` (shell text), the logs, and `masked` (what is masked in them).

pub(crate) mod spares;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_core::message::Held;
use bowline_core::name::{ResourceName, UnitName};
use bowline_core::spec::{Action, Command, Work, file_path_is_good, secret_name_is_good};
use bowline_protocol::{Handover, LogStream};
use bowline_supervisor::wire::Start;

use crate::attempt::key_of;
use crate::config::{GRACE, JOB_PATH_DEFAULT};
use crate::logs::look::mask_file;
use spares::{FILE_MODE, FOLDER_MODE, Spares};

/// Largest secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The lease group of all jobs: a supervisor serves one server.
pub(crate) const LEASE: &str = "server";

/// An attempt to be made ready.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) handover: Arc<Handover>,
    pub(crate) work: Arc<Work>,
    pub(crate) folder: PathBuf,
    pub(crate) worker: String,
    pub(crate) server: String,
    pub(crate) base_env: Arc<BTreeMap<String, String>>,
    /// Where this worker's secrets lie.
    pub(crate) secrets: Option<PathBuf>,
}

/// Why an attempt cannot be made ready. Whole sentences: they become the task's outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error("{what} failed for {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "the working folder {0} is not on this worker: make it there, or leave `--dir` out to get an own, empty folder"
    )]
    NoFolder(String),
    #[error("the working folder {0} is not absolute: write it from `/` on")]
    RelativeFolder(String),
    #[error("`{0}` cannot be a file of the working folder: a path there is relative, without `..`, empty or `.` parts")]
    BadPath(String),
    #[error("`{0}` leads over a symbolic link, which a task's files must not")]
    Link(String),
    #[error("`{0}` cannot be the name of an environment variable")]
    BadVariable(String),
    #[error(
        "this worker has no secret `{0}`: put it into a file of that name in the folder that `bowline worker start --secrets` names, or let the task run where it is"
    )]
    NoSecret(String),
    #[error("the secret `{0}` is larger than 64 KiB, or is not text")]
    BadSecret(String),
    #[error("the command is empty")]
    NoCommand,
    #[error("the command, or a variable, holds a NUL, which no program can be given")]
    Nul,
}

impl Plan {
    /// Where the job begins.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.work.dir.as_ref().map_or_else(|| self.folder.join("work"), PathBuf::from)
    }

    pub(crate) fn artifacts_dir(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    pub(crate) fn output_file(&self) -> PathBuf {
        self.folder.join("output")
    }

    /// Makes everything that the job needs. For an action without a process: `None`.
    pub(crate) fn prepare(&self, spares: &Spares) -> Result<Option<Start>, PrepareError> {
        let command = match &self.work.action {
            Action::Command(command) => command,
            Action::Noop | Action::Http(_) | Action::Wait | Action::Sleep(_) => return Ok(None),
        };
        self.make_folders(spares)?;
        let work_dir = self.work_dir();
        for (path, text) in &self.work.files {
            write_file(&work_dir, path, text)?;
        }
        let argv = self.argv(command)?;
        let mut start = self.start(argv);
        let secrets = self.secrets()?;
        self.make_logs(&secrets)?;
        start.env = self.environment(secrets)?;
        Ok(Some(start))
    }

    /// What the supervisor is asked to start, but for its environment.
    pub fn start(&self, argv: Vec<OsString>) -> Start {
        let key = key_of(self.handover.assign.attempt);
        let mut start = Start::new(key, argv, self.work_dir(), self.log(LogStream::Output));
        start.stderr = splits_output(&self.work).then(|| self.log(LogStream::Error));
        start.run_limit = self.handover.assign.run_timeout;
        start.stop_after = self.handover.assign.stop_after;
        LEASE.clone_into(&mut start.lease);
        start.grace = self.work.grace.map_or(GRACE, |span| span.0);
        start
    }

    /// What it is to do.
    pub fn work(&self) -> &Work {
        &self.work
    }

    fn log(&self, stream: LogStream) -> PathBuf {
        log_file(&self.folder, stream)
    }

    fn make_folders(&self, spares: &Spares) -> Result<(), PrepareError> {
        // What an interrupted preparation left.
        match fs::remove_dir_all(&self.folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failed("clearing the job's folder", &self.folder)(source));
            }
            Ok(()) | Err(_) => {}
        }
        if !spares.take(&self.folder) {
            for folder in [self.folder.clone(), self.folder.join("work"), self.artifacts_dir()] {
                let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder);
                made.map_err(failed("making the job's folder", &folder))?;
            }
        }
        let output = self.output_file();
        write_anew(&output, b"").map_err(failed("making the output file", &output))?;
        if let Some(dir) = &self.work.dir {
            if !Path::new(dir).is_absolute() {
                return Err(PrepareError::RelativeFolder(dir.clone()));
            }
            if !Path::new(dir).is_dir() {
                return Err(PrepareError::NoFolder(dir.clone()));
            }
        }
        Ok(())
    }

    fn argv(&self, command: &Command) -> Result<Vec<OsString>, PrepareError> {
        match command {
            Command::Argv(argv) => {
                if argv.first().is_none_or(String::is_empty) {
                    return Err(PrepareError::NoCommand);
                }
                if argv.iter().any(|argument| argument.contains('\0')) {
                    return Err(PrepareError::Nul);
                }
                Ok(argv.iter().map(OsString::from).collect())
            }
            Command::Shell(text) => {
                let script = self.folder.join("script");
                write_anew(&script, text.as_bytes()).map_err(failed("writing the script", &script))?;
                Ok(vec!["/bin/sh".into(), "-e".into(), script.into_os_string()])
            }
        }
    }

    /// Variables that hold secrets.
    fn secrets(&self) -> Result<Vec<(String, String)>, PrepareError> {
        let mut secrets = Vec::new();
        for (variable, name) in &self.work.secrets {
            if variable.is_empty() || variable.contains(['=', '\0']) {
                return Err(PrepareError::BadVariable(variable.clone()));
            }
            let folder = self.secrets.as_ref().filter(|_| secret_name_is_good(name));
            let path = folder.ok_or_else(|| PrepareError::NoSecret(name.clone()))?.join(name);
            secrets.push((variable.clone(), read_secret(&path, name)?));
        }
        Ok(secrets)
    }

    /// Makes the logs, so that they can be watched, and writes down what is to be masked in them.
    fn make_logs(&self, secrets: &[(String, String)]) -> Result<(), PrepareError> {
        let output = self.log(LogStream::Output);
        let streams = if splits_output(&self.work) { &LogStream::ALL[..] } else { &LogStream::ALL[..1] };
        for stream in streams {
            let log = self.log(*stream);
            write_anew(&log, b"").map_err(failed("making a log", &log))?;
        }
        let token = Some(&self.handover.token).filter(|token| !token.is_empty());
        let masked: Vec<&String> = secrets.iter().map(|(_, secret)| secret).chain(token).collect();
        let path = mask_file(&output);
        let text = serde_json::to_vec(&masked).unwrap_or_default();
        write_anew(&path, &text).map_err(failed("writing down what is to be masked", &path))
    }

    /// The whole environment: PATH, HOME, LANG, TZ, what the task names, and what every job sees.
    fn environment(&self, secrets: Vec<(String, String)>) -> Result<Vec<(OsString, OsString)>, PrepareError> {
        let mut env: BTreeMap<String, OsString> = BTreeMap::new();
        env.insert("PATH".to_owned(), JOB_PATH_DEFAULT.into());
        let named = self.base_env.iter().chain(&self.work.env);
        for (name, value) in named {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(PrepareError::BadVariable(name.clone()));
            }
            if value.contains('\0') {
                return Err(PrepareError::Nul);
            }
            env.insert(name.clone(), value.into());
        }
        env.extend(secrets.into_iter().map(|(name, secret)| (name, secret.into())));
        env.extend(self.own_variables());
        Ok(env.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    fn own_variables(&self) -> Vec<(String, OsString)> {
        let Handover { assign, namespace, run, step, token, server, .. } = &*self.handover;
        let server = if server.is_empty() { &self.server } else { server };
        let mut own: Vec<(&str, OsString)> = vec![
            ("BOWLINE_TASK_ID", assign.attempt.task.to_string().into()),
            ("BOWLINE_ATTEMPT", assign.attempt.fence.attempt.to_string().into()),
            ("BOWLINE_NAMESPACE", namespace.as_str().into()),
            ("BOWLINE_WORKER", self.worker.clone().into()),
            ("BOWLINE_SERVER", server.clone().into()),
            ("BOWLINE_OUTPUT", self.output_file().into()),
            ("BOWLINE_ARTIFACTS", self.artifacts_dir().into()),
        ];
        let optional = [
            ("BOWLINE_RUN_ID", run.map(|run| format!("r{run}"))),
            ("BOWLINE_STEP", step.as_ref().map(|step| step.as_str().to_owned())),
            ("BOWLINE_TOKEN", (!token.is_empty()).then(|| token.clone())),
            ("BOWLINE_ARRAY_INDEX", assign.attempt.task.index.map(|index| index.to_string())),
        ];
        own.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
        let resources =
            assign.resources.iter().map(|held| (resource_variable(&held.name), resource_value(held).into()));
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(resources).collect()
    }
}

/// The name of the variable that tells a job of a resource: what is no letter or digit becomes `_`.
fn resource_variable(name: &ResourceName) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("BOWLINE_RESOURCE_{}", name.as_str().chars().map(plain).collect::<String>())
}

/// Its units; of what has none, how much of it; of a lock, its name.
fn resource_value(held: &Held) -> String {
    if !held.units.is_empty() {
        return held.units.iter().map(UnitName::as_str).collect::<Vec<_>>().join(",");
    }
    if held.amount > 0 { held.amount.to_string() } else { held.name.as_str().to_owned() }
}

/// Whether standard error has a log of its own: where it is asked for, and where standard output is
/// the result, which it must not spoil.
pub(crate) fn splits_output(work: &Work) -> bool {
    work.split_output || work.output.is_some()
}

/// Where a log of an attempt lies.
pub(crate) fn log_file(folder: &Path, stream: LogStream) -> PathBuf {
    folder.join(match stream {
        LogStream::Output => "output.log",
        LogStream::Error => "error.log",
    })
}

/// A secret's text, without the line end that editors put behind it.
fn read_secret(path: &Path, name: &str) -> Result<String, PrepareError> {
    let mut text = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PrepareError::NoSecret(name.to_owned())),
        Err(error) => return Err(failed("reading a secret", path)(error)),
    }
    let text = String::from_utf8(text).ok().filter(|text| text.len() as u64 <= SECRET_BYTES_MAX);
    let text = text.filter(|text| !text.contains('\0')).ok_or_else(|| PrepareError::BadSecret(name.to_owned()))?;
    Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
}

/// Writes a file of the attempt's folder, which is ours alone.
fn write_anew(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PrepareError {
    let path = path.to_owned();
    move |source| PrepareError::Io { what, path, source }
}

/// Writes one of a task's files, in place of what is there. No link is followed on the way.
fn write_file(work_dir: &Path, path: &str, text: &str) -> Result<(), PrepareError> {
    if !file_path_is_good(path) {
        return Err(PrepareError::BadPath(path.to_owned()));
    }
    let mut at = work_dir.to_owned();
    let (folders, file) = path.rsplit_once('/').map_or((None, path), |(folders, file)| (Some(folders), file));
    for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_symlink() => return Err(PrepareError::Link(path.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().mode(0o755).create(&at);
                made.map_err(failed("making a folder for the task's files", &at))?;
            }
            Err(error) => return Err(failed("looking at a folder for the task's files", &at)(error)),
        }
    }
    at.push(file);
    if fs::symlink_metadata(&at).is_ok_and(|found| found.is_symlink()) {
        return Err(PrepareError::Link(path.to_owned()));
    }
    match fs::remove_file(&at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replacing one of the task's files", &at)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&at);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(failed("writing one of the task's files", &at))
}

#[cfg(test)]
mod tests;
