//! Who is let in, and how whoever is not is told.

use bowline_core::message::FromWorker;
use bowline_protocol::WorkerMessage;
use bowline_protocol::call::{self, Caller, PROTOCOL};
use bowline_protocol::wire::fleet_client::FleetClient;
use tonic::Code;

use crate::fixture::{Hand, House, hello, soon};

async fn refused(house: &House, name: &str, key: &str) -> Code {
    match Hand::call(house.channel().await, name, key).await {
        Ok(_) => panic!("{name} was let in with `{key}`"),
        Err(status) => status.code(),
    }
}

#[tokio::test]
async fn the_key_opens_its_own_door_only() {
    let house = House::new().await;
    assert_eq!(refused(&house, "lab", "key").await, Code::Unauthenticated);
    house.enrol("lab", "key").await;
    house.enrol("other", "other key").await;
    for key in ["", "kez", "other key"] {
        assert_eq!(refused(&house, "lab", key).await, Code::Unauthenticated, "{key}");
    }
    assert!(Hand::call(house.channel().await, "lab", "key").await.is_ok());
    house.server.shutdown().await;
}

#[tokio::test]
async fn another_version_is_told_what_to_do() {
    let house = House::new().await;
    house.enrol("lab", "key").await;
    let mut client = FleetClient::new(house.channel().await);
    let mut request = tonic::Request::new(tokio_stream::empty());
    let caller = Caller { worker: "lab".parse().unwrap(), pool: None, key: "key".to_owned() };
    call::put(request.metadata_mut(), &caller).unwrap();
    request.metadata_mut().insert(PROTOCOL, "9.0".parse().unwrap());
    let status = soon("a refusal", client.session(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("at most one minor version apart"), "{status}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn hello_comes_first_and_names_whose_key_was_shown() {
    let house = House::new().await;
    house.enrol("lab", "key").await;
    let mut hand = Hand::call(house.channel().await, "lab", "key").await.unwrap();
    hand.tell(FromWorker::Heartbeat).await;
    assert_eq!(hand.end().await, Some(Code::InvalidArgument));
    let mut hand = Hand::call(house.channel().await, "lab", "key").await.unwrap();
    hand.say(&WorkerMessage::Hello(Box::new(hello("other")))).await;
    assert_eq!(hand.end().await, Some(Code::PermissionDenied));
    house.server.shutdown().await;
}

#[tokio::test]
async fn grpc_does_not_answer_for_urls_that_are_not_its_own() {
    let house = House::new().await;
    for path in ["/nonsense", "/bowline.v1.Fleets/Session", "/grpc.health.v1.Health/Check"] {
        let status = get(&house, path).await;
        assert!(status.starts_with("HTTP/1.1 4"), "{path}: {status}");
    }
    house.server.shutdown().await;
}

/// The status line of a plain HTTP/1.1 request.
async fn get(house: &House, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = house.server.local_addr();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}
