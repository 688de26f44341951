//! A server of its own for every input: the real routes, sessions and leader, over a store in memory.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri, Version, header};
use bowline_server::inside::{Answer, Inside};
use serde_json::Value;

use crate::scratch;

/// Longest wait for an answer that must come.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(8);
/// How long to listen to what may go on for ever.
const LISTEN: Duration = Duration::from_millis(5);

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(runtime());
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

/// Brings a server up, does this with it, checks that it still leads and answers, and ends it.
pub fn with<F: Future<Output = ()>>(work: impl FnOnce(std::rc::Rc<Inside>) -> F) {
    let folder = scratch::folder();
    RUNTIME.with_borrow_mut(|runtime| {
        runtime.block_on(async {
            let server = std::rc::Rc::new(Inside::open(folder.path()).await.expect("a server in an empty folder"));
            work(std::rc::Rc::clone(&server)).await;
            assert_eq!(server.trouble(), None, "the leadership ended");
            let server = std::rc::Rc::into_inner(server).expect("nobody else has it any more");
            server.close().await;
        });
    });
}

/// A request as it is written in a corpus: method and path, headers, an empty line, the body.
#[derive(Debug)]
pub struct Written<'a> {
    method: Method,
    uri: Uri,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl<'a> Written<'a> {
    /// Reads it. `None`: no client could send this.
    pub fn read(text: &'a [u8]) -> Option<Self> {
        let end = text.windows(2).position(|two| two == b"\n\n").unwrap_or(text.len());
        let mut lines = std::str::from_utf8(&text[..end]).ok()?.lines();
        let (method, path) = lines.next()?.split_once(' ')?;
        let uri: Uri = path.parse().ok()?;
        uri.path_and_query()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).collect();
        let body = text.get(end + 2..).unwrap_or_default();
        Some(Self { method: method.parse().ok()?, uri, headers, body })
    }

    /// Whether its answer may take for ever: it asks for that.
    fn may_go_on(&self) -> bool {
        let query = self.uri.query().unwrap_or_default();
        self.uri.path().contains("events") || query.contains("wait") || query.contains("follow") || query.contains('%')
    }

    fn request(&self, token: &str) -> Option<Request<Body>> {
        let mut request = Request::builder().method(&self.method).uri(&self.uri).version(Version::HTTP_11);
        request = request.header(header::HOST, "127.0.0.1:7420");
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(self.body.to_vec())).ok()
    }
}

/// Asks, and checks what every answer must be: in time, no error of the server, and where it refuses, a document
/// that says why.
pub async fn ask(server: &Inside, written: &Written<'_>) {
    let Some(request) = written.request(server.token()) else { return };
    let within = if written.may_go_on() { LISTEN } else { ANSWER_WAIT_MAX };
    let what = format!("{} {}", written.method, written.uri);
    match server.ask(request, within).await {
        Answer::Silent | Answer::GoesOn(StatusCode::OK) if written.may_go_on() => {}
        Answer::Silent => panic!("{what}: no answer in time"),
        Answer::GoesOn(status) => panic!("{what}: {status}, and no end"),
        Answer::Whole(answer) => {
            let status = answer.status();
            assert!(!status.is_server_error() || is_allowed(status, written), "{what}: {status} {:?}", answer.body());
            let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if kind.is_some_and(|kind| kind.contains("json")) && !answer.body().is_empty() {
                let document: Value = serde_json::from_slice(answer.body()).expect("an answer that says JSON is JSON");
                if status.is_client_error() && written.uri.path().starts_with("/api") {
                    assert_eq!(kind, Some("application/problem+json"), "{what}: {status}");
                    let says = |field: &str| document[field].as_str().is_some_and(|text| !text.is_empty());
                    assert!(says("code") && says("detail"), "{what}: {document}");
                }
            }
        }
    }
}

/// A server without a store on the disk makes no backups, and one that was asked to wait says so.
fn is_allowed(status: StatusCode, written: &Written<'_>) -> bool {
    status == StatusCode::NOT_IMPLEMENTED || written.uri.path().starts_with("/api/v1/backup")
}
