//! What is around a dispatcher in production: the journal's thread, the connections to supervisor and server, the
//! pool, the tasks of logs and artifacts, the clock. It hands over what happens, one event at a time with the time at
//! which it is handed over, and does what the dispatcher says, in order. It decides nothing.

mod acting;
mod bulk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::LogStream;
use bowline_protocol::call::Caller;
use bowline_supervisor::Program;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::attempt::key_of;
use crate::clock::{self, Moment};
use crate::config::{Stop, WorkerConfig, WorkerExit};
use crate::dispatcher::{Action, Dispatcher, Event, FromSupervisor, Left, LinkEvent, LinkNo, Parcel, Settings, Told};
use crate::error::WorkerError;
use crate::jobs::Jobs;
use crate::journal::{Journal, Opened, Recovered, Said};
use crate::pool::{Pool, blocking};
use crate::prepare::log_file;
use crate::prepare::spares::Spares;
use crate::session::backoff::seed;
use crate::shares::{Share, Watch};
use crate::state_dir::Place;
use bulk::{Bulk, FromBulk};

/// Events of the connection on their way.
const LINK_EVENTS_MAX: usize = 64;
/// A closing connection gets so long for its last words.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What a dispatcher works with: for which server, where, with how much.
pub(crate) struct Seat {
    pub(crate) config: Arc<WorkerConfig>,
    pub(crate) place: Place,
    pub(crate) share: Share,
    pub(crate) client: reqwest::Client,
}

/// See the module.
pub(crate) struct Shell {
    dispatcher: Dispatcher,
    /// What it wants done; empty between two turns.
    actions: Vec<Action>,
    config: Arc<WorkerConfig>,
    place: Place,
    client: reqwest::Client,
    caller: Caller,
    journal: Journal,
    jobs: Jobs,
    /// What comes out of it is an event, or nothing that anybody waits for.
    pool: Pool<Option<Event>>,
    spares: Arc<Spares>,
    bulk: Bulk,
    /// Requests of actions under way.
    requests: BTreeMap<AttemptRef, AbortHandle>,
    wire: Option<Wire>,
    link_says: mpsc::Sender<(LinkNo, LinkEvent)>,
    room_says: mpsc::UnboundedSender<LinkNo>,
    /// What other servers' dispatchers change; `None`: there are no others.
    shares: Option<Watch>,
}

/// The connection to the server that is open, or being opened.
#[derive(Debug)]
struct Wire {
    no: LinkNo,
    /// `None`: the last words were handed over.
    outgoing: Option<mpsc::UnboundedSender<Vec<Parcel>>>,
    task: AbortHandle,
}

/// Where events come from.
pub(crate) struct Inboxes {
    journal: mpsc::UnboundedReceiver<Said>,
    supervisor: mpsc::Receiver<FromSupervisor>,
    link: mpsc::Receiver<(LinkNo, LinkEvent)>,
    room: mpsc::UnboundedReceiver<LinkNo>,
    bulk: FromBulk,
}

impl Shell {
    /// Takes over what the process before left, and begins.
    pub(crate) async fn start(seat: Seat, key: String, journal: Opened) -> Result<(Self, Inboxes), WorkerError> {
        let Seat { config, place, share, client } = seat;
        let caller = Caller { worker: config.identity.clone(), pool: config.pool.clone(), key };
        let (journal, recovered, said) = journal;
        let (checks, folder, jobs) = (config.checks.clone(), place.folder().to_owned(), place.clone());
        let spare = place.spare();
        let (found, left, spares) =
            blocking(move || (checks.look(&folder), left(recovered, &jobs), Spares::open(spare))).await;
        let (jobs, supervisor) = Jobs::start(Program {
            exe: config.supervisor_exe.clone(),
            state_dir: place.supervisor(),
            boot_id_file: config.boot_id_file.clone(),
            strongest: config.kill_by,
        })?;
        let boot_id =
            bowline_supervisor::boot_id(config.boot_id_file.as_deref()).map_err(|source| WorkerError::StateDir {
                what: "reading the boot id",
                path: config.boot_id_file.clone().unwrap_or_else(|| bowline_supervisor::BOOT_ID_FILE.into()),
                source,
            })?;
        let (bulk, from_bulk) = Bulk::start(client.clone(), &config);
        let shares = share.is_shared().then(|| share.watch());
        let settings = Settings {
            config: Arc::clone(&config),
            folder: place.folder().to_owned(),
            state_id: place.id().to_owned(),
            share,
            caller: caller.clone(),
            boot_id,
            process: uuid::Uuid::new_v4().simple().to_string(),
            seed: seed(),
            found,
        };
        let mut actions = Vec::new();
        let dispatcher = Dispatcher::new(settings, left, clock::now(), &mut actions);
        let ((link_says, link), (room_says, room)) = (mpsc::channel(LINK_EVENTS_MAX), mpsc::unbounded_channel());
        let shell = Self {
            dispatcher,
            actions,
            config,
            place,
            client,
            caller,
            journal,
            jobs,
            pool: Pool::new(),
            spares: Arc::new(spares),
            bulk,
            requests: BTreeMap::new(),
            wire: None,
            link_says,
            room_says,
            shares,
        };
        Ok((shell, Inboxes { journal: said, supervisor, link, room, bulk: from_bulk }))
    }

    /// Turns until there is nothing more to be done for this server.
    pub(crate) async fn turn_until_exit(&mut self, inboxes: &mut Inboxes, stop: &Stop) -> WorkerExit {
        let mut told = Told::Nothing;
        loop {
            if let Some(exit) = self.act() {
                return exit;
            }
            let open = self.dispatcher.is_open();
            let event = tokio::select! {
                said = inboxes.journal.recv() => Event::Journal(alive(said, "the journal's thread")),
                Some(link) = inboxes.room.recv() => Event::Room(link),
                Some((link, what)) = inboxes.link.recv(), if open => Event::Link(link, what),
                said = inboxes.supervisor.recv(), if open => {
                    Event::Supervisor(alive(said, "the thread that speaks with the supervisor"))
                }
                said = inboxes.bulk.shipper.recv(), if open => Event::Shipper(alive(said, "the task that ships logs")),
                said = inboxes.bulk.uploads.recv(), if open => {
                    Event::Uploads(alive(said, "the task that delivers artifacts"))
                }
                done = self.pool.next(), if open => match done.flatten() {
                    Some(event) => event,
                    None => continue,
                },
                () = at(self.dispatcher.next_timer()) => Event::Time,
                () = stop.release.cancelled(), if told < Told::Release => {
                    told = Told::Release;
                    Event::Told(told)
                }
                () = stop.leave.cancelled(), if told < Told::Leave => {
                    told = Told::Leave;
                    Event::Told(told)
                }
                () = changed(self.shares.as_mut()) => Event::SharesChanged,
            };
            if let Some(shares) = &mut self.shares {
                // This turn sees whatever has changed until now.
                shares.is_news();
            }
            if let Event::Answered(attempt, _) = &event {
                self.requests.remove(attempt);
            }
            self.dispatcher.handle(clock::now(), event, &mut self.actions);
        }
    }

    /// Does what the dispatcher wants done.
    fn act(&mut self) -> Option<WorkerExit> {
        let mut actions = std::mem::take(&mut self.actions);
        let mut exit = None;
        for action in actions.drain(..) {
            match action {
                Action::Exit(how) => exit = Some(how),
                action => self.act_on(action),
            }
        }
        self.actions = actions;
        exit
    }

    /// Waits until all is written, and lets go of everything. What runs under the supervisor runs on.
    pub(crate) async fn close(mut self, inboxes: Inboxes) {
        self.close_wire().await;
        // Where the disk has no room nobody waits for it: nothing was said of what is not durable.
        drop(inboxes.journal);
        blocking(move || {
            self.jobs.close(inboxes.supervisor);
            self.journal.close();
        })
        .await;
    }

    /// Lets what is on its way out leave, within a bound.
    async fn close_wire(&mut self) {
        let Some(Wire { outgoing, task, .. }) = self.wire.take() else { return };
        drop(outgoing);
        let pool = &mut self.pool;
        let gone = async {
            while !task.is_finished() {
                // What else comes out of the pool is in the journal, or is done again.
                drop(pool.next().await);
            }
        };
        if tokio::time::timeout(CLOSE_WITHIN, gone).await.is_err() {
            task.abort();
        }
    }
}

/// Without one of its helpers a worker would look healthy and do nothing: it ends, and what it has in hand goes on
/// with the next process. The helper's own panic is in the log before this one.
fn alive<T>(said: Option<T>, who: &str) -> T {
    said.unwrap_or_else(|| panic!("{who} has ended before its time"))
}

/// Ends then. Never, where there is no such moment.
async fn at(moment: Option<Moment>) {
    match moment {
        Some(moment) => tokio::time::sleep(moment.since(clock::moment())).await,
        None => std::future::pending().await,
    }
}

/// Ends when another server's dispatcher has changed something.
async fn changed(shares: Option<&mut Watch>) {
    match shares {
        Some(shares) => shares.changed().await,
        None => std::future::pending().await,
    }
}

/// What the process before left, with what the journal does not tell. Blocks.
fn left(journal: Recovered, place: &Place) -> Left {
    let has_log = |attempt: &AttemptRef| log_file(&place.jobs().join(key_of(*attempt)), LogStream::Output).exists();
    let logs: BTreeSet<_> = journal.attempts.iter().map(|known| known.attempt).filter(has_log).collect();
    Left { journal, logs }
}

#[cfg(test)]
mod tests;
