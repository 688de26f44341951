//! Sessions of workers that say anything in any order, against the real sessions, leader and engine.

use std::rc::Rc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use axum::body::{Body, Bytes};
use axum::http::{Request, Version};
use bowline_core::name::WorkerName;
use bowline_protocol::wire::{self, WorkerFrame, worker_message::Kind};
use bowline_server::inside::{Answer, Inside};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::server::{self, Written};

/// Most steps of one input, and most messages of one step.
const STEPS_MAX: usize = 24;
const MESSAGES_MAX: usize = 12;
/// Workers, each with its name and its key.
const WORKERS: [&str; 2] = ["w-0", "w-1"];
/// How long to wait for the end of a session that was closed.
const END_WAIT: Duration = Duration::from_secs(8);

/// What happens next.
#[derive(Debug, Arbitrary)]
enum Step {
    /// A task, an array, or a run comes.
    Submit(u8),
    /// Somebody does something to a task, a worker, or everything.
    Verb(u8, u8),
    /// A worker opens a session; its older one, if any, stays open.
    Open(u8, Greeting),
    /// Messages of its newest session.
    Say(u8, Vec<Said>),
    /// Bytes in the place of a frame.
    Raw(u8, Vec<u8>),
    /// The newest session's connection ends.
    End(u8),
}

#[derive(Debug, Arbitrary)]
struct Greeting {
    known: Vec<(Of, u8)>,
    slots: u8,
    incarnation: u8,
    seen: Option<(u8, u8)>,
    boot: u8,
    dir: u8,
    process: u8,
    odd: u8,
}

/// An attempt, mostly one that may exist.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct Of {
    task: u8,
    index: Option<u8>,
    attempt: u8,
    odd: u8,
}

#[derive(Debug, Arbitrary)]
enum Said {
    Heartbeat(Vec<Of>),
    Demand(u8, u8),
    Started(Of),
    Finished(Of, u8, Option<String>),
    Released(Of, bool),
    Gone(Of),
    Artifact(Of, String, u64),
    Undelivered(Of, String),
    Log(Of, u8, u16, Vec<u8>, Option<u16>, Option<u16>),
    Upload(Of, u64, u64),
    Health(Option<String>),
    Bye,
    Hello,
    Delivered(Of, u64, u32),
}

/// Reads bytes as steps, and takes them.
pub fn check(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let mut steps = Vec::new();
    while steps.len() < STEPS_MAX && !bytes.is_empty() {
        let Ok(step) = Step::arbitrary(&mut bytes) else { break };
        steps.push(step);
    }
    if steps.is_empty() {
        return;
    }
    server::with(|server| play(server, steps));
}

async fn play(server: Rc<Inside>, steps: Vec<Step>) {
    let mut sessions: [Vec<Session>; 2] = [Vec::new(), Vec::new()];
    for name in WORKERS {
        drop(server.enrol(WorkerName::new(name).expect("a name"), "key").await);
    }
    for step in steps {
        match step {
            Step::Submit(which) => ask(&server, &submit(which)).await,
            Step::Verb(verb, of) => ask(&server, &verb_of(verb, of)).await,
            Step::Open(worker, greeting) => {
                let at = usize::from(worker % 2);
                let session = Session::open(&server, WORKERS[at]);
                session.send(vec![hello(WORKERS[at], &greeting)]).await;
                sessions[at].push(session);
            }
            Step::Say(worker, said) => {
                if let Some(session) = sessions[usize::from(worker % 2)].last() {
                    session.send(said.into_iter().take(MESSAGES_MAX).map(message).collect()).await;
                }
            }
            Step::Raw(worker, bytes) => {
                if let Some(session) = sessions[usize::from(worker % 2)].last() {
                    session.send_raw(&bytes).await;
                }
            }
            Step::End(worker) => drop(sessions[usize::from(worker % 2)].pop()),
        }
        settle().await;
    }
    for path in ["GET /api/v1/tasks?namespace=*", "GET /api/v1/workers", "GET /api/v1/tasks/1/explain", "GET /metrics"]
    {
        ask(&server, path).await;
    }
    for session in sessions.into_iter().flatten() {
        session.end().await;
    }
}

async fn ask(server: &Inside, text: &str) {
    let written = Written::read(text.as_bytes()).expect("a request");
    server::ask(server, &written).await;
}

/// Lets everything that waits be done: there is one thread, and the leader's own answers each request in order.
async fn settle() {
    for _ in 0..24 {
        tokio::task::yield_now().await;
    }
}

struct Session {
    frames: mpsc::Sender<Bytes>,
    over: tokio::task::JoinHandle<()>,
}

impl Session {
    fn open(server: &Rc<Inside>, name: &str) -> Self {
        let (frames, stream) = mpsc::channel::<Bytes>(64);
        let body = Body::from_stream(ReceiverStream::new(stream).map(Ok::<_, std::convert::Infallible>));
        let request = Request::builder()
            .method("POST")
            .uri("http://127.0.0.1:7420/bowline.v1.Fleet/Session")
            .version(Version::HTTP_2)
            .header("host", "127.0.0.1:7420")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", "Bearer key")
            .header("bowline-worker", name)
            .header("bowline-protocol", "1.0")
            .body(body)
            .expect("a request");
        let asking = server.asking(request, END_WAIT);
        let over = tokio::spawn(async move {
            match asking.await {
                Answer::Whole(answer) => assert!(!answer.status().is_server_error(), "{answer:?}"),
                // Given up after so long: nobody ends a session that is well.
                Answer::GoesOn(_) | Answer::Silent => {}
            }
        });
        Self { frames, over }
    }

    async fn send(&self, messages: Vec<wire::WorkerMessage>) {
        self.send_raw(&WorkerFrame { messages }.encode_to_vec()).await;
    }

    async fn send_raw(&self, bytes: &[u8]) {
        let mut frame = vec![0];
        frame.extend(u32::try_from(bytes.len()).expect("a short frame").to_be_bytes());
        frame.extend(bytes);
        // A session that is over takes nothing.
        drop(self.frames.try_send(frame.into()));
    }

    /// Closes it from this side; the server must end it too.
    async fn end(self) {
        drop(self.frames);
        let over = tokio::time::timeout(END_WAIT, self.over).await;
        over.expect("a session that was closed ends").expect("it does not panic");
    }
}

fn submit(which: u8) -> String {
    let body = match which % 8 {
        0 => r#"{"command":["true"]}"#,
        1 => r#"{"action":"noop","retries":2}"#,
        2 => r#"{"command":["true"],"array":"0-3%2"}"#,
        3 => r#"{"command":["true"],"after":["1:any"]}"#,
        4 => r#"{"command":["true"],"on_worker_loss":"fail"}"#,
        5 => r#"{"command":["true"],"overlap":"forbid","stop_after":"20s"}"#,
        6 => r#"{"action":"wait"}"#,
        _ => r#"{"command":["true"],"priority":5,"slots":2,"timeouts":{"run":"1us","total":"1h"}}"#,
    };
    format!("POST /api/v1/tasks\n\n{body}")
}

fn verb_of(verb: u8, of: u8) -> String {
    let (task, worker) = (of % 5 + 1, WORKERS[usize::from(of % 2)]);
    match verb % 12 {
        0 => format!("POST /api/v1/tasks/{task}/cancel"),
        1 => format!("POST /api/v1/tasks/{task}/retry"),
        2 => format!("POST /api/v1/tasks/{task}/pause"),
        3 => format!("POST /api/v1/tasks/{task}/resume"),
        4 => format!("DELETE /api/v1/tasks/{task}"),
        5 => format!("POST /api/v1/tasks/{task}/resolve\n\n{{\"outcome\":\"failed\"}}"),
        6 => format!("POST /api/v1/workers/{worker}/pause"),
        7 => format!("POST /api/v1/workers/{worker}/resume"),
        8 => format!("POST /api/v1/workers/{worker}/drain\n\n{{\"mode\":\"release\"}}"),
        9 => format!("POST /api/v1/workers/{worker}/undrain"),
        10 => format!("POST /api/v1/workers/{worker}/forget"),
        _ => format!("GET /api/v1/tasks/{task}/history"),
    }
}

fn attempt(of: Of) -> Option<wire::Attempt> {
    Some(wire::Attempt {
        task: if of.odd == 255 { u64::MAX } else { u64::from(of.task % 5) + 1 },
        index: of.index.map(|index| u32::from(index % 5)),
        generation: u32::from(of.odd == 254),
        attempt: u32::from(of.attempt % 3) + 1,
    })
    .filter(|_| of.odd != 253)
}

fn hello(name: &str, greeting: &Greeting) -> wire::WorkerMessage {
    let known = greeting.known.iter().take(MESSAGES_MAX);
    said(Kind::Hello(wire::Hello {
        name: if greeting.odd == 255 { "other".to_owned() } else { name.to_owned() },
        incarnation: u32::from(greeting.incarnation % 4),
        state_dir: format!("dir {}", greeting.dir % 2),
        boot_id: format!("boot {}", greeting.boot % 2),
        process: format!("process {}", greeting.process % 3),
        version: "0.1.0".to_owned(),
        capabilities: Vec::new(),
        actions: ["noop", "command"].map(str::to_owned).to_vec(),
        room: room(u32::from(greeting.slots)),
        prefetch: u32::from(greeting.odd % 3),
        seen: greeting
            .seen
            .filter(|_| greeting.odd == 254)
            .map(|(generation, commit)| wire::Seen { generation: u32::from(generation), commit_no: u64::from(commit) }),
        attempts: known
            .map(|(of, known)| wire::KnownAttempt { attempt: attempt(*of), known_as: i32::from(known % 8) })
            .collect(),
        pool: (greeting.odd == 253).then(|| "pool".to_owned()),
        health: (greeting.odd > 250)
            .then(|| wire::Health { broken: (greeting.odd == 252).then(|| "no disk".to_owned()) }),
        // Some say when they said it, in any order.
        said_at_us: (greeting.odd % 2 == 0).then(|| u64::from(greeting.odd) * 1_000),
    }))
}

fn room(slots: u32) -> Option<wire::Room> {
    Some(wire::Room { slots, amounts: Vec::new() })
}

fn said(kind: Kind) -> wire::WorkerMessage {
    wire::WorkerMessage { kind: Some(kind), delivery: None }
}

fn message(what: Said) -> wire::WorkerMessage {
    said(match what {
        Said::Heartbeat(stuck) => Kind::Heartbeat(wire::Heartbeat {
            stuck: stuck
                .into_iter()
                .map(|of| wire::StuckJob { attempt: attempt(of), pids: vec![u32::from(of.odd)] })
                .collect(),
            ..wire::Heartbeat::default()
        }),
        Said::Demand(most, slots) => {
            Kind::Demand(wire::Demand { attempts_max: u32::from(most), room: room(u32::from(slots)) })
        }
        Said::Started(of) => match attempt(of) {
            Some(of) => Kind::Started(of),
            None => Kind::Started(wire::Attempt::default()),
        },
        Said::Finished(of, how, result) => {
            Kind::Finished(wire::Finished { attempt: attempt(of), how: how_of(how), result })
        }
        Said::Released(of, started) => {
            Kind::Released(wire::Released { attempt: attempt(of), started, why: "fuzz".to_owned() })
        }
        Said::Gone(of) => Kind::Gone(wire::Gone { attempt: attempt(of), why: "fuzz".to_owned() }),
        Said::Artifact(of, name, bytes) => Kind::ArtifactCommitted(wire::ArtifactCommitted {
            attempt: attempt(of),
            name,
            digest: "a".repeat(64),
            bytes,
        }),
        Said::Undelivered(of, name) => {
            Kind::ArtifactUndelivered(wire::ArtifactUndelivered { attempt: attempt(of), name, why: "fuzz".to_owned() })
        }
        Said::Log(of, stream, offset, content, sealed_at, left_out_from) => Kind::LogSegment(wire::LogSegment {
            attempt: attempt(of),
            stream: u32::from(stream % 3),
            offset: u64::from(offset),
            content: content.into(),
            sealed_at: sealed_at.map(u64::from),
            left_out_from: left_out_from.map(u64::from),
            ..wire::LogSegment::default()
        }),
        Said::Upload(of, sent, bytes) => {
            Kind::UploadProgress(wire::UploadProgress { attempt: attempt(of), files: 1, sent, bytes })
        }
        Said::Health(broken) => Kind::Health(wire::Health { broken }),
        Said::Bye => Kind::Bye(wire::Bye { why: "fuzz".to_owned() }),
        Said::Hello => Kind::Hello(wire::Hello::default()),
        Said::Delivered(of, waited_us, sends) => {
            let started = message(Said::Started(of));
            return wire::WorkerMessage { delivery: Some(wire::Delivery { waited_us, sends }), ..started };
        }
    })
}

fn how_of(how: u8) -> Option<wire::finished::How> {
    use wire::finished::How;
    Some(match how % 6 {
        0 | 1 => How::Success(wire::Success {}),
        2 => How::Error(wire::JobError { exit_status: Some(i32::from(how)), ..wire::JobError::default() }),
        3 => How::Timeout(i32::from(how / 6 % 7)),
        4 => How::Stopped(wire::Stopped {}),
        _ => return None,
    })
}
