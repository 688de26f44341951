//! One session, from Hello to its end.

use std::sync::Arc;

use bowline_core::id::{SessionId, WorkerId};
use bowline_core::message::Hello;
use bowline_core::name::{PoolName, WorkerName};
use bowline_leader::Opened;
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{Kind, WorkerMessage};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::seats::Seat;
use super::service::Sessions;
use super::{HELLO_WAIT_MAX, LOG_ANSWERS_MAX, LOG_SEGMENTS_MAX, OUTBOX_MAX};

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Sessions>,
    /// Whose key was shown: an identity's, or a pool's.
    pub(super) name: WorkerName,
    pub(super) pool: Option<PoolName>,
    /// BLAKE3 of that key.
    pub(super) key: [u8; 32],
    pub(super) frames: mpsc::Sender<Result<ServerFrame, Status>>,
}

impl Session {
    /// Runs until either side ends it. The last thing that the worker hears is why.
    pub(super) async fn run(self, mut stream: Streaming<WorkerFrame>) {
        let counts = Arc::clone(&self.shared.state.sessions);
        let _open = counts.session();
        if let Err(status) = self.converse(&mut stream).await {
            tracing::info!(worker = %self.name, code = ?status.code(), why = status.message(), "session ended");
            // Whoever does not read any more is told by the end of the connection.
            drop(self.frames.try_send(Err(status)));
        }
    }

    async fn converse(&self, stream: &mut Streaming<WorkerFrame>) -> Result<(), Status> {
        let (hello, rest) = self.hello(stream).await?;
        let (outbox, to_send) = mpsc::channel(OUTBOX_MAX);
        let process = hello.seat.process.clone();
        let opened = self.shared.state.leader.connect(hello, self.key, outbox).await;
        let Opened { session, worker } = opened.map_err(|refusal| Status::unavailable(refusal.message))?;
        // Who is turned away says nothing, and is told so by the leader; no identity has the number 0.
        let worker = worker.unwrap_or_default();
        tracing::info!(worker = %self.name, %session, "session opened");
        let over = self.both_ways((worker, session, &process), to_send, (rest, stream)).await;
        if self.shared.seats.leave((&self.key, &process), session) {
            self.shared.state.uploads.left(worker);
        }
        self.shared.state.sessions.forget_report(worker, session);
        self.shared.state.leader.disconnect(session).await;
        over
    }

    /// The first message, which must be Hello under the name whose key was shown; and what came with it.
    async fn hello(&self, stream: &mut Streaming<WorkerFrame>) -> Result<(Hello, WorkerFrame), Status> {
        let first = timeout(HELLO_WAIT_MAX, stream.message()).await;
        let frame = first.map_err(|_| Status::deadline_exceeded("no Hello came in time"))??;
        let mut messages = frame.map(|frame| frame.messages).unwrap_or_default().into_iter();
        let message = messages.next().map(WorkerMessage::from_wire).transpose();
        let message = message.map_err(|error| Status::invalid_argument(error.to_string()))?.flatten();
        let Some(WorkerMessage::Hello(hello)) = message else {
            return Err(Status::invalid_argument("the first message of a session must be Hello"));
        };
        self.shared.state.sessions.passed(Kind::Hello);
        if hello.pool != self.pool {
            return Err(Status::permission_denied("the key is not that of the pool that Hello names"));
        }
        // A pool's key opens each of its identities.
        if hello.pool.is_none() && hello.name != self.name {
            return Err(Status::permission_denied(format!(
                "the key is that of the worker `{}`, and Hello names `{}`",
                self.name, hello.name
            )));
        }
        Ok((*hello, WorkerFrame { messages: messages.collect() }))
    }

    async fn both_ways(
        &self,
        (worker, session, process): (WorkerId, SessionId, &str),
        outbox: mpsc::Receiver<Option<bowline_core::message::ToWorker>>,
        (first, stream): (WorkerFrame, &mut Streaming<WorkerFrame>),
    ) -> Result<(), Status> {
        let (segments, to_keep) = mpsc::channel(LOG_SEGMENTS_MAX);
        let (answers, log_answers) = mpsc::channel(LOG_ANSWERS_MAX);
        let incoming = Incoming::new(&self.shared, (session, worker), segments, answers.clone());
        let seat = Seat { key: self.key, process: process.to_owned(), session };
        let outgoing = Outgoing { shared: &self.shared, worker, seat, frames: &self.frames };
        let logs = Arc::clone(&self.shared.logs);
        tokio::select! {
            over = outgoing.run(outbox, log_answers) => over,
            over = incoming.run(first, stream) => over,
            over = logs.keep_all(worker, to_keep, answers) => over,
            () = self.shared.state.stopping.cancelled() => Err(Status::unavailable("the server is stopping")),
        }
    }
}
