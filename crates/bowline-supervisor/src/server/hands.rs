//! What the machine's word does in the world: processes, records, and the worker that listens.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll::{self, EventFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use super::body::{Bodies, Body, First, Reaped};
use super::connection::{Connection, Health};
use super::launch::{Launcher, Readied, at};
use super::spawn::abandon;
use super::syncer::Syncer;
use super::{end_token, exit_token, kill, members, others, report_token};
use crate::cgroup;
use crate::log::Log;
use crate::machine::{Disk, Failure, Left, Prepared, Processes, TakenOver, Voice};
use crate::procs::{self, Process};
use crate::records::files::{self, EndsFile, Record};
use crate::records::spares::Spares;
use crate::records::{Entry, Spawned};
use crate::signals;
use crate::wire::{Ended, Event, Start, Step};

/// Everything that the machine can reach.
#[derive(Debug)]
pub(super) struct Hands {
    /// The state folder, which supervisors of other versions use too.
    pub(super) root: PathBuf,
    /// This supervisor's own folder in it.
    pub(super) state_dir: PathBuf,
    pub(super) boot_id: String,
    pub(super) launcher: Launcher,
    pub(super) epoll: OwnedFd,
    pub(super) births: u64,
    pub(super) readied: BTreeMap<String, Readied>,
    pub(super) bodies: Bodies,
    /// Living jobs by the number of their birth, from 1.
    pub(super) by_number: BTreeMap<u64, String>,
    pub(super) records: BTreeMap<String, Record>,
    pub(super) spares: Spares,
    pub(super) ends: EndsFile,
    pub(super) syncer: Option<Syncer>,
    /// A sync that was over before it began.
    pub(super) has_synced: Option<io::Result<()>>,
    /// What could not be killed of the jobs of a supervisor that is gone.
    pub(super) stuck_before: BTreeMap<String, Vec<Process>>,
    pub(super) connections: BTreeMap<u64, Connection>,
    /// The worker's connection.
    pub(super) active: Option<u64>,
    /// Connections that do not read, to be dropped.
    pub(super) deaf: Vec<u64>,
    pub(super) log: Log,
}

impl Hands {
    fn helper(&self) -> Option<u32> {
        self.syncer.as_ref().map(|syncer| syncer.pid)
    }

    /// Takes a newborn job into the loop.
    fn watch(&self, body: &Body) -> io::Result<()> {
        let number = body.number;
        if let Some(report) = &body.main.report {
            epoll::add(&self.epoll, &report.pipe, report_token(number), EventFlags::IN)?;
        }
        if let Some(kept) = &body.main.kept {
            epoll::add(&self.epoll, &kept.end, end_token(number), EventFlags::IN)?;
        }
        epoll::add(&self.epoll, &body.main.pidfd, exit_token(number), EventFlags::IN)?;
        Ok(())
    }
}

impl Processes for Hands {
    fn prepare(&mut self, start: &Start) -> Result<Prepared, Failure> {
        let readied = self.launcher.prepare(start, self.bodies.len())?;
        let cgroup = readied.cgroup.clone();
        self.readied.insert(start.key.clone(), readied);
        Ok(Prepared { cgroup })
    }

    fn spawn(&mut self, start: &Start, mark: &str) -> Result<Spawned, Failure> {
        let readied = self.readied.remove(&start.key).ok_or((Step::Spawn, 0))?;
        let main = match self.launcher.spawn(start, mark, &readied) {
            Ok(main) => main,
            Err(failure) => {
                readied.cgroup.iter().for_each(|path| cgroup::remove(path));
                return Err(failure);
            }
        };
        self.births += 1;
        let spawned = Spawned { pid: main.process.pid, start_ticks: main.process.start_ticks };
        let body = Body {
            key: start.key.clone(),
            number: self.births,
            mark: mark.to_owned(),
            cgroup: readied.cgroup,
            main,
            first: First::Alive,
            termed: Vec::new(),
        };
        // Without this nobody would hear of its end.
        let watched = self.watch(&body);
        self.by_number.insert(body.number, body.key.clone());
        self.bodies.insert(body.key.clone(), body);
        watched.map(|()| spawned).map_err(at(Step::Spawn))
    }

    fn first(&self, key: &str) -> u32 {
        self.bodies.get(key).map_or(0, |body| body.first().pid)
    }

    fn term(&mut self, key: &str) {
        let Some(body) = self.bodies.get(key) else { return };
        let termed = kill::term(&self.bodies, body, self.helper());
        if let Some(body) = self.bodies.get_mut(key) {
            body.termed.extend(termed);
        }
    }

    fn kill(&mut self, key: &str) -> Vec<u32> {
        let helper = self.helper();
        let Some(body) = self.bodies.get(key) else { return Vec::new() };
        pids(&kill::kill_all(&self.bodies, body, helper, &mut self.log))
    }

    fn processes(&self, key: &str) -> Vec<u32> {
        let Some(body) = self.bodies.get(key) else { return Vec::new() };
        pids(&members::of(&self.bodies, body, self.helper()))
    }

    fn left(&self, key: &str) -> Left {
        match self.bodies.get(key) {
            Some(body) if members::is_anything_left(&self.bodies, body, self.helper()) => Left::Something,
            Some(_) | None => Left::Nothing,
        }
    }

    fn reap(&mut self, key: &str) {
        let Some(body) = self.bodies.get_mut(key) else { return };
        epoll::delete(&self.epoll, &body.main.pidfd).ok();
        waitid(WaitId::PidFd(body.main.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
        body.main.reaped = Reaped::Yes;
    }

    fn release(&mut self, key: &str) {
        self.records.remove(key);
        let readied = self.readied.remove(key).and_then(|readied| readied.cgroup);
        let body = self.bodies.remove(key);
        if let Some(body) = &body {
            self.by_number.remove(&body.number);
            if body.main.reaped == Reaped::No {
                abandon(&body.main);
            }
        }
        for path in readied.into_iter().chain(body.and_then(|body| body.cgroup)) {
            cgroup::remove(&path);
        }
    }

    fn kill_earlier(&mut self, key: &str) -> Vec<u32> {
        let Some(left) = self.stuck_before.get_mut(key) else { return Vec::new() };
        left.retain(|process| procs::process(process.pid).is_some_and(|found| found.is_same(process)));
        for process in left.iter() {
            procs::signal(process, Signal::KILL);
        }
        let found = pids(left);
        if found.is_empty() {
            self.stuck_before.remove(key);
        }
        found
    }

    fn earlier(&self, key: &str) -> Vec<u32> {
        self.stuck_before.get(key).map(|left| pids(left)).unwrap_or_default()
    }

    fn reap_orphans(&mut self) {
        // Before the look: what ends after it is told.
        signals::children_are_looked_at();
        for pid in members::foreign_children(&self.bodies, self.helper()).unwrap_or_default() {
            if let Some(pid) = procs::to_pid(pid) {
                waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
            }
        }
    }
}

impl Disk for Hands {
    fn write(&mut self, key: &str, entry: &Entry) -> io::Result<()> {
        if let Entry::Begun(begun) = entry {
            self.records.insert(key.to_owned(), Record::create(&self.state_dir, begun, &mut self.spares)?);
            return Ok(());
        }
        self.records.get_mut(key).ok_or(io::ErrorKind::NotFound)?.add(entry)
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        self.ends.remove(key)?;
        files::remove(&self.state_dir, key, &mut self.spares)
    }

    fn reserve(&mut self, ends: usize) -> io::Result<()> {
        self.ends.reserve(ends)
    }

    fn sync(&mut self, ends: &[Ended]) -> io::Result<()> {
        self.ends.write(ends)?;
        match Syncer::begin(self.ends.as_fd())? {
            Some(syncer) => {
                epoll::add(&self.epoll, &syncer.pidfd, super::SYNCER, EventFlags::IN)?;
                self.syncer = Some(syncer);
            }
            None => self.has_synced = Some(Ok(())),
        }
        Ok(())
    }

    fn take_over(&mut self) -> TakenOver {
        let taken = others::take_over(&self.root, &self.boot_id, &mut self.log);
        let stuck = taken.stuck.keys().cloned().collect();
        self.stuck_before.extend(taken.stuck);
        TakenOver { records: taken.records, stuck }
    }
}

impl Voice for Hands {
    fn tell(&mut self, event: &Event) {
        let Some(active) = self.active else { return };
        let Some(connection) = self.connections.get_mut(&active) else { return };
        if connection.queue(&event.encode()) == Health::Closed {
            self.log.say("the worker does not read; its connection is closed");
            self.connections.remove(&active);
            self.active = None;
            self.deaf.push(active);
        }
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        self.log.say(text);
    }
}

fn pids(processes: &[Process]) -> Vec<u32> {
    processes.iter().map(|process| process.pid).collect()
}
