//! Fairness: what priority is worth.

use std::time::Duration;

use bowline_core::id::{SessionId, TaskId};
use bowline_core::message::{FromWorker, JobEnd};
use bowline_core::spec::TaskSpec;
use bowline_core::state::StateKind;

use super::bench::{Bench, error, noop};

const MINUTE: Duration = Duration::from_mins(1);

fn level(priority: i32) -> TaskSpec {
    TaskSpec { priority, ..noop() }
}

/// Ends the newest attempt of a task that its worker has.
fn end(bench: &mut Bench, session: SessionId, task: TaskId, how: JobEnd) {
    let live = bench.tables.attempts.values().find(|row| row.attempt.task.task == task && row.end.is_none());
    let attempt = live.map(|row| row.attempt).expect("an attempt of it lives");
    bench.say(session, FromWorker::Started(attempt));
    bench.finish(session, attempt, how);
}

/// The order in which the one slot of a worker gets to these.
fn order<const N: usize>(bench: &mut Bench, session: SessionId, tasks: [TaskId; N]) -> [TaskId; N] {
    tasks.map(|_| {
        let running = tasks.iter().find(|task| bench.state(**task) == StateKind::Assigned);
        let running = *running.expect("one of them is under way");
        end(bench, session, running, JobEnd::Success);
        running
    })
}

#[test]
fn a_level_of_priority_goes_before_what_came_ten_minutes_earlier_and_no_more() {
    let mut bench = Bench::new();
    let old = bench.one(level(0));
    bench.pass(MINUTE * 9);
    let urgent = bench.one(level(1));
    let low = bench.one(level(-2));
    bench.pass(MINUTE * 2);
    let too_late = bench.one(level(1));
    let second = bench.one(level(1));
    bench.pass(MINUTE * 17);
    let later = bench.one(level(0));
    let session = bench.worker("lab-1", 1);
    let all = [old, urgent, low, too_late, second, later];
    // Counted from when they came: urgent -1, old 0, too_late and second 1, later 28, low 29.
    assert_eq!(order(&mut bench, session, all), [urgent, old, too_late, second, later, low]);
}

#[test]
fn a_retry_and_a_take_over_keep_the_place_that_priority_gave() {
    let mut bench = Bench::new();
    let mut again = level(3);
    again.retry.extra = 1;
    let first = bench.one(again);
    let session = bench.worker("lab-1", 1);
    end(&mut bench, session, first, error("no luck"));
    bench.apply(bowline_core::Input::Disconnected { session });
    bench.pass(MINUTE * 25);
    // It came 25 minutes after the first, and is worth ten less.
    let second = bench.one(level(2));
    let third = bench.one(level(7));
    for crash in [false, true] {
        if crash {
            bench.crash();
        }
        assert_eq!(bench.state(first), StateKind::Ready);
    }
    let session = bench.worker("lab-2", 1);
    assert_eq!(order(&mut bench, session, [first, second, third]), [third, first, second]);
}
