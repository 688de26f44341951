//! Themes: what comes on top of a seed's shape, so that things meet that seldom meet by chance.

use super::Work;
use super::shape::{Happening, Shape, What};
use crate::fault::Fault;
use crate::random::Random;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Jobs that do not die when they are told to, and workers with no room to spare.
    Dying,
    /// Long jobs that are lost again and again.
    Storm,
    /// Leases, limits, silence.
    Time,
    /// Failures, retries, and reports that are heard twice.
    Ends,
    /// Runs of workflows.
    Runs,
    /// Processes that leave, and what is on its way to them.
    Leaving,
    /// Many jobs at once, and disks that are slow or fail.
    Crowd,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Theme {
    /// What it is about.
    pub about: About,
    /// What a connection says lies in a worker's own queue for so long at most, now and then. In microseconds.
    pub queue_us: u64,
    /// What new holders do with what was left elsewhere: it waits, is given back, fails.
    pub left: u64,
}

const ABOUT: [About; 7] =
    [About::Dying, About::Storm, About::Time, About::Ends, About::Runs, About::Leaving, About::Crowd];

impl Theme {
    /// Any.
    pub fn new(random: &mut Random) -> Self {
        let about = ABOUT[random.place(ABOUT.len()).unwrap_or(0)];
        let queue_us = [0, 5_000, 3_000_000][random.place(3).unwrap_or(0)];
        Self { about, queue_us, left: random.below(3) }
    }

    fn works(&self) -> &'static [Work] {
        match self.about {
            About::Dying => &[Work::Single, Work::Array, Work::Cancel, Work::Cancel, Work::Whatever],
            About::Storm => &[Work::Single, Work::Cancel],
            About::Time => &[Work::Single, Work::Array, Work::Chain],
            About::Ends => &[Work::Single, Work::Array, Work::AtEnd, Work::AtEnd, Work::Whatever, Work::Retry],
            About::Runs => &[Work::Run, Work::Run, Work::AtEnd, Work::RunCancel, Work::RunRetry],
            About::Crowd => &[Work::Array, Work::Array, Work::Single, Work::Cancel],
            About::Leaving => &[Work::Single, Work::Single, Work::Handoff, Work::DrainRelease, Work::Undrain],
        }
    }

    fn faults(&self) -> &'static [Fault] {
        match self.about {
            About::Dying => {
                &[Fault::KillAtKill, Fault::EndAtKill, Fault::KillSupervisor, Fault::KillAtStart, Fault::TermSupervisor]
            }
            About::Storm => &[Fault::KillSupervisor, Fault::KillBoth, Fault::Reboot, Fault::KillAtStart],
            About::Time => {
                &[Fault::LateAnswer, Fault::Deaf, Fault::CutOffLong, Fault::StallServerLong, Fault::TakeOver]
            }
            About::Ends => &[Fault::CutAtReport, Fault::KillServerInCommit, Fault::HalfOpen, Fault::CommitUnheard],
            About::Runs => &[Fault::KillAtStep, Fault::KillAtStep, Fault::TakeOverInCommit],
            About::Crowd => &[Fault::DiskFull, Fault::SyncFails, Fault::KillWorker, Fault::CutAtReport],
            About::Leaving => &[
                Fault::LeaveAtAssign,
                Fault::LeaveAtAssign,
                Fault::SyncFails,
                Fault::LoseJournal,
                Fault::LoseJournal,
                Fault::KillWorker,
                Fault::StallWorkerLong,
                Fault::SecondIncarnation,
            ],
        }
    }

    /// Changes what the shape has for what this is about.
    pub fn colour(&self, shape: &mut Shape, random: &mut Random) {
        let tastes = &mut shape.tastes;
        match self.about {
            About::Dying => {
                tastes.stubborn = random.between(300, 800);
                (shape.slots, shape.prefetch) = (u32::try_from(random.between(1, 2)).unwrap_or(1), 2);
                shape.workers = 1;
            }
            About::Storm => {
                (shape.workers, shape.pooled) = (u32::try_from(random.between(1, 2)).unwrap_or(1), 0);
                tastes.length_us = 60_000_000;
                (tastes.fail_on_loss, tastes.forbid, tastes.failing, tastes.held) = (0, 300, 0, 0);
            }
            About::Time => {
                (tastes.stop_after, tastes.limits, tastes.impatient) = (500, 400, 400);
                tastes.length_us = 20_000_000;
                shape.length_us = 400_000_000;
            }
            About::Ends => {
                (tastes.failing, tastes.retries, tastes.length_us) = (700, 900, 500_000);
            }
            About::Runs => tastes.length_us = 300_000,
            About::Crowd => {
                (tastes.length_us, tastes.elements, tastes.unruly) = (200_000, 60, 0);
                (shape.slots, shape.prefetch) = (u32::try_from(random.between(60, 120)).unwrap_or(60), 2);
                (shape.workers, shape.length_us) = (1, 30_000_000);
                shape.pace.journal_us = random.between(4_000, 200_000);
            }
            About::Leaving => {
                (tastes.length_us, tastes.endless) = (400_000, 100);
                shape.pace.journal_us = [4_000, 400_000, 2_000_000][random.place(3).unwrap_or(0)];
            }
        }
    }

    /// What happens on top, numbered from here on.
    pub fn happenings(&self, first: u64, length_us: u64, random: &mut Random) -> Vec<Happening> {
        let count = random.between(30, 110);
        let (works, faults) = (self.works(), self.faults());
        let each = (0..count).filter_map(|place| {
            let at = random.below(length_us);
            let is_fault = random.per_mille(400);
            let what = if is_fault { What::Fault(*random.one_of(faults)?) } else { What::Work(*random.one_of(works)?) };
            Some(Happening { number: u32::try_from(first + place).unwrap_or(0), at, what })
        });
        each.collect()
    }
}
