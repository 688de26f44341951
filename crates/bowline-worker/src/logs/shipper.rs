//! Ships the logs of all attempts of one server, in a task of its own.
//!
//! A log is looked at when the kernel says that its file was written, one look at a time, a few logs a
//! look, in turn. What was read waits in memory until the connection takes it; nothing more is read until
//! then. So neither a flood nor a server that is away makes this process grow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_core::message::{ToWorker, Verdict};
use bowline_protocol::message::worker_frames;
use bowline_protocol::wire::WorkerFrame;
use bowline_protocol::{LogAck, LogKeep, LogSegment, LogStream, Sealed, ServerMessage, UploadProgress, WorkerMessage};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::link::{self, FRAMES_MAX, FromLive, LiveEvent, Target};
use super::look::Seen;
use super::tail::{More, Tail};
use super::watch::{Happened, Watcher};

/// Logs that one look reads.
const LOGS_PER_LOOK_MAX: usize = 16;
/// Bytes that one look reads.
const LOOK_BYTES_MAX: u64 = 2 << 20;
/// Between two looks that the kernel asks for: a job that writes without end is read in pieces.
const LOOK_PAUSE: Duration = Duration::from_millis(15);
/// The same while there is no connection: then files are only measured.
const LOOK_PAUSE_AWAY: Duration = Duration::from_millis(200);
/// Logs that the kernel cannot watch are looked at this often.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// Between two tries to open the connection, from the first to the longest.
const OPEN_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Which log.
type Key = (AttemptRef, LogStream);

/// What the dispatcher says.
#[derive(Debug)]
pub enum ToShipper {
    /// There is a log: its file, what is kept of it, and what the server has of it.
    Open {
        /// Whose.
        attempt: AttemptRef,
        /// Which of its logs.
        stream: LogStream,
        /// Its file.
        path: PathBuf,
        /// What is kept of it.
        keep: LogKeep,
        /// What the server has of it, in bytes.
        acked: u64,
    },
    /// The job is over: its logs are as long as they will ever be.
    Over(AttemptRef),
    /// Nobody wants its logs any more.
    Drop(AttemptRef),
    /// There is a session with the server, or there is none any more.
    Session(Option<Target>),
    /// How far uploads are: said on the same connection.
    Progress(UploadProgress),
}

/// What the shipper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromShipper {
    /// The server has so much of it. Said now and then, and when it has all.
    Acked {
        /// Whose.
        attempt: AttemptRef,
        /// Which of its logs.
        stream: LogStream,
        /// How many bytes.
        up_to: u64,
        /// Whether that is all.
        sealed: Sealed,
    },
    /// The server knows nothing of this attempt any more.
    Gone(AttemptRef),
}

/// The connection.
#[derive(Debug, Default)]
struct Live {
    target: Option<Target>,
    no: u64,
    frames: Option<mpsc::Sender<WorkerFrame>>,
    up: bool,
    pause: Option<Duration>,
    open_at: Option<Instant>,
}

/// See the module.
struct Shipper {
    tails: BTreeMap<Key, Tail>,
    dirty: BTreeSet<Key>,
    polled: BTreeSet<Key>,
    last: Option<Key>,
    watcher: Option<Watcher<Key>>,
    progress: BTreeMap<AttemptRef, UploadProgress>,
    progress_news: BTreeSet<AttemptRef>,
    live: Live,
    ready: VecDeque<WorkerFrame>,
    looks: JoinSet<Vec<Seen>>,
    links: JoinSet<()>,
    says: mpsc::UnboundedSender<FromShipper>,
    live_says: mpsc::Sender<FromLive>,
    look_at: Instant,
    poll_at: Instant,
}

/// Ships until the other end of `commands` is gone.
pub(crate) async fn run(mut commands: mpsc::UnboundedReceiver<ToShipper>, says: mpsc::UnboundedSender<FromShipper>) {
    let (live_says, mut from_live) = mpsc::channel(16);
    let watcher = Watcher::new().inspect_err(
        |error| tracing::warn!(%error, "the kernel watches no files here: logs are looked at now and then"),
    );
    let now = Instant::now();
    let mut shipper = Shipper {
        tails: BTreeMap::new(),
        dirty: BTreeSet::new(),
        polled: BTreeSet::new(),
        last: None,
        watcher: watcher.ok(),
        progress: BTreeMap::new(),
        progress_news: BTreeSet::new(),
        live: Live::default(),
        ready: VecDeque::new(),
        looks: JoinSet::new(),
        links: JoinSet::new(),
        says,
        live_says,
        look_at: now,
        poll_at: now,
    };
    loop {
        shipper.settle();
        let wake = shipper.wake_at();
        let listens = shipper.look_at <= Instant::now();
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => shipper.told(command),
                None => return,
            },
            Some(said) = from_live.recv() => shipper.on_live(said),
            happened = happened(shipper.watcher.as_ref()), if listens => shipper.on_files(happened),
            Some(seen) = shipper.looks.join_next() => shipper.looked(seen.unwrap_or_default()),
            () = room(shipper.live.frames.clone()), if !shipper.ready.is_empty() && shipper.live.up => shipper.send(),
            () = tokio::time::sleep_until(wake) => {}
        }
        while shipper.links.try_join_next().is_some() {}
    }
}

async fn happened(watcher: Option<&Watcher<Key>>) -> Vec<Happened<Key>> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

/// Ends when the connection takes a frame. One that is gone says so itself.
async fn room(frames: Option<mpsc::Sender<WorkerFrame>>) {
    match frames {
        Some(frames) if frames.reserve().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

impl Shipper {
    /// Whatever is due.
    fn settle(&mut self) {
        let now = Instant::now();
        if !self.polled.is_empty() && self.poll_at <= now {
            self.poll_at = now + POLL_EVERY;
            self.dirty.extend(self.polled.iter().copied());
        }
        self.open();
        self.send();
        self.look();
    }

    /// When something is due that nothing else tells.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let mut at = now + Duration::from_mins(1);
        if self.look_at > now {
            at = at.min(self.look_at);
        }
        if !self.polled.is_empty() {
            at = at.min(self.poll_at);
        }
        // One that nothing wants is not opened, however long it is due.
        if let Some(open_at) = self.live.open_at.filter(|_| self.is_wanted()) {
            at = at.min(open_at);
        }
        at
    }

    fn told(&mut self, command: ToShipper) {
        match command {
            ToShipper::Open { attempt, stream, path, keep, acked } => {
                let key = (attempt, stream);
                let watched =
                    self.watcher.as_mut().is_some_and(|watcher| watcher.add(key, &path, WatchFlags::MODIFY).is_ok());
                if !watched {
                    self.polled.insert(key);
                }
                self.tails.insert(key, Tail::new(key, path, keep, acked));
                self.dirty.insert(key);
            }
            ToShipper::Over(attempt) => {
                for (key, tail) in of(&mut self.tails, attempt) {
                    tail.over();
                    self.dirty.insert(*key);
                }
            }
            ToShipper::Drop(attempt) => self.forget(attempt),
            ToShipper::Session(target) => self.session(target),
            ToShipper::Progress(progress) => {
                if progress.files == 0 {
                    self.progress.remove(&progress.attempt);
                    self.say_now(WorkerMessage::Upload(progress));
                } else {
                    self.progress.insert(progress.attempt, progress);
                    self.progress_news.insert(progress.attempt);
                }
            }
        }
    }

    fn forget(&mut self, attempt: AttemptRef) {
        for stream in LogStream::ALL {
            self.forget_log((attempt, stream));
        }
        self.progress.remove(&attempt);
        self.progress_news.remove(&attempt);
    }

    fn forget_log(&mut self, key: Key) {
        if self.tails.remove(&key).is_some() {
            self.dirty.remove(&key);
            self.polled.remove(&key);
            if let Some(watcher) = &mut self.watcher {
                watcher.remove(&key);
            }
        }
    }

    fn session(&mut self, target: Option<Target>) {
        self.close();
        self.live.pause = None;
        self.live.open_at = target.is_some().then(Instant::now);
        self.live.target = target;
    }

    /// The connection is over; what it had not delivered is sent again by the next one.
    fn close(&mut self) {
        self.live.frames = None;
        self.live.up = false;
        self.links.abort_all();
        self.ready.clear();
        for (key, tail) in &mut self.tails {
            tail.rewind();
            self.dirty.insert(*key);
        }
        self.progress_news.extend(self.progress.keys().copied());
    }

    /// Whether there is something for the connection to carry.
    fn is_wanted(&self) -> bool {
        !self.tails.is_empty() || !self.progress.is_empty()
    }

    /// Opens the connection where there is something for it to carry.
    fn open(&mut self) {
        let is_due = self.live.open_at.is_some_and(|at| at <= Instant::now());
        let Some(target) = self.live.target.clone().filter(|_| self.is_wanted() && is_due) else { return };
        self.live.open_at = None;
        self.live.no += 1;
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        self.live.frames = Some(frames);
        self.links.spawn(link::carry(self.live.no, target, outgoing, self.live_says.clone()));
    }

    fn on_live(&mut self, said: FromLive) {
        if said.no != self.live.no || self.live.frames.is_none() {
            return;
        }
        match said.what {
            LiveEvent::Up => {
                self.live.up = true;
                self.live.pause = None;
                self.look_at = Instant::now();
                for (key, tail) in &mut self.tails {
                    // What was looked at meanwhile, the end of an empty log too, was not sent.
                    tail.rewind();
                    self.dirty.insert(*key);
                }
            }
            LiveEvent::Messages(messages) => {
                for message in &messages {
                    self.on_server(message);
                }
            }
            LiveEvent::Down(why) => {
                self.close();
                let pause = self.live.pause.map_or(OPEN_PAUSE.0, |pause| (pause * 2).min(OPEN_PAUSE.1));
                tracing::debug!(why, ?pause, "the connection for logs is over; opened again");
                self.live.pause = Some(pause);
                self.live.open_at = self.live.target.is_some().then(|| Instant::now() + pause);
            }
        }
    }

    fn on_server(&mut self, message: &ServerMessage) {
        match message {
            ServerMessage::LogAck(ack) => self.acked(*ack),
            ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Missing }) => {
                for (key, tail) in of(&mut self.tails, *attempt) {
                    tail.missed();
                    self.dirty.insert(*key);
                }
            }
            ServerMessage::Engine(ToWorker::Verdict { attempt, verdict: Verdict::Gone }) => {
                self.forget(*attempt);
                self.say(FromShipper::Gone(*attempt));
            }
            ServerMessage::Engine(_) | ServerMessage::Assign(_) => {
                tracing::debug!("the server said on the second stream what belongs on the first");
            }
        }
    }

    fn acked(&mut self, ack: LogAck) {
        let LogAck { attempt, stream, up_to, sealed } = ack;
        let key = (attempt, stream);
        let Some(tail) = self.tails.get_mut(&key) else { return };
        let news = tail.acked(up_to, sealed);
        // There is room for more of it.
        self.dirty.insert(key);
        if let Some((up_to, sealed)) = news {
            if sealed == Sealed::Yes {
                self.forget_log(key);
            }
            self.say(FromShipper::Acked { attempt, stream, up_to, sealed });
        }
    }

    fn say(&self, said: FromShipper) {
        // A dispatcher that is gone needs no news.
        let _gone = self.says.send(said);
    }

    fn on_files(&mut self, happened: Vec<Happened<Key>>) {
        for one in happened {
            match one {
                Happened::To(key, _) if self.tails.contains_key(&key) => {
                    self.dirty.insert(key);
                }
                Happened::To(..) => {}
                Happened::TooMuch => self.dirty.extend(self.tails.keys().copied()),
            }
        }
        self.look_at = Instant::now() + if self.live.up { LOOK_PAUSE } else { LOOK_PAUSE_AWAY };
    }

    /// Has a thread look at the next logs in turn, where what was read before is on its way.
    fn look(&mut self) {
        if !self.looks.is_empty() || !self.ready.is_empty() || self.dirty.is_empty() {
            return;
        }
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys: Vec<Key> = self.dirty.range((after, Bound::Unbounded)).take(LOGS_PER_LOOK_MAX).copied().collect();
        keys.extend(self.dirty.iter().take(LOGS_PER_LOOK_MAX - keys.len()).copied());
        keys.dedup();
        self.last = keys.last().copied();
        let room = if self.live.up { LOOK_BYTES_MAX / keys.len().max(1) as u64 } else { 0 };
        let mut looks = Vec::new();
        for key in keys {
            if self.dirty.remove(&key) {
                looks.extend(self.tails.get(&key).and_then(|tail| tail.look(room)));
            }
        }
        if !looks.is_empty() {
            self.looks.spawn_blocking(move || looks.into_iter().map(super::look::Look::read).collect());
        }
    }

    fn looked(&mut self, seen: Vec<Seen>) {
        let mut segments = Vec::new();
        for one in seen {
            let key = (one.look.attempt, one.look.stream);
            let Some(tail) = self.tails.get_mut(&key) else { continue };
            let room = one.look.bytes_max;
            let (some, more) = tail.saw(one);
            // With no room it is the acknowledgement that makes some.
            if more == More::Yes && room > 0 {
                self.dirty.insert(key);
            }
            segments.extend(some);
        }
        // Without a connection it was only measured; the next one begins with what the server has.
        if self.live.up {
            self.ready.extend(worker_frames(segments.into_iter().map(said)));
        }
    }

    /// Sends what is ready, as far as the connection takes it; and how far uploads are.
    fn send(&mut self) {
        if !self.live.up {
            return;
        }
        while let Some(attempt) = self.progress_news.pop_first() {
            if let Some(progress) = self.progress.get(&attempt) {
                self.say_now(WorkerMessage::Upload(*progress));
            }
        }
        let Some(frames) = &self.live.frames else { return };
        while let Some(frame) = self.ready.pop_front() {
            match frames.try_send(frame) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(frame) | mpsc::error::TrySendError::Closed(frame)) => {
                    self.ready.push_front(frame);
                    return;
                }
            }
        }
    }

    /// Says something that may be lost.
    fn say_now(&self, message: WorkerMessage) {
        if let Some(frames) = self.live.frames.as_ref().filter(|_| self.live.up) {
            for frame in worker_frames([message]) {
                let _dropped = frames.try_send(frame);
            }
        }
    }
}

fn said(segment: LogSegment) -> WorkerMessage {
    WorkerMessage::Log(segment)
}

/// The logs of one attempt.
fn of(tails: &mut BTreeMap<Key, Tail>, attempt: AttemptRef) -> impl Iterator<Item = (&Key, &mut Tail)> {
    tails.range_mut((attempt, LogStream::Output)..=(attempt, LogStream::Error))
}
