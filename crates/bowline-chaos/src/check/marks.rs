//! The marks that jobs left: read, and swept through for how much ran at once.

use std::collections::BTreeMap;

use super::{Broken, Case, Findings, find};

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// On the machine's boot clock.
    pub(crate) at_ns: u64,
    /// `begin`, `end`, `fail`, `beside` (another attempt held the task's lock), `noroom`.
    pub(crate) what: String,
    pub(crate) task: String,
    pub(crate) attempt: u64,
    pub(crate) worker: String,
}

/// Reads all marks. A line that is none is a finding of whoever asks.
pub(crate) fn read(text: &str) -> Result<Vec<Mark>, String> {
    text.lines().map(|line| mark(line).ok_or_else(|| format!("not a mark: `{line}`"))).collect()
}

fn mark(line: &str) -> Option<Mark> {
    let mut words = line.split(' ');
    let at_ns = words.next()?.parse().ok()?;
    let mut word = || words.next().map(str::to_owned);
    let (what, task) = (word()?, word()?);
    let attempt = word()?.parse().ok()?;
    Some(Mark { at_ns, what, task, attempt, worker: word()? })
}

/// What an attempt did, in fact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) begins: u64,
    pub(crate) begin_ns: Option<u64>,
    /// It came to its end, well or not.
    pub(crate) end_ns: Option<u64>,
    pub(crate) ended_well: bool,
    pub(crate) had_no_room: bool,
    pub(crate) was_beside: bool,
}

/// What every attempt did, by task and number.
pub(crate) fn done(marks: &[Mark]) -> BTreeMap<(String, u64), Done> {
    let mut all: BTreeMap<(String, u64), Done> = BTreeMap::new();
    for mark in marks {
        let done = all.entry((mark.task.clone(), mark.attempt)).or_default();
        match mark.what.as_str() {
            "begin" => {
                done.begins += 1;
                done.begin_ns = Some(mark.at_ns);
            }
            "end" | "fail" => {
                done.end_ns = Some(mark.at_ns);
                done.ended_well = mark.what == "end";
            }
            "noroom" => done.had_no_room = true,
            "beside" => done.was_beside = true,
            _ => {}
        }
    }
    all
}

/// Slots, licences and limits of arrays: never more at once than there are. What was killed has no end, and is left
/// out.
pub(crate) fn amounts(case: &Case, findings: &mut Findings) {
    let uses = uses(case);
    for (worker, (slots, licences)) in &case.workers {
        for (name, room, of) in [("slots", *slots, 0), ("licences", *licences, 1)] {
            let own = uses.iter().filter(|use_| use_.worker == *worker);
            let peak = peak(own.map(|use_| (use_.from_ns, use_.to_ns, use_.room[of])));
            if peak > room {
                find(findings, Broken::TooMuch, format!("worker {worker} used {peak} {name} at once and has {room}"));
            }
        }
    }
    for task in &case.ledger.tasks {
        let Some((_, at_most)) = task.spec.array else { continue };
        let of_it = format!("{}.", task.id);
        // An attempt that is lost may run on while another one takes its place.
        let own = uses.iter().filter(|use_| use_.task.starts_with(&of_it) && use_.is_newest);
        let peak = peak(own.map(|use_| (use_.from_ns, use_.to_ns, 1)));
        if peak > at_most {
            find(
                findings,
                Broken::TooMuch,
                format!("array {} had {peak} elements at once, and at most {at_most} may", task.id),
            );
        }
    }
}

struct Use {
    worker: String,
    task: String,
    from_ns: u64,
    to_ns: u64,
    /// Slots and licences.
    room: [u64; 2],
    is_newest: bool,
}

fn uses(case: &Case) -> Vec<Use> {
    let wants: BTreeMap<&str, [u64; 2]> =
        case.ledger.tasks.iter().map(|task| (task.id.as_str(), [task.spec.slots, task.spec.licences])).collect();
    let workers: BTreeMap<(&str, u64), &str> =
        case.marks.iter().map(|mark| ((mark.task.as_str(), mark.attempt), mark.worker.as_str())).collect();
    let mut uses = Vec::new();
    for ((task, attempt), done) in done(&case.marks) {
        let (Some(from_ns), Some(to_ns)) = (done.begin_ns, done.end_ns) else { continue };
        let whole = task.split('.').next().unwrap_or_default();
        let room = wants.get(whole).copied().unwrap_or([1, 0]);
        let worker = workers.get(&(task.as_str(), attempt)).copied().unwrap_or_default().to_owned();
        let newest = case.attempts.get(&task).and_then(|all| all.iter().map(|attempt| attempt.number).max());
        uses.push(Use { worker, is_newest: newest == Some(attempt), task, from_ns, to_ns, room });
    }
    uses
}

/// The most that was used at one moment.
fn peak(uses: impl Iterator<Item = (u64, u64, u64)>) -> u64 {
    // Ends before beginnings of the same moment.
    let mut steps: Vec<(u64, bool, u64)> =
        uses.flat_map(|(from, to, room)| [(from, true, room), (to.max(from), false, room)]).collect();
    steps.sort_unstable();
    let (mut now, mut peak) = (0u64, 0);
    for (_, begins, room) in steps {
        now = if begins { now + room } else { now.saturating_sub(room) };
        peak = peak.max(now);
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_and_put_together() {
        let marks = read("5 begin 7 1 w0 99\n9 end 7 1 w0 99\n10 begin 8.2 3 w1 5\n11 beside 8.2 3 w1 5\n").unwrap();
        let done = done(&marks);
        let first = done[&("7".to_owned(), 1)];
        assert_eq!((first.begin_ns, first.end_ns, first.ended_well), (Some(5), Some(9), true));
        assert!(done[&("8.2".to_owned(), 3)].was_beside);
        assert!(read("nonsense\n").is_err());
    }

    #[test]
    fn the_peak_counts_what_overlaps() {
        assert_eq!(peak([(0, 10, 1), (10, 20, 2), (15, 30, 1)].into_iter()), 3);
        assert_eq!(peak(std::iter::empty()), 0);
    }
}
