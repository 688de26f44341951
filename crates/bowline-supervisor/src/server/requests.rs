//! What a worker's requests do.

use std::time::Duration;

use rustix::io::Errno;

use super::job::{Job, Live};
use super::launch::has_room;
use super::{Server, members};
use crate::procs::Process;
use crate::records;
use crate::wire::{Ended, Event, Refusal, Request, ShutdownMode, Start, StartFailed, Step, StopReason, is_valid_key};

/// Lease groups, at most: a worker has one for each of its servers.
const LEASES_MAX: usize = 64;

impl Server {
    pub(super) fn handle(&mut self, request: Request, now: Duration) {
        match request {
            Request::Start(start) => self.start(*start, now),
            Request::Kill { key, grace } => match self.jobs.get(&key) {
                Some(Job::Live(_)) => self.stop(&key, StopReason::Asked, grace, now),
                // It ended while the request was under way: its end was told.
                Some(Job::Ended(_) | Job::Lost(_)) => {}
                None => self.refuse(key, Refusal::UnknownKey),
            },
            Request::List => self.list(),
            Request::Forget { key } => self.forget(key),
            Request::Shutdown(mode) => self.leave(mode, now),
            Request::Ping => self.emit(&Event::Pong),
            Request::Renew { lease, sent_at } => self.renew(&lease, sent_at.min(now)),
        }
    }

    fn start(&mut self, start: Start, now: Duration) {
        if self.leaving.is_some() {
            return self.refuse(start.key, Refusal::Leaving);
        }
        if self.jobs.contains_key(&start.key) {
            return self.refuse(start.key, Refusal::KeyInUse);
        }
        let key = start.key.clone();
        let born = if has_room(self.by_number.len()) {
            let renewed_at = self.leases.get(&start.lease).copied().unwrap_or(now);
            self.launcher.launch(start, now).and_then(|mut live| {
                live.renewed_at = renewed_at;
                live.wake_at = live.next_limit();
                self.watch(live)
            })
        } else {
            Err(StartFailed { key: key.clone(), step: Step::Spawn, errno: Errno::MFILE.raw_os_error() })
        };
        if let Err(failed) = born {
            self.emit(&Event::StartFailed(failed.clone()));
            if is_valid_key(&key) {
                // Only in memory: a worker that comes anew hears of it while this supervisor lives.
                self.jobs.insert(key, Job::Ended(Ended::StartFailed(failed)));
            }
        }
    }

    /// A heartbeat was answered: the group's jobs may run on from when it was sent.
    fn renew(&mut self, lease: &str, sent_at: Duration) {
        if self.leases.len() >= LEASES_MAX && !self.leases.contains_key(lease) {
            self.log.say("too many lease groups; a renewal is passed over");
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

    fn list(&mut self) {
        self.take_over_others();
        // A job of which something is left is not over, whoever started it.
        let event = |key: &String, job: &Job| {
            if self.stuck_before.contains_key(key) { Event::Starting { key: key.clone() } } else { job.event(key) }
        };
        let events: Vec<Event> = self.jobs.iter().map(|(key, job)| event(key, job)).collect();
        for event in &events {
            self.emit(event);
        }
        for event in self.stuck() {
            self.emit(&event);
        }
        let live = u32::try_from(self.lives().count()).unwrap_or(u32::MAX);
        let ended = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX).saturating_sub(live);
        self.emit(&Event::Listed { live, ended, damaged: self.damaged.clone() });
    }

    /// What can't be killed, of this supervisor's jobs and of an earlier one's.
    fn stuck(&self) -> Vec<Event> {
        let own = self.lives().filter(|live| live.phase.is_stuck()).map(|live| {
            let pids = members::of(&self.jobs, live).iter().map(|process| process.pid).collect();
            Event::Stuck { key: live.key.clone(), pids }
        });
        let pids = |processes: &[Process]| processes.iter().map(|process| process.pid).collect();
        let earlier = self.stuck_before.iter().map(|(key, left)| Event::Stuck { key: key.clone(), pids: pids(left) });
        own.chain(earlier).collect()
    }

    fn forget(&mut self, key: String) {
        match self.jobs.get(&key) {
            None => {}
            Some(Job::Live(_)) => self.refuse(key, Refusal::StillAlive),
            Some(_) if self.stuck_before.contains_key(&key) => self.refuse(key, Refusal::StillAlive),
            Some(Job::Ended(_) | Job::Lost(_)) => {
                if let Err(error) = records::remove(&self.launcher.state_dir, &key) {
                    self.log.say(format_args!("{key}: its record could not be removed: {error}"));
                }
                self.jobs.remove(&key);
            }
        }
    }

    /// Takes no more jobs, and leaves when none is left.
    pub(super) fn leave(&mut self, mode: ShutdownMode, now: Duration) {
        self.log.say(format_args!("told to leave: {mode:?}"));
        self.leaving = Some(mode);
        if mode == ShutdownMode::StopJobs {
            let jobs: Vec<(String, Duration)> = self.lives().map(|live| (live.key.clone(), live.grace)).collect();
            for (key, grace) in jobs {
                self.stop(&key, StopReason::Shutdown, grace, now);
            }
        }
    }

    /// Told for the second time: nobody wants to wait for anybody's grace.
    pub(super) fn leave_at_once(&mut self, now: Duration) {
        let keys: Vec<String> = self.lives().map(|live| live.key.clone()).collect();
        for key in keys {
            self.stop(&key, StopReason::Shutdown, Duration::ZERO, now);
        }
    }

    fn refuse(&mut self, key: String, why: Refusal) {
        self.emit(&Event::Refused { key: Some(key), why });
    }

    pub(super) fn lives(&self) -> impl Iterator<Item = &Live> {
        self.jobs.values().filter_map(|job| match job {
            Job::Live(live) => Some(&**live),
            Job::Ended(_) | Job::Lost(_) => None,
        })
    }
}
