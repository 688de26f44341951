//! What a worker tells of itself, as a document.

use std::time::Duration;

use bowline_api::{MessageCounts, WorkerVitals, from_core_time};

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
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
