//! One entry of a record, as bytes.

use std::path::PathBuf;
use std::time::Duration;

use crate::wire::{DecodeError, Ended, Exited, Reader, StartFailed, Writer};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The job is about to begin.
    Begun(Begun),
    /// Its first process is there.
    Spawned(Spawned),
    /// Its first process has ended. A second one counts what had to be killed.
    Ended(Ended),
    /// None of its processes is left.
    Clean,
}

/// What is known before the first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// The job.
    pub key: String,
    /// The boot of the machine in which it began.
    pub boot_id: String,
    /// Carried by every process of the job in its environment; no other job ever has it.
    pub mark: String,
    /// The job's own cgroup.
    pub cgroup: Option<PathBuf>,
    /// On `CLOCK_BOOTTIME`.
    pub at: Duration,
}

/// What is known of the first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spawned {
    /// Its number.
    pub pid: u32,
    /// When it began, in the kernel's ticks since boot: with the boot id and the pid it names one
    /// process for ever.
    pub start_ticks: u64,
}

impl Entry {
    /// With its length and checksum.
    pub fn framed(&self) -> Vec<u8> {
        let mut body = Writer::default();
        match self {
            Self::Begun(begun) => {
                body.u8(1);
                body.text(&begun.key);
                body.text(&begun.boot_id);
                body.text(&begun.mark);
                body.option(begun.cgroup.as_ref(), |body, path| body.os(path));
                body.duration(begun.at);
            }
            Self::Spawned(spawned) => {
                body.u8(2);
                body.u32(spawned.pid);
                body.u64(spawned.start_ticks);
            }
            Self::Ended(Ended::Exited(exited)) => {
                body.u8(3);
                exited.write(&mut body);
            }
            Self::Ended(Ended::StartFailed(failed)) => {
                body.u8(4);
                failed.write(&mut body);
            }
            Self::Clean => body.u8(5),
        }
        let mut framed = Writer::default();
        framed.bytes(&body.0);
        framed.u64(checksum(&body.0));
        framed.0
    }

    /// The entry that some bytes begin with, and how many they are. `None`: damaged.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut from = Reader::new(bytes);
        let body = from.bytes().ok()?;
        if from.u64().ok()? != checksum(body) {
            return None;
        }
        Some((Self::from_body(body).ok()?, body.len() + 12))
    }

    fn from_body(body: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(body);
        let entry = match from.u8()? {
            1 => Self::Begun(Begun {
                key: from.text()?,
                boot_id: from.text()?,
                mark: from.text()?,
                cgroup: from.option(Reader::path)?,
                at: from.duration()?,
            }),
            2 => Self::Spawned(Spawned { pid: from.u32()?, start_ticks: from.u64()? }),
            3 => Self::Ended(Ended::Exited(Exited::read(&mut from)?)),
            4 => Self::Ended(Ended::StartFailed(StartFailed::read(&mut from)?)),
            5 => Self::Clean,
            kind => return Err(DecodeError::UnknownKind(kind)),
        };
        from.end()?;
        Ok(entry)
    }
}

/// FNV-1a, 64 bits: tells a torn entry from a whole one.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
