//! One connection of a worker, as the supervisor's loop sees it: never blocking, bounded both ways.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;

use crate::wire::{FRAME_BYTES_MAX, checked_length, framed};

/// A worker that leaves more than this unread is cut off; it connects again, and lists.
const UNREAD_BYTES_MAX: usize = 16 << 20;
/// Read at once, or a little more.
const READ_BYTES: usize = 64 << 10;
/// For what is still to be written when the supervisor leaves.
const FLUSH_BOUND: Duration = Duration::from_secs(1);

/// Whether a connection is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Closed,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    written: usize,
    interest: EventFlags,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, incoming: Vec::new(), outgoing: Vec::new(), written: 0, interest: EventFlags::IN })
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads what has come, up to a bound: the loop comes back for the rest.
    pub(super) fn read(&mut self) -> Health {
        self.incoming.reserve(READ_BYTES);
        match rustix::io::read(&self.stream, spare_capacity(&mut self.incoming)) {
            Ok(0) => Health::Closed,
            Ok(_) => Health::Good,
            Err(error) if is_for_later(&error.into()) => Health::Good,
            Err(_) => Health::Closed,
        }
    }

    /// Takes the bodies of the frames that have come whole. The error: a frame that is too long.
    pub(super) fn frames(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bodies = Vec::new();
        let mut at = 0;
        while let Some((prefix, rest)) = self.incoming[at..].split_first_chunk::<4>() {
            let length = checked_length(*prefix)?;
            let Some(body) = rest.get(..length) else { break };
            bodies.push(body.to_vec());
            at += 4 + length;
        }
        self.incoming.drain(..at);
        if self.incoming.is_empty() && self.incoming.capacity() > FRAME_BYTES_MAX / 4 {
            self.incoming = Vec::new();
        }
        Ok(bodies)
    }

    /// Queues a frame. `Closed` where the other side does not read.
    pub(super) fn queue(&mut self, body: &[u8]) -> Health {
        match framed(body) {
            Ok(frame) if self.outgoing.len() - self.written + frame.len() <= UNREAD_BYTES_MAX => {
                self.outgoing.extend_from_slice(&frame);
                Health::Good
            }
            _ => Health::Closed,
        }
    }

    /// Writes as much as the other side takes now.
    pub(super) fn flush(&mut self) -> Health {
        while self.has_unwritten() {
            match self.stream.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_for_later(&error) => return Health::Good,
                Err(_) => return Health::Closed,
            }
        }
        self.outgoing.clear();
        self.outgoing.shrink_to(READ_BYTES);
        self.written = 0;
        Health::Good
    }

    /// Remembers what the loop listens for. `true` where that changed.
    pub(super) fn set_interest(&mut self, flags: EventFlags) -> bool {
        std::mem::replace(&mut self.interest, flags) != flags
    }

    pub(super) fn has_unwritten(&self) -> bool {
        self.written < self.outgoing.len()
    }

    /// Writes what is left, within a bound. For the last moment.
    pub(super) fn flush_for_good(&mut self) {
        let ready = self.stream.set_nonblocking(false).and(self.stream.set_write_timeout(Some(FLUSH_BOUND)));
        if ready.is_ok() {
            // Who does not read now hears of it from the records.
            self.stream.write_all(&self.outgoing[self.written..]).ok();
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
