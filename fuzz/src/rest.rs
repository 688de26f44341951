//! Requests to the REST interface, one after the other: submits, arrays, bulk verbs, runs, queries, whatever.

use crate::server::{self, Written};

/// What stands between two requests.
const BETWEEN: &[u8] = b"\n---\n";
/// Most requests of one input.
const REQUESTS_MAX: usize = 16;

/// Reads the requests and sends them to a server of their own.
pub fn check(bytes: &[u8]) {
    let requests: Vec<Written<'_>> = split(bytes).into_iter().take(REQUESTS_MAX).filter_map(Written::read).collect();
    if requests.is_empty() {
        return;
    }
    server::with(|server| async move {
        for request in &requests {
            server::ask(&server, request).await;
        }
        for path in ["GET /healthz", "GET /metrics", "GET /api/v1/queue", "GET /api/v1/tasks", "GET /api/v1/runs"] {
            let written = Written::read(path.as_bytes()).expect("a request");
            server::ask(&server, &written).await;
        }
    });
}

fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}
