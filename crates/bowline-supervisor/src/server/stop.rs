//! Stopping jobs: TERM to all of it, its grace, KILL to all of it, again until nothing is left.

use std::time::Duration;

use rustix::process::{Signal, kill_process_group};

use super::Server;
use super::job::{Job, Live, Phase, Told};
use super::members::{self, Jobs};
use crate::log::Log;
use crate::procs::{self, Process, to_pid};
use crate::wire::{Ended, Event, StopReason};
use crate::{cgroup, keeper};

/// What a job's first process leaves behind has so long to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_millis(200);
/// A job of which something is left after so much killing is told to be stuck.
const KILL_BOUND: Duration = Duration::from_secs(10);
/// A job that makes processes faster than they can be stopped is killed one by one, again and again.
const HOLD_ROUNDS_MAX: usize = 32;
/// Between two looks at what is left: at first, while it has its grace, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LATER: Duration = Duration::from_millis(100);
pub(super) const LOOK_STUCK: Duration = Duration::from_secs(1);

impl Server {
    /// Begins to stop a job, or shortens the grace of one that is being stopped.
    pub(super) fn stop(&mut self, key: &str, reason: StopReason, grace: Duration, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        if live.is_main_alive() {
            live.stopped.get_or_insert(reason);
        }
        let asked_kill_at = now.saturating_add(grace);
        let kill_at = match live.phase {
            Phase::Starting | Phase::Running => asked_kill_at,
            Phase::Term { kill_at } => kill_at.min(asked_kill_at),
            Phase::Kill { .. } => return,
        };
        let is_first = !matches!(live.phase, Phase::Term { .. });
        live.phase = Phase::Term { kill_at };
        live.wake_at = Some(kill_at);
        if is_first && !grace.is_zero() {
            self.term(key);
        }
        self.look(key, now);
    }

    /// The first process has ended: is the job over?
    pub(super) fn settle(&mut self, key: &str, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        if matches!(live.phase, Phase::Starting | Phase::Running) {
            live.phase = Phase::Term { kill_at: now + LEFTOVER_GRACE };
        }
        live.look_every = LOOK_FIRST;
        self.look(key, now);
    }

    /// Does what is due for a job, and says when to look again.
    pub(super) fn look(&mut self, key: &str, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get(key) else { return };
        let is_over = !live.is_main_alive() && !members::is_anything_left(&self.jobs, live);
        match live.phase {
            _ if is_over => self.finish(key),
            Phase::Starting | Phase::Running => match live.limit_passed(now) {
                Some(reason) => {
                    let grace = live.grace;
                    self.stop(key, reason, grace, now);
                }
                None => self.wake(key, live.next_limit()),
            },
            Phase::Term { kill_at } if now < kill_at => {
                let next = if live.is_main_alive() { kill_at } else { kill_at.min(now + live.look_every) };
                if !live.is_main_alive() && live.stopped.is_some() {
                    // Born while TERM went round, it has not heard of it.
                    self.term(key);
                }
                self.wake_slower(key, next, LOOK_LATER);
            }
            Phase::Term { .. } => {
                self.set_phase(key, Phase::Kill { since: now, told: Told::No });
                self.kill(key, now);
            }
            Phase::Kill { .. } => self.kill(key, now),
        }
    }

    fn wake(&mut self, key: &str, at: Option<Duration>) {
        if let Some(Job::Live(live)) = self.jobs.get_mut(key) {
            live.wake_at = at;
        }
    }

    fn wake_slower(&mut self, key: &str, at: Duration, slowest: Duration) {
        if let Some(Job::Live(live)) = self.jobs.get_mut(key) {
            live.wake_at = Some(at);
            live.look_every = (live.look_every * 2).clamp(LOOK_FIRST, slowest);
        }
    }

    fn set_phase(&mut self, key: &str, phase: Phase) {
        if let Some(Job::Live(live)) = self.jobs.get_mut(key) {
            live.phase = phase;
            live.look_every = LOOK_FIRST;
        }
    }

    pub(super) fn term(&mut self, key: &str) {
        let Some(Job::Live(live)) = self.jobs.get(key) else { return };
        let termed = term(&self.jobs, live);
        if let Some(Job::Live(live)) = self.jobs.get_mut(key) {
            live.termed.extend(termed);
        }
    }

    /// Kills all of a job that can be found, once. Whether that was all, the next look says.
    fn kill(&mut self, key: &str, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get(key) else { return };
        let found = kill_all(&self.jobs, live, &mut self.log);
        let pids: Vec<u32> = found.iter().map(|process| process.pid).collect();
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        if !live.is_main_alive() {
            for pid in &pids {
                if !live.leftovers.contains(pid) {
                    live.leftovers.push(*pid);
                }
            }
        }
        let next = now + live.look_every;
        if let Phase::Kill { since, told: Told::No } = live.phase
            && now >= since + KILL_BOUND
        {
            live.phase = Phase::Kill { since, told: Told::Yes };
            self.log.say(format_args!("{key}: can't be killed: {pids:?}"));
            self.emit(&Event::Stuck { key: key.to_owned(), pids });
        }
        self.wake_slower(key, next, LOOK_STUCK);
    }

    /// Nothing is left of a job: its end may be told.
    fn finish(&mut self, key: &str) {
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        let Some(ended) = live.ended() else { return };
        let ended = write_end(live, ended);
        if let Some(path) = &live.cgroup {
            cgroup::remove(path);
        }
        self.by_number.remove(&live.number);
        self.emit(&ended.event());
        self.jobs.insert(key.to_owned(), Job::Ended(ended));
    }
}

/// Kills all of a job that can be found, in the strongest way that it has, and then one by one what that
/// may have missed. Tells whom it found.
fn kill_all(jobs: &Jobs, live: &Live, log: &mut Log) -> Vec<Process> {
    let mut found = members::of(jobs, live);
    match (&live.cgroup, live.keeper()) {
        (Some(path), _) => {
            if let Err(error) = cgroup::kill(path) {
                log.say(format_args!("{}: its cgroup refused the kill: {error}; one by one instead", live.key));
            }
        }
        // All others in the namespace go with its first.
        (None, Some((keeper, keeper::Home::Namespace))) => procs::signal(keeper, Signal::KILL),
        (None, _) => found = hold_still(jobs, live, found),
    }
    for process in &found {
        procs::signal(process, Signal::KILL);
    }
    found
}

/// Stops all of a job, those too that are born meanwhile: what stands still makes no more.
fn hold_still(jobs: &Jobs, live: &Live, mut found: Vec<Process>) -> Vec<Process> {
    let mut stopped = 0;
    for _ in 0..HOLD_ROUNDS_MAX {
        for process in &found[stopped..] {
            procs::signal(process, Signal::STOP);
        }
        stopped = found.len();
        let born = members::of(jobs, live);
        found.extend(
            born.into_iter().filter(|process| !found.iter().any(|known| known.is_same(process))).collect::<Vec<_>>(),
        );
        if found.len() == stopped {
            break;
        }
    }
    found
}

/// Writes how many had to be killed, where any had, and that nothing is left.
fn write_end(live: &mut Live, ended: Ended) -> Ended {
    use crate::records::Entry;
    let written = if live.leftovers.is_empty() { Ok(()) } else { live.record.add(&Entry::Ended(ended.clone())) };
    // Without this entry the next supervisor looks for leftovers once more, and finds none.
    written.and_then(|()| live.record.add(&Entry::Clean)).ok();
    ended
}

/// Sends TERM to all of a job that has not got it, once each: many programs take a second one for
/// impatience. What was stopped has to go on to hear it.
fn term(jobs: &Jobs, live: &Live) -> Vec<Process> {
    let mut found = members::of(jobs, live);
    found.retain(|process| !live.termed.iter().any(|termed| termed.is_same(process)));
    let first = live.main.process.pid;
    // While its first process is not reaped, its number is nobody else's group. A keeper's child is
    // reaped by the keeper, and may be gone.
    let is_leader = live.main.kept.is_none()
        && live.is_main_alive()
        && found.iter().any(|process| process.pid == first && process.group == first);
    for signal in [Signal::TERM, Signal::CONT] {
        if is_leader && let Some(group) = to_pid(first) {
            kill_process_group(group, signal).ok();
        }
        for process in found.iter().filter(|process| !is_leader || process.group != first) {
            procs::signal(process, signal);
        }
    }
    found
}
