//! Bad networks between a worker and its server: stalled, half-closed, reset in the middle of a frame, very
//! slow. Both sides go on, and find each other again; nothing is begun twice, nothing is lost, nothing is left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use bowline_api::{NewTask, Task};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::spec::Overlap;
use bowline_core::state::StateKind;

use crate::harness::net::{Relay, Way, Weather, takes};
use crate::harness::netns::Networks;
use crate::harness::parts::{Part, ServerPart, client, is_connected, runtime, said, worker};
use crate::harness::{Room, until};

/// Both ends ping after 10 s and give a connection up 10 s later; the rest is for the new connection.
const NOTICED_MAX: Duration = Duration::from_secs(30);

/// A worker that waits in vain for something to be delivered leaves after 30 s.
const LEAVE_MAX: Duration = Duration::from_secs(20);

/// A job that leaves a mark when it begins and when it ends, and waits in between for a file, where one
/// is named.
fn job(room: &Room, name: &str, gate: Option<&Path>) -> NewTask {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let wait = if gate.is_some() { "until test -e \"$GATE\"; do sleep 0.05; done\n" } else { "" };
    let mut env =
        BTreeMap::from([("NAME".to_owned(), name.to_owned()), ("MARKS".to_owned(), text(&room.work().join("marks")))]);
    env.extend(gate.map(|gate| ("GATE".to_owned(), text(gate))));
    NewTask {
        name: Some(name.to_owned()),
        shell: Some(format!(
            "echo \"$NAME begun\" >>\"$MARKS\"\necho \"line of $NAME\"\n{wait}\
             echo \"name=$NAME\" >\"$BOWLINE_OUTPUT\"\necho \"$NAME ended\" >>\"$MARKS\"\n"
        )),
        env,
        ..NewTask::default()
    }
}

/// Every one of these began once and ended once, and nobody else did.
fn done_once(room: &Room, names: impl IntoIterator<Item = String>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(room.work().join("marks")).unwrap().lines() {
        *seen.entry(line.to_owned()).or_default() += 1;
    }
    for name in names {
        for what in ["begun", "ended"] {
            assert_eq!(seen.remove(&format!("{name} {what}")), Some(1), "`{name}` {what}, and once");
        }
    }
    assert!(seen.is_empty(), "executions that nobody asked for: {seen:?}");
}

/// A server, a relay to it, and a worker that knows the relay alone.
struct Line {
    server: ServerPart,
    relay: Relay,
    worker: Part,
    client: Client,
}

impl Line {
    fn new(room: &Room, slots: &str) -> Self {
        let server = ServerPart::start(room, "127.0.0.1:0", &[]);
        let relay = Relay::to(server.address());
        let more = ["--slots", slots, "--on-term", "release"];
        let worker = worker(room, "w", (&relay.url(), &server.token_file), &[], &more);
        let client = server.client();
        until("the worker is connected", || is_connected(&client, "w"));
        Self { server, relay, worker, client }
    }

    fn submit(&self, task: &NewTask) -> TaskRef {
        runtime().block_on(self.client.submit(task, &Write::default())).unwrap().ids[0]
    }

    fn task(&self, id: TaskRef) -> Task {
        runtime().block_on(self.client.task(id)).unwrap()
    }

    fn runs(&self, id: TaskRef) {
        until("the job runs", || self.task(id).state == StateKind::Running);
    }

    /// It ended well, with its result, in the first attempt that began; how many attempts there were.
    fn ended_well(&self, room: &Room, id: TaskRef, name: &str) -> usize {
        until("the task has ended", || self.task(id).state.is_ended());
        let task = self.task(id);
        assert_eq!(task.state, StateKind::Succeeded, "{task:?}{}", said(room, "w"));
        assert_eq!(task.result.unwrap()["name"], name);
        let attempts = runtime().block_on(self.client.attempts(id)).unwrap().items;
        let begun = attempts.iter().filter(|attempt| attempt.started_at.is_some());
        assert_eq!(begun.count(), 1, "{attempts:#?}");
        attempts.len()
    }

    fn over(self) {
        // A relay that is gone cannot hold up the last messages.
        self.relay.weather(Weather::default());
        leaves(self.worker);
        assert_eq!(self.server.part.stop(), Some(0));
    }
}

/// A worker that has delivered everything, the ends of all logs too, leaves when it is told to.
fn leaves(worker: Part) {
    let asked = Instant::now();
    assert_eq!(worker.stop(), Some(0));
    assert!(asked.elapsed() < LEAVE_MAX, "something was not delivered: it took {:?}", asked.elapsed());
}

#[test]
fn a_stalled_connection_is_given_up_within_the_keepalive_and_the_result_comes_by_another() {
    let room = Room::new();
    let line = Line::new(&room, "2");
    let gate = room.path().join("gate");
    let id = line.submit(&job(&room, "stalled", Some(&gate)));
    line.runs(id);
    let before = line.relay.accepted();
    line.relay.stall_open();
    // The job ends while nobody hears of it.
    std::fs::write(&gate, "").unwrap();
    let noticed = takes(NOTICED_MAX, "another connection comes", || line.relay.accepted() > before);
    assert!(noticed > Duration::from_secs(1), "a connection that only stands still is no error at once: {noticed:?}");
    assert_eq!(line.ended_well(&room, id, "stalled"), 1);
    done_once(&room, ["stalled".to_owned()]);
    line.over();
}

#[test]
fn a_connection_that_is_reset_or_half_closed_is_opened_anew_whichever_half_it_is() {
    let room = Room::new();
    let line = Line::new(&room, "2");
    let breaks: [(&str, Break); 3] = [
        ("reset", Relay::reset),
        ("up", |relay| relay.half_close(Way::Up)),
        ("down", |relay| relay.half_close(Way::Down)),
    ];
    for (name, break_it) in breaks {
        let gate = room.path().join(name);
        let id = line.submit(&job(&room, name, Some(&gate)));
        line.runs(id);
        let before = line.relay.accepted();
        break_it(&line.relay);
        takes(NOTICED_MAX, "another connection comes", || line.relay.accepted() > before);
        std::fs::write(&gate, "").unwrap();
        assert_eq!(line.ended_well(&room, id, name), 1);
    }
    done_once(&room, breaks.map(|(name, _)| name.to_owned()));
    line.over();
}

#[test]
fn connections_reset_in_the_middle_of_frames_lose_nothing_and_do_nothing_twice() {
    const CUTS: [usize; 10] = [0, 3, 9, 11, 40, 170, 333, 1_000, 1_777, 4_099];
    const TASKS_PER_CUT: usize = 20;
    let room = Room::new();
    let line = Line::new(&room, "4");
    let name = |number: usize| format!("cut-{number}");
    let mut ids = Vec::new();
    // At a frame's first byte, within its head, within what it carries, and after several.
    for (number, bytes) in CUTS.into_iter().enumerate() {
        let way = if number % 2 == 0 { Way::Up } else { Way::Down };
        let (cuts, before) = (line.relay.cuts(), line.relay.accepted());
        line.relay.cut_after(way, bytes);
        let tasks = (0..TASKS_PER_CUT).map(|more| job(&room, &name(ids.len() + more), None)).collect();
        ids.extend(runtime().block_on(line.client.submit_many(tasks, &Write::default())).unwrap().ids);
        until("the connection is cut", || line.relay.cuts() > cuts);
        until("another connection comes", || line.relay.accepted() > before);
    }
    for (number, id) in ids.iter().enumerate() {
        // One that was on its way to the worker when the connection broke was given back unbegun.
        line.ended_well(&room, *id, &name(number));
    }
    done_once(&room, (0..ids.len()).map(name));
    line.over();
}

#[test]
fn a_very_slow_line_delays_results_and_loses_none() {
    const TASKS: usize = 12;
    let room = Room::new();
    let line = Line::new(&room, "4");
    // At most 400 bytes in 40 ms: 10 kB/s each way.
    line.relay.weather(Weather { delay: Duration::from_millis(40), piece_bytes_max: 400, ..Weather::default() });
    let name = |number: usize| format!("slow-{number}");
    let tasks: Vec<NewTask> = (0..TASKS).map(|number| job(&room, &name(number), None)).collect();
    let ids = runtime().block_on(line.client.submit_many(tasks, &Write::default())).unwrap().ids;
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(line.ended_well(&room, *id, &name(number)), 1);
    }
    assert!(!said(&room, "w").contains("connecting again"), "a slow connection is no dead one: {}", said(&room, "w"));
    done_once(&room, (0..TASKS).map(name));
    line.over();
}

/// Something that is done to a line.
type Break = fn(&Relay);

/// How a worker is cut off.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The cable is pulled.
    Link,
    /// The way is gone, silently: the cable stays.
    Route,
}

impl Cut {
    fn set(self, networks: &Networks, room: &Room, is_whole: bool) {
        match self {
            Self::Link => networks.link(room, is_whole),
            Self::Route => networks.route(room, is_whole),
        }
    }
}

/// A server and a worker that see each other by a cable alone.
struct Cable {
    networks: Networks,
    server: ServerPart,
    worker: Part,
}

impl Cable {
    fn new(room: &Room) -> Self {
        let networks = Networks::new(room);
        let server = ServerPart::start(room, &format!("{}:7420", Networks::SERVER), &networks.at_server());
        let more = ["--slots", "4", "--on-term", "release"];
        let worker = worker(room, "w", (&server.url, &server.token_file), &networks.at_worker(), &more);
        Self { networks, server, worker }
    }

    fn submit(&self, tasks: Vec<NewTask>) -> Vec<TaskRef> {
        self.networks
            .ask(|runtime| runtime.block_on(self.server.client().submit_many(tasks, &Write::default())).unwrap().ids)
    }

    fn task(&self, id: TaskRef) -> Task {
        self.networks.ask(|runtime| runtime.block_on(self.server.client().task(id)).unwrap())
    }

    fn runs(&self, id: TaskRef) {
        until("the job runs", || self.task(id).state == StateKind::Running);
    }

    /// It ended well, in its first attempt.
    fn ended_well(&self, room: &Room, id: TaskRef) {
        until("the task has ended", || self.task(id).state.is_ended());
        let task = self.task(id);
        assert_eq!((task.state, task.attempt), (StateKind::Succeeded, 1), "{task:?}{}", said(room, "w"));
    }

    fn over(self) {
        leaves(self.worker);
        assert_eq!(self.server.part.stop(), Some(0));
    }
}

fn has_ended(room: &Room, name: &str) -> bool {
    std::fs::read_to_string(room.work().join("marks")).unwrap().contains(&format!("{name} ended"))
}

#[test]
fn cut_by_link_or_by_route_jobs_run_on_and_their_results_come_afterwards() {
    let room = Room::new();
    let cable = Cable::new(&room);
    for (cut, name) in [(Cut::Link, "link"), (Cut::Route, "route")] {
        let gate = room.path().join(name);
        let id = cable.submit(vec![job(&room, name, Some(&gate))])[0];
        cable.runs(id);
        cut.set(&cable.networks, &room, false);
        std::fs::write(&gate, "").unwrap();
        until("the job has ended", || has_ended(&room, name));
        assert_eq!(cable.task(id).state, StateKind::Running);
        cut.set(&cable.networks, &room, true);
        cable.ended_well(&room, id);
    }
    done_once(&room, ["link".to_owned(), "route".to_owned()]);
    cable.over();
}

/// Whether a process of the job of this name is there.
fn lives(room: &Room, name: &str) -> bool {
    let mark = format!("\0NAME={name}\0");
    room.processes().iter().any(|(pid, _)| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        format!("\0{}", String::from_utf8_lossy(&environ)).contains(&mark)
    })
}

/// Four jobs on a worker that is cut off: as far as the server knows two are lost, of which one ends
/// meanwhile and one goes on; one must not overlap, and is not lost by silence alone; one stops by itself,
/// and is lost after that. (Nothing is lost within 30 s of a server's start, so this takes longer than that.)
fn cut_off_and_back(cut: Cut) {
    let room = Room::new();
    let cable = Cable::new(&room);
    let gate = |name: &str| room.path().join(name);
    let soon_lost = |name| NewTask { lost_after: Some("7s".parse().unwrap()), ..job(&room, name, Some(&gate(name))) };
    let forbid = |name| NewTask { overlap: Some(Overlap::Forbid), ..soon_lost(name) };
    let stops =
        NewTask { stop_after: Some("10s".parse().unwrap()), grace: Some("300ms".parse().unwrap()), ..forbid("stops") };
    let ids = cable.submit(vec![soon_lost("ends"), soon_lost("goes-on"), forbid("held"), stops]);
    let [ends, goes_on, held, stops] = ids[..] else { panic!("four were submitted") };
    for id in &ids {
        cable.runs(*id);
    }
    cut.set(&cable.networks, &room, false);
    until("the job that is to stop by itself has", || !lives(&room, "stops"));
    assert_eq!(cable.task(stops).losses, 0, "it stops before the server counts it as lost");
    until("three attempts are lost", || [ends, goes_on, stops].iter().all(|id| cable.task(*id).losses == 1));
    // What is lost goes back to its line; nobody else is there to begin it.
    for id in [ends, goes_on, stops] {
        assert_eq!((cable.task(id).state, cable.task(id).attempt), (StateKind::Ready, 1));
    }
    assert_eq!((cable.task(held).state, cable.task(held).losses), (StateKind::Running, 0));
    std::fs::write(gate("ends"), "").unwrap();
    until("one job has ended", || has_ended(&room, "ends"));
    cut.set(&cable.networks, &room, true);
    cable.ended_well(&room, ends);
    until("the other goes on in its attempt", || cable.task(goes_on).state == StateKind::Running);
    for name in ["goes-on", "held", "stops"] {
        std::fs::write(gate(name), "").unwrap();
    }
    cable.ended_well(&room, goes_on);
    cable.ended_well(&room, held);
    until("what had stopped was made again", || cable.task(stops).state.is_ended());
    assert_eq!((cable.task(stops).state, cable.task(stops).attempt), (StateKind::Succeeded, 2));
    let marks = room.work().join("marks");
    let text = std::fs::read_to_string(&marks).unwrap();
    assert_eq!(text.matches("stops begun").count(), 2, "{text}");
    // Its first attempt began too.
    std::fs::write(&marks, text.replacen("stops begun\n", "", 1)).unwrap();
    done_once(&room, ["ends", "goes-on", "held", "stops"].map(str::to_owned));
    cable.over();
}

#[test]
fn cut_by_link_for_longer_than_lost_after_nothing_is_begun_twice_and_nothing_is_lost() {
    cut_off_and_back(Cut::Link);
}

#[test]
fn cut_by_route_for_longer_than_lost_after_nothing_is_begun_twice_and_nothing_is_lost() {
    cut_off_and_back(Cut::Route);
}

#[test]
fn two_hundred_workers_are_all_back_within_30_s_of_a_restart_of_the_server() {
    const WORKERS: usize = 200;
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let (url, token_file) = (server.url.clone(), server.token_file.clone());
    let address = server.address().to_owned();
    let more = ["--slots", "1", "--on-term", "release"];
    let start = |number: usize| worker(&room, &format!("w{number}"), (&url, &token_file), &[], &more);
    let workers: Vec<Part> = (0..WORKERS).map(start).collect();
    let connected = || {
        let workers = runtime().block_on(client(&url, &token_file).workers());
        let is_there = |worker: &&bowline_api::Worker| worker.connection == bowline_api::ConnectionState::Connected;
        workers.map_or(0, |workers| workers.items.iter().filter(is_there).count())
    };
    until("all are connected", || connected() == WORKERS);
    server.part.kill();
    let server = ServerPart::start(&room, &address, &[]);
    takes(Duration::from_secs(30), "all are back", || connected() == WORKERS);
    for worker in &workers {
        worker.signal(rustix::process::Signal::TERM);
    }
    for worker in workers {
        assert_eq!(worker.ended(), Some(0));
    }
    assert_eq!(server.part.stop(), Some(0));
}
