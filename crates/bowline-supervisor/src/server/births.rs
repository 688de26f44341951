//! From the first process's birth to its end: the stage's report, and how it ended.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::epoll;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::job::{Job, Live, MainEnd, Phase, Reaped, exit_of};
use super::{Server, end_token, exit_token, members, report_token};
use crate::records::Entry;
use crate::stage::Report;
use crate::wire::{Ended, Event, Exit, Exited, StartFailed, Step};
use crate::{keeper, procs};

/// A longer report is none.
const REPORT_BYTES_MAX: usize = 64;

impl Server {
    /// Takes a newborn job into the loop.
    pub(super) fn watch(&mut self, live: Live) -> Result<(), StartFailed> {
        let number = live.number;
        let added = live.main.report.as_ref().map_or(Ok(()), |report| {
            epoll::add(&self.epoll, &report.pipe, report_token(number), epoll::EventFlags::IN)
        });
        let added = live.main.kept.as_ref().map_or(added, |kept| {
            added.and_then(|()| epoll::add(&self.epoll, &kept.end, end_token(number), epoll::EventFlags::IN))
        });
        let added =
            added.and_then(|()| epoll::add(&self.epoll, &live.main.pidfd, exit_token(number), epoll::EventFlags::IN));
        let key = live.key.clone();
        self.by_number.insert(number, key.clone());
        self.jobs.insert(key.clone(), Job::Live(Box::new(live)));
        if let Err(error) = added {
            // Without these nobody would hear of its end: it goes with the supervisor's.
            self.log.say(format_args!("{key}: can't be watched: {error}"));
            self.jobs.remove(&key);
            self.by_number.remove(&number);
            return Err(StartFailed { key, step: Step::Spawn, errno: error.raw_os_error() });
        }
        Ok(())
    }

    /// Reads a stage's report as far as it has come.
    pub(super) fn on_report(&mut self, key: &str, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        let Some(report) = read_report(live) else { return };
        live.report = Some(report);
        live.main.report = None;
        if report == Report::Started {
            live.started_at = Some(now);
            if let Some(kept) = &mut live.main.kept {
                let first = procs::children_of(live.main.process.pid).first().copied();
                kept.first = first.and_then(procs::process);
            }
            let pid = live.first().pid;
            if live.phase == Phase::Starting {
                live.phase = Phase::Running;
                live.wake_at = live.next_limit();
            } else {
                // It was born while TERM went round.
                self.term(key);
            }
            self.emit(&Event::Started { key: key.to_owned(), pid, started_at: now });
        }
    }

    /// A keeper tells the end of the first process.
    pub(super) fn on_end(&mut self, key: &str, now: Duration) {
        self.on_report(key, now);
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        let Some(kept) = live.main.kept.as_mut() else { return };
        let mut bytes = [0; keeper::END_BYTES];
        // So few bytes come whole or not at all.
        let told = kept.end.read_exact(&mut bytes).is_ok();
        epoll::delete(&self.epoll, &kept.end).ok();
        if told && live.is_main_alive() {
            self.main_ended(key, keeper::decode(bytes), now);
            self.settle(key, now);
        }
    }

    /// A first process, or a keeper, has ended: the job's end is written down, then it is reaped.
    pub(super) fn on_exit(&mut self, key: &str, now: Duration) {
        // What a keeper told comes before its own end.
        self.on_end(key, now);
        self.on_report(key, now);
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        if live.main.reaped == Reaped::Yes {
            return;
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let Ok(Some(status)) = waitid(WaitId::PidFd(live.main.pidfd.as_fd()), look) else { return };
        if live.is_main_alive() {
            self.main_ended(key, exit_of(&status), now);
        }
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        epoll::delete(&self.epoll, &live.main.pidfd).ok();
        waitid(WaitId::PidFd(live.main.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
        live.main.reaped = Reaped::Yes;
        self.settle(key, now);
    }

    /// Writes down how the first process ended.
    fn main_ended(&mut self, key: &str, exit: Exit, now: Duration) {
        let Some(Job::Live(live)) = self.jobs.get_mut(key) else { return };
        let mut ended = ended(live, exit, now);
        if let Err(error) = live.record.add(&Entry::Ended(ended.clone())) {
            self.log.say(format_args!("{key}: its end could not be written down: {error}"));
            if let Ended::Exited(exited) = &mut ended {
                exited.recorded = false;
            }
        }
        live.end = Some(MainEnd { ended });
    }

    /// Reaps what jobs left behind and what has ended since.
    pub(super) fn reap_orphans(&mut self) {
        for pid in members::foreign_children(&self.jobs).unwrap_or_default() {
            if let Some(pid) = procs::to_pid(pid) {
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
            }
        }
    }
}

/// The report, when it is complete.
fn read_report(live: &mut Live) -> Option<Report> {
    let report = live.main.report.as_mut()?;
    let mut buffer = [0; REPORT_BYTES_MAX];
    loop {
        match report.pipe.read(&mut buffer) {
            Ok(0) => return Some(Report::parse(&report.bytes)),
            Ok(count) if report.bytes.len() + count <= REPORT_BYTES_MAX => {
                report.bytes.extend_from_slice(&buffer[..count]);
            }
            Ok(_) => return Some(Report::Died),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
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
            started_at: live.started_at.unwrap_or(now),
            ended_at: now,
            leftovers: 0,
            recorded: true,
        }),
    }
}
