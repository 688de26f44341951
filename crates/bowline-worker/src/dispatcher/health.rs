//! Self-checks: the disk, the memory and the probe, each on its own clock. What is wrong is told to the server as
//! the worker's health, with its reason; nothing is claimed meanwhile; when it is right again, that is told too.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use bowline_supervisor::wire::{Event as Said, Exit, Exited, Request, Start, StopReason};

use super::{Dispatcher, Done, Timer, Trouble};
use crate::checks::Found;
use crate::config::JOB_PATH_DEFAULT;

/// What begins a probe's key: no attempt's does.
const PROBE: &str = "probe-";
/// A probe that was told to stop has so long to do it.
const PROBE_GRACE: Duration = Duration::from_secs(1);
/// So much of what a probe said is told, in bytes: its last.
const PROBE_SAID_BYTES: u64 = 300;

/// What is known of the probe.
#[derive(Debug, Default)]
pub(super) struct Probing {
    count: u64,
    /// The key of the one that runs.
    runs: Option<String>,
}

fn last_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(PROBE_SAID_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut said = Vec::new();
    file.take(PROBE_SAID_BYTES).read_to_end(&mut said)?;
    Ok(said)
}

/// Whether a job is a probe's.
pub(super) fn is_probe(key: &str) -> bool {
    key.starts_with(PROBE)
}

impl Dispatcher {
    /// Begins to check. What the first look found is known already.
    pub(super) fn begin_checks(&mut self, found: Found) {
        self.checked(found);
        if self.config.checks.probe.is_some() {
            self.trouble(Trouble::Probe, "its probe has not succeeded yet".to_owned());
        }
    }

    /// Why nothing may begin here now, whatever the server knows of it. `None`: it may.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        self.troubles.keys().find_map(|trouble| match trouble {
            Trouble::Disk => Some("the worker's disk has no room"),
            Trouble::Memory => Some("the worker has too little memory"),
            Trouble::Probe => Some("the worker's probe has not succeeded"),
            // What is here may begin: these keep the worker from taking more, or from going on.
            Trouble::Journal | Trouble::Supervisor | Trouble::Outbox => None,
        })
    }

    pub(super) fn check(&mut self) {
        let (checks, folder) = (self.config.checks.clone(), self.place.folder().to_owned());
        self.pool.submit(move || Done::Checked(checks.look(&folder)));
    }

    pub(super) fn checked(&mut self, found: Found) {
        for (trouble, why) in [(Trouble::Disk, found.disk), (Trouble::Memory, found.memory)] {
            match why {
                Some(why) => self.trouble(trouble, why),
                None => self.cleared(trouble),
            }
        }
        self.timers.after(self.config.checks.every, Timer::Check);
    }

    /// The supervisor is there: what it had of an earlier connection is not waited for.
    pub(super) fn probe_anew(&mut self) {
        if self.config.checks.probe.is_some() {
            self.probing.runs = None;
            self.probing.count += 1;
            self.timers.after(Duration::ZERO, Timer::Probe(self.probing.count));
        }
    }

    /// Has the probe run, where none runs.
    pub(super) fn probe(&mut self, number: u64) {
        let Some(probe) = &self.config.checks.probe else { return };
        if self.probing.runs.is_some() || number != self.probing.count {
            return;
        }
        let key = format!("{PROBE}{}-{number}", self.process);
        let log = self.place.probe_log();
        // What it says is short-lived: only the last one's is kept.
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what the last probe said cannot be removed");
            }
            _ => {}
        }
        let argv = ["/bin/sh", "-c", probe.command.as_str()].map(Into::into).into();
        let mut start = Start::new(&key, argv, self.place.folder().to_owned(), log);
        if !self.job_env.contains_key("PATH") {
            start.env.push(("PATH".into(), JOB_PATH_DEFAULT.into()));
        }
        start.env.extend(self.job_env.iter().map(|(name, value)| (name.into(), value.into())));
        start.run_limit = Some(probe.timeout);
        start.grace = PROBE_GRACE;
        self.probing.runs = Some(key);
        self.jobs.send(Request::Start(Box::new(start)));
    }

    /// Something happened to a probe, this process's or an earlier one's.
    pub(super) fn on_probe(&mut self, key: &str, said: &Said) {
        let is_own = self.probing.runs.as_deref() == Some(key);
        let why = match said {
            Said::Starting { .. } | Said::Started { .. } => {
                if !is_own {
                    self.jobs.send(Request::Kill { key: key.to_owned(), grace: Duration::ZERO });
                }
                return;
            }
            Said::Stuck { .. } => Some("its probe cannot be killed".to_owned()),
            Said::Exited(exited) => self.probe_failed(exited),
            Said::StartFailed(failed) => {
                let error = io::Error::from_raw_os_error(failed.errno);
                Some(format!("its probe could not be started: {} failed: {error}", failed.step))
            }
            Said::Lost { .. } | Said::Listed { .. } | Said::Refused { .. } | Said::Pong => {
                Some("nobody knows how its probe ended".to_owned())
            }
        };
        if !matches!(said, Said::Stuck { .. }) {
            self.jobs.send(Request::Forget { key: key.to_owned() });
        }
        if !is_own {
            return;
        }
        match why {
            Some(why) => self.trouble(Trouble::Probe, why),
            None => self.cleared(Trouble::Probe),
        }
        if !matches!(said, Said::Stuck { .. })
            && let Some(probe) = &self.config.checks.probe
        {
            self.probing.runs = None;
            self.probing.count += 1;
            self.timers.after(probe.every, Timer::Probe(self.probing.count));
        }
    }

    /// Why a probe that ended has failed.
    fn probe_failed(&self, exited: &Exited) -> Option<String> {
        let how = match (exited.stopped, exited.exit) {
            (None, Exit::Code(0)) => return None,
            (Some(StopReason::RunLimit), _) => "took too long".to_owned(),
            (_, Exit::Code(status)) => format!("ended with status {status}"),
            (_, Exit::Signal(signal)) => format!("was ended by signal {signal}"),
        };
        let said = last_bytes(&self.place.probe_log()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().replace('\n', " ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        Some(format!("its probe {how}{said}"))
    }
}
