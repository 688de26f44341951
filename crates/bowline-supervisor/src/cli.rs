//! The hidden subcommand: what a program hands to this crate before it looks at its arguments
//! itself.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::spawn::SUPERVISOR_COMMAND;
use crate::ways::Way;
use crate::{inherited, paths, server};

/// Without a job and without a worker for so long, a supervisor leaves.
const IDLE_BOUND_DEFAULT: Duration = Duration::from_mins(1);

/// What a supervisor is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its state folder, which it has for itself.
    pub state_dir: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Without a job and without a worker for so long, it leaves.
    pub idle_bound: Duration,
    /// Where the boot id stands. `None`: the kernel's.
    pub boot_id_file: Option<PathBuf>,
    /// Nothing stronger is used to hold jobs together, even where the machine offers it.
    pub strongest: Way,
}

/// How a supervisor's life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to leave, or had nothing to do.
    Left,
    /// Another one has the state folder.
    AlreadyRunning,
}

impl Options {
    /// With the usual socket and bound.
    pub fn new(state_dir: PathBuf) -> Self {
        Self {
            socket: paths::socket_path(&state_dir),
            state_dir,
            idle_bound: IDLE_BOUND_DEFAULT,
            boot_id_file: None,
            strongest: Way::Cgroup,
        }
    }
}

/// Runs a supervisor to its end. It must have the process for itself, and be called in the main thread:
/// it takes the signals TERM, INT, HUP and CHLD, becomes the parent of all orphans below it, and
/// leaves for the folder `/`.
pub fn run(options: &Options) -> io::Result<Outcome> {
    server::run(options)
}

/// Looks whether this process is meant to be a supervisor, and is it. To be called
/// first of all in `main`, with all arguments (the program's name first), before any thread starts.
/// `None`: it is not; go on. `Some`: exit with this status.
pub fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    let (command, rest) = args.split_first()?;
    if command != SUPERVISOR_COMMAND {
        return None;
    }
    let Some((options, detach)) = parse(rest) else { return Some(2) };
    let ended = inherited::close_on_exec().and_then(|()| match detach {
        Detach::Yes => start_anew(&options),
        Detach::No => run(&options).map(|_| ()),
    });
    Some(u8::from(ended.is_err()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detach {
    Yes,
    No,
}

fn parse(args: &[OsString]) -> Option<(Options, Detach)> {
    let (mut state_dir, mut socket, mut idle, mut detach) = (None, None, IDLE_BOUND_DEFAULT, Detach::No);
    let (mut strongest, mut boot_id_file) = (Way::Cgroup, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str()? {
            "--state" => state_dir = Some(PathBuf::from(args.next()?)),
            "--socket" => socket = Some(PathBuf::from(args.next()?)),
            "--idle-ms" => idle = Duration::from_millis(args.next()?.to_str()?.parse().ok()?),
            "--boot-id-file" => boot_id_file = Some(std::path::absolute(args.next()?).ok()?),
            "--no-stronger-than" => strongest = Way::from_name(args.next()?.to_str()?)?,
            "--detach" => detach = Detach::Yes,
            _ => return None,
        }
    }
    let state_dir = std::path::absolute(state_dir?).ok()?;
    let socket = match socket {
        Some(socket) => std::path::absolute(socket).ok()?,
        None => paths::socket_path(&state_dir),
    };
    Some((Options { state_dir, socket, idle_bound: idle, boot_id_file, strongest }, detach))
}

/// Starts the supervisor as a child that nobody waits for, in a session of its own.
fn start_anew(options: &Options) -> io::Result<()> {
    rustix::process::setsid()?;
    #[expect(clippy::disallowed_methods, reason = "the supervisor's start")]
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(SUPERVISOR_COMMAND)
        .arg("--state")
        .arg(&options.state_dir)
        .arg("--socket")
        .arg(&options.socket)
        .arg("--idle-ms")
        .arg(options.idle_bound.as_millis().to_string())
        .arg("--no-stronger-than")
        .arg(options.strongest.name())
        .args(options.boot_id_file.iter().flat_map(|file| [OsStr::new("--boot-id-file"), file.as_os_str()]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_commands_are_left_alone() {
        for args in [&["bowline"][..], &["bowline", "up"], &["bowline", "--help"]] {
            assert_eq!(dispatch(args.iter().map(OsString::from)), None);
        }
    }

    #[test]
    fn bad_arguments_are_wrong_usage() {
        for args in [&["b", "supervisor"][..], &["b", "supervisor", "--state"], &["b", "supervisor", "--x"]] {
            assert_eq!(dispatch(args.iter().map(OsString::from)), Some(2));
        }
    }

    #[test]
    fn options_are_read() {
        let args = ["--state", "/s", "--idle-ms", "1500", "--detach"].map(OsString::from);
        let expected = Options { idle_bound: Duration::from_millis(1500), ..Options::new("/s".into()) };
        assert_eq!(parse(&args), Some((expected, Detach::Yes)));
    }
}
