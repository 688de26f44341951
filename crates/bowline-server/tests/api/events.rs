//! `/events`: live, and on from where a reader was.

use bowline_client::api::{Event, EventQuery, TaskVerbName};
use bowline_client::{EventItem, EventStream, Write};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::support::{House, answer, command, soon};

/// The next event, past the openings.
async fn next(stream: &mut EventStream) -> Event {
    loop {
        if let EventItem::Event(event) = soon(stream.next()).await.unwrap() {
            return *event;
        }
    }
}

#[tokio::test]
async fn events_come_live_and_go_on_after_the_last_one() {
    let house = House::new().await;
    let client = house.client();
    let mut live = client.events(EventQuery::default());
    assert_eq!(soon(live.next()).await.unwrap(), EventItem::Open);
    let id = client.submit(&command("a"), &Write::default()).await.unwrap().id.unwrap();
    let first = next(&mut live).await;
    assert_eq!(first.task, Some(id.to_string()));
    client.task_verb(id, TaskVerbName::Cancel, Some("enough")).await.unwrap();
    let mut told = vec![first.clone()];
    while told.last().is_none_or(|event| event.what != "cancelled") {
        told.push(next(&mut live).await);
    }
    // A second reader goes on after the first event, and gets the rest: nothing twice, nothing left out.
    let mut resumed = client.events(EventQuery { after: Some(first.id), ..EventQuery::default() });
    for event in &told[1..] {
        assert_eq!(next(&mut resumed).await, *event);
    }
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_filter_gives_only_its_own() {
    let house = House::new().await;
    let client = house.client();
    let first = client.submit(&command("a"), &Write::default()).await.unwrap().id.unwrap();
    let mut own = client.events(EventQuery { task: Some(first.to_string()), ..EventQuery::default() });
    assert_eq!(soon(own.next()).await.unwrap(), EventItem::Open);
    let other = client.submit(&command("b"), &Write::default()).await.unwrap().id.unwrap();
    client.task_verb(other, TaskVerbName::Cancel, None).await.unwrap();
    client.task_verb(first, TaskVerbName::Pause, None).await.unwrap();
    assert_eq!(next(&mut own).await.task, Some(first.to_string()));
    house.server.shutdown().await;
}

#[tokio::test]
async fn a_place_that_the_store_does_not_have_is_gone() {
    let house = House::new().await;
    let request = house.request(Method::GET, "/api/v1/events").header("last-event-id", "999999-0");
    let (status, problem) = answer(request).await;
    assert_eq!((status, &problem["code"]), (StatusCode::GONE, &Value::from("events_gone")));
    let request = house.request(Method::GET, "/api/v1/events").header("last-event-id", "nonsense");
    assert_eq!(answer(request).await.0, StatusCode::BAD_REQUEST);
    house.server.shutdown().await;
}
