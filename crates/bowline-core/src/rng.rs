//! Seeded jitter. A draw depends on the seed and on what it is for, never on the order of draws, so
//! that replays and reloads draw the same. The mixer is public: the simulation draws by it too.

use std::time::Duration;

use crate::id::{AttemptRef, TaskRef};
use crate::spec::RetryPolicy;
use crate::time::micros;

/// One step of splitmix64 (Steele, Lea, Flood 2014): mixes well, and needs no state.
pub const fn splitmix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number that belongs to this attempt under this seed.
fn draw(seed: u64, attempt: &AttemptRef) -> u64 {
    let TaskRef { task, index } = attempt.task;
    let mut mixed = splitmix(seed ^ task.0);
    mixed = splitmix(mixed ^ index.map_or(u64::MAX, u64::from));
    splitmix(mixed ^ u64::from(attempt.fence.attempt.0) ^ (u64::from(attempt.fence.generation.0) << 32))
}

/// How long to wait after this attempt, the `failures`-th failed one of its round (from 1): the
/// first wait doubled each time up to the longest, of which half is fixed and half is drawn.
pub fn backoff(seed: u64, attempt: &AttemptRef, policy: &RetryPolicy, failures: u32) -> Duration {
    let longest = micros(policy.backoff_max.0).max(micros(policy.backoff.0));
    let doublings = failures.saturating_sub(1).min(62);
    let full = micros(policy.backoff.0).saturating_mul(1 << doublings).min(longest);
    let half = full / 2;
    let drawn = if half == 0 { 0 } else { draw(seed, attempt) % (half + 1) };
    Duration::from_micros(full - half + drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AttemptNo, Fence, Generation, TaskId};
    use crate::time::Span;

    fn attempt(no: u32) -> AttemptRef {
        AttemptRef {
            task: TaskRef::whole(TaskId(7)),
            fence: Fence { generation: Generation(1), attempt: AttemptNo(no) },
        }
    }

    #[test]
    fn waits_grow_up_to_the_longest_and_stay_within_half() {
        let policy = RetryPolicy { extra: 9, backoff: Span::secs(1), backoff_max: Span::secs(8) };
        for failures in 1..=9 {
            let full = Duration::from_secs(1 << (failures - 1).min(3));
            let wait = backoff(42, &attempt(failures), &policy, failures);
            assert!(wait >= full / 2 && wait <= full, "{failures}: {wait:?} of {full:?}");
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let policy = RetryPolicy { extra: 1, backoff: Span::secs(100), backoff_max: Span::secs(100) };
        let wait = |seed| backoff(seed, &attempt(1), &policy, 1);
        assert_eq!(wait(1), wait(1));
        assert_ne!(wait(1), wait(2));
    }
}
