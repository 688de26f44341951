//! Logs: read from an offset, followed to their end across restarts of the server.

use bowline_api::LogQuery;
use bowline_core::id::TaskRef;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use tokio::time::Instant;

use crate::error::ClientError;
use crate::http::{Backoff, Client, unreachable};

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

/// A log's bytes as they come.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    request: LogRequest,
    offset: u64,
    response: Option<Response>,
    done: bool,
    heard: Instant,
}

impl Client {
    /// A log. Nothing is sent before the first [`LogStream::next`].
    pub fn log(&self, request: LogRequest) -> LogStream {
        LogStream { client: self.clone(), request, offset: 0, response: None, done: false, heard: Instant::now() }
    }
}

impl LogStream {
    /// The next bytes; `None` at the end. Where the connection breaks it goes on by itself from the
    /// byte that it had come to.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let mut pause = Backoff::new();
        while !self.done {
            match self.advance().await {
                Ok(Some(bytes)) => {
                    self.heard = Instant::now();
                    self.offset += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => {}
                Err(error) if error.is_passing() && self.may_retry() => {
                    self.response = None;
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

    async fn advance(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Some(response) = &mut self.response else {
            self.connect().await?;
            return Ok(None);
        };
        match response.chunk().await {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(error) => Err(unreachable(&self.client, error)),
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut query = LogQuery {
            attempt: self.request.attempt,
            stream: self.request.stream.clone(),
            follow: self.request.follow.then_some(true),
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
        self.offset = number(response.headers(), "bowline-log-offset").unwrap_or(self.offset);
        // From now on the place is known, whatever was asked for first.
        self.request.start = LogStart::Offset(self.offset);
        self.response = Some(response);
        self.heard = Instant::now();
        Ok(())
    }
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Option<T> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
