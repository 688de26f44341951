//! Artifacts on their way to the server: their bytes over HTTP, by digest, in parts that go on where they
//! were cut off; then the dispatcher says of each, through the outbox, that it is there.
//!
//! What is moved into `BOWLINE_ARTIFACTS` while the job runs goes at once; all else when the job is over.
//! One task of its own for each server, a few uploads at a time, no file in memory.

mod hash;
mod send;
mod together;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::bundle::Load;
use bowline_protocol::{Artifact, UploadProgress, limits};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::logs::link::Target;
use crate::logs::watch::{Happened, Watcher};
use send::{Sender, Sent};

/// Uploads at a time.
const UPLOADS_MAX: usize = 2;
/// Between two words about how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// What the dispatcher says.
#[derive(Debug)]
pub enum ToUploads {
    /// A job runs: what is moved into this folder is to be delivered at once.
    Watch {
        /// Whose.
        attempt: AttemptRef,
        /// Which folder.
        folder: PathBuf,
    },
    /// A job is over and left these files: all are to be delivered, or not, before its end is said.
    Deliver {
        /// Whose.
        attempt: AttemptRef,
        /// By name and place.
        files: Vec<(String, PathBuf)>,
    },
    /// The server does not have the bytes of these any more.
    Again {
        /// Whose.
        attempt: AttemptRef,
        /// By name and place.
        files: Vec<(String, PathBuf)>,
    },
    /// Nobody wants them any more.
    Drop(AttemptRef),
    /// There is a session with the server, or there is none any more.
    Session(Option<Target>),
    /// The server's store was put back: whatever is there is to be asked for, and said, once more.
    Restored,
}

/// What the uploads say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromUploads {
    /// The server has the bytes of this one.
    There(Artifact),
    /// This one cannot be delivered, and why.
    Undelivered {
        /// Whose.
        attempt: AttemptRef,
        /// What it is called.
        name: String,
        /// Why not, for people.
        why: String,
    },
    /// Everything that the job left is delivered, or cannot be.
    Done(AttemptRef),
    /// How far it is, for the eye.
    Progress(UploadProgress),
}

/// Which file: a name, and where it lies.
#[derive(Debug, Clone)]
struct File {
    attempt: AttemptRef,
    name: String,
    path: PathBuf,
    why: Why,
    /// How long it was when it was looked at.
    bytes: u64,
}

/// Why it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It was moved into the folder: where it fails, the end of the job sends it again.
    Moved,
    /// The job is over.
    Left,
    /// The server misses it.
    Missed,
}

/// A file as it was when it was sent: where it is the same, it need not be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Look {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self { inode: metadata.ino(), size: metadata.len(), changed }
    }
}

/// One attempt's uploads.
#[derive(Debug, Default)]
struct Attempt {
    there: HashMap<String, Look>,
    /// Files that are still to be delivered before its end; `None`: its job is not over.
    left: Option<u32>,
    /// Whatever the job left.
    files: Vec<(String, PathBuf)>,
    bytes: u64,
    sent: u64,
}

/// See the module.
struct Uploads {
    attempts: BTreeMap<AttemptRef, Attempt>,
    queue: VecDeque<File>,
    at_work: JoinSet<Vec<(File, Sent)>>,
    sender: Sender,
    session: watch::Sender<Option<Target>>,
    watcher: Option<Watcher<AttemptRef>>,
    says: mpsc::UnboundedSender<FromUploads>,
}

/// Delivers until the other end of `commands` is gone.
pub(crate) async fn run(
    mut commands: mpsc::UnboundedReceiver<ToUploads>,
    says: mpsc::UnboundedSender<FromUploads>,
    (client, patience): (reqwest::Client, Duration),
) {
    let (session, seen) = watch::channel(None);
    let (progress, mut progressed) = mpsc::unbounded_channel();
    let mut uploads = Uploads {
        attempts: BTreeMap::new(),
        queue: VecDeque::new(),
        at_work: JoinSet::new(),
        sender: Sender { client, session: seen, patience, progress, together: Arc::default() },
        session,
        watcher: Watcher::new().ok(),
        says,
    };
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        uploads.begin();
        let is_busy = uploads.attempts.values().any(|attempt| attempt.left.is_some());
        tokio::select! {
            command = commands.recv() => match command {
                Some(command) => uploads.told(command),
                None => return,
            },
            happened = happened(uploads.watcher.as_ref()) => uploads.moved(happened),
            Some(done) = uploads.at_work.join_next() => for (file, sent) in done.unwrap_or_default() {
                uploads.sent(&file, sent);
            },
            Some((attempt, bytes)) = progressed.recv() => if let Some(attempt) = uploads.attempts.get_mut(&attempt) {
                attempt.sent = (attempt.sent + bytes).min(attempt.bytes);
            },
            _ = tick.tick(), if is_busy => uploads.tell_all(),
        }
    }
}

async fn happened(watcher: Option<&Watcher<AttemptRef>>) -> Vec<Happened<AttemptRef>> {
    match watcher {
        Some(watcher) => watcher.next().await,
        None => std::future::pending().await,
    }
}

impl Uploads {
    fn told(&mut self, command: ToUploads) {
        match command {
            ToUploads::Watch { attempt, folder } => self.watch(attempt, &folder),
            ToUploads::Deliver { attempt, files } => self.deliver(attempt, files),
            ToUploads::Again { attempt, files } => {
                let file = |(name, path): (String, PathBuf)| {
                    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
                    File { attempt, name, path, why: Why::Missed, bytes }
                };
                self.queue.extend(files.into_iter().map(file));
            }
            ToUploads::Drop(attempt) => {
                self.attempts.remove(&attempt);
                self.queue.retain(|file| file.attempt != attempt);
                self.unwatch(attempt);
            }
            ToUploads::Session(target) => {
                self.sender.together.learn();
                self.session.send_replace(target);
                self.tell_all();
            }
            ToUploads::Restored => self.restored(),
        }
    }

    fn watch(&mut self, attempt: AttemptRef, folder: &std::path::Path) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(error) = watcher.add(attempt, folder, WatchFlags::MOVED_TO) {
            tracing::debug!(%attempt, %error, "artifacts go when the job is over: the kernel does not watch the folder");
            return;
        }
        self.attempts.entry(attempt).or_default();
    }

    fn unwatch(&mut self, attempt: AttemptRef) {
        if let Some(watcher) = &mut self.watcher {
            watcher.remove(&attempt);
        }
    }

    fn moved(&mut self, happened: Vec<Happened<AttemptRef>>) {
        for one in happened {
            // What is not told is found when the job is over.
            let Happened::To(attempt, Some(name)) = one else { continue };
            let Some(folder) = self.attempts.get(&attempt).filter(|known| known.left.is_none()) else { continue };
            let is_too_many = folder.there.len() >= limits::ARTIFACTS_MAX;
            if is_too_many || name.len() > limits::ARTIFACT_NAME_BYTES_MAX {
                continue;
            }
            let Some(path) = self.watcher.as_ref().and_then(|watcher| watcher.path(&attempt)) else { continue };
            let path = path.join(&name);
            let looked = std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file);
            if let Some(metadata) = looked {
                self.queue.push_back(File { attempt, name, path, why: Why::Moved, bytes: metadata.len() });
            }
        }
    }

    fn deliver(&mut self, attempt: AttemptRef, files: Vec<(String, PathBuf)>) {
        self.unwatch(attempt);
        // Those that wait go with all others.
        self.queue.retain(|file| file.attempt != attempt || file.why != Why::Moved);
        let known = self.attempts.entry(attempt).or_default();
        (known.bytes, known.sent) = (0, 0);
        known.files.clone_from(&files);
        let mut left = 0;
        for (name, path) in files {
            let look = std::fs::metadata(&path).ok().map(|metadata| Look::of(&metadata));
            if look.is_some() && known.there.get(&name).copied() == look {
                continue;
            }
            left += 1;
            let bytes = look.map_or(0, |look| look.size);
            known.bytes += bytes;
            self.queue.push_back(File { attempt, name, path, why: Why::Left, bytes });
        }
        known.left = Some(left);
        self.tell(attempt);
        self.finish(attempt);
    }

    /// What was delivered goes again: at its attempt's end, or at once where that is being delivered.
    fn restored(&mut self) {
        for (attempt, known) in &mut self.attempts {
            let there = std::mem::take(&mut known.there);
            let Some(left) = &mut known.left else { continue };
            for (name, path, look) in known.files.iter().filter_map(|(name, path)| Some((name, path, there.get(name)?)))
            {
                *left += 1;
                let (name, path) = (name.clone(), path.clone());
                self.queue.push_back(File { attempt: *attempt, name, path, why: Why::Left, bytes: look.size });
            }
        }
        self.tell_all();
    }

    /// Begins what there is room for.
    fn begin(&mut self) {
        while self.at_work.len() < UPLOADS_MAX
            && let Some(file) = self.queue.pop_front()
        {
            let files = self.with_others(file);
            let sender = self.sender.clone();
            self.at_work.spawn(async move {
                // One that panics is not delivered, as any other that cannot be: its attempt does not wait for it.
                let (mut one, what) = (JoinSet::new(), files.clone());
                one.spawn(async move { sender.send_all(what).await });
                let failed = |file| (file, Sent::Not("sending it failed; the worker's log says why".to_owned()));
                let sent = one.join_next().await.and_then(Result::ok);
                sent.unwrap_or_else(|| files.into_iter().map(failed).collect())
            });
        }
    }

    /// A file, and where it is small, the small ones that stand behind it and fit in with it.
    fn with_others(&mut self, first: File) -> Vec<File> {
        let mut load = Load::default().with(first.bytes);
        let mut files = vec![first];
        while let Some(so_far) = load
            && let Some(next) = self.queue.pop_front_if(|next| so_far.with(next.bytes).is_some())
        {
            load = so_far.with(next.bytes);
            files.push(next);
        }
        files
    }

    fn sent(&mut self, file: &File, sent: Sent) {
        let Some(known) = self.attempts.get_mut(&file.attempt) else {
            // A server that missed something is told of what was ended long ago too.
            if file.why == Why::Missed {
                self.say_sent(file, sent);
            }
            return;
        };
        if let Sent::There { look, .. } = &sent {
            known.there.insert(file.name.clone(), *look);
        }
        if file.why == Why::Left
            && let Some(left) = &mut known.left
        {
            *left = left.saturating_sub(1);
        }
        match (&sent, file.why) {
            (Sent::Not(why), Why::Moved) => {
                tracing::debug!(attempt = %file.attempt, name = file.name, why, "sent again when the job is over");
            }
            (Sent::Not(_) | Sent::There { .. }, _) => self.say_sent(file, sent),
        }
        self.tell(file.attempt);
        self.finish(file.attempt);
    }

    fn say_sent(&self, file: &File, sent: Sent) {
        let (attempt, name) = (file.attempt, file.name.clone());
        self.say(match sent {
            Sent::There { digest, look } => FromUploads::There(Artifact { attempt, name, digest, bytes: look.size }),
            Sent::Not(why) => FromUploads::Undelivered { attempt, name, why },
        });
    }

    /// Whether all is delivered that was to be.
    fn finish(&mut self, attempt: AttemptRef) {
        if self.attempts.get(&attempt).is_some_and(|known| known.left == Some(0)) {
            self.attempts.remove(&attempt);
            self.say(FromUploads::Done(attempt));
        }
    }

    fn tell_all(&self) {
        for attempt in self.attempts.keys() {
            self.tell(*attempt);
        }
    }

    fn tell(&self, attempt: AttemptRef) {
        let Some((known, files)) = self.attempts.get(&attempt).and_then(|known| Some((known, known.left?))) else {
            return;
        };
        let progress = UploadProgress { attempt, files, sent: known.sent, bytes: known.bytes };
        self.say(FromUploads::Progress(progress));
    }

    fn say(&self, said: FromUploads) {
        // A dispatcher that is gone needs no news.
        let _gone = self.says.send(said);
    }
}
