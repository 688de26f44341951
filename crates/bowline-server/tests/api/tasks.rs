//! Tasks from submit to end, over the API.

use std::time::Duration;

use bowline_client::Write;
use bowline_client::api::{Bulk, BulkFilter, Complete, PageQuery, TaskQuery, TaskVerbName};
use bowline_core::state::StateKind;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{House, answer, command, soon, wait_task};

#[tokio::test]
async fn a_wait_is_completed_and_its_waiter_is_woken() {
    let house = House::new().await;
    let client = house.client();
    let id = client.submit(&wait_task("door"), &Write::default()).await.unwrap().id.unwrap();
    let before = client.wait_task(id, Some(Duration::from_millis(50))).await;
    assert!(matches!(before, Err(bowline_client::ClientError::WaitedOut { .. })));
    let waiter = client.wait_task(id, None);
    let completer = async {
        let how = Complete { result: Some(json!({"answer": 42})), failure: None };
        client.complete(id, &how).await.unwrap()
    };
    let (ended, _) = soon(Box::pin(async { tokio::join!(waiter, completer) })).await;
    let ended = ended.unwrap();
    assert_eq!(ended.state, StateKind::Succeeded);
    assert_eq!(ended.result, Some(json!({"answer": 42})));
    let history = client.history(id, &PageQuery::default()).await.unwrap();
    assert!(history.items.iter().any(|line| line.what == "succeeded"), "{history:?}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_key_makes_a_submit_happen_once() {
    let house = House::new().await;
    let client = house.client();
    let write = Write { key: Some("once".to_owned()), dry_run: false, strict: false };
    let first = client.submit(&wait_task("a"), &write).await.unwrap();
    let second = client.submit(&wait_task("a"), &write).await.unwrap();
    assert_eq!((first.id, first.replayed), (second.id, false));
    assert!(second.replayed);
    let error = client.submit(&wait_task("b"), &write).await.unwrap_err();
    let error = error.api().unwrap();
    assert_eq!((error.status, error.code.as_str()), (409, "idempotency_key_reused"));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let house = House::new().await;
    let client = house.client();
    let write = Write { key: None, dry_run: true, strict: false };
    assert!(client.submit(&wait_task("a"), &write).await.unwrap().ids.is_empty());
    assert!(client.tasks(&TaskQuery::default()).await.unwrap().items.is_empty());
    house.server.shutdown().await;
}

#[tokio::test]
async fn lists_page_and_filter_without_gap_or_repeat() {
    let house = House::new().await;
    let client = house.client();
    let tasks = (0..25).map(|number| command(&format!("task-{number}"))).collect();
    let made = client.submit_many(tasks, &Write::default()).await.unwrap();
    let mut query = TaskQuery { limit: Some(10), sort: Some("oldest".to_owned()), ..TaskQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = client.tasks(&query).await.unwrap();
        assert!(page.items.len() <= 10);
        seen.extend(page.items.iter().map(|task| task.id));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made.ids);
    let query = TaskQuery { name: Some("task-1*".to_owned()), state: Some("ready".to_owned()), ..TaskQuery::default() };
    let page = client.tasks(&query).await.unwrap();
    assert_eq!(page.items.len(), 11);
    assert!(page.items.iter().all(|task| task.why.is_some()), "each says why it waits");
    let (status, problem) = answer(house.request(Method::GET, "/api/v1/tasks?cursor=nonsense")).await;
    assert_eq!((status, &problem["mistakes"][0]["path"]), (StatusCode::BAD_REQUEST, &json!("cursor")));
    house.server.shutdown().await;
}

#[tokio::test]
async fn mine_are_those_of_whoever_types() {
    let house = House::new().await;
    let (ada, bob) = (house.client().with_user("ada"), house.client().with_user("bob"));
    let id = ada.submit(&command("hers"), &Write::default()).await.unwrap().id.unwrap();
    bob.submit(&command("his"), &Write::default()).await.unwrap();
    let query = TaskQuery { mine: Some(true), ..TaskQuery::default() };
    let page = ada.tasks(&query).await.unwrap();
    assert_eq!(page.items.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
    assert_eq!(page.items[0].created_by, "ada");
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_waiting_task_explains_itself() {
    let house = House::new().await;
    let client = house.client();
    let id = client.submit(&command("lonely"), &Write::default()).await.unwrap().id.unwrap();
    let explained = client.explain(id).await.unwrap();
    assert_eq!(explained.state, StateKind::Ready);
    assert!(explained.reasons.iter().any(|reason| reason.reason == "no_worker_fits"), "{explained:?}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn each_that_a_filter_matches_is_touched_once_in_batches() {
    const TASKS: usize = 4_100;
    let house = House::new().await;
    let client = house.client();
    let tasks = (0..TASKS).map(|_| command("many")).collect();
    client.submit_many(tasks, &Write::default()).await.unwrap();
    // A pause leaves all of them among those that match.
    let verb = TaskVerbName::Pause;
    let filter = Some(BulkFilter::default());
    let mut bulk = Bulk { verb, ids: Vec::new(), filter, cursor: None, reason: None, dry_run: false };
    let mut touched = std::collections::BTreeSet::new();
    for batch in 1.. {
        assert!(batch <= TASKS, "it ends");
        let answer = client.bulk(&bulk).await.unwrap();
        assert!(answer.items.iter().all(|item| touched.insert(item.id)), "each once");
        assert_eq!(answer.more, answer.next.is_some());
        bulk.cursor = answer.next;
        if bulk.cursor.is_none() {
            assert!(batch > 1, "in more than one batch");
            break;
        }
    }
    assert_eq!(touched.len(), TASKS);
    let (status, _) = house.post("/api/v1/tasks/bulk", r#"{"verb":"cancel","ids":["1"],"cursor":"x"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    house.server.shutdown().await;
}

#[tokio::test]
async fn many_are_cancelled_at_once_after_saying_how_many() {
    let house = House::new().await;
    let client = house.client();
    let tasks = (0..30).map(|_| command("many")).collect();
    client.submit_many(tasks, &Write::default()).await.unwrap();
    let mut bulk = Bulk {
        verb: TaskVerbName::Cancel,
        ids: Vec::new(),
        filter: Some(BulkFilter { name: Some("many".to_owned()), ..BulkFilter::default() }),
        cursor: None,
        reason: Some("enough".to_owned()),
        dry_run: true,
    };
    let would = client.bulk(&bulk).await.unwrap();
    assert_eq!((would.touched, would.dry_run, would.more), (30, true, false));
    bulk.dry_run = false;
    assert_eq!(client.bulk(&bulk).await.unwrap().touched, 30);
    assert_eq!(client.bulk(&bulk).await.unwrap().touched, 0);
    let (status, _) = house.post("/api/v1/tasks/bulk", r#"{"verb":"cancel"}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    house.server.shutdown().await;
}

#[tokio::test]
async fn every_path_is_described() {
    let house = House::new().await;
    let (_, description) = answer(house.bare(Method::GET, "/openapi.json")).await;
    for path in ["/api/v1/tasks", "/api/v1/tasks/{id}/logs", "/api/v1/runs/{id}", "/api/v1/events", "/api/v1/queue"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }
    let metrics = house.bare(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("bowline_leading 1") && metrics.trim_end().ends_with("# EOF"), "{metrics}");
    house.server.shutdown().await;
}
