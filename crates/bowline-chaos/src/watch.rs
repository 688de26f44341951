//! Listens to all events of a server through every break, and wants what `docs/api.md` says of them: after the last
//! id the stream goes on without gap or repeat. Whether a gap is there shows the comparison with the histories.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::rest::{EventsRefused, Rest, text};

/// The server sends a comment every 15 s: a stream that is silent for longer is dead.
const SILENT_MAX: Duration = Duration::from_secs(20);
/// Between a break and the next try.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What happened to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) task: String,
    pub(crate) what: String,
    pub(crate) attempt: Option<u64>,
}

/// All that was heard, in order.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) events: Vec<Event>,
    /// What must not be.
    pub(crate) faults: Vec<String>,
    /// How often the stream began.
    pub(crate) streams: u64,
    last: (u64, u64),
    last_text: String,
}

/// Shared with whoever listens.
pub(crate) type Ear = Arc<Mutex<Heard>>;

/// Listens until it is dropped.
pub(crate) async fn listen(rest: Rest, ear: Ear) {
    "0-0".clone_into(&mut ear.lock().unwrap_or_else(PoisonError::into_inner).last_text);
    loop {
        if let Err(error) = stream(&rest, &ear).await
            && let Some(refused) = error.downcast_ref::<EventsRefused>()
            && refused.status < 500
            && refused.status != 429
        {
            let mut heard = ear.lock().unwrap_or_else(PoisonError::into_inner);
            let place = heard.last_text.clone();
            heard.faults.push(format!("the events after {place} were refused: {refused}"));
            return;
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

async fn stream(rest: &Rest, ear: &Ear) -> Result<()> {
    let after = ear.lock().unwrap_or_else(PoisonError::into_inner).last_text.clone();
    let mut response = tokio::time::timeout(SILENT_MAX, rest.events(&after)).await??;
    ear.lock().unwrap_or_else(PoisonError::into_inner).streams += 1;
    let mut rest_of_it = Vec::new();
    while let Some(bytes) = tokio::time::timeout(SILENT_MAX, response.chunk()).await?? {
        rest_of_it.extend_from_slice(&bytes);
        while let Some(end) = rest_of_it.windows(2).position(|pair| pair == b"\n\n") {
            let message: Vec<u8> = rest_of_it.drain(..end + 2).collect();
            let message = String::from_utf8_lossy(&message).into_owned();
            ear.lock().unwrap_or_else(PoisonError::into_inner).hear(&message);
        }
    }
    Ok(())
}

impl Heard {
    /// Takes one message of the stream.
    fn hear(&mut self, message: &str) {
        let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let Some(id) = field("id:") else { return };
        let Some(data) = field("data:") else {
            // Only a place: from here on all is told. It is never before what was heard.
            if place(id).is_some_and(|place| place < self.last) {
                self.faults.push(format!("the stream went back from event {:?} to {id}", self.last));
            }
            return;
        };
        let Some(number) = place(id) else {
            self.faults.push(format!("an event's id cannot be read: {id}"));
            return;
        };
        if number <= self.last {
            self.faults.push(format!("event {id} came after {:?}: twice, or out of order", self.last));
        }
        self.last = self.last.max(number);
        id.clone_into(&mut self.last_text);
        let data: Value = serde_json::from_str(data).unwrap_or_default();
        if text(&data, "kind") == "task" {
            self.events.push(Event {
                task: text(&data, "task").to_owned(),
                what: text(&data, "what").to_owned(),
                attempt: data["attempt"].as_u64(),
            });
        }
    }
}

fn place(id: &str) -> Option<(u64, u64)> {
    let (commit, index) = id.split_once('-')?;
    Some((commit.parse().ok()?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, what: &str) -> String {
        format!(
            "id: {id}\nevent: task\ndata: {{\"id\":\"{id}\",\"kind\":\"task\",\"task\":\"7\",\"what\":\"{what}\",\"attempt\":2}}\n\n"
        )
    }

    #[test]
    fn events_are_heard_in_order_and_once() {
        let mut heard = Heard::default();
        heard.hear("id: 1-4294967295\n\n");
        heard.hear(&message("3-0", "ready"));
        heard.hear(": still here\n\n");
        heard.hear(&message("3-1", "assigned"));
        assert_eq!(heard.events.len(), 2);
        assert_eq!(heard.events[1], Event { task: "7".to_owned(), what: "assigned".to_owned(), attempt: Some(2) });
        assert!(heard.faults.is_empty(), "{:?}", heard.faults);
        heard.hear(&message("3-1", "assigned"));
        heard.hear(&message("2-9", "ready"));
        assert_eq!(heard.faults.len(), 2, "{:?}", heard.faults);
    }
}
