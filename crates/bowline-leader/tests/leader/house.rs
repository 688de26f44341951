//! A leader over a gated store in memory, and short words for what tests ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::answer::{Answer, Overview, RefusalCode, Reply};
use bowline_core::id::{AttemptRef, CommitNo, Generation, Incarnation, SessionId, TaskId, TaskRef};
use bowline_core::input::{DryRun, IdempotencyKey, NewTask, Request, Strict, Submit, TaskVerb};
use bowline_core::message::{Assign, FromWorker, Hello, ToWorker};
use bowline_core::name::{Actor, Namespace, WorkerName};
use bowline_core::spec::{Action, TaskSpec, Work};
use bowline_core::worker::{Health, Offer, Room, Seat};
use bowline_leader::{Leader, LeaderConfig, LeaderStatus, LeaderTask};
use bowline_store::{MemoryStore, ReadStore, TaskFilter, TaskSort};
use tokio::sync::mpsc;

use crate::gated::{Gate, Gated, WAIT_MAX};

/// A leader over a gated store in memory.
pub(crate) struct House {
    pub(crate) leader: Leader,
    pub(crate) task: LeaderTask,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: MemoryStore,
}

impl House {
    /// Leads already.
    pub(crate) async fn new() -> Self {
        Self::with(LeaderConfig { seed: Some(7), ..LeaderConfig::default() }).await
    }

    pub(crate) async fn with(config: LeaderConfig) -> Self {
        let (store, gate) = (MemoryStore::new(), Arc::new(Gate::default()));
        let gated = Gated { inner: store.clone(), gate: Arc::clone(&gate) };
        let (leader, task) = Leader::start(config, Box::new(gated), Arc::new(store.clone())).unwrap();
        let house = Self { leader, task, gate, store };
        house.until_leading().await;
        house
    }

    pub(crate) async fn until_leading(&self) {
        let mut status = self.leader.status();
        let leads = status.wait_for(|status| matches!(status, LeaderStatus::Leading { .. }));
        drop(tokio::time::timeout(WAIT_MAX, leads).await.expect("it leads in time").unwrap());
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    pub(crate) async fn ask(&self, request: Request) -> Reply {
        ask(&self.leader, request).await
    }

    pub(crate) async fn submit(&self, spec: TaskSpec) -> TaskId {
        match self.ask(submit(spec, None)).await {
            Ok(Answer::Submitted { tasks, .. }) => tasks[0],
            other => panic!("unexpected {other:?}"),
        }
    }

    pub(crate) async fn overview(&self) -> Overview {
        match self.ask(Request::Overview).await {
            Ok(Answer::Overview(overview)) => *overview,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Unfinished tasks that the engine knows of.
    pub(crate) async fn unfinished(&self) -> u64 {
        self.overview().await.states.iter().map(|(_, count)| count).sum()
    }

    pub(crate) async fn verb(&self, task: TaskId, verb: TaskVerb) -> Reply {
        self.ask(Request::Tasks { namespace: Namespace::default(), tasks: vec![TaskRef::whole(task)], verb }).await
    }

    /// Names of all stored tasks, oldest first.
    pub(crate) fn stored(&self) -> Vec<String> {
        let page = self.store.tasks(&TaskFilter::default(), TaskSort::Oldest, None, 1_000).unwrap();
        page.items.into_iter().filter_map(|row| row.name).collect()
    }

    /// A worker with so many slots and a queue of so many messages, welcomed or not.
    pub(crate) async fn connect(&self, name: &str, queue: usize) -> Worker {
        let worker = WorkerName::new(name).unwrap();
        self.ask(Request::Enrol { token: None, worker: worker.clone(), key: [7; 32] }).await.unwrap();
        self.reconnect(name, queue).await
    }

    pub(crate) async fn reconnect(&self, name: &str, queue: usize) -> Worker {
        self.open(hello(name), queue).await
    }

    /// A session of a worker that has seen so much of a store.
    pub(crate) async fn meet(&self, name: &str, seen: Option<(Generation, CommitNo)>) -> Worker {
        self.open(Hello { seen, ..hello(name) }, 64).await
    }

    async fn open(&self, hello: Hello, queue: usize) -> Worker {
        let (outbox, messages) = mpsc::channel(queue);
        let session = self.leader.connect(hello, [7; 32], outbox).await.unwrap().session;
        Worker { session, messages, leader: self.leader.clone() }
    }
}

/// One session of a worker, driven by hand.
pub(crate) struct Worker {
    pub(crate) session: SessionId,
    pub(crate) messages: mpsc::Receiver<Option<ToWorker>>,
    leader: Leader,
}

impl Worker {
    pub(crate) async fn say(&self, message: FromWorker) {
        self.leader.from_worker(self.session, message).await.unwrap();
    }

    pub(crate) async fn demand(&self, slots: u32) {
        let room = Room { slots, amounts: BTreeMap::new() };
        self.say(FromWorker::Demand { attempts_max: slots, room }).await;
    }

    /// The next message. `None`: the session is closed.
    pub(crate) async fn next(&mut self) -> Option<ToWorker> {
        tokio::time::timeout(WAIT_MAX, self.messages.recv()).await.expect("a message comes in time").flatten()
    }

    /// The next assignment; what comes before it is passed over.
    pub(crate) async fn assign(&mut self) -> Assign {
        loop {
            match self.next().await {
                Some(ToWorker::Assign(assign)) => return assign,
                Some(_) => {}
                None => panic!("the session was closed"),
            }
        }
    }

    /// The next acknowledgement about this attempt.
    pub(crate) async fn acked(&mut self, attempt: AttemptRef) {
        loop {
            match self.next().await {
                Some(ToWorker::Ack { attempt: of, .. }) if of == attempt => return,
                Some(_) => {}
                None => panic!("the session was closed"),
            }
        }
    }
}

pub(crate) async fn ask(leader: &Leader, request: Request) -> Reply {
    tokio::time::timeout(WAIT_MAX, leader.request(Actor::new("tester"), request)).await.expect("an answer in time")
}

pub(crate) fn named(name: &str) -> TaskSpec {
    let mut spec = TaskSpec::new(Work::new(Action::Noop));
    spec.name = Some(name.to_owned());
    spec
}

pub(crate) fn submit(spec: TaskSpec, key: Option<&str>) -> Request {
    let new = NewTask { spec: Arc::new(spec), elements: Arc::new(Vec::new()), after_earlier: Vec::new() };
    let key = key.map(|key| IdempotencyKey { key: key.to_owned(), body: [1; 32] });
    Request::Submit(Submit {
        namespace: Namespace::default(),
        tasks: vec![new],
        key,
        dry_run: DryRun::No,
        strict: Strict::No,
    })
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello {
        pool: None,
        name: WorkerName::new(name).unwrap(),
        incarnation: Incarnation(0),
        seat: Seat {
            state_dir: "dir".to_owned(),
            boot_id: "boot".to_owned(),
            process: "process".to_owned(),
            said_at: None,
        },
        version: "0.1.0".to_owned(),
        offer: Offer {
            capabilities: BTreeMap::new(),
            actions: vec!["noop".to_owned()],
            room: Room { slots: 4, amounts: BTreeMap::new() },
        },
        prefetch: 0,
        health: Health::Ok,
        seen: None,
        attempts: Vec::new(),
    }
}

pub(crate) fn is_not_leading(reply: &Reply) -> bool {
    matches!(reply, Err(refusal) if refusal.code == RefusalCode::NotLeading)
}
