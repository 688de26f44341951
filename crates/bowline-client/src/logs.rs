//! Logs: read from an offset, followed to their end across restarts of the server.

use std::time::Duration;

use bowline_api::LogQuery;
use bowline_core::id::TaskRef;
use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use tokio::time::Instant;

use crate::error::ClientError;
use crate::http::{Backoff, CALL_TIMEOUT, Client, no_answer, unreachable};

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStart {
    /// At this byte.
    Offset(u64),
    /// So many lines before the end of what is there now.
    Tail(u64),
}

impl Default for LogStart {
    fn default() -> Self {
        Self::Offset(0)
    }
}

/// Which log, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Of this task or element.
    pub task: TaskRef,
    /// Of this attempt. The newest where not said.
    pub attempt: Option<u32>,
    /// `out` or `err`. `out` where not said.
    pub stream: Option<String>,
    /// From here on.
    pub start: LogStart,
    /// Go on as it grows, until it is sealed.
    pub follow: bool,
}

impl LogRequest {
    /// The newest attempt's log, as it is now, from its beginning.
    pub fn new(task: TaskRef) -> Self {
        Self { task, attempt: None, stream: None, start: LogStart::default(), follow: false }
    }
}

/// A log as it comes.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    request: LogRequest,
    times: bool,
    offset: u64,
    response: Option<Response>,
    /// What has come of the next frame.
    come: BytesMut,
    done: bool,
    heard: Instant,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// Bytes.
    Bytes {
        /// When they were written, by their worker's clock: where times were asked for and are known.
        at: Option<jiff::Timestamp>,
        /// The bytes; never empty.
        bytes: Bytes,
    },
    /// So many bytes are not kept: the log is longer than its limit.
    LeftOut {
        /// How many.
        bytes: u64,
    },
    /// The job truncated its own output.
    Truncated,
}

impl LogPiece {
    /// As it is shown where nothing but bytes can be: marks are lines of their own in brackets.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Bytes { bytes, .. } => bytes,
            Self::LeftOut { bytes } => format!("\n{}\n", bowline_api::log_left_out(bytes)).into(),
            Self::Truncated => format!("\n{}\n", bowline_api::LOG_TRUNCATED).into(),
        }
    }
}

impl Client {
    /// A log. Nothing is sent before the first piece is asked for.
    pub fn log(&self, request: LogRequest) -> LogStream {
        LogStream {
            client: self.clone(),
            request,
            times: false,
            offset: 0,
            response: None,
            come: BytesMut::new(),
            done: false,
            heard: Instant::now(),
        }
    }
}

impl LogStream {
    /// With the time at which each piece was written.
    #[must_use]
    pub fn with_times(mut self) -> Self {
        self.times = true;
        self
    }

    /// The next bytes, marks as lines in brackets among them; `None` at the end. See [`LogStream::piece`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(self.piece().await?.map(LogPiece::into_bytes))
    }

    /// The next piece; `None` at the end. Where the connection breaks it goes on by itself from the byte
    /// that it had come to: nothing is missed, nothing comes twice.
    pub async fn piece(&mut self) -> Result<Option<LogPiece>, ClientError> {
        let mut pause = Backoff::new();
        while !self.done {
            match self.advance().await {
                Ok(Some(piece)) => {
                    self.heard = Instant::now();
                    return Ok(Some(piece));
                }
                Ok(None) => {}
                Err(error) if error.is_passing() && self.may_retry() => {
                    self.response = None;
                    self.come.clear();
                    pause.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The byte at which the next piece begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The attempt whose log it is: known after the first piece or the end.
    pub fn attempt(&self) -> Option<u32> {
        self.request.attempt
    }

    /// A first connection that nobody answers is an error at once; a broken one is borne with.
    fn may_retry(&self) -> bool {
        let begun = self.response.is_some() || self.offset > 0 || self.request.follow && self.request.attempt.is_some();
        begun && self.heard.elapsed() < self.client.away_patience()
    }

    async fn advance(&mut self) -> Result<Option<LogPiece>, ClientError> {
        // Whoever follows waits for what is not written yet; what is there already comes at once.
        let patience = if self.request.follow { Duration::MAX } else { CALL_TIMEOUT };
        let Some(response) = &mut self.response else {
            self.connect().await?;
            return Ok(None);
        };
        match self.come.split_frame(&self.client)? {
            Some(frame) => return Ok(self.take(&frame)),
            None => match next_chunk(response, &self.client, patience).await? {
                Some(bytes) => self.come.extend_from_slice(&bytes),
                // Without its last frame it is no end: the server went down.
                None => return Err(broken_off(&self.client)),
            },
        }
        Ok(None)
    }

    fn take(&mut self, frame: &Frame) -> Option<LogPiece> {
        match frame.kind {
            FrameKind::Bytes => {
                self.place(frame.offset + frame.bytes.len() as u64);
                let at = i64::try_from(frame.ms).ok().filter(|ms| *ms > 0);
                let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
                Some(LogPiece::Bytes { at, bytes: frame.bytes.clone() })
            }
            FrameKind::LeftOut => {
                self.place(frame.offset + frame.length);
                Some(LogPiece::LeftOut { bytes: frame.length })
            }
            FrameKind::Truncated => Some(LogPiece::Truncated),
            FrameKind::End => {
                self.done = true;
                None
            }
            FrameKind::Other => None,
        }
    }

    fn place(&mut self, offset: u64) {
        self.offset = offset;
        self.request.start = LogStart::Offset(offset);
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut query = LogQuery {
            attempt: self.request.attempt,
            stream: self.request.stream.clone(),
            follow: self.request.follow.then_some(true),
            frames: Some(true),
            times: self.times.then_some(true),
            ..LogQuery::default()
        };
        match self.request.start {
            LogStart::Offset(offset) => query.offset = Some(offset.max(self.offset)),
            LogStart::Tail(lines) => query.tail = Some(lines),
        }
        let task = self.request.task.to_string();
        let call = self.client.call(Method::GET, &["tasks", &task, "logs"]).query(&query)?.endless();
        let response = call.send().await?;
        self.request.attempt = number(response.headers(), "bowline-attempt").or(self.request.attempt);
        // From now on the place is known, whatever was asked for first.
        self.place(number(response.headers(), "bowline-log-offset").unwrap_or(self.offset));
        self.response = Some(response);
        self.heard = Instant::now();
        Ok(())
    }
}

async fn next_chunk(
    response: &mut Response,
    client: &Client,
    patience: Duration,
) -> Result<Option<Bytes>, ClientError> {
    let chunk = tokio::time::timeout(patience, response.chunk()).await;
    chunk.map_err(|_| no_answer(client, patience))?.map_err(|error| unreachable(client, error))
}

/// A frame, as the server sends it: a line, and its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: FrameKind,
    offset: u64,
    length: u64,
    ms: u64,
    bytes: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    Bytes,
    LeftOut,
    Truncated,
    End,
    /// Of a later version: passed over.
    Other,
}

/// Longest line of a frame, in bytes.
const HEAD_BYTES_MAX: usize = 256;

trait Frames {
    fn split_frame(&mut self, client: &Client) -> Result<Option<Frame>, ClientError>;
}

impl Frames for BytesMut {
    /// The next frame, where all of it has come.
    fn split_frame(&mut self, client: &Client) -> Result<Option<Frame>, ClientError> {
        let Some(line) = self.iter().position(|byte| *byte == b'\n') else {
            return if self.len() > HEAD_BYTES_MAX { Err(no_frame(client)) } else { Ok(None) };
        };
        let (kind, [offset, length, ms]) = head(&self[..line]).ok_or_else(|| no_frame(client))?;
        let follows = if kind == FrameKind::Bytes { usize::try_from(length).unwrap_or(usize::MAX) } else { 0 };
        if self.len() - line - 1 < follows {
            return Ok(None);
        }
        drop(self.split_to(line + 1));
        let bytes = self.split_to(follows).freeze();
        Ok(Some(Frame { kind, offset, length, ms, bytes }))
    }
}

fn head(line: &[u8]) -> Option<(FrameKind, [u64; 3])> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let kind = match words.next()? {
        "bytes" => FrameKind::Bytes,
        "left_out" => FrameKind::LeftOut,
        "truncated" => FrameKind::Truncated,
        "end" => FrameKind::End,
        _ => FrameKind::Other,
    };
    let mut number = || words.next()?.parse().ok();
    Some((kind, [number()?, number()?, number()?]))
}

fn no_frame(client: &Client) -> ClientError {
    ClientError::Answer {
        operation: "the question for a log".to_owned(),
        url: client.base_url().to_owned(),
        source: "it is not in frames".into(),
    }
}

fn broken_off(client: &Client) -> ClientError {
    ClientError::Unreachable { url: client.base_url().to_owned(), source: "the log broke off".into() }
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_put_together_from_whatever_comes() {
        use FrameKind::{Bytes, End, LeftOut, Other, Truncated};
        let client = Client::new("http://127.0.0.1:1", None).unwrap();
        let all = b"bytes 0 5 7\nab\nc\nleft_out 5 100 0\nnewer 1 2 3\ntruncated 105 0 0\nend 105 0 0\n";
        let mut frames = Vec::new();
        let mut come = BytesMut::new();
        for byte in all {
            come.extend_from_slice(&[*byte]);
            frames.extend(come.split_frame(&client).unwrap());
        }
        let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [Bytes, LeftOut, Other, Truncated, End]);
        assert_eq!((&frames[0].bytes[..], frames[0].ms, frames[1].length), (&b"ab\nc\n"[..], 7, 100));
        assert!(come.is_empty());
        come.extend_from_slice(b"<html>\n");
        assert!(come.split_frame(&client).is_err());
        let mut come = BytesMut::from(&[b'x'; 300][..]);
        assert!(come.split_frame(&client).is_err());
    }
}
