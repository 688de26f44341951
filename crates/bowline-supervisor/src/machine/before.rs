//! What an earlier supervisor left: how its jobs ended, and what of them could not be killed.

use std::collections::BTreeSet;
use std::time::Duration;

use super::job::Job;
use super::stop::LOOK_STUCK;
use super::{Host, Machine};
use crate::records::Loaded;
use crate::wire::LostWhy;

/// What was taken over from supervisors of other versions.
#[derive(Debug, Default)]
pub struct TakenOver {
    /// Their records, which are this one's own now.
    pub records: Vec<Loaded>,
    /// Jobs of which something could not be killed.
    pub stuck: BTreeSet<String>,
}

/// What is known of a job whose supervisor is gone.
pub(super) fn job_of(record: &Loaded, boot_id: &str) -> Job {
    match &record.ended {
        Some(ended) => Job::Ended(ended.clone()),
        None if record.begun.boot_id == boot_id => Job::Lost(LostWhy::SupervisorDied),
        None => Job::Lost(LostWhy::Rebooted),
    }
}

impl Machine {
    /// Tries again to kill what could not be killed of jobs whose supervisor is gone; tells the loss of
    /// those of which nothing is left now.
    pub(super) fn look_at_stuck_before(&mut self, now: Duration, host: &mut impl Host) {
        let mut gone = Vec::new();
        for key in &self.stuck_before {
            if host.kill_earlier(key).is_empty() {
                gone.push(key.clone());
            }
        }
        for key in gone {
            reached!(EarlierJobGoneAtLast);
            self.stuck_before.remove(&key);
            if let Some(job) = self.jobs.get(&key) {
                host.tell(&job.event(&key));
            }
        }
        self.look_before_at = (!self.stuck_before.is_empty()).then(|| now + LOOK_STUCK);
    }

    /// Looks whether a supervisor of another version is gone meanwhile.
    pub(super) fn take_over_others(&mut self, now: Duration, host: &mut impl Host) {
        let taken = host.take_over();
        for record in taken.records {
            let job = job_of(&record, &self.boot_id);
            self.jobs.entry(record.begun.key).or_insert(job);
        }
        self.stuck_before.extend(taken.stuck);
        if !self.stuck_before.is_empty() {
            self.look_before_at.get_or_insert(now);
        }
    }
}
