//! A log, piece by piece, as it is or in frames: bytes, and marks for what is left out of it and for
//! where its job truncated it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use bowline_blob::{LogError, LogKey, LogStore, LogStream};
use bytes::Bytes;

use super::super::fault::Fault;
use super::super::shell::Shell;

/// Bytes read and sent at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// Room for a frame's head before its bytes: a word and three numbers.
const HEAD_BYTES: usize = 80;

/// Which log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Which {
    pub(super) key: LogKey,
    pub(super) stream: LogStream,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is, with lines in brackets for marks.
    Raw,
    /// In frames.
    Frames(Times),
}

/// Whether frames tell when their bytes were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    No,
    Yes,
}

impl Form {
    pub(super) fn of(frames: Option<bool>, times: Option<bool>) -> Self {
        match (frames, times) {
            (Some(true), Some(true)) => Self::Frames(Times::Yes),
            (Some(true), _) => Self::Frames(Times::No),
            (_, _) => Self::Raw,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Raw => "text/plain; charset=utf-8",
            Self::Frames(_) => "application/vnd.bowline.log-frames",
        }
    }

    /// What is sent where nothing more comes.
    pub(super) fn end(self, offset: u64) -> Bytes {
        match self {
            Self::Raw => Bytes::new(),
            Self::Frames(_) => Bytes::from(format!("end {offset} 0 0\n")),
        }
    }
}

/// What stands next in a log.
enum Item {
    /// Behind room for a frame's head.
    Bytes(Vec<u8>),
    /// So many bytes are not kept.
    LeftOut(u64),
    /// The job truncated its output.
    Truncated,
    /// Nothing (yet).
    Nothing,
}

/// Reads a log piece by piece.
pub(super) struct Reader {
    pub(super) shell: Shell,
    place: Place,
}

/// Where a reader is.
#[derive(Clone)]
struct Place {
    which: Which,
    form: Form,
    offset: u64,
    /// A truncation that was told.
    told: Option<u64>,
    /// Times that are read and not yet reached; where their file is to be read on; the one that holds.
    times: VecDeque<(u64, u64)>,
    times_at: u64,
    ms: u64,
}

impl Reader {
    pub(super) fn new(shell: Shell, which: Which, form: Form, offset: u64) -> Self {
        let place = Place { which, form, offset, told: None, times: VecDeque::new(), times_at: 0, ms: 0 };
        Self { shell, place }
    }

    pub(super) fn which(&self) -> Which {
        self.place.which
    }

    pub(super) fn offset(&self) -> u64 {
        self.place.offset
    }

    /// What is sent where nothing more comes.
    pub(super) fn end(&self) -> Bytes {
        self.place.form.end(self.place.offset)
    }

    /// What stands next, at most up to `end`. `None`: nothing.
    pub(super) async fn piece(&mut self, end: u64) -> Result<Option<Bytes>, io::Error> {
        // At the end a mark may stand, of a job that truncated its output and wrote nothing more.
        let is_at_end = self.place.offset == end;
        if self.place.offset > end || end == 0 {
            return Ok(None);
        }
        let (logs, mut place) = (Arc::clone(&self.shell.app.logs), self.place.clone());
        let read = self.shell.blocking("read the log", move || {
            let piece = place.next(&logs, end).map_err(|error| Fault::internal("read the log", &error))?;
            Ok((piece, place))
        });
        let (piece, place) = read.await.map_err(|_| io::Error::other("the log cannot be read"))?;
        self.place = place;
        if piece.is_none() && !is_at_end {
            return Err(io::Error::other("the log was removed meanwhile"));
        }
        Ok(piece)
    }

    /// All up to there.
    pub(super) fn until(self, end: u64) -> Body {
        Body::from_stream(futures::stream::unfold(Some(self), move |reader| async move {
            let mut reader = reader?;
            match reader.piece(end).await {
                Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
                Ok(None) => Some((Ok(reader.end()), None)),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

impl Place {
    /// Blocks.
    fn next(&mut self, logs: &LogStore, end: u64) -> Result<Option<Bytes>, LogError> {
        let from = self.offset;
        Ok(match self.item(logs, end)? {
            Item::Bytes(bytes) => {
                self.offset += (bytes.len() - HEAD_BYTES) as u64;
                Some(self.show(from, bytes))
            }
            Item::LeftOut(count) => {
                self.offset += count;
                Some(self.mark("left_out", from, count))
            }
            Item::Truncated => {
                self.told = Some(from);
                Some(self.mark("truncated", from, 0))
            }
            Item::Nothing => None,
        })
    }

    fn item(&mut self, logs: &LogStore, end: u64) -> Result<Item, LogError> {
        let Which { key, stream } = self.which;
        let from = self.offset;
        let marks = logs.marks(key, stream)?;
        if marks.truncated().binary_search(&from).is_ok() && self.told != Some(from) {
            return Ok(Item::Truncated);
        }
        let length = logs.state(key, stream)?.length.max(end);
        let mut until = end.min(from.saturating_add(PIECE_BYTES));
        for (gap_from, gap_to) in marks.left_out(length) {
            if gap_from <= from && from < gap_to {
                return Ok(Item::LeftOut(gap_to - from));
            }
            if gap_from > from {
                until = until.min(gap_from);
            }
        }
        until = marks.truncated().iter().copied().find(|at| *at > from).map_or(until, |at| until.min(at));
        if self.form == Form::Frames(Times::Yes) {
            until = self.until_other_time(logs, until)?;
        }
        let length = usize::try_from(until - from).unwrap_or(0);
        let bytes = logs.read_behind(HEAD_BYTES, key, stream, (from, length))?;
        // What was taken out of the middle meanwhile is read as zeros.
        let length = logs.state(key, stream)?.length;
        let left_out = logs.marks(key, stream)?.left_out(length);
        if let Some((_, gap_to)) = left_out.into_iter().find(|gap| gap.0 <= from && from < gap.1) {
            return Ok(Item::LeftOut(gap_to - from));
        }
        Ok(if bytes.len() == HEAD_BYTES { Item::Nothing } else { Item::Bytes(bytes) })
    }

    /// Up to where everything was written at one time.
    fn until_other_time(&mut self, logs: &LogStore, until: u64) -> Result<u64, LogError> {
        let Which { key, stream } = self.which;
        while self.times.back().is_none_or(|time| time.0 < until) {
            let (times, at) = logs.times(key, stream, self.times_at)?;
            if at == self.times_at {
                break;
            }
            self.times_at = at;
            self.times.extend(times);
        }
        while let Some((_, ms)) = self.times.front().copied().filter(|time| time.0 <= self.offset) {
            self.ms = ms;
            self.times.pop_front();
        }
        Ok(self.times.front().map_or(until, |time| until.min(time.0)))
    }

    fn show(&self, from: u64, mut bytes: Vec<u8>) -> Bytes {
        let begin = match self.form {
            Form::Raw => HEAD_BYTES,
            Form::Frames(_) => {
                let head = format!("bytes {from} {} {}\n", bytes.len() - HEAD_BYTES, self.ms);
                let begin = HEAD_BYTES - head.len();
                bytes[begin..HEAD_BYTES].copy_from_slice(head.as_bytes());
                begin
            }
        };
        Bytes::from(bytes).slice(begin..)
    }

    fn mark(&self, kind: &str, from: u64, count: u64) -> Bytes {
        match (self.form, kind) {
            (Form::Frames(_), kind) => format!("{kind} {from} {count} 0\n").into(),
            (Form::Raw, "left_out") => format!("\n{}\n", bowline_api::log_left_out(count)).into(),
            (Form::Raw, _) => format!("\n{}\n", bowline_api::LOG_TRUNCATED).into(),
        }
    }
}
