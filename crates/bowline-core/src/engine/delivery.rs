//! How messages got here that did not come at once: part of the attempt's history, once.

use std::time::Duration;

use crate::id::{AttemptRef, WorkerId};
use crate::message::Assured;
use crate::state::StateKind;
use crate::time::Span;

use super::Engine;
use super::out::Cause;
use super::report::{Owner, Standing};

impl Engine {
    /// The message that comes next was late. Recorded where it is news: sent again it is not.
    pub(super) fn came_late(
        &mut self,
        id: WorkerId,
        (attempt, of): (AttemptRef, &Assured),
        waited: Duration,
        sends: u32,
    ) {
        let standing = self.standing(id, attempt);
        let (is_news, what) = match of {
            Assured::Started => {
                (matches!(standing, Standing::Newest(StateKind::Assigned, Owner::Speaker)), "its start")
            }
            Assured::Finished | Assured::Released | Assured::Gone => {
                let is_news = match standing {
                    Standing::Newest(state, _) => !state.is_ended(),
                    Standing::Old => !self.evidence_seen.contains(&attempt),
                    Standing::Gone => false,
                };
                (is_news, "its end")
            }
            Assured::Artifact(_) => (false, "an artifact"),
        };
        if is_news {
            let times = if sends == 1 { "once".to_owned() } else { format!("{sends} times") };
            let reason = format!("{what} arrived {} after it was reported, sent {times}", Span(to_millis(waited)));
            let cause = Cause::new(&self.actor_of(id), reason);
            self.tell(attempt.task, attempt.fence.attempt, "delivered_late", &cause);
        }
    }
}

fn to_millis(length: Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}
