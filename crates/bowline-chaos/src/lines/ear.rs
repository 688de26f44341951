//! Listens to all events through every break, fetches what REST tells of the tasks that they are about, and hands both to
//! the judge, in that order. Nothing of it is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use serde_json::Value;

use super::books::Shared;
use super::order::{Array, Ask, At, Event, Shape, Told, Unit};
use super::shape::{ASKS_LABEL, HOW_LABEL, PAUSED_NAMESPACE};
use super::together::{self, TIGHT_NAMESPACE};
use crate::clock::wall_us;
use crate::rest::{EventsRefused, Rest, text};

/// The server sends a comment every 15 s: a stream that is silent for longer is dead.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// Between a break and the next try.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Documents that are asked for at a time.
const AT_ONCE: usize = 6;

/// Listens until it is dropped.
pub(crate) async fn listen(rest: Rest, shared: Shared) {
    let mut place = Place { last: shared.books().judge.position(), is_new: true };
    loop {
        if let Err(error) = stream(&rest, &shared, &mut place).await
            && let Some(refused) = error.downcast_ref::<EventsRefused>()
            && refused.status < 500
            && refused.status != 429
        {
            shared.find(&format!("the events after {} were refused: {refused}", place.last));
            return;
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// How far the stream has come.
struct Place {
    last: At,
    /// Nothing of this run has been heard yet.
    is_new: bool,
}

async fn stream(rest: &Rest, shared: &Shared, place: &mut Place) -> Result<()> {
    let mut response = tokio::time::timeout(SILENT_MAX, rest.events(&place.last.to_string())).await??;
    let mut bytes = Vec::new();
    while let Some(more) = tokio::time::timeout(SILENT_MAX, response.chunk()).await?? {
        bytes.extend_from_slice(&more);
        let whole = bytes.windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
        if whole == 0 {
            continue;
        }
        let messages = String::from_utf8_lossy(&bytes[..whole]).into_owned();
        bytes.drain(..whole);
        let mut events = Vec::new();
        for message in messages.split("\n\n") {
            match read(message, place) {
                Ok(event) => {
                    if let Some((event, line)) = event {
                        shared.books().note_heard(line);
                        events.push(event);
                    }
                }
                Err(what) => shared.find(&what),
            }
        }
        if !events.is_empty() {
            fetch(rest, shared, &events).await?;
            judge(shared, &events);
        }
    }
    Ok(())
}

/// One message: an event of a task, where it is one, and the same for people.
fn read(message: &str, place: &mut Place) -> Result<Option<(Event, String)>, String> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (Some(id), Some(data)) = (field("id:"), field("data:")) else { return Ok(None) };
    let at = At::read(id).ok_or_else(|| format!("an event's id cannot be read: {id}"))?;
    if at <= place.last && !place.is_new {
        return Err(format!("event {id} came after {}: twice, or out of order", place.last));
    }
    (place.last, place.is_new) = (at, false);
    let data: Value = serde_json::from_str(data).map_err(|error| format!("event {id} is no document: {error}"))?;
    if text(&data, "kind") != "task" {
        return Ok(None);
    }
    let unit = Unit::read(text(&data, "task")).ok_or_else(|| format!("event {id} is of no task: {data}"))?;
    let at_us = moment_us(text(&data, "at")).ok_or_else(|| format!("event {id} has no time: {data}"))?;
    let what = text(&data, "what").to_owned();
    let line = format!("{at} {} {unit} {what} {} {}", text(&data, "at"), data["attempt"], text(&data, "reason"));
    Ok(Some((Event { at, at_us, unit, what }, line)))
}

fn moment_us(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

/// A task's document, and the workflow of its run.
type Found = (Value, Option<String>);

/// What the judge must know before it hears these.
async fn fetch(rest: &Rest, shared: &Shared, events: &[Event]) -> Result<()> {
    let wanted: BTreeSet<Unit> = {
        let books = shared.books();
        let is_wanted = |event: &&Event| match event.what.as_str() {
            "submitted" | "retried" => !books.judge.knows(event.unit.task),
            "waiting" | "ready" | "stands_aside" => true,
            _ => false,
        };
        events.iter().filter(is_wanted).map(|event| event.unit).collect()
    };
    let asks = futures::stream::iter(wanted).map(|unit| async move {
        // Deleted meanwhile, where it is not there.
        let answer = rest.insist(&format!("/tasks/{unit}?namespace=*")).await?;
        let document = answer.is_good().then_some(answer.body);
        let workflow = match document.as_ref().and_then(|document| document["run"].as_str()) {
            Some(run) => {
                let run = rest.insist(&format!("/runs/{run}?namespace=*")).await?;
                run.is_good().then(|| text(&run.body, "workflow").to_owned())
            }
            None => None,
        };
        anyhow::Ok((unit, document.map(|document| (document, workflow))))
    });
    let answers: Vec<(Unit, Option<Found>)> =
        asks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect::<Result<_>>()?;
    let mut books = shared.books();
    for (unit, document) in &answers {
        let Some((document, workflow)) = document else { continue };
        match shape(document, workflow.as_deref()) {
            Some(shape) => books.judge.introduce(unit.task, shape),
            None => continue,
        }
        books.judge.told(&told(*unit, document));
    }
    Ok(())
}

fn judge(shared: &Shared, events: &[Event]) {
    let mut books = shared.books();
    for event in events {
        if event.unit.index.is_none() {
            match event.what.as_str() {
                "submitted" => books.note_submitted(event.unit.task),
                "succeeded" | "failed" | "cancelled" | "skipped" => books.ended.push_back(event.unit.task),
                _ => {}
            }
        }
        books.judge.hear(event);
    }
    if let Some(last) = events.last() {
        books.lag_us = books.lag_us.max(wall_us() - last.at_us);
    }
    books.take_wrongs();
}

/// What a task's labels say of it, or the workflow of its run. `None`: it is none of ours.
fn shape(document: &Value, workflow: Option<&str>) -> Option<Shape> {
    if let Some(run) = document["run"].as_str() {
        return of_run(document, run, workflow?);
    }
    let labels = &document["labels"];
    let asks = Ask::read(labels[ASKS_LABEL].as_str()?)?;
    let how: Vec<&str> = text(labels, HOW_LABEL).split(',').collect();
    let said = |name: &str| how.iter().find_map(|word| word.strip_prefix(name));
    let count = said("array=").and_then(|count| count.parse().ok());
    let namespace = text(document, "namespace");
    let requires = document["requires"].as_array().is_some_and(|all| !all.is_empty());
    Some(Shape {
        asks,
        array: count.map(|count| Array {
            count,
            has_window: how.contains(&"window"),
            is_steady: ![PAUSED_NAMESPACE, TIGHT_NAMESPACE].contains(&namespace) && !requires,
        }),
        release_while_retrying: how.contains(&"release"),
        key: said("key=").and_then(|name| together::key(namespace, name)),
        quota: together::quota(namespace),
        gang: said("gang=").map(str::to_owned),
        ..Shape::default()
    })
}

/// A step's task, which asks for nothing itself; or what holds all that its run asks for.
fn of_run(document: &Value, run: &str, workflow: &str) -> Option<Shape> {
    let held = together::held_by(workflow)?;
    let is_keeper = document["step"].is_null();
    let asks = if is_keeper { held } else { Vec::new() };
    Some(Shape { asks, run: Some(run.to_owned()), is_keeper, ..Shape::default() })
}

fn told(unit: Unit, document: &Value) -> Told {
    let asks = document["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let given = asks.iter().filter_map(|ask| {
        let units = ask["units"].as_array()?.iter().filter_map(|unit| unit.as_str().map(str::to_owned)).collect();
        Some((text(ask, "name").to_owned(), moment_us(text(ask, "granted_at"))?, units))
    });
    Told {
        unit,
        round: document["round"].as_u64().unwrap_or_default(),
        ticket: document["ticket"].as_u64().unwrap_or_default(),
        asks: asks.iter().map(|ask| (text(ask, "name").to_owned(), text(ask, "mode").to_owned())).collect(),
        given: given.collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_in_order_and_once() {
        let mut place = Place { last: At::default(), is_new: true };
        let message = |id: &str| {
            format!(
                "id: {id}\nevent: task\ndata: {{\"kind\":\"task\",\"task\":\"7.2\",\"what\":\"ready\",\"at\":\"2026-11-22T03:20:24.093329Z\"}}"
            )
        };
        let (event, _) = read(&message("3-1"), &mut place).unwrap().unwrap();
        assert_eq!((event.unit, event.what.as_str()), (Unit { task: 7, index: Some(2) }, "ready"));
        assert_eq!(event.at_us % 1_000_000, 93_329);
        assert!(read("id: 3-4294967295", &mut place).unwrap().is_none());
        assert!(read(&message("3-1"), &mut place).unwrap_err().contains("twice"));
        assert!(read(&message("4-0"), &mut place).unwrap().is_some());
    }

    #[test]
    fn documents_tell_shape_ticket_and_units() {
        let document = json!({
            "round": 2, "ticket": 9, "labels": {"asks": "u:p:model=a", "how": "array=4,release"},
            "resources": [{"name": "p", "mode": "unit", "granted_at": "2026-11-22T03:20:24Z", "units": ["p1"]}],
        });
        let shape = shape(&document, None).unwrap();
        assert!(shape.release_while_retrying && shape.asks.len() == 1);
        assert_eq!(shape.array, Some(Array { count: 4, has_window: false, is_steady: true }));
        let told = told(Unit { task: 7, index: None }, &document);
        assert_eq!((told.round, told.ticket, told.asks[0].1.as_str()), (2, 9, "unit"));
        assert_eq!(told.given[0].2, ["p1"]);
        let keeper = json!({ "run": "r1", "step": null, "labels": {} });
        let keeper = super::shape(&keeper, Some("hold-lock")).unwrap();
        assert!(keeper.is_keeper && keeper.asks[0].resource == "db");
        let step = super::shape(&json!({ "run": "r1", "step": "one" }), Some("hold-lock")).unwrap();
        assert!(!step.is_keeper && step.asks.is_empty() && step.run.as_deref() == Some("r1"));
        assert!(super::shape(&json!({ "labels": {} }), None).is_none());
    }
}
