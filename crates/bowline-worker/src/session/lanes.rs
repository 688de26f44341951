//! The three ways to send, between the dispatcher and one connection. Assured messages queue up and
//! leave in order; timely ones are on a board, one of each kind, overtake what queues, and are given up at
//! their deadline; what is best effort goes last, from a small ring that forgets its oldest.
//!
//! A connection has lanes of its own. What was in them when it ends is said anew by the dispatcher: the
//! outbox has every assured message, the rest follows from the current state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bowline_protocol::limits::{FRAME_MESSAGES_MAX, TIMELY_WITHIN};
use bowline_protocol::message::delivered_frames;
use bowline_protocol::wire::WorkerFrame;
use bowline_protocol::{Class, Delivery, Kind, WorkerMessage};
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// Assured messages on their way from the dispatcher to the wire.
const ASSURED_MAX: usize = 8_192;
/// Messages that may be lost, on their way.
const RING_MAX: usize = 256;

/// A message, with how it got here.
pub(crate) type Parcel = (WorkerMessage, Option<Delivery>);

/// The dispatcher's end.
#[derive(Debug)]
pub(crate) struct Outgoing {
    assured: mpsc::Sender<Parcel>,
    board: Arc<Board>,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Lanes {
    assured: mpsc::Receiver<Parcel>,
    board: Arc<Board>,
}

#[derive(Debug, Default)]
struct Board {
    notes: Mutex<Notes>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Notes {
    timely: Vec<(WorkerMessage, Instant)>,
    ring: VecDeque<WorkerMessage>,
    given_up: Vec<Kind>,
    /// When each unanswered heartbeat left, on `CLOCK_BOOTTIME`.
    beats: VecDeque<Duration>,
}

/// What became of a message that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It is on its way.
    Yes,
    /// It is on its way, and an older one of this kind is not any more.
    InPlaceOf(Kind),
    /// There is no room: later.
    Full,
    /// The connection is over.
    Closed,
}

/// Both ends, for one connection.
pub(crate) fn lanes() -> (Outgoing, Lanes) {
    let (sender, assured) = mpsc::channel(ASSURED_MAX);
    let board = Arc::new(Board::default());
    (Outgoing { assured: sender, board: Arc::clone(&board) }, Lanes { assured, board })
}

impl Outgoing {
    /// Hands over a message, as its class wants it.
    pub(crate) fn hand_over(&self, message: WorkerMessage, delivery: Option<Delivery>) -> Handed {
        if self.assured.is_closed() {
            return Handed::Closed;
        }
        match message.kind().class() {
            Class::Assured => match self.assured.try_send((message, delivery)) {
                Ok(()) => Handed::Yes,
                Err(TrySendError::Full(_)) => Handed::Full,
                Err(TrySendError::Closed(_)) => Handed::Closed,
            },
            Class::Timely => self.board.pin(message),
            Class::BestEffort => self.board.push(message),
        }
    }

    /// Whether an assured message would find room.
    pub(crate) fn has_room(&self) -> bool {
        self.assured.capacity() > 0 && !self.assured.is_closed()
    }

    /// Ends when there is room for an assured message again. Never, where the connection is over: it
    /// says so itself.
    pub(crate) fn room(&self) -> impl Future<Output = ()> + use<> {
        let assured = self.assured.clone();
        async move {
            if assured.reserve().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Kinds that were given up since this was asked last.
    pub(crate) fn given_up(&self) -> Vec<Kind> {
        std::mem::take(&mut self.board.notes.lock().given_up)
    }

    /// When the heartbeat left that the server has answered now, on `CLOCK_BOOTTIME`.
    pub(crate) fn answered(&self) -> Option<Duration> {
        self.board.notes.lock().beats.pop_front()
    }
}

impl Board {
    fn pin(&self, message: WorkerMessage) -> Handed {
        let kind = message.kind();
        let mut notes = self.notes.lock();
        let before = notes.timely.len();
        notes.timely.retain(|(other, _)| other.kind() != kind);
        let replaces = before != notes.timely.len();
        notes.timely.push((message, Instant::now() + TIMELY_WITHIN));
        drop(notes);
        self.wake.notify_one();
        if replaces { Handed::InPlaceOf(kind) } else { Handed::Yes }
    }

    fn push(&self, message: WorkerMessage) -> Handed {
        let mut notes = self.notes.lock();
        let oldest = if notes.ring.len() >= RING_MAX { notes.ring.pop_front() } else { None };
        notes.ring.push_back(message);
        drop(notes);
        self.wake.notify_one();
        oldest.map_or(Handed::Yes, |oldest| Handed::InPlaceOf(oldest.kind()))
    }

    /// What is timely and not too late, in the order in which it was said.
    fn take_timely(&self) -> Vec<WorkerMessage> {
        let now = Instant::now();
        let mut notes = self.notes.lock();
        let notes = &mut *notes;
        let mut taken = Vec::new();
        for (message, deadline) in notes.timely.drain(..) {
            if deadline < now {
                notes.given_up.push(message.kind());
                continue;
            }
            if message.kind() == Kind::Heartbeat {
                notes.beats.push_back(bowline_supervisor::boottime());
            }
            taken.push(message);
        }
        taken
    }

    fn take_ring(&self) -> Vec<WorkerMessage> {
        self.notes.lock().ring.drain(..).collect()
    }

    fn is_empty(&self) -> bool {
        let notes = self.notes.lock();
        notes.timely.is_empty() && notes.ring.is_empty()
    }
}

/// The other end of the wire is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl Lanes {
    /// Sends until the dispatcher closes its end and everything has left.
    pub(crate) async fn send(mut self, frames: &mpsc::Sender<WorkerFrame>) -> Result<(), Gone> {
        let mut parcels = Vec::new();
        loop {
            let open = self.more(&mut parcels).await;
            let was_quiet = parcels.is_empty();
            for frame in delivered_frames(parcels.drain(..)) {
                self.send_timely(frames).await?;
                frames.send(frame).await.map_err(|_| Gone)?;
            }
            self.send_timely(frames).await?;
            if was_quiet {
                for frame in delivered_frames(self.board.take_ring().into_iter().map(|message| (message, None))) {
                    frames.send(frame).await.map_err(|_| Gone)?;
                }
            }
            if !open && self.board.is_empty() {
                return Ok(());
            }
        }
    }

    /// Waits until something is to be sent. Says whether more may come.
    async fn more(&mut self, parcels: &mut Vec<Parcel>) -> bool {
        if !self.board.is_empty() {
            while parcels.len() < FRAME_MESSAGES_MAX
                && let Ok(parcel) = self.assured.try_recv()
            {
                parcels.push(parcel);
            }
            return !(self.assured.is_closed() && self.assured.is_empty());
        }
        tokio::select! {
            count = self.assured.recv_many(parcels, FRAME_MESSAGES_MAX) => count > 0,
            () = self.board.wake.notified() => true,
        }
    }

    /// What is timely is chosen when there is room for it, so that nothing leaves too late.
    async fn send_timely(&self, frames: &mpsc::Sender<WorkerFrame>) -> Result<(), Gone> {
        if self.board.notes.lock().timely.is_empty() {
            return Ok(());
        }
        let room = frames.reserve().await.map_err(|_| Gone)?;
        let messages = self.board.take_timely().into_iter().map(|message| (message, None));
        if let Some(frame) = delivered_frames(messages).into_iter().next() {
            room.send(frame);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
