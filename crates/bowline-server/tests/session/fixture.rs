//! A server in a folder of its own, and a worker that is driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Answer, Reply};
use bowline_core::id::{AttemptRef, Incarnation, TaskId, TaskRef};
use bowline_core::input::{DryRun, NewTask, Request, Strict, Submit, TaskVerb};
use bowline_core::message::{FromWorker, Hello, KnownAs, ToWorker};
use bowline_core::name::{Actor, Namespace, WorkerName};
use bowline_core::spec::{Action, TaskSpec, Work};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_protocol::call::{self, Caller};
use bowline_protocol::limits::FRAME_BYTES_MAX;
use bowline_protocol::wire::fleet_client::FleetClient;
use bowline_protocol::wire::{self, WorkerFrame};
use bowline_protocol::{Handover, ServerMessage, WorkerMessage};
use bowline_server::{Server, ServerConfig, start};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Longest wait for anything.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// Slots of a worker by hand: more than any test takes.
pub(crate) const SLOTS: u32 = 1_000;

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// A server in a folder of its own.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) server: Server,
}

pub(crate) fn config(folder: &tempfile::TempDir) -> ServerConfig {
    let listen = "127.0.0.1:0".parse().unwrap();
    ServerConfig { listen, ..ServerConfig::new(folder.path().join("data")) }
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = start(config(&folder)).await.unwrap();
        Self { folder, server }
    }

    pub(crate) async fn ask(&self, request: Request) -> Reply {
        soon("an answer", self.server.state().leader.request(Actor::new("tester"), request)).await
    }

    pub(crate) async fn submit(&self) -> TaskId {
        let spec = Arc::new(TaskSpec::new(Work::new(Action::Noop)));
        let new = NewTask { spec, elements: Arc::new(Vec::new()), after_earlier: Vec::new() };
        let submit = Submit {
            namespace: Namespace::default(),
            tasks: vec![new],
            key: None,
            dry_run: DryRun::No,
            strict: Strict::No,
        };
        match self.ask(Request::Submit(submit)).await {
            Ok(Answer::Submitted { tasks, .. }) => tasks[0],
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn verb(&self, task: TaskId, verb: TaskVerb) {
        let tasks = vec![TaskRef::whole(task)];
        match self.ask(Request::Tasks { namespace: Namespace::default(), tasks, verb }).await {
            Ok(Answer::Tasks(done)) => assert!(done[0].1.is_ok(), "{done:?}"),
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn enrol(&self, name: &str, key: &str) {
        let worker = WorkerName::new(name).unwrap();
        let key = *blake3::hash(key.as_bytes()).as_bytes();
        self.ask(Request::Enrol { token: None, worker, key }).await.unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.server.url()).unwrap();
        soon("a connection", endpoint.connect()).await.unwrap()
    }

    /// Enrolled, welcomed, and with room.
    pub(crate) async fn worker(&self, name: &str) -> Hand {
        self.enrol(name, "key").await;
        self.reconnect(name, Vec::new()).await
    }

    pub(crate) async fn reconnect(&self, name: &str, attempts: Vec<(AttemptRef, KnownAs)>) -> Hand {
        let mut hand = Hand::call(self.channel().await, name, "key").await.unwrap();
        let mut hello = hello(name);
        hello.attempts = attempts;
        hand.say(&WorkerMessage::Hello(Box::new(hello))).await;
        match hand.next().await {
            Ok(Some(ServerMessage::Engine(ToWorker::Welcome { .. }))) => {}
            other => panic!("not welcomed: {other:?}"),
        }
        hand.demand().await;
        hand
    }
}

/// One session, driven by hand.
pub(crate) struct Hand {
    frames: mpsc::Sender<WorkerFrame>,
    stream: Streaming<wire::ServerFrame>,
    come: VecDeque<ServerMessage>,
}

impl Hand {
    pub(crate) async fn call(channel: Channel, name: &str, key: &str) -> Result<Self, Status> {
        let mut client = FleetClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
        let (frames, to_send) = mpsc::channel(64);
        let mut request = tonic::Request::new(ReceiverStream::new(to_send));
        let caller = Caller { worker: WorkerName::new(name).unwrap(), pool: None, key: key.to_owned() };
        call::put(request.metadata_mut(), &caller).unwrap();
        let response = soon("the call is taken", client.session(request)).await?;
        Ok(Self { frames, stream: response.into_inner(), come: VecDeque::new() })
    }

    pub(crate) async fn say(&self, message: &WorkerMessage) {
        self.say_raw(message.to_wire()).await;
    }

    pub(crate) async fn say_raw(&self, message: wire::WorkerMessage) {
        // A session that is over is seen by what comes next.
        drop(self.frames.send(WorkerFrame { messages: vec![message] }).await);
    }

    pub(crate) async fn tell(&self, message: FromWorker) {
        self.say(&WorkerMessage::Engine(message)).await;
    }

    pub(crate) async fn demand(&self) {
        let room = Room { slots: SLOTS, amounts: BTreeMap::new() };
        self.tell(FromWorker::Demand { attempts_max: SLOTS, room }).await;
    }

    /// The next message. `None`: the session was closed in order.
    pub(crate) async fn next(&mut self) -> Result<Option<ServerMessage>, Status> {
        loop {
            if let Some(message) = self.come.pop_front() {
                return Ok(Some(message));
            }
            let Some(frame) = soon("a message", self.stream.message()).await? else { return Ok(None) };
            for message in frame.messages {
                self.come.extend(ServerMessage::from_wire(message).unwrap());
            }
        }
    }

    /// The next message for which the question has an answer; others are passed over.
    pub(crate) async fn until<T>(&mut self, what: &str, wanted: impl Fn(&ServerMessage) -> Option<T>) -> T {
        loop {
            match self.next().await {
                Ok(Some(message)) => {
                    if let Some(found) = wanted(&message) {
                        return found;
                    }
                }
                other => panic!("waiting for {what}: {other:?}"),
            }
        }
    }

    pub(crate) async fn assign(&mut self) -> Handover {
        let assign = |message: &ServerMessage| match message {
            ServerMessage::Assign(handover) => Some((**handover).clone()),
            ServerMessage::Engine(_) | ServerMessage::LogAck(_) => None,
        };
        self.until("an assignment", assign).await
    }

    /// An acknowledgement or a verdict about this attempt.
    pub(crate) async fn answered(&mut self, attempt: AttemptRef) -> ServerMessage {
        let answer = |message: &ServerMessage| match message {
            ServerMessage::Engine(ToWorker::Ack { attempt: of, .. } | ToWorker::Verdict { attempt: of, .. }) => {
                (*of == attempt).then(|| message.clone())
            }
            ServerMessage::LogAck(ack) => (ack.attempt == attempt).then(|| message.clone()),
            ServerMessage::Engine(_) | ServerMessage::Assign(_) => None,
        };
        self.until("an acknowledgement or a verdict", answer).await
    }

    /// The session lives: a heartbeat is answered.
    pub(crate) async fn is_heard(&mut self) {
        self.tell(FromWorker::Heartbeat).await;
        let is_ack =
            |message: &ServerMessage| matches!(message, ServerMessage::Engine(ToWorker::HeartbeatAck)).then_some(());
        self.until("the answer to a heartbeat", is_ack).await;
    }

    /// How the session ends: `None` in order.
    pub(crate) async fn end(&mut self) -> Option<Code> {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status.code()),
            }
        }
    }
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        pool: None,
        name: WorkerName::new(name).unwrap(),
        incarnation: Incarnation(0),
        seat: Seat {
            state_dir: "dir".to_owned(),
            boot_id: "boot".to_owned(),
            process: format!("process of {name}"),
            said_at: None,
        },
        version: "0.1.0".to_owned(),
        offer: Offer {
            capabilities: BTreeMap::new(),
            actions: vec!["noop".to_owned()],
            room: Room { slots: SLOTS, amounts: BTreeMap::new() },
        },
        prefetch: 0,
        health: Health::Ok,
        seen: None,
        attempts: Vec::new(),
    }
}
