//! Reads jobs' logs: ranges of the files that the jobs themselves write. What was read and sent, and
//! what the server has, is counted here; nothing is copied on disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use bowline_core::id::AttemptRef;
use bowline_protocol::{LogStream, Sealed, limits};
use bytes::Bytes;

/// Most bytes of one log that one look reads.
const LOOK_BYTES_MAX: u64 = 256 << 10;
/// The journal learns of acknowledged bytes when there are so many more of them.
const JOURNAL_EVERY_BYTES: u64 = 1 << 20;

/// How far one of an attempt's logs is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogTail {
    pub(crate) stream: LogStream,
    /// Sent up to here, in this session.
    sent: u64,
    /// The server has it up to here.
    acked: u64,
    journaled: u64,
    growth: Growth,
    sealed: Sealed,
    seal_sent: bool,
}

/// Whether a log may still grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The job may still write.
    Open,
    /// The job is over: its file is as long as it will ever be.
    Over,
}

/// A range to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) attempt: AttemptRef,
    pub(crate) stream: LogStream,
    pub(crate) path: PathBuf,
    pub(crate) from: u64,
    pub(crate) bytes_max: u64,
    pub(crate) growth: Growth,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) look: Look,
    pub(crate) segments: Vec<Bytes>,
    /// The final length, where the end was reached and nothing can follow.
    pub(crate) length: Option<u64>,
}

impl LogTail {
    /// Nothing of it is known to the server, or what the journal says.
    pub(crate) fn new(stream: LogStream, acked: u64, sealed: Sealed) -> Self {
        Self { stream, sent: acked, acked, journaled: acked, growth: Growth::Open, sealed, seal_sent: false }
    }

    /// The job is over.
    pub(crate) fn over(&mut self) {
        self.growth = Growth::Over;
    }

    /// Whether the server has all of it.
    pub(crate) fn is_delivered(&self) -> bool {
        self.sealed == Sealed::Yes
    }

    /// Whether it stands open: the server will get more of it.
    pub(crate) fn is_over(&self) -> bool {
        self.growth == Growth::Over
    }

    /// A new session, or bytes that the server misses: from what it has on.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acked;
        self.seal_sent = false;
    }

    /// What is to be read next, where there is room for it.
    pub(crate) fn look(&self, attempt: AttemptRef, path: PathBuf) -> Option<Look> {
        let room = (limits::LOG_WINDOW_BYTES_MAX as u64).saturating_sub(self.sent - self.acked);
        if self.is_delivered() || self.seal_sent || room == 0 {
            return None;
        }
        let bytes_max = room.min(LOOK_BYTES_MAX);
        Some(Look { attempt, stream: self.stream, path, from: self.sent, bytes_max, growth: self.growth })
    }

    /// So much more is on its way, and the seal with it or not.
    pub(crate) fn sent(&mut self, bytes: u64, sealed: Sealed) {
        self.sent += bytes;
        self.seal_sent |= sealed == Sealed::Yes;
    }

    /// Where the next byte to be sent lies.
    pub(crate) fn sent_to(&self) -> u64 {
        self.sent
    }

    /// The server has it up to here. Says whether the journal should know.
    pub(crate) fn acked(&mut self, up_to: u64, sealed: Sealed) -> bool {
        self.acked = self.acked.max(up_to);
        self.sent = self.sent.max(self.acked);
        if sealed == Sealed::Yes {
            self.sealed = Sealed::Yes;
        }
        let due = self.acked - self.journaled >= JOURNAL_EVERY_BYTES || sealed == Sealed::Yes;
        if due {
            self.journaled = self.acked;
        }
        due
    }

    /// What the server has.
    pub(crate) fn acked_to(&self) -> (u64, Sealed) {
        (self.acked, self.sealed)
    }
}

impl Look {
    /// Reads the range. Blocks. A file that is not there is an empty log; what cannot be read is taken
    /// for the log's end where the job is over, so that a log never holds anything back.
    pub(crate) fn read(self) -> Seen {
        match self.try_read() {
            Ok((segments, length)) => Seen { look: self, segments, length },
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(attempt = %self.attempt, path = %self.path.display(), %error, "a log cannot be read");
                }
                let length = (self.growth == Growth::Over).then_some(self.from);
                Seen { look: self, segments: Vec::new(), length }
            }
        }
    }

    fn try_read(&self) -> io::Result<(Vec<Bytes>, Option<u64>)> {
        let file = File::open(&self.path)?;
        let size = file.metadata()?.len();
        let until = size.min(self.from.saturating_add(self.bytes_max));
        let mut segments = Vec::new();
        let mut at = self.from;
        while at < until {
            let wanted = (until - at).min(limits::LOG_SEGMENT_BYTES_MAX as u64);
            let mut segment = vec![0; usize::try_from(wanted).unwrap_or(limits::LOG_SEGMENT_BYTES_MAX)];
            let got = file.read_at(&mut segment, at)?;
            if got == 0 {
                break;
            }
            segment.truncate(got);
            at += got as u64;
            segments.push(Bytes::from(segment));
        }
        let at_end = self.growth == Growth::Over && at >= size;
        Ok((segments, at_end.then_some(at)))
    }
}

#[cfg(test)]
mod tests {
    use bowline_protocol::sample::attempt;

    use super::*;

    #[test]
    fn a_log_is_read_in_segments_and_sealed_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let size = limits::LOG_SEGMENT_BYTES_MAX as u64 + 10;
        std::fs::write(&path, vec![b'x'; limits::LOG_SEGMENT_BYTES_MAX + 10]).unwrap();
        let mut tail = LogTail::new(LogStream::Output, 0, Sealed::No);
        let seen = tail.look(attempt(1, None), path.clone()).unwrap().read();
        assert_eq!((seen.segments.len(), seen.length), (2, None));
        tail.sent(size, Sealed::No);
        tail.over();
        let seen = tail.look(attempt(1, None), path.clone()).unwrap().read();
        assert_eq!((seen.segments.len(), seen.length), (0, Some(size)));
        tail.sent(0, Sealed::Yes);
        assert_eq!(tail.look(attempt(1, None), path.clone()), None);
        // The connection broke: from what the server has on.
        assert!(!tail.acked(10, Sealed::No));
        tail.rewind();
        assert_eq!(tail.look(attempt(1, None), path).unwrap().from, 10);
        assert!(tail.acked(size, Sealed::Yes) && tail.is_delivered());
    }

    #[test]
    fn what_is_not_acknowledged_is_bounded() {
        let mut tail = LogTail::new(LogStream::Output, 0, Sealed::No);
        tail.sent(limits::LOG_WINDOW_BYTES_MAX as u64, Sealed::No);
        assert_eq!(tail.look(attempt(1, None), PathBuf::new()), None);
        tail.acked(100, Sealed::No);
        assert_eq!(tail.look(attempt(1, None), PathBuf::new()).unwrap().bytes_max, 100);
    }

    #[test]
    fn a_log_that_is_not_there_is_empty_and_holds_nothing_back() {
        let mut tail = LogTail::new(LogStream::Error, 0, Sealed::No);
        let path = PathBuf::from("/no/such/file");
        assert_eq!(tail.look(attempt(1, None), path.clone()).unwrap().read().length, None);
        tail.over();
        assert_eq!(tail.look(attempt(1, None), path).unwrap().read().length, Some(0));
    }
}
