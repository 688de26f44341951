//! What a worker's requests do.

use std::time::Duration;

use super::job::{Job, Live};
use super::stop::Stop;
use super::{Host, Machine};
use crate::wire::{Ended, Event, Refusal, Request, ShutdownMode, Start, StopReason, is_valid_key};

/// Lease groups, at most: a worker has one for each of its servers.
const LEASES_MAX: usize = 64;

impl Machine {
    /// Does what the worker asks.
    pub fn request(&mut self, request: Request, now: Duration, host: &mut impl Host) {
        match request {
            Request::Start(start) => self.start(&start, now, host),
            Request::Kill { key, grace } => match self.jobs.get(&key) {
                Some(Job::Live(_)) => self.stop(&key, Stop { reason: StopReason::Asked, grace }, now, host),
                // It ended while the request was under way: its end was told.
                Some(Job::Ended(_) | Job::Lost(_)) => reached!(KillCrossingEnd),
                None => refuse(key, Refusal::UnknownKey, host),
            },
            Request::List => self.list(now, host),
            Request::Forget { key } => self.forget(key, host),
            Request::Shutdown(mode) => self.leave(mode, now, host),
            Request::Ping => host.tell(&Event::Pong),
            Request::Renew { lease, sent_at } => self.renew(&lease, sent_at.min(now), host),
        }
    }

    fn start(&mut self, start: &Start, now: Duration, host: &mut impl Host) {
        if self.leaving.is_some() {
            return refuse(start.key.clone(), Refusal::Leaving, host);
        }
        if self.jobs.contains_key(&start.key) && !is_mutant!(KeyStartedTwice) {
            return refuse(start.key.clone(), Refusal::KeyInUse, host);
        }
        match self.launch(start, now, host) {
            Ok(live) => {
                self.jobs.insert(start.key.clone(), Job::Live(Box::new(live)));
            }
            Err(failed) => {
                host.tell(&Event::StartFailed(failed.clone()));
                if is_valid_key(&start.key) {
                    // Only in memory: a worker that comes anew hears of it while this supervisor lives.
                    self.jobs.insert(start.key.clone(), Job::Ended(Ended::StartFailed(failed)));
                }
            }
        }
    }

    /// A heartbeat was answered: the group's jobs may run on from when it was sent.
    fn renew(&mut self, lease: &str, sent_at: Duration, host: &mut impl Host) {
        if self.leases.len() >= LEASES_MAX && !self.leases.contains_key(lease) {
            host.say(format_args!("too many lease groups; a renewal is passed over"));
            return;
        }
        let newest = self.leases.entry(lease.to_owned()).or_insert(sent_at);
        *newest = sent_at.max(*newest);
        let newest = *newest;
        for job in self.jobs.values_mut() {
            if let Job::Live(live) = job
                && live.lease == lease
            {
                live.renewed_at = newest.max(live.renewed_at);
                if live.phase.may_run() {
                    live.wake_at = live.next_limit();
                }
            }
        }
    }

    fn list(&mut self, now: Duration, host: &mut impl Host) {
        self.take_over_others(now, host);
        for (key, job) in &self.jobs {
            if job.live().is_some() && is_mutant!(ListOmitsTheLiving) {
                continue;
            }
            // A job of which something is left is not over, whoever started it.
            let is_stuck = self.stuck_before.contains(key);
            host.tell(&if is_stuck { Event::Starting { key: key.clone() } } else { job.event(key) });
        }
        // What can't be killed, of this supervisor's jobs and of an earlier one's.
        for live in self.lives().filter(|live| live.is_stuck()) {
            let pids = host.processes(&live.key);
            host.tell(&Event::Stuck { key: live.key.clone(), pids });
        }
        for key in &self.stuck_before {
            let pids = host.earlier(key);
            host.tell(&Event::Stuck { key: key.clone(), pids });
        }
        let live = u32::try_from(self.lives().count()).unwrap_or(u32::MAX);
        let ended = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX).saturating_sub(live);
        host.tell(&Event::Listed { live, ended, damaged: self.damaged.clone() });
    }

    fn forget(&mut self, key: String, host: &mut impl Host) {
        match self.jobs.get(&key) {
            None => {}
            Some(Job::Live(_)) => refuse(key, Refusal::StillAlive, host),
            Some(_) if self.stuck_before.contains(&key) => refuse(key, Refusal::StillAlive, host),
            Some(Job::Ended(_) | Job::Lost(_)) => {
                if let Err(error) = host.remove(&key) {
                    host.say(format_args!("{key}: its record could not be removed: {error}"));
                }
                self.ends.forget(&key);
                self.jobs.remove(&key);
            }
        }
    }

    /// Takes no more jobs, and leaves when none is left.
    pub fn leave(&mut self, mode: ShutdownMode, now: Duration, host: &mut impl Host) {
        host.say(format_args!("told to leave: {mode:?}"));
        self.leaving = Some(mode);
        if mode == ShutdownMode::StopJobs {
            self.stop_all(now, |live| live.grace, host);
        }
    }

    /// A signal says to end: stop the jobs. Told for the second time, nobody wants to wait for anybody's
    /// grace.
    pub fn told_to_end(&mut self, now: Duration, host: &mut impl Host) {
        if self.leaving == Some(ShutdownMode::StopJobs) {
            self.stop_all(now, |_| Duration::ZERO, host);
        } else {
            self.leave(ShutdownMode::StopJobs, now, host);
        }
    }

    fn stop_all(&mut self, now: Duration, grace: fn(&Live) -> Duration, host: &mut impl Host) {
        let jobs: Vec<(String, Duration)> = self.lives().map(|live| (live.key.clone(), grace(live))).collect();
        for (key, grace) in jobs {
            self.stop(&key, Stop { reason: StopReason::Shutdown, grace }, now, host);
        }
    }
}

fn refuse(key: String, why: Refusal, host: &mut impl Host) {
    host.tell(&Event::Refused { key: Some(key), why });
}
