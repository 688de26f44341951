//! What a worker says: passed on in order; logs on a way of their own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bowline_blob::{BlobError, Digest};
use bowline_core::id::{AttemptRef, SessionId, WorkerId};
use bowline_core::message::{FromWorker, ToWorker, Verdict};
use bowline_core::spec::RESULT_BYTES_MAX;
use bowline_protocol::wire::worker_message::Kind as WireKind;
use bowline_protocol::wire::{self, WorkerFrame};
use bowline_protocol::{Artifact, Delivery, Kind, LogSegment, ServerMessage, WorkerMessage};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::SILENCE_MAX;
use super::service::Sessions;

/// The reader of one session.
pub(super) struct Incoming<'a> {
    shared: &'a Sessions,
    session: SessionId,
    worker: WorkerId,
    segments: mpsc::Sender<LogSegment>,
    answers: mpsc::Sender<ServerMessage>,
    /// Attempts of which segments were dropped: to be asked for again when there is room.
    missed: BTreeSet<AttemptRef>,
    /// Attempts of which artifacts were asked for again.
    awaited: BTreeMap<AttemptRef, Awaited>,
    /// Sizes of the blobs that this frame's artifacts name, by digest: those that are here.
    here: HashMap<String, u64>,
}

/// What of an attempt's artifacts is on its way once more; its end comes after them.
#[derive(Default)]
struct Awaited {
    names: BTreeSet<String>,
    end: Vec<FromWorker>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(
        shared: &'a Sessions,
        (session, worker): (SessionId, WorkerId),
        segments: mpsc::Sender<LogSegment>,
        answers: mpsc::Sender<ServerMessage>,
    ) -> Self {
        let (missed, awaited, here) = (BTreeSet::new(), BTreeMap::new(), HashMap::new());
        Self { shared, session, worker, segments, answers, missed, awaited, here }
    }

    /// Reads until the worker ends the stream, or is silent for too long.
    pub(super) async fn run(mut self, first: WorkerFrame, stream: &mut Streaming<WorkerFrame>) -> Result<(), Status> {
        let mut frame = first;
        loop {
            self.here = self.look_for(&frame).await?;
            for message in frame.messages {
                self.take(message).await?;
            }
            self.ask_again();
            let next = timeout(SILENCE_MAX, stream.message()).await;
            let next = next.map_err(|_| Status::deadline_exceeded("no message came for too long"))??;
            match next {
                Some(next) => frame = next,
                None => return Ok(()),
            }
        }
    }

    /// Looks for the blobs of all artifacts in a frame at once. Of what is not found, a look of its own says why.
    async fn look_for(&self, frame: &WorkerFrame) -> Result<HashMap<String, u64>, Status> {
        let digest = |message: &wire::WorkerMessage| match &message.kind {
            Some(WireKind::ArtifactCommitted(artifact)) => Some(artifact.digest.clone()),
            _ => None,
        };
        let digests: Vec<String> = frame.messages.iter().filter_map(digest).collect();
        if digests.is_empty() {
            return Ok(HashMap::new());
        }
        let blobs = Arc::clone(&self.shared.state.blobs);
        let look = move |digest: String| Some((blobs.touch(digest.parse().ok()?).ok()??, digest));
        let looked =
            tokio::task::spawn_blocking(move || digests.into_iter().filter_map(look).collect::<Vec<_>>()).await;
        let looked = looked.map_err(|_| Status::internal("looking for artifacts' bytes failed"))?;
        Ok(looked.into_iter().map(|(size, digest)| (digest, size)).collect())
    }

    async fn take(&mut self, mut message: wire::WorkerMessage) -> Result<(), Status> {
        cap_result(&mut message);
        let delivery = Delivery::of(&message);
        let read = WorkerMessage::from_wire(message);
        // What is malformed would come again after a reconnect; the worker must hear of it.
        let read = read.map_err(|error| Status::invalid_argument(error.to_string()))?;
        // A kind of a newer version is skipped.
        let Some(message) = read else { return Ok(()) };
        self.shared.state.sessions.passed(message.kind());
        match message {
            WorkerMessage::Hello(_) => Err(Status::invalid_argument("Hello comes once in a session")),
            WorkerMessage::Heartbeat(vitals) => {
                self.shared.state.sessions.reported(self.worker, self.session, *vitals);
                self.pass_on(FromWorker::Heartbeat).await
            }
            WorkerMessage::Engine(message) => {
                let late = delivery.and_then(|delivery| delivery.late(&message));
                self.engine(late, message).await
            }
            WorkerMessage::Upload(progress) => {
                self.shared.state.uploads.progress(self.worker, progress);
                Ok(())
            }
            WorkerMessage::Artifact(artifact) => self.artifact(artifact).await,
            WorkerMessage::Log(segment) => self.log(segment),
        }
    }

    /// What the engine judges by itself: what is said, behind how it got here.
    async fn engine(&mut self, late: Option<FromWorker>, message: FromWorker) -> Result<(), Status> {
        if let FromWorker::Finished(finished) = &message {
            self.shared.state.uploads.ended(finished.attempt);
            if let Some(awaited) = self.awaited.get_mut(&finished.attempt) {
                // Said again meanwhile, it is the same.
                awaited.end = late.into_iter().chain([message]).collect();
                return Ok(());
            }
        }
        let settled = match &message {
            FromWorker::ArtifactUndelivered { attempt, name, .. } => Some((*attempt, name.clone())),
            _ => None,
        };
        if let Some(late) = late {
            self.pass_on(late).await?;
        }
        self.pass_on(message).await?;
        match settled {
            Some((attempt, name)) => self.settled(attempt, &name).await,
            None => Ok(()),
        }
    }

    /// An artifact is there, or never will be: where it was the last one that was awaited, the end follows.
    async fn settled(&mut self, attempt: AttemptRef, name: &str) -> Result<(), Status> {
        let Some(awaited) = self.awaited.get_mut(&attempt) else { return Ok(()) };
        awaited.names.remove(name);
        if awaited.names.is_empty() {
            let end = self.awaited.remove(&attempt).map(|awaited| awaited.end);
            for message in end.into_iter().flatten() {
                self.pass_on(message).await?;
            }
        }
        Ok(())
    }

    async fn pass_on(&self, message: FromWorker) -> Result<(), Status> {
        let passed = self.shared.state.leader.from_worker(self.session, message).await;
        passed.map_err(|refusal| Status::unavailable(refusal.message))
    }

    /// The bytes came before: when the engine hears of the artifact, they are there and stay. Where they
    /// are not, they are asked for again, and the attempt's end waits for them.
    async fn artifact(&mut self, artifact: Artifact) -> Result<(), Status> {
        let Artifact { attempt, name, digest, bytes } = artifact;
        let about = name.clone();
        let there = match self.here.get(&digest) {
            Some(size) => Ok(Some(*size)),
            None => self.look(digest.clone()).await?,
        };
        match there {
            Ok(Some(size)) if size == bytes => {
                self.pass_on(FromWorker::ArtifactCommitted { attempt, name, digest, bytes }).await?;
            }
            Ok(Some(_)) | Err(BlobError::BadDigest(_)) => {
                // Sent again it would be the same: refused, recorded, and acknowledged.
                self.shared.state.sessions.dropped(Kind::ArtifactCommitted);
                let why = format!("what was sent under the digest {digest} does not have {bytes} bytes");
                self.pass_on(FromWorker::ArtifactUndelivered { attempt, name, why }).await?;
            }
            Ok(None) => {
                tracing::warn!(%attempt, name, digest, "the bytes of an artifact are not here; asked for again");
                self.awaited.entry(attempt).or_default().names.insert(name);
                return self
                    .answer(ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Missing }))
                    .await;
            }
            Err(error) => {
                tracing::error!(%attempt, name, error = &error as &dyn std::error::Error, "artifact not looked for");
                return Err(Status::unavailable("the server cannot look for artifacts at the moment"));
            }
        }
        self.settled(attempt, &about).await
    }

    async fn look(&self, digest: String) -> Result<Result<Option<u64>, BlobError>, Status> {
        let blobs = Arc::clone(&self.shared.state.blobs);
        let looked =
            tokio::task::spawn_blocking(move || digest.parse::<Digest>().and_then(|digest| blobs.touch(digest)));
        looked.await.map_err(|_| Status::internal("looking for an artifact's bytes failed"))
    }

    /// A log never delays what comes after it: where the disk does not keep up, segments are
    /// dropped, and asked for again.
    fn log(&mut self, segment: LogSegment) -> Result<(), Status> {
        match self.segments.try_send(segment) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(segment)) => {
                self.shared.state.sessions.dropped(Kind::LogSegment);
                self.missed.insert(segment.attempt);
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(Status::unavailable("the server cannot store logs at the moment")),
        }
    }

    /// Asks for what was dropped, once at least half of the queue is free.
    fn ask_again(&mut self) {
        let has_room = self.segments.capacity() >= self.segments.max_capacity() / 2;
        while has_room && let Some(attempt) = self.missed.pop_first() {
            let verdict = ToWorker::Verdict { attempt, verdict: Verdict::Missing };
            if self.answers.try_send(ServerMessage::Engine(verdict)).is_err() {
                self.missed.insert(attempt);
                return;
            }
        }
    }

    async fn answer(&self, message: ServerMessage) -> Result<(), Status> {
        self.answers.send(message).await.map_err(|_| Status::unavailable("the session is over"))
    }
}

impl std::fmt::Debug for Incoming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("session", &self.session).field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A result beyond its limit fails the attempt: refusing the message would have it sent for ever.
fn cap_result(message: &mut wire::WorkerMessage) {
    let Some(WireKind::Finished(finished)) = &mut message.kind else { return };
    let Some(bytes) = finished.result.as_ref().map(String::len).filter(|bytes| *bytes > RESULT_BYTES_MAX) else {
        return;
    };
    finished.result = None;
    let message = format!("the result has {bytes} bytes, and at most {RESULT_BYTES_MAX} are kept: leave an artifact");
    let error = wire::JobError { exit_status: None, signal: None, message };
    finished.how = Some(wire::finished::How::Error(error));
}
