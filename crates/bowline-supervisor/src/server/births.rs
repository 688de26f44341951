//! From the first process's birth to its end: the new process's report, and how it ended.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::epoll;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::Server;
use super::body::{Body, First, Reaped, exit_of};
use crate::machine::Report;
use crate::wire::Exit;
use crate::{keeper, procs};

/// A longer report is none.
const REPORT_BYTES_MAX: usize = 64;

impl Server {
    /// Reads a new process's report as far as it has come.
    pub(super) fn on_report(&mut self, key: &str, now: Duration) {
        let Some(body) = self.hands.bodies.get_mut(key) else { return };
        let Some(report) = read_report(body) else { return };
        if let Some(done) = body.main.report.take() {
            // A process that is just being born has a copy of it: closing this one alone would not silence it.
            epoll::delete(&self.hands.epoll, &done.pipe).ok();
        }
        if report == Report::Started
            && let Some(kept) = &mut body.main.kept
        {
            let first = procs::children_of(body.main.process.pid).first().copied();
            kept.first = first.and_then(procs::process);
        }
        self.machine.reported(key, report, now, &mut self.hands);
    }

    /// A keeper tells the end of the first process.
    pub(super) fn on_end(&mut self, key: &str, now: Duration) {
        self.on_report(key, now);
        let Some(body) = self.hands.bodies.get_mut(key) else { return };
        let Some(kept) = body.main.kept.as_mut() else { return };
        let mut bytes = [0; keeper::END_BYTES];
        // So few bytes come whole or not at all.
        let told = kept.end.read_exact(&mut bytes).is_ok();
        epoll::delete(&self.hands.epoll, &kept.end).ok();
        if told {
            body.first = First::Ended;
            self.machine.ended(key, keeper::decode(bytes), now, &mut self.hands);
        }
    }

    /// A first process, or a keeper, has ended.
    pub(super) fn on_exit(&mut self, key: &str, now: Duration) {
        // What a keeper told comes before its own end.
        self.on_end(key, now);
        self.on_report(key, now);
        let Some(body) = self.hands.bodies.get_mut(key) else { return };
        if let Some(exit) = seen_exit(body) {
            body.first = First::Ended;
            self.machine.over(key, exit, now, &mut self.hands);
        }
    }
}

/// How the supervisor's child ended, which is not reaped by this.
fn seen_exit(body: &Body) -> Option<Exit> {
    if body.main.reaped == Reaped::Yes {
        return None;
    }
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(body.main.pidfd.as_fd()), look).ok().flatten().map(|status| exit_of(&status))
}

/// The report, when it is complete.
fn read_report(body: &mut Body) -> Option<Report> {
    let report = body.main.report.as_mut()?;
    let mut buffer = [0; REPORT_BYTES_MAX];
    loop {
        match report.pipe.read(&mut buffer) {
            Ok(0) => return Some(Report::of(&report.bytes, report.cradle.as_ref())),
            Ok(count) if report.bytes.len() + count <= REPORT_BYTES_MAX => {
                report.bytes.extend_from_slice(&buffer[..count]);
            }
            Ok(_) => return Some(Report::Died),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
