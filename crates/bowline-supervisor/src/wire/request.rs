//! What a worker asks of its supervisor.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::{DecodeError, Reader, Writer};

/// Between TERM and KILL where nobody says.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// File mode bits taken away where nobody says.
const UMASK_DEFAULT: u32 = 0o022;

/// What a worker asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Start a job. Answered by `Started` or `StartFailed`.
    Start(Box<Start>),
    /// Stop a job: TERM to all of it, after the grace KILL. Answered by `Exited`, later perhaps
    /// `Stuck`. A second one may shorten the grace, never lengthen it.
    Kill {
        /// The job.
        key: String,
        /// Between TERM and KILL. Zero: KILL at once.
        grace: Duration,
    },
    /// Say anew what is known of every job. Answered by one event a job, then `Listed`.
    List,
    /// The end of this job is kept durably elsewhere: its record may go. Nothing happens where the
    /// key is unknown; refused while the job lives.
    Forget {
        /// The job.
        key: String,
    },
    /// Leave.
    Shutdown(ShutdownMode),
    /// The newest heartbeat that this lease group's server has answered was sent then. Jobs of the
    /// group that have a [`Start::stop_after`] count from it. An older moment changes nothing.
    Renew {
        /// The group.
        lease: String,
        /// When it was sent, on `CLOCK_BOOTTIME`.
        sent_at: Duration,
    },
    /// Whether it is still there. Answered by [`super::Event::Pong`] at once.
    Ping,
}

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Take no more jobs; leave when the last one has ended.
    WhenIdle,
    /// Take no more jobs; stop those that run (TERM, their grace, KILL); leave then.
    StopJobs,
}

/// A job to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Names the job: a safe file name, see [`is_valid_key`]. Never used for two jobs.
    pub key: String,
    /// The program, looked up in the job's PATH, and its arguments. Never empty.
    pub argv: Vec<OsString>,
    /// The whole environment. `BOWLINE_MARK` is added to it.
    pub env: Vec<(OsString, OsString)>,
    /// Working folder. It must exist.
    pub cwd: PathBuf,
    /// Standard input, a plain file. `None`: empty.
    pub stdin: Option<PathBuf>,
    /// Standard output is appended to this file, which is made where it is missing.
    pub stdout: PathBuf,
    /// Standard error, likewise. `None`: the same open file as standard output, so that the order
    /// of what is written is kept.
    pub stderr: Option<PathBuf>,
    /// The job is stopped after so long, counted from `Started` on a clock that runs through suspend.
    pub run_limit: Option<Duration>,
    /// Between TERM and KILL when the run limit or the end of the supervisor stops the job.
    pub grace: Duration,
    /// The job's file mode mask.
    pub umask: u32,
    /// Which server the job is for, where the worker has several: a short name that [`Request::Renew`]
    /// uses too.
    pub lease: String,
    /// The job is stopped when the newest answered heartbeat of its lease group was sent longer ago
    /// than this. Before the first [`Request::Renew`] of the group it counts from the job's start.
    pub stop_after: Option<Duration>,
}

impl Start {
    /// A job with an empty environment and standard input, without a run limit.
    pub fn new(key: impl Into<String>, argv: Vec<OsString>, cwd: PathBuf, stdout: PathBuf) -> Self {
        Self {
            key: key.into(),
            argv,
            env: Vec::new(),
            cwd,
            stdin: None,
            stdout,
            stderr: None,
            run_limit: None,
            grace: GRACE_DEFAULT,
            umask: UMASK_DEFAULT,
            lease: String::new(),
            stop_after: None,
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.text(&self.key);
        out.list(&self.argv, |out, arg| out.os(arg));
        out.list(&self.env, |out, (name, value)| {
            out.os(name);
            out.os(value);
        });
        out.os(&self.cwd);
        out.option(self.stdin.as_ref(), |out, path| out.os(path));
        out.os(&self.stdout);
        out.option(self.stderr.as_ref(), |out, path| out.os(path));
        out.option(self.run_limit.as_ref(), |out, limit| out.duration(*limit));
        out.duration(self.grace);
        out.u32(self.umask);
        out.text(&self.lease);
        out.option(self.stop_after.as_ref(), |out, length| out.duration(*length));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: from.text()?,
            argv: from.list(Reader::os)?,
            env: from.list(|from| Ok((from.os()?, from.os()?)))?,
            cwd: from.path()?,
            stdin: from.option(Reader::path)?,
            stdout: from.path()?,
            stderr: from.option(Reader::path)?,
            run_limit: from.option(Reader::duration)?,
            grace: from.duration()?,
            umask: from.u32()?,
            lease: from.appended(Reader::text)?.unwrap_or_default(),
            stop_after: from.appended(|from| from.option(Reader::duration))?.flatten(),
        })
    }
}

impl Request {
    /// As the body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Start(start) => {
                out.u8(1);
                start.write(&mut out);
            }
            Self::Kill { key, grace } => {
                out.u8(2);
                out.text(key);
                out.duration(*grace);
            }
            Self::List => out.u8(3),
            Self::Forget { key } => {
                out.u8(4);
                out.text(key);
            }
            Self::Shutdown(ShutdownMode::WhenIdle) => out.u8(5),
            Self::Shutdown(ShutdownMode::StopJobs) => out.u8(6),
            Self::Renew { lease, sent_at } => {
                out.u8(7);
                out.text(lease);
                out.duration(*sent_at);
            }
            Self::Ping => out.u8(8),
        }
        out.0
    }

    /// From the body of a frame. What a later version may append is passed over.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(body);
        Ok(match from.u8()? {
            1 => Self::Start(Box::new(Start::read(&mut from)?)),
            2 => Self::Kill { key: from.text()?, grace: from.duration()? },
            3 => Self::List,
            4 => Self::Forget { key: from.text()? },
            5 => Self::Shutdown(ShutdownMode::WhenIdle),
            6 => Self::Shutdown(ShutdownMode::StopJobs),
            7 => Self::Renew { lease: from.text()?, sent_at: from.duration()? },
            8 => Self::Ping,
            kind => return Err(DecodeError::UnknownMessage(kind)),
        })
    }
}

/// Whether a key may name a job: 1 to 128 printable ASCII characters without blanks and `/`, and no
/// `.` at its start.
pub fn is_valid_key(key: &str) -> bool {
    (1..=super::KEY_BYTES_MAX).contains(&key.len())
        && !key.starts_with('.')
        && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
}
