//! Sentences about attempts of which nobody knows.

use bowline_core::explain::WaitReason;

use super::moment;

/// The reason as a sentence; empty where it is of another kind.
pub(super) fn sentence(reason: &WaitReason) -> String {
    match reason {
        WaitReason::WorkerSilent { worker, attempt, since, lost_at } => {
            let silent = format!("Its worker {worker} has been silent since {}", moment(*since));
            match lost_at {
                Some(at) => format!("{silent}; if it stays so, attempt {attempt} is lost at {}.", moment(*at)),
                None => format!(
                    "{silent}, and attempt {attempt} may still run there: it is lost only when the worker says so, \
                     when its machine has restarted, or by `bowline worker forget {worker}`."
                ),
            }
        }
        WaitReason::InDoubt { attempt, worker, why } => {
            let on = worker.as_ref().map_or_else(String::new, |worker| format!(" on {worker}"));
            format!(
                "Nobody knows how attempt {attempt}{on} ended ({why}), and it must not rerun by itself: say how it \
                 ended by `bowline task resolve`, or run it again by `bowline task retry`."
            )
        }
        _ => String::new(),
    }
}
