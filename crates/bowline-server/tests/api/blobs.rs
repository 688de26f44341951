//! Blobs: put in parts that go on after a cut, deduplicated, given out in ranges, never damaged.

use bowline_blob::Digest;
use reqwest::{Method, Response, StatusCode};

use crate::support::House;

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|number| u8::try_from(number * 7 % 251).unwrap()).collect()
}

fn path(digest: Digest) -> String {
    format!("/api/v1/blobs/{digest}")
}

async fn put(house: &House, digest: Digest, (offset, total): (usize, usize), body: Vec<u8>) -> Response {
    let request = house.request(Method::PUT, &path(digest));
    request.header("upload-offset", offset).header("upload-length", total).body(body).send().await.unwrap()
}

fn offset(response: &Response) -> usize {
    response.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_and_is_whole_once_its_hash_is() {
    let house = House::new().await;
    let all = bytes(3_000_000);
    let digest = Digest::of(&all);
    let head = async || house.request(Method::HEAD, &path(digest)).send().await.unwrap();
    let found = head().await;
    assert_eq!((found.status(), offset(&found)), (StatusCode::NOT_FOUND, 0));
    let part = put(&house, digest, (0, all.len()), all[..1_000_000].to_vec()).await;
    assert_eq!((part.status(), offset(&part)), (StatusCode::ACCEPTED, 1_000_000));
    assert_eq!(offset(&head().await), 1_000_000);
    let wrong = put(&house, digest, (5, all.len()), all[5..].to_vec()).await;
    assert_eq!((wrong.status(), offset(&wrong)), (StatusCode::CONFLICT, 1_000_000));
    let whole = put(&house, digest, (1_000_000, all.len()), all[1_000_000..].to_vec()).await;
    assert_eq!(whole.status(), StatusCode::CREATED);
    let found = head().await;
    assert_eq!((found.status(), offset(&found)), (StatusCode::OK, all.len()));
    // Other bytes under this name are thrown away, and too many refused.
    let other = Digest::of(b"other");
    assert_eq!(put(&house, other, (0, 5), b"wrong".to_vec()).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(put(&house, other, (0, 3), b"wrong".to_vec()).await.status(), StatusCode::BAD_REQUEST);
    let huge = put(&house, other, (0, usize::MAX), Vec::new()).await;
    assert_eq!(huge.status(), StatusCode::PAYLOAD_TOO_LARGE);
    house.server.shutdown().await;
}

#[tokio::test]
async fn any_range_is_given_out_and_a_damaged_blob_is_not() {
    let house = House::new().await;
    let all = bytes(2_500_000);
    let digest = house.server.state().blobs.put(&all).unwrap();
    let get = async |range: Option<&str>| {
        let mut request = house.request(Method::GET, &path(digest));
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send().await.unwrap()
    };
    let whole = get(None).await;
    assert_eq!((whole.status(), whole.content_length()), (StatusCode::OK, Some(2_500_000)));
    assert_eq!(whole.bytes().await.unwrap(), all);
    let part = get(Some("bytes=1000000-1999999")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 1000000-1999999/2500000");
    assert_eq!(part.bytes().await.unwrap(), all[1_000_000..2_000_000]);
    assert_eq!(get(Some("bytes=2500000-")).await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    // A byte flips on the disk, beyond the first piece.
    let hex = digest.to_string();
    let file = house.server.state().config.data.join("blobs").join(&hex[..2]).join(&hex);
    let mut flipped = all.clone();
    flipped[2_400_000] ^= 1;
    std::fs::write(&file, flipped).unwrap();
    assert!(get(None).await.bytes().await.is_err());
    let refused = get(Some("bytes=0-9")).await;
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let told = refused.text().await.unwrap();
    assert!(told.contains("blob_damaged") && told.contains(&hex), "{told}");
    let head = house.request(Method::HEAD, &path(digest)).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::NOT_FOUND, "it is to be sent again");
    house.server.shutdown().await;
}

#[tokio::test]
async fn small_ones_go_together_and_what_is_no_bundle_is_refused() {
    const KIND: &str = "application/octet-stream";
    let house = House::new().await;
    let send = async |kind: &'static str, body: Vec<u8>| {
        let request = house.request(Method::POST, "/api/v1/blobs").header("content-type", kind).body(body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    let texts: Vec<String> = (0..100).map(|number| format!("file {number}\n")).collect();
    let mut bundle = bowline_protocol::bundle::Bundle::default();
    for text in &texts {
        bundle.push(&Digest::of(text.as_bytes()).to_string(), text.as_bytes());
    }
    bundle.push(&Digest::of(b"announced").to_string(), b"sent");
    let (status, answer) = send(KIND, bundle.into_body()).await;
    assert_eq!(status, StatusCode::OK);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let stored: Vec<&str> = answer["stored"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(stored.len(), texts.len());
    for text in &texts {
        let digest = Digest::of(text.as_bytes());
        assert!(stored.contains(&digest.to_string().as_str()));
        let got = house.request(Method::GET, &path(digest)).send().await.unwrap();
        assert_eq!(got.text().await.unwrap(), *text);
    }
    let (status, told) = send("text/plain", Vec::new()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(told.contains(KIND), "{told}");
    let (status, told) = send(KIND, b"what is this".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(told.contains("blob 1 of the bundle"), "{told}");
    let (status, told) = send(KIND, b"short 0\n".to_vec()).await;
    assert!(status == StatusCode::BAD_REQUEST && told.contains("`short` is no digest"), "{status} {told}");
    assert_eq!(send(KIND, bytes(5 << 20)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    house.server.shutdown().await;
}

#[tokio::test]
async fn blobs_open_to_workers_and_administrators_alone() {
    let house = House::new().await;
    let digest = house.server.state().blobs.put(b"secret").unwrap();
    let bare = house.bare(Method::GET, &path(digest)).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    let as_worker = |key: &str| house.bare(Method::GET, &path(digest)).bearer_auth(key).header("bowline-worker", "lab");
    assert_eq!(as_worker("no such key").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // Not even the administrator's token is a worker's key.
    assert_eq!(as_worker(&house.token).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let (status, _) = house.post("/api/v1/workers/enrol", "{}").await;
    assert!(status.is_client_error());
    let bad = house.request(Method::GET, "/api/v1/blobs/..%2f..%2fetc").send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    house.server.shutdown().await;
}
