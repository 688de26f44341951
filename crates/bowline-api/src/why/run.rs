//! Why a run has not ended, in words and as a document.

use bowline_core::explain::{RunExplanation as CoreExplanation, StepExplanation as CoreStep, StepWait, WaitReason};
use bowline_core::name::StepName;
use bowline_core::size::format_amount;

use super::{are, count, listed, moment};
use crate::explain::{RunExplanation, StepExplanation, WaitingFor};
use crate::time::from_core_time;

/// Steps that a sentence names; the document has them all.
const STEPS_NAMED_MAX: usize = 10;

/// The engine's explanation as a document.
pub fn run(explained: &CoreExplanation) -> RunExplanation {
    RunExplanation {
        run: format!("r{}", explained.run),
        state: explained.state.name().to_owned(),
        ended: explained.state.is_ended(),
        since: from_core_time(explained.since),
        reasons: explained.reasons.iter().map(super::reason).collect(),
        steps: explained.steps.iter().map(step).collect(),
        steps_ended: explained.ended,
    }
}

fn step(told: &CoreStep) -> StepExplanation {
    let (state, after) = match &told.state {
        StepWait::Steps { after, .. } => ("pending", after.iter().map(ToString::to_string).collect()),
        StepWait::Hold => ("pending", Vec::new()),
        StepWait::Evaluated => ("due", Vec::new()),
        StepWait::Tasks => ("active", Vec::new()),
    };
    let why = told.why.iter().map(|waiting| WaitingFor {
        tasks: waiting.tasks,
        first: waiting.first,
        why: super::reason(&waiting.reason),
    });
    StepExplanation {
        step: told.step.to_string(),
        state: state.to_owned(),
        sentence: sentence(told),
        after,
        task: told.task.map(|task| task.to_string()),
        total: told.total,
        tasks_ended: told.ended,
        running: told.running,
        waiting: told.waiting,
        why: why.collect(),
    }
}

/// All of a step in one sentence.
fn sentence(told: &CoreStep) -> String {
    match &told.state {
        StepWait::Steps { after, at_least } => after_steps(after, *at_least),
        StepWait::Hold => "It waits for what its run asks for as a whole.".to_owned(),
        StepWait::Evaluated => "Its expressions are to be evaluated.".to_owned(),
        StepWait::Tasks if told.waiting == 0 => {
            format!("{} of {} under way, {} ended.", told.running, count(told.total, "task"), told.ended)
        }
        StepWait::Tasks => {
            let why: Vec<String> =
                told.why.iter().map(|waiting| format!("{} {}", waiting.tasks, short(&waiting.reason))).collect();
            let wait = if told.waiting == 1 { "waits" } else { "wait" };
            format!("{} of {} {wait}: {}.", told.waiting, count(told.total, "task"), why.join(", "))
        }
    }
}

fn after_steps(after: &[StepName], at_least: Option<u32>) -> String {
    let named = listed_steps(after);
    match at_least {
        None => format!("It waits for {named}."),
        Some(least) => format!("It waits for {least} more of {named}."),
    }
}

fn listed_steps(after: &[StepName]) -> String {
    let more = after.len().saturating_sub(STEPS_NAMED_MAX);
    let named: Vec<String> = after.iter().take(STEPS_NAMED_MAX).map(|step| format!("`{step}`")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}

/// A reason in a few words, to stand behind a number of tasks.
fn short(reason: &WaitReason) -> String {
    match reason {
        WaitReason::NotBefore { until } => format!("not before {}", moment(*until)),
        WaitReason::Backoff { .. } => "to be tried again after a failure".to_owned(),
        WaitReason::Dependency { task, .. } => format!("for task {task}"),
        WaitReason::Paused { by, since, .. } => format!("paused by {by} since {}", moment(*since)),
        WaitReason::NoWorkerFits { nearest: None, .. } => "for a worker".to_owned(),
        WaitReason::NoWorkerFits { nearest: Some(nearest), .. } => {
            let missing = nearest.missing.iter().map(ToString::to_string);
            let small = nearest
                .too_small
                .iter()
                .map(|(name, wanted, _)| format!("{name}={}", format_amount(name.as_str(), *wanted)));
            let excluded = nearest.excluded.iter().map(|has| format!("no {has}"));
            let lacks: Vec<String> = missing.chain(excluded).chain(small).collect();
            format!("for a worker with {}", lacks.join(", "))
        }
        WaitReason::WorkersUnavailable { workers } => {
            let named = workers.iter().map(|(name, why)| format!("{name} ({why})"));
            format!("for workers that take none now: {}", listed(named, workers.len()))
        }
        WaitReason::NoRoom { workers, more } => {
            let all = workers.len() + usize::try_from(*more).unwrap_or(usize::MAX);
            let named = workers.iter().map(|worker| worker.worker.to_string());
            format!("for room on {}", listed(named, all))
        }
        WaitReason::KeptFree { .. } => "for workers that are kept free for others".to_owned(),
        WaitReason::KeptForIt { worker, .. } => format!("for more to end on {worker}, which is kept free"),
        WaitReason::WarmOn { worker, .. } => format!("for {worker}, which had it last"),
        WaitReason::OfItsGang { .. } => "for workers that have no other member of their gang".to_owned(),
        WaitReason::RunsForAnother { .. } => "for workers that serve another resource now".to_owned(),
        WaitReason::AwayFrom { worker, .. } => format!("for another worker than {worker}"),
        WaitReason::Gang { .. } => "for the rest of their gang".to_owned(),
        WaitReason::Behind { .. } => "for their turn in the lane".to_owned(),
        WaitReason::ArrayWindow { at_most, .. } => format!("because at most {at_most} run at a time"),
        // Of a step each element is told of by itself.
        WaitReason::Element { why, .. } => short(why),
        WaitReason::WorkerSilent { worker, since, .. } => {
            format!("on {worker}, which has been silent since {}", moment(*since))
        }
        WaitReason::InDoubt { .. } => "for somebody to say how they ended".to_owned(),
        WaitReason::Resource { name, holders, more, ahead, .. } => {
            let all = holders.len() + usize::try_from(*more).unwrap_or(usize::MAX);
            let named = holders
                .iter()
                .map(|held| format!("{} since {}", super::line::who(held.task, held.run), moment(held.since)));
            match (holders.is_empty(), ahead) {
                (false, _) => format!("for `{name}` (held by {})", listed(named, all)),
                (true, ahead) => format!("for `{name}` ({} before)", are(*ahead, "task")),
            }
        }
        WaitReason::Aside { why, .. } => super::line::aside_short(why),
        WaitReason::Quota { running, at_most, .. } => {
            format!("because the namespace has {running} of {at_most} tasks on workers")
        }
        WaitReason::Share { namespace, user, .. } => {
            format!("for the turn of {}", user.as_ref().map_or(namespace.as_str(), String::as_str))
        }
        WaitReason::Held { until: Some(until) } => format!("until {}", moment(*until)),
        WaitReason::Held { until: None } => "until somebody completes them".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::explain::Waiting;
    use bowline_core::id::{TaskId, TaskRef};
    use bowline_core::time::Timestamp;

    use super::*;

    fn told(state: StepWait, why: Vec<(u64, WaitReason)>) -> CoreStep {
        let waiting = why.iter().map(|(tasks, _)| tasks).sum();
        let first = TaskRef::whole(TaskId(1));
        CoreStep {
            step: StepName::new("scan").unwrap(),
            state,
            task: None,
            total: 40,
            ended: 3,
            running: 37 - waiting,
            waiting,
            why: why.into_iter().map(|(tasks, reason)| Waiting { tasks, first, reason }).collect(),
        }
    }

    #[test]
    fn a_step_is_summed_up_in_one_sentence() {
        let backoff = WaitReason::Backoff { until: Timestamp(0), attempt: 1, failure: String::new(), left: 1 };
        let window = WaitReason::ArrayWindow { at_most: 4, running: 4 };
        assert_eq!(
            sentence(&told(StepWait::Tasks, vec![(12, window), (5, backoff)])),
            "17 of 40 tasks wait: 12 because at most 4 run at a time, 5 to be tried again after a failure."
        );
        assert_eq!(sentence(&told(StepWait::Tasks, Vec::new())), "37 of 40 tasks under way, 3 ended.");
        let after = vec![StepName::new("a").unwrap(), StepName::new("b").unwrap()];
        let steps = |at_least| StepWait::Steps { after: after.clone(), at_least };
        assert_eq!(sentence(&told(steps(None), Vec::new())), "It waits for `a`, `b`.");
        assert_eq!(sentence(&told(steps(Some(1)), Vec::new())), "It waits for 1 more of `a`, `b`.");
    }
}
