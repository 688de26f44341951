//! What a job's process does between its birth and the job's program: the stage.
//!
//! The supervisor starts its own program again as `supervisor-stage SPEC STATUS PARENT`, with two
//! descriptors: a memory file with the description, and a pipe for the report. The stage dies with its
//! parent (the supervisor, or the job's keeper), leads a session of its own, joins the job's cgroup where
//! it was not born in it, and becomes the program.
//!
//! ```text
//! report := READY            (then the pipe closes: the exec succeeded)
//!         | READY? · FAILED · step u8 · errno i32
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{
    Resource, Rlimit, Signal, chdir, getppid, getrlimit, set_parent_process_death_signal, setrlimit, setsid, umask,
};

use crate::wire::{DecodeError, Reader, Step, Writer};
use crate::{inherited, signals};

/// The hidden subcommand that is the stage.
pub const STAGE_COMMAND: &str = "supervisor-stage";
/// What the stage exits with where it can't become the program. The report says more.
const EXIT_STATUS: u8 = 127;

const READY: u8 = 1;
const FAILED: u8 = 2;

/// What the stage is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: PathBuf,
    /// The cgroup that it is to join.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) umask: u32,
    /// Soft limit of open files.
    pub(crate) nofile: Option<u64>,
}

impl Spec {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.list(&self.argv, |out, arg| out.os(arg));
        out.list(&self.env, |out, (name, value)| {
            out.os(name);
            out.os(value);
        });
        out.os(&self.cwd);
        out.option(self.cgroup.as_ref(), |out, path| out.os(path));
        out.u32(self.umask);
        out.option(self.nofile.as_ref(), |out, limit| out.u64(*limit));
        out.0
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let spec = Self {
            argv: from.list(Reader::os)?,
            env: from.list(|from| Ok((from.os()?, from.os()?)))?,
            cwd: from.path()?,
            cgroup: from.option(Reader::path)?,
            umask: from.u32()?,
            nofile: from.option(Reader::u64)?,
        };
        from.end()?;
        Ok(spec)
    }
}

/// What the supervisor reads in the report, when the pipe has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The program runs, or has run.
    Started,
    /// It could not be started.
    Failed(Step, i32),
    /// The stage was killed before it came to the program.
    Died,
}

impl Report {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let rest = bytes.strip_prefix(&[READY]).unwrap_or(bytes);
        let failed = |bytes: &[u8]| {
            let mut from = Reader::new(bytes.strip_prefix(&[FAILED])?);
            Some(Self::Failed(Step::from_number(from.u8().ok()?).ok()?, from.i32().ok()?))
        };
        match (bytes.len() - rest.len(), rest.is_empty()) {
            (1, true) => Self::Started,
            _ => failed(rest).unwrap_or(Self::Died),
        }
    }
}

/// Runs the stage. Returns only where the program could not be started.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let [spec, status, parent] = args else { return EXIT_STATUS };
    let (Some(mut spec), Some(status)) = (take_fd(spec).map(File::from), take_fd(status)) else { return EXIT_STATUS };
    let mut bytes = Vec::new();
    let read = spec.rewind().and_then(|()| spec.read_to_end(&mut bytes));
    drop(spec);
    let (step, errno) = match (read, Spec::decode(&bytes)) {
        (Ok(_), Ok(spec)) => become_program(spec, parent, &status),
        _ => (Step::Setup, 0),
    };
    // Where the supervisor is gone nobody wants to know.
    rustix::io::write(&status, &failure(step, errno)).ok();
    EXIT_STATUS
}

/// The report of a failure.
pub(crate) fn failure(step: Step, errno: i32) -> Vec<u8> {
    let mut report = Writer::default();
    report.u8(FAILED);
    report.u8(step.number());
    report.i32(errno);
    report.0
}

fn take_fd(number: &OsStr) -> Option<OwnedFd> {
    inherited::take(number.to_str()?.parse().ok()?)
}

/// Sets up the process and becomes the program. What comes back is why it did not work.
fn become_program(spec: Spec, parent: &OsStr, status: &impl AsFd) -> (Step, i32) {
    if let Err(error) = set_up(&spec, parent) {
        return (Step::Setup, error.raw_os_error().unwrap_or(0));
    }
    if let Err(error) = chdir(&spec.cwd) {
        return (Step::Cwd, error.raw_os_error());
    }
    let Some((program, args)) = spec.argv.split_first() else {
        return (Step::Input, Errno::INVAL.raw_os_error());
    };
    #[expect(clippy::disallowed_methods, reason = "this is where a job's program starts")]
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(spec.env);
    signals::set_defaults();
    if rustix::io::write(status, &[READY]).is_err() {
        return (Step::Setup, 0);
    }
    let error = command.exec();
    (Step::Exec, error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error()))
}

fn set_up(spec: &Spec, parent: &OsStr) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that took hold.
    if getppid().is_none_or(|own| parent != own.as_raw_nonzero().to_string().as_str()) {
        return Err(Errno::SRCH.into());
    }
    setsid()?;
    if let Some(cgroup) = &spec.cgroup {
        std::fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    umask(Mode::from_raw_mode(spec.umask & 0o777));
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = match (spec.nofile, maximum) {
        (Some(current), Some(maximum)) => Some(current.min(maximum)),
        (current, maximum) => current.or(maximum),
    };
    setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_meant() {
        let failed = [FAILED, Step::Exec.number(), 2, 0, 0, 0];
        assert_eq!(Report::parse(&[READY]), Report::Started);
        assert_eq!(Report::parse(&failed), Report::Failed(Step::Exec, 2));
        assert_eq!(Report::parse(&[&[READY][..], &failed].concat()), Report::Failed(Step::Exec, 2));
        assert_eq!(Report::parse(&[]), Report::Died);
        assert_eq!(Report::parse(&failed[..3]), Report::Died);
    }

    #[test]
    fn the_description_survives_its_way() {
        let spec = Spec {
            argv: vec!["a b".into(), "".into()],
            env: vec![("K".into(), "v\n".into())],
            cwd: "/".into(),
            cgroup: Some("/c".into()),
            umask: 0o77,
            nofile: Some(1024),
        };
        assert_eq!(Spec::decode(&spec.encode()), Ok(spec));
    }
}
