//! Sentences about keys, rates, quotas and shares.

use bowline_core::explain::{AsideWhy, WaitReason};
use bowline_core::id::TaskRef;

use super::{count, listed, moment};

/// Why its ticket stands aside, and what ends that. Empty for any other reason.
pub(super) fn aside(why: &AsideWhy) -> (String, String) {
    match why {
        AsideWhy::Concurrency { key, at_most, holders, more, first } => {
            let most = at_most.map_or_else(
                || format!("one task alone may be at work under the concurrency key `{key}`"),
                |most| format!("{most} may be at work under the concurrency key `{key}`"),
            );
            let one =
                |(task, since): &(TaskRef, bowline_core::time::Timestamp)| format!("{task} since {}", moment(*since));
            let all = holders.len() + usize::try_from(*more).unwrap_or(usize::MAX);
            let held = format!("it is held by {}", listed(holders.iter().map(one), all));
            let held = Some(held).filter(|_| !holders.is_empty());
            let told: Vec<String> = held.into_iter().chain(may_begin(first)).collect();
            (
                format!("{most}, and {}", told.join("; ")),
                "It steps back to its number when its turn has come.".to_owned(),
            )
        }
        AsideWhy::Rate { key, count: most, per, until, first } => {
            let next = until.map_or_else(
                || "It steps back to its number when its turn has come.".to_owned(),
                |until| format!("The next one may begin at {}.", moment(until)),
            );
            let starts = count(u64::from(*most), "start");
            let told = may_begin(first).map_or_else(String::new, |first| format!(", and {first}"));
            (format!("its rate `{key}` allows {starts} within {per}{told}"), next)
        }
        AsideWhy::Running { running, at_most } => (
            format!("its namespace has {running} of {at_most} tasks on workers (its quota `max_running`)"),
            if *at_most == 0 {
                "Nothing begins until it is raised: `bowline namespace set NAMESPACE --max-running N`.".to_owned()
            } else {
                "It steps back to its number when one of them ends.".to_owned()
            },
        ),
        AsideWhy::Held { name, held, at_most } => (
            format!("its namespace holds {held} of the {at_most} of `{name}` that it may (its quota `max_held`)"),
            if *at_most == 0 {
                format!("It waits until that is raised: `bowline namespace set NAMESPACE --max-held {name}=N`.")
            } else {
                "It steps back to its number when some of that is free.".to_owned()
            },
        ),
        AsideWhy::Paused
        | AsideWhy::OutOfService { .. }
        | AsideWhy::TooMuch { .. }
        | AsideWhy::NoWorker { .. }
        | AsideWhy::Window => (String::new(), String::new()),
    }
}

/// Who goes before it, and waits for something else.
fn may_begin(first: &[TaskRef]) -> Option<String> {
    let named = listed(first.iter().map(ToString::to_string), first.len());
    (!first.is_empty()).then(|| format!("before it may begin {named}, as soon as what they wait for is there"))
}

/// A quota that is full, or whose turn it is. Empty for any other reason.
pub(super) fn waiting(reason: &WaitReason) -> String {
    match reason {
        WaitReason::Quota { namespace, running, at_most } => format!(
            "The namespace {namespace} has {running} of {at_most} tasks on workers (its quota `max_running`); \
             `bowline namespace show {namespace}` tells its quotas."
        ),
        WaitReason::Share { namespace, user, theirs, own } => {
            let who = user.as_ref().map_or_else(
                || format!("namespace {namespace}, which is {theirs}; its own namespace is {own}"),
                |user| format!("{user}, who is {theirs}; its own user is {own}"),
            );
            format!("It is the turn of {who}; `bowline namespace show {namespace}` tells the shares.")
        }
        _ => String::new(),
    }
}
