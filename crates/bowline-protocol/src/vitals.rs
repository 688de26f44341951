//! What a worker tells of itself with every heartbeat: its counts by kind of message, its outbox and its
//! event loop, so that a worker with troubles of its own can be told from one that is merely cut off.
//! Kept in memory by the server's session; no decision rests on it.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::time::micros;

use crate::decode::attempt;
use crate::kinds::Kind;
use crate::{encode, wire};

/// How a worker is, in numbers. Counters are since its process began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vitals {
    /// Messages to and from this server, by kind. A kind that is not in it counts nothing.
    pub messages: BTreeMap<Kind, Tally>,
    /// What waits to be acknowledged.
    pub outbox: OutboxVitals,
    /// How late the event loop was at worst since the heartbeat before.
    pub loop_lag: Duration,
    /// The same, since its process began.
    pub loop_lag_max: Duration,
    /// Jobs that were told to stop and of which these processes cannot be killed. They keep their slots.
    pub stuck: BTreeMap<AttemptRef, Vec<u32>>,
}

/// Counts of one kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Handed to a connection; for kinds that the server sends: received.
    pub sent: u64,
    /// Of these, sent before in an earlier session.
    pub retried: u64,
    /// Given up: past their deadline, replaced by a newer one, or without room.
    pub dropped: u64,
    /// Refused by the server as stale, by the verdict `superseded` or `gone`.
    pub refused: u64,
}

/// What waits to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxVitals {
    /// Messages.
    pub messages: u64,
    /// Their bytes, with the room that is kept for what runs.
    pub bytes: u64,
    /// Beyond so many the worker takes nothing more.
    pub bytes_max: u64,
    /// So long the oldest has waited. `None`: nothing waits.
    pub oldest: Option<Duration>,
}

impl Vitals {
    pub(crate) fn to_wire(&self) -> wire::Heartbeat {
        let counts = self.messages.iter().map(|(kind, tally)| wire::KindCounts {
            kind: kind.name().to_owned(),
            sent: tally.sent,
            retried: tally.retried,
            dropped: tally.dropped,
            refused: tally.refused,
        });
        wire::Heartbeat {
            counts: counts.collect(),
            outbox_messages: self.outbox.messages,
            outbox_bytes: self.outbox.bytes,
            outbox_bytes_max: self.outbox.bytes_max,
            oldest_us: self.outbox.oldest.map(micros),
            loop_lag_us: micros(self.loop_lag),
            loop_lag_max_us: micros(self.loop_lag_max),
            stuck: self.stuck.iter().take(STUCK_MAX).map(stuck).collect(),
        }
    }

    /// Kinds that this version does not know are passed over.
    pub(crate) fn from_wire(heartbeat: wire::Heartbeat) -> Self {
        let known = |name: &str| Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let counts = heartbeat.counts.into_iter().filter_map(|counts| {
            let wire::KindCounts { kind, sent, retried, dropped, refused } = counts;
            Some((known(&kind)?, Tally { sent, retried, dropped, refused }))
        });
        Self {
            messages: counts.collect(),
            outbox: OutboxVitals {
                messages: heartbeat.outbox_messages,
                bytes: heartbeat.outbox_bytes,
                bytes_max: heartbeat.outbox_bytes_max,
                oldest: heartbeat.oldest_us.map(Duration::from_micros),
            },
            loop_lag: Duration::from_micros(heartbeat.loop_lag_us),
            loop_lag_max: Duration::from_micros(heartbeat.loop_lag_max_us),
            // One that names no attempt is nobody's.
            stuck: heartbeat.stuck.into_iter().filter_map(|job| Some((attempt(job.attempt).ok()?, job.pids))).collect(),
        }
    }
}

/// So many jobs and processes of each are named, at most.
const STUCK_MAX: usize = 64;

fn stuck((of, pids): (&AttemptRef, &Vec<u32>)) -> wire::StuckJob {
    let pids = pids.iter().take(STUCK_MAX).copied().collect();
    wire::StuckJob { attempt: Some(encode::attempt(*of)), pids }
}
