//! Why something waits: the engine's reasons in words, and as documents.

mod doubt;
mod gang;
mod limit;
mod line;
mod place;
mod run;
mod worker;

use std::fmt::Write as _;

use bowline_core::explain::{AHEAD_MAX, Explanation as CoreExplanation, FullWorker, Nearest, PausedThing, WaitReason};
use bowline_core::id::AttemptRef;
use bowline_core::size::format_amounts;
use bowline_core::spec::Condition;
use bowline_core::time::Timestamp;
use serde_json::Value;

pub use run::run;
pub use worker::worker;

use crate::task::{Explanation, Reason, Why};
use crate::time::from_core_time;

/// Workers that a sentence names; the document has them all.
const NAMED_MAX: usize = 3;

/// The engine's explanation as a document.
pub fn explanation(explained: &CoreExplanation) -> Explanation {
    Explanation {
        task: explained.task,
        state: explained.state,
        since: from_core_time(explained.since),
        reasons: explained.reasons.iter().map(reason).collect(),
    }
}

/// One reason, in short.
pub fn why(reason: &WaitReason) -> Why {
    Why { reason: name(reason).to_owned(), sentence: sentence(reason) }
}

/// It was told to stop, and its worker cannot kill these processes.
pub fn stuck(attempt: AttemptRef, pids: &[u32]) -> Reason {
    let number = attempt.fence.attempt;
    let named = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let processes = if pids.len() == 1 { "process" } else { "processes" };
    let sentence = format!(
        "Attempt {number} was told to stop, and its worker cannot kill {processes} {named}: it keeps its slot and all \
         that it holds until they are gone."
    );
    let detail = serde_json::json!({ "attempt": number, "processes": pids });
    Reason { reason: "stuck".to_owned(), sentence, detail }
}

/// One reason with all that is known of it.
pub fn reason(reason: &WaitReason) -> Reason {
    let mut detail = serde_json::to_value(reason).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut detail {
        fields.remove("reason");
    }
    write_times(&mut detail);
    Reason { reason: name(reason).to_owned(), sentence: sentence(reason), detail }
}

/// Times as people write them, wherever they stand.
fn write_times(detail: &mut Value) {
    match detail {
        Value::Array(items) => items.iter_mut().for_each(write_times),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_u64() {
                    Some(at) if ["until", "since", "lost_at"].contains(&name.as_str()) => {
                        *value = from_core_time(Timestamp(at)).to_string().into();
                    }
                    _ => write_times(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The reason's name, for programs.
pub fn name(reason: &WaitReason) -> &'static str {
    match reason {
        WaitReason::NotBefore { .. } => "not_before",
        WaitReason::Backoff { .. } => "backoff",
        WaitReason::Dependency { .. } => "dependency",
        WaitReason::Paused { .. } => "paused",
        WaitReason::NoWorkerFits { .. } => "no_worker_fits",
        WaitReason::WorkersUnavailable { .. } => "workers_unavailable",
        WaitReason::NoRoom { .. } => "no_room",
        WaitReason::KeptFree { .. } => "kept_free",
        WaitReason::KeptForIt { .. } => "kept_for_it",
        WaitReason::AwayFrom { .. } => "away_from",
        WaitReason::WarmOn { .. } => "warm_on",
        WaitReason::RunsForAnother { .. } => "runs_for_another",
        WaitReason::OfItsGang { .. } => "of_its_gang",
        WaitReason::Behind { .. } => "behind",
        WaitReason::ArrayWindow { .. } => "array_window",
        WaitReason::Element { .. } => "element",
        WaitReason::WorkerSilent { .. } => "worker_silent",
        WaitReason::InDoubt { .. } => "in_doubt",
        WaitReason::Resource { .. } => "resource",
        WaitReason::Aside { .. } => "aside",
        WaitReason::Quota { .. } => "quota",
        WaitReason::Share { .. } => "share",
        WaitReason::Gang { .. } => "gang",
        WaitReason::Held { .. } => "held",
    }
}

/// The reason as a sentence for people.
pub fn sentence(reason: &WaitReason) -> String {
    match reason {
        WaitReason::NotBefore { until } => format!("It is not to begin before {}.", moment(*until)),
        WaitReason::Backoff { until, attempt, failure, left } => format!(
            "Attempt {attempt} failed ({failure}); it is tried again at {}, {} left after that.",
            moment(*until),
            count(u64::from(left.saturating_sub(1)), "attempt")
        ),
        WaitReason::Dependency { task, on, state } => {
            let must = match on {
                Condition::Ok => "succeed",
                Condition::Any => "end",
                Condition::Fail => "fail",
            };
            format!("Task {task} must {must} first; it is {state}.")
        }
        WaitReason::Paused { what, by, since } => {
            let what = match what {
                PausedThing::Task => "It is".to_owned(),
                PausedThing::Member(member) => format!("Task {member} of its gang is"),
                PausedThing::Run(run) => format!("Its run r{run} is"),
                PausedThing::Namespace(namespace) => format!("The namespace {namespace} is"),
                PausedThing::Everything => "Everything is".to_owned(),
            };
            format!("{what} paused, by {by} since {}.", moment(*since))
        }
        WaitReason::NoWorkerFits { workers: 0, .. } => {
            "No worker has enrolled yet. Start one with `bowline worker start`.".to_owned()
        }
        WaitReason::NoWorkerFits { workers, nearest } => no_worker_fits(*workers, nearest.as_ref()),
        WaitReason::WorkersUnavailable { workers } => {
            let named = workers.iter().map(|(name, why)| format!("{name} ({why})"));
            format!("The workers that fit take no work now: {}.", listed(named, workers.len()))
        }
        WaitReason::NoRoom { workers, more } => no_room(workers, *more),
        WaitReason::KeptFree { .. }
        | WaitReason::KeptForIt { .. }
        | WaitReason::AwayFrom { .. }
        | WaitReason::WarmOn { .. }
        | WaitReason::RunsForAnother { .. }
        | WaitReason::OfItsGang { .. } => place::sentence(reason),
        WaitReason::Behind { ahead: AHEAD_MAX.. } => {
            format!("{AHEAD_MAX} tasks or more are in its lane before it.")
        }
        WaitReason::Behind { ahead } => format!("{} in its lane before it.", are(*ahead, "task")),
        WaitReason::ArrayWindow { at_most, running } => {
            let running = are(u64::from(*running), "element");
            format!("Its array runs at most {at_most} elements at a time; {running} under way.")
        }
        WaitReason::Element { element, state, why } => format!("Element {element} is {state}: {}", sentence(why)),
        WaitReason::WorkerSilent { .. } | WaitReason::InDoubt { .. } => doubt::sentence(reason),
        WaitReason::Resource { .. } => line::resource(reason),
        WaitReason::Aside { ticket, why } => line::aside(*ticket, why),
        WaitReason::Quota { .. } | WaitReason::Share { .. } => limit::waiting(reason),
        WaitReason::Gang { .. } => gang::gang(reason),
        WaitReason::Held { until: Some(until) } => format!("The server holds it until {}.", moment(*until)),
        WaitReason::Held { until: None } => {
            "The server holds it until somebody says `bowline task complete`.".to_owned()
        }
    }
}

fn no_worker_fits(workers: u32, nearest: Option<&Nearest>) -> String {
    let mut text = format!("None of {} fits.", count(u64::from(workers), "worker"));
    if let Some(nearest) = nearest {
        let missing = nearest.missing.iter().map(ToString::to_string);
        let small = nearest.too_small.iter().map(|(name, wanted, has)| {
            let (wanted, has) = format_amounts(name.as_str(), (*wanted, *has));
            format!("{name} (wanted {wanted}, has {has})")
        });
        let lacks: Vec<String> = missing.chain(small).collect();
        let lacks = (!lacks.is_empty()).then(|| format!("it lacks {}", lacks.join(", ")));
        let excluded: Vec<String> = nearest.excluded.iter().map(ToString::to_string).collect();
        let has = (!excluded.is_empty()).then(|| format!("it has {}, which is excluded", excluded.join(", ")));
        let both: Vec<String> = lacks.into_iter().chain(has).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, " {} comes nearest; {}.", nearest.worker, both.join(", and "));
    }
    text
}

fn no_room(workers: &[FullWorker], more: u32) -> String {
    let all = workers.len() + usize::try_from(more).unwrap_or(usize::MAX);
    let named = workers.iter().map(|worker| {
        let short = worker.short_of.iter().map(|(name, wanted, free, _)| {
            let (wanted, free) = format_amounts(name.as_str(), (*wanted, *free));
            format!("{name}: wanted {wanted}, free {free}")
        });
        let short: Vec<String> = short.collect();
        let held: Vec<String> = worker.held_by.iter().take(NAMED_MAX).map(|held| held.task.to_string()).collect();
        let by = if held.is_empty() { String::new() } else { format!("; held by {}", held.join(", ")) };
        format!("{} ({}{by})", worker.worker, short.join(", "))
    });
    format!("The workers that fit have no room now: {}.", listed(named, all))
}

fn listed(named: impl Iterator<Item = String>, all: usize) -> String {
    let named: Vec<String> = named.take(NAMED_MAX).collect();
    let more = all.saturating_sub(named.len());
    let mut text = named.join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

fn moment(at: Timestamp) -> String {
    let at = from_core_time(at);
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn are(number: u64, what: &str) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", count(number, what))
}

#[cfg(test)]
mod tests {
    use bowline_core::id::{AttemptNo, AttemptRef, Fence, Generation, TaskId, TaskRef};
    use bowline_core::name::{Key, WorkerName};

    use super::*;

    #[test]
    fn reasons_are_told_in_whole_sentences() {
        let name = |name: &str| WorkerName::new(name).unwrap();
        let held = AttemptRef {
            task: TaskRef::whole(TaskId(7)),
            fence: Fence { generation: Generation(1), attempt: AttemptNo(1) },
        };
        let full = FullWorker {
            worker: name("a"),
            short_of: vec![(Key::new("slots").unwrap(), 1, 0, 4)],
            held_by: vec![held],
        };
        let nearest = Nearest {
            worker: name("b"),
            missing: vec!["gpu=a100".parse().unwrap()],
            excluded: Vec::new(),
            too_small: Vec::new(),
        };
        for (reason, text) in [
            (WaitReason::NotBefore { until: Timestamp(1_500_000) }, "It is not to begin before 1970-01-01T00:00:01Z."),
            (
                WaitReason::NoRoom { workers: vec![full], more: 2 },
                "The workers that fit have no room now: a (slots: wanted 1, free 0; held by 7) and 2 more.",
            ),
            (
                WaitReason::NoWorkerFits { workers: 2, nearest: Some(nearest) },
                "None of 2 workers fits. b comes nearest; it lacks gpu=a100.",
            ),
            (WaitReason::Behind { ahead: 1 }, "1 task is in its lane before it."),
            (WaitReason::Behind { ahead: AHEAD_MAX }, "1000 tasks or more are in its lane before it."),
        ] {
            assert_eq!(sentence(&reason), text);
        }
    }

    #[test]
    fn details_write_times_as_people_do() {
        let told = reason(&WaitReason::Held { until: Some(Timestamp(2_000_000)) });
        assert_eq!(told.reason, "held");
        assert_eq!(told.detail, serde_json::json!({"until": "1970-01-01T00:00:02Z"}));
    }
}
