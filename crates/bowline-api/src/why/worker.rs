//! Why a worker is given nothing more, in words and as a document.

use bowline_core::explain::{LaneMiss as CoreMiss, WaitReason, WorkerExplanation as CoreExplanation, WorkerReason};
use bowline_core::id::AttemptRef;
use bowline_core::size::format_amounts;
use bowline_core::worker::Room;
use serde_json::Value;

use super::{NAMED_MAX, are, count, listed, moment, write_times};
use crate::explain::{LaneMiss, ShortOf, TooSmall, WorkerExplanation};
use crate::task::Reason;

/// The engine's explanation as a document.
pub fn worker(explained: &CoreExplanation) -> WorkerExplanation {
    let amounts = |room: &Room| room.amounts.iter().map(|(name, amount)| (name.to_string(), *amount)).collect();
    WorkerExplanation {
        worker: explained.worker.to_string(),
        slots: explained.room.slots,
        slots_used: explained.used.slots,
        amounts: amounts(&explained.room),
        amounts_used: amounts(&explained.used),
        attempts: explained.attempts,
        beyond: explained.beyond,
        reasons: explained.reasons.iter().map(reason).collect(),
        lanes: explained.lanes.iter().map(miss).collect(),
        lanes_more: explained.more,
        ready: explained.ready,
        waiting: explained.waiting,
    }
}

fn reason(reason: &WorkerReason) -> Reason {
    let mut detail = serde_json::to_value(reason).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut detail {
        fields.remove("reason");
    }
    write_times(&mut detail);
    Reason { reason: name(reason).to_owned(), sentence: sentence(reason), detail }
}

fn name(reason: &WorkerReason) -> &'static str {
    match reason {
        WorkerReason::NotConnected { .. } => "not_connected",
        WorkerReason::Suspect { .. } => "suspect",
        WorkerReason::Broken { .. } => "broken",
        WorkerReason::Delivering { .. } => "delivering",
        WorkerReason::Paused { .. } => "paused",
        WorkerReason::Drained { .. } => "drained",
        WorkerReason::PutAside { .. } => "put_aside",
        WorkerReason::EverythingPaused { .. } => "everything_paused",
        WorkerReason::NoSlot { .. } => "no_slot",
        WorkerReason::NoMoreAsked { .. } => "no_more_asked",
        WorkerReason::NothingReady { .. } => "nothing_ready",
        WorkerReason::GangsWait { .. } => "gangs_wait",
        WorkerReason::NothingFits { .. } => "nothing_fits",
    }
}

fn sentence(reason: &WorkerReason) -> String {
    match reason {
        WorkerReason::NotConnected { since } => {
            format!(
                "It is not connected; it was heard last at {}. Look on its machine whether it runs.",
                moment(*since)
            )
        }
        WorkerReason::Suspect { since } => {
            format!("It is suspect: it was heard last at {}, and is given nothing until it is heard.", moment(*since))
        }
        WorkerReason::Broken { why } => format!("It says that it is broken: {why}."),
        WorkerReason::Delivering { attempts } => {
            let of = count(*attempts, "attempt");
            format!("It still delivers what happened to {of} while it was away, and is given nothing before that.")
        }
        WorkerReason::Paused { by, since } => {
            format!("It is paused, by {by} since {}: `bowline worker resume` lets it go on.", moment(*since))
        }
        WorkerReason::Drained { by, since, mode, left } => {
            let left = match left {
                0 => "it holds nothing any more".to_owned(),
                left => format!("{} still held", are(*left, "attempt")),
            };
            let (mode, since) = (mode.name(), moment(*since));
            format!("It was drained ({mode}) by {by} at {since}; {left}. `bowline worker undrain` gives it work again.")
        }
        WorkerReason::PutAside { since, until, why } => format!(
            "It was put aside at {}: {why}. It is tried with one task from {} on; `bowline worker undrain` vouches for it.",
            moment(*since),
            moment(*until)
        ),
        WorkerReason::EverythingPaused { by, since } => {
            format!("Everything is paused, by {by} since {}.", moment(*since))
        }
        WorkerReason::NoSlot { slots, beyond, prefetch, held_by, more } => {
            let beyond = match prefetch {
                0 => String::new(),
                most => format!(" Beyond them it holds {beyond}, and may hold {most}, of tasks that hold no resource."),
            };
            format!("All its slots are taken ({slots}): {}.{beyond}", holders(held_by, *more))
        }
        WorkerReason::NoMoreAsked { at_most, held_by, more } => {
            format!("It asked for at most {} at a time: {}.", count(*at_most, "attempt"), holders(held_by, *more))
        }
        WorkerReason::NothingReady { waiting: 0, blocked: 0, scheduled: 0 } => "No task waits.".to_owned(),
        WorkerReason::NothingReady { waiting, blocked, scheduled } => {
            let parts = [(waiting, "resources"), (blocked, "other tasks"), (scheduled, "their time")];
            let parts = parts.into_iter().filter(|(number, _)| **number > 0);
            let parts: Vec<String> = parts.map(|(number, what)| format!("{number} for {what}")).collect();
            format!("No task is ready for a worker; of those that wait, {}.", parts.join(", "))
        }
        WorkerReason::GangsWait { first, more } => {
            let all = first.len() + usize::try_from(*more).unwrap_or(usize::MAX);
            let (whose, them) = if all == 1 { ("A gang waits", "it") } else { ("Gangs wait", "one of them") };
            let named = listed(first.iter().map(ToString::to_string), all);
            format!(
                "{whose} for room for all of its members at once: of {named}; `bowline explain` {them} tells what is missing."
            )
        }
        WorkerReason::NothingFits { lanes } => {
            format!("Tasks are ready, in {}, and none of them can be given to it now.", count(*lanes, "lane"))
        }
    }
}

fn holders(held_by: &[AttemptRef], more: u64) -> String {
    if held_by.is_empty() {
        return "it holds nothing".to_owned();
    }
    let all = held_by.len() + usize::try_from(more).unwrap_or(usize::MAX);
    format!("it has {}", listed(held_by.iter().map(|attempt| attempt.task.to_string()), all))
}

fn miss(miss: &CoreMiss) -> LaneMiss {
    LaneMiss {
        lane: miss.lane.clone(),
        namespace: miss.namespace.to_string(),
        ready: miss.ready,
        first: miss.first,
        sentence: lacks(miss),
        missing: miss.missing.iter().map(ToString::to_string).collect(),
        excluded: miss.excluded.iter().map(ToString::to_string).collect(),
        kept_for: miss.kept_for,
        fairness: miss.fairness.iter().map(super::reason).collect(),
        too_small: miss
            .too_small
            .iter()
            .map(|(name, wanted, has)| TooSmall { name: name.to_string(), wanted: *wanted, has: *has })
            .collect(),
        short_of: miss
            .short_of
            .iter()
            .map(|(name, wanted, free, has)| ShortOf {
                name: name.to_string(),
                wanted: *wanted,
                free: *free,
                has: *has,
            })
            .collect(),
    }
}

/// What keeps a lane's tasks off a worker.
fn lacks(miss: &CoreMiss) -> String {
    let mut all = Vec::new();
    let missing: Vec<String> = miss.missing.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if !missing.is_empty() {
        all.push(format!("it does not have {}", missing.join(", ")));
    }
    let excluded: Vec<String> = miss.excluded.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if !excluded.is_empty() {
        all.push(format!("it has {}, which they exclude", excluded.join(", ")));
    }
    if miss.away {
        all.push("the first failed or was lost on it, and waits for another worker for a while".to_owned());
    }
    all.extend(
        miss.of_its_gang.map(|task| format!("it has {task}, of the gang of the first: each is on a worker of its own")),
    );
    all.extend(miss.kept_for.map(|task| format!("it is kept free for {task}, which needs much of it")));
    all.extend(miss.too_small.iter().map(|(name, wanted, has)| {
        let (wanted, has) = format_amounts(name.as_str(), (*wanted, *has));
        format!("{name}: wanted {wanted}, it has {has}")
    }));
    all.extend(miss.short_of.iter().map(|(name, wanted, free, _)| {
        let (wanted, free) = format_amounts(name.as_str(), (*wanted, *free));
        format!("{name}: wanted {wanted}, {free} free now")
    }));
    if miss.behind > 0 {
        all.push(format!("{} of what it holds beyond its slots come before", miss.behind));
    }
    all.extend(miss.fairness.iter().filter_map(unfair));
    all.extend(miss.paused.as_ref().map(|(_, by, since)| format!("paused by {by} since {}", moment(*since))));
    if all.is_empty() { "nothing: it may be given to it".to_owned() } else { all.join("; ") }
}

/// What keeps a lane's tasks from any worker, or lets others go first.
fn unfair(reason: &WaitReason) -> Option<String> {
    match reason {
        WaitReason::Quota { namespace, running, at_most } => Some(format!(
            "{namespace} may have {at_most} tasks on workers (its quota `max_running`), and has {running}"
        )),
        WaitReason::Share { namespace, user: None, .. } => {
            Some(format!("it is the turn of namespace {namespace}, which is behind its share"))
        }
        WaitReason::Share { user: Some(user), .. } => {
            Some(format!("it is the turn of {user}, who is behind his share"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bowline_core::name::{Key, Namespace};
    use bowline_core::time::Timestamp;

    use super::*;

    #[test]
    fn what_keeps_a_worker_idle_is_told_in_whole_sentences() {
        let since = Timestamp(1_000_000);
        for (reason, text) in [
            (
                WorkerReason::NotConnected { since },
                "It is not connected; it was heard last at 1970-01-01T00:00:01Z. Look on its machine whether it runs.",
            ),
            (
                WorkerReason::NothingReady { waiting: 2, blocked: 0, scheduled: 1 },
                "No task is ready for a worker; of those that wait, 2 for resources, 1 for their time.",
            ),
            (
                WorkerReason::GangsWait { first: vec![TaskRef::whole(bowline_core::id::TaskId(4))], more: 0 },
                "A gang waits for room for all of its members at once: of 4; `bowline explain` it tells what is missing.",
            ),
            (
                WorkerReason::NothingFits { lanes: 2 },
                "Tasks are ready, in 2 lanes, and none of them can be given to it now.",
            ),
        ] {
            assert_eq!(sentence(&reason), text);
            assert!(!self::reason(&reason).detail.to_string().contains("\"reason\""));
        }
    }

    #[test]
    fn what_a_lane_misses_is_told_in_one_line() {
        let slots = Key::new("slots").unwrap();
        let miss = CoreMiss {
            lane: String::new(),
            namespace: Namespace::default(),
            ready: 1,
            first: TaskRef::whole(bowline_core::id::TaskId(1)),
            paused: None,
            missing: vec!["gpu=a100".parse().unwrap()],
            excluded: Vec::new(),
            away: false,
            of_its_gang: None,
            kept_for: None,
            too_small: vec![(slots, 4, 2)],
            short_of: Vec::new(),
            behind: 0,
            fairness: vec![WaitReason::Quota { namespace: Namespace::default(), running: 2, at_most: 2 }],
        };
        assert_eq!(
            lacks(&miss),
            "it does not have gpu=a100; slots: wanted 4, it has 2; default may have 2 tasks on workers (its quota `max_running`), and has 2"
        );
    }

    use bowline_core::id::TaskRef;
}
