//! How a server comes up, says where it is, goes down, and comes up again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use bowline_core::id::TaskId;
use bowline_server::{ADDRESS_FILE, Exposure, ServerConfig, ServerError, TOKEN_FILE, start};
use tonic::Code;

use crate::fixture::{House, config};

#[tokio::test]
async fn a_server_says_where_it_is_and_only_its_owner_may_read_that() {
    let house = House::new().await;
    let data = house.folder.path().join("data");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join(TOKEN_FILE))), (0o700, 0o600));
    let said: serde_json::Value = serde_json::from_slice(&fs::read(data.join(ADDRESS_FILE)).unwrap()).unwrap();
    assert_eq!(said["address"], house.server.url());
    assert_eq!(said["pid"], std::process::id());
    let token = fs::read_to_string(house.server.token_file()).unwrap();
    assert!(house.server.state().secrets.is_admin(token.trim()));
    house.server.shutdown().await;
    assert!(!data.join(ADDRESS_FILE).exists());
}

#[tokio::test]
async fn a_taken_port_an_open_address_and_a_taken_folder_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = start(ServerConfig { listen, ..config(&folder) }).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressTaken { address } if address == listen), "{error}");
    assert!(error.to_string().contains("--listen"), "{error}");

    let listen = "0.0.0.0:0".parse().unwrap();
    let error = start(ServerConfig { listen, ..config(&folder) }).await.unwrap_err();
    assert!(matches!(error, ServerError::Exposed(_)), "{error}");
    let open = ServerConfig { listen, exposure: Exposure::Insecure, ..config(&folder) };
    start(open).await.unwrap().shutdown().await;

    let server = start(config(&folder)).await.unwrap();
    let error = start(config(&folder)).await.unwrap_err();
    assert!(matches!(error, ServerError::Store(_)), "{error}");
    server.shutdown().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), b"a file").unwrap();
    let error = start(config(&folder)).await.unwrap_err();
    assert!(matches!(&error, ServerError::Data { path, .. } if path.ends_with("data")), "{error}");
}

#[tokio::test]
async fn a_server_stops_within_a_second_and_another_one_goes_on() {
    let house = House::new().await;
    let mut hand = house.worker("lab").await;
    let task = house.submit().await;
    let attempt = hand.assign().await.assign.attempt;
    let House { folder, server } = house;
    let began = Instant::now();
    server.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    assert_eq!(hand.end().await, Some(Code::Unavailable));

    let house = House { server: start(config(&folder)).await.unwrap(), folder };
    let known = vec![(attempt, bowline_core::message::KnownAs::Running)];
    let mut hand = house.reconnect("lab", known).await;
    hand.is_heard().await;
    let row = house.server.state().leader.reader().task(task).unwrap().unwrap().row;
    assert!(row.unit.state.is_live(), "{row:?}");
    assert_eq!(house.submit().await, TaskId(task.0 + 1));
    house.server.shutdown().await;
}
