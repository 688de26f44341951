//! HTTP/1.1 in the plain, over a socket: what is sent is exactly what a test wants to have sent, a wrong
//! Host and a foreign Origin too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{PATIENCE, Up};

/// A server, and the token that opens it.
#[derive(Debug)]
pub(crate) struct Web {
    host: String,
    token: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Web {
    /// The door of an `up`.
    pub(crate) fn of(up: &Up) -> Self {
        Self::at(&up.url, &up.token_file)
    }

    /// The door of a server.
    pub(crate) fn at(url: &str, token_file: &std::path::Path) -> Self {
        let host = url.strip_prefix("http://").unwrap().to_owned();
        let token = std::fs::read_to_string(token_file).unwrap().trim().to_owned();
        Self { host, token }
    }

    /// `Authorization` as it is right here.
    pub(crate) fn authorization(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    /// Sends a request with just these headers (Host comes first where none is among them), and leaves the answer to be read.
    pub(crate) fn open(&self, line: &str, headers: &[&str], body: &[u8]) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{line} HTTP/1.1\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.host));
        }
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        head.push_str(&format!("Connection: close\r\nContent-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses a body need not read it to its end.
        drop(stream.write_all(body));
        BufReader::new(stream)
    }

    /// A request with just these headers, and its answer.
    pub(crate) fn raw(&self, line: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut reader = self.open(line, headers, body);
        let (status, head) = read_head(&mut reader);
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            while let Some(chunk) = read_chunk(&mut reader) {
                body.extend(chunk);
            }
        } else {
            drop(reader.read_to_end(&mut body));
        }
        Reply { status, head, body }
    }

    /// A request with the right token.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.raw(&format!("GET {path}"), &[&self.authorization()], b"")
    }

    /// A JSON text sent with the right token, and more headers.
    pub(crate) fn post_with(&self, path: &str, more: &[&str], body: &str) -> Reply {
        let authorization = self.authorization();
        let headers = [&[authorization.as_str(), "Content-Type: application/json"], more].concat();
        self.raw(&format!("POST {path}"), &headers, body.as_bytes())
    }

    /// A JSON text sent with the right token.
    pub(crate) fn post(&self, path: &str, body: &str) -> Reply {
        self.post_with(path, &[], body)
    }

    /// Submits tasks, and wants it to be done; the first id.
    pub(crate) fn submit(&self, body: &str) -> String {
        let reply = self.post("/api/v1/tasks", body);
        assert_eq!(reply.status, 201, "{body}: {}", reply.text());
        reply.json()["ids"][0].as_str().unwrap().to_owned()
    }

    /// A task once it has ended.
    pub(crate) fn ended(&self, id: &str) -> Value {
        let reply = self.get(&format!("/api/v1/tasks/{id}?wait=30s"));
        let task = reply.json();
        assert!(task["ended_at"].is_string(), "task {id} has not ended: {task}");
        task
    }
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// A problem: its status, its code and its detail.
    pub(crate) fn problem(&self) -> (u16, String, String) {
        assert!(self.head.contains("application/problem+json"), "{}\n{}", self.head, self.text());
        let problem = self.json();
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(problem["status"], self.status, "{problem}");
        (self.status, text("code"), text("detail"))
    }
}

/// The status and the head, in lower case.
pub(crate) fn read_head(reader: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no answer: {head}");
        if line == "\r\n" {
            break;
        }
        head.push_str(&line.to_lowercase());
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {head}")), head)
}

/// The next chunk of a chunked body; none at its end.
pub(crate) fn read_chunk(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim(), 16).ok()?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    (length > 0).then_some(chunk)
}
