//! `explain` is held to its word: on copies of each cluster, in which what it says keeps a task is removed.

use bowline_core::id::TaskRef;
use bowline_core::probe;

use super::Drive;
use crate::check::Invariant;
use crate::fork::Fork;
use crate::fork::remedy::{Word, hold_to_its_word};
use crate::process::ClusterId;

/// So many tasks of each cluster are asked about at one moment: each costs a copy of its own.
const ASKED_MAX: usize = 4;

impl Drive {
    /// Asks about some of what waits now. The world itself is not touched.
    pub(super) fn hold_to_its_word(&mut self) {
        for cluster in (0..self.shape.clusters).map(ClusterId) {
            for unit in self.asked_about(cluster) {
                let store = &self.world.clusters[cluster.0 as usize].store;
                let word = probe::unseen(|| Fork::of(store).map(|mut fork| hold_to_its_word(&mut fork, unit)));
                if let Some(Word::Broken(lie)) = word {
                    let at = self.world.now;
                    self.check().found.add(at, Invariant::Explain, || format!("in cluster {}: {lie}", cluster.0));
                    return;
                }
            }
        }
    }

    /// Some of what waits, from the first to the last.
    fn asked_about(&self, cluster: ClusterId) -> Vec<TaskRef> {
        let store = &self.world.clusters[cluster.0 as usize].store;
        let waiting = probe::unseen(|| Fork::of(store).map(|mut fork| fork.waiting()).unwrap_or_default());
        let step = waiting.len().div_ceil(ASKED_MAX).max(1);
        waiting.into_iter().step_by(step).collect()
    }
}
