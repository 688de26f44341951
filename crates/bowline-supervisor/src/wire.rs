//! What a worker and its supervisor say to each other, and how it looks on the socket.
//!
//! A connection is a Unix stream. Each side sends frames: the length of the body (`u32`, little
//! endian, at most [`FRAME_BYTES_MAX`]), then the body. The first frame of each side is a
//! [`Hello`]; after it the worker sends [`Request`]s and the supervisor [`Event`]s. No request waits for an
//! answer: what follows from it comes as an event that names the job.
//!
//! Arguments, variables and paths are bytes, as the kernel takes them.
//!
//! A later version may append fields to a message, and add kinds. What it appended is passed over; what a
//! shorter message lacks has its default; a request of an unknown kind is refused, an event of one is
//! passed over.

mod codec;
mod event;
mod request;

use std::io::{self, Read, Write};

pub use codec::DecodeError;
pub(crate) use codec::{Reader, Writer};
pub use event::{Ended, Event, Exit, Exited, Ids, LostWhy, Refusal, StartFailed, Step, StopReason};
pub use request::{Request, ShutdownMode, Start, is_valid_key};

/// In the program's file, so that anybody can tell which version it speaks without running it.
static MARK: [u8; 25] = *b"bowline-supervisor-wire=2";

/// The version of the frames and of the records on disk, from 1 to 9. Within a version messages only grow, see
/// above; a side speaks the other one's version where the two are neighbours.
pub fn version() -> u32 {
    // Read where it lies, and not known to the compiler.
    let mark = std::hint::black_box(&MARK);
    u32::from(mark[mark.len() - 1] - b'0')
}

/// Largest body of one frame, in bytes: what the kernel takes as arguments and environment fits well.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;

const MAGIC: u32 = 0x424f_5753;

/// The first frame of each side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The version that the sender speaks on this connection.
    pub version: u32,
    /// The sender's process.
    pub pid: u32,
    /// The kernel's boot id, as the sender reads it.
    pub boot_id: String,
}

impl Hello {
    /// As the body of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(MAGIC);
        out.u32(self.version);
        out.u32(self.pid);
        out.text(&self.boot_id);
        out.0
    }

    /// From the body of a frame. What a later version may append is passed over.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(body);
        if from.u32()? != MAGIC {
            return Err(DecodeError::UnknownKind(body[0]));
        }
        Ok(Self { version: from.u32()?, pid: from.u32()?, boot_id: from.text()? })
    }
}

/// Writes one frame. Fails with `InvalidInput` where the body is longer than [`FRAME_BYTES_MAX`].
pub fn write_frame(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    to.write_all(&framed(body)?)
}

/// The frame around a body.
pub(crate) fn framed(body: &[u8]) -> io::Result<Vec<u8>> {
    if body.len() > FRAME_BYTES_MAX {
        let text = format!("a frame of {} bytes; the limit is {FRAME_BYTES_MAX}", body.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Reads one frame. `None`: the other side closed between two frames.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    let mut got = 0;
    while got < length.len() {
        match from.read(&mut length[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = checked_length(length)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// The length that a frame begins with, where it is allowed.
pub(crate) fn checked_length(prefix: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > FRAME_BYTES_MAX {
        let text = format!("a frame of {length} bytes; the limit is {FRAME_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(length)
}

#[cfg(test)]
mod tests;
