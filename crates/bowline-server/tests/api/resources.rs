//! Resources over the API: declared, held, waited for, changed, removed.

use std::time::Duration;

use bowline_client::api::{
    Ask, Bulk, BulkFilter, Complete, ElementQuery, EventKind, EventQuery, NewTask, ResourceChange, Task, TaskQuery,
    TaskVerbName,
};
use bowline_client::{Client, EventItem, Write};
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{House, answer, soon, wait_task};

fn asking(name: &str, resources: Vec<Ask>) -> NewTask {
    NewTask { resources, ..wait_task(name) }
}

fn lock(name: &str) -> Ask {
    Ask::Exclusive { name: name.to_owned() }
}

async fn submit(client: &Client, task: NewTask) -> TaskRef {
    client.submit(&task, &Write::default()).await.unwrap().id.unwrap()
}

async fn end(client: &Client, task: TaskRef) {
    client.complete(task, &Complete::default()).await.unwrap();
    assert_eq!(client.wait_task(task, Some(Duration::from_secs(10))).await.unwrap().state, StateKind::Succeeded);
}

fn resource(task: &Task) -> (&str, &str, &[String]) {
    let [one] = task.resources.as_slice() else { panic!("{:?}", task.resources) };
    (&one.name, &one.state, &one.units)
}

#[tokio::test]
async fn a_line_is_shown_with_its_holder_and_everybody_gets_his_turn() {
    let house = House::new().await;
    let client = house.client();
    let first = submit(&client, asking("first", vec![lock("db")])).await;
    let second = submit(&client, asking("second", vec![Ask::Shared { name: "db".to_owned() }])).await;
    let third = submit(&client, asking("third", vec![lock("db")])).await;
    let shown = client.resource("db").await.unwrap();
    assert_eq!((shown.declared, shown.capacity, shown.used, shown.held_by, shown.waiting), (false, 1, 1, 1, 2));
    assert_eq!(shown.holders[0].task, first);
    assert_eq!(shown.line.iter().map(|place| place.task).collect::<Vec<_>>(), [second, third]);
    let held = client.task(first).await.unwrap();
    assert_eq!(resource(&held), ("db", "granted", [].as_slice()));
    assert!(held.resources[0].granted_at.is_some() && held.resources[0].ticket == held.ticket);
    let waits = client.task(third).await.unwrap();
    assert_eq!((waits.state, resource(&waits).1), (StateKind::Waiting, "waiting"));
    let why = waits.why.unwrap();
    assert_eq!(why.reason, "resource");
    let says = [format!("held by {first} since"), format!("the first is {second}"), "resource show db".to_owned()];
    assert!(says.iter().all(|part| why.sentence.contains(part)), "{}", why.sentence);
    let listed = client.resources().await.unwrap().items;
    assert_eq!((listed.len(), listed[0].waiting), (1, 2));
    for task in [first, second, third] {
        assert_eq!(client.task(task).await.unwrap().resources[0].state, "granted");
        end(&client, task).await;
        assert_eq!(client.task(task).await.unwrap().resources[0].state, "ended");
    }
    assert_eq!(client.resource("db").await.unwrap_err().api().unwrap().status, 404);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_is_declared_is_changed_live_and_removed_when_nobody_wants_it() {
    let house = House::new().await;
    let client = house.client();
    let phones = json!({"units": [{"name": "ph1", "attributes": {"model": "x"}}, {"name": "ph2"}]});
    let (status, body) = answer(house.json(Method::PUT, "/api/v1/resources/phones", &phones)).await;
    assert_eq!((status, &body["capacity"], &body["declared"]), (StatusCode::OK, &json!(2), &json!(true)), "{body}");
    let with = [("model".to_owned(), "x".to_owned())].into();
    let first = submit(&client, asking("first", vec![Ask::Unit { name: None, with }])).await;
    assert_eq!(resource(&client.task(first).await.unwrap()), ("phones", "granted", ["ph1".to_owned()].as_slice()));
    let unit = client.resource("phones").await.unwrap().units.into_iter().find(|unit| unit.name == "ph1").unwrap();
    assert_eq!((unit.holder, unit.attributes["model"].as_str()), (Some(first), "x"));
    let broken = json!({"out_of_service": "dropped"});
    let (_, body) = answer(house.json(Method::PUT, "/api/v1/resources/phones", &broken)).await;
    assert_eq!((&body["out_of_service"], &body["units"][0]["name"]), (&json!("dropped"), &json!("ph1")), "{body}");
    let second =
        submit(&client, asking("second", vec![Ask::Unit { name: Some("phones".to_owned()), with: [].into() }]));
    let second = second.await;
    let aside = client.task(second).await.unwrap();
    assert_eq!((aside.state, resource(&aside).1), (StateKind::Waiting, "aside"));
    assert!(aside.why.unwrap().sentence.contains("out of service (dropped)"));
    let shown = client.resource("phones").await.unwrap();
    assert_eq!((shown.waiting, shown.asides, shown.aside[0].task), (0, 1, second));
    let delete = || answer(house.request(Method::DELETE, "/api/v1/resources/phones"));
    let (status, problem) = delete().await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("conflict")), "{problem}");
    let back = json!({"out_of_service": null});
    answer(house.json(Method::PUT, "/api/v1/resources/phones", &back)).await;
    assert_eq!(resource(&client.task(second).await.unwrap()), ("phones", "granted", ["ph2".to_owned()].as_slice()));
    end(&client, first).await;
    end(&client, second).await;
    assert_eq!(delete().await.0, StatusCode::OK);
    assert_eq!(delete().await.0, StatusCode::NOT_FOUND);
    house.server.shutdown().await;
}

#[tokio::test]
async fn what_can_never_be_is_refused_and_what_cannot_be_now_only_where_that_is_asked_for() {
    let house = House::new().await;
    let client = house.client();
    let put =
        |name: &'static str, body: Value| answer(house.json(Method::PUT, &format!("/api/v1/resources/{name}"), &body));
    assert_eq!(put("lic", json!({"capacity": 3})).await.0, StatusCode::OK);
    let counted = |name: &str, amount| Ask::Counted { name: name.to_owned(), amount };
    for (ask, says) in
        [(counted("lic", 4), "lic"), (counted("none", 1), "resource set none"), (counted("lic", 0), "lic")]
    {
        let error = client.submit(&asking("never", vec![ask]), &Write::default()).await.unwrap_err();
        let error = error.api().unwrap();
        assert_eq!((error.status, error.code.as_str()), (400, "invalid"));
        assert!(error.to_string().contains(says), "{error}");
    }
    let wrong =
        json!({"action": "wait", "resources": [{"mode": "shared", "name": "a"}, {"mode": "shared", "name": "a b"}]});
    let (status, problem) = answer(house.json(Method::POST, "/api/v1/tasks", &wrong)).await;
    assert_eq!((status, &problem["mistakes"][0]["path"]), (StatusCode::BAD_REQUEST, &json!("resources[1].name")));
    put("lic", json!({"out_of_service": "the server room is hot"})).await;
    let strict = Write { strict: true, ..Write::default() };
    let error = client.submit(&asking("now", vec![counted("lic", 1)]), &strict).await.unwrap_err();
    assert_eq!((error.api().unwrap().status, error.api().unwrap().code.as_str()), (409, "conflict"));
    let many =
        json!({"tasks": [{"action": "wait", "resources": [{"mode": "counted", "name": "lic"}]}], "strict": true});
    assert_eq!(answer(house.json(Method::POST, "/api/v1/tasks", &many)).await.0, StatusCode::CONFLICT);
    let made = client.submit(&asking("now", vec![counted("lic", 1)]), &Write::default()).await.unwrap();
    assert!(made.warnings.iter().any(|warning| warning.contains("the server room is hot")), "{:?}", made.warnings);
    for wrong in
        [json!({"capacity": 0}), json!({"capacity": 1, "units": [{"name": "a"}]}), json!({"units": [{"name": "a b"}]})]
    {
        assert_eq!(put("other", wrong.clone()).await.0, StatusCode::BAD_REQUEST, "{wrong}");
        let dry = answer(house.json(Method::PUT, "/api/v1/resources/other?dry_run=true", &wrong)).await;
        assert_eq!(dry.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let dry = answer(house.json(Method::PUT, "/api/v1/resources/other?dry_run=true", &json!({"capacity": 2}))).await;
    assert_eq!((dry.0, &dry.1["capacity"], &dry.1["declared"]), (StatusCode::OK, &json!(2), &json!(false)));
    assert_eq!(client.resource("other").await.unwrap_err().api().unwrap().status, 404);
    house.server.shutdown().await;
}

#[tokio::test]
async fn tasks_are_found_and_served_by_what_they_ask_for() {
    let house = House::new().await;
    let client = house.client();
    let mut all = Vec::new();
    for (name, asks) in
        [("a", vec![lock("db")]), ("b", vec![lock("db"), lock("tape")]), ("c", vec![lock("tape")]), ("d", vec![])]
    {
        all.push(submit(&client, asking(name, asks)).await);
    }
    let found = async |query: TaskQuery| -> Vec<TaskRef> {
        let query = TaskQuery { resource: Some("db".to_owned()), sort: Some("oldest".to_owned()), ..query };
        client.tasks(&query).await.unwrap().items.into_iter().map(|task| task.id).collect()
    };
    assert_eq!(found(TaskQuery::default()).await, all[..2]);
    end(&client, all[0]).await;
    assert_eq!(found(TaskQuery::default()).await, all[1..2]);
    assert_eq!(found(TaskQuery { state: Some("ended".to_owned()), ..TaskQuery::default() }).await, all[..1]);
    let filter = BulkFilter { resource: Some("tape".to_owned()), ..BulkFilter::default() };
    let verb = TaskVerbName::Cancel;
    let bulk = Bulk { verb, ids: Vec::new(), filter: Some(filter), cursor: None, reason: None, dry_run: false };
    assert_eq!(client.bulk(&bulk).await.unwrap().touched, 2);
    assert!(client.resources().await.unwrap().items.is_empty());
    assert_eq!(client.task(all[3]).await.unwrap().state, StateKind::Running);
    house.server.shutdown().await;
}

#[tokio::test]
async fn changes_of_resources_are_events() {
    let house = House::new().await;
    let client = house.client();
    let everywhere = EventQuery { namespace: Some("*".to_owned()), ..EventQuery::default() };
    let mut events = client.events(everywhere);
    assert_eq!(soon(events.next()).await.unwrap(), EventItem::Open);
    let change = ResourceChange { capacity: Some(2), ..ResourceChange::default() };
    client.set_resource("lic", &change).await.unwrap();
    let broken = ResourceChange { out_of_service: Some(Some("flat".to_owned())), ..ResourceChange::default() };
    client.set_resource("lic", &broken).await.unwrap();
    client.delete_resource("lic").await.unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        if let EventItem::Event(event) = soon(events.next()).await.unwrap()
            && event.kind == EventKind::Resource
        {
            assert_eq!((event.resource.as_deref(), event.namespace), (Some("lic"), None));
            told.push((event.what, event.reason));
        }
    }
    let words: Vec<&str> = told.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(words, ["declared", "changed", "deleted"]);
    assert!(told[0].1.contains("capacity 2") && told[1].1.contains("flat"), "{told:?}");
    house.server.shutdown().await;
}

#[tokio::test]
async fn elements_hold_each_their_own_and_those_that_have_not_begun_wait() {
    let house = House::new().await;
    let client = house.client();
    let array = NewTask { array: "1-3".parse().ok(), ..asking("many", vec![lock("db")]) };
    let id = submit(&client, array).await;
    let elements = async || client.elements(id, &ElementQuery::default()).await.unwrap().items;
    for element in 1..=3 {
        let states: Vec<(StateKind, String)> =
            elements().await.into_iter().map(|task| (task.state, task.resources[0].state.clone())).collect();
        let expected = (1..=3).map(|other| match other {
            other if other < element => (StateKind::Succeeded, "ended".to_owned()),
            other if other == element => (StateKind::Running, "granted".to_owned()),
            _ => (StateKind::Waiting, "waiting".to_owned()),
        });
        assert_eq!(states, expected.collect::<Vec<_>>());
        let own = TaskRef { index: Some(element), ..id };
        assert_eq!(client.resource("db").await.unwrap().holders[0].task, own);
        end(&client, own).await;
    }
    assert_eq!(client.task(id).await.unwrap().state, StateKind::Succeeded);
    house.server.shutdown().await;
}
