//! Which faults, to whom, when and for how long: all of it follows from one seed. When a fault really meets its
//! victim is the machine's business.

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::random::Random;
use crate::table;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// `kill -9`.
    Kill,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// A network namespace is cut off.
    Netns,
    /// A relay treats connections badly.
    Relay,
    /// A disk is full.
    Disk,
    /// Writes to the store or the journal fail.
    Store,
    /// The time of day jumps.
    Clock,
    /// A thousand workers come back at once.
    Herd,
    /// Server and workers are replaced by another version, and back.
    Upgrade,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Stop,
        Self::Netns,
        Self::Relay,
        Self::Disk,
        Self::Store,
        Self::Clock,
        Self::Herd,
        Self::Upgrade,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Netns => "netns",
            Self::Relay => "relay",
            Self::Disk => "disk",
            Self::Store => "store",
            Self::Clock => "clock",
            Self::Herd => "herd",
            Self::Upgrade => "upgrade",
        }
    }

    /// Whether it changes what others would happen to, and so happens alone.
    const fn is_alone(self) -> bool {
        matches!(self, Self::Herd | Self::Upgrade | Self::Clock)
    }
}

/// A process under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The fleet's server.
    Server,
    /// A worker of the fleet.
    Worker(usize),
    /// Its supervisor.
    Supervisor(usize),
    /// Both of them.
    Both(usize),
    /// The server and a worker.
    ServerAndWorker(usize),
    /// The parent of a server and a worker on one machine.
    Up,
    /// The server that it keeps.
    UpServer,
    /// The worker that it keeps.
    UpWorker,
}

/// How a namespace is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The cable is pulled.
    Link,
    /// The way is gone, silently.
    Route,
}

/// What a relay does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Each piece of bytes comes late.
    Delays,
    /// Nothing passes, nothing closes.
    Stalls,
    /// All connections are reset.
    Resets,
    /// They are reset in the middle of a frame, when so many bytes more have come from the workers.
    ResetsAfterUp(usize),
    /// The same, of the server's bytes.
    ResetsAfterDown(usize),
    /// The half towards the server is closed.
    HalfClosesUp,
    /// The half towards the worker is closed.
    HalfClosesDown,
}

/// Whose disk is full, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    Worker(usize),
    Server,
    Both(usize),
    /// Bytes are free, and no file can be made.
    WorkerFiles(usize),
    ServerFiles,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Kill(Whom),
    Stop(Whom),
    Netns(Cut),
    Relay(Weather),
    Disk(Full),
    /// No file of the server may grow beyond what it has.
    StoreServer,
    /// No file of the worker's process may grow beyond what it has.
    StoreWorker(usize),
    /// The time of day of the server jumps by so many seconds, and back.
    ClockServer(i64),
    ClockWorker(usize, i64),
    Herd,
    Upgrade,
}

/// A fault with its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) what: What,
    /// Since the beginning of its episode.
    pub(crate) at: Duration,
    /// It lasts so long. A kill lasts no time.
    pub(crate) hold: Duration,
}

/// Faults that happen together; afterwards all has to recover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Episode {
    pub(crate) faults: Vec<Fault>,
}

/// Workers of the fleet.
pub(crate) const WORKERS: usize = 3;
/// The one behind the cable that is cut.
pub(crate) const CUT_OFF: usize = 0;
/// A jump of the time of day: less than the day for which events are kept.
const JUMP_SECONDS_MAX: u64 = 40_000;

/// Episode after episode, without end.
#[derive(Debug)]
pub(crate) struct Plan {
    random: Random,
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    rounds: u64,
}

impl Plan {
    pub(crate) fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self { random: Random::new(seed), kinds: kinds.to_vec(), round: Vec::new(), rounds: 0 }
    }

    /// Whether every kind has come once.
    pub(crate) fn all_came(&self) -> bool {
        self.rounds > 1 || (self.rounds == 1 && self.round.is_empty())
    }

    pub(crate) fn next(&mut self) -> Episode {
        if self.round.is_empty() {
            self.round = self.random.shuffled(&self.kinds);
            self.rounds += 1;
        }
        let Some(kind) = self.round.pop() else { return Episode { faults: Vec::new() } };
        let mut faults = self.of(kind);
        let others: Vec<Kind> =
            self.kinds.iter().copied().filter(|other| *other != kind && !other.is_alone()).collect();
        if self.rounds > 1 && !kind.is_alone() && !others.is_empty() && self.random.percent(60) {
            let other = self.random.one_of(&others);
            faults.extend(self.of(other));
        }
        Episode { faults }
    }

    fn of(&mut self, kind: Kind) -> Vec<Fault> {
        match kind {
            Kind::Kill => self.kills(),
            Kind::Stop => self.stops(),
            Kind::Netns => {
                let cuts = if self.random.percent(50) { [Cut::Link, Cut::Route] } else { [Cut::Route, Cut::Link] };
                let long = self.ms(3_200, 6_000);
                let short = self.ms(100, 2_000);
                vec![
                    Fault { what: What::Netns(cuts[0]), at: Duration::ZERO, hold: long },
                    Fault { what: What::Netns(cuts[1]), at: long + self.ms(200, 800), hold: short },
                ]
            }
            Kind::Relay => self.relay(),
            Kind::Disk => {
                let worker = self.worker();
                let all = [
                    Full::Worker(worker),
                    Full::Server,
                    Full::Both(worker),
                    Full::WorkerFiles(worker),
                    Full::ServerFiles,
                ];
                let full = self.random.shuffled(&all);
                self.one_after_another(&[What::Disk(full[0]), What::Disk(full[1])], (900, 3_000))
            }
            Kind::Store => {
                let both = [What::StoreServer, What::StoreWorker(self.worker())];
                let both = self.random.shuffled(&both);
                self.one_after_another(&both, (700, 2_500))
            }
            Kind::Clock => {
                let by = i64::try_from(self.random.within(60, JUMP_SECONDS_MAX)).unwrap_or(60);
                let by = if self.random.percent(50) { -by } else { by };
                let worker = self.worker();
                let what = if self.random.percent(50) { What::ClockServer(by) } else { What::ClockWorker(worker, by) };
                vec![Fault { what, at: Duration::ZERO, hold: self.ms(2_500, 4_000) }]
            }
            Kind::Herd => vec![Fault { what: What::Herd, at: Duration::ZERO, hold: Duration::ZERO }],
            Kind::Upgrade => vec![Fault { what: What::Upgrade, at: Duration::ZERO, hold: self.ms(1_000, 2_500) }],
        }
    }

    fn kills(&mut self) -> Vec<Fault> {
        let n = self.worker();
        let all = [
            Whom::Server,
            Whom::Server,
            Whom::Worker(n),
            Whom::Supervisor(n),
            Whom::Both(n),
            Whom::ServerAndWorker(n),
            Whom::Up,
            Whom::UpServer,
            Whom::UpWorker,
        ];
        let count = usize::try_from(self.random.within(3, 8)).unwrap_or(3);
        let whom = self.random.shuffled(&all);
        let mut at = Duration::ZERO;
        let mut faults = Vec::new();
        for whom in &whom[..count] {
            faults.push(Fault { what: What::Kill(*whom), at, hold: Duration::ZERO });
            at += self.ms(0, 1_200);
        }
        faults
    }

    fn stops(&mut self) -> Vec<Fault> {
        let n = self.worker();
        let all = [Whom::Server, Whom::Worker(n), Whom::Supervisor(n), Whom::Both(n), Whom::ServerAndWorker(n)];
        let whom = self.random.shuffled(&all);
        // One past its lease, one not.
        let mut faults = self.one_after_another(&[What::Stop(whom[0])], (3_200, 6_000));
        let next = faults[0].hold;
        faults.push(Fault { what: What::Stop(whom[1]), at: next + self.ms(0, 500), hold: self.ms(100, 2_500) });
        faults
    }

    fn relay(&mut self) -> Vec<Fault> {
        let bytes = usize::try_from(self.random.within(0, 5_000)).unwrap_or_default();
        let all = [
            Weather::Delays,
            Weather::Stalls,
            Weather::Resets,
            Weather::ResetsAfterUp(bytes),
            Weather::ResetsAfterDown(bytes),
            Weather::HalfClosesUp,
            Weather::HalfClosesDown,
        ];
        let all: Vec<What> = self.random.shuffled(&all).into_iter().map(What::Relay).collect();
        self.one_after_another(&all[..5], (300, 1_500))
    }

    fn one_after_another(&mut self, all: &[What], (from_ms, to_ms): (u64, u64)) -> Vec<Fault> {
        let mut at = Duration::ZERO;
        let mut faults = Vec::new();
        for what in all {
            let hold = self.ms(from_ms, to_ms);
            faults.push(Fault { what: *what, at, hold });
            at += hold + self.ms(100, 600);
        }
        faults
    }

    fn worker(&mut self) -> usize {
        usize::try_from(self.random.within(0, WORKERS as u64)).unwrap_or_default()
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.random.within(from, to))
    }
}

impl What {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::Stop(_) => Kind::Stop,
            Self::Netns(_) => Kind::Netns,
            Self::Relay(_) => Kind::Relay,
            Self::Disk(_) => Kind::Disk,
            Self::StoreServer | Self::StoreWorker(_) => Kind::Store,
            Self::ClockServer(_) | Self::ClockWorker(..) => Kind::Clock,
            Self::Herd => Kind::Herd,
            Self::Upgrade => Kind::Upgrade,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms", self.what, self.at.as_millis())?;
        if !self.hold.is_zero() {
            write!(f, " for {} ms", self.hold.as_millis())?;
        }
        Ok(())
    }
}

/// Says the plan of a seed: as many episodes as can fit into the time.
pub(crate) fn show(seed: u64, kinds: &[Kind], length: Duration) -> Result<()> {
    let mut plan = Plan::new(seed, kinds);
    let mut total = Duration::ZERO;
    let mut number = 0;
    while !plan.all_came() || total < length {
        number += 1;
        for fault in plan.next().faults {
            table::out(&format!("{number}: {fault}"))?;
            total += fault.hold;
        }
        // What recovers takes its time too.
        total += Duration::from_secs(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, count: usize) -> Vec<Episode> {
        let mut plan = Plan::new(seed, &Kind::ALL);
        (0..count).map(|_| plan.next()).collect()
    }

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_is_another() {
        assert_eq!(first(7, 40), first(7, 40));
        assert_ne!(first(7, 40), first(8, 40));
    }

    #[test]
    fn every_kind_comes_once_and_alone_before_any_comes_again() {
        let mut plan = Plan::new(3, &Kind::ALL);
        let mut came = Vec::new();
        while !plan.all_came() {
            let episode = plan.next();
            let kind = episode.faults[0].what.kind();
            assert!(episode.faults.iter().all(|fault| fault.what.kind() == kind), "{episode:?}");
            came.push(kind);
        }
        came.sort_unstable();
        assert_eq!(came, Kind::ALL);
    }

    #[test]
    fn only_what_was_asked_for_comes() {
        let mut plan = Plan::new(3, &[Kind::Kill, Kind::Netns]);
        for _ in 0..50 {
            for fault in plan.next().faults {
                assert!(matches!(fault.what.kind(), Kind::Kill | Kind::Netns), "{fault}");
            }
        }
    }
}
