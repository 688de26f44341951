//! The machine against a host that notes what it is told, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::Duration;

use super::*;
use crate::records::{Begun, Clean, Entry, Loaded, Spawned, Tail};
use crate::wire::{Ended, Event, Exit, Exited, LostWhy, Refusal, Request, Start, StopReason};

const SECOND: Duration = Duration::from_secs(1);

/// Notes everything. Jobs in `left` have a process.
#[derive(Debug, Default)]
struct Noted {
    done: Vec<String>,
    told: Vec<Event>,
    syncs: Vec<Vec<String>>,
    left: BTreeSet<String>,
    stuck_before: BTreeSet<String>,
    refuses_writes: bool,
    refuses_syncs: bool,
}

impl Processes for Noted {
    fn prepare(&mut self, start: &Start) -> Result<Prepared, Failure> {
        self.done.push(format!("prepare {}", start.key));
        Ok(Prepared::default())
    }

    fn spawn(&mut self, start: &Start, mark: &str) -> Result<Spawned, Failure> {
        assert!(mark.contains(&start.key));
        self.done.push(format!("spawn {}", start.key));
        self.left.insert(start.key.clone());
        Ok(Spawned { pid: 7, start_ticks: 1 })
    }

    fn first(&self, _key: &str) -> u32 {
        7
    }

    fn term(&mut self, key: &str) {
        self.done.push(format!("term {key}"));
    }

    fn kill(&mut self, key: &str) -> Vec<u32> {
        self.done.push(format!("kill {key}"));
        self.processes(key)
    }

    fn processes(&self, key: &str) -> Vec<u32> {
        if self.left.contains(key) { vec![7] } else { vec![] }
    }

    fn left(&self, key: &str) -> Left {
        if self.left.contains(key) { Left::Something } else { Left::Nothing }
    }

    fn reap(&mut self, key: &str) {
        self.done.push(format!("reap {key}"));
    }

    fn release(&mut self, key: &str) {
        self.done.push(format!("release {key}"));
        self.left.remove(key);
    }

    fn kill_earlier(&mut self, key: &str) -> Vec<u32> {
        self.done.push(format!("kill {key}"));
        self.earlier(key)
    }

    fn earlier(&self, key: &str) -> Vec<u32> {
        if self.stuck_before.contains(key) { vec![9] } else { vec![] }
    }

    fn reap_orphans(&mut self) {
        self.done.push("reap orphans".into());
    }
}

impl Disk for Noted {
    fn write(&mut self, key: &str, entry: &Entry) -> io::Result<()> {
        let what = match entry {
            Entry::Begun(_) => "begun",
            Entry::Spawned(_) => "spawned",
            Entry::Ended(_) => "ended",
            Entry::Clean => "clean",
        };
        self.done.push(format!("write {what} {key}"));
        if self.refuses_writes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        self.done.push(format!("remove {key}"));
        Ok(())
    }

    fn reserve(&mut self, _ends: usize) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, ends: &[Ended]) -> io::Result<()> {
        if self.refuses_syncs {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.syncs.push(ends.iter().map(|ended| ended.key().to_owned()).collect());
        Ok(())
    }

    fn take_over(&mut self) -> TakenOver {
        TakenOver::default()
    }
}

impl Voice for Noted {
    fn tell(&mut self, event: &Event) {
        self.told.push(event.clone());
    }

    fn say(&mut self, _text: fmt::Arguments<'_>) {}
}

struct House {
    machine: Machine,
    host: Noted,
    now: Duration,
}

fn empty() -> Begin {
    Begin {
        id: "id".into(),
        boot_id: "boot".into(),
        idle_bound: SECOND * 60,
        records: Records::default(),
        stuck: BTreeSet::new(),
    }
}

impl House {
    fn new() -> Self {
        Self::with(empty())
    }

    fn with(begin: Begin) -> Self {
        let now = SECOND * 100;
        Self { machine: Machine::new(begin, now), host: Noted::default(), now }
    }

    fn connect(&mut self, number: u64) -> Greeting {
        self.machine.greet(number, 2, 2)
    }

    fn ask(&mut self, request: Request) {
        self.machine.request(request, self.now, &mut self.host);
    }

    fn start(&mut self, start: Start) {
        self.ask(Request::Start(Box::new(start)));
    }

    /// Starts a job whose program runs at once.
    fn run(&mut self, key: &str) {
        self.start(job(key));
        self.machine.reported(key, Report::Started, self.now, &mut self.host);
    }

    fn over(&mut self, key: &str) {
        self.host.left.remove(key);
        self.machine.over(key, Exit::Code(0), self.now, &mut self.host);
    }

    /// Lets time pass until there is nothing to do before that moment.
    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        loop {
            self.machine.tick(self.now, &mut self.host);
            let next = self.machine.next_at().filter(|at| *at > self.now);
            let Some(next) = next.filter(|at| *at <= until) else { break };
            self.now = next;
        }
        self.now = until;
        self.machine.tick(self.now, &mut self.host);
    }

    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.host.done)
    }

    fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.host.told)
    }

    fn ended(&mut self) -> Vec<Exited> {
        let ended = |event| if let Event::Exited(exited) = event { Some(exited) } else { None };
        self.told().into_iter().filter_map(ended).collect()
    }
}

fn job(key: &str) -> Start {
    let mut start = Start::new(key, vec!["x".into()], "/".into(), "/out".into());
    start.grace = SECOND * 5;
    start
}

#[test]
fn a_job_is_recorded_before_it_is_born_and_its_end_before_it_is_reaped() {
    let mut house = House::new();
    house.run("a");
    assert_eq!(house.done(), ["prepare a", "write begun a", "spawn a", "write spawned a"]);
    house.over("a");
    assert_eq!(house.done(), ["write ended a", "reap a", "write clean a", "release a"]);
}

#[test]
fn a_job_that_cannot_be_recorded_is_not_born() {
    let mut house = House::new();
    house.host.refuses_writes = true;
    house.start(job("a"));
    assert_eq!(house.done(), ["prepare a", "write begun a", "release a"]);
    assert!(matches!(&house.told()[..], [Event::StartFailed(failed)] if failed.step == crate::wire::Step::Record));
}

#[test]
fn an_end_is_told_when_nothing_is_left_and_not_before() {
    let mut house = House::new();
    house.connect(1);
    house.run("a");
    house.told();
    // The first process is gone, a child of it is not.
    house.machine.over("a", Exit::Code(3), house.now, &mut house.host);
    assert_eq!(house.told(), []);
    house.pass(SECOND);
    let done = house.done();
    assert!(done.contains(&"kill a".to_owned()) && !done.contains(&"release a".to_owned()), "{done:?}");
    house.host.left.clear();
    house.pass(SECOND * 2);
    let ended = house.ended();
    assert_eq!((ended[0].exit, ended[0].leftovers, ended[0].stopped), (Exit::Code(3), 1, None));
}

#[test]
fn term_then_kill_then_named_and_told_at_last() {
    let mut house = House::new();
    house.connect(1);
    house.run("a");
    house.done();
    house.ask(Request::Kill { key: "a".into(), grace: SECOND * 5 });
    house.pass(SECOND * 4);
    assert_eq!(house.done(), ["term a"]);
    house.pass(SECOND * 2);
    assert!(house.done().iter().all(|what| what == "kill a"));
    house.told();
    house.pass(SECOND * 12);
    assert_eq!(house.told(), [Event::Stuck { key: "a".into(), pids: vec![7] }]);
    house.over("a");
    assert_eq!(house.ended()[0].stopped, Some(StopReason::Asked));
}

#[test]
fn a_second_stop_may_shorten_the_grace_and_never_lengthens_it() {
    let mut house = House::new();
    house.run("a");
    house.done();
    house.ask(Request::Kill { key: "a".into(), grace: SECOND * 5 });
    house.ask(Request::Kill { key: "a".into(), grace: SECOND * 50 });
    house.ask(Request::Kill { key: "a".into(), grace: SECOND });
    assert_eq!(house.done(), ["term a"]);
    house.pass(SECOND * 2);
    assert_eq!(house.done()[0], "kill a");
}

#[test]
fn a_lease_past_its_end_stops_its_job_and_no_other() {
    let mut house = House::new();
    for (key, lease) in [("a", "one"), ("b", "two")] {
        let mut start = job(key);
        start.lease = lease.into();
        start.stop_after = Some(SECOND * 10);
        house.start(start);
        house.machine.reported(key, Report::Started, house.now, &mut house.host);
    }
    house.pass(SECOND * 9);
    house.ask(Request::Renew { lease: "two".into(), sent_at: house.now });
    // Nobody renews from the future.
    house.ask(Request::Renew { lease: "one".into(), sent_at: SECOND });
    house.done();
    house.pass(SECOND * 2);
    assert_eq!(house.done(), ["term a"]);
    house.over("a");
    assert_eq!(house.ended()[0].stopped, Some(StopReason::LeaseExpired));
}

#[test]
fn all_that_ends_together_while_no_worker_is_there_shares_a_sync() {
    let mut house = House::new();
    let keys: Vec<String> = (0..20).map(|number| format!("job{number:02}")).collect();
    for key in &keys {
        house.run(key);
    }
    // One after the other, as a loop on a quick disk meets them.
    for key in &keys {
        house.over(key);
        house.pass(Duration::from_millis(2));
    }
    house.pass(SECOND / 10);
    assert_eq!(house.host.syncs, [keys]);
    // What ends meanwhile goes with the next one.
    house.run("late");
    house.run("later");
    house.over("late");
    house.over("later");
    house.pass(SECOND);
    assert_eq!(house.host.syncs.len(), 1);
    house.machine.synced(Ok(()), house.now, &mut house.host);
    house.pass(Duration::ZERO);
    assert_eq!(house.host.syncs[1..], [["late", "later"]]);
}

#[test]
fn what_a_worker_has_taken_is_not_synced() {
    let mut house = House::new();
    house.connect(1);
    for key in ["a", "b", "c"] {
        house.run(key);
        house.over(key);
    }
    house.pass(SECOND / 2);
    house.ask(Request::Forget { key: "b".into() });
    assert_eq!(house.host.syncs.len(), 0);
    house.pass(SECOND);
    assert_eq!(house.host.syncs, [["a", "c"]]);
    house.machine.synced(Ok(()), house.now, &mut house.host);
    house.run("d");
    house.over("d");
    house.machine.gone(1, house.now);
    house.pass(Duration::ZERO);
    assert_eq!(house.host.syncs[1..], [["d"]], "nobody is there to take it");
}

#[test]
fn ends_that_could_not_be_synced_are_tried_again() {
    let mut house = House::new();
    house.run("a");
    house.over("a");
    house.host.refuses_syncs = true;
    house.pass(SECOND);
    house.host.refuses_syncs = false;
    house.pass(SECOND * 10);
    assert_eq!(house.host.syncs, [["a"]]);
    house.machine.synced(Err(io::ErrorKind::StorageFull.into()), house.now, &mut house.host);
    house.pass(SECOND * 11);
    assert_eq!(house.host.syncs, [["a"], ["a"]]);
}

#[test]
fn a_new_connection_hears_of_everything_that_is_not_forgotten() {
    let mut house = House::new();
    assert_eq!(house.connect(1), Greeting::Welcome { replaced: None });
    for key in ["ended", "forgotten", "running"] {
        house.run(key);
    }
    house.start(job("starting"));
    house.over("ended");
    house.over("forgotten");
    house.ask(Request::Forget { key: "forgotten".into() });
    house.ask(Request::Forget { key: "running".into() });
    assert_eq!(house.told().last(), Some(&Event::Refused { key: Some("running".into()), why: Refusal::StillAlive }));
    assert_eq!(house.connect(2), Greeting::Welcome { replaced: Some(1) });
    house.machine.gone(1, house.now);
    assert_eq!(house.machine.active(), Some(2), "the old connection's end is no news");
    house.ask(Request::List);
    let told = house.told();
    assert!(
        matches!(&told[..], [
        Event::Exited(ended), Event::Started { key, .. }, Event::Starting { key: starting },
        Event::Listed { live: 2, ended: 1, .. }
    ] if ended.key == "ended" && key == "running" && starting == "starting"),
        "{told:?}"
    );
    assert_eq!(house.machine.greet(3, 1, 2), Greeting::Refused);
}

fn left_by_another(key: &str, boot_id: &str, ended: Option<Ended>) -> Loaded {
    let begun = Begun { key: key.into(), boot_id: boot_id.into(), mark: "m".into(), cgroup: None, at: Duration::ZERO };
    Loaded { begun, spawned: None, ended, is_clean: Clean::Unknown, tail: Tail::Room, bytes: 0 }
}

#[test]
fn what_the_one_before_left_is_told_as_it_is_known() {
    let exited = |key: &str| {
        Ended::Exited(Exited {
            key: key.into(),
            exit: Exit::Code(1),
            stopped: None,
            started_at: SECOND,
            ended_at: SECOND,
            leftovers: 0,
            recorded: true,
        })
    };
    let whole = vec![
        left_by_another("ended", "boot", Some(exited("ended"))),
        left_by_another("lost", "boot", None),
        left_by_another("rebooted", "another", None),
        left_by_another("stuck", "boot", None),
    ];
    let records = Records { whole, ends: vec![exited("synced")], damaged: vec!["torn".into()] };
    let mut house = House::with(Begin { records, stuck: ["stuck".to_owned()].into(), ..empty() });
    house.host.stuck_before.insert("stuck".into());
    house.ask(Request::List);
    let kinds: BTreeMap<String, Event> =
        house.told().into_iter().filter_map(|event| Some((event.key()?.to_owned(), event))).collect();
    assert_eq!(kinds["ended"], exited("ended").event());
    assert_eq!(kinds["synced"], exited("synced").event());
    assert_eq!(kinds["lost"], Event::Lost { key: "lost".into(), why: LostWhy::SupervisorDied });
    assert_eq!(kinds["rebooted"], Event::Lost { key: "rebooted".into(), why: LostWhy::Rebooted });
    assert_eq!(kinds["stuck"], Event::Stuck { key: "stuck".into(), pids: vec![9] });
    house.pass(SECOND * 3);
    assert_eq!(house.told(), []);
    house.host.stuck_before.clear();
    house.pass(SECOND * 2);
    assert_eq!(house.told(), [Event::Lost { key: "stuck".into(), why: LostWhy::SupervisorDied }]);
}

#[test]
fn leaving_waits_for_jobs_as_it_was_told() {
    let course = |house: &mut House| house.machine.course(house.now, &mut house.host);
    let mut house = House::new();
    house.run("a");
    house.ask(Request::Shutdown(ShutdownMode::WhenIdle));
    house.start(job("b"));
    assert!(house.told().iter().any(|event| matches!(event, Event::Refused { why: Refusal::Leaving, .. })));
    assert_eq!(course(&mut house), Course::Stay);
    house.over("a");
    assert_eq!(course(&mut house), Course::Leave);
    assert_eq!(house.host.syncs, [["a"]], "nothing that is known goes with it");

    let mut house = House::new();
    house.run("a");
    house.done();
    house.machine.told_to_end(house.now, &mut house.host);
    assert_eq!(house.done(), ["term a"]);
    house.machine.told_to_end(house.now, &mut house.host);
    assert_eq!(house.done(), ["kill a"], "told twice");
    house.over("a");
    assert_eq!(house.ended()[0].stopped, Some(StopReason::Shutdown));
    assert_eq!(course(&mut house), Course::Leave);
}

#[test]
fn without_jobs_and_without_a_worker_it_leaves_after_a_while() {
    let mut house = House::new();
    assert_eq!(house.machine.course(house.now, &mut house.host), Course::Stay);
    house.pass(SECOND * 59);
    assert_eq!(house.machine.course(house.now, &mut house.host), Course::Stay);
    house.pass(SECOND);
    assert_eq!(house.machine.course(house.now, &mut house.host), Course::Leave);
}
