//! What the machine's word does in the simulated world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Duration;

use bowline_supervisor::machine::{Disk, Failure, Left, Prepared, Processes, Report, TakenOver, Voice};
use bowline_supervisor::records::{Entry, Records, SLOT_BYTES, Slots, Spawned, opening, read_all, slot};
use bowline_supervisor::wire::{self, Event, Start, Step};

use crate::disk::DiskError;
use crate::job::{Plan, Signal};
use crate::process::{ConnId, Io, Packet};

/// Names a sync to the world.
pub(super) const SYNC: u64 = 0;
/// Where the slots of synced ends are, a file each: a disk tears one, and not its neighbours.
const ENDS: &str = "ends/";
const RECORDS: &str = "jobs/";
/// A stage takes so long before the program runs, in microseconds.
const STAGE_US_MAX: u64 = 5_000;
/// From KILL to the end of a first process whose children can't be killed yet.
const FIRST_ENDS_AFTER: Duration = Duration::from_millis(1);
const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;

/// Everything that a simulated supervisor has beside its machine.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) dir: String,
    pub(super) deaths_per_mille: u64,
    /// It has died in the middle of what it did: nothing that follows is done.
    pub(super) is_dead: bool,
    /// The worker's connection.
    pub(super) active: Option<u64>,
    /// Living jobs that it has started, and how they behave. `None`: there is no such program.
    pub(super) children: BTreeMap<String, Option<Plan>>,
    /// Of these, the ones whose stage has not spoken.
    pub(super) unreported: BTreeSet<String>,
    pub(super) promises: BTreeMap<u64, Promise>,
    count: u64,
    slots: Slots,
}

/// Something that happens a moment later.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) key: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Sweep,
    /// A stage says this.
    Report(Report),
    /// A job's first process ends, and others of it live.
    FirstEnds,
}

impl Own {
    pub(super) fn new(dir: String) -> Self {
        Self {
            dir,
            deaths_per_mille: 0,
            is_dead: false,
            active: None,
            children: BTreeMap::new(),
            unreported: BTreeSet::new(),
            promises: BTreeMap::new(),
            count: 0,
            slots: Slots::default(),
        }
    }

    pub(super) fn promise(&mut self, what: What) -> u64 {
        self.promise_of("", what)
    }

    fn promise_of(&mut self, key: &str, what: What) -> u64 {
        self.count += 1;
        self.promises.insert(self.count, Promise { key: key.to_owned(), what });
        self.count
    }

    /// What the life before left on disk.
    pub(super) fn load(&mut self, io: &Io<'_>) -> Records {
        let mut ends = Vec::new();
        for file in io.files(ENDS) {
            let at = file[ENDS.len()..].parse::<usize>().unwrap_or(0) * SLOT_BYTES;
            let bytes = io.read(&file).unwrap_or_default();
            ends.resize(ends.len().max(at + SLOT_BYTES), 0);
            ends[at..at + bytes.len().min(SLOT_BYTES)].copy_from_slice(&bytes[..bytes.len().min(SLOT_BYTES)]);
        }
        let (slots, _, _) = Slots::read(&ends);
        self.slots = slots;
        let named = |file: String| (file[RECORDS.len()..].to_owned(), io.read(&file));
        read_all(io.files(RECORDS).into_iter().map(named), &ends)
    }
}

pub(super) fn record_file(key: &str) -> String {
    format!("{RECORDS}{key}")
}

fn slot_file(at: usize) -> String {
    format!("{ENDS}{at:05}")
}

pub(super) fn as_io(error: DiskError) -> io::Error {
    match error {
        DiskError::Full => io::Error::from_raw_os_error(ENOSPC),
        DiskError::Refused => io::Error::other(error),
    }
}

/// A supervisor's hands for one event.
#[derive(Debug)]
pub(super) struct Hands<'a, 'w> {
    pub(super) io: &'a mut Io<'w>,
    pub(super) own: &'a mut Own,
}

impl Hands<'_, '_> {
    /// Whether it dies before this step, or has died.
    fn dies(&mut self) -> bool {
        let own = &mut *self.own;
        own.is_dead = own.is_dead || own.deaths_per_mille > 0 && self.io.random().per_mille(own.deaths_per_mille);
        own.is_dead
    }

    fn pid(&self, key: &str) -> u32 {
        // Any number does that is its own.
        u32::try_from(self.own.children.keys().position(|known| known == key).unwrap_or(0)).unwrap_or(0) + 2
    }
}

impl Processes for Hands<'_, '_> {
    fn prepare(&mut self, _start: &Start) -> Result<Prepared, Failure> {
        Ok(Prepared::default())
    }

    fn spawn(&mut self, start: &Start, _mark: &str) -> Result<Spawned, Failure> {
        if self.dies() {
            return Err((Step::Spawn, 0));
        }
        let plan = Plan::from_argv(&start.argv);
        if let Some(plan) = plan {
            self.io.spawn(&self.own.dir, &start.key, plan);
        }
        let report = if plan.is_some() { Report::Started } else { Report::Failed(Step::Exec, ENOENT) };
        let after = Duration::from_micros(self.io.random().below(STAGE_US_MAX));
        let token = self.own.promise_of(&start.key, What::Report(report));
        self.io.wake(after, token);
        self.own.children.insert(start.key.clone(), plan);
        self.own.unreported.insert(start.key.clone());
        Ok(Spawned { pid: self.pid(&start.key), start_ticks: 0 })
    }

    fn first(&self, key: &str) -> u32 {
        self.pid(key)
    }

    fn term(&mut self, key: &str) {
        if !self.own.is_dead && self.own.children.contains_key(key) {
            self.io.signal(&self.own.dir, key, Signal::Term);
        }
    }

    fn kill(&mut self, key: &str) -> Vec<u32> {
        let Some(plan) = self.own.children.get(key).filter(|_| !self.own.is_dead) else { return Vec::new() };
        if plan.is_some_and(|plan| plan.dies_in_us > 0) {
            let token = self.own.promise_of(key, What::FirstEnds);
            self.io.wake(FIRST_ENDS_AFTER, token);
        }
        self.io.signal(&self.own.dir, key, Signal::Kill);
        self.processes(key)
    }

    fn processes(&self, key: &str) -> Vec<u32> {
        if self.own.children.contains_key(key) { vec![self.pid(key)] } else { Vec::new() }
    }

    fn left(&self, key: &str) -> Left {
        if self.own.children.contains_key(key) { Left::Something } else { Left::Nothing }
    }

    fn reap(&mut self, _key: &str) {}

    fn release(&mut self, key: &str) {
        self.own.unreported.remove(key);
        if self.own.children.remove(key).is_some() && !self.own.is_dead {
            self.io.signal(&self.own.dir, key, Signal::Kill);
        }
    }

    fn kill_earlier(&mut self, key: &str) -> Vec<u32> {
        if !self.own.is_dead {
            self.io.signal(&self.own.dir, key, Signal::Kill);
        }
        self.earlier(key)
    }

    fn earlier(&self, key: &str) -> Vec<u32> {
        let living = self.io.living(&self.own.dir);
        if living.iter().any(|living| living == key) { vec![1] } else { Vec::new() }
    }

    fn reap_orphans(&mut self) {}
}

impl Disk for Hands<'_, '_> {
    fn write(&mut self, key: &str, entry: &Entry) -> io::Result<()> {
        if self.dies() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let file = record_file(key);
        let Entry::Begun(begun) = entry else {
            // The room was set aside when the file was made.
            self.io.append_in_place(&file, &entry.framed());
            return Ok(());
        };
        if self.io.read(&file).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (bytes, end) = opening(begun);
        let end = usize::try_from(end).unwrap_or(bytes.len());
        self.io.append(&file, &bytes[..end]).map_err(as_io)
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        if self.dies() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(at) = self.own.slots.give_back(key) {
            self.io.remove(&slot_file(at));
        }
        self.io.remove(&record_file(key));
        Ok(())
    }

    fn reserve(&mut self, ends: usize) -> io::Result<()> {
        self.own.slots.grow(ends);
        Ok(())
    }

    fn sync(&mut self, ends: &[wire::Ended]) -> io::Result<()> {
        self.own.slots.grow(self.own.slots.used() + ends.len());
        for ended in ends {
            if self.dies() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let place = slot(ended).zip(self.own.slots.take(ended.key()));
            let (bytes, at) = place.ok_or(io::ErrorKind::InvalidInput)?;
            self.io.remove(&slot_file(at));
            self.io.append_in_place(&slot_file(at), &bytes);
        }
        self.io.sync_only(ENDS, SYNC);
        Ok(())
    }

    fn take_over(&mut self) -> TakenOver {
        TakenOver::default()
    }
}

impl Voice for Hands<'_, '_> {
    fn tell(&mut self, event: &Event) {
        if let Some(active) = self.own.active.filter(|_| !self.own.is_dead) {
            self.io.send(ConnId(active), Packet::FromSupervisor(event.clone()));
        }
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        self.io.note(text);
    }
}
