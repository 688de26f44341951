//! Machines: clocks, disks, boot ids; suspend, reboot, and files.

use std::any::Any;
use std::rc::Rc;

use super::{Due, Role, Slot, World};
use crate::clock::Clock;
use crate::disk::{Disk, DiskError};
use crate::process::{CloseWhy, Event, MachineId, ProcId};

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Its clocks.
    pub clock: Clock,
    /// Its disk.
    pub disk: Disk,
    /// How often it was started.
    pub boots: u32,
    /// It is down.
    pub is_down: bool,
    /// Nothing gets in or out before then.
    pub cut_off_until: Option<u64>,
    /// No batch of a file becomes durable before the one before it did.
    pub(super) journal_busy_until: u64,
    /// Syncs fail.
    pub refuses_sync: bool,
}

impl Machine {
    pub(super) fn new(now: u64, drift_ppm: i64) -> Self {
        Self {
            clock: Clock::new(now, drift_ppm),
            disk: Disk::default(),
            boots: 1,
            is_down: false,
            cut_off_until: None,
            journal_busy_until: 0,
            refuses_sync: false,
        }
    }
}

/// What a journal has before it for longer than this is not written batch by batch. In microseconds.
const JOURNAL_ALONE_MAX_US: u64 = 1_000_000;
/// So many batches make one commit of a journal at most, there and here.
const JOURNAL_TOGETHER_MAX: u64 = 256;

impl World {
    /// The folder of a process's files: a process that dies leaves alone what others of its machine write. A worker's
    /// are those of its state directory, whoever uses it.
    fn folder(&self, proc: ProcId) -> String {
        match &self.slot(proc).role {
            Role::Worker(role) => format!("{}/", role.dir),
            Role::Server { .. } | Role::Supervisor { .. } | Role::Client { .. } => format!("process-{}/", proc.0),
        }
    }

    /// Takes the lock of a worker's state directory, until its process ends. Whether it was free.
    pub(crate) fn lock(&mut self, proc: ProcId, dir: &str) -> bool {
        let machine = self.machine_of(proc);
        let holds = |slot: &Slot| {
            let of = |role: &Role| matches!(role, Role::Worker(role) if role.dir == dir);
            slot.holds_lock && slot.machine == machine && of(&slot.role)
        };
        let is_free = !self.slots.iter().any(holds);
        self.slot_mut(proc).holds_lock |= is_free;
        is_free
    }

    /// Copies what is durable of a process's files to where those of another one are, as a copy of a state
    /// directory does. The other one must not run.
    pub fn copy_files(&mut self, from: ProcId, to: ProcId) {
        let (source, target) = (self.folder(from), self.folder(to));
        let copy = self.disk(from).copied(&source);
        self.disk_mut(to).restore(&target, copy);
    }

    pub(crate) fn machine(&self, machine: MachineId) -> &Machine {
        &self.machines[machine.0 as usize]
    }

    pub(crate) fn machine_mut(&mut self, machine: MachineId) -> &mut Machine {
        &mut self.machines[machine.0 as usize]
    }

    fn disk(&self, proc: ProcId) -> &Disk {
        &self.machine(self.machine_of(proc)).disk
    }

    fn disk_mut(&mut self, proc: ProcId) -> &mut Disk {
        let machine = self.machine_of(proc);
        &mut self.machine_mut(machine).disk
    }

    pub(crate) fn boot_id(&self, proc: ProcId) -> String {
        let machine = self.machine_of(proc);
        format!("boot-{}-{}", machine.0, self.machine(machine).boots)
    }

    /// A machine loses its power, and every process on it; what was not synced is lost or torn. It is down until
    /// [`World::boot`].
    pub fn power_off(&mut self, machine: MachineId) {
        let procs = (0..).map(ProcId).zip(&self.slots);
        let here: Vec<ProcId> = procs.filter(|(_, slot)| slot.machine == machine).map(|(proc, _)| proc).collect();
        for proc in here {
            // Nobody is told: the others find out.
            self.mute_connections(proc);
            self.kill(proc);
        }
        self.jobs_lose_power(machine);
        let random = &mut self.random;
        let machine = &mut self.machines[machine.0 as usize];
        machine.is_down = true;
        machine.disk.machine_died(random);
    }

    /// A machine is started, with another boot id. Whatever was open towards it breaks now.
    pub fn boot(&mut self, machine: MachineId) {
        let now = self.now;
        let down = self.machine_mut(machine);
        down.is_down = false;
        down.boots += 1;
        down.clock.reboot(now);
        let procs = (0..).map(ProcId).zip(&self.slots);
        let here: Vec<(ProcId, u32)> =
            procs.filter(|(_, slot)| slot.machine == machine).map(|(proc, slot)| (proc, slot.life)).collect();
        for (proc, life) in here {
            self.break_connections(proc, life, &CloseWhy::Broken);
        }
    }

    /// A machine is suspended for so long: its processes stand still, and `CLOCK_MONOTONIC` with them.
    pub fn suspend(&mut self, machine: MachineId, length_us: u64) {
        self.machine_mut(machine).clock.suspended(length_us);
        let procs = (0..).map(ProcId).zip(&self.slots);
        let here: Vec<ProcId> = procs.filter(|(_, slot)| slot.machine == machine).map(|(proc, _)| proc).collect();
        for proc in here {
            self.stall(proc, length_us);
        }
    }

    pub(super) fn files_of_the_dead(&mut self, proc: ProcId) {
        let machine = self.machine_of(proc);
        // A worker that never got its lock has written nothing.
        let has_written = !matches!(self.slot(proc).role, Role::Worker(_)) || self.slot(proc).holds_lock;
        self.slot_mut(proc).holds_lock = false;
        if has_written {
            let (folder, random) = (self.folder(proc), &mut self.random);
            let unheard = self.machines[machine.0 as usize].disk.process_died(&folder, random);
            for (file, batch) in unheard {
                self.observer.durable(self.now, &file, batch.as_ref());
            }
        }
    }

    pub(crate) fn put(&mut self, proc: ProcId, file: &str, batch: Rc<dyn Any>, token: u64) {
        let file = self.folder(proc) + file;
        let place = self.disk_mut(proc).put(&file, batch);
        let length = self.random.around(self.pace.journal_us);
        let (life, now) = (self.life(proc), self.now);
        let machine = self.machine_of(proc);
        let machine = self.machine_mut(machine);
        // Where much waits it goes together, as in the real journal.
        let waits = machine.journal_busy_until.saturating_sub(now);
        let length = if waits > JOURNAL_ALONE_MAX_US { length / JOURNAL_TOGETHER_MAX } else { length };
        let at = machine.journal_busy_until.max(now) + length;
        machine.journal_busy_until = at;
        self.queue.push(at, Due::JournalDue { proc, life, file, place, token });
    }

    pub(super) fn journal_due(&mut self, (proc, life): (ProcId, u32), file: &str, place: usize, token: u64) {
        if self.life(proc) != life || !self.is_running(proc) {
            return;
        }
        // What comes later waits behind what is tried again.
        let is_next = self.disk(proc).next_place(file) == Some(place);
        let result = if is_next { self.disk_mut(proc).durable(file) } else { Err(DiskError::Refused) };
        if result.is_ok()
            && let Some(batch) = self.disk(proc).newest_durable(file)
        {
            self.observer.durable(self.now, file, batch.as_ref());
        }
        if result.is_err() {
            // The writer tries again until there is room, as the real one does.
            let at = self.now + 1_000_000;
            self.queue.push(at, Due::JournalDue { proc, life, file: file.to_owned(), place, token });
        }
        if !is_next {
            return;
        }
        self.hand_over(proc, life, Event::Written { token, result });
    }

    /// Somebody removes a process's files of batches. It must not run.
    pub fn lose_batches(&mut self, proc: ProcId) {
        let folder = self.folder(proc);
        self.disk_mut(proc).lose_batches(&folder);
    }

    pub(crate) fn batches<T: 'static>(&self, proc: ProcId, file: &str) -> Vec<Rc<T>> {
        self.disk(proc).batches(&(self.folder(proc) + file))
    }

    pub(crate) fn append(&mut self, proc: ProcId, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.folder(proc) + file;
        self.disk_mut(proc).append(&file, bytes)
    }

    pub(crate) fn replace(&mut self, proc: ProcId, file: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.folder(proc) + file;
        self.disk_mut(proc).replace(&file, bytes)
    }

    pub(crate) fn append_in_place(&mut self, proc: ProcId, file: &str, bytes: &[u8]) {
        let file = self.folder(proc) + file;
        self.disk_mut(proc).append_in_place(&file, bytes);
    }

    pub(crate) fn sync(&mut self, proc: ProcId, token: u64) {
        self.sync_files(proc, String::new(), token);
    }

    pub(crate) fn sync_only(&mut self, proc: ProcId, prefix: &str, token: u64) {
        self.sync_files(proc, self.folder(proc) + prefix, token);
    }

    fn sync_files(&mut self, proc: ProcId, files: String, token: u64) {
        let (life, length) = (self.life(proc), self.random.around(self.pace.journal_us));
        self.queue.push(self.now + length, Due::SyncDue { proc, life, token, files });
    }

    pub(super) fn sync_due(&mut self, proc: ProcId, life: u32, token: u64, files: &str) {
        if self.life(proc) == life && self.is_running(proc) {
            let refuses = self.machine(self.machine_of(proc)).refuses_sync;
            if !refuses {
                self.disk_mut(proc).sync(files);
            }
            let result = if refuses { Err(DiskError::Refused) } else { Ok(()) };
            self.hand_over(proc, life, Event::Written { token, result });
        }
    }

    pub(crate) fn read(&self, proc: ProcId, file: &str) -> Option<Vec<u8>> {
        self.disk(proc).read(&(self.folder(proc) + file))
    }

    pub(crate) fn files(&self, proc: ProcId, prefix: &str) -> Vec<String> {
        let folder = self.folder(proc);
        let names = self.disk(proc).files(&(folder.clone() + prefix));
        names.into_iter().map(|name| name[folder.len()..].to_owned()).collect()
    }

    pub(crate) fn remove(&mut self, proc: ProcId, file: &str) {
        let file = self.folder(proc) + file;
        self.disk_mut(proc).remove(&file);
    }

    pub(crate) fn disk_free(&self, proc: ProcId) -> u64 {
        self.disk(proc).free()
    }
}
