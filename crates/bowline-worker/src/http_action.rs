//! The action `http`: one request from this worker, and what came back as the result.

use std::time::Duration;

use bowline_core::message::JobEnd;
use bowline_core::spec::{HttpRequest, RESULT_BYTES_MAX};
use bowline_core::state::{JobError, TimeoutKind};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::collect::Collected;
use crate::error::WorkerError;
use crate::pool::chain;

/// The largest answer kept where the task says nothing: 1 MiB. What the result's own bound leaves
/// room for is less: JSON needs some of it.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;
/// A server that does not take the connection for so long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for requests of tasks and for enrolment.
pub(crate) fn client() -> Result<Client, WorkerError> {
    // The first one in the process stands; it is the same one everywhere.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("bowline/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(WorkerError::HttpClient)
}

/// Sends the request. Within the run limit; `None`: no limit.
pub(crate) async fn perform(client: Client, request: HttpRequest, limit: Option<Duration>) -> Collected {
    let work = send(&client, &request);
    match limit {
        None => work.await,
        Some(limit) => {
            let timed_out = |_| Collected::bare(JobEnd::Timeout(TimeoutKind::Run));
            tokio::time::timeout(limit, work).await.unwrap_or_else(timed_out)
        }
    }
}

async fn send(client: &Client, request: &HttpRequest) -> Collected {
    let method = request.method.to_uppercase();
    let method = if method.is_empty() { "GET" } else { &method };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return Collected::failure(format!("`{}` is no HTTP method", request.method));
    };
    let mut call = client.request(method.clone(), &request.url);
    for (name, value) in &request.headers {
        call = call.header(name, value);
    }
    if let Some(body) = &request.body {
        call = call.body(body.clone());
    }
    match call.send().await {
        Ok(response) => answered(response, request, &method).await,
        Err(error) => Collected::failure(format!("{method} {} failed: {}", request.url, chain(&error.without_url()))),
    }
}

async fn answered(mut response: reqwest::Response, request: &HttpRequest, method: &Method) -> Collected {
    let max = request.response_bytes_max.unwrap_or(RESPONSE_BYTES_MAX);
    let status = response.status();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => break,
            Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 <= max => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                return Collected::failure(format!(
                    "the answer to {method} {} is larger than {max} bytes",
                    request.url
                ));
            }
            Err(error) => {
                let error = chain(&error.without_url());
                return Collected::failure(format!("the answer to {method} {} broke off: {error}", request.url));
            }
        }
    }
    let result = json!({
        "status": status.as_u16(),
        "headers": headers(&response),
        "body": String::from_utf8_lossy(&body),
    })
    .to_string();
    if result.len() > RESULT_BYTES_MAX {
        return Collected::failure(format!(
            "the answer to {method} {} is larger than a result may be ({RESULT_BYTES_MAX} bytes)",
            request.url
        ));
    }
    let good = if request.expect.is_empty() { status.is_success() } else { request.expect.contains(&status.as_u16()) };
    let how = if good {
        JobEnd::Success
    } else {
        let message = format!("{method} {} was answered with status {}", request.url, status.as_u16());
        JobEnd::Error(JobError { message, ..JobError::default() })
    };
    Collected { how, result: Some(result) }
}

fn headers(response: &reqwest::Response) -> Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match headers.get_mut(name.as_str()) {
            Some(Value::String(known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            Some(_) | None => {
                headers.insert(name.as_str().to_owned(), Value::String(value));
            }
        }
    }
    Value::Object(headers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn request(url: String) -> HttpRequest {
        HttpRequest {
            url,
            method: String::new(),
            headers: BTreeMap::from([("x-a".to_owned(), "b".to_owned())]),
            body: None,
            expect: Vec::new(),
            response_bytes_max: None,
        }
    }

    /// Answers one request with this, and gives back what was asked.
    async fn ask(mut task: HttpRequest, answer: &'static str) -> (Collected, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        task.url = format!("http://{}/x", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let got = stream.read(&mut asked).await.unwrap();
            asked.truncate(got);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8(asked).unwrap()
        };
        tokio::join!(perform(client().unwrap(), task, None), server)
    }

    #[tokio::test]
    async fn an_answer_becomes_the_result() {
        let answer = "HTTP/1.1 200 OK\r\nx-c: 1\r\nx-c: 2\r\ncontent-length: 2\r\n\r\nhi";
        let (collected, asked) = ask(request(String::new()), answer).await;
        assert_eq!(collected.how, JobEnd::Success);
        let result: Value = serde_json::from_str(&collected.result.unwrap()).unwrap();
        assert_eq!(
            (&result["status"], &result["body"], &result["headers"]["x-c"]),
            (&json!(200), &json!("hi"), &json!("1, 2"))
        );
        assert!(asked.starts_with("GET /x HTTP/1.1") && asked.contains("x-a: b"), "{asked}");
    }

    #[tokio::test]
    async fn a_status_that_is_not_expected_fails_and_keeps_the_answer() {
        let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let (collected, _) = ask(request(String::new()), missing).await;
        assert!(matches!(&collected.how, JobEnd::Error(error) if error.message.contains("404")));
        assert!(collected.result.is_some());
        let expected = HttpRequest { expect: vec![404], ..request(String::new()) };
        assert_eq!(ask(expected, missing).await.0.how, JobEnd::Success);
    }

    #[tokio::test]
    async fn an_answer_beyond_its_bound_fails() {
        let small = HttpRequest { response_bytes_max: Some(1), ..request(String::new()) };
        let (collected, _) = ask(small, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        assert!(matches!(&collected.how, JobEnd::Error(error) if error.message.contains("larger than 1 bytes")));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_never_answers_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = request(format!("http://{}/", listener.local_addr().unwrap()));
        let collected = perform(client().unwrap(), silent, Some(Duration::from_millis(20))).await;
        assert_eq!(collected.how, JobEnd::Timeout(TimeoutKind::Run));
        let nowhere = perform(client().unwrap(), request("no url".to_owned()), None).await;
        assert!(matches!(nowhere.how, JobEnd::Error(_)));
    }
}
