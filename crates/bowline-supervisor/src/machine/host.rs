//! What a supervisor needs of the world: processes, a disk, and somebody to tell.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::records::{Entry, Spawned};
use crate::wire::{Ended, Event, Start, Step};

use super::TakenOver;

/// What failed at a job's start, and the error's number (0: none).
pub type Failure = (Step, i32);

/// What a job is given before its first process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// A cgroup of its own, where one can be had.
    pub cgroup: Option<PathBuf>,
}

/// Whether anything is left of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// A process of it is there, or nobody can tell.
    Something,
    /// None of its processes is left.
    Nothing,
}

/// The jobs' processes. Every key is of a job that was prepared and not released.
pub trait Processes {
    /// Opens the files of a job and makes its cgroup. Nothing of it runs yet. Where it fails, nothing is left
    /// of it.
    fn prepare(&mut self, start: &Start) -> Result<Prepared, Failure>;
    /// Makes the first process, with this mark in its environment.
    fn spawn(&mut self, start: &Start, mark: &str) -> Result<Spawned, Failure>;
    /// The first process of a job whose program runs, or who keeps it.
    fn first(&self, key: &str) -> u32;
    /// Sends TERM to each process of a job that has not got it from here.
    fn term(&mut self, key: &str);
    /// Kills all of a job that can be found, once; tells whom it found.
    fn kill(&mut self, key: &str) -> Vec<u32>;
    /// All processes of a job.
    fn processes(&self, key: &str) -> Vec<u32>;
    /// Whether anything is left of a job whose first process has ended.
    fn left(&self, key: &str) -> Left;
    /// The first process has ended, and that is written down: its number may be given to another.
    fn reap(&mut self, key: &str);
    /// Lets go of a job: kills its first process if that lives, and removes its cgroup.
    fn release(&mut self, key: &str);
    /// Kills again what an earlier supervisor's job has left; tells what is still there.
    fn kill_earlier(&mut self, key: &str) -> Vec<u32>;
    /// What is known to be left of an earlier supervisor's job.
    fn earlier(&self, key: &str) -> Vec<u32>;
    /// Reaps what jobs left behind and what has ended since.
    fn reap_orphans(&mut self);
}

/// The records.
pub trait Disk {
    /// Adds an entry to a job's record, which `Begun` makes. What is written outlives this process, not
    /// the machine.
    fn write(&mut self, key: &str, entry: &Entry) -> io::Result<()>;
    /// Removes a job's record, and what was synced of its end.
    fn remove(&mut self, key: &str) -> io::Result<()>;
    /// Makes sure that so many ends can be synced, on a full disk too.
    fn reserve(&mut self, ends: usize) -> io::Result<()>;
    /// Begins to sync these ends, all of them at once. [`super::Machine::synced`] says when that is done.
    fn sync(&mut self, ends: &[Ended]) -> io::Result<()>;
    /// Takes over what supervisors of other versions left that are gone meanwhile.
    fn take_over(&mut self) -> TakenOver;
}

/// Whoever listens.
pub trait Voice {
    /// Tells the worker, if there is one.
    fn tell(&mut self, event: &Event);
    /// A line for the log.
    fn say(&mut self, text: fmt::Arguments<'_>);
}

/// The world around a supervisor.
pub trait Host: Processes + Disk + Voice {}

impl<T: Processes + Disk + Voice> Host for T {}
