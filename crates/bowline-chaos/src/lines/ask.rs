//! Asks resources whom they know of, again and again, and at the very end, when nobody may be left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::books::Shared;
use super::order::{Snapshot, Unit};
use crate::rest::{Rest, text};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// Until it is over.
pub(crate) async fn go_on(rest: Rest, shared: Shared, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        tokio::time::sleep(ASK_EVERY).await;
        // Where the server is not there: the next time.
        ask_all(&rest, &shared).await.ok();
    }
}

async fn ask_all(rest: &Rest, shared: &Shared) -> Result<()> {
    for summary in rest.items("/resources").await? {
        let name = text(&summary, "name").to_owned();
        let after = shared.books().judge.position();
        let answer = rest.insist(&format!("/resources/{name}")).await?;
        // It goes with the last who holds it or waits for it, where nobody declared it.
        if answer.is_good() {
            let snapshot = snapshot(&answer.body);
            let mut books = shared.books();
            books.judge.look(&Snapshot { name, after, ..snapshot });
            books.take_wrongs();
        }
    }
    Ok(())
}

/// When all tasks have ended, nobody holds anything or waits for it.
pub(crate) async fn nobody_is_left(rest: &Rest, shared: &Shared) -> Result<()> {
    for summary in rest.items("/resources").await? {
        let document = rest.document(&format!("/resources/{}", text(&summary, "name"))).await?;
        let is_left = |field: &str| document[field].as_array().is_some_and(|all| !all.is_empty());
        if is_left("holders") || is_left("line") || is_left("aside") || document["used"].as_u64() != Some(0) {
            shared.find(&format!("all tasks have ended, and a resource still tells of somebody: {document}"));
        }
    }
    let holding = shared.books().judge.holding();
    if !holding.is_empty() {
        shared.find(&format!("all tasks have ended, and by their events these still hold something: {holding:?}"));
    }
    Ok(())
}

fn snapshot(document: &Value) -> Snapshot {
    let items = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    let unit = |item: &Value| Unit::read(text(item, "task"));
    let holders = items("holders").into_iter().filter_map(|holder| {
        let units =
            holder["units"].as_array().into_iter().flatten().filter_map(|unit| unit.as_str().map(str::to_owned));
        Some((unit(&holder)?, text(&holder, "mode").to_owned(), units.collect()))
    });
    let line = items("line");
    let line = line.iter().filter_map(|place| Some((unit(place)?, place["ticket"].as_u64()?)));
    Snapshot { holders: holders.collect(), line: line.collect(), ..Snapshot::default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_s_document_is_read() {
        let document = json!({
            "holders": [{"task": "7", "mode": "unit", "units": ["p1"]}], "line": [{"task": "9.2", "ticket": 4}],
        });
        let snapshot = snapshot(&document);
        assert_eq!(snapshot.holders, [(Unit { task: 7, index: None }, "unit".to_owned(), vec!["p1".to_owned()])]);
        assert_eq!(snapshot.line, [(Unit { task: 9, index: Some(2) }, 4)]);
    }
}
