//! Enrolment: a worker makes its own key and has the server take it, against a token. From then on the
//! key opens the door.

use std::time::Duration;

use bowline_core::name::{PoolName, WorkerName};
use reqwest::{Client, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::error::WorkerError;
use crate::pool::chain;
use crate::session::backoff::Backoff;
use crate::state_dir::Place;

/// Bound of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Who enrols, where, with what.
#[derive(Debug)]
pub(crate) struct Enrolment<'a> {
    pub(crate) client: &'a Client,
    pub(crate) server: &'a str,
    pub(crate) name: &'a WorkerName,
    pub(crate) pool: Option<&'a PoolName>,
    pub(crate) token: Option<&'a str>,
}

/// The key of this state directory: enrolled now, where it was not. `None`: told to stop before.
pub(crate) async fn key(
    state: &Place,
    enrolment: &Enrolment<'_>,
    stop: &CancellationToken,
) -> Result<Option<String>, WorkerError> {
    match state.key()? {
        Some(key) => Ok(Some(key)),
        None => enrol(state, enrolment, stop).await,
    }
}

async fn enrol(
    state: &Place,
    enrolment: &Enrolment<'_>,
    stop: &CancellationToken,
) -> Result<Option<String>, WorkerError> {
    let token = enrolment.token.ok_or(WorkerError::NoToken)?;
    let key = state.new_key()?;
    let mut backoff = Backoff::new();
    loop {
        match ask(enrolment, token, &key).await {
            Asked::Taken => {
                state.key_is_enrolled()?;
                tracing::info!(worker = %enrolment.name, "enrolled");
                return Ok(Some(key));
            }
            Asked::Refused(why) => return Err(WorkerError::EnrolRefused(why)),
            Asked::Unreachable(why) => {
                let wait = backoff.next();
                tracing::warn!(
                    server = enrolment.server,
                    why,
                    ?wait,
                    "the server cannot be reached to enrol; trying again"
                );
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// Has the server take a key that it does not know any more. Says whether it did.
pub(crate) async fn enrol_again(
    client: Client,
    server: String,
    (name, pool): (WorkerName, Option<PoolName>),
    token: String,
    key: String,
) -> bool {
    let enrolment = Enrolment { client: &client, server: &server, name: &name, pool: pool.as_ref(), token: None };
    match ask(&enrolment, &token, &key).await {
        Asked::Taken => true,
        Asked::Refused(why) | Asked::Unreachable(why) => {
            tracing::warn!(why, "enrolling anew failed");
            false
        }
    }
}

enum Asked {
    Taken,
    Refused(String),
    Unreachable(String),
}

async fn ask(enrolment: &Enrolment<'_>, token: &str, key: &str) -> Asked {
    let url = format!("{}/api/v1/workers/enrol", enrolment.server.trim_end_matches('/'));
    let mut body = serde_json::json!({ "name": enrolment.name.as_str(), "key": key });
    if let Some(pool) = enrolment.pool {
        body["pool"] = pool.as_str().into();
    }
    let call = enrolment.client.post(url).bearer_auth(token).json(&body).timeout(REQUEST_TIMEOUT);
    let response = match call.send().await {
        Ok(response) => response,
        Err(error) => return Asked::Unreachable(chain(&error)),
    };
    let status = response.status();
    if status.is_success() {
        return Asked::Taken;
    }
    let text = response.text().await.unwrap_or_default();
    let why = problem(&text).unwrap_or_else(|| format!("status {status}"));
    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if passing { Asked::Unreachable(why) } else { Asked::Refused(why) }
}

/// The sentence in a problem document.
fn problem(text: &str) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_str(text).ok()?;
    let sentence = problem.get("detail").or_else(|| problem.get("title"))?;
    sentence.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::state_dir::Owner;

    /// A server that answers each request with the next of these, and keeps what was asked.
    async fn server(answers: &[&str]) -> (String, impl Future<Output = Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let serve = async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    let mut part = [0; 4096];
                    let got = stream.read(&mut part).await.unwrap();
                    request.extend_from_slice(&part[..got]);
                }
                asked.push(String::from_utf8(request).unwrap());
                let head = format!("HTTP/1.1 {answer}\r\nconnection: close\r\n");
                let body = if answer.starts_with('4') { "{\"detail\":\"the token was used before\"}" } else { "{}" };
                let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
            asked
        };
        (url, serve)
    }

    async fn enrol_at(url: &str, token: Option<&str>) -> Result<Option<String>, WorkerError> {
        let dir = tempfile::tempdir().unwrap();
        let name = WorkerName::new("lab-3").unwrap();
        let held = crate::state_dir::StateDir::open(dir.path(), Duration::ZERO).unwrap();
        let state = held.places(&[url.to_owned()], &Owner::of(&name, None)).unwrap().remove(0);
        let client = crate::http_action::client().unwrap();
        let enrolment = Enrolment { client: &client, server: url, name: &name, pool: None, token };
        let key = key(&state, &enrolment, &CancellationToken::new()).await?;
        assert_eq!(state.key()?, key);
        Ok(key)
    }

    #[tokio::test]
    async fn a_worker_enrols_with_a_key_of_its_own_making_and_tries_again_where_it_may() {
        let (url, serve) = server(&["503 Busy", "200 OK"]).await;
        let (key, asked) = tokio::join!(enrol_at(&url, Some("t0ken")), serve);
        let key = key.unwrap().unwrap();
        for request in asked {
            let request = request.to_lowercase();
            assert!(request.starts_with("post /api/v1/workers/enrol") && request.contains("bearer t0ken"), "{request}");
            assert!(request.contains(&key) && request.contains("lab-3"), "{request}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_server_s_words() {
        let (url, serve) = server(&["403 Forbidden"]).await;
        let (refused, _) = tokio::join!(enrol_at(&url, Some("old")), serve);
        assert!(refused.unwrap_err().to_string().contains("the token was used before"));
        assert!(matches!(enrol_at(&url, None).await, Err(WorkerError::NoToken)));
    }
}
