//! Logs: from an offset, from the end, and followed until they are sealed.

use bowline_blob::{LogKey, LogStream};
use bowline_client::{Client, LogRequest, LogStart, Write};
use bowline_core::id::TaskRef;
use reqwest::Method;

use crate::support::{House, command, soon, wait_task};

/// A running attempt without a worker, and the key of its log.
async fn attempt(client: &Client) -> (TaskRef, LogKey) {
    let id = client.submit(&wait_task("log"), &Write::default()).await.unwrap().id.unwrap();
    let attempts = client.attempts(id).await.unwrap();
    let attempt = attempts.items.first().expect("the server holds it itself");
    assert_eq!(attempt.attempt, 1);
    (id, LogKey { task: id.task.0, index: None, generation: attempt.generation, attempt: attempt.attempt })
}

async fn read(client: &Client, request: LogRequest) -> Vec<u8> {
    let mut stream = client.log(request);
    let mut all = Vec::new();
    while let Some(bytes) = soon(stream.next()).await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    all
}

#[tokio::test]
async fn a_log_is_read_from_any_byte() {
    let house = House::new().await;
    let client = house.client();
    let (id, key) = attempt(&client).await;
    let text = b"one\ntwo\n\xff\xfe three\n";
    house.server.state().logs.append(key, LogStream::Output, 0, text).unwrap();
    assert_eq!(read(&client, LogRequest::new(id)).await, text);
    let from = |start| LogRequest { start, ..LogRequest::new(id) };
    assert_eq!(read(&client, from(LogStart::Offset(4))).await, &text[4..]);
    assert_eq!(read(&client, from(LogStart::Tail(1))).await, b"\xff\xfe three\n");
    let error = client.log(from(LogStart::Offset(999))).next().await.unwrap_err();
    assert_eq!(error.api().map(|error| error.status), Some(400));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_follower_gets_everything_until_the_seal() {
    let house = House::new().await;
    let client = house.client();
    let (id, key) = attempt(&client).await;
    let logs = &house.server.state().logs;
    logs.append(key, LogStream::Output, 0, b"first ").unwrap();
    let mut stream = client.log(LogRequest { follow: true, ..LogRequest::new(id) });
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), "first ");
    logs.append(key, LogStream::Output, 6, b"second").unwrap();
    assert_eq!(soon(stream.next()).await.unwrap().unwrap(), "second");
    logs.seal(key, LogStream::Output, 12).unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), None);
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_task_that_ended_before_it_began_has_no_log_to_wait_for() {
    let house = House::new().await;
    let id = house.client().submit(&command("never"), &Write::default()).await.unwrap().id.unwrap();
    let sealed = async || {
        let answer = house.request(Method::GET, &format!("/api/v1/tasks/{id}/logs")).send().await.unwrap();
        answer.headers()["bowline-log-sealed"].to_str().unwrap().to_owned()
    };
    assert_eq!(sealed().await, "false");
    let (status, answer) = house.post(&format!("/api/v1/tasks/{id}/cancel"), "{}").await;
    assert!(status.is_success(), "{answer}");
    assert_eq!(sealed().await, "true");
    house.server.shutdown().await;
}
