//! A worker's second stream: log segments one way, what is kept of them the other; and what is only
//! for the eye. On a connection of its own, so that none of it ever stands before a result (I15).
//! What the disk does not keep up with is not read off the connection.

use std::sync::Arc;

use bowline_core::id::{CommitNo, Generation, WorkerId};
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{LogSegment, ServerMessage, WorkerMessage};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::service::Sessions;
use super::{LOG_ANSWERS_MAX, SEND_WAIT_MAX};

/// Log segments of one worker that wait for the disk: 4 MiB of the largest ones.
const SEGMENTS_MAX: usize = 64;

/// One second stream.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) shared: Arc<Sessions>,
    pub(super) worker: WorkerId,
    pub(super) frames: mpsc::Sender<Result<ServerFrame, Status>>,
    /// The session that it goes with is over.
    pub(super) over: CancellationToken,
}

impl Live {
    /// Runs until either side ends it, or the session that it goes with is over.
    pub(super) async fn run(self, mut stream: Streaming<WorkerFrame>) {
        let (segments, to_keep) = mpsc::channel(SEGMENTS_MAX);
        let (answers, to_say) = mpsc::channel(LOG_ANSWERS_MAX);
        let logs = Arc::clone(&self.shared.logs);
        let over = tokio::select! {
            over = self.read(&mut stream, segments) => over,
            over = logs.keep_all(self.worker, to_keep, answers) => over,
            over = self.say(to_say) => over,
            () = self.over.cancelled() => Err(Status::unavailable("the session is over")),
            () = self.shared.state.stopping.cancelled() => Err(Status::unavailable("the server is stopping")),
        };
        if let Err(status) = over {
            tracing::debug!(worker = %self.worker, code = ?status.code(), why = status.message(), "second stream ended");
            // Whoever does not read any more is told by the end of the connection.
            drop(self.frames.try_send(Err(status)));
        }
    }

    async fn read(
        &self,
        stream: &mut Streaming<WorkerFrame>,
        segments: mpsc::Sender<LogSegment>,
    ) -> Result<(), Status> {
        while let Some(frame) = stream.message().await? {
            for message in frame.messages {
                let read = WorkerMessage::from_wire(message);
                let read = read.map_err(|error| Status::invalid_argument(error.to_string()))?;
                let Some(message) = read else { continue };
                self.shared.state.sessions.passed(message.kind());
                match message {
                    WorkerMessage::Log(segment) => segments
                        .send(segment)
                        .await
                        .map_err(|_| Status::unavailable("the server cannot store logs at the moment"))?,
                    WorkerMessage::Upload(progress) => self.shared.state.uploads.progress(self.worker, progress),
                    WorkerMessage::Hello(_)
                    | WorkerMessage::Heartbeat(_)
                    | WorkerMessage::Engine(_)
                    | WorkerMessage::Artifact(_) => {
                        return Err(Status::invalid_argument("this message belongs on the session's own stream"));
                    }
                }
            }
        }
        Ok(())
    }

    async fn say(&self, mut answers: mpsc::Receiver<ServerMessage>) -> Result<(), Status> {
        let mut messages = Vec::new();
        while answers.recv_many(&mut messages, LOG_ANSWERS_MAX).await > 0 {
            for message in &messages {
                self.shared.state.sessions.passed(message.kind());
            }
            // How far the store is, the session's own stream says.
            for frame in bowline_protocol::message::server_frames(messages.drain(..), (Generation(0), CommitNo(0))) {
                let sent = timeout(SEND_WAIT_MAX, self.frames.send(Ok(frame))).await;
                let sent = sent.map_err(|_| Status::deadline_exceeded("the worker does not read"))?;
                sent.map_err(|_| Status::cancelled("the connection is gone"))?;
            }
        }
        std::future::pending().await
    }
}
