//! Commits at work.

use bowline_core::effect::Batch;
use bowline_core::id::Epoch;
use bowline_core::time::Timestamp;
use bowline_store::{CommitError, LeaderStore, MemoryStore, RetentionPolicy, RetentionStore, StoreError};

use super::{Due, World};
use crate::process::{ClusterId, Event, ProcId};
use crate::store::{Commit, Fate};

impl World {
    pub(crate) fn store(&self, cluster: ClusterId) -> MemoryStore {
        self.clusters[cluster.0 as usize].store.clone()
    }

    #[expect(clippy::too_many_arguments, reason = "a commit is all of these")]
    pub(crate) fn commit(&mut self, by: ProcId, cluster: ClusterId, epoch: Epoch, now: Timestamp, batch: Batch) {
        self.commit_count += 1;
        self.observer.commits(self.now, cluster, now);
        if let Some((at, number)) = self.wires.commits(self.now, by, &batch) {
            self.queue.push(at, Due::Other(number));
        }
        let number = self.commit_count << 8 | u64::from(cluster.0);
        let fate = self.clusters[cluster.0 as usize].next_fate.take().unwrap_or(Fate::Done);
        let commit = Commit { by: (by, self.life(by)), epoch, now, batch, fate };
        self.commits.insert(number, commit);
        let length = self.random.around(self.clusters[cluster.0 as usize].commit_us);
        self.queue.push(self.now + length, Due::Commit(number));
    }

    pub(crate) fn sweep(
        &mut self,
        by: ProcId,
        cluster: ClusterId,
        (epoch, now): (Epoch, Timestamp),
        policy: RetentionPolicy,
    ) {
        let result = self.store(cluster).sweep(epoch, now, &policy);
        if let Ok(swept) = &result {
            self.observer.swept(self.now, cluster, swept);
        }
        let (life, at) = (self.life(by), self.now + self.random.around(self.clusters[cluster.0 as usize].commit_us));
        self.queue.push(at, Due::Handle { proc: by, life, event: Event::Swept { result } });
    }

    /// What is under way towards this cluster's store never gets there: it was replaced.
    pub fn drop_commits(&mut self, cluster: ClusterId) {
        self.commits.retain(|number, _| number & 0xff != u64::from(cluster.0));
    }

    /// A commit is done, also where whoever asked for it is dead: it was on its way.
    pub(super) fn commit_due(&mut self, number: u64) {
        let Some(Commit { by: (proc, life), epoch, now, batch, fate }) = self.commits.remove(&number) else { return };
        let cluster = ClusterId(u32::try_from(number & 0xff).unwrap_or(0));
        let failed = || CommitError::Store(StoreError::new("committing", "the simulated store failed"));
        let result = match fate {
            Fate::Fails => Err(failed()),
            Fate::Done | Fate::DoneUnheard => self.store(cluster).commit(epoch, now, &batch),
        };
        if let Ok(commit) = &result {
            self.observer.committed(self.now, cluster, (epoch, *commit), &batch);
            let due = self.wires.committed(self.now, proc, &batch);
            if let Some((at, number)) = due {
                self.queue.push(at, Due::Other(number));
            }
        }
        if let Err(error) = &result
            && fate != Fate::Fails
        {
            self.observer.refused(self.now, cluster, error);
        }
        let result = if fate == Fate::DoneUnheard { result.and_then(|_| Err(failed())) } else { result };
        self.hand_over(proc, life, Event::Committed { result });
    }
}
