//! Tasks.

use bowline_api::{
    Artifact, Attempt, Bulk, BulkAnswer, Complete, ElementQuery, Explanation, HistoryEntry, List, NewTask, PageQuery,
    Submit, Submitted, Task, TaskQuery, TaskVerbName, Verdict,
};
use bowline_core::id::TaskRef;
use bytes::Bytes;
use reqwest::header::{ETAG, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use crate::error::ClientError;
use crate::http::{Backoff, Client, unreachable};

/// How to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// Done once under this key, 1 to 255 bytes. A random one where none is given.
    pub key: Option<String>,
    /// Only check, and say what would be done.
    pub dry_run: bool,
    /// Refuse what is not possible now, where it would wait with a warning.
    pub strict: bool,
}

impl Write {
    pub(crate) fn key(&self) -> String {
        self.key.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
    }
}

impl Client {
    /// Submits one task.
    pub async fn submit(&self, task: &NewTask, write: &Write) -> Result<Submitted, ClientError> {
        self.submit_document(task, write).await
    }

    /// Submits many: all are accepted, or none. At most 10,000.
    pub async fn submit_many(&self, tasks: Vec<NewTask>, write: &Write) -> Result<Submitted, ClientError> {
        self.submit_document(&Submit { tasks, strict: None, gang: None }, write).await
    }

    /// The same, with all that is said of them together.
    pub async fn submit_all(&self, submit: &Submit, write: &Write) -> Result<Submitted, ClientError> {
        self.submit_document(submit, write).await
    }

    async fn submit_document<T: Serialize>(&self, document: &T, write: &Write) -> Result<Submitted, ClientError> {
        let mut call = self.call(Method::POST, &["tasks"]).key(write.key()).json(document)?;
        if write.dry_run {
            call = call.pair("dry_run", "true");
        }
        if write.strict {
            call = call.pair("strict", "true");
        }
        call.read().await
    }

    /// One page of tasks.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<List<Task>, ClientError> {
        self.call(Method::GET, &["tasks"]).query(query)?.read().await
    }

    /// One task, or an element of an array.
    pub async fn task(&self, task: TaskRef) -> Result<Task, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string()]).read().await
    }

    /// Its attempts, oldest first. Of an array as a whole: those of all its elements.
    pub async fn attempts(&self, task: TaskRef) -> Result<List<Attempt>, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string(), "attempts"]).read().await
    }

    /// One page of its history, oldest first.
    pub async fn history(&self, task: TaskRef, page: &PageQuery) -> Result<List<HistoryEntry>, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string(), "history"]).query(page)?.read().await
    }

    /// Why it is where it is.
    pub async fn explain(&self, task: TaskRef) -> Result<Explanation, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string(), "explain"]).read().await
    }

    /// Files that its attempts left. Of an array as a whole: those of all its elements.
    pub async fn artifacts(&self, task: TaskRef) -> Result<List<Artifact>, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string(), "artifacts"]).read().await
    }

    /// The bytes of one of them: of the newest attempt that has it, or of the one named.
    pub async fn artifact(&self, task: TaskRef, name: &str, attempt: Option<u32>) -> Result<ByteStream, ClientError> {
        let mut segments = vec!["tasks".to_owned(), task.to_string(), "artifacts".to_owned()];
        segments.extend(name.split('/').map(str::to_owned));
        let mut stream = ByteStream {
            client: self.clone(),
            segments,
            attempt,
            response: None,
            tag: None,
            length: None,
            offset: 0,
            heard: Instant::now(),
        };
        stream.connect().await?;
        Ok(stream)
    }

    /// One verb on one task or element.
    pub async fn task_verb(
        &self,
        task: TaskRef,
        verb: TaskVerbName,
        reason: Option<&str>,
    ) -> Result<Verdict, ClientError> {
        let id = task.to_string();
        let mut call = match verb {
            TaskVerbName::Delete => self.call(Method::DELETE, &["tasks", &id]),
            TaskVerbName::Cancel | TaskVerbName::Retry | TaskVerbName::Pause | TaskVerbName::Resume => {
                self.call(Method::POST, &["tasks", &id, verb.name()])
            }
        };
        if let Some(reason) = reason {
            call = call.pair("reason", reason);
        }
        call.read().await
    }

    /// Ends a `wait`.
    pub async fn complete(&self, task: TaskRef, how: &Complete) -> Result<Verdict, ClientError> {
        self.call(Method::POST, &["tasks", &task.to_string(), "complete"]).json(how)?.read().await
    }

    /// Says how a task in doubt really ended.
    pub async fn resolve(&self, task: TaskRef, how: &Complete) -> Result<Verdict, ClientError> {
        self.call(Method::POST, &["tasks", &task.to_string(), "resolve"]).json(how)?.read().await
    }

    /// One page of an array's elements that have begun or ended, by index.
    pub async fn elements(&self, task: TaskRef, query: &ElementQuery) -> Result<List<Task>, ClientError> {
        self.call(Method::GET, &["tasks", &task.to_string(), "elements"]).query(query)?.read().await
    }

    /// One verb on many tasks. With `dry_run` it says how many it would touch, and touches none.
    pub async fn bulk(&self, bulk: &Bulk) -> Result<BulkAnswer, ClientError> {
        self.call(Method::POST, &["tasks", "bulk"]).json(bulk)?.read().await
    }
}

/// Bytes as they come.
#[derive(Debug)]
pub struct ByteStream {
    client: Client,
    segments: Vec<String>,
    attempt: Option<u32>,
    response: Option<Response>,
    tag: Option<HeaderValue>,
    length: Option<u64>,
    offset: u64,
    heard: Instant,
}

impl ByteStream {
    /// Of an answer that cannot be asked for again in part.
    pub(crate) fn new(client: Client, response: Response) -> Self {
        let length = response.content_length();
        let segments = Vec::new();
        let heard = Instant::now();
        Self { client, segments, attempt: None, response: Some(response), tag: None, length, offset: 0, heard }
    }

    /// How many there are in all, where the server said.
    pub fn len(&self) -> Option<u64> {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The next ones; `None` at the end. Where the connection breaks it goes on by itself from the byte that it
    /// had come to; a stream that breaks off for good is an error, never an end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if self.response.is_none() {
                self.connect().await?;
            }
            let Some(response) = &mut self.response else { continue };
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    self.heard = Instant::now();
                    self.offset += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) if self.length.is_none_or(|length| self.offset == length) => return Ok(None),
                Ok(None) if !self.segments.is_empty() => self.response = None,
                Ok(None) => return Ok(None),
                Err(_) if !self.segments.is_empty() && self.heard.elapsed() < self.client.away_patience() => {
                    self.response = None;
                }
                Err(error) => return Err(unreachable(&self.client, error)),
            }
        }
    }

    /// Asks for what has not come yet. A connection that was kept from before may be dead: the first call is
    /// made once more, a later one for as long as its server may be away.
    async fn connect(&mut self) -> Result<(), ClientError> {
        let (mut pause, mut tries) = (Backoff::new(), 0);
        loop {
            let error = match self.ask().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            let is_borne = tries == 1 || self.offset > 0 && self.heard.elapsed() < self.client.away_patience();
            if !error.is_passing() || !is_borne {
                return Err(error);
            }
            pause.wait().await;
        }
    }

    async fn ask(&mut self) -> Result<(), ClientError> {
        let segments: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        let mut call = self.client.call(Method::GET, &segments);
        if let Some(attempt) = self.attempt {
            call = call.pair("attempt", &attempt.to_string());
        }
        if self.offset > 0 {
            call = call.header("range", format!("bytes={}-", self.offset));
            if let Some(tag) = self.tag.as_ref().and_then(|tag| tag.to_str().ok()) {
                call = call.header("if-range", tag.to_owned());
            }
        }
        let response = call.endless().send().await?;
        if self.offset > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(ClientError::Answer {
                operation: "the question for the rest of an artifact".to_owned(),
                url: self.client.base_url().to_owned(),
                source: "it is another file now, or the server gives out no ranges".into(),
            });
        }
        if self.length.is_none() {
            self.length = response.content_length();
            self.tag = response.headers().get(ETAG).cloned();
        }
        self.response = Some(response);
        Ok(())
    }
}
