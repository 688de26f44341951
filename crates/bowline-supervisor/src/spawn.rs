//! Starting a supervisor so that it outlives whoever started it.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::clock::timespec;
use crate::paths;
use crate::ways::Way;

/// The hidden subcommand that is the supervisor.
pub const SUPERVISOR_COMMAND: &str = "supervisor";

/// What a supervisor is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// This program, which must hand its arguments to [`crate::dispatch`]. `/proc/self/exe` is best: it
    /// stays right when the file is replaced.
    pub exe: PathBuf,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Where the boot id stands. `None`: the kernel's.
    pub boot_id_file: Option<PathBuf>,
    /// Nothing stronger is used to hold jobs together, even where the machine offers it.
    pub strongest: Way,
}

impl Program {
    /// With the kernel's boot id and the strongest way that there is.
    pub fn new(exe: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { exe: exe.into(), state_dir: state_dir.into(), boot_id_file: None, strongest: Way::Cgroup }
    }
}

/// Starts a supervisor for a state folder, which is made where it is missing. The supervisor gets a session of its own and belongs to nobody: the
/// process started here starts it and leaves at once, and is waited for.
///
/// Where the state folder has a supervisor already, the new one leaves by itself.
pub fn spawn_detached(program: &Program) -> io::Result<()> {
    std::fs::create_dir_all(&program.state_dir)?;
    let state_dir = std::path::absolute(&program.state_dir)?;
    #[expect(clippy::disallowed_methods, reason = "the supervisor's start is here and nowhere else")]
    let mut command = Command::new(&program.exe);
    command
        .arg(SUPERVISOR_COMMAND)
        .arg("--detach")
        .arg("--state")
        .arg(&state_dir)
        .arg("--socket")
        .arg(paths::socket_path(&state_dir))
        .arg("--no-stronger-than")
        .arg(program.strongest.name());
    if let Some(file) = &program.boot_id_file {
        command.arg("--boot-id-file").arg(std::path::absolute(file)?);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("the process that was to start it ended with {status}")))
    }
}

/// Waits until something can be read, at most so long. `false`: nothing came.
pub(crate) fn wait_readable(from: &impl AsFd, bound: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(from, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&timespec(bound))) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets a moment pass.
pub(crate) fn pause(length: Duration) {
    // Woken early by a signal, the caller just looks again.
    poll(&mut [], Some(&timespec(length))).ok();
}
