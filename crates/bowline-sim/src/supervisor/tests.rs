//! Supervisors and their jobs alone, tormented: a worker of a few lines asks for jobs, kills, forgets and loses its
//! connection; supervisors are killed, die between two steps, lose their machine's power. What is told is
//! compared with what is so.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(feature = "sim")]
use bowline_core::mutant::{self, Mutant};
#[cfg(feature = "sim")]
use bowline_core::probe::{self, Path};
use bowline_supervisor::wire::{self, Exited, Request, Start, StopReason};

use super::SupervisorProcess;
use crate::job::{AtTerm, Escapes, JobId, Plan};
use crate::process::{Address, Caller, ConnId, Event, Io, MachineId, Packet, ProcId, Process};
use crate::random::Random;
use crate::trace::Keep;
use crate::world::{Alive, Due, Observe, Role, World};

const DIR: &str = "d";
const STOP_AFTER: Duration = Duration::from_secs(20);
const RUN_LIMIT: Duration = Duration::from_secs(40);
const GRACE: Duration = Duration::from_secs(2);

/// Sees nothing: the test looks at the world itself.
#[derive(Debug, Default)]
struct Blind;

impl Observe for Blind {
    fn committed(
        &mut self,
        _: u64,
        _: crate::process::ClusterId,
        _: (bowline_core::id::Epoch, bowline_core::id::CommitNo),
        _: &bowline_core::effect::Batch,
    ) {
    }
    fn refused(&mut self, _: u64, _: crate::process::ClusterId, _: &bowline_store::CommitError) {}
    fn opens(&mut self, _: u64, _: ProcId, _: ConnId, _: crate::process::ClusterId) {}
    fn swept(&mut self, _: u64, _: crate::process::ClusterId, _: &bowline_store::Swept) {}
    fn arrives(&mut self, _: u64, _: ProcId, _: ConnId, _: &Packet) {}
    fn sends(&mut self, _: u64, _: ProcId, _: ConnId, _: &Packet) {}
    fn job_began(&mut self, _: u64, _: &JobId) {}
    fn job_ended(&mut self, _: u64, _: &JobId, _: crate::job::Ended) {}
    fn process(&mut self, _: u64, _: ProcId, _: &Role, _: Alive) {}
    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// A worker that only talks to its supervisor. Jobs are told by number in [`Event::Woken`].
#[derive(Debug, Default)]
struct Asker {
    conn: Option<ConnId>,
    /// Told, and not contradicted since.
    ends: BTreeMap<String, wire::Event>,
    exits: Vec<Exited>,
    /// Keys that the newest whole list named.
    listed: Option<Vec<String>>,
    listing: Vec<String>,
}

const CONNECT: u64 = 1;
const LIST: u64 = 2;
const START: u64 = 1 << 32;
const KILL: u64 = 2 << 32;
const FORGET: u64 = 3 << 32;

impl Asker {
    fn ask(&self, io: &mut Io<'_>, request: Request) {
        if let Some(conn) = self.conn {
            io.send(conn, Packet::ToSupervisor(request));
        }
    }

    fn told(&mut self, event: wire::Event) {
        match &event {
            wire::Event::Exited(exited) => self.exits.push(exited.clone()),
            wire::Event::Listed { .. } => self.listed = Some(std::mem::take(&mut self.listing)),
            _ => {}
        }
        let Some(key) = event.key().map(str::to_owned) else { return };
        self.listing.push(key.clone());
        if matches!(event, wire::Event::Exited(_) | wire::Event::Lost { .. } | wire::Event::StartFailed(_)) {
            self.ends.insert(key, event);
        }
    }
}

fn plan_of(number: u64) -> Plan {
    let mut random = Random::new(number, 77);
    let mut plan = Plan {
        length_us: (!random.per_mille(300)).then(|| random.around(3_000_000)),
        at_term: match random.below(3) {
            0 => AtTerm::Ends,
            1 => AtTerm::Ignores,
            _ => AtTerm::Succeeds,
        },
        dies_in_us: if random.per_mille(250) { random.below(45_000_000) } else { 0 },
        escapes: if random.per_mille(400) { Escapes::Yes } else { Escapes::No },
        ..Plan::short(0)
    };
    // Whoever cannot be killed does not hear TERM either.
    if plan.dies_in_us > 0 {
        plan.at_term = AtTerm::Ignores;
    }
    plan
}

impl Process for Asker {
    fn handle(&mut self, io: &mut Io<'_>, event: Event) {
        match event {
            Event::Begin | Event::Woken(CONNECT) => {
                self.listing.clear();
                self.listed = None;
                self.conn = Some(io.connect(&Address::Supervisor { dir: DIR.into() }, Caller::Local));
                self.ask(io, Request::List);
            }
            Event::Woken(LIST) => {
                self.listing.clear();
                self.ask(io, Request::List);
            }
            Event::Woken(token) if token & START == START && token & KILL == 0 => {
                let number = token & !START;
                let argv = plan_of(number).to_argv().into_iter().map(Into::into).collect();
                let mut start = Start::new(format!("j{number}"), argv, "/".into(), "/out".into());
                start.grace = GRACE;
                // Each has one limit: another one would hide that the first is passed over.
                start.run_limit = (!number.is_multiple_of(2)).then_some(RUN_LIMIT);
                start.stop_after = number.is_multiple_of(2).then_some(STOP_AFTER);
                self.ask(io, Request::Start(Box::new(start)));
            }
            Event::Woken(token) if token & FORGET == FORGET => {
                let key = format!("j{}", token & !FORGET);
                if self.ends.contains_key(&key) {
                    self.ask(io, Request::Forget { key });
                }
            }
            Event::Woken(token) => {
                let grace = GRACE.mul_f64(f64::from(u32::try_from(io.random().below(4)).unwrap_or(0)) / 2.0);
                self.ask(io, Request::Kill { key: format!("j{}", token & !KILL), grace });
            }
            Event::Arrived { packet: Packet::FromSupervisor(event), .. } => self.told(event),
            Event::Closed { conn, .. } if self.conn == Some(conn) => {
                self.conn = None;
                let after = io.random().around(1_000_000);
                io.wake(Duration::from_micros(after), CONNECT);
            }
            _ => {}
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn start(role: &Role) -> Box<dyn Process> {
    match role {
        Role::Supervisor { dir } => Box::new(SupervisorProcess::new(dir.clone()).dying(3)),
        _ => Box::new(Asker::default()),
    }
}

struct House {
    world: World,
    machine: MachineId,
    asker: ProcId,
    random: Random,
}

impl House {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, Keep::Nothing, Box::new(Blind), start);
        let machine = world.add_machine(0);
        let asker = world.add_process(Role::Client { cluster: crate::process::ClusterId(0) }, machine);
        world.start(asker);
        Self { world, machine, asker, random: Random::new(seed, 5) }
    }

    /// `None`: it is down for the moment.
    fn asker(&self) -> Option<&Asker> {
        let process = self.world.slots[self.asker.0 as usize].process.as_deref();
        process.and_then(|process| process.as_any().downcast_ref())
    }

    fn supervisor(&self) -> Option<ProcId> {
        let place = self.world.slots.iter().position(|slot| matches!(slot.role, Role::Supervisor { .. }))?;
        Some(ProcId(u32::try_from(place).expect("few processes")))
    }

    fn is_alive(&self, key: &str) -> bool {
        let job = JobId { machine: self.machine, dir: DIR.into(), key: key.into() };
        self.world.jobs.all.get(&job).is_some_and(crate::job::Job::is_alive)
    }

    fn pass(&mut self, length_us: u64) -> Result<(), String> {
        let until = self.world.now + length_us;
        self.world.after(length_us, 0);
        let mut jobs = self.world.jobs.count;
        while self.world.now < until {
            self.world.step();
            if self.world.jobs.count != jobs {
                jobs = self.world.jobs.count;
                let names = self.world.jobs.all.len() as u64;
                if names != jobs {
                    return Err(format!("{jobs} jobs under {names} names: one was started twice"));
                }
            }
            self.compare()?;
        }
        Ok(())
    }

    /// What is told is so.
    fn compare(&self) -> Result<(), String> {
        for (key, end) in self.asker().iter().flat_map(|asker| &asker.ends) {
            if self.is_alive(key) {
                return Err(format!("{end:?} was told, and a process of it lives"));
            }
        }
        Ok(())
    }

    fn torment(&mut self) {
        match self.random.below(12) {
            0 => {
                if let Some(supervisor) = self.supervisor() {
                    self.world.kill(supervisor);
                }
            }
            1 => {
                if let Some(supervisor) = self.supervisor() {
                    let length = self.random.around(2_000_000);
                    self.world.stall(supervisor, length);
                }
            }
            2 => {
                self.world.power_off(self.machine);
                self.world.boot(self.machine);
                self.world.start(self.asker);
            }
            3 => self.world.tell(self.asker, Event::Woken(CONNECT)),
            4 => {
                self.world.kill(self.asker);
                let length = self.random.around(2_000_000);
                self.world.queue.push(self.world.now + length, Due::Restart { proc: self.asker });
            }
            _ => {}
        }
    }
}

/// One run. The error: what was told, or left, that may not be.
fn run(seed: u64) -> Result<(), String> {
    let mut house = House::new(seed);
    let mut jobs = 0_u64;
    for _ in 0..60 {
        let token = match house.random.below(5) {
            0 => KILL | house.random.below(jobs + 1),
            1 => FORGET | house.random.below(jobs + 1),
            _ => {
                jobs += 1;
                START | jobs
            }
        };
        house.world.tell(house.asker, Event::Woken(token));
        if house.random.per_mille(100) {
            // An order that is given twice.
            house.world.tell(house.asker, Event::Woken(token));
        }
        house.torment();
        let length = house.random.around(1_000_000);
        house.pass(length)?;
    }
    for _ in 0..6 {
        jobs += 1;
        house.world.tell(house.asker, Event::Woken(START | jobs));
    }
    // Nothing more breaks. Limits, leases and leftovers are all that is to be waited for.
    house.world.tell(house.asker, Event::Woken(CONNECT));
    house.pass(90_000_000)?;
    house.world.tell(house.asker, Event::Woken(LIST));
    house.pass(5_000_000)?;
    let left: Vec<String> = (1..=jobs).map(|job| format!("j{job}")).filter(|key| house.is_alive(key)).collect();
    if !left.is_empty() {
        return Err(format!("{left:?} live on past every limit"));
    }
    for exited in &house.asker().ok_or("whoever asks is down")?.exits {
        let length = exited.ended_at.saturating_sub(exited.started_at);
        let number: u64 = exited.key[1..].parse().map_err(|_| exited.key.clone())?;
        // A supervisor may stand still for some seconds, and KILL may take its time.
        let slow = Duration::from_secs(30) + Duration::from_micros(plan_of(number).dies_in_us);
        let most = if number.is_multiple_of(2) { STOP_AFTER } else { RUN_LIMIT } + slow;
        if exited.stopped != Some(StopReason::Asked) && length > most {
            return Err(format!("{} ran for {length:?}", exited.key));
        }
    }
    Ok(())
}

/// Living jobs are named by every list.
fn list(seed: u64) -> Result<(), String> {
    let mut house = House::new(seed);
    for number in 1..=8 {
        house.world.tell(house.asker, Event::Woken(START | number));
        house.pass(200_000)?;
    }
    let alive: Vec<String> = (1..=8).map(|job| format!("j{job}")).filter(|key| house.is_alive(key)).collect();
    house.world.tell(house.asker, Event::Woken(CONNECT));
    house.pass(100_000)?;
    let Some(listed) = house.asker().and_then(|asker| asker.listed.as_ref()) else { return Ok(()) };
    let missing = alive.iter().find(|key| !listed.contains(*key) && house.is_alive(key));
    missing.map_or(Ok(()), |key| Err(format!("{key} lives, and the list does not name it")))
}

#[test]
fn what_is_told_is_so_and_nothing_is_left() {
    for seed in 0..60 {
        run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        list(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let hash = |seed| {
        let mut house = House::new(seed);
        house.world.trace = crate::trace::Trace::new(Keep::Hash);
        for number in 1..=20 {
            house.world.tell(house.asker, Event::Woken(START | number));
            house.torment();
            house.pass(300_000).unwrap();
        }
        house.world.trace.hash()
    };
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

#[cfg(feature = "sim")]
#[test]
fn each_mistake_is_noticed() {
    let mistakes = [
        Mutant::JobNotRecorded,
        Mutant::EndToldBeforeGone,
        Mutant::LeaseNotEnforced,
        Mutant::KillNeverFollowsTerm,
        Mutant::ListOmitsTheLiving,
        Mutant::KeyStartedTwice,
        Mutant::LeftoversNotSwept,
    ];
    for mistake in mistakes {
        mutant::set_active(Some(mistake));
        let noticed = (0..300).find_map(|seed| run(seed).and_then(|()| list(seed)).err().map(|what| (seed, what)));
        mutant::set_active(None);
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{} is not noticed", mistake.name()));
        println!("{:<24} seed {seed:>3}: {what}", mistake.name());
    }
}

#[cfg(feature = "sim")]
#[test]
fn each_rare_path_is_taken() {
    probe::reset();
    for seed in 0..300 {
        run(seed).unwrap();
    }
    let of_supervisors = [
        Path::BornWhileBeingStopped,
        Path::GraceShortened,
        Path::KillCrossingEnd,
        Path::LeaseStoppedAJob,
        Path::FirstProcessEndedBeforeTheRest,
        Path::JobCannotBeKilled,
        Path::UnkillableJobEnded,
        Path::JobEndedWithoutAWorker,
        Path::EndKnownFromItsSlotAlone,
        Path::EarlierJobGoneAtLast,
        Path::RecordDamaged,
    ];
    let counts: BTreeMap<&str, u64> = probe::counts()
        .into_iter()
        .filter(|(path, _)| of_supervisors.contains(path))
        .map(|(path, count)| (path.name(), count))
        .collect();
    println!("{counts:#?}");
    assert!(counts.values().all(|count| *count > 0), "{counts:?}");
}
