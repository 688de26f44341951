//! One run: builds a world of a seed's shape, lets happen what is to happen, watches, and once the faults have
//! stopped heals everything and waits until all that was acknowledged has ended.

mod build;
mod inject;
mod keep;
mod ops;
mod settle;
mod traps;
mod word;

use std::collections::{BTreeMap, BTreeSet};

use bowline_core::id::Generation;
use bowline_core::mutant::Mutant;
use bowline_core::probe::Path;
use bowline_store::MemoryStore;

use crate::check::{Check, Violation};
use crate::fault::Fault;
use crate::process::{ClusterId, MachineId, ProcId};
use crate::trace::Keep;
use crate::workload::Work;
use crate::workload::shape::{Happening, Shape, What};
use crate::world::World;
use traps::Trap;

/// What to run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed.
    pub seed: u64,
    /// Faults that do not happen.
    pub without: BTreeSet<Fault>,
    /// Only these happenings, by number. `None`: all.
    pub only: Option<BTreeSet<u32>>,
    /// How much of the trace is kept.
    pub keep: Keep,
    /// The mistake that is switched on.
    pub mutant: Option<Mutant>,
    /// After so many inputs the run is given up without a judgement on I6. A bound for broken runs.
    pub inputs_max: u64,
}

/// No run takes more inputs than this: a few seconds of work.
pub const INPUTS_MAX: u64 = 3_000_000;

impl Setup {
    /// Everything that a seed has.
    pub const fn new(seed: u64) -> Self {
        Self { seed, without: BTreeSet::new(), only: None, keep: Keep::Nothing, mutant: None, inputs_max: INPUTS_MAX }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it was.
    pub seed: u64,
    /// What is broken.
    pub violation: Option<Violation>,
    /// Inputs to processes over the real code.
    pub inputs: u64,
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// The hash of the trace, where it was kept.
    pub hash: u64,
    /// Its lines, where they were kept.
    pub lines: Vec<String>,
    /// Faults that happened.
    pub faults: BTreeMap<Fault, u64>,
    /// Work that was asked for.
    pub works: BTreeMap<Work, u64>,
    /// Rare paths that were taken.
    pub paths: Vec<(Path, u64)>,
    /// What happened, by number.
    pub happened: BTreeSet<u32>,
    /// Tasks that were acknowledged.
    pub tasks: u64,
    /// Jobs that began, in fact.
    pub jobs: u64,
}

/// Something that follows later.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Later {
    /// A process is started again.
    Start(ProcId),
    /// A machine is started, with its processes.
    Boot(MachineId),
    /// There is room on a disk again.
    Room(MachineId),
    /// Commits are as quick as before.
    Quick(ClusterId),
    /// A restored cluster's server is started.
    Forgotten(ProcId),
    /// Somebody looks after everything: service managers, operators.
    Look,
    /// A machine is cut off, for so long.
    CutOff(MachineId, u64),
    /// A wire was touched: what follows was drawn from this happening's stream.
    Trap(Trap, u32),
}

/// A worker of the run.
#[derive(Debug, Clone)]
struct Staff {
    proc: ProcId,
    machine: MachineId,
    dirs: Vec<String>,
    /// It was moved away, or fenced: nobody starts it again.
    retired: bool,
    /// It is held down until somebody has been answered.
    held: Option<ProcId>,
    /// Somebody asked that it be forgotten, once.
    forgotten: bool,
}

/// One run at work.
#[derive(Debug)]
struct Drive {
    setup: Setup,
    shape: Shape,
    world: World,
    servers: Vec<Vec<ProcId>>,
    clients: Vec<Vec<ProcId>>,
    staff: Vec<Staff>,
    happenings: Vec<Happening>,
    later: BTreeMap<u64, Later>,
    later_count: u64,
    starting: BTreeSet<ProcId>,
    backups: Vec<(ClusterId, usize, MemoryStore)>,
    /// The highest generation that each cluster ever had.
    generations: BTreeMap<ClusterId, Generation>,
    faults: BTreeMap<Fault, u64>,
    works: BTreeMap<Work, u64>,
    happened: BTreeSet<u32>,
    leaderless_since: BTreeMap<ClusterId, u64>,
}

/// Numbers below it are happenings, numbers above it what follows later.
const LATER: u64 = 1 << 32;

/// Runs a seed.
pub fn run(setup: &Setup) -> Outcome {
    bowline_core::mutant::set_active(setup.mutant);
    bowline_core::probe::reset();
    let mut drive = Drive::build(setup);
    drive.all();
    let paths = bowline_core::probe::counts();
    bowline_core::mutant::set_active(None);
    drive.outcome(paths)
}

impl Drive {
    fn check(&mut self) -> &mut Check {
        // The observer of every world made here is a checker.
        self.world.observer.as_any().downcast_mut::<Check>().expect("the observer is the checker")
    }

    fn is_broken(&mut self) -> bool {
        self.check().found.first().is_some()
    }

    fn all(&mut self) {
        // In the middle of it, and when the faults are over.
        for part in [self.shape.length_us / 2, self.shape.length_us] {
            self.until(part + build::BEGIN_US);
            if self.is_broken() {
                return;
            }
            self.hold_to_its_word();
        }
        self.settle();
    }

    /// Lets the world go on until this moment, or until something is broken. Whether it may go on.
    fn until(&mut self, moment: u64) -> bool {
        while self.world.queue.next_at().is_some_and(|at| at <= moment) {
            if let Some(number) = self.world.step() {
                self.turn(number);
            }
            if self.is_broken() || self.world.inputs > self.setup.inputs_max {
                return false;
            }
        }
        self.world.now = self.world.now.max(moment);
        true
    }

    fn turn(&mut self, number: u64) {
        if number >= LATER {
            if let Some(later) = self.later.remove(&number) {
                match later {
                    Later::Trap(trap, happening) => self.sprung(trap, happening, number),
                    later => self.follow(&later),
                }
            }
            return;
        }
        let Some(happening) = usize::try_from(number).ok().and_then(|place| self.happenings.get(place)).copied() else {
            return;
        };
        let done = match happening.what {
            What::Work(work) => {
                let done = self.work(work, happening.number);
                *self.works.entry(work).or_default() += u64::from(done);
                done
            }
            What::Fault(fault) => {
                let done = self.fault(fault, happening.number);
                *self.faults.entry(fault).or_default() += u64::from(done);
                done
            }
        };
        if done {
            self.happened.insert(happening.number);
        }
    }

    fn later(&mut self, length_us: u64, later: Later) {
        self.later_count += 1;
        let number = LATER + self.later_count;
        self.later.insert(number, later);
        self.world.after(length_us, number);
    }

    fn outcome(mut self, paths: Vec<(Path, u64)>) -> Outcome {
        let violation = self.check().found.first().cloned();
        let tasks = self.check().views.iter().map(|view| view.asked.tasks.len() as u64).sum();
        let jobs = self.check().facts.count();
        Outcome {
            seed: self.setup.seed,
            violation,
            inputs: self.world.inputs,
            virtual_us: self.world.now,
            hash: self.world.trace.hash(),
            lines: self.world.trace.lines().to_vec(),
            faults: self.faults,
            works: self.works,
            paths,
            happened: self.happened,
            tasks,
            jobs,
        }
    }
}
