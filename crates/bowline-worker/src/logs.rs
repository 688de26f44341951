//! Logs: ranges of the files that the jobs themselves write, shipped as they grow. Nothing is copied
//! on disk. One task of its own for each server ([`shipper`]), on a connection of its own ([`link`]): what it
//! does never stands before anything else that the worker does or says (I15).
//!
//! | module | what |
//! |---|---|
//! | [`tail`] | how far one log is: what was sent, what the server has |
//! | [`look`] | reads the next range of a job's file; gives back what is not kept of it |
//! | [`mask`] | takes secrets out of what is read |
//! | [`watch`] | is told by the kernel when a file grows |
//! | [`link`] | the connection |
//! | [`shipper`] | puts them together |

pub(crate) mod link;
pub(crate) mod look;
pub(crate) mod mask;
pub(crate) mod shipper;
pub(crate) mod tail;
pub(crate) mod watch;

use bowline_protocol::{LogKeep, LogStream, Sealed};

/// What the dispatcher remembers of one of an attempt's logs: what the server has, as the shipper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogMark {
    pub(crate) stream: LogStream,
    pub(crate) acked: u64,
    pub(crate) sealed: Sealed,
}

impl LogMark {
    /// Nothing of it is known to the server, or what the journal says.
    pub(crate) fn new(stream: LogStream, acked: u64, sealed: Sealed) -> Self {
        Self { stream, acked, sealed }
    }

    /// Whether the server has all of it.
    pub(crate) fn is_delivered(&self) -> bool {
        self.sealed == Sealed::Yes
    }
}

/// Most last bytes that are kept of a log that is longer than its limit: 4 MiB.
const TAIL_BYTES_MAX: u64 = 4 << 20;

/// What is kept of a log with this limit: the first bytes, and of the last ones a quarter of the limit,
/// at most 4 MiB, so that whoever follows is never far behind.
pub(crate) fn keep_of(limit: u64) -> LogKeep {
    let tail = (limit / 4).min(TAIL_BYTES_MAX);
    LogKeep { head: limit - tail, tail }
}
