//! Sentences about which worker a task waits for, or is kept from.

use bowline_core::explain::WaitReason;

use super::{listed, moment};

/// The reason as a sentence; empty where it is of another kind.
pub(super) fn sentence(reason: &WaitReason) -> String {
    match reason {
        WaitReason::KeptFree { workers } => {
            let named = workers.iter().map(|(name, task)| format!("{name} (for {task})"));
            let named = listed(named, workers.len());
            format!("Workers that fit are kept free for tasks that stand before it and need much: {named}.")
        }
        WaitReason::KeptForIt { worker, since } => format!(
            "Worker {worker} is kept free for it since {}: it begins when enough of what runs there has ended.",
            moment(*since)
        ),
        WaitReason::AwayFrom { worker, until } => {
            format!("Its last attempt failed on {worker}: until {} it waits for another worker.", moment(*until))
        }
        WaitReason::WarmOn { worker, until } => {
            format!("Worker {worker} had what it holds last: until {} it waits for that one.", moment(*until))
        }
        WaitReason::RunsForAnother { workers } => {
            let named = workers.iter().map(|(name, resource)| format!("{name} (runs for `{resource}`)"));
            let named = listed(named, workers.len());
            format!("Workers that fit serve one sticky resource at a time: {named}.")
        }
        WaitReason::OfItsGang { workers } => {
            let named = listed(workers.iter().map(|(name, task)| format!("{name} (has {task})")), workers.len());
            format!(
                "Each member of its gang is on a worker of its own, and workers that fit have another one: {named}."
            )
        }
        _ => String::new(),
    }
}
