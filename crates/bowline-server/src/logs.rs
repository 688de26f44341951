//! Segments of logs, on their way to the disk: whose they are, that they are stored, and what is
//! acknowledged.

use std::sync::Arc;

use bowline_blob::{LogError, LogKey, LogState, LogStore, LogStream as Stored, Segment};
use bowline_core::id::{AttemptRef, TaskId, WorkerId};
use bowline_core::message::{ToWorker, Verdict};
use bowline_leader::Leader;
use bowline_protocol::message::{Sealed, Truncated};
use bowline_protocol::{LogAck, LogSegment, LogStream, ServerMessage};
use bowline_store::{AttemptFilter, ReadStore, StoreError};
use quick_cache::sync::Cache;
use tokio::sync::mpsc;
use tonic::Status;

/// Attempts whose worker is remembered.
const OWNERS_MAX: usize = 65_536;
/// Purged tasks that are remembered, so that no late segment brings their folders back.
const PURGED_MAX: usize = 65_536;
/// Segments written between two syncs.
const BATCH_MAX: usize = 256;

/// Stores the logs of all sessions.
#[derive(Debug)]
pub(crate) struct LogKeeper {
    logs: Arc<LogStore>,
    leader: Leader,
    owners: Cache<AttemptRef, WorkerId>,
    purged: Cache<TaskId, ()>,
}

/// What follows from one segment, once everything up to it is durable.
#[derive(Debug)]
enum Kept {
    Ack(LogAck),
    /// Bytes before it are missing.
    Missing(AttemptRef),
    Gone(AttemptRef),
}

/// Logs could not be kept.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an attempt's logs lie.
pub(crate) fn key_of(attempt: AttemptRef) -> LogKey {
    LogKey {
        task: attempt.task.task.0,
        index: attempt.task.index,
        generation: attempt.fence.generation.0,
        attempt: attempt.fence.attempt.0,
    }
}

fn stored(stream: LogStream) -> Stored {
    match stream {
        LogStream::Output => Stored::Output,
        LogStream::Error => Stored::Error,
    }
}

impl LogKeeper {
    pub(crate) fn new(logs: Arc<LogStore>, leader: Leader) -> Self {
        Self { logs, leader, owners: Cache::new(OWNERS_MAX), purged: Cache::new(PURGED_MAX) }
    }

    /// Logs of this attempt will come from this worker.
    pub(crate) fn expect(&self, attempt: AttemptRef, worker: WorkerId) {
        self.owners.insert(attempt, worker);
    }

    /// Keeps the segments of one session, many between two syncs, until no more can come. While some are made
    /// durable the next are written.
    pub(crate) async fn keep_all(
        self: Arc<Self>,
        worker: WorkerId,
        segments: mpsc::Receiver<LogSegment>,
        answers: mpsc::Sender<ServerMessage>,
    ) -> Result<(), Status> {
        let (written, to_sync) = mpsc::channel(1);
        tokio::try_join!(self.write_all(worker, segments, written), self.sync_all(to_sync, answers))?;
        Ok(())
    }

    async fn write_all(
        self: &Arc<Self>,
        worker: WorkerId,
        mut segments: mpsc::Receiver<LogSegment>,
        written: mpsc::Sender<Vec<Kept>>,
    ) -> Result<(), Status> {
        let mut batch = Vec::new();
        while segments.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let (keeper, segments) = (Arc::clone(self), std::mem::take(&mut batch));
            let kept = blocking(move || keeper.write(worker, &segments)).await?;
            if written.send(kept).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn sync_all(
        self: &Arc<Self>,
        mut written: mpsc::Receiver<Vec<Kept>>,
        answers: mpsc::Sender<ServerMessage>,
    ) -> Result<(), Status> {
        while let Some(kept) = written.recv().await {
            let keeper = Arc::clone(self);
            blocking(move || Ok(keeper.logs.sync()?)).await?;
            for one in newest(kept) {
                if answers.send(one.into_message()).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes the logs of tasks that are gone. Blocks.
    pub(crate) fn purge(&self, tasks: &[TaskId]) {
        for task in tasks {
            self.purged.insert(*task, ());
        }
        let tasks: Vec<u64> = tasks.iter().map(|task| task.0).collect();
        for (task, error) in self.logs.delete(&tasks) {
            let task = TaskId(task);
            tracing::warn!(%task, error = &error as &dyn std::error::Error, "logs of a removed task are left");
        }
    }

    /// Blocks.
    fn write(&self, worker: WorkerId, batch: &[LogSegment]) -> Result<Vec<Kept>, Trouble> {
        let reader = self.leader.reader();
        batch.iter().map(|segment| self.append(&*reader, worker, segment)).collect()
    }

    fn append(&self, reader: &dyn ReadStore, worker: WorkerId, segment: &LogSegment) -> Result<Kept, Trouble> {
        let LogSegment { attempt, stream, offset, content, sealed_at, left_out_from, .. } = segment;
        let (attempt, stream, offset) = (*attempt, *stream, *offset);
        if !self.may_write(reader, worker, attempt)? {
            return Ok(Kept::Gone(attempt));
        }
        let (key, stream_stored) = (key_of(attempt), stored(stream));
        let times: Vec<_> = segment.times.iter().map(|time| (time.offset, time.at_ms)).collect();
        let to_store = Segment {
            offset,
            bytes: content,
            left_out_from: *left_out_from,
            times: &times,
            truncated: segment.truncated == Truncated::Yes,
            keep: segment.keep.map(|keep| (keep.head, keep.tail)),
        };
        let mut done = self.logs.append_segment(key, stream_stored, &to_store);
        if let (Ok(_), Some(length)) = (&done, sealed_at) {
            done = self.logs.seal(key, stream_stored, *length);
        }
        let state = match done {
            Ok(state) => state,
            Err(LogError::Gap { .. }) => return Ok(Kept::Missing(attempt)),
            // Its length is settled, and what is more than that is not the log's: refused, and recorded.
            Err(error @ LogError::Sealed { sealed, .. }) => {
                tracing::warn!(%attempt, error = &error as &dyn std::error::Error, "log segment refused");
                let end = sealed.max(offset.saturating_add(content.len() as u64));
                return Ok(Kept::Ack(LogAck { attempt, stream, up_to: end, sealed: Sealed::Yes }));
            }
            Err(error @ LogError::Io { .. }) => return Err(error.into()),
        };
        let LogState { length, .. } = state;
        let sealed = if state.is_sealed() { Sealed::Yes } else { Sealed::No };
        Ok(Kept::Ack(LogAck { attempt, stream, up_to: length, sealed }))
    }

    /// Whether there is such an attempt, and it is this worker's.
    fn may_write(&self, reader: &dyn ReadStore, worker: WorkerId, attempt: AttemptRef) -> Result<bool, StoreError> {
        if self.purged.get(&attempt.task.task).is_some() {
            return Ok(false);
        }
        if let Some(owner) = self.owners.get(&attempt) {
            return Ok(owner == worker);
        }
        let rows = reader.attempts(&AttemptFilter::One(attempt))?;
        let Some(owner) = rows.first().and_then(|row| row.worker) else { return Ok(false) };
        self.owners.insert(attempt, owner);
        Ok(owner == worker)
    }
}

/// Does what touches the disk; where it fails, the worker tries again on its next stream.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Status::internal("storing a log failed"))?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "log not stored");
        Status::unavailable("the server cannot store logs at the moment")
    })
}

/// What is to be answered: of acknowledgements of one log, one after the other, the last says all.
fn newest(kept: Vec<Kept>) -> Vec<Kept> {
    let mut told: Vec<Kept> = Vec::new();
    for one in kept {
        match (told.last_mut(), one) {
            (Some(Kept::Ack(last)), Kept::Ack(ack)) if (last.attempt, last.stream) == (ack.attempt, ack.stream) => {
                *last = ack;
            }
            (_, one) => told.push(one),
        }
    }
    told
}

impl Kept {
    fn into_message(self) -> ServerMessage {
        match self {
            Self::Ack(ack) => ServerMessage::LogAck(ack),
            Self::Missing(attempt) => ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Missing }),
            Self::Gone(attempt) => ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Gone }),
        }
    }
}
