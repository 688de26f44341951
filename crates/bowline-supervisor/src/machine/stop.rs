//! Stopping jobs: TERM to all of it, its grace, KILL to all of it, again until nothing is left.

use std::time::Duration;

use super::job::{Job, Phase, Told};
use super::{Host, Left, Machine};
use crate::records::Entry;
use crate::wire::{Event, StopReason};

/// What a job's first process leaves behind has so long to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_millis(200);
/// A job of which something is left after so much killing is told to be stuck.
const KILL_BOUND: Duration = Duration::from_secs(10);
/// Between two looks at what is left: at first, while it has its grace, and at most.
const LOOK_FIRST: Duration = Duration::from_millis(2);
const LOOK_LATER: Duration = Duration::from_millis(100);
pub(super) const LOOK_STUCK: Duration = Duration::from_secs(1);

/// Why a job is stopped, and how long it has between TERM and KILL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stop {
    pub(super) reason: StopReason,
    pub(super) grace: Duration,
}

impl Machine {
    /// Begins to stop a job, or shortens the grace of one that is being stopped.
    pub(super) fn stop(&mut self, key: &str, stop: Stop, now: Duration, host: &mut impl Host) {
        let Stop { reason, grace } = stop;
        let Some(live) = self.live_mut(key) else { return };
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
        let before = if let Phase::Term { kill_at } = live.phase { kill_at } else { kill_at };
        live.phase = Phase::Term { kill_at };
        live.wake_at = Some(kill_at);
        if kill_at < before {
            reached!(GraceShortened);
        }
        if is_first && !grace.is_zero() {
            host.term(key);
        }
        self.look(key, now, host);
    }

    /// The first process has ended: is the job over?
    pub(super) fn settle(&mut self, key: &str, now: Duration, host: &mut impl Host) {
        let Some(live) = self.live_mut(key) else { return };
        if live.phase.may_run() {
            live.phase = Phase::Term { kill_at: now + LEFTOVER_GRACE };
        }
        live.look_every = LOOK_FIRST;
        self.look(key, now, host);
    }

    /// Does what is due for a job, and says when to look again.
    pub(super) fn look(&mut self, key: &str, now: Duration, host: &mut impl Host) {
        let Some(live) = self.live_mut(key) else { return };
        if !live.is_main_alive() {
            if host.left(key) == Left::Nothing || is_mutant!(EndToldBeforeGone) {
                return self.finish(key, now, host);
            }
            reached!(FirstProcessEndedBeforeTheRest);
        }
        match live.phase {
            Phase::Starting | Phase::Running => match live.limit_passed(now) {
                Some(reason) => {
                    let grace = live.grace;
                    self.stop(key, Stop { reason, grace }, now, host);
                }
                None => live.wake_at = live.next_limit(),
            },
            Phase::Term { kill_at } if now < kill_at => {
                let next = if live.is_main_alive() { kill_at } else { kill_at.min(now + live.look_every) };
                if !live.is_main_alive() && live.stopped.is_some() {
                    // Born while TERM went round, it has not heard of it.
                    host.term(key);
                }
                live.wake_slower(next, LOOK_LATER);
            }
            Phase::Term { .. } => {
                live.phase = Phase::Kill { since: now, told: Told::No };
                live.look_every = LOOK_FIRST;
                self.kill(key, now, host);
            }
            Phase::Kill { .. } => self.kill(key, now, host),
        }
    }

    /// Kills all of a job that can be found, once. Whether that was all, the next look says.
    fn kill(&mut self, key: &str, now: Duration, host: &mut impl Host) {
        let Some(live) = self.live_mut(key) else { return };
        let pids = if is_mutant!(KillNeverFollowsTerm) { Vec::new() } else { host.kill(key) };
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
            reached!(JobCannotBeKilled);
            host.say(format_args!("{key}: can't be killed: {pids:?}"));
            host.tell(&Event::Stuck { key: key.to_owned(), pids });
        }
        live.wake_slower(next, LOOK_STUCK);
    }

    /// Nothing is left of a job: that is written down, and its end told.
    fn finish(&mut self, key: &str, now: Duration, host: &mut impl Host) {
        let Some(live) = self.live_mut(key) else { return };
        let Some(ended) = live.ended() else { return };
        if live.is_stuck() {
            reached!(UnkillableJobEnded);
        }
        // How many had to be killed, where any had.
        let counted = if live.leftovers.is_empty() { Ok(()) } else { host.write(key, &Entry::Ended(ended.clone())) };
        // Without this entry the next supervisor looks for leftovers once more, and finds none.
        counted.and_then(|()| host.write(key, &Entry::Clean)).ok();
        host.release(key);
        if self.active.is_none() {
            reached!(JobEndedWithoutAWorker);
        }
        host.tell(&ended.event());
        self.jobs.insert(key.to_owned(), Job::Ended(ended));
        self.sync_later(key, now);
    }
}

impl super::job::Live {
    fn wake_slower(&mut self, at: Duration, slowest: Duration) {
        self.wake_at = Some(at);
        self.look_every = (self.look_every * 2).clamp(LOOK_FIRST, slowest);
    }
}
