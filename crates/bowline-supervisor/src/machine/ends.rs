//! Ends that are to outlive the machine: synced in groups, one sync for all that ended since the last.
//!
//! A worker that is there keeps an end in its own outbox, and says so (`Forget`), mostly before a second is
//! over: then there is nothing to be synced. What it leaves, and everything that ends while no worker is
//! there, is synced in one go, beside the loop: a disk that takes its time holds up no deadline. One end
//! waits a moment for others: jobs that end together share a sync on a disk of any speed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::job::Job;
use super::{Host, Machine};
use crate::wire::Ended;

/// A worker has so long to keep an end itself.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// Where no worker is there, an end waits so long for others.
const GROUP_FOR: Duration = Duration::from_millis(100);
/// After a sync that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Which ends are not known to be synced.
#[derive(Debug, Default)]
pub(super) struct Ends {
    waiting: BTreeSet<String>,
    /// When those that wait are synced.
    due_at: Option<Duration>,
    /// Being synced.
    under_way: Option<BTreeSet<String>>,
}

impl Ends {
    fn add(&mut self, key: &str, due_at: Duration) {
        self.waiting.insert(key.to_owned());
        self.due_at = Some(self.due_at.map_or(due_at, |at| at.min(due_at)));
    }

    /// Nobody else will keep those that wait.
    pub(super) fn hurry(&mut self, now: Duration) {
        if !self.waiting.is_empty() {
            self.due_at = Some(now);
        }
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.waiting.remove(key);
        if self.waiting.is_empty() {
            self.due_at = None;
        }
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        if self.under_way.is_some() { None } else { self.due_at }
    }
}

impl Machine {
    /// A job has ended, and that is told.
    pub(super) fn sync_later(&mut self, key: &str, now: Duration) {
        let after = if self.active.is_some() { SYNC_AFTER } else { GROUP_FOR };
        self.ends.add(key, now + after);
    }

    /// Syncs all that wait, where it is time.
    pub(super) fn sync_ends(&mut self, now: Duration, host: &mut impl Host) {
        if self.ends.next_at().is_none_or(|at| at > now) {
            return;
        }
        let ended = |key: &String| match self.jobs.get(key) {
            Some(Job::Ended(ended)) => Some(ended.clone()),
            Some(Job::Live(_) | Job::Lost(_)) | None => None,
        };
        let ends: Vec<Ended> = self.ends.waiting.iter().filter_map(ended).collect();
        match host.sync(&ends) {
            Ok(()) => {
                self.ends.under_way = Some(std::mem::take(&mut self.ends.waiting));
                self.ends.due_at = None;
            }
            Err(error) => {
                host.say(format_args!("{} ends could not be synced: {error}", ends.len()));
                self.ends.due_at = Some(now + RETRY_AFTER);
            }
        }
    }

    /// A sync has come to its end.
    pub fn synced(&mut self, result: std::io::Result<()>, now: Duration, host: &mut impl Host) {
        let Some(keys) = self.ends.under_way.take() else { return };
        match result {
            Ok(()) => host.say(format_args!("synced the ends of {} jobs", keys.len())),
            Err(error) => {
                reached!(EndsNotSynced);
                host.say(format_args!("the ends of {} jobs could not be synced: {error}", keys.len()));
                for key in keys.iter().filter(|key| self.jobs.contains_key(*key)) {
                    self.ends.add(key, now + RETRY_AFTER);
                }
            }
        }
    }
}
