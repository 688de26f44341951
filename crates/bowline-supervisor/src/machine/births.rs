//! From a request to start to the first process's end: what is written down before what.

use std::time::Duration;

use rustix::io::Errno;

use super::job::{Live, Phase, Started};
use super::{Host, Machine, Report};
use crate::records::{Begun, Entry, Spawned};
use crate::wire::{Ended, Event, Exit, Exited, Start, StartFailed, Step, is_valid_key};

impl Machine {
    /// Starts a job. Where that fails, nothing is left of it.
    pub(super) fn launch(&mut self, start: &Start, now: Duration, host: &mut impl Host) -> Result<Live, StartFailed> {
        let at = |(step, errno)| StartFailed { key: start.key.clone(), step, errno };
        if !is_valid_key(&start.key) || start.argv.is_empty() || start.argv[0].is_empty() {
            return Err(at((Step::Input, Errno::INVAL.raw_os_error())));
        }
        self.births += 1;
        let mark = format!("{}:{}:{}:{}", self.id, start.key, now.as_nanos(), self.births);
        let unwritten = |error: std::io::Error| at((Step::Record, error.raw_os_error().unwrap_or(0)));
        host.reserve(self.jobs.len() + 1).map_err(unwritten)?;
        let prepared = host.prepare(start).map_err(at)?;
        let begun = Begun {
            key: start.key.clone(),
            boot_id: self.boot_id.clone(),
            mark: mark.clone(),
            cgroup: prepared.cgroup,
            at: now,
        };
        let written = if is_mutant!(JobNotRecorded) { Ok(()) } else { host.write(&start.key, &Entry::Begun(begun)) };
        if let Err(error) = written {
            host.release(&start.key);
            return Err(unwritten(error));
        }
        if let Err(failure) = spawn(start, &mark, host) {
            host.release(&start.key);
            // Where it stays, the next supervisor tells the job as lost, which it is.
            host.remove(&start.key).ok();
            return Err(at(failure));
        }
        Ok(self.newborn(start, now))
    }

    fn newborn(&self, start: &Start, now: Duration) -> Live {
        let mut live = Live {
            key: start.key.clone(),
            run_limit: start.run_limit,
            lease: start.lease.clone(),
            stop_after: start.stop_after,
            renewed_at: self.leases.get(&start.lease).copied().unwrap_or(now),
            grace: start.grace,
            phase: Phase::Starting,
            report: None,
            started: None,
            stopped: None,
            end: None,
            leftovers: Vec::new(),
            wake_at: None,
            look_every: Duration::ZERO,
        };
        live.wake_at = live.next_limit();
        live
    }

    /// A new process has said all that it has to say.
    pub fn reported(&mut self, key: &str, report: Report, now: Duration, host: &mut impl Host) {
        let Some(live) = self.live_mut(key) else { return };
        live.report = Some(report);
        if report != Report::Started {
            return;
        }
        let pid = host.first(key);
        live.started = Some(Started { pid, at: now });
        if live.phase == Phase::Starting {
            live.phase = Phase::Running;
            live.wake_at = live.next_limit();
        } else {
            // It was born while TERM went round.
            reached!(BornWhileBeingStopped);
            host.term(key);
        }
        host.tell(&Event::Started { key: key.to_owned(), pid, started_at: now });
    }

    /// The first process has ended, and whoever keeps it says so: that is written down.
    pub fn ended(&mut self, key: &str, exit: Exit, now: Duration, host: &mut impl Host) {
        if self.write_end(key, exit, now, host) == Written::Now {
            self.settle(key, now, host);
        }
    }

    /// The supervisor's own child has ended, the first process or its keeper: the job's end is written
    /// down, unless it is already, and then the child is reaped.
    pub fn over(&mut self, key: &str, exit: Exit, now: Duration, host: &mut impl Host) {
        if self.live_mut(key).is_some() {
            self.write_end(key, exit, now, host);
            host.reap(key);
            self.settle(key, now, host);
        }
    }

    fn write_end(&mut self, key: &str, exit: Exit, now: Duration, host: &mut impl Host) -> Written {
        let Some(live) = self.live_mut(key).filter(|live| live.is_main_alive()) else { return Written::Before };
        let mut ended = ended(live, exit, now);
        if let Err(error) = host.write(key, &Entry::Ended(ended.clone())) {
            host.say(format_args!("{key}: its end could not be written down: {error}"));
            if let Ended::Exited(exited) = &mut ended {
                exited.recorded = false;
            }
        }
        live.end = Some(ended);
        Written::Now
    }
}

/// Whether the end of a first process was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Now,
    Before,
}

/// Makes the first process and writes down who it is; without that it may not live.
fn spawn(start: &Start, mark: &str, host: &mut impl Host) -> Result<Spawned, super::Failure> {
    let spawned = host.spawn(start, mark)?;
    let written = host.write(&start.key, &Entry::Spawned(spawned));
    written.map(|()| spawned).map_err(|error| (Step::Record, error.raw_os_error().unwrap_or(0)))
}

fn ended(live: &Live, exit: Exit, now: Duration) -> Ended {
    let failed = |step, errno| Ended::StartFailed(StartFailed { key: live.key.clone(), step, errno });
    match live.report {
        Some(Report::Failed(step, errno)) => failed(step, errno),
        None | Some(Report::Died) if live.stopped.is_none() => failed(Step::Setup, 0),
        None | Some(Report::Died | Report::Started) => Ended::Exited(Exited {
            key: live.key.clone(),
            exit,
            stopped: live.stopped,
            started_at: live.started.map_or(now, |started| started.at),
            ended_at: now,
            leftovers: 0,
            recorded: true,
        }),
    }
}
