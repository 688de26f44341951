//! A server in a temporary folder, on a free port of the loopback address.

use std::future::Future;
use std::time::Duration;

use bowline_client::Client;
use bowline_client::api::NewTask;
use bowline_server::{Server, ServerConfig, start};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

/// How long anything may take before a test has failed.
const LONG: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) token: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::new(folder.path());
        config.listen = "127.0.0.1:0".parse().unwrap();
        let server = start(config).await.unwrap();
        let token = std::fs::read_to_string(server.token_file()).unwrap().trim().to_owned();
        // Made before any other client of the process, so that the crypto provider is there.
        drop(Client::new(&server.url(), None).unwrap());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { server, token, http, _folder: folder }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.server.url(), Some(&self.token)).unwrap()
    }

    /// A request with nothing on it, not even a token.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.server.url())).timeout(LONG)
    }

    /// A request by the administrator.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.token)
    }

    /// A request with a document.
    pub(crate) fn json(&self, method: Method, path: &str, body: &Value) -> RequestBuilder {
        self.request(method, path).json(body)
    }

    /// A body posted by the administrator: the status and the document that came back.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (StatusCode, Value) {
        answer(self.request(Method::POST, path).body(body.to_owned())).await
    }
}

/// The status and the document that come back.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    if !status.is_success() {
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    }
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// What must come, within bounds.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, work).await.expect("it came in time")
}

/// A task that the server itself holds until somebody completes it: it needs no worker.
pub(crate) fn wait_task(name: &str) -> NewTask {
    NewTask { name: Some(name.to_owned()), action: Some("wait".to_owned()), ..NewTask::default() }
}

/// A task that needs a worker, of which there is none.
pub(crate) fn command(name: &str) -> NewTask {
    NewTask { name: Some(name.to_owned()), command: Some(vec!["true".to_owned()]), ..NewTask::default() }
}
