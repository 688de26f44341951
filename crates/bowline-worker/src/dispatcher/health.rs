//! Self-checks: the disk, the memory and the probe, each on its own clock. What is wrong is told to the server as
//! the worker's health, with its reason; nothing is claimed meanwhile; when it is right again, that is told too.

use std::io;
use std::time::Duration;

use bowline_supervisor::wire::{Event as Said, Exit, Exited, Request, Start, StopReason};

use super::{Action, Dispatcher, Timer, Trouble};
use crate::checks::Found;
use crate::config::JOB_PATH_DEFAULT;
use crate::state_dir::probe_log;

/// What begins a probe's key: no attempt's does.
const PROBE: &str = "probe-";
/// A probe that was told to stop has so long to do it.
const PROBE_GRACE: Duration = Duration::from_secs(1);

/// What is known of the probe.
#[derive(Debug, Default)]
pub(super) struct Probing {
    count: u64,
    /// The key of the one that runs.
    runs: Option<String>,
    /// How the newest one failed, until it is known what it said.
    failed: Option<(String, String)>,
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
        self.want(Action::Check);
    }

    pub(super) fn checked(&mut self, found: Found) {
        for (trouble, why) in [(Trouble::Disk, found.disk), (Trouble::Memory, found.memory)] {
            match why {
                Some(why) => self.trouble(trouble, why),
                None => self.cleared(trouble),
            }
        }
        self.later(self.config.checks.every, Timer::Check);
    }

    /// The supervisor is there: what it had of an earlier connection is not waited for.
    pub(super) fn probe_anew(&mut self) {
        if self.config.checks.probe.is_some() {
            self.probing.runs = None;
            self.probing.count += 1;
            self.later(Duration::ZERO, Timer::Probe(self.probing.count));
        }
    }

    /// Has the probe run, where none runs.
    pub(super) fn probe(&mut self, number: u64) {
        let Some(probe) = &self.config.checks.probe else { return };
        if self.probing.runs.is_some() || number != self.probing.count {
            return;
        }
        let key = format!("{PROBE}{}-{number}", self.process);
        let log = probe_log(&self.folder);
        let argv = ["/bin/sh", "-c", probe.command.as_str()].map(Into::into).into();
        let mut start = Start::new(&key, argv, self.folder.clone(), log);
        if !self.job_env.contains_key("PATH") {
            start.env.push(("PATH".into(), JOB_PATH_DEFAULT.into()));
        }
        start.env.extend(self.job_env.iter().map(|(name, value)| (name.into(), value.into())));
        start.run_limit = Some(probe.timeout);
        start.grace = PROBE_GRACE;
        self.probing.runs = Some(key);
        self.want(Action::Probe(Box::new(start)));
    }

    /// Something happened to a probe, this process's or an earlier one's.
    pub(super) fn on_probe(&mut self, key: &str, said: &Said) {
        let is_own = self.probing.runs.as_deref() == Some(key);
        let why = match said {
            Said::Starting { .. } | Said::Started { .. } => {
                if !is_own {
                    self.ask(Request::Kill { key: key.to_owned(), grace: Duration::ZERO });
                }
                return;
            }
            Said::Stuck { .. } => Some("its probe cannot be killed".to_owned()),
            Said::Exited(exited) => {
                if let Some(how) = probe_failed(exited).filter(|_| is_own) {
                    // What it said is told when it is read; see `probe_said`.
                    if !self.troubles.contains_key(&Trouble::Probe) {
                        self.trouble(Trouble::Probe, format!("its probe {how}"));
                    }
                    self.probing.failed = Some((key.to_owned(), how));
                    self.want(Action::ReadProbe(key.to_owned()));
                    self.ask(Request::Forget { key: key.to_owned() });
                    return;
                }
                None
            }
            Said::StartFailed(failed) => {
                let error = io::Error::from_raw_os_error(failed.errno);
                Some(format!("its probe could not be started: {} failed: {error}", failed.step))
            }
            Said::Lost { .. } | Said::Listed { .. } | Said::Refused { .. } | Said::Pong => {
                Some("nobody knows how its probe ended".to_owned())
            }
        };
        if !matches!(said, Said::Stuck { .. }) {
            self.ask(Request::Forget { key: key.to_owned() });
        }
        if !is_own {
            return;
        }
        match why {
            Some(why) => self.trouble(Trouble::Probe, why),
            None => self.cleared(Trouble::Probe),
        }
        if !matches!(said, Said::Stuck { .. }) {
            self.next_probe();
        }
    }

    /// What the probe said that has failed.
    pub(super) fn probe_said(&mut self, key: &str, said: &str) {
        let Some((_, how)) = self.probing.failed.take_if(|(failed, _)| failed == key) else { return };
        let said = said.trim().replace('\n', " ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        self.trouble(Trouble::Probe, format!("its probe {how}{said}"));
        if self.probing.runs.as_deref() == Some(key) {
            self.next_probe();
        }
    }

    fn next_probe(&mut self) {
        let Some(probe) = &self.config.checks.probe else { return };
        let every = probe.every;
        self.probing.runs = None;
        self.probing.count += 1;
        self.later(every, Timer::Probe(self.probing.count));
    }
}

/// Why a probe that ended has failed.
fn probe_failed(exited: &Exited) -> Option<String> {
    Some(match (exited.stopped, exited.exit) {
        (None, Exit::Code(0)) => return None,
        (Some(StopReason::RunLimit), _) => "took too long".to_owned(),
        (_, Exit::Code(status)) => format!("ended with status {status}"),
        (_, Exit::Signal(signal)) => format!("was ended by signal {signal}"),
    })
}
