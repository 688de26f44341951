//! Sentences about gangs: for which members all of them wait.

use bowline_core::explain::WaitReason;
use bowline_core::id::TaskRef;

use super::{count, listed};

/// Whom it waits for: members that are not there yet, or room for all at once. Empty for any other reason.
pub(super) fn gang(reason: &WaitReason) -> String {
    let WaitReason::Gang { first, members, absent, placed, lacking, distinct, kept } = reason else {
        return String::new();
    };
    let gang = format!("Its gang (of task {first}) starts when all of {} can", count(u64::from(*members), "member"));
    if !absent.is_empty() {
        let named = absent.iter().map(|(task, state)| format!("{task} ({state})"));
        return format!("{gang}; it waits for {}.", listed(named, absent.len()));
    }
    let how = if *distinct { "each on a worker of its own" } else { "at once" };
    if lacking.is_empty() {
        return format!("{gang}: there is room for {placed} of {members} now, {how}.");
    }
    let named = lacking.iter().map(TaskRef::to_string);
    let all = usize::try_from(members.saturating_sub(*placed)).unwrap_or(usize::MAX);
    let kept = if kept.is_empty() {
        String::new()
    } else {
        format!(" Kept free for it: {}.", listed(kept.iter().map(ToString::to_string), kept.len()))
    };
    format!(
        "{gang}: {placed} of {members} would find a worker now, {how}; there is none beside them for {}.{kept}",
        listed(named, all)
    )
}
