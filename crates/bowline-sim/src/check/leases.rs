//! What a supervisor promises by itself: a job ends when it has run for as long as it may, and when its server has
//! answered no heartbeat for `stop_after`. Counted from what was sent and answered in fact, not from what anybody
//! was told of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bowline_core::message::ToWorker;
use bowline_protocol::{Delivery, ServerMessage, WorkerMessage};
use bowline_supervisor::wire::Start;

use super::times::Times;
use super::{Found, Invariant};
use crate::job::{AtTerm, JobId, Plan};
use crate::process::{ConnId, ProcId};

/// Clocks of a simulated machine go wrong by no more than 3 %.
const DRIFT_PER_CENT: u64 = 4;
/// TERM, KILL, and what goes over sockets take so long, in microseconds.
const SLACK_US: u64 = 1_500_000;

/// What a supervisor was told of a job.
#[derive(Debug, Clone, Copy)]
struct Limits {
    by: ProcId,
    began_at: Option<u64>,
    run: Option<Duration>,
    stop_after: Option<Duration>,
    grace: Duration,
}

/// Jobs with limits, and heartbeats.
#[derive(Debug, Default)]
pub struct Leases {
    /// By state directory and key.
    jobs: BTreeMap<(String, String), Limits>,
    /// When each heartbeat that has not been answered left, by connection.
    beats: BTreeMap<ConnId, VecDeque<u64>>,
    /// When the newest heartbeat left that was answered, by state directory.
    answered: BTreeMap<String, u64>,
}

impl Leases {
    /// A worker speaks.
    pub(super) fn said(&mut self, at: u64, conn: ConnId, messages: &[(WorkerMessage, Option<Delivery>)]) {
        let beats = messages.iter().filter(|(message, _)| matches!(message, WorkerMessage::Heartbeat(_)));
        for _ in beats {
            self.beats.entry(conn).or_default().push_back(at);
        }
    }

    /// A worker with this state directory hears.
    pub(super) fn heard(&mut self, conn: ConnId, dir: &str, messages: &[ServerMessage]) {
        let is_answer = |message: &&ServerMessage| matches!(message, ServerMessage::Engine(ToWorker::HeartbeatAck));
        for _ in messages.iter().filter(is_answer) {
            if let Some(sent) = self.beats.get_mut(&conn).and_then(VecDeque::pop_front) {
                let newest = self.answered.entry(dir.to_owned()).or_default();
                *newest = sent.max(*newest);
            }
        }
    }

    /// A supervisor hears that it is to start a job.
    pub(super) fn ordered(&mut self, by: ProcId, dir: &str, start: &Start) {
        let Some(plan) = Plan::from_argv(&start.argv) else { return };
        // What cannot be killed for a while is excused.
        if plan.dies_in_us == 0 && (start.stop_after.is_some() || start.run_limit.is_some()) {
            // What ends at TERM needs no grace.
            let grace = if plan.at_term == AtTerm::Ignores { start.grace } else { Duration::ZERO };
            let (run, stop_after) = (start.run_limit, start.stop_after);
            let limits = Limits { by, began_at: None, run, stop_after, grace };
            self.jobs.entry((dir.to_owned(), start.key.clone())).or_insert(limits);
        }
    }

    pub(super) fn began(&mut self, at: u64, job: &JobId) {
        if let Some(limits) = self.jobs.get_mut(&(job.dir.clone(), job.key.clone())) {
            limits.began_at = Some(at);
        }
    }

    /// A job has ended in fact: was that in time?
    pub(super) fn ended(&mut self, found: &mut Found, at: u64, job: &JobId, times: &Times) {
        let Some(limits) = self.jobs.remove(&(job.dir.clone(), job.key.clone())) else { return };
        let Some(began) = limits.began_at else { return };
        let leased = self.answered.get(&job.dir).map_or(began, |sent| began.max(*sent));
        let each = [(limits.run, began, "it may run for"), (limits.stop_after, leased, "its lease allows")];
        for (length, since, what) in each {
            let Some(length) = length else { continue };
            let due = since + stretched(length);
            let hindered =
                !times.was_up(limits.by, began) || times.still(limits.by, due.saturating_sub(SLACK_US), at) > 0;
            let over = due + stretched(limits.grace) + SLACK_US;
            found.unless(at <= over || hindered, at, Invariant::I1, || {
                let late = (at - due) / 1_000_000;
                format!("{} lives {late} s longer than {what} ({length:?}), and its supervisor was well", job.key)
            });
        }
    }
}

/// By the slowest clock, in microseconds.
fn stretched(length: Duration) -> u64 {
    let length = u64::try_from(length.as_micros()).unwrap_or(u64::MAX / 200);
    length + length * DRIFT_PER_CENT / 100
}
