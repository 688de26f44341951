//! Child processes of `up` and of a local `run`: this very program under another command. The one
//! module of the command line that starts processes.
//!
//! A child gets a process group of its own, so that the terminal's Ctrl-C reaches the parent alone,
//! and its standard input is a pipe that only the parent holds: when the parent is gone, however it
//! went, the child reads the end and stops by itself (`--stop-with-parent`). Its standard output
//! comes line by line; its standard error goes to a log file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::sync::{mpsc, oneshot};

/// A child's log is begun anew past so many bytes; the one before is kept as `NAME.log.1`.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Longest line that a child may announce something with, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Announcements that wait to be read.
const LINES_MAX: usize = 16;
/// How much of a log's end is searched for the error that a child ended with, in bytes.
const TAIL_BYTES_MAX: u64 = 16 << 10;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// For messages: `server`, `worker`.
    pub(crate) name: &'static str,
    /// Arguments to this program.
    pub(crate) args: Vec<OsString>,
    /// Variables beside those that this process has.
    pub(crate) env: Vec<(&'static str, OsString)>,
    /// Where its standard error goes.
    pub(crate) log: PathBuf,
}

/// A child that was started. Dropping it closes its standard input, upon which it stops.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its standard input: closed when this is dropped, upon which it stops.
    _stdin: Option<ChildStdin>,
    handle: OwnedFd,
    status: oneshot::Receiver<io::Result<ExitStatus>>,
    log: PathBuf,
    log_start: u64,
}

/// Runs a command of the user's to its end, in this process's own terminal and folder.
#[expect(clippy::disallowed_methods, reason = "what runs under a lock is the caller's own, and not a job")]
pub(crate) fn run_to_end(program: &str, args: &[String]) -> io::Result<ExitStatus> {
    std::process::Command::new(program).args(args).status()
}

impl Launch {
    /// Starts it. Its announcements come through the receiver.
    #[expect(clippy::disallowed_methods, reason = "server and worker are processes of their own, and this starts them")]
    pub(crate) fn start(&self) -> io::Result<(Running, mpsc::Receiver<String>)> {
        let (log, log_start) = self.open_log()?;
        let mut child = std::process::Command::new(std::env::current_exe()?)
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .process_group(0)
            .spawn()?;
        // Nobody waits for it yet, so that its number is still its own.
        let handle = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let lines = announcements(child.stdout.take());
        let running =
            Running { _stdin: child.stdin.take(), handle, status: status(child), log: self.log.clone(), log_start };
        Ok((running, lines))
    }

    fn open_log(&self) -> io::Result<(File, u64)> {
        if std::fs::metadata(&self.log).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            std::fs::rename(&self.log, self.log.with_extension("log.1"))?;
        }
        let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log)?;
        let start = log.seek(SeekFrom::End(0))?;
        Ok((log, start))
    }
}

impl Running {
    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        (&mut self.status).await.unwrap_or_else(|_| Err(io::Error::other("the thread that waited for it is gone")))
    }

    /// Sends it a signal. A child that has ended meanwhile is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.handle, signal).ok();
    }

    /// The error that it told before it ended, where it told one: for a child that has ended.
    pub(crate) fn last_words(&self) -> Option<String> {
        let mut log = File::open(&self.log).ok()?;
        let length = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(self.log_start.max(length.saturating_sub(TAIL_BYTES_MAX)))).ok()?;
        let mut bytes = Vec::new();
        log.take(TAIL_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let at = if text.starts_with("error: ") { 0 } else { text.rfind("\nerror: ")? + 1 };
        Some(text[at..].trim_start_matches("error: ").trim_end().to_owned())
    }
}

/// How a child ends: a thread waits for it, and ends with it.
fn status(mut child: Child) -> oneshot::Receiver<io::Result<ExitStatus>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || drop(sender.send(child.wait())));
    receiver
}

/// The lines that a child writes to its standard output. Read by a thread, because a pipe from
/// `std` blocks; it ends with the pipe.
fn announcements(pipe: Option<std::process::ChildStdout>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    let Some(pipe) = pipe else { return receiver };
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                // Nobody listens any more: read on, so that the child never blocks on its output.
                Ok(_) => drop(sender.blocking_send(String::from_utf8_lossy(&line).trim_end().to_owned())),
            }
        }
    });
    receiver
}

/// Resolves when standard input ends: the parent that holds its other end is gone.
pub(crate) async fn parent_gone() {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = io::sink();
        drop(io::copy(&mut io::stdin().lock(), &mut sink));
        sender.send(()).ok();
    });
    drop(receiver.await);
}
