//! What a supervisor tells its worker.

use std::fmt;
use std::time::Duration;

use super::codec::{DecodeError, Reader, Writer};

/// A list of processes, by number.
pub type Ids = Vec<u32>;

/// What happened to a job. All but `Refused` are said anew after a `List`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The job is being set up. Only after a `List`.
    Starting {
        /// The job.
        key: String,
    },
    /// The program runs: its `exec` succeeded.
    Started {
        /// The job.
        key: String,
        /// Its first process, which leads a session and a process group of its own.
        pid: u32,
        /// On `CLOCK_BOOTTIME`.
        started_at: Duration,
    },
    /// The program could not be started. Kept until `Forget`.
    StartFailed(StartFailed),
    /// The job is over and none of its processes is left. Kept until `Forget`.
    Exited(Exited),
    /// An earlier supervisor took its end with it; none of its processes is left. Kept until `Forget`.
    Lost {
        /// The job.
        key: String,
        /// Why nobody knows its end.
        why: LostWhy,
    },
    /// The answer to `List` is complete.
    Listed {
        /// Jobs that are starting, running or stopping.
        live: u32,
        /// Jobs that have ended, and are not forgotten.
        ended: u32,
        /// Records on disk that can't be read, by file name. They are kept.
        damaged: Vec<String>,
    },
    /// These processes of a job that was killed are still there. The supervisor goes on trying;
    /// `Exited` follows when it succeeds.
    Stuck {
        /// The job.
        key: String,
        /// The processes.
        pids: Ids,
    },
    /// A request was refused. It changed nothing.
    Refused {
        /// The job that it named, or nothing.
        key: Option<String>,
        /// Why.
        why: Refusal,
    },
    /// The answer to a `Ping`.
    Pong,
}

/// A program that could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailed {
    /// The job.
    pub key: String,
    /// What failed.
    pub step: Step,
    /// The error's number, as in `errno`. 0 where there is none.
    pub errno: i32,
}

/// What failed at a job's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The key, or the command, can't be used at all.
    Input,
    /// Writing the record of the job.
    Record,
    /// Opening the file for standard input.
    Stdin,
    /// Opening the file for standard output.
    Stdout,
    /// Opening the file for standard error.
    Stderr,
    /// Making a process.
    Spawn,
    /// What the new process does before it becomes the program: session, cgroup.
    Setup,
    /// Entering the working folder.
    Cwd,
    /// Becoming the program: not found, not executable.
    Exec,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exited {
    /// The job.
    pub key: String,
    /// How its first process ended.
    pub exit: Exit,
    /// Whether it was stopped, and why. `None`: it ended by itself.
    pub stopped: Option<StopReason>,
    /// On `CLOCK_BOOTTIME`.
    pub started_at: Duration,
    /// When the first process ended, on `CLOCK_BOOTTIME`.
    pub ended_at: Duration,
    /// So many processes that the first one left behind had to be killed, as far as they were seen.
    pub leftovers: u32,
    /// Whether this is on disk, to be synced within a second or two unless it is forgotten by then.
    /// `false`: the disk refused it, and only this supervisor knows.
    pub recorded: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// Why a job was stopped. The first reason stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// `Kill` asked for it.
    Asked,
    /// The run limit passed.
    RunLimit,
    /// The supervisor was told to leave.
    Shutdown,
    /// The newest answered heartbeat of its lease group had been sent more than `stop_after` ago.
    LeaseExpired,
    /// For a reason that only a later version knows.
    Other,
}

/// Why nobody knows how a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostWhy {
    /// Its supervisor died.
    SupervisorDied,
    /// The machine was started anew.
    Rebooted,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is a job of this key, alive or not forgotten.
    KeyInUse,
    /// There is no job of this key.
    UnknownKey,
    /// The job still lives.
    StillAlive,
    /// The supervisor is about to leave, and takes no more jobs.
    Leaving,
    /// A request of a kind that this version does not know, or a reason that it does not know.
    NotUnderstood,
}

/// The end of a job, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It ran.
    Exited(Exited),
    /// It never ran.
    StartFailed(StartFailed),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "the job's description",
            Self::Record => "writing the job's record",
            Self::Stdin => "opening standard input",
            Self::Stdout => "opening the file for standard output",
            Self::Stderr => "opening the file for standard error",
            Self::Spawn => "making a process",
            Self::Setup => "setting up the process",
            Self::Cwd => "entering the working folder",
            Self::Exec => "starting the program",
        })
    }
}

impl Exit {
    /// As a shell says it: the status, or 128 and the signal.
    pub fn shell_status(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

const STEPS: [Step; 9] = [
    Step::Input,
    Step::Record,
    Step::Stdin,
    Step::Stdout,
    Step::Stderr,
    Step::Spawn,
    Step::Setup,
    Step::Cwd,
    Step::Exec,
];

impl Step {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Input => 0,
            Self::Record => 1,
            Self::Stdin => 2,
            Self::Stdout => 3,
            Self::Stderr => 4,
            Self::Spawn => 5,
            Self::Setup => 6,
            Self::Cwd => 7,
            Self::Exec => 8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Result<Self, DecodeError> {
        STEPS.get(usize::from(number)).copied().ok_or(DecodeError::UnknownKind(number))
    }
}

impl StartFailed {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.text(&self.key);
        out.u8(self.step.number());
        out.i32(self.errno);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { key: from.text()?, step: Step::from_number(from.u8()?)?, errno: from.i32()? })
    }
}

impl Exited {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.text(&self.key);
        let (kind, number) = match self.exit {
            Exit::Code(code) => (0, code),
            Exit::Signal(signal) => (1, signal),
        };
        out.u8(kind);
        out.i32(number);
        out.u8(match self.stopped {
            None => 0,
            Some(StopReason::Asked) => 1,
            Some(StopReason::RunLimit) => 2,
            Some(StopReason::Shutdown) => 3,
            Some(StopReason::LeaseExpired) => 4,
            Some(StopReason::Other) => u8::MAX,
        });
        out.duration(self.started_at);
        out.duration(self.ended_at);
        out.u32(self.leftovers);
        out.u8(u8::from(self.recorded));
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key = from.text()?;
        let exit = match (from.u8()?, from.i32()?) {
            (0, code) => Exit::Code(code),
            (1, signal) => Exit::Signal(signal),
            (kind, _) => return Err(DecodeError::UnknownKind(kind)),
        };
        let stopped = match from.u8()? {
            0 => None,
            1 => Some(StopReason::Asked),
            2 => Some(StopReason::RunLimit),
            3 => Some(StopReason::Shutdown),
            4 => Some(StopReason::LeaseExpired),
            _ => Some(StopReason::Other),
        };
        Ok(Self {
            key,
            exit,
            stopped,
            started_at: from.duration()?,
            ended_at: from.duration()?,
            leftovers: from.u32()?,
            recorded: from.u8()? != 0,
        })
    }
}

impl Ended {
    /// The job.
    pub fn key(&self) -> &str {
        match self {
            Self::Exited(exited) => &exited.key,
            Self::StartFailed(failed) => &failed.key,
        }
    }

    /// The event that tells it.
    pub fn event(&self) -> Event {
        match self {
            Self::Exited(exited) => Event::Exited(exited.clone()),
            Self::StartFailed(failed) => Event::StartFailed(failed.clone()),
        }
    }
}

impl Event {
    /// The job that it tells of.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Starting { key } | Self::Started { key, .. } | Self::Lost { key, .. } | Self::Stuck { key, .. } => {
                Some(key)
            }
            Self::StartFailed(failed) => Some(&failed.key),
            Self::Exited(exited) => Some(&exited.key),
            Self::Refused { .. } | Self::Listed { .. } | Self::Pong => None,
        }
    }

    /// As the body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Starting { key } => {
                out.u8(1);
                out.text(key);
            }
            Self::Started { key, pid, started_at } => {
                out.u8(2);
                out.text(key);
                out.u32(*pid);
                out.duration(*started_at);
            }
            Self::StartFailed(failed) => {
                out.u8(3);
                failed.write(&mut out);
            }
            Self::Exited(exited) => {
                out.u8(4);
                exited.write(&mut out);
            }
            Self::Lost { key, why } => {
                out.u8(5);
                out.text(key);
                out.u8(match why {
                    LostWhy::SupervisorDied => 0,
                    LostWhy::Rebooted => 1,
                });
            }
            Self::Listed { live, ended, damaged } => {
                out.u8(6);
                out.u32(*live);
                out.u32(*ended);
                out.list(damaged, |out, name| out.text(name));
            }
            Self::Stuck { key, pids } => {
                out.u8(7);
                out.text(key);
                out.list(pids, |out, pid| out.u32(*pid));
            }
            Self::Refused { key, why } => {
                out.u8(8);
                out.option(key.as_ref(), |out, key| out.text(key));
                out.u8(match why {
                    Refusal::KeyInUse => 0,
                    Refusal::UnknownKey => 1,
                    Refusal::StillAlive => 2,
                    Refusal::Leaving => 3,
                    Refusal::NotUnderstood => 4,
                });
            }
            Self::Pong => out.u8(9),
        }
        out.0
    }

    /// From the body of a frame. What a later version may append is passed over.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(body);
        Ok(match from.u8()? {
            1 => Self::Starting { key: from.text()? },
            2 => Self::Started { key: from.text()?, pid: from.u32()?, started_at: from.duration()? },
            3 => Self::StartFailed(StartFailed::read(&mut from)?),
            4 => Self::Exited(Exited::read(&mut from)?),
            5 => Self::Lost { key: from.text()?, why: read_lost(&mut from)? },
            6 => Self::Listed { live: from.u32()?, ended: from.u32()?, damaged: from.list(Reader::text)? },
            7 => Self::Stuck { key: from.text()?, pids: from.list(Reader::u32)? },
            8 => Self::Refused { key: from.option(Reader::text)?, why: read_refusal(&mut from)? },
            9 => Self::Pong,
            kind => return Err(DecodeError::UnknownMessage(kind)),
        })
    }
}

fn read_lost(from: &mut Reader<'_>) -> Result<LostWhy, DecodeError> {
    match from.u8()? {
        0 => Ok(LostWhy::SupervisorDied),
        1 => Ok(LostWhy::Rebooted),
        kind => Err(DecodeError::UnknownKind(kind)),
    }
}

fn read_refusal(from: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
    match from.u8()? {
        0 => Ok(Refusal::KeyInUse),
        1 => Ok(Refusal::UnknownKey),
        2 => Ok(Refusal::StillAlive),
        3 => Ok(Refusal::Leaving),
        _ => Ok(Refusal::NotUnderstood),
    }
}
