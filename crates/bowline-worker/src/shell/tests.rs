//! A whole worker against a server and a supervisor that do as the test says.

use std::collections::VecDeque;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bowline_core::id::{CommitNo, Epoch, Generation, Incarnation};
use bowline_core::message::{Assured, FromWorker, Hello, JobEnd, KnownAs, StopWhy, ToWorker, Verdict};
use bowline_core::name::WorkerName;
use bowline_core::spec::{Action, Command, Work};
use bowline_protocol::message::server_frames;
use bowline_protocol::wire::fleet_server::{Fleet, FleetServer};
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{Handover, LogAck, LogSegment, Sealed, ServerMessage, WorkerMessage, sample};
use bowline_supervisor::wire::{self as jobs_wire, Event, Exit, Exited, Request as JobRequest, StopReason};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::OnTerm;
use crate::run::run;

mod outbox;
mod several;
mod unfit;

const BOUND: Duration = Duration::from_secs(20);

/// One session as the server sees it.
struct Session {
    from: Streaming<WorkerFrame>,
    pending: VecDeque<WorkerMessage>,
    to: mpsc::Sender<Result<ServerFrame, Status>>,
}

/// Sessions, and second streams.
struct FakeFleet(mpsc::Sender<Session>, mpsc::Sender<Session>);

#[tonic::async_trait]
impl Fleet for FakeFleet {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<ServerFrame, Status>> + Send>>;
    type LiveStream = Self::SessionStream;

    async fn session(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<Self::SessionStream>, Status> {
        Self::open(&self.0, request).await
    }

    async fn live(&self, request: Request<Streaming<WorkerFrame>>) -> Result<Response<Self::LiveStream>, Status> {
        let process = bowline_protocol::call::process(request.metadata()).map(str::len);
        assert!(process.is_ok_and(|length| length > 0));
        Self::open(&self.1, request).await
    }
}

impl FakeFleet {
    async fn open(
        taken: &mpsc::Sender<Session>,
        request: Request<Streaming<WorkerFrame>>,
    ) -> Result<Response<<Self as Fleet>::SessionStream>, Status> {
        bowline_protocol::call::read(request.metadata()).map_err(|error| Status::unauthenticated(error.to_string()))?;
        let (to, frames) = mpsc::channel(64);
        let session = Session { from: request.into_inner(), pending: VecDeque::new(), to };
        taken.send(session).await.map_err(|_| Status::unavailable("the test is over"))?;
        let mut response = Response::new(Box::pin(ReceiverStream::new(frames)) as <Self as Fleet>::SessionStream);
        bowline_protocol::call::put_version(response.metadata_mut());
        Ok(response)
    }
}

impl Session {
    async fn next(&mut self) -> WorkerMessage {
        let next = async {
            loop {
                if let Some(message) = self.pending.pop_front() {
                    return message;
                }
                let frame = self.from.message().await.unwrap().expect("the worker closed the session");
                let messages = frame.messages.into_iter();
                self.pending.extend(messages.filter_map(|message| WorkerMessage::from_wire(message).unwrap()));
            }
        };
        tokio::time::timeout(BOUND, next).await.expect("nothing came from the worker")
    }

    /// The next message that is not a timely one.
    async fn next_assured(&mut self) -> WorkerMessage {
        loop {
            let message = self.next().await;
            if message.kind().class() == bowline_protocol::Class::Assured {
                return message;
            }
        }
    }

    async fn say(&self, messages: Vec<ServerMessage>) {
        for frame in server_frames(messages, (Generation(0), CommitNo(1))) {
            self.to.send(Ok(frame)).await.unwrap();
        }
    }

    /// Hello comes, Welcome goes: every attempt goes on.
    async fn welcome(&mut self) -> Hello {
        let WorkerMessage::Hello(hello) = self.next().await else { panic!("no hello") };
        let verdicts = hello.attempts.iter().map(|(attempt, _)| (*attempt, Verdict::Continue)).collect();
        let welcome = ToWorker::Welcome {
            epoch: Epoch(1),
            name: hello.name.clone(),
            incarnation: Incarnation(1),
            generation: Generation(0),
            heartbeat: Duration::from_secs(5),
            verdicts,
            left: vec![],
        };
        self.say(vec![ServerMessage::Engine(welcome)]).await;
        *hello
    }

    async fn ack(&self, attempt: AttemptRef, of: Assured) {
        self.say(vec![ServerMessage::Engine(ToWorker::Ack { attempt, of })]).await;
    }
}

/// What the supervisor says by itself, over the connection that is open; and the jobs that it may forget.
#[derive(Clone, Default)]
struct Boss(Arc<parking_lot::Mutex<Option<UnixStream>>>, Arc<parking_lot::Mutex<BTreeSet<String>>>);

impl Boss {
    /// The job of this task's attempt has ended well.
    fn ends(&self, task: u64) {
        let key = key_of(sample::attempt(task, None));
        let stream = self.0.lock();
        let mut stream = stream.as_ref().expect("the worker is connected");
        jobs_wire::write_frame(&mut stream, &exited(key, Exit::Code(0), None).encode()).unwrap();
    }

    /// Whether the end of this task's attempt is in the worker's journal: then its job may be forgotten.
    fn may_forget(&self, task: u64) -> bool {
        self.1.lock().contains(&key_of(sample::attempt(task, None)))
    }
}

/// A supervisor: commands called `wait` and `talk` run until they are killed, and `talk` says `hello` first;
/// all others write `hello` and end well.
fn fake_supervisor(state: &Path) -> Boss {
    let boss = Boss::default();
    let told = boss.clone();
    let socket = bowline_supervisor::socket_path(&state.join("supervisor"));
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let hello = jobs_wire::read_frame(&mut stream).unwrap().unwrap();
            jobs_wire::write_frame(&mut stream, &hello).unwrap();
            *told.0.lock() = Some(stream.try_clone().unwrap());
            while let Ok(Some(frame)) = jobs_wire::read_frame(&mut stream) {
                let request = JobRequest::decode(&frame).unwrap();
                if let JobRequest::Forget { key } = &request {
                    told.1.lock().insert(key.clone());
                }
                for event in answers(request) {
                    if jobs_wire::write_frame(&mut stream, &event.encode()).is_err() {
                        break;
                    }
                }
            }
        }
    });
    boss
}

fn exited(key: String, exit: Exit, stopped: Option<StopReason>) -> Event {
    let (started_at, ended_at) = (Duration::ZERO, Duration::ZERO);
    Event::Exited(Exited { key, exit, stopped, started_at, ended_at, leftovers: 0, recorded: true })
}

fn answers(request: JobRequest) -> Vec<Event> {
    match request {
        JobRequest::List => vec![Event::Listed { live: 0, ended: 0, damaged: vec![] }],
        JobRequest::Start(start) => {
            let started = Event::Started { key: start.key.clone(), pid: 1, started_at: Duration::ZERO };
            if start.argv[0] == "wait" {
                return vec![started];
            }
            if start.argv[0] == "big" {
                let output = start.env.iter().find(|(name, _)| name == "BOWLINE_OUTPUT").unwrap();
                std::fs::write(&output.1, format!("{{\"a\":\"{}\"}}", "x".repeat(900 << 10))).unwrap();
            }
            std::fs::write(&start.stdout, "hello\n").unwrap();
            if start.argv[0] == "talk" {
                return vec![started];
            }
            vec![started, exited(start.key, Exit::Code(0), None)]
        }
        JobRequest::Kill { key, .. } => vec![exited(key, Exit::Signal(15), Some(StopReason::Asked))],
        JobRequest::Forget { .. } | JobRequest::Shutdown(_) | JobRequest::Renew { .. } => vec![],
        JobRequest::Ping => vec![Event::Pong],
    }
}

/// A server that listens.
struct Listening {
    server: String,
    sessions: mpsc::Receiver<Session>,
    lives: mpsc::Receiver<Session>,
    task: AbortHandle,
}

/// A server at this address.
fn listen(address: &str, serving: &mut tokio::task::JoinSet<()>) -> Listening {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address.parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let ((said, sessions), (shipped, lives)) = (mpsc::channel(4), mpsc::channel(4));
    let task = serving.spawn(async move {
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let router = tonic::transport::Server::builder().add_service(FleetServer::new(FakeFleet(said, shipped)));
        router.serve_with_incoming(incoming).await.unwrap();
    });
    Listening { server, sessions, lives, task }
}

struct Rig {
    dir: tempfile::TempDir,
    server: String,
    sessions: mpsc::Receiver<Session>,
    lives: mpsc::Receiver<Session>,
    serving: tokio::task::JoinSet<()>,
    listening: AbortHandle,
    boss: Boss,
    slots: u32,
    further: Vec<crate::config::Server>,
    outbox_bytes_max: Option<usize>,
    disk_free_min: Option<u64>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "a".repeat(64)).unwrap();
        let boss = fake_supervisor(dir.path());
        let mut serving = tokio::task::JoinSet::new();
        let Listening { server, sessions, lives, task: listening } = listen("127.0.0.1:0", &mut serving);
        let further = Vec::new();
        let (outbox_bytes_max, disk_free_min) = (None, None);
        Self {
            dir,
            server,
            sessions,
            lives,
            serving,
            listening,
            boss,
            slots: 2,
            further,
            outbox_bytes_max,
            disk_free_min,
        }
    }

    /// The server is gone; its port stays free for it.
    fn server_leaves(&self) {
        self.listening.abort();
    }

    fn server_returns(&mut self) {
        let address = self.server.strip_prefix("http://").unwrap().to_owned();
        Listening { sessions: self.sessions, lives: self.lives, task: self.listening, .. } =
            listen(&address, &mut self.serving);
    }

    fn worker(&mut self, on_term: OnTerm) -> (CancellationToken, tokio::sync::oneshot::Receiver<WorkerExit>) {
        let name = WorkerName::new("lab-3").unwrap();
        let mut config = WorkerConfig::new(&self.server, name, self.dir.path().to_owned(), PathBuf::from("/bin/false"));
        config.on_term = on_term;
        config.room.slots = self.slots;
        config.further.clone_from(&self.further);
        config.outbox_bytes_max = self.outbox_bytes_max.unwrap_or(config.outbox_bytes_max);
        config.checks.disk_free_min = self.disk_free_min.unwrap_or(config.checks.disk_free_min);
        let stop = CancellationToken::new();
        let (done, exit) = tokio::sync::oneshot::channel();
        let told = stop.clone();
        self.serving.spawn(async move {
            let exit = run(config, told).await.unwrap();
            done.send(exit).ok();
        });
        (stop, exit)
    }

    async fn session(&mut self) -> Session {
        tokio::time::timeout(BOUND, self.sessions.recv()).await.expect("no session was opened").unwrap()
    }
}

async fn live(rig: &mut Rig) -> Session {
    tokio::time::timeout(BOUND, rig.lives.recv()).await.expect("no second stream was opened").unwrap()
}

fn assign(task: u64, action: Action) -> ServerMessage {
    let mut handover: Handover = sample::handover(sample::attempt(task, None));
    handover.work = serde_json::to_vec(&Work::new(action)).unwrap().into();
    ServerMessage::Assign(Box::new(handover))
}

fn command(program: &str) -> Action {
    Action::Command(Command::Argv(vec![program.to_owned()]))
}

fn started(task: u64) -> WorkerMessage {
    WorkerMessage::Engine(FromWorker::Started(sample::attempt(task, None)))
}

fn end_of(message: &WorkerMessage) -> JobEnd {
    match message {
        WorkerMessage::Engine(FromWorker::Finished(finished)) => finished.how.clone(),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_is_delivered_again_by_the_next_session_and_the_next_process() {
    let mut rig = Rig::new();
    let attempt = sample::attempt(1, None);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut first = rig.session().await;
    assert_eq!(first.welcome().await.attempts, []);
    first.say(vec![assign(1, Action::Noop)]).await;
    assert_eq!(first.next_assured().await, started(1));
    assert_eq!(end_of(&first.next_assured().await), JobEnd::Success);
    drop(first);

    let mut second = rig.session().await;
    assert_eq!(second.welcome().await.attempts, [(attempt, KnownAs::EndedPending)]);
    assert_eq!(second.next_assured().await, started(1));
    second.ack(attempt, Assured::Started).await;
    assert_eq!(end_of(&second.next_assured().await), JobEnd::Success);
    // What comes after the acknowledgement shows that it was taken.
    second.say(vec![assign(2, Action::Noop)]).await;
    assert_eq!(second.next_assured().await, started(2));
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);

    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut third = rig.session().await;
    let hello = third.welcome().await;
    assert_eq!(hello.incarnation, Incarnation(0));
    assert!(hello.attempts.contains(&(attempt, KnownAs::EndedPending)), "{:?}", hello.attempts);
    assert_eq!(end_of(&third.next_assured().await), JobEnd::Success);
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn a_command_s_result_and_log_are_delivered_and_its_folder_goes() {
    let mut rig = Rig::new();
    let attempt = sample::attempt(7, None);
    let (stop, exit) = rig.worker(OnTerm::Release);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say(vec![assign(7, command("greet"))]).await;
    let mut live = live(&mut rig).await;
    let (mut log, mut sealed) = (Vec::new(), Sealed::No);
    while sealed == Sealed::No {
        let LogSegment { stream, offset, content, sealed_at, .. } = match live.next().await {
            WorkerMessage::Log(segment) => segment,
            // Best effort, on the same stream, in no order with the log.
            WorkerMessage::Upload(_) => continue,
            other => panic!("{other:?}"),
        };
        assert_eq!(offset, log.len() as u64);
        log.extend_from_slice(&content);
        if sealed_at == Some(6) {
            sealed = Sealed::Yes;
        }
        let ack = LogAck { attempt, stream, up_to: log.len() as u64, sealed };
        live.say(vec![ServerMessage::LogAck(ack)]).await;
    }
    loop {
        match session.next_assured().await {
            message @ WorkerMessage::Engine(FromWorker::Finished(_)) => {
                assert_eq!(end_of(&message), JobEnd::Success);
                session.ack(attempt, Assured::Finished).await;
                break;
            }
            message => {
                assert_eq!(message, started(7));
                session.ack(attempt, Assured::Started).await;
            }
        }
    }
    assert_eq!(log, b"hello\n");
    // It leaves when everything is delivered: then the folder is gone too, or goes at the next start.
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
    let recovered = Journal::open(&rig.dir.path().join("journal.db")).unwrap().1;
    assert!(recovered.attempts.is_empty() && recovered.messages.is_empty(), "{recovered:?}");
}

#[tokio::test]
async fn a_cancelled_job_is_killed_and_told_and_a_second_assignment_of_it_changes_nothing() {
    let mut rig = Rig::new();
    let attempt = sample::attempt(3, None);
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say(vec![assign(3, command("wait"))]).await;
    assert_eq!(session.next_assured().await, started(3));
    let cancel = ToWorker::Cancel { attempt, why: StopWhy::Cancel };
    session.say(vec![assign(3, command("wait")), ServerMessage::Engine(cancel)]).await;
    assert_eq!(end_of(&session.next_assured().await), JobEnd::Stopped);
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}

#[tokio::test]
async fn a_fenced_worker_stops_its_jobs_and_says_so_by_its_exit() {
    let mut rig = Rig::new();
    let (_stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    session.say(vec![assign(3, command("wait"))]).await;
    assert_eq!(session.next_assured().await, started(3));
    session.say(vec![ServerMessage::Engine(ToWorker::Fenced { why: "a newer process".to_owned() })]).await;
    let exit = tokio::time::timeout(BOUND, exit).await.unwrap().unwrap();
    assert_eq!(exit, WorkerExit::Fenced { why: "a newer process".to_owned() });
}

#[tokio::test]
async fn the_log_of_every_job_gets_its_turn_however_many_are_open() {
    const QUIET: u64 = 80;
    let mut rig = Rig::new();
    rig.slots = 100;
    let (stop, exit) = rig.worker(OnTerm::Handoff);
    let mut session = rig.session().await;
    session.welcome().await;
    // They come first in every order, and never say a word.
    session.say((1..=QUIET).map(|task| assign(task, command("wait"))).collect()).await;
    session.say(vec![assign(QUIET + 1, command("talk"))]).await;
    let mut live = live(&mut rig).await;
    let told = loop {
        if let WorkerMessage::Log(segment) = live.next().await {
            break segment;
        }
    };
    assert_eq!((told.attempt, &told.content[..]), (sample::attempt(QUIET + 1, None), &b"hello\n"[..]));
    stop.cancel();
    assert_eq!(exit.await.unwrap(), WorkerExit::Stopped);
}
