//! The dispatcher by itself: what it wants done after what has happened, in orders that a whole worker meets too
//! seldom to be tried there.

mod ahead;

use bowline_core::id::Epoch;
use bowline_core::message::{Assured, FromWorker, Hello, JobEnd, StopWhy, ToWorker, Verdict};
use bowline_core::spec::{Action as Work, Command};
use bowline_core::worker::{Health, Room};
use bowline_protocol::message::Sealed;
use bowline_protocol::{Handover, Kind, LogStream, ServerMessage, sample, wire};
use bowline_supervisor::wire::{Event as JobEvent, Exit, Exited, Start};

use super::*;
use crate::attempt::key_of;
use crate::checks::Probe;
use crate::journal::memory::Memory;
use crate::shares::{Pace, Standing, Weight, shares};

/// A dispatcher, a clock that the test moves, and a journal that takes what the test lets through.
struct Bench {
    dispatcher: Dispatcher,
    now: Now,
    held: Vec<Batch>,
    disk: Memory,
    /// The connection that it opened last.
    opened: Option<(LinkNo, Box<Hello>)>,
    done: Vec<Action>,
}

fn settings(with: impl FnOnce(&mut WorkerConfig)) -> Settings {
    let name = WorkerName::new("lab-3").unwrap();
    let mut config = WorkerConfig::new("http://127.0.0.1:1", name.clone(), "/w".into(), "/bin/false".into());
    with(&mut config);
    let room = Room { slots: 2, amounts: [(bowline_core::name::Key::new("memory").unwrap(), 1 << 30)].into() };
    Settings {
        config: Arc::new(config),
        folder: "/w".into(),
        state_id: "state".to_owned(),
        share: shares(&room, 1).remove(0),
        caller: Caller { worker: name, pool: None, key: "k".repeat(64) },
        boot_id: "boot".to_owned(),
        process: "process".to_owned(),
        seed: 1,
        found: Found::default(),
    }
}

impl Bench {
    fn new(left: Left, with: impl FnOnce(&mut WorkerConfig)) -> Self {
        Self::with(left, settings(with))
    }

    fn with(left: Left, settings: Settings) -> Self {
        let now = Now { at: Moment::BEGIN, boot: Duration::from_secs(1), wall_us: 1 };
        let mut done = Vec::new();
        let dispatcher = Dispatcher::new(settings, left, now, &mut done);
        let mut bench = Self { dispatcher, now, held: vec![], disk: Memory::default(), opened: None, done };
        bench.keep();
        bench
    }

    /// What is to be written waits for the test, and so does a connection.
    fn keep(&mut self) {
        for action in std::mem::take(&mut self.done) {
            match action {
                Action::Persist(batch) => self.held.push(batch),
                Action::Open(link, hello) => self.opened = Some((link, hello)),
                other => self.done.push(other),
            }
        }
    }

    /// What it wants done now, but for the journal's part.
    fn happens(&mut self, event: Event) -> Vec<Action> {
        self.dispatcher.handle(self.now, event, &mut self.done);
        self.keep();
        std::mem::take(&mut self.done)
    }

    /// Everything that waits is durable.
    fn is_durable(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        while !self.held.is_empty() {
            let batches = std::mem::take(&mut self.held);
            let count = batches.len();
            self.disk.commit(batches.iter().flat_map(|batch| &batch.ops).collect::<Vec<_>>()).unwrap();
            let after = batches.into_iter().flat_map(|batch| batch.after).collect();
            done.extend(self.happens(Event::Journal(Said::Durable { batches: count, after })));
        }
        done
    }

    fn passes(&mut self, length: Duration) -> Vec<Action> {
        self.now.at = self.now.at.after(length).unwrap();
        self.now.boot += length;
        let mut done = Vec::new();
        while self.dispatcher.next_timer().is_some_and(|next| next <= self.now.at) {
            done.extend(self.happens(Event::Time));
        }
        done
    }

    fn supervisor(&mut self, event: JobEvent) -> Vec<Action> {
        self.happens(Event::Supervisor(FromSupervisor::Event(event)))
    }

    fn supervisor_is_up(&mut self) {
        self.happens(Event::Supervisor(FromSupervisor::Up { pid: 7 }));
    }

    fn listed(&mut self) {
        self.supervisor(JobEvent::Listed { live: 0, ended: 0, damaged: vec![] });
    }

    /// Opens a session, and gives it this attempt of a command.
    fn is_given(&mut self, attempt: AttemptRef) {
        self.passes(Duration::from_millis(1));
        let (link, hello) = self.opened.take().expect("it connects");
        self.happens(Event::Room(link));
        let messages = vec![ServerMessage::Engine(welcome(&hello)), assign(attempt)];
        self.happens(Event::Link(link, LinkEvent::Messages { messages, generation: 0, commit_no: 1 }));
    }

    /// The server says this over the first connection; what follows once it is durable.
    fn server_says(&mut self, messages: Vec<ServerMessage>) -> Vec<Action> {
        let mut done =
            self.happens(Event::Link(LinkNo(1), LinkEvent::Messages { messages, generation: 0, commit_no: 2 }));
        done.extend(self.is_durable());
        done
    }

    /// Its job is started, and runs.
    fn runs(&mut self, attempt: AttemptRef) {
        let wanted = self.is_durable();
        assert!(wanted.iter().any(|action| matches!(action, Action::Prepare(of, _) if *of == attempt)), "{wanted:?}");
        let start = Start::new(key_of(attempt), vec!["true".into()], "/w".into(), "/w/log".into());
        self.happens(Event::Prepared(attempt, Ok(Some(Box::new(start)))));
        self.supervisor(started(attempt));
    }

    /// Its job ends well, with nothing to be kept.
    fn ends(&mut self, attempt: AttemptRef) {
        self.supervisor(exited(key_of(attempt), 0));
        self.happens(Event::Collected(attempt, Box::new(Collected::bare(JobEnd::Success)), vec![]));
        self.happens(Event::Uploads(FromUploads::Done(attempt)));
        self.is_durable();
    }
}

/// A command is handed over.
fn assign(attempt: AttemptRef) -> ServerMessage {
    let mut handover: Handover = sample::handover(attempt);
    let command = Work::Command(Command::Argv(vec!["true".to_owned()]));
    handover.work = serde_json::to_vec(&bowline_core::spec::Work::new(command)).unwrap().into();
    ServerMessage::Assign(Box::new(handover))
}

fn welcome(hello: &Hello) -> ToWorker {
    ToWorker::Welcome {
        epoch: Epoch(1),
        name: hello.name.clone(),
        incarnation: Incarnation(1),
        generation: Generation(0),
        heartbeat: Duration::from_secs(5),
        verdicts: hello.attempts.iter().map(|(attempt, _)| (*attempt, Verdict::Continue)).collect(),
        left: vec![],
    }
}

fn started(attempt: AttemptRef) -> JobEvent {
    JobEvent::Started { key: key_of(attempt), pid: 8, started_at: Duration::ZERO }
}

fn exited(key: String, code: i32) -> JobEvent {
    let (started_at, ended_at) = (Duration::ZERO, Duration::ZERO);
    let exit = Exit::Code(code);
    JobEvent::Exited(Exited { key, exit, stopped: None, started_at, ended_at, leftovers: 0, recorded: true })
}

fn forgets(actions: &[Action], attempt: AttemptRef) -> bool {
    let key = key_of(attempt);
    actions.iter().any(|action| matches!(action, Action::Job(Request::Forget { key: of }) if *of == key))
}

/// What was said of an attempt's end, in what waits to be written.
fn end_said(batches: &[Batch]) -> Option<(JobEnd, Option<String>)> {
    batches.iter().flat_map(|batch| &batch.ops).find_map(|op| {
        let Op::PutMessage { message, .. } = op else { return None };
        let message = wire::WorkerMessage::decode(message.as_slice()).unwrap();
        match WorkerMessage::from_wire(message).unwrap().unwrap() {
            WorkerMessage::Engine(FromWorker::Finished(finished)) => Some((finished.how, finished.result)),
            _ => None,
        }
    })
}

#[test]
fn of_a_log_only_what_is_news_is_written() {
    let attempt = sample::attempt(1, None);
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(attempt);
    bench.runs(attempt);
    bench.is_durable();
    let mut acked = |up_to, sealed| {
        let said = FromShipper::Acked { attempt, stream: LogStream::Output, up_to, sealed };
        bench.happens(Event::Shipper(said));
        let written = bench.held.iter().flat_map(|batch| &batch.ops).filter(|op| matches!(op, Op::LogAcked { .. }));
        let written = written.count();
        bench.is_durable();
        written
    };
    // As each session asks anew.
    assert_eq!([acked(7, Sealed::No), acked(7, Sealed::No), acked(7, Sealed::No)], [1, 0, 0]);
    assert_eq!([acked(7, Sealed::Yes), acked(7, Sealed::Yes)], [1, 0]);
}

#[test]
fn a_result_that_was_collected_stays_when_the_supervisor_tells_of_the_end_again() {
    let attempt = sample::attempt(1, None);
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(attempt);
    bench.runs(attempt);
    bench.supervisor(exited(key_of(attempt), 0));
    let result = Collected { result: Some("{\"a\":1}".to_owned()), ..Collected::bare(JobEnd::Success) };
    bench.happens(Event::Collected(attempt, Box::new(result), vec![("a".to_owned(), "/w/a".into())]));
    // Its artifact waits for the server; meanwhile the connection to the supervisor is a new one.
    bench.supervisor_is_up();
    bench.supervisor(exited(key_of(attempt), 0));
    bench.listed();
    bench.happens(Event::Uploads(FromUploads::Done(attempt)));
    assert_eq!(end_said(&bench.held), Some((JobEnd::Success, Some("{\"a\":1}".to_owned()))));
}

#[test]
fn the_supervisor_forgets_a_job_only_when_its_end_is_durable_also_one_of_the_process_before() {
    let attempt = sample::attempt(1, None);
    let mut before = Bench::new(Left::default(), |_| {});
    before.supervisor_is_up();
    before.listed();
    before.is_given(attempt);
    before.runs(attempt);
    before.is_durable();
    let left = Left { journal: before.disk.recovered(), logs: BTreeSet::new() };
    let mut bench = Bench::new(left, |_| {});
    bench.disk = before.disk;
    bench.supervisor_is_up();
    bench.supervisor(started(attempt));
    bench.listed();
    bench.supervisor(exited(key_of(attempt), 0));
    bench.happens(Event::Collected(attempt, Box::new(Collected::bare(JobEnd::Success)), vec![]));
    bench.happens(Event::Uploads(FromUploads::Done(attempt)));
    // The disk is slow, and the supervisor tells of it once more.
    bench.supervisor_is_up();
    let wanted = bench.supervisor(exited(key_of(attempt), 0));
    assert!(!forgets(&wanted, attempt), "its end is nowhere else yet: {wanted:?}");
    let wanted = bench.is_durable();
    assert!(forgets(&wanted, attempt), "{wanted:?}");
}

#[test]
fn a_job_of_the_process_before_is_not_out_of_time_while_the_supervisor_cannot_be_asked() {
    let attempt = sample::attempt(1, None);
    let mut before = Bench::new(Left::default(), |_| {});
    before.supervisor_is_up();
    before.listed();
    before.is_given(attempt);
    before.runs(attempt);
    before.is_durable();
    let left = Left { journal: before.disk.recovered(), logs: BTreeSet::new() };
    let mut bench = Bench::new(left, |_| {});
    bench.disk = before.disk;
    // Its set-up may take ten minutes; its job has run for long.
    bench.passes(Duration::from_mins(11));
    assert_eq!(end_said(&bench.held), None);
    bench.supervisor_is_up();
    let wanted = bench.supervisor(started(attempt));
    bench.listed();
    let kills = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Job(Request::Kill { .. })));
    assert!(!kills(&wanted), "{wanted:?}");
    let wanted = bench.passes(Duration::from_secs(2));
    assert!(!kills(&wanted), "{wanted:?}");
    assert_eq!(bench.dispatcher.begun().collect::<Vec<_>>(), [attempt]);
}

#[test]
fn a_worker_whose_probe_has_failed_begins_nothing_more_from_that_moment_on() {
    let attempt = sample::attempt(1, None);
    let mut bench = Bench::new(Left::default(), |config| {
        let (every, timeout) = (Duration::from_mins(1), Duration::from_secs(5));
        config.checks.probe = Some(Probe { command: "false".to_owned(), every, timeout });
    });
    bench.supervisor_is_up();
    bench.listed();
    let wanted = bench.passes(Duration::ZERO);
    let probe = wanted.into_iter().find_map(|action| match action {
        Action::Probe(start) => Some(start.key.clone()),
        _ => None,
    });
    let probe = probe.expect("the probe runs");
    bench.supervisor(exited(probe.clone(), 0));
    bench.is_given(attempt);
    let wanted = bench.passes(Duration::from_mins(1));
    let probe = wanted.into_iter().find_map(|action| match action {
        Action::Probe(start) => Some(start.key.clone()),
        _ => None,
    });
    // What the probe said is read by a thread that has much to do.
    bench.supervisor(exited(probe.expect("the probe runs again"), 1));
    let wanted = bench.is_durable();
    assert!(!wanted.iter().any(|action| matches!(action, Action::Prepare(..))), "{wanted:?}");
}

/// What is said of an attempt, in what waits to be written, by number.
fn said_of(batches: &[Batch], of: AttemptRef) -> Vec<(u64, WorkerMessage)> {
    let ops = batches.iter().flat_map(|batch| &batch.ops);
    ops.filter_map(|op| {
        let Op::PutMessage { seq, attempt, message, .. } = op else { return None };
        let message = wire::WorkerMessage::decode(message.as_slice()).unwrap();
        (*attempt == of).then(|| (*seq, WorkerMessage::from_wire(message).unwrap().unwrap()))
    })
    .collect()
}

fn there(attempt: AttemptRef, name: &str, digest: &str) -> FromUploads {
    let (name, digest) = (name.to_owned(), digest.repeat(64));
    FromUploads::There(bowline_protocol::Artifact { attempt, name, digest, bytes: 1 })
}

#[test]
fn files_that_the_server_misses_are_sent_again_and_said_again_before_the_end() {
    let attempt = sample::attempt(1, None);
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(attempt);
    let link = LinkNo(1);
    bench.runs(attempt);
    bench.supervisor(exited(key_of(attempt), 0));
    let files = ["a", "b", "c"].map(|name| (name.to_owned(), PathBuf::from("/w").join(name))).to_vec();
    bench.happens(Event::Collected(attempt, Box::new(Collected::bare(JobEnd::Success)), files));
    for name in ["a", "b", "c"] {
        bench.happens(Event::Uploads(there(attempt, name, "b")));
    }
    bench.happens(Event::Uploads(FromUploads::Done(attempt)));
    bench.is_durable();
    let server_says = |bench: &mut Bench, what: ToWorker| {
        let messages = vec![ServerMessage::Engine(what)];
        bench.happens(Event::Link(link, LinkEvent::Messages { messages, generation: 0, commit_no: 2 }))
    };
    // One of them has arrived; the verdict names no file.
    server_says(&mut bench, ToWorker::Ack { attempt, of: Assured::Artifact("b".to_owned()) });
    bench.is_durable();
    let wanted = server_says(&mut bench, ToWorker::Verdict { attempt, verdict: Verdict::Missing });
    let again: Vec<_> = wanted
        .iter()
        .filter_map(|action| match action {
            Action::UploadAgain { attempt: of, names, .. } if *of == attempt => Some(names.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(again, [["a", "c"]], "{wanted:?}");
    bench.happens(Event::Uploads(there(attempt, "a", "a")));
    let why = "it was not there any more".to_owned();
    bench.happens(Event::Uploads(FromUploads::Undelivered { attempt, name: "c".to_owned(), why }));
    let said = said_of(&bench.held, attempt);
    let (last, end) = said.last().unwrap();
    assert!(matches!(end, WorkerMessage::Engine(FromWorker::Finished(_))), "{said:?}");
    assert!(said[..said.len() - 1].iter().all(|(seq, _)| seq < last));
    bench.is_durable();
    // The journal has each of them once, and would have the next process say them in this order.
    let kept: Vec<_> = bench.disk.recovered().messages.into_iter().filter(|kept| kept.attempt == attempt).collect();
    let kinds: Vec<_> = kept
        .iter()
        .map(|kept| wire::WorkerMessage::decode(kept.message.as_slice()).unwrap())
        .map(|message| WorkerMessage::from_wire(message).unwrap().unwrap().kind())
        .collect();
    assert_eq!(kinds, [Kind::Started, Kind::ArtifactCommitted, Kind::ArtifactUndelivered, Kind::Finished]);
    // When all of it is acknowledged, nothing is kept.
    for of in [Assured::Started, Assured::Artifact("a".into()), Assured::Artifact("c".into()), Assured::Finished] {
        server_says(&mut bench, ToWorker::Ack { attempt, of });
    }
    bench.is_durable();
    assert!(bench.disk.recovered().messages.is_empty());
}

#[test]
fn what_a_server_has_is_asked_anew_when_its_store_was_put_back_and_only_then() {
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    let asks = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Upload(ToUploads::Restored))).count()
    };
    let session = |bench: &mut Bench, generation| {
        bench.passes(Duration::from_mins(1));
        let (link, hello) = bench.opened.take().expect("it connects");
        bench.happens(Event::Room(link));
        let mut welcome = welcome(&hello);
        if let ToWorker::Welcome { generation: of, .. } = &mut welcome {
            *of = Generation(generation);
        }
        let messages = vec![ServerMessage::Engine(welcome)];
        let wanted = bench.happens(Event::Link(link, LinkEvent::Messages { messages, generation, commit_no: 1 }));
        bench.happens(Event::Link(link, LinkEvent::Down(LinkEnd::Broken("cut".to_owned()))));
        asks(&wanted)
    };
    assert_eq!([0, 0, 1, 1].map(|generation| session(&mut bench, generation)), [0, 0, 1, 0]);
}

#[test]
fn whoever_is_to_stop_what_is_not_here_says_so_at_once_and_once() {
    let (here, gone) = (sample::attempt(1, None), sample::attempt(2, None));
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(here);
    bench.runs(here);
    bench.is_durable();
    let cancel = |bench: &mut Bench, attempt| {
        let messages = vec![ServerMessage::Engine(ToWorker::Cancel { attempt, why: StopWhy::Cancel })];
        bench.happens(Event::Link(LinkNo(1), LinkEvent::Messages { messages, generation: 0, commit_no: 2 }))
    };
    for _ in 0..2 {
        cancel(&mut bench, gone);
    }
    let said = said_of(&bench.held, gone);
    assert!(matches!(&said[..], [(_, WorkerMessage::Engine(FromWorker::Gone { .. }))]), "{said:?}");
    bench.is_durable();
    let sent = bench.happens(Event::Room(LinkNo(1)));
    let is_gone = |message: &WorkerMessage| matches!(message, WorkerMessage::Engine(FromWorker::Gone { attempt, .. }) if *attempt == gone);
    let is_sent = |action: &Action| matches!(action, Action::Send(_, parcels) if parcels.iter().any(|(message, _)| is_gone(message)));
    assert!(sent.iter().any(is_sent), "it leaves when it is durable: {sent:?}");
    // What is here is stopped, and answers when it has.
    let wanted = cancel(&mut bench, here);
    assert!(wanted.iter().any(|action| matches!(action, Action::Job(Request::Kill { .. }))), "{wanted:?}");
    assert_eq!(said_of(&bench.held, here), []);
}

#[test]
fn an_old_name_of_what_has_ended_here_is_given_back_and_its_stop_is_answered() {
    let attempt = sample::attempt(1, None);
    let told = |message: &WorkerMessage| match message {
        WorkerMessage::Engine(FromWorker::Released { started, .. }) => Some(("given back", *started)),
        WorkerMessage::Engine(FromWorker::Gone { .. }) => Some(("gone", false)),
        _ => None,
    };
    let again = ServerMessage::Assign(Box::new(sample::handover(attempt)));
    let stop = ServerMessage::Engine(ToWorker::Cancel { attempt, why: StopWhy::Cancel });
    for (what, answer) in [(again, "given back"), (stop, "gone")] {
        let mut bench = Bench::new(Left::default(), |_| {});
        bench.supervisor_is_up();
        bench.listed();
        bench.is_given(attempt);
        bench.runs(attempt);
        bench.ends(attempt);
        let says = |bench: &mut Bench, message: ServerMessage| {
            let link = LinkEvent::Messages { messages: vec![message], generation: 0, commit_no: 2 };
            bench.happens(Event::Link(LinkNo(1), link))
        };
        // While its end is on its way, that is the answer.
        says(&mut bench, what.clone());
        assert_eq!(said_of(&bench.held, attempt), []);
        for of in [Assured::Started, Assured::Finished] {
            says(&mut bench, ServerMessage::Engine(ToWorker::Ack { attempt, of }));
        }
        bench.is_durable();
        assert!(bench.dispatcher.attempts.contains_key(&attempt), "its log is on its way");
        // The server's store was put back, and has given out the same number once more.
        for _ in 0..2 {
            says(&mut bench, what.clone());
        }
        let said: Vec<_> = said_of(&bench.held, attempt).iter().filter_map(|(_, said)| told(said)).collect();
        assert_eq!(said, [(answer, false)]);
    }
}

#[test]
fn what_the_journal_holds_takes_its_room_from_another_server_s_work_until_the_supervisor_has_told_of_all() {
    let attempt = sample::attempt(1, None);
    for begins in [true, false] {
        let mut before = Bench::new(Left::default(), |_| {});
        before.supervisor_is_up();
        before.listed();
        before.is_given(attempt);
        if begins {
            before.runs(attempt);
        }
        before.is_durable();
        // The next process serves two servers.
        let journal = before.disk.recovered();
        assert_eq!(journal.attempts.len(), 1);
        let room = |slots| Room { slots, amounts: BTreeMap::new() };
        let mut both = shares(&room(2), 2);
        let other = both.remove(1);
        let settings = Settings { share: both.remove(0), ..settings(|_| {}) };
        let mut bench = Bench::with(Left { journal, ..Left::default() }, settings);
        assert!(other.may_begin(&room(1)) && !other.may_begin(&room(2)), "it may live: {begins}");
        bench.supervisor_is_up();
        assert!(!other.may_begin(&room(2)), "its supervisor may be clearing up: {begins}");
        // Its job is gone, or never began and waits for its server's word.
        bench.listed();
        assert!(other.may_begin(&room(2)), "{begins}");
    }
}

#[test]
fn a_worker_that_was_broken_at_hello_and_is_well_when_it_is_welcomed_says_so() {
    let broken = Found { disk: Some("the disk has no room".to_owned()), memory: None };
    for is_well in [true, false] {
        let mut bench = Bench::with(Left::default(), Settings { found: broken.clone(), ..settings(|_| {}) });
        bench.supervisor_is_up();
        bench.listed();
        bench.passes(Duration::from_millis(1));
        let (link, hello) = bench.opened.take().expect("it connects");
        assert!(matches!(hello.health, Health::Broken(_)), "{hello:?}");
        let mut sent = bench.happens(Event::Room(link));
        if is_well {
            sent.extend(bench.happens(Event::Checked(Found::default())));
        }
        let messages = vec![ServerMessage::Engine(welcome(&hello))];
        sent.extend(bench.happens(Event::Link(link, LinkEvent::Messages { messages, generation: 0, commit_no: 1 })));
        sent.extend(bench.happens(Event::Room(link)));
        let parcels = sent.iter().filter_map(|action| match action {
            Action::Send(_, parcels) => Some(parcels),
            _ => None,
        });
        let healths: Vec<&Health> = parcels
            .flatten()
            .filter_map(|(message, _)| match message {
                WorkerMessage::Engine(FromWorker::Health(health)) => Some(health),
                _ => None,
            })
            .collect();
        // What Hello has said, and still holds, is not said again.
        let wanted: &[&Health] = if is_well { &[&Health::Ok] } else { &[] };
        assert_eq!(healths, wanted, "{sent:?}");
    }
}

#[test]
fn a_job_whose_start_may_still_be_under_way_is_not_said_to_be_gone() {
    let attempt = sample::attempt(1, None);
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    bench.is_given(attempt);
    bench.is_durable();
    bench.happens(Event::Supervisor(FromSupervisor::Down("killed".to_owned())));
    // Ordered while there is no connection, it is delivered behind the question for all jobs.
    let start = Start::new(key_of(attempt), vec!["true".into()], "/w".into(), "/w/log".into());
    bench.happens(Event::Prepared(attempt, Ok(Some(Box::new(start)))));
    let messages = vec![ServerMessage::Engine(ToWorker::Cancel { attempt, why: StopWhy::Cancel })];
    bench.happens(Event::Link(LinkNo(1), LinkEvent::Messages { messages, generation: 0, commit_no: 2 }));
    bench.supervisor_is_up();
    let wanted = bench.supervisor(JobEvent::Listed { live: 0, ended: 0, damaged: vec![] });
    let kills = |action: &Action| matches!(action, Action::Job(Request::Kill { key, .. }) if *key == key_of(attempt));
    assert!(wanted.iter().any(kills), "{wanted:?}");
    assert_eq!(said_of(&bench.held, attempt), []);
    // That answers in any case: the job was started and is over, or there is none.
    let refused = bowline_supervisor::wire::Refusal::UnknownKey;
    bench.supervisor(JobEvent::Refused { key: Some(key_of(attempt)), why: refused });
    assert!(!said_of(&bench.held, attempt).is_empty());
}

#[test]
fn what_another_server_takes_and_gives_back_leaves_no_timers_behind() {
    let room = |slots| Room { slots, amounts: BTreeMap::new() };
    let mut both = shares(&room(4), 2);
    let other = both.remove(1);
    let settings = Settings { share: both.remove(0), ..settings(|config| config.room = room(4)) };
    let mut bench = Bench::with(Left::default(), settings);
    bench.supervisor_is_up();
    bench.listed();
    bench.passes(Duration::from_millis(1));
    let (link, hello) = bench.opened.take().expect("it connects");
    bench.happens(Event::Room(link));
    let messages = vec![ServerMessage::Engine(welcome(&hello))];
    bench.happens(Event::Link(link, LinkEvent::Messages { messages, generation: 0, commit_no: 1 }));
    other.stands(Standing::In, Pace::Long);
    other.moved(&room(1), (Weight::Nothing, Weight::Begun), bench.now.at);
    for turn in 0..100 {
        let (from, to) =
            if turn % 2 == 0 { (Weight::Nothing, Weight::Begun) } else { (Weight::Begun, Weight::Nothing) };
        other.moved(&room(1), (from, to), bench.now.at);
        bench.happens(Event::Room(link));
        for _ in 0..37 {
            bench.passes(Duration::from_millis(1));
        }
    }
    let awaited = bench.dispatcher.timers.awaited();
    assert!(awaited <= 10, "{awaited} wait");
}

#[test]
fn what_has_ended_and_whose_log_is_stuck_takes_no_room() {
    let mut bench = Bench::new(Left::default(), |_| {});
    bench.supervisor_is_up();
    bench.listed();
    let most = u64::from(bench.dispatcher.config.room.slots + bowline_protocol::limits::PREFETCH_MAX);
    for number in 1..=most + 1 {
        let attempt = sample::attempt(number, None);
        if number == 1 {
            bench.is_given(attempt);
        } else {
            let link = LinkEvent::Messages { messages: vec![assign(attempt)], generation: 0, commit_no: 2 };
            bench.happens(Event::Link(LinkNo(1), link));
        }
        bench.runs(attempt);
        bench.ends(attempt);
        let acks = [Assured::Started, Assured::Finished].map(|of| ServerMessage::Engine(ToWorker::Ack { attempt, of }));
        bench.server_says(acks.into());
        assert!(bench.dispatcher.attempts.contains_key(&attempt), "its log is on its way");
    }
    assert!(bench.dispatcher.attempts.len() as u64 > most);
}
