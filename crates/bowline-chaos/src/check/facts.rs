//! Asks a site for everything that is known of its tasks. Only what `docs/api.md` describes is read.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use serde_json::Value;

use super::{Case, marks};
use crate::rest::{Rest, text};
use crate::site::Site;
use crate::watch::Event;

/// Questions at a time.
const AT_ONCE: usize = 8;

/// A task, as the server tells of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskFact {
    pub(crate) name: String,
    pub(crate) state: String,
    /// `succeeded`, `error`, `timeout`, `lost`, …
    pub(crate) outcome: String,
    pub(crate) message: String,
    pub(crate) exit_status: Option<i64>,
    pub(crate) run: Option<String>,
    pub(crate) step: String,
    pub(crate) is_array: bool,
}

/// An attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptFact {
    pub(crate) number: u64,
    pub(crate) worker: String,
    pub(crate) assigned_at: Moment,
    pub(crate) ended_at: Moment,
    /// `succeeded`, `failed`, `lost`, `released`, …
    pub(crate) end: String,
}

/// A moment of the server's clock, to be compared: seconds as text, and the fraction.
pub(crate) type Moment = Option<(String, u32)>;

/// A log of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct LogFact {
    pub(crate) task: String,
    pub(crate) attempt: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The artifact of a task's newest attempt that left one.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactFact {
    pub(crate) attempts: Vec<u64>,
    /// Of the attempt that succeeded.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct RunFact {
    pub(crate) state: String,
}

/// Gathers everything of a site.
pub(crate) async fn gather(site: &Site) -> Result<Case> {
    let mut case = Case {
        ledger: std::mem::take(&mut *site.book.lock().unwrap_or_else(PoisonError::into_inner)),
        ..Case::default()
    };
    for task in site.rest.items("/tasks").await? {
        case.tasks.insert(text(&task, "id").to_owned(), fact(&task));
    }
    let arrays: Vec<String> = case.tasks.iter().filter(|(_, task)| task.is_array).map(|(id, _)| id.clone()).collect();
    for (_, elements) in ask_all(&site.rest, arrays, |id| format!("/tasks/{id}/elements")).await? {
        case.tasks.extend(elements.iter().map(|element| (text(element, "id").to_owned(), fact(element))));
    }
    let tops = || case.tasks.keys().filter(|id| !id.contains('.')).cloned().collect::<Vec<_>>();
    for (_, attempts) in ask_all(&site.rest, tops(), |id| format!("/tasks/{id}/attempts")).await? {
        for attempt in &attempts {
            case.attempts.entry(text(attempt, "task").to_owned()).or_default().push(attempt_fact(attempt));
        }
    }
    let all: Vec<String> = case.tasks.keys().cloned().collect();
    for (id, history) in ask_all(&site.rest, all, |id| format!("/tasks/{id}/history")).await? {
        case.histories.insert(id.clone(), history.iter().map(|line| event(&id, line)).collect());
    }
    for run in &case.ledger.runs {
        let document = site.rest.document(&format!("/runs/{}", run.id)).await?;
        case.runs.insert(run.id.clone(), RunFact { state: text(&document, "state").to_owned() });
    }
    let written = std::fs::read_to_string(site.marks.join("marks")).context("reading the marks")?;
    case.marks = marks::read(&written).map_err(anyhow::Error::msg)?;
    logs(&site.rest, &mut case).await?;
    artifacts(&site.rest, &mut case).await?;
    let heard = site.ear.lock().unwrap_or_else(PoisonError::into_inner);
    case.events.clone_from(&heard.events);
    case.event_faults.clone_from(&heard.faults);
    drop(heard);
    case.workers = site.workers.iter().map(|(name, slots)| (name.clone(), (*slots, crate::world::LICENCES))).collect();
    Ok(case)
}

async fn ask_all(rest: &Rest, ids: Vec<String>, path: impl Fn(&str) -> String) -> Result<Vec<(String, Vec<Value>)>> {
    let asks = futures::stream::iter(ids).map(|id| {
        let path = path(&id);
        async move { anyhow::Ok((id, rest.items(&path).await?)) }
    });
    asks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

/// The logs of all attempts that began, of tasks that write lines.
async fn logs(rest: &Rest, case: &mut Case) -> Result<()> {
    let lines: BTreeMap<&str, u64> = case.ledger.tasks.iter().map(|task| (task.id.as_str(), task.spec.lines)).collect();
    let began = marks::done(&case.marks).into_keys().filter(|(task, attempt)| {
        let known = case.attempts.get(task).is_some_and(|all| all.iter().any(|one| one.number == *attempt));
        known && lines.get(task.split('.').next().unwrap_or_default()).is_some_and(|lines| *lines > 0)
    });
    let asks = futures::stream::iter(began.collect::<Vec<_>>()).map(|(task, attempt)| async move {
        let bytes = rest.bytes(&format!("/tasks/{task}/logs?attempt={attempt}")).await?.unwrap_or_default();
        anyhow::Ok(LogFact { task, attempt, bytes })
    });
    case.logs = asks.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect::<Result<_>>()?;
    Ok(())
}

async fn artifacts(rest: &Rest, case: &mut Case) -> Result<()> {
    for task in case.ledger.tasks.iter().filter(|task| task.spec.artifact) {
        let listed = rest.items(&format!("/tasks/{}/artifacts", task.id)).await?;
        let attempts: Vec<u64> = listed.iter().filter_map(|item| item["attempt"].as_u64()).collect();
        let good = case.attempts.get(&task.id).into_iter().flatten().find(|attempt| attempt.end == "succeeded");
        let bytes = match good.filter(|good| attempts.contains(&good.number)) {
            Some(good) => rest.bytes(&format!("/tasks/{}/artifacts/mine.txt?attempt={}", task.id, good.number)).await?,
            None => None,
        };
        case.artifacts.insert(task.id.clone(), ArtifactFact { attempts, bytes });
    }
    Ok(())
}

fn fact(task: &Value) -> TaskFact {
    let outcome = &task["outcome"];
    TaskFact {
        name: text(task, "name").to_owned(),
        state: text(task, "state").to_owned(),
        outcome: text(outcome, "kind").to_owned(),
        message: text(outcome, "message").to_owned(),
        exit_status: outcome["exit_status"].as_i64(),
        run: task["run"].as_str().map(str::to_owned),
        step: text(task, "step").to_owned(),
        is_array: !task["array"].is_null(),
    }
}

fn attempt_fact(attempt: &Value) -> AttemptFact {
    AttemptFact {
        number: attempt["attempt"].as_u64().unwrap_or_default(),
        worker: text(attempt, "worker").to_owned(),
        assigned_at: moment(text(attempt, "assigned_at")),
        ended_at: moment(text(attempt, "ended_at")),
        end: text(attempt, "end").to_owned(),
    }
}

fn event(task: &str, line: &Value) -> Event {
    Event { task: task.to_owned(), what: text(line, "what").to_owned(), attempt: line["attempt"].as_u64() }
}

/// `2026-11-22T03:20:24.093329Z`: a fraction may have any number of digits, or be missing.
fn moment(text: &str) -> Moment {
    let text = text.strip_suffix('Z')?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    Some((seconds.to_owned(), format!("{fraction:0<9}").parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn moments_are_compared_whatever_their_digits() {
        assert!(moment("2026-11-22T03:20:24.5Z") > moment("2026-11-22T03:20:24.093329Z"));
        assert!(moment("2026-11-22T03:20:24Z") < moment("2026-11-22T03:20:24.000001Z"));
        assert_eq!(moment(""), None);
    }
}
