//! Events as they happen, across restarts of the server, without gap or repeat.

use bowline_api::{Event, EventId, EventQuery};
use futures::Stream;
use reqwest::{Method, Response};
use tokio::time::{Duration, Instant};

use crate::error::ClientError;
use crate::http::{Backoff, Client, unreachable};
use crate::sse::{Message, Parser};

/// A stream that says nothing for so long is taken for broken: the server says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What an [`EventStream`] gives.
#[derive(Debug, Clone, PartialEq)]
pub enum EventItem {
    /// The stream is open: whatever happens from here on will be told. Comes again after each
    /// reconnect, before what was missed.
    Open,
    /// Something happened.
    Event(Box<Event>),
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    query: EventQuery,
    last: Option<String>,
    connection: Option<Connection>,
    ready: std::collections::VecDeque<EventItem>,
    heard: Instant,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    parser: Parser,
}

impl Client {
    /// Events that match, from after `query.after` on; without that, from now on. Nothing is sent
    /// before the first [`EventStream::next`].
    pub fn events(&self, mut query: EventQuery) -> EventStream {
        let last = query.after.take();
        EventStream {
            client: self.clone(),
            query,
            last,
            connection: None,
            ready: std::collections::VecDeque::new(),
            heard: Instant::now(),
        }
    }
}

impl EventStream {
    /// The next item. Reconnects by itself where the connection breaks, and goes on after the last
    /// event that it gave; an error is final: the server is away for too long, refuses, or
    /// (`events_gone`) no longer has what was missed. Start anew from the current state then.
    pub async fn next(&mut self) -> Result<EventItem, ClientError> {
        let mut pause = Backoff::new();
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            match self.advance().await {
                Ok(()) => {
                    self.heard = Instant::now();
                    pause.reset();
                }
                Err(error) if error.is_passing() && self.heard.elapsed() < self.client.away_patience() => {
                    self.connection = None;
                    pause.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The place after which it would go on.
    pub fn last_id(&self) -> Option<EventId> {
        self.last.as_deref()?.parse().ok()
    }

    /// The same as a [`Stream`], which ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<EventItem, ClientError>> {
        futures::stream::unfold(Some(self), |stream| async move {
            let mut stream = stream?;
            let item = stream.next().await;
            let rest = item.is_ok().then_some(stream);
            Some((item, rest))
        })
    }

    /// Opens the connection, or reads one piece from it.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some(connection) = &mut self.connection else {
            return self.connect().await;
        };
        let piece = tokio::time::timeout(SILENCE_MAX, connection.response.chunk()).await;
        let bytes = match piece {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Err(broken(&self.client, "the server ended the event stream")),
            Ok(Err(error)) => return Err(unreachable(&self.client, error)),
            Err(_) => return Err(broken(&self.client, "the event stream has gone silent")),
        };
        let messages = connection.parser.push(&bytes).map_err(|error| broken(&self.client, error))?;
        for message in messages {
            self.take(message)?;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut call = self.client.call(Method::GET, &["events"]).query(&self.query)?.endless();
        if let Some(last) = &self.last {
            call = call.header("last-event-id", last.clone());
        }
        let response = call.send().await?;
        self.connection = Some(Connection { response, parser: Parser::default() });
        self.ready.push_back(EventItem::Open);
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), ClientError> {
        if !message.data.is_empty() {
            let event = serde_json::from_str(&message.data).map_err(|error| ClientError::Answer {
                operation: "GET /api/v1/events".to_owned(),
                url: self.client.base_url().to_owned(),
                source: error.into(),
            })?;
            self.ready.push_back(EventItem::Event(Box::new(event)));
        }
        if message.id.is_some() {
            self.last = message.id;
        }
        Ok(())
    }
}

fn broken(client: &Client, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Unreachable { url: client.base_url().to_owned(), source: why.into() }
}
