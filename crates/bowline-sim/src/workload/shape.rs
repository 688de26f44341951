//! The shape of a run: how many of what there are, which kinds of work and faults happen, and how often.
//!
//! Every seed turns a random half of everything on, with rates of its own (swarm testing: Groce et al., 2012): a run
//! in which everything happens all the time hides what only shows while most things are quiet.

use super::Work;
use super::theme::Theme;
use super::trial::Trial;
use crate::fault::Fault;
use crate::random::Random;
use crate::world::Pace;

/// One thing that is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happening {
    /// Its number: what it draws from, whatever else is left out.
    pub number: u32,
    /// When, in microseconds.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A client does something.
    Work(Work),
    /// Something goes wrong.
    Fault(Fault),
}

/// How tasks of this run are, in per mille of all.
#[derive(Debug, Clone)]
pub struct Tastes {
    /// May not overlap.
    pub forbid: u64,
    /// Must not be rerun.
    pub fail_on_loss: u64,
    /// Have `stop_after`.
    pub stop_after: u64,
    /// Have limits of time.
    pub limits: u64,
    /// Fail.
    pub failing: u64,
    /// Have extra attempts.
    pub retries: u64,
    /// Are held by the server.
    pub held: u64,
    /// Ignore TERM, cannot be killed for a while, escape, or never end.
    pub unruly: u64,
    /// Ask for more than one slot, for amounts or capabilities.
    pub greedy: u64,
    /// Ignore TERM, and take their time to die.
    pub stubborn: u64,
    /// Never end by themselves.
    pub endless: u64,
    /// Are lost sooner than others.
    pub impatient: u64,
    /// Most elements of an array.
    pub elements: u64,
    /// The mean length of a job, in microseconds.
    pub length_us: u64,
    /// Ask for resources.
    pub asking: u64,
    /// Whether runs hold resources as a whole.
    pub are_runs_holding: bool,
    /// Are under keys and rates; and namespaces have quotas and shares where this is above 0.
    pub limited: u64,
    /// Not in per mille: most members of a gang. 0: there are none.
    pub gang: u64,
}

/// The shape of a run.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Clusters.
    pub clusters: u32,
    /// Servers of each.
    pub servers: u32,
    /// Machines with a worker.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// Attempts beyond them.
    pub prefetch: u32,
    /// So many of them are of a pool.
    pub pooled: u32,
    /// How long faults and work go on, in microseconds.
    pub length_us: u64,
    /// How tasks are.
    pub tastes: Tastes,
    /// How quick everything is.
    pub pace: Pace,
    /// How far clocks drift, in millionths.
    pub drift_ppm: u64,
    /// What has ended is kept for so long, in seconds.
    pub keep_s: u64,
    /// What comes on top, for newer seeds.
    pub theme: Option<Theme>,
    /// What is tried hard, beside all else.
    pub trial: Option<Trial>,
    /// Its one worker is cut off for long, with jobs that go on.
    pub forsaken: bool,
    /// No log is ever delivered.
    pub stuck_logs: bool,
    /// And of some the server takes a part, again and again, and never all: as with a full disk.
    pub torn_logs: bool,
}

/// Seeds below it have the shapes that they had when they were found; from it on a theme comes on top.
pub const THEMES_FROM: u64 = 10_000;

/// The same of resources: these seeds have tasks that ask for some.
pub const LINES: std::ops::Range<u64> = 1_000_000..1_000_000_000;
/// And all from here on, which was the moment at which resources came.
const LINES_FROM: u64 = 1_795_366_000_000;
/// Happenings that are about resources are numbered from here on.
const LINES_NUMBER: u64 = 1_000;

/// The same of keys, rates, quotas and shares: these seeds have some, beside resources.
pub const LIMITS: std::ops::Range<u64> = 1_000_000_000..2_000_000_000;
/// And all from here on, which was the moment at which limits came.
const LIMITS_FROM: u64 = 1_795_377_600_000;
/// Happenings that are about limits are numbered from here on.
const LIMITS_NUMBER: u64 = 2_000;

/// Whether the tasks of a seed ask for resources.
fn has_lines(seed: u64) -> bool {
    [LINES, LIMITS, GANGS, TRIALS].iter().any(|range| range.contains(&seed)) || seed >= LINES_FROM
}

/// Seeds whose runs hold resources as a whole; and seeds that are drawn fresh from here on do.
const HELD_RUNS: std::ops::Range<u64> = 3_000_000..4_000_000;
const HELD_RUNS_FROM: u64 = 1_795_390_000_000;

fn has_held_runs(seed: u64) -> bool {
    HELD_RUNS.contains(&seed) || seed >= HELD_RUNS_FROM
}

/// Whether the tasks of a seed are under keys and rates.
fn has_limits(seed: u64) -> bool {
    LIMITS.contains(&seed) || TRIALS.contains(&seed) || seed >= LIMITS_FROM
}

/// In these seeds no log is ever delivered.
pub const STUCK_LOGS: std::ops::Range<u64> = 2_000_000..3_000_000;
/// And in every second one from here on, which was the moment at which that came.
const STUCK_LOGS_FROM: u64 = 1_795_375_000_000;

fn has_stuck_logs(seed: u64) -> bool {
    let every_second = seed >= STUCK_LOGS_FROM || TRIALS.contains(&seed);
    STUCK_LOGS.contains(&seed) || (every_second && seed.is_multiple_of(2))
}

/// The same of gangs.
pub const GANGS: std::ops::Range<u64> = 2_000_000_000..3_000_000_000;
/// And all from here on, which was the moment at which gangs came.
const GANGS_FROM: u64 = 1_795_377_000_000;
/// Happenings that are about gangs are numbered from here on.
const GANGS_NUMBER: u64 = 2_000;

fn has_gangs(seed: u64) -> bool {
    GANGS.contains(&seed) || seed >= GANGS_FROM
}

/// The same of trials.
pub const TRIALS: std::ops::Range<u64> = 3_000_000_000..4_000_000_000;
/// And all from here on, which was the moment at which trials came.
const TRIALS_FROM: u64 = 1_795_388_000_000;

fn has_trial(seed: u64) -> bool {
    TRIALS.contains(&seed) || seed >= TRIALS_FROM
}

/// Most happenings of one run.
const HAPPENINGS_MAX: u64 = 260;

fn tastes(random: &mut Random) -> Tastes {
    let mut rate = |often: u64| if random.per_mille(500) { random.below(often) } else { 0 };
    Tastes {
        forbid: rate(800),
        fail_on_loss: rate(400),
        stop_after: rate(400),
        limits: rate(600),
        failing: rate(500),
        retries: rate(800),
        held: rate(300),
        unruly: rate(500),
        greedy: rate(500),
        stubborn: 0,
        impatient: 0,
        endless: 0,
        elements: 12,
        asking: 0,
        are_runs_holding: false,
        limited: 0,
        gang: 0,
        length_us: [200_000, 2_000_000, 10_000_000, 40_000_000][random.place(4).unwrap_or(0)],
    }
}

impl Shape {
    /// The shape of a seed.
    pub fn new(seed: u64) -> Self {
        let random = &mut Random::new(seed, 1);
        let clusters = if random.per_mille(200) { 2 } else { 1 };
        let link_us = [200, 2_000, 20_000, 150_000][random.place(4).unwrap_or(0)];
        let commit_us = [300, 3_000, 30_000][random.place(3).unwrap_or(0)];
        let journal_us = [300, 4_000, 40_000][random.place(3).unwrap_or(0)];
        let workers = u32::try_from(random.between(1, 4)).unwrap_or(1);
        let mut shape = Self {
            clusters,
            servers: if random.per_mille(600) { 2 } else { 1 },
            workers,
            slots: u32::try_from(random.between(1, 4)).unwrap_or(1),
            prefetch: u32::try_from(random.below(3)).unwrap_or(0),
            pooled: if random.per_mille(250) {
                u32::try_from(random.between(1, u64::from(workers))).unwrap_or(1)
            } else {
                0
            },
            length_us: [30_000_000, 120_000_000, 400_000_000][random.place(3).unwrap_or(0)],
            tastes: tastes(random),
            pace: Pace { link_us, local_us: 60, commit_us, journal_us },
            drift_ppm: if random.per_mille(300) { 20_000 } else { 100 },
            keep_s: if random.per_mille(300) { 20 } else { 86_400 },
            theme: None,
            trial: None,
            forsaken: false,
            stuck_logs: has_stuck_logs(seed),
            torn_logs: has_stuck_logs(seed) && has_trial(seed),
        };
        if seed >= THEMES_FROM {
            let theme = Theme::new(&mut Random::new(seed, 4));
            theme.colour(&mut shape, &mut Random::new(seed, 5));
            shape.theme = Some(theme);
        }
        if has_lines(seed) {
            let random = &mut Random::new(seed, 7);
            shape.tastes.asking = [0, 200, 500, 900][random.place(4).unwrap_or(0)];
            shape.forsaken = shape.tastes.asking > 0 && random.per_mille(250);
        }
        if has_held_runs(seed) {
            shape.tastes.asking = shape.tastes.asking.max(300);
            shape.tastes.are_runs_holding = true;
        }
        if has_limits(seed) {
            let random = &mut Random::new(seed, 9);
            shape.tastes.limited = [0, 300, 600, 900][random.place(4).unwrap_or(0)];
        }
        if shape.forsaken {
            shape.workers = 1;
            shape.pooled = 0;
            shape.length_us = 900_000_000;
            let tastes = &mut shape.tastes;
            (tastes.length_us, tastes.forbid, tastes.fail_on_loss, tastes.stop_after, tastes.retries) =
                (20_000_000, 0, 0, 0, 0);
            // Jobs that are still there when it comes back.
            tastes.endless = 500;
        }
        let random = &mut Random::new(seed, 9);
        if has_gangs(seed) && !shape.forsaken && (GANGS.contains(&seed) || random.per_mille(300)) {
            shape.workers = shape.workers.max(2);
            shape.tastes.gang = u64::from(shape.workers.min(3));
        }
        let random = &mut Random::new(seed, 13);
        if has_trial(seed) && !shape.forsaken && (TRIALS.contains(&seed) || random.per_mille(500)) {
            let trial = Trial::new(random);
            trial.colour(&mut shape);
            shape.trial = Some(trial);
        }
        shape
    }

    /// Everything that is to happen under this seed, in the order of time.
    pub fn happenings(&self, seed: u64) -> Vec<Happening> {
        let random = &mut Random::new(seed, 2);
        let works = Work::ALL.iter().filter(|work| !work.is_newer());
        let works: Vec<(Work, u64)> = works.map(|work| (*work, weight(*work, random))).collect();
        let faults: Vec<(Fault, u64)> = Fault::ALL
            .iter()
            .filter(|fault| !fault.is_newer())
            .map(|fault| (*fault, if random.per_mille(300) { random.between(1, 10) } else { 0 }))
            .collect();
        let calm = random.per_mille(50);
        let count = random.between(20, HAPPENINGS_MAX);
        let share = if calm { 0 } else { random.between(30, 450) };
        let mut all: Vec<Happening> = (0..count)
            .filter_map(|number| {
                let at = random.below(self.length_us);
                let is_fault = random.per_mille(share);
                let fault = pick(&faults, random);
                let work = pick(&works, random);
                let what = if is_fault { fault.map(What::Fault)? } else { work.map(What::Work)? };
                Some(Happening { number: u32::try_from(number).unwrap_or(0), at, what })
            })
            .collect();
        if let Some(theme) = &self.theme {
            all.extend(theme.happenings(HAPPENINGS_MAX, self.length_us, &mut Random::new(seed, 6)));
        }
        if self.tastes.asking > 0 {
            all.extend(self.resources(&mut Random::new(seed, 8)));
        }
        if self.tastes.limited > 0 {
            all.extend(self.limits(&mut Random::new(seed, 10)));
        }
        if self.tastes.gang > 0 {
            all.extend(self.gangs(&mut Random::new(seed, 12)));
        }
        if let Some(trial) = self.trial {
            all.extend(trial.happenings(self.length_us, &mut Random::new(seed, 14)));
        }
        all.sort_by_key(|happening| (happening.at, happening.number));
        all
    }
}

impl Shape {
    /// Quotas and shares are set, and change now and then.
    fn limits(&self, random: &mut Random) -> Vec<Happening> {
        let count = random.below(16);
        let one = |place: u64, random: &mut Random| {
            let number = u32::try_from(LIMITS_NUMBER + place).unwrap_or(0);
            Happening { number, at: random.below(self.length_us), what: What::Work(Work::Quota) }
        };
        (0..count).map(|place| one(place, random)).collect()
    }

    /// Gangs come all the time.
    fn gangs(&self, random: &mut Random) -> Vec<Happening> {
        let one = |place: u64, random: &mut Random| {
            let number = u32::try_from(GANGS_NUMBER + place).unwrap_or(0);
            Happening { number, at: random.below(self.length_us), what: What::Work(Work::Gang) }
        };
        (0..random.between(4, 30)).map(|place| one(place, random)).collect()
    }

    /// Resources are declared early, and change now and then.
    fn resources(&self, random: &mut Random) -> Vec<Happening> {
        let (early, later) = (4, random.below(16));
        let one = |place: u64, random: &mut Random| {
            let within = if place < early { self.length_us / 50 } else { self.length_us };
            let number = u32::try_from(LINES_NUMBER + place).unwrap_or(0);
            Happening { number, at: random.below(within), what: What::Work(Work::Resource) }
        };
        let mut all: Vec<Happening> = (0..early + later).map(|place| one(place, random)).collect();
        if self.forsaken {
            // One cut after the other, for longer than a ticket stands whose task nobody can run.
            let begin = random.below(self.length_us / 2);
            let cut = |place: u64| Happening {
                number: u32::try_from(LINES_NUMBER + early + later + place).unwrap_or(0),
                at: begin + place * 3_000_000,
                what: What::Fault(Fault::CutOffLong),
            };
            all.extend((0..160).map(cut));
        }
        all
    }
}

/// How often a kind of work comes, against the others.
fn weight(work: Work, random: &mut Random) -> u64 {
    let drawn = random.between(1, 10);
    match work {
        // Without tasks nothing happens.
        Work::Single => drawn * 6,
        Work::Chain | Work::Array | Work::After | Work::Run => {
            if random.per_mille(600) {
                drawn * 2
            } else {
                0
            }
        }
        _ => {
            if random.per_mille(400) {
                drawn
            } else {
                0
            }
        }
    }
}

fn pick<T: Copy>(list: &[(T, u64)], random: &mut Random) -> Option<T> {
    let sum = list.iter().map(|(_, weight)| weight).sum();
    let mut drawn = random.below(sum);
    list.iter()
        .find(|(_, weight)| drawn.checked_sub(*weight).map(|left| drawn = left).is_none())
        .map(|(one, _)| *one)
        .filter(|_| sum > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_and_together_have_everything() {
        let mut works = std::collections::BTreeSet::new();
        let mut faults = std::collections::BTreeSet::new();
        for seed in (0..200)
            .chain(THEMES_FROM..THEMES_FROM + 200)
            .chain(LINES.start..LINES.start + 20)
            .chain(LIMITS.start..LIMITS.start + 20)
            .chain(GANGS.start..GANGS.start + 5)
            .chain(TRIALS.start..TRIALS.start + 20)
        {
            for happening in Shape::new(seed).happenings(seed) {
                match happening.what {
                    What::Work(work) => works.insert(work),
                    What::Fault(fault) => faults.insert(fault),
                };
            }
        }
        assert_eq!(works.len(), Work::ALL.len());
        assert_eq!(faults.len(), Fault::ALL.len());
        assert_eq!(Shape::new(5).happenings(5), Shape::new(5).happenings(5));
    }
}
