//! The messages as checked Rust values. What the engine takes and gives goes through as it is
//! ([`FromWorker`], [`ToWorker`]); beside it stands what only the two shells deal in: the bytes of
//! artifacts and logs, and the work that goes with an assignment.

use std::time::Duration;

use bowline_core::id::{AttemptRef, CommitNo, Generation, RunId};
use bowline_core::message::{Assign, Assured, FromWorker, Hello, ToWorker};
use bowline_core::name::{Namespace, StepName};
use bowline_core::spec::Work;
use bowline_core::time::micros;
use prost::Message;
use prost::bytes::Bytes;

use crate::decode::{self, BadMessage};
use crate::encode;
use crate::kinds::Kind;
use crate::limits;
use crate::vitals::Vitals;
use crate::wire;

/// What a worker says.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerMessage {
    /// First, exactly once.
    Hello(Box<Hello>),
    /// Still here, and how it is.
    Heartbeat(Box<Vitals>),
    /// What goes to the engine as it is. Never an artifact: that has its bytes with it, as
    /// [`WorkerMessage::Artifact`]. A heartbeat comes as [`WorkerMessage::Heartbeat`].
    Engine(FromWorker),
    /// A file whose bytes the server has: it looks whether that is so, then tells the engine.
    Artifact(Artifact),
    /// A range of a log, or its seal: the server stores it and acknowledges it; the engine never
    /// sees it.
    Log(LogSegment),
    /// How far an attempt's uploads are: for the eye.
    Upload(UploadProgress),
}

/// What a server says.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage {
    /// What the engine says, as it is. Never an assignment: that has its work with it, as
    /// [`ServerMessage::Assign`].
    Engine(ToWorker),
    /// An assignment with its work.
    Assign(Box<Handover>),
    /// A log is kept up to here.
    LogAck(LogAck),
}

/// A file that an attempt leaves. Its bytes went to the server before, by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Whose.
    pub attempt: AttemptRef,
    /// Its name within the attempt: parts joined by `/`, none of them empty, `.` or `..`.
    pub name: String,
    /// BLAKE3 of the bytes, in hex.
    pub digest: String,
    /// How many there are.
    pub bytes: u64,
}

/// How far an attempt's uploads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadProgress {
    /// Whose.
    pub attempt: AttemptRef,
    /// Files that are still to be delivered. 0: the uploads are over.
    pub files: u32,
    /// Bytes that the server has.
    pub sent: u64,
    /// Bytes in all.
    pub bytes: u64,
}

/// Which of an attempt's logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogStream {
    /// Standard output, and standard error with it where they are not split.
    Output,
    /// Standard error, where it is split off.
    Error,
}

impl LogStream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Output, Self::Error];

    /// As it is written on the wire and in stores.
    pub const fn number(self) -> u32 {
        match self {
            Self::Output => 0,
            Self::Error => 1,
        }
    }

    /// The stream of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.number() == number)
    }
}

/// Bytes of a log, or its seal, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSegment {
    /// Whose.
    pub attempt: AttemptRef,
    /// Which of its logs.
    pub stream: LogStream,
    /// Where the bytes begin.
    pub offset: u64,
    /// The bytes. At most [`limits::LOG_SEGMENT_BYTES_MAX`].
    pub content: Bytes,
    /// The log's final length. `None`: more may come.
    pub sealed_at: Option<u64>,
    /// The bytes from there to `offset` are left out, for good. `None`: none are.
    pub left_out_from: Option<u64>,
    /// When bytes were written, by the worker's clock: each entry holds from its offset on. At most
    /// [`limits::LOG_TIMES_MAX`].
    pub times: Vec<LogTime>,
    /// What happened to the job's file just before `offset`.
    pub truncated: Truncated,
    /// What is kept of a log that is longer than its limit. `None`: it is not (yet).
    pub keep: Option<LogKeep>,
}

/// Bytes from this offset on were written at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogTime {
    /// In the log.
    pub offset: u64,
    /// Milliseconds since 1970, by the worker's clock.
    pub at_ms: u64,
}

/// How many first and last bytes are kept of a log that is longer than both together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogKeep {
    /// First bytes.
    pub head: u64,
    /// Last bytes.
    pub tail: u64,
}

/// Whether a job truncated its own output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Truncated {
    /// It did not.
    #[default]
    No,
    /// It did.
    Yes,
}

impl LogSegment {
    /// Bytes, and nothing else to say.
    pub fn new(attempt: AttemptRef, stream: LogStream, offset: u64, content: Bytes) -> Self {
        Self {
            attempt,
            stream,
            offset,
            content,
            sealed_at: None,
            left_out_from: None,
            times: Vec::new(),
            truncated: Truncated::No,
            keep: None,
        }
    }
}

/// A log is kept up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogAck {
    /// Whose.
    pub attempt: AttemptRef,
    /// Which of its logs.
    pub stream: LogStream,
    /// Every byte before this offset is durable.
    pub up_to: u64,
    /// Whether the seal is recorded too.
    pub sealed: Sealed,
}

/// How an assured message got here, where it did not arrive at once and at the first try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Since it was said, on the worker's own clock.
    pub waited: Duration,
    /// How often it was sent by the process that sends it, this time included.
    pub sends: u32,
}

impl Delivery {
    /// That of a message from the wire. `None`: it came at once, at the first try.
    pub fn of(message: &wire::WorkerMessage) -> Option<Self> {
        let told = message.delivery.as_ref()?;
        Some(Self { waited: Duration::from_micros(told.waited_us), sends: told.sends })
    }

    /// What the engine hears of it, before the message itself, where that is worth recording.
    pub fn late(self, message: &FromWorker) -> Option<FromWorker> {
        let Self { waited, sends } = self;
        let (attempt, of) = match message {
            FromWorker::Started(attempt) => (*attempt, Assured::Started),
            FromWorker::Finished(finished) => (finished.attempt, Assured::Finished),
            FromWorker::Released { attempt, .. } => (*attempt, Assured::Released),
            FromWorker::Gone { attempt, .. } => (*attempt, Assured::Gone),
            FromWorker::Heartbeat
            | FromWorker::Demand { .. }
            | FromWorker::Late { .. }
            | FromWorker::ArtifactCommitted { .. }
            | FromWorker::ArtifactUndelivered { .. }
            | FromWorker::Health(_)
            | FromWorker::Bye { .. } => return None,
        };
        Some(FromWorker::Late { attempt, of, waited, sends })
    }
}

/// Whether a log has got its final length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// More may come.
    No,
    /// It is complete.
    Yes,
}

/// What an [`wire::Ack`] acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acked {
    /// A message that the engine took.
    Engine(Assured),
    /// A range of a log.
    Log(LogAck),
}

/// An assignment with all that its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Handover {
    /// Which attempt, with its limits.
    pub assign: Assign,
    /// The work as JSON; see [`Handover::work`]. At most [`limits::WORK_BYTES_MAX`].
    pub work: Bytes,
    /// The task's namespace.
    pub namespace: Namespace,
    /// The run that it belongs to.
    pub run: Option<RunId>,
    /// The step that it belongs to.
    pub step: Option<StepName>,
    /// The job's own key to the server's API; empty where it gets none.
    pub token: String,
    /// Where the server's API is; empty where it says nothing of it.
    pub server: String,
}

impl Handover {
    /// An assignment with this work, in the default namespace and of no run.
    pub fn new(assign: Assign, work: &Work) -> Result<Self, BadMessage> {
        let json = serde_json::to_vec(work).map_err(BadMessage::Work)?;
        Ok(Self {
            assign,
            work: Bytes::from(json),
            namespace: Namespace::default(),
            run: None,
            step: None,
            token: String::new(),
            server: String::new(),
        })
    }

    /// The work. An error is the server's doing: it sent what this version cannot read.
    pub fn work(&self) -> Result<Work, BadMessage> {
        serde_json::from_slice(&self.work).map_err(BadMessage::Work)
    }
}

impl WorkerMessage {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Heartbeat(_) => Kind::Heartbeat,
            Self::Artifact(_) => Kind::ArtifactCommitted,
            Self::Log(_) => Kind::LogSegment,
            Self::Upload(_) => Kind::UploadProgress,
            Self::Engine(message) => match message {
                FromWorker::Heartbeat => Kind::Heartbeat,
                FromWorker::Demand { .. } => Kind::Demand,
                FromWorker::Started(_) => Kind::Started,
                FromWorker::Finished(_) => Kind::Finished,
                FromWorker::Released { .. } => Kind::Released,
                FromWorker::Gone { .. } => Kind::Gone,
                FromWorker::Late { of, .. } => match of {
                    Assured::Started => Kind::Started,
                    Assured::Finished => Kind::Finished,
                    Assured::Released => Kind::Released,
                    Assured::Gone => Kind::Gone,
                    Assured::Artifact(_) => Kind::ArtifactCommitted,
                },
                FromWorker::ArtifactCommitted { .. } => Kind::ArtifactCommitted,
                FromWorker::ArtifactUndelivered { .. } => Kind::ArtifactUndelivered,
                FromWorker::Health(_) => Kind::Health,
                FromWorker::Bye { .. } => Kind::Bye,
            },
        }
    }

    /// In wire form.
    pub fn to_wire(&self) -> wire::WorkerMessage {
        encode::worker_message(self)
    }

    /// From wire form. `None`: a kind that this version does not know, to be skipped.
    pub fn from_wire(message: wire::WorkerMessage) -> Result<Option<Self>, BadMessage> {
        decode::worker_message(message)
    }
}

impl ServerMessage {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Assign(_) => Kind::Assign,
            Self::LogAck(_) => Kind::Ack,
            Self::Engine(message) => match message {
                ToWorker::Welcome { .. } => Kind::Welcome,
                ToWorker::TryLater { .. } => Kind::TryLater,
                ToWorker::Fenced { .. } => Kind::Fenced,
                ToWorker::HeartbeatAck => Kind::HeartbeatAck,
                ToWorker::Assign(_) => Kind::Assign,
                ToWorker::Cancel { .. } => Kind::Cancel,
                ToWorker::Pause { .. } => Kind::Pause,
                ToWorker::Drain(_) => Kind::Drain,
                ToWorker::Undrain => Kind::Undrain,
                ToWorker::Ack { .. } => Kind::Ack,
                ToWorker::Verdict { .. } => Kind::Verdict,
            },
        }
    }

    /// In wire form.
    pub fn to_wire(&self) -> wire::ServerMessage {
        encode::server_message(self)
    }

    /// From wire form. `None`: a kind that this version does not know, to be skipped.
    pub fn from_wire(message: wire::ServerMessage) -> Result<Option<Self>, BadMessage> {
        decode::server_message(message)
    }
}

/// Packs messages into frames of at most [`limits::FRAME_MESSAGES_MAX`] messages and about
/// [`limits::FRAME_BYTES_TARGET`] bytes, in order.
pub fn worker_frames(messages: impl IntoIterator<Item = WorkerMessage>) -> Vec<wire::WorkerFrame> {
    delivered_frames(messages.into_iter().map(|message| (message, None)))
}

/// As [`worker_frames`], with how each message got here.
pub fn delivered_frames(
    messages: impl IntoIterator<Item = (WorkerMessage, Option<Delivery>)>,
) -> Vec<wire::WorkerFrame> {
    let to_wire = |(message, delivery): (WorkerMessage, Option<Delivery>)| {
        let delivery = delivery.map(|told| wire::Delivery { waited_us: micros(told.waited), sends: told.sends });
        wire::WorkerMessage { delivery, ..message.to_wire() }
    };
    pack(messages.into_iter().map(to_wire)).into_iter().map(|messages| wire::WorkerFrame { messages }).collect()
}

/// As [`worker_frames`], with how far the store is.
pub fn server_frames(
    messages: impl IntoIterator<Item = ServerMessage>,
    at: (Generation, CommitNo),
) -> Vec<wire::ServerFrame> {
    pack(messages.into_iter().map(|message| message.to_wire()))
        .into_iter()
        .map(|messages| wire::ServerFrame { messages, generation: at.0.0, commit_no: at.1.0 })
        .collect()
}

fn pack<M: Message>(messages: impl Iterator<Item = M>) -> Vec<Vec<M>> {
    let mut frames = Vec::new();
    let (mut frame, mut bytes) = (Vec::new(), 0);
    for message in messages {
        let size = message.encoded_len();
        let full = frame.len() >= limits::FRAME_MESSAGES_MAX || bytes + size > limits::FRAME_BYTES_TARGET;
        if full && !frame.is_empty() {
            frames.push(std::mem::take(&mut frame));
            bytes = 0;
        }
        bytes += size;
        frame.push(message);
    }
    if !frame.is_empty() {
        frames.push(frame);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{self, Sample, attempt};

    #[test]
    fn every_kind_comes_back_from_the_wire_as_it_was() {
        for kind in Kind::ALL {
            for message in sample::all_of(kind, attempt(7, Some(3))) {
                match message {
                    Sample::ToServer(message) => {
                        assert_eq!(message.kind(), kind);
                        let bytes = message.to_wire().encode_to_vec();
                        let back = wire::WorkerMessage::decode(bytes.as_slice()).unwrap();
                        assert_eq!(WorkerMessage::from_wire(back).unwrap(), Some(message));
                    }
                    Sample::ToWorker(message) => {
                        assert_eq!(message.kind(), kind);
                        let bytes = message.to_wire().encode_to_vec();
                        let back = wire::ServerMessage::decode(bytes.as_slice()).unwrap();
                        assert_eq!(ServerMessage::from_wire(back).unwrap(), Some(message));
                    }
                }
            }
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_is_skipped() {
        // Field 100, length-delimited, empty.
        let unknown = wire::WorkerMessage::decode([0xa2, 0x06, 0x00].as_slice()).unwrap();
        assert_eq!(WorkerMessage::from_wire(unknown).unwrap(), None);
        let unknown = wire::ServerMessage::decode([0xa2, 0x06, 0x00].as_slice()).unwrap();
        assert_eq!(ServerMessage::from_wire(unknown).unwrap(), None);
    }

    #[test]
    fn frames_are_bounded_and_keep_the_order() {
        let segment = |offset| {
            let content = Bytes::from(vec![b'x'; limits::LOG_SEGMENT_BYTES_MAX]);
            WorkerMessage::Log(LogSegment::new(attempt(1, None), LogStream::Output, offset, content))
        };
        let frames = worker_frames((0..40).map(segment));
        assert!(frames.len() >= 3);
        let mut offsets = Vec::new();
        for frame in frames {
            assert!(frame.encoded_len() < limits::FRAME_BYTES_MAX);
            for message in frame.messages {
                match WorkerMessage::from_wire(message).unwrap() {
                    Some(WorkerMessage::Log(segment)) => offsets.push(segment.offset),
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        assert_eq!(offsets, (0..40).collect::<Vec<_>>());
        let many = (0..10_000).map(|_| WorkerMessage::Engine(FromWorker::Heartbeat));
        assert!(worker_frames(many).iter().all(|frame| frame.messages.len() <= limits::FRAME_MESSAGES_MAX));
    }
}
