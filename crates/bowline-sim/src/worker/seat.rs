//! What a worker has for one of its servers: the real dispatcher, its journal, its two connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bowline_core::id::AttemptRef;
use bowline_protocol::call::Caller;
use bowline_worker::config::{OnTerm, WorkerConfig, WorkerExit};
use bowline_worker::dispatcher::{
    Action, Dispatcher, Event, Found, Left, LinkEnd, LinkEvent, LinkNo, Moment, Now, Settings, Told,
};
use bowline_worker::journal::memory::Memory;
use bowline_worker::journal::{After, Batch, Said};
use bowline_worker::shares::{Share, Watch};

use super::bulk::Bulk;
use super::supervision::Line;
use super::{Hands, Later};
use crate::clock::Local;
use crate::disk::DiskError;
use crate::process::{CloseWhy, ClusterId, ConnId, Packet};
use crate::world::WorkerRole;

/// The file of the journal's batches, within a seat's files.
const JOURNAL: &str = "journal";
/// How long what a connection says lies in the process's own queue.
const QUEUED: Duration = Duration::from_micros(40);
/// So many of a thousand lie there for longer, where any do.
const LONG_PER_MILLE: u64 = 150;

/// See the module.
#[derive(Debug)]
pub struct Seat {
    pub(super) cluster: ClusterId,
    /// The folder of what it keeps for this server, within the worker's.
    pub(super) dir: String,
    /// What begins the names of its files.
    files: String,
    pub(super) caller: crate::process::Caller,
    pub(super) dispatcher: Dispatcher,
    actions: Vec<Action>,
    /// What comes while too much waits for the disk.
    backlog: VecDeque<Event>,
    /// What follows from the batches that are not durable, by the token of the write.
    unwritten: BTreeMap<u64, Vec<After>>,
    pub(super) link: Option<(LinkNo, ConnId)>,
    pub(super) line: Line,
    pub(super) bulk: Bulk,
    watch: Watch,
    told: Told,
    /// What a connection says may lie in the process's own queue for so long, in microseconds.
    queue_us: u64,
    /// When the last of it is taken out.
    queued_until: Duration,
    /// What lies there, in its order: clocks that drift turn nothing round.
    queued: VecDeque<Event>,
    pub(super) exit: Option<WorkerExit>,
}

/// The time as a dispatcher is told it.
fn now(local: Local) -> Now {
    Now { at: Moment(Moment::BEGIN.0 + local.mono), boot: local.boot, wall_us: local.wall_us }
}

fn settings(role: &WorkerRole, place: (&str, String), share: Share, hands: &mut Hands<'_, '_>) -> Settings {
    let (folder, state_id) = place;
    let random = hands.io.random();
    let on_term = match random.below(3) {
        0 => OnTerm::Handoff,
        1 => OnTerm::Release,
        _ => OnTerm::Finish { within: Duration::from_secs(random.between(1, 60)) },
    };
    let (seed, process) = (random.next(), format!("{:016x}{:016x}", random.next(), random.next()));
    let mut config = WorkerConfig::new(folder, role.name.clone(), folder.into(), "sim".into());
    config.pool.clone_from(&role.pool);
    config.room.slots = role.slots;
    config.room.amounts.clone_from(&role.amounts);
    config.capabilities.clone_from(&role.capabilities);
    config.prefetch = role.prefetch;
    config.left = role.left;
    config.on_term = on_term;
    let key = role.key.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    Settings {
        caller: Caller { worker: role.name.clone(), pool: role.pool.clone(), key },
        config: Arc::new(config),
        folder: folder.into(),
        state_id,
        share,
        boot_id: hands.io.boot_id(),
        process,
        seed,
        found: found(hands),
    }
}

/// What a look at the disk finds.
pub(super) fn found(hands: &Hands<'_, '_>) -> Found {
    let disk = (hands.io.disk_free() == 0).then(|| "the disk has no room".to_owned());
    Found { disk, memory: None }
}

impl Seat {
    /// Takes over what the process before left, and begins.
    pub(super) fn begin(
        role: &WorkerRole,
        (number, cluster): (usize, ClusterId),
        share: Share,
        hands: &mut Hands<'_, '_>,
    ) -> Option<Self> {
        let (dir, files) = (format!("{}/{number}", role.dir), format!("{number}/"));
        let left = left(&(files.clone() + JOURNAL), hands);
        let state_id = state_id(&(files.clone() + "id"), hands)?;
        let watch = share.watch();
        let settings = settings(role, (&dir, state_id), share, hands);
        let caller =
            crate::process::Caller::Worker { worker: role.name.clone(), pool: role.pool.clone(), key: role.key };
        let mut actions = Vec::new();
        let dispatcher = Dispatcher::new(settings, left, now(hands.io.now()), &mut actions);
        let mut seat = Self {
            cluster,
            dir,
            files,
            caller,
            dispatcher,
            actions,
            backlog: VecDeque::new(),
            unwritten: BTreeMap::new(),
            link: None,
            line: Line::default(),
            bulk: Bulk::of(role),
            watch,
            told: Told::Nothing,
            queue_us: role.queue_us,
            queued_until: Duration::ZERO,
            queued: VecDeque::new(),
            exit: None,
        };
        seat.connect_supervisor(hands);
        seat.act(hands);
        Some(seat)
    }

    /// Attempts that take room, in the order of their numbers.
    pub fn begun(&self) -> impl Iterator<Item = AttemptRef> + '_ {
        self.dispatcher.begun()
    }

    /// The server that it is for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub(super) fn next_timer(&self) -> Option<Duration> {
        if self.exit.is_some() {
            return None;
        }
        self.dispatcher.next_timer().map(|moment| moment.since(Moment::BEGIN))
    }

    /// Whether nothing is left to be done: what was handed over is written, too.
    pub fn is_over(&self) -> bool {
        self.exit.is_some() && self.unwritten.is_empty()
    }

    /// Whether it has ended because another process acts under its identity there.
    pub fn is_fenced(&self) -> bool {
        matches!(self.exit, Some(WorkerExit::Fenced { .. }))
    }

    pub(super) fn is_news(&mut self) -> bool {
        self.watch.is_news() && self.exit.is_none()
    }

    /// Something has happened. While too much waits for the disk, it waits as well.
    pub(super) fn happens(&mut self, hands: &mut Hands<'_, '_>, event: Event) {
        let is_urgent = match event {
            Event::Time | Event::Journal(_) | Event::Room(_) | Event::Told(_) | Event::SharesChanged => true,
            Event::Supervisor(_)
            | Event::Link(..)
            | Event::Shipper(_)
            | Event::Uploads(_)
            | Event::Prepared(..)
            | Event::Collected(..)
            | Event::Answered(..)
            | Event::EnrolledAgain(_)
            | Event::Checked(_)
            | Event::ProbeSaid(..) => false,
        };
        if !is_urgent && !self.dispatcher.is_open() {
            self.backlog.push_back(event);
            return;
        }
        self.turn(hands, event);
        while self.dispatcher.is_open()
            && let Some(event) = self.backlog.pop_front()
        {
            self.turn(hands, event);
        }
    }

    fn turn(&mut self, hands: &mut Hands<'_, '_>, event: Event) {
        self.dispatcher.handle(now(hands.io.now()), event, &mut self.actions);
        self.act(hands);
    }

    fn act(&mut self, hands: &mut Hands<'_, '_>) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            self.act_on(hands, action);
        }
        self.actions = actions;
    }

    pub(super) fn time_passes(&mut self, hands: &mut Hands<'_, '_>) {
        let at = now(hands.io.now()).at;
        if self.dispatcher.next_timer().is_some_and(|due| due <= at) {
            self.happens(hands, Event::Time);
        }
    }

    pub(super) fn told(&mut self, hands: &mut Hands<'_, '_>) {
        self.told = if self.told == Told::Nothing { Told::Leave } else { Told::Release };
        self.happens(hands, Event::Told(self.told));
    }

    pub(super) fn persist(&mut self, hands: &mut Hands<'_, '_>, batch: Batch) {
        let token = hands.token();
        self.unwritten.insert(token, batch.after.clone());
        hands.io.put(&(self.files.clone() + JOURNAL), batch, token);
    }

    /// Whether this write is one of its own.
    pub(super) fn wrote(&self, token: u64) -> bool {
        self.unwritten.contains_key(&token)
    }

    pub(super) fn written(&mut self, hands: &mut Hands<'_, '_>, token: u64, error: Option<DiskError>) {
        let said = match error {
            // It is tried again.
            Some(error) => Said::Refused(error.to_string()),
            None => Said::Durable { batches: 1, after: self.unwritten.remove(&token).unwrap_or_default() },
        };
        self.happens(hands, Event::Journal(said));
    }

    pub(super) fn has_conn(&self, conn: ConnId) -> bool {
        self.line.conn() == Some(conn) || self.link.is_some_and(|(_, own)| own == conn)
    }

    pub(super) fn arrived(&mut self, hands: &mut Hands<'_, '_>, conn: ConnId, packet: Packet) {
        match packet {
            Packet::FromServer { messages, generation, commit_no } => {
                if let Some((link, _)) = self.link.filter(|(_, own)| *own == conn) {
                    let (generation, commit_no) = (generation.0, commit_no.0);
                    let messages = LinkEvent::Messages { messages, generation, commit_no };
                    self.heard(hands, Event::Link(link, messages));
                }
            }
            Packet::FromSupervisor(event) => self.supervisor_says(hands, event),
            Packet::FromWorker(_) | Packet::Ask { .. } | Packet::Answer { .. } | Packet::ToSupervisor(_) => {}
        }
    }

    pub(super) fn closed(&mut self, hands: &mut Hands<'_, '_>, conn: ConnId, why: &CloseWhy) {
        if self.line.conn() == Some(conn) {
            self.supervisor_gone(hands);
        } else if let Some((link, _)) = self.link.take_if(|(_, own)| *own == conn) {
            let end = match why {
                CloseWhy::Broken => LinkEnd::Broken("the connection broke".to_owned()),
                CloseWhy::Done => LinkEnd::Broken("the server closed the session".to_owned()),
                CloseWhy::UnknownKey => LinkEnd::UnknownKey("unknown key".to_owned()),
                CloseWhy::Unavailable(why) => LinkEnd::Broken(why.clone()),
            };
            self.heard(hands, Event::Link(link, LinkEvent::Down(end)));
        }
    }

    /// What a connection says waits a moment in the process's own queue, now and then for long: it may be let go of
    /// meanwhile.
    fn heard(&mut self, hands: &mut Hands<'_, '_>, event: Event) {
        let mut length = QUEUED;
        if self.queue_us > 0 {
            let random = hands.io.random();
            let more = if random.per_mille(LONG_PER_MILLE) { random.below(self.queue_us) } else { 0 };
            let now = hands.io.now().mono;
            self.queued_until = self.queued_until.max(now + QUEUED + Duration::from_micros(more));
            length = self.queued_until.saturating_sub(now);
        }
        self.queued.push_back(event);
        hands.after(length, Later::Heard);
    }

    /// What was heard first is taken out.
    pub(super) fn hear_next(&mut self, hands: &mut Hands<'_, '_>) {
        if let Some(event) = self.queued.pop_front() {
            self.happens(hands, event);
        }
    }
}

/// What the process before left.
fn left(file: &str, hands: &Hands<'_, '_>) -> Left {
    let mut journal = Memory::default();
    for batch in hands.io.batches::<Batch>(file) {
        journal.commit(&batch.ops).expect("a dispatcher gives every message a number of its own");
    }
    let journal = journal.recovered();
    let logs = journal.attempts.iter().map(|known| known.attempt).collect();
    Left { journal, logs }
}

/// The folder's own id, made where there is none. Nothing: it cannot be kept.
fn state_id(file: &str, hands: &mut Hands<'_, '_>) -> Option<String> {
    if let Some(id) = hands.io.read(file).and_then(|id| String::from_utf8(id).ok()) {
        return Some(id);
    }
    let id = format!("{:016x}", hands.io.random().next());
    if hands.io.replace(file, id.as_bytes()).is_err() {
        hands.io.note(format_args!("no room for the folder's id"));
        return None;
    }
    Some(id)
}
