//! Who goes first among tasks that are ready: by ticket, where priority counts as an earlier one.
//!
//! Everybody's priority grows at the same pace while he waits, so the order of two tasks never changes, and nothing is
//! sorted anew: a level of priority is worth so much time, once and for all. A task is overtaken only by one that came
//! less than the difference of their priorities times [`crate::engine::Timing::ageing`] after it.

use std::time::Duration;

use crate::time::{Timestamp, micros};

use super::Engine;
use super::table::{At, Task};

/// No priority counts for more than so many microseconds: 146 thousand years.
const SHIFT_MAX: i64 = i64::MAX / 2;

/// The moment by which a task stands in its lane.
pub(super) fn due(ticket_at: Option<Timestamp>, priority: i32, ageing: Duration) -> i64 {
    let at = ticket_at.map_or(0, |at| i64::try_from(at.0).unwrap_or(i64::MAX));
    let shift = i128::from(priority) * i128::from(micros(ageing));
    let shift = shift.clamp(i128::from(-SHIFT_MAX), i128::from(SHIFT_MAX));
    at.saturating_sub(i64::try_from(shift).unwrap_or(SHIFT_MAX))
}

impl Engine {
    /// Tickets of rows that do not say when they were taken count from the latest round that had begun by then: so the
    /// order of tickets is the order of time.
    pub(super) fn date_tickets(&mut self) {
        // A program that does not know of the time leaves that of an earlier round as it was.
        let is_dated = |task: &Task| task.ticket_at.get().is_some_and(|at| at >= task.round_at);
        if self.tasks.values().all(|task| task.ticket.0 == 0 || is_dated(task)) {
            return;
        }
        let has_ticket = self.tasks.iter().filter(|(_, task)| task.ticket.0 > 0);
        let mut tickets: Vec<_> = has_ticket.map(|(id, task)| (task.ticket, id)).collect();
        tickets.sort_unstable();
        let mut latest = Timestamp::default();
        for (_, id) in tickets {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            latest = latest.max(task.ticket_at.get().unwrap_or_default()).max(task.round_at);
            if !is_dated(task) {
                task.ticket_at = At::from(latest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_priority_is_worth_its_time_and_no_more() {
        let minutes = Duration::from_mins(10);
        let at = |minutes: u64, priority| due(Some(Timestamp(minutes * 60_000_000)), priority, Duration::from_mins(10));
        assert!(at(9, 1) < at(0, 0), "a level goes before what came less than ten minutes earlier");
        assert!(at(11, 1) > at(0, 0), "and not before what came earlier than that");
        assert_eq!(at(10, 1), at(0, 0));
        assert!(at(29, 3) < at(0, 0) && at(31, 3) > at(0, 0));
        assert!(at(0, -1) > at(9, 0) && at(0, -1) < at(11, 0));
        assert_eq!(due(None, 0, minutes), 0);
    }

    #[test]
    fn no_priority_and_no_ageing_runs_over() {
        let now = Some(Timestamp(1_800_000_000_000_000));
        let years = Duration::from_hours(24 * 365 * 1_000);
        for ageing in [Duration::ZERO, Duration::from_mins(10), years, Duration::MAX] {
            let dues = [i32::MAX, 1_000, 1, 0, -1, -1_000, i32::MIN].map(|priority| due(now, priority, ageing));
            assert!(dues.is_sorted(), "{ageing:?}: {dues:?}");
        }
        let dues = [100_i32, 1, 0, -1, -100].map(|priority| due(now, priority, years));
        assert!(dues.windows(2).all(|pair| pair[0] < pair[1]), "strict, where a level is worth a thousand years");
    }
}
