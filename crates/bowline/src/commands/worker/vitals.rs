//! What a worker tells of itself, for people: its outbox, its event loop, its messages.

use std::io;

use bowline_api::WorkerVitals;

use super::Setting;
use crate::clock::age;

/// Prints it.
pub(super) fn print(on: &Setting, vitals: &WorkerVitals) -> io::Result<()> {
    let oldest = vitals.oldest_unacknowledged_ms.map_or_else(String::new, |age| format!(", the oldest for {age} ms"));
    let outbox = format!(
        "{} messages not acknowledged{oldest}; {} of {} bytes",
        vitals.outbox_messages, vitals.outbox_bytes, vitals.outbox_bytes_max
    );
    let lag = format!("{} ms late at worst, {} ms ever", vitals.loop_lag_ms, vitals.loop_lag_max_ms);
    for (name, value) in [("told", age(vitals.at)), ("outbox", outbox), ("event loop", lag)] {
        on.out.line(format!("{name:<12} {value}"))?;
    }
    for job in &vitals.stuck {
        let pids = job.processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let value = format!("task {} attempt {}: cannot be killed, keeps its slot: {pids}", job.task, job.attempt);
        on.out.line(format!("{:<12} {value}", "stuck"))?;
    }
    on.out.line("")?;
    let rows = vitals.messages.iter().map(|of| {
        let counts = [of.sent, of.retried, of.dropped, of.refused];
        let counts = counts.iter().map(ToString::to_string);
        [of.kind.clone(), of.class.clone()].into_iter().chain(counts).collect()
    });
    on.out.table(&["message", "class", "sent", "retried", "dropped", "refused"], rows.collect())
}
