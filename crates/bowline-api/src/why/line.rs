//! Sentences about the lines of resources: who is before a task, who holds what it wants, why its ticket stands aside.

use bowline_core::explain::{AHEAD_MAX, AsideWhy, ResourceHolder, WaitReason};
use bowline_core::id::{RunId, TaskRef, Ticket};
use bowline_core::name::UnitName;
use bowline_core::resource::Mode;

use super::{NAMED_MAX, are, count, listed, moment};

/// What it wants, who has it, who is before it, and where the line is shown. Empty for any other reason.
pub(super) fn resource(reason: &WaitReason) -> String {
    let WaitReason::Resource {
        name,
        mode,
        amount,
        ticket,
        ahead,
        behind,
        behind_run,
        capacity,
        free,
        suit,
        holders,
        more,
    } = reason
    else {
        return String::new();
    };
    let wants = match mode {
        Mode::Exclusive => format!("`{name}` for itself"),
        Mode::Shared => format!("to share `{name}`"),
        Mode::Counted => format!("{amount} of `{name}`"),
        Mode::Unit => {
            let with = suit.as_ref().map(|suit| format!(" with {}", suit.with)).unwrap_or_default();
            format!("{} of `{name}`{with}", count(*amount, "unit"))
        }
    };
    let parts = match (mode, suit) {
        (Mode::Exclusive | Mode::Shared, _) => String::new(),
        (Mode::Unit, Some(suit)) => format!("{} of {} such free, ", suit.free, suit.units),
        (Mode::Counted | Mode::Unit, _) => format!("{free} of {capacity} free, "),
    };
    format!(
        "It wants {wants} (ticket {ticket}): {parts}{}; {}. `bowline resource show {name}` prints the line.",
        held(holders, *more),
        before(*ahead, behind.map(|task| who(task, *behind_run)))
    )
}

fn held(holders: &[ResourceHolder], more: u32) -> String {
    if holders.is_empty() {
        return "held by nobody".to_owned();
    }
    let one = |holder: &ResourceHolder| {
        let units: Vec<&str> = holder.units.iter().take(NAMED_MAX).map(UnitName::as_str).collect();
        let units = if units.is_empty() { String::new() } else { format!(" ({})", units.join(", ")) };
        format!("{}{units} since {}", who(holder.task, holder.run), moment(holder.since))
    };
    let all = holders.len() + usize::try_from(more).unwrap_or(usize::MAX);
    format!("held by {}", listed(holders.iter().map(one), all))
}

/// A task, or the run for which it stands there.
pub(super) fn who(task: TaskRef, run: Option<RunId>) -> String {
    run.map_or_else(|| task.to_string(), |run| format!("run r{run}"))
}

fn before(ahead: u64, first: Option<String>) -> String {
    let first = first.map_or_else(String::new, |task| format!(", the first is {task}"));
    match ahead {
        0 => "nobody is before it in the line".to_owned(),
        AHEAD_MAX.. => format!("{AHEAD_MAX} tasks or more are before it in the line{first}"),
        ahead => format!("{} before it in the line{first}", are(ahead, "task")),
    }
}

/// Why tickets stand aside, to stand behind a number of tasks.
pub(super) fn aside_short(why: &AsideWhy) -> String {
    match why {
        AsideWhy::Paused => "paused".to_owned(),
        AsideWhy::OutOfService { name, reason } => format!("for `{name}`, which is out of service ({reason})"),
        AsideWhy::TooMuch { name } => format!("for more of `{name}` than there is"),
        AsideWhy::NoWorker { since } => format!("for a worker that can run them, since {}", moment(*since)),
        AsideWhy::Window => "because as many of the array as may be are under way".to_owned(),
        AsideWhy::Concurrency { key, .. } => format!("for others under the concurrency key `{key}`"),
        AsideWhy::Rate { key, count, per, .. } => format!("for the rate `{key}` ({count} within {per})"),
        AsideWhy::Running { running, at_most } => {
            format!("because the namespace has {running} of {at_most} tasks on workers")
        }
        AsideWhy::Held { name, at_most, .. } => format!("because the namespace may hold {at_most} of `{name}`"),
    }
}

/// Why its ticket stands aside, and what ends that.
pub(super) fn aside(ticket: Ticket, why: &AsideWhy) -> String {
    let (why, ends) = match why {
        AsideWhy::Paused => ("it is paused".to_owned(), "It steps back to its number when it is resumed.".to_owned()),
        AsideWhy::OutOfService { name, reason } => (
            format!("`{name}` is out of service ({reason})"),
            format!("It steps back to its number after `bowline resource set {name} --in-service`."),
        ),
        AsideWhy::TooMuch { name } => (
            format!("`{name}` has less now than it asks for"),
            format!("Give `{name}` more with `bowline resource set`, or cancel the task."),
        ),
        AsideWhy::NoWorker { since } => (
            format!("no connected worker has been able to run it since {}", moment(*since)),
            "It steps back to its number as soon as one is; `bowline worker list` shows them.".to_owned(),
        ),
        AsideWhy::Window => (
            "as many elements of its array are under way as may be".to_owned(),
            "It steps back to its number when one of them ends.".to_owned(),
        ),
        AsideWhy::Concurrency { .. } | AsideWhy::Rate { .. } | AsideWhy::Running { .. } | AsideWhy::Held { .. } => {
            super::limit::aside(why)
        }
    };
    format!("Its ticket {ticket} stands aside, and delays nobody: {why}. {ends}")
}

#[cfg(test)]
mod tests {
    use bowline_core::explain::SuitableUnits;
    use bowline_core::id::TaskId;
    use bowline_core::name::ResourceName;
    use bowline_core::time::Timestamp;

    use super::*;

    fn name(name: &str) -> ResourceName {
        ResourceName::new(name).unwrap()
    }

    fn waits(mode: Mode, amount: u64, ahead: u64, holders: Vec<ResourceHolder>) -> WaitReason {
        let behind = (ahead > 0).then_some(TaskRef::whole(TaskId(8)));
        let (ticket, more) = (Ticket(12), if holders.is_empty() { 0 } else { 4 });
        WaitReason::Resource {
            name: name("r"),
            mode,
            amount,
            ticket,
            ahead,
            behind,
            behind_run: None,
            capacity: 5,
            free: 1,
            suit: None,
            holders,
            more,
        }
    }

    #[test]
    fn who_wants_units_with_attributes_is_told_of_those_alone() {
        let mut reason = waits(Mode::Unit, 1, 0, Vec::new());
        if let WaitReason::Resource { suit, .. } = &mut reason {
            *suit = Some(SuitableUnits { with: "model=x".into(), units: 2, free: 0 });
        }
        let text = "It wants 1 unit of `r` with model=x (ticket 12): 0 of 2 such free, held by nobody; nobody is before it in \
                    the line. `bowline resource show r` prints the line.";
        assert_eq!(resource(&reason), text);
    }

    #[test]
    fn a_line_is_told_with_who_holds_and_who_is_before() {
        let holder = |units: &[&str]| ResourceHolder {
            task: TaskRef::whole(TaskId(7)),
            run: None,
            mode: Mode::Unit,
            units: units.iter().map(|unit| UnitName::new(*unit).unwrap()).collect(),
            since: Timestamp(1_000_000),
        };
        for (reason, text) in [
            (
                waits(Mode::Exclusive, 0, 2, vec![holder(&[])]),
                "It wants `r` for itself (ticket 12): held by 7 since 1970-01-01T00:00:01Z and 4 more; 2 tasks are \
                 before it in the line, the first is 8. `bowline resource show r` prints the line.",
            ),
            (
                waits(Mode::Shared, 0, 1, Vec::new()),
                "It wants to share `r` (ticket 12): held by nobody; 1 task is before it in the line, the first is 8. \
                 `bowline resource show r` prints the line.",
            ),
            (
                waits(Mode::Counted, 3, 0, Vec::new()),
                "It wants 3 of `r` (ticket 12): 1 of 5 free, held by nobody; nobody is before it in the line. \
                 `bowline resource show r` prints the line.",
            ),
            (
                waits(Mode::Unit, 1, AHEAD_MAX, vec![holder(&["a", "b"])]),
                "It wants 1 unit of `r` (ticket 12): 1 of 5 free, held by 7 (a, b) since 1970-01-01T00:00:01Z and 4 \
                 more; 1000 tasks or more are before it in the line, the first is 8. `bowline resource show r` prints \
                 the line.",
            ),
        ] {
            assert_eq!(resource(&reason), text);
        }
    }

    #[test]
    fn a_run_that_holds_as_a_whole_is_named_and_not_its_keeper() {
        let of = ResourceHolder {
            task: TaskRef::whole(TaskId(7)),
            run: Some(RunId(3)),
            mode: Mode::Exclusive,
            units: Vec::new(),
            since: Timestamp(1_000_000),
        };
        let mut waits = waits(Mode::Exclusive, 0, 1, vec![of]);
        if let WaitReason::Resource { behind_run, more, .. } = &mut waits {
            (*behind_run, *more) = (Some(RunId(4)), 0);
        }
        assert_eq!(
            resource(&waits),
            "It wants `r` for itself (ticket 12): held by run r3 since 1970-01-01T00:00:01Z; 1 task is before it in \
             the line, the first is run r4. `bowline resource show r` prints the line."
        );
    }

    #[test]
    fn whoever_stands_aside_is_told_why_and_what_ends_it() {
        let broken = AsideWhy::OutOfService { name: name("r"), reason: "flat".to_owned() };
        assert_eq!(
            aside(Ticket(3), &broken),
            "Its ticket 3 stands aside, and delays nobody: `r` is out of service (flat). It steps back to its number \
             after `bowline resource set r --in-service`."
        );
        for why in [
            AsideWhy::Paused,
            AsideWhy::TooMuch { name: name("r") },
            AsideWhy::NoWorker { since: Timestamp(1) },
            AsideWhy::Window,
        ] {
            let told = aside(Ticket(3), &why);
            assert!(told.starts_with("Its ticket 3 stands aside") && told.ends_with('.'), "{told}");
        }
    }
}
