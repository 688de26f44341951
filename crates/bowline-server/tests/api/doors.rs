//! Who may come in, and what is wrong with what he sends.

use bowline_client::api::{Enrol, NewToken};
use bowline_core::input::TokenRole;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::{House, answer};

#[tokio::test]
async fn a_wrong_or_missing_token_opens_nothing() {
    let house = House::new().await;
    for request in [
        house.bare(Method::GET, "/api/v1/tasks"),
        house.bare(Method::GET, "/api/v1/tasks").bearer_auth("wrong"),
        house.bare(Method::POST, "/api/v1/tasks").bearer_auth("wrong").body("{}"),
    ] {
        let (status, problem) = answer(request).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNAUTHORIZED, &Value::from("unauthenticated")));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("--token-file") && detail.contains("BOWLINE_TOKEN_FILE"), "{detail}");
    }
    for open in ["/healthz", "/readyz", "/", "/openapi.json", "/docs/", "/metrics"] {
        let response = house.bare(Method::GET, open).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{open}");
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn foreign_pages_and_foreign_names_are_refused() {
    let house = House::new().await;
    for path in ["/api/v1/tasks", "/healthz", "/docs/", "/bowline.v1.Fleet/Session"] {
        let (status, problem) = answer(house.request(Method::GET, path).header("origin", "http://evil.example")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &Value::from("foreign_origin")), "{path}");
        let (status, problem) = answer(house.request(Method::GET, path).header("host", "evil.example")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::MISDIRECTED_REQUEST, &Value::from("wrong_host")), "{path}");
    }
    let own = house.server.url();
    let (status, _) = answer(house.request(Method::GET, "/api/v1/tasks").header("origin", own)).await;
    assert_eq!(status, StatusCode::OK);
    house.server.shutdown().await;
}

#[tokio::test]
async fn mistakes_are_told_with_their_place() {
    let house = House::new().await;
    for (body, path, suggestion) in [
        (r#"{"comand":["true"]}"#, "comand", Some("command")),
        (r#"{"tasks":[{"shell":"a"},{"shell":"a","timeouts":{"rum":"1s"}}]}"#, "tasks[1].timeouts.rum", Some("run")),
        (r#"{"shell":"a","slots":"many"}"#, "slots", None),
        (r#"{"shell":"a","delay":"5 parsecs"}"#, "delay", None),
    ] {
        let (status, problem) = house.post("/api/v1/tasks", body).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &Value::from("invalid")), "{body}");
        let mistake = &problem["mistakes"][0];
        assert_eq!(mistake["path"], path, "{problem}");
        assert_eq!(mistake["suggestion"].as_str(), suggestion, "{problem}");
    }
    let (status, _) = house.post("/api/v1/tasks", "{\"name\":\"\u{fffd}").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = answer(house.request(Method::POST, "/api/v1/tasks").body(vec![0xff, 0xfe])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_payload_of_10_megabytes_is_refused_with_the_limit() {
    let house = House::new().await;
    let body = format!(r#"{{"shell":"{}"}}"#, "x".repeat(10_000_000));
    let (status, problem) = house.post("/api/v1/tasks", &body).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &Value::from("too_large")));
    assert!(problem["detail"].as_str().unwrap().contains("8 MiB"), "{problem}");
    let body = format!(r#"{{"shell":"{}"}}"#, "x".repeat(2_000_000));
    let (status, problem) = house.post("/api/v1/tasks", &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(problem["detail"].as_str().unwrap().contains("1 MiB"), "{problem}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let house = House::new().await;
    for (method, path, status) in [
        (Method::GET, "/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/tasks/4711", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/tasks/4711.3", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/tasks/4711/logs", StatusCode::NOT_FOUND),
        (Method::POST, "/api/v1/tasks/4711/cancel", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/tasks/last", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/runs/12", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/runs/r12", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/workflows/census", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/workers/lab-3", StatusCode::NOT_FOUND),
        (Method::GET, "/api/v1/tasks?limit=0", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/tasks?stat=ready", StatusCode::BAD_REQUEST),
        (Method::GET, "/api/v1/tasks?namespace=no%20good", StatusCode::BAD_REQUEST),
        (Method::PUT, "/api/v1/tasks", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (got, problem) = answer(house.request(method.clone(), path)).await;
        assert_eq!(got, status, "{method} {path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}: {problem}");
        assert_eq!(problem["status"], status.as_u16(), "{path}");
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_worker_enrols_once_and_may_ask_again() {
    let house = House::new().await;
    let token = NewToken { name: "for lab-3".to_owned(), role: TokenRole::Enrol, pool: None };
    let issued = house.client().create_token(&token).await.unwrap();
    let newcomer = bowline_client::Client::new(&house.server.url(), Some(&issued.token)).unwrap();
    let error = newcomer.queue().await.unwrap_err();
    assert_eq!(error.api().map(|error| error.status), Some(403), "it enrols, and opens nothing else");
    let own = Enrol { name: "lab-3".to_owned(), pool: None, key: "ab".repeat(32) };
    assert_eq!(newcomer.enrol(&own).await.unwrap().name, "lab-3");
    assert_eq!(newcomer.enrol(&own).await.unwrap().name, "lab-3", "the same key again is fine");
    let other = Enrol { name: "lab-3".to_owned(), pool: None, key: "cd".repeat(32) };
    let error = newcomer.enrol(&other).await.unwrap_err();
    assert_eq!(error.api().map(|error| error.status), Some(401), "the token is used up");
    let workers = house.client().workers().await.unwrap();
    assert_eq!(workers.items.len(), 1);
    assert!(house.client().tokens().await.unwrap().items.is_empty());
    // With a token that is good, the way for a machine that replaces another is told.
    let token = NewToken { name: "again".to_owned(), role: TokenRole::Enrol, pool: None };
    let made = house.client().create_token(&token).await.unwrap();
    let newcomer = bowline_client::Client::new(&house.server.url(), Some(&made.token)).unwrap();
    let error = newcomer.enrol(&other).await.unwrap_err();
    assert!(error.to_string().contains("`bowline worker forget lab-3`"), "{error}");
    house.server.shutdown().await;
}
