//! The server as anybody outside sees it: REST and events, as `docs/api.md` describes them. Documents stay JSON:
//! what they mean is read where it is needed.

use std::path::Path;
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::clock::Stopwatch;

/// One question waits so long for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Whoever insists asks again for so long.
const INSIST_FOR: Duration = Duration::from_mins(2);
/// And waits so long in between.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// A body that holds more is none of ours.
const BODY_BYTES_MAX: usize = 256 << 20;

/// A server and a token for it.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    http: Client,
    base: String,
    token: String,
}

/// What came back: a status and a document.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) const fn is_good(&self) -> bool {
        self.status >= 200 && self.status < 300
    }

    /// Whether it may be different a moment later: the server is not there, does not lead, is busy, or failed.
    const fn is_passing(&self) -> bool {
        self.status >= 500 || self.status == 429
    }
}

impl Rest {
    /// `address` is `HOST:PORT`.
    pub(crate) fn new(address: &str, token_file: &Path) -> Result<Self> {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let token =
            std::fs::read_to_string(token_file).with_context(|| format!("reading `{}`", token_file.display()))?;
        let http =
            Client::builder().no_proxy().connect_timeout(ANSWER_WITHIN).build().context("making an HTTP client")?;
        Ok(Self { http, base: format!("http://{address}"), token: token.trim().to_owned() })
    }

    /// The same server, by another way.
    pub(crate) fn by(&self, address: &str) -> Self {
        Self { base: format!("http://{address}"), ..self.clone() }
    }

    /// Whether it leads and takes requests.
    pub(crate) async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("{}/readyz", self.base)).timeout(ANSWER_WITHIN).send().await;
        asked.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Asks once.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        let request = self.http.get(self.url(path)).timeout(ANSWER_WITHIN);
        answer(request.bearer_auth(&self.token).send().await?).await
    }

    /// Asks until there is an answer that stands.
    pub(crate) async fn insist(&self, path: &str) -> Result<Answer> {
        insist(path, || self.get(path)).await
    }

    /// Asks until there is a good answer; its document.
    pub(crate) async fn document(&self, path: &str) -> Result<Value> {
        let answer = self.insist(path).await?;
        if !answer.is_good() {
            bail!("GET {path}: status {}: {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// All items of a list.
    pub(crate) async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let next = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let page = self.document(&format!("{path}{mark}limit=1000{next}")).await?;
            all.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Posts once, under a key where there is one.
    pub(crate) async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Result<Answer> {
        let mut request = self.http.post(self.url(path)).timeout(ANSWER_WITHIN).bearer_auth(&self.token);
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            request = request.header("Idempotency-Key", key);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        answer(request.send().await?).await
    }

    /// Puts until there is an answer that stands: it replaces, so that twice is as good as once.
    pub(crate) async fn put_surely(&self, path: &str, body: &Value) -> Result<Answer> {
        insist(path, || async {
            let request = self.http.put(self.url(path)).timeout(ANSWER_WITHIN).bearer_auth(&self.token);
            answer(request.json(body).send().await?).await
        })
        .await
    }

    /// Deletes once.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        let request = self.http.delete(self.url(path)).timeout(ANSWER_WITHIN);
        answer(request.bearer_auth(&self.token).send().await?).await
    }

    /// Posts until there is an answer that stands. The key makes that safe; "" where it is safe without one.
    pub(crate) async fn post_surely(&self, path: &str, body: &Value, key: &str) -> Result<Answer> {
        insist(path, || self.post(path, body, Some(key))).await
    }

    /// The bytes of something, asked for until they come whole. `None`: there is no such thing.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let watch = Stopwatch::start();
        loop {
            match self.bytes_once(path).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) if watch.elapsed() > INSIST_FOR => return Err(error.context(format!("GET {path}"))),
                Err(_) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
            }
        }
    }

    async fn bytes_once(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let request = self.http.get(self.url(path)).timeout(ANSWER_WITHIN).bearer_auth(&self.token);
        let response = request.send().await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => bail!("status {status}: {}", response.text().await.unwrap_or_default()),
            _ => {}
        }
        let mut stream = response.bytes_stream();
        let mut all = Vec::new();
        while let Some(part) = stream.next().await {
            all.extend_from_slice(&part?);
            if all.len() > BODY_BYTES_MAX {
                bail!("more than {BODY_BYTES_MAX} bytes");
            }
        }
        Ok(Some(all))
    }

    /// Whether nothing more can come of a task's log; also where there is none.
    pub(crate) async fn log_is_sealed(&self, task: &str) -> Result<bool> {
        let request = self.http.get(self.url(&format!("/tasks/{task}/logs?tail=1"))).timeout(ANSWER_WITHIN);
        let response = request.bearer_auth(&self.token).send().await?;
        let sealed = response.headers().get("bowline-log-sealed").is_some_and(|sealed| sealed == "true");
        Ok(sealed || response.status() == StatusCode::NOT_FOUND)
    }

    /// The stream of all events after a place.
    pub(crate) async fn events(&self, after: &str) -> Result<Response> {
        let request = self.http.get(self.url("/events?namespace=*")).bearer_auth(&self.token);
        let response = request.header("Last-Event-ID", after).send().await?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            bail!(EventsRefused { status, text: response.text().await.unwrap_or_default() });
        }
        Ok(response)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }
}

/// The server would not give events.
#[derive(Debug)]
pub(crate) struct EventsRefused {
    pub(crate) status: u16,
    text: String,
}

impl std::fmt::Display for EventsRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}: {}", self.status, self.text)
    }
}

async fn insist<F: Future<Output = Result<Answer>>>(path: &str, mut ask: impl FnMut() -> F) -> Result<Answer> {
    let watch = Stopwatch::start();
    loop {
        let last = match ask().await {
            Ok(answer) if !answer.is_passing() => return Ok(answer),
            Ok(answer) => format!("status {}: {}", answer.status, answer.body),
            Err(error) => format!("{error:#}"),
        };
        if watch.elapsed() > INSIST_FOR {
            bail!("no answer to {path} within {} s; the last was: {last}", INSIST_FOR.as_secs());
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

async fn answer(response: Response) -> Result<Answer> {
    let status = response.status().as_u16();
    let text = response.text().await.context("reading an answer")?;
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
    Ok(Answer { status, body })
}

/// A text field of a document; "" where there is none.
pub(crate) fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_default()
}
