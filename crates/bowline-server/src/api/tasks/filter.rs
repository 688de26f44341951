//! From a query to the store's filter.

use bowline_api::{TaskQuery, to_core_time};
use bowline_core::name::{Actor, Namespace, ResourceName, WorkerName};
use bowline_core::state::StateKind;
use bowline_core::time::{Timestamp, micros, parse_duration};
use bowline_store::{TaskFilter, TaskSort};

use crate::api::extract::{run_id, sentence};
use crate::api::fault::Fault;
use crate::clock;

/// The store's filter.
pub(super) fn filter(query: &TaskQuery, namespace: Option<Namespace>, actor: &Actor) -> Result<TaskFilter, Fault> {
    let created_by = match (query.mine, &query.created_by) {
        (Some(true), Some(_)) => return Err(Fault::field("mine", "Give only one of `mine` and `created_by`.")),
        (Some(true), None) => Some(actor.0.to_string()),
        (_, created_by) => created_by.clone(),
    };
    let resource = query.resource.as_deref().map(resource).transpose()?;
    let of_resource = if resource.is_some() { "unfinished" } else { "" };
    Ok(TaskFilter {
        namespace,
        states: states(query.state.as_deref().unwrap_or(of_resource))?,
        or_element_in_doubt: true,
        resource,
        name: query.name.clone(),
        labels: query.label.as_deref().map(labels).transpose()?.unwrap_or_default(),
        worker: query.worker.as_deref().map(worker).transpose()?,
        since: query.since.as_deref().map(since).transpose()?,
        created_by,
        run: query.run.as_deref().map(run_id).transpose()?,
        node: None,
    })
}

/// The order.
pub(super) fn sort(text: Option<&str>) -> Result<TaskSort, Fault> {
    match text {
        None | Some("newest") => Ok(TaskSort::Newest),
        Some("oldest") => Ok(TaskSort::Oldest),
        Some(_) => Err(Fault::field("sort", "`sort` must be `newest` or `oldest`.")),
    }
}

/// A worker's name.
pub(super) fn worker(name: &str) -> Result<WorkerName, Fault> {
    WorkerName::new(name).map_err(|error| Fault::field("worker", sentence(&error.to_string())))
}

/// A resource's name.
pub(super) fn resource(name: &str) -> Result<ResourceName, Fault> {
    ResourceName::new(name).map_err(|error| Fault::field("resource", sentence(&error.to_string())))
}

/// States, by name or by kind.
pub(super) fn states(text: &str) -> Result<Vec<StateKind>, Fault> {
    let mut states = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "ended" => states.extend(StateKind::ALL.into_iter().filter(|state| state.is_ended())),
            "unfinished" => states.extend(StateKind::ALL.into_iter().filter(|state| !state.is_ended())),
            word => states.push(StateKind::parse(word).ok_or_else(|| no_state(word))?),
        }
    }
    states.sort_unstable();
    states.dedup();
    Ok(states)
}

fn no_state(word: &str) -> Fault {
    let known = StateKind::ALL.map(StateKind::name);
    let next = bowline_api::decode::nearest(word, known).map_or_else(
        || format!("There are: {}, unfinished, ended.", known.join(", ")),
        |near| format!("Did you mean `{near}`?"),
    );
    let word: String = word.chars().take(64).collect();
    Fault::field("state", format!("There is no state `{word}`. {next}"))
}

fn labels(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let wrong = || Fault::field("label", "`label` must be `key=value`, with commas between where there are more.");
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(wrong))
        .collect()
}

fn since(text: &str) -> Result<Timestamp, Fault> {
    if let Ok(length) = parse_duration(text) {
        return Ok(Timestamp(clock::wall().0.saturating_sub(micros(length))));
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| {
        Fault::field("since", "`since` must be a time such as `2026-01-31T12:00:00Z`, or how long ago, such as `2h`.")
    })?;
    Ok(to_core_time(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_with_words_for_many() {
        assert_eq!(states("running,ready").unwrap(), [StateKind::Ready, StateKind::Running]);
        assert_eq!(states("ended").unwrap().len(), 4);
        assert_eq!(states("ended,failed,unfinished").unwrap().len(), StateKind::ALL.len());
        assert!(states("runing").is_err());
    }

    #[test]
    fn moments_are_read_in_both_ways() {
        assert_eq!(since("2023-11-14T22:13:20Z").unwrap(), Timestamp(1_700_000_000_000_000));
        assert!(since("2h").unwrap() < clock::wall());
        assert!(since("soon").is_err());
    }

    #[test]
    fn labels_are_pairs() {
        assert_eq!(labels("a=b,c=d=e").unwrap(), [("a".into(), "b".into()), ("c".into(), "d=e".into())]);
        assert!(labels("a").is_err());
    }
}
