//! Which process has each worker's session: only it may use the worker's second stream.

use std::collections::HashMap;

use bowline_core::id::{SessionId, WorkerId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Longest id of a process that a call may name, in bytes.
pub(super) const PROCESS_BYTES_MAX: usize = 128;

/// The seats of all workers with a session: by the hash of the key and the process that came with it.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<HashMap<([u8; 32], String), Taken>>,
}

/// Who sits down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) key: [u8; 32],
    pub(super) process: String,
    pub(super) session: SessionId,
}

#[derive(Debug)]
struct Taken {
    worker: WorkerId,
    session: SessionId,
    over: CancellationToken,
}

impl Seats {
    /// The session was welcomed as this identity. Whatever an earlier one of that process still does is over.
    pub(super) fn take(&self, seat: Seat, worker: WorkerId) {
        let taken = Taken { worker, session: seat.session, over: CancellationToken::new() };
        if let Some(before) = self.taken.lock().insert((seat.key, seat.process), taken) {
            before.over.cancel();
        }
    }

    /// The session is over. Says whether it still had the seat.
    pub(super) fn leave(&self, (key, process): (&[u8; 32], &str), session: SessionId) -> bool {
        let mut taken = self.taken.lock();
        let key = (*key, process.to_owned());
        let is_its = taken.get(&key).is_some_and(|seat| seat.session == session);
        if is_its && let Some(seat) = taken.remove(&key) {
            seat.over.cancel();
        }
        is_its
    }

    /// Under which identity this process has a seat, and what is cancelled when it is given up.
    pub(super) fn of(&self, (key, process): (&[u8; 32], &str)) -> Option<(WorkerId, CancellationToken)> {
        let taken = self.taken.lock();
        let seat = taken.get(&(*key, process.to_owned()))?;
        Some((seat.worker, seat.over.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_its_newest_session_s() {
        let (seats, key, other) = (Seats::default(), [1; 32], [2; 32]);
        let seat = |session| Seat { key, process: "a".to_owned(), session: SessionId(session) };
        seats.take(seat(1), WorkerId(7));
        let (worker, over) = seats.of((&key, "a")).unwrap();
        assert!(worker == WorkerId(7) && seats.of((&key, "b")).is_none() && seats.of((&other, "a")).is_none());
        seats.take(seat(2), WorkerId(7));
        assert!(over.is_cancelled());
        assert!(!seats.leave((&key, "a"), SessionId(1)));
        let (_, over) = seats.of((&key, "a")).unwrap();
        assert!(seats.leave((&key, "a"), SessionId(2)) && over.is_cancelled());
        assert!(seats.of((&key, "a")).is_none());
    }
}
