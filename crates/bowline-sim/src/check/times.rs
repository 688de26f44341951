//! Who could know what, and since when: since when a process runs and a server leads, and when each stood still. By
//! this what is decided by silence, or by a limit of time, is judged: nothing is held against a worker that its leader
//! could not have heard, and no limit passes unseen by a leader that was well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bowline_core::effect::Batch;
use bowline_core::id::{AttemptRef, TaskId, WorkerId};
use bowline_core::row::{Row, Subject};
use bowline_core::spec::TaskSpec;
use bowline_core::state::{AttemptEnd, StateKind};
use bowline_core::time::Timestamp;

use super::book::Book;
use super::{Found, Invariant};
use crate::process::{ClusterId, ConnId, ProcId};

/// As the history says it.
const BY_SILENCE: &str = "its worker was silent for too long";
/// Where a task says nothing else.
const LOST_AFTER: Duration = Duration::from_mins(1);
/// After a take-over nothing is lost for so long.
const TAKE_OVER_GRACE: Duration = Duration::from_secs(30);
/// On top of `stop_after`.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// A leader counts a standstill that is longer than a heartbeat.
const STANDSTILL_US: u64 = 6_000_000;
/// Clocks go wrong by no more than 3 %; commits take their time.
const DRIFT_PER_CENT: u64 = 4;
const SLACK_US: u64 = 1_500_000;
/// A leader that has been well for so long has seen to every limit that has passed.
const LIMIT_SLACK_US: u64 = 30_000_000;

/// No connection comes after it.
const LAST: ConnId = ConnId(u64::MAX);

/// Of each worker so many words are remembered: more than come while a batch is on its way.
const HEARD_MAX: usize = 256;

/// When a process stood still; `None`: it still does.
type Still = Vec<(u64, Option<u64>)>;

/// What happened when.
#[derive(Debug, Default)]
pub struct Times {
    still: BTreeMap<ProcId, Still>,
    up_since: BTreeMap<ProcId, u64>,
    /// Who leads, and since when.
    leads: BTreeMap<ClusterId, (ProcId, u64)>,
    /// When a Hello came, by connection.
    hellos: BTreeMap<ConnId, u64>,
    /// When each worker was heard, not so long ago, and by which connection.
    heard: BTreeMap<(ClusterId, WorkerId), BTreeSet<(u64, ConnId)>>,
    /// When the newest batch left for the store, and what its leader's clock said then.
    commits: BTreeMap<ClusterId, (u64, Timestamp)>,
    /// When a round was first seen.
    rounds: BTreeMap<(ClusterId, TaskId), (u32, u64)>,
}

impl Times {
    pub(super) fn begins(&mut self, at: u64, proc: ProcId) {
        self.up_since.insert(proc, at);
        self.goes_on(at, proc);
    }

    pub(super) fn ends(&mut self, at: u64, proc: ProcId) {
        self.up_since.remove(&proc);
        self.goes_on(at, proc);
    }

    pub(super) fn stands_still(&mut self, at: u64, proc: ProcId) {
        let still = self.still.entry(proc).or_default();
        if still.last().is_none_or(|(_, until)| until.is_some()) {
            still.push((at, None));
        }
    }

    pub(super) fn goes_on(&mut self, at: u64, proc: ProcId) {
        if let Some((_, until @ None)) = self.still.get_mut(&proc).and_then(|still| still.last_mut()) {
            *until = Some(at);
        }
    }

    pub(super) fn leads(&mut self, at: u64, cluster: ClusterId, proc: ProcId) {
        self.leads.insert(cluster, (proc, at));
    }

    pub(super) fn said_hello(&mut self, at: u64, conn: ConnId) {
        self.hellos.insert(conn, at);
    }

    pub(super) fn hello_of(&self, conn: ConnId) -> Option<u64> {
        self.hellos.get(&conn).copied()
    }

    /// A worker was heard by this server. What one hears that leads no more, its successor has not heard.
    pub(super) fn heard(&mut self, (at, conn): (u64, ConnId), (cluster, by): (ClusterId, ProcId), worker: WorkerId) {
        if self.leads.get(&cluster).is_none_or(|(leader, _)| *leader != by) {
            return;
        }
        let heard = self.heard.entry((cluster, worker)).or_default();
        heard.insert((at, conn));
        if heard.len() > HEARD_MAX {
            heard.pop_first();
        }
    }

    /// A batch leaves for the store.
    pub(super) fn commits(&mut self, at: u64, cluster: ClusterId, now: Timestamp) {
        self.commits.insert(cluster, (at, now));
    }

    /// When a line of the batch that became durable last was decided: its leader may have heard more until then.
    fn decided(&self, at: u64, cluster: ClusterId, line: Timestamp) -> u64 {
        let Some((left_at, now)) = self.commits.get(&cluster).copied() else { return at };
        left_at.saturating_sub(micros(now.since(line)))
    }

    /// The cluster was put back: its rounds have the numbers of others that began at other times.
    pub(super) fn disown(&mut self, cluster: ClusterId) {
        self.rounds.retain(|(of, _), _| *of != cluster);
    }

    /// Whether a process has run since then without having been started anew.
    pub(super) fn was_up(&self, proc: ProcId, since: u64) -> bool {
        self.up_since.get(&proc).is_some_and(|up| *up <= since)
    }

    /// For how long a process stood still between these.
    pub(super) fn still(&self, proc: ProcId, from: u64, to: u64) -> u64 {
        self.still_longer(proc, (from, to), 0)
    }

    fn still_longer(&self, proc: ProcId, (from, to): (u64, u64), than: u64) -> u64 {
        let each = self.still.get(&proc).into_iter().flatten();
        let each = each.map(|(since, until)| (*since, until.unwrap_or(to)));
        let each = each.filter(|(since, until)| until - since >= than);
        each.map(|(since, until)| until.min(to).saturating_sub(since.max(from))).sum()
    }

    /// A batch is in the store, and in the book.
    pub(super) fn committed(&mut self, found: &mut Found, at: u64, (cluster, book): (ClusterId, &Book), batch: &Batch) {
        let mut silent = BTreeMap::new();
        for line in &batch.history {
            if let Subject::Task(unit) = &line.subject
                && line.what == "lost"
                && line.reason == BY_SILENCE
            {
                silent.insert((*unit, line.attempt), line.at);
            }
        }
        let mut over = Vec::new();
        // A round may begin in the batch in which its first attempt does.
        for row in &batch.rows {
            let (id, number) = match row {
                Row::NewTask(new) => (new.row.id, new.row.round.0),
                Row::Task(row) => (row.id, row.round.0),
                _ => continue,
            };
            let round = self.rounds.entry((cluster, id)).or_insert((number, at));
            if round.0 != number || matches!(row, Row::NewTask(_)) {
                *round = (number, at);
            }
        }
        for row in &batch.rows {
            match row {
                Row::Attempt(row) => {
                    let attempt = row.attempt;
                    let line = silent.get(&(attempt.task, attempt.fence.attempt));
                    if let Some(line) = line.filter(|_| row.end == Some(AttemptEnd::Lost)) {
                        self.silence(found, (at, *line), (cluster, book), (attempt, row.worker));
                        over.extend(row.worker.map(|worker| (worker, self.decided(at, cluster, *line))));
                    }
                    if row.end.is_none() && row.version == 1 {
                        self.limit(found, at, (cluster, book), (attempt.task.task, "is claimed"));
                    }
                }
                Row::Task(row) if row.unit.state == StateKind::Succeeded => {
                    self.limit(found, at, (cluster, book), (row.id, "succeeds"));
                }
                _ => {}
            }
        }
        for (worker, decided) in over {
            self.session_is_over(decided, (cluster, worker));
        }
    }

    /// Whoever is given up is heard by that connection no more, from when that was decided: it is closed once that is durable.
    fn session_is_over(&mut self, decided: u64, of: (ClusterId, WorkerId)) {
        let Some(heard) = self.heard.get_mut(&of) else { return };
        let Some((_, last)) = heard.range(..=(decided, LAST)).next_back().copied() else { return };
        heard.retain(|(at, conn)| *at <= decided || *conn != last);
    }

    /// Nobody is lost by silence whom his leader could not have heard for as long as the task says.
    fn silence(
        &self,
        found: &mut Found,
        (at, line): (u64, Timestamp),
        (cluster, book): (ClusterId, &Book),
        (attempt, worker): (AttemptRef, Option<WorkerId>),
    ) {
        let Some(task) = book.tasks.get(&attempt.task.task) else { return };
        let Some((leader, led_from)) = self.leads.get(&cluster).copied() else { return };
        // What came after it was decided, while its batch was on its way, came too late.
        let decided = self.decided(at, cluster, line);
        let heard = worker.and_then(|worker| self.heard.get(&(cluster, worker)));
        let Some(heard) = heard.and_then(|heard| heard.range(..=(decided, LAST)).next_back()) else { return };
        let Some(needed) = patience(&task.spec, book, attempt.task.task) else {
            return found.add(at, Invariant::I1, || {
                format!("{attempt} is lost by silence alone, and nothing may overlap with it")
            });
        };
        let listened = |since: u64| (at - since).saturating_sub(self.still_longer(leader, (since, at), STANDSTILL_US));
        let since = led_from.max(heard.0);
        for (needed, since) in [(needed, since), (TAKE_OVER_GRACE, led_from)] {
            let listened = listened(since);
            let is_enough = listened + listened * DRIFT_PER_CENT / 100 + SLACK_US >= micros(needed);
            found.unless(is_enough, at, Invariant::I1, || {
                let listened = listened / 1_000_000;
                format!("{attempt} is lost by silence after its leader could hear for {listened} s, not {needed:?}")
            });
        }
    }

    /// No round goes on past its total limit under a leader that was well.
    fn limit(&self, found: &mut Found, at: u64, (cluster, book): (ClusterId, &Book), (id, what): (TaskId, &str)) {
        let Some(task) = book.tasks.get(&id) else { return };
        let Some(total) = task.spec.timeouts.total.map(|total| micros(total.0)) else { return };
        let Some((leader, led_from)) = self.leads.get(&cluster).copied() else { return };
        let Some((_, began)) = self.rounds.get(&(cluster, id)) else { return };
        let due = (began + total + total * DRIFT_PER_CENT / 100).max(led_from);
        let well = at.saturating_sub(due).saturating_sub(self.still(leader, due, at));
        found.unless(well <= LIMIT_SLACK_US, at, Invariant::States, || {
            format!("task {id} {what} {} s after its total limit had passed", well / 1_000_000)
        });
    }
}

/// For how long a worker must have been silent. `None`: silence is no proof.
fn patience(spec: &TaskSpec, book: &Book, id: TaskId) -> Option<Duration> {
    if !book.forbids_overlap(id) {
        return Some(spec.lost_after.map_or(LOST_AFTER, |after| after.0));
    }
    let grace = spec.work.grace.map_or(Duration::ZERO, |grace| grace.0);
    spec.stop_after.map(|stop_after| stop_after.0 + grace + STOP_MARGIN)
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX / 200)
}
