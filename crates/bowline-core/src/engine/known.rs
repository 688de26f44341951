//! Which idempotency keys may be in the store: one that surely is not there need not be looked for.

use std::collections::HashSet;

use crate::mutant::{self, Mutant};
use crate::row::key_hash;

use super::park::KeyName;

/// More keys are not remembered: each takes up to 18 bytes.
const KEYS_MAX: usize = 2 << 20;

/// All keys that were in the store at the take-over, and that came since. Those that were removed since stay.
#[derive(Debug, Default)]
pub(super) struct KnownKeys {
    /// `None`: there are too many, or nobody said which there are. Only looked up, never gone through.
    all: Option<HashSet<u64>>,
}

impl KnownKeys {
    /// What the store has at the take-over.
    pub(super) fn load(&mut self, hashes: Vec<u64>) {
        self.all = Some(hashes.into_iter().collect());
    }

    /// One more.
    pub(super) fn note(&mut self, (namespace, key): &KeyName) {
        if mutant::is(Mutant::NewKeysNotNoted) {
            return;
        }
        if let Some(all) = &mut self.all {
            all.insert(key_hash(namespace.as_str(), key));
            if all.len() > KEYS_MAX {
                self.all = None;
            }
        }
    }

    /// Whether the store may have it.
    pub(super) fn may_have(&self, (namespace, key): &KeyName) -> bool {
        self.all.as_ref().is_none_or(|all| all.contains(&key_hash(namespace.as_str(), key)))
    }
}
