//! What a worker tells of itself, as a document.

use std::time::Duration;

use bowline_api::{MessageCounts, StuckDoc, WorkerVitals, from_core_time};
use bowline_core::id::AttemptRef;

use crate::session::Report;

/// The document of a report.
pub(super) fn document(report: &Report) -> WorkerVitals {
    let vitals = &report.vitals;
    let messages = vitals.messages.iter().map(|(kind, tally)| MessageCounts {
        kind: kind.name().to_owned(),
        class: kind.class().name().to_owned(),
        sent: tally.sent,
        retried: tally.retried,
        dropped: tally.dropped,
        refused: tally.refused,
    });
    WorkerVitals {
        at: from_core_time(report.at),
        messages: messages.collect(),
        outbox_messages: vitals.outbox.messages,
        outbox_bytes: vitals.outbox.bytes,
        outbox_bytes_max: vitals.outbox.bytes_max,
        oldest_unacknowledged_ms: vitals.outbox.oldest.map(millis),
        loop_lag_ms: millis(vitals.loop_lag),
        loop_lag_max_ms: millis(vitals.loop_lag_max),
        stuck: vitals.stuck.iter().map(stuck).collect(),
    }
}

fn stuck((attempt, processes): (&AttemptRef, &Vec<u32>)) -> StuckDoc {
    StuckDoc { task: attempt.task.to_string(), attempt: attempt.fence.attempt.0, processes: processes.clone() }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
