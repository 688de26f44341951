//! Self-checks, and full disks: under the worker, under the server, under both. Whatever was acknowledged is
//! still there, nothing ends for want of room, and all goes on when there is some.

use std::time::{Duration, Instant};

use bowline_client::Client;
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use crate::harness::parts::{Part, ServerPart, client, is_connected, runtime, said, worker, wrapped};
use crate::harness::small::SmallDisk;
use crate::harness::{Room, process_of, until};

/// Disk and memory are looked at every second here, and a connection may have to be opened: a worker is broken,
/// or fit again, within this.
const BOUND: Duration = Duration::from_secs(20);
/// Of the small disks.
const DISK_MIB: u32 = 48;

fn mounted(room: &Room, name: &str) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(&room.work().join(name), DISK_MIB);
    if disk.is_none() {
        anstream::eprintln!("nothing can be mounted here: not tried");
    }
    disk
}

fn broken(client: &Client, name: &str) -> Option<String> {
    runtime().block_on(client.worker(name)).ok()?.broken
}

fn state(client: &Client, id: TaskRef) -> StateKind {
    runtime().block_on(client.task(id)).unwrap().state
}

fn ended_well(client: &Client, ids: &[TaskRef]) {
    until("all have ended", || ids.iter().all(|id| state(client, *id).is_ended()));
    for id in ids {
        let task = runtime().block_on(client.task(*id)).unwrap();
        assert_eq!(task.state, StateKind::Succeeded, "{task:#?}");
        // What was given back before it began has not run twice.
        let attempts = runtime().block_on(client.attempts(*id)).unwrap().items;
        assert_eq!(attempts.iter().filter(|attempt| attempt.started_at.is_some()).count(), 1, "{attempts:#?}");
    }
}

/// Submits it, and says whether it was acknowledged.
fn try_submit(room: &Room, url: &str, token: &str, command: &[&str]) -> Option<TaskRef> {
    let fixed = ["submit", "--server", url, "--token-file", token, "--quiet", "--"];
    let ran = room.run(&[&fixed[..], command].concat());
    (ran.status == Some(0)).then(|| ran.stdout.trim().parse().unwrap())
}

fn wait_for(room: &Room, gate: &str) -> [String; 3] {
    let path = room.path().join(gate);
    ["sh".to_owned(), "-c".to_owned(), format!("until [ -e '{}' ]; do sleep 0.05; done", path.display())]
}

struct House {
    room: Room,
    server: ServerPart,
    client: Client,
}

impl House {
    fn of(room: Room, server: ServerPart) -> Self {
        let client = server.client();
        Self { room, server, client }
    }

    fn worker(&self, more: &[&str]) -> Part {
        let more = [&["--slots", "2", "--check-every", "1s"], more].concat();
        let part = worker(&self.room, "w", (&self.server.url, &self.server.token_file), &[], &more);
        until("the worker is connected", || is_connected(&self.client, "w"));
        part
    }

    fn submit(&self, command: &[&str]) -> TaskRef {
        try_submit(&self.room, &self.server.url, self.token(), command).expect("it is acknowledged")
    }

    fn token(&self) -> &str {
        self.server.token_file.to_str().unwrap()
    }

    fn cli(&self, args: &[&str]) -> String {
        self.room.good(&[args, &["--server", &self.server.url, "--token-file", self.token()]].concat())
    }

    fn becomes_broken(&self, word: &str) {
        let since = Instant::now();
        until("the worker is broken", || broken(&self.client, "w").is_some_and(|why| why.contains(word)));
        assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
    }

    fn becomes_fit(&self) {
        let since = Instant::now();
        until("the worker is fit", || broken(&self.client, "w").is_none());
        assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
    }

    fn over(self, part: Part) -> Room {
        assert_eq!(part.stop(), Some(0), "{}", said(&self.room, "w"));
        assert_eq!(self.server.part.stop(), Some(0));
        self.room.wait_empty();
        self.room
    }
}

#[test]
fn a_worker_whose_disk_is_full_delivers_what_it_has_claims_nothing_and_comes_back() {
    let room = Room::new();
    let Some(disk) = mounted(&room, "small") else { return };
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let house = House::of(room, server);
    let more = ["--state", "small/w", "--on-term", "handoff"];
    let part = house.worker(&more);
    let [first, second] = ["first", "second"].map(|gate| {
        let command = wait_for(&house.room, gate);
        house.submit(&command.each_ref().map(String::as_str))
    });
    until("both run", || [first, second].iter().all(|id| state(&house.client, *id) == StateKind::Running));
    disk.fill();
    house.becomes_broken("disk");
    // What ran ends, and its end is delivered, on a disk without a byte.
    std::fs::write(house.room.path().join("first"), "").unwrap();
    ended_well(&house.client, &[first]);
    let waits = house.submit(&["true"]);
    let explained = house.cli(&["explain", &waits.to_string()]);
    assert!(explained.contains("disk"), "{explained}");
    for shown in [house.cli(&["worker", "list"]), house.cli(&["worker", "show", "w"]), house.cli(&["status"])] {
        assert!(shown.contains("broken") || shown.contains("disk"), "{shown}");
    }
    assert_eq!(state(&house.client, waits), StateKind::Ready, "nothing is claimed");
    // Not even its own death ends it: the next process waits for no room, and its job runs on.
    part.kill();
    let part = house.worker(&more);
    house.becomes_broken("disk");
    assert_eq!(state(&house.client, second), StateKind::Running);
    // What the server gave it before it knew comes back, and has not begun.
    until("it is given back", || state(&house.client, waits) == StateKind::Ready);
    let attempts = runtime().block_on(house.client.attempts(waits)).unwrap().items;
    assert!(attempts.iter().all(|attempt| attempt.started_at.is_none()), "{attempts:#?}");
    disk.free();
    house.becomes_fit();
    std::fs::write(house.room.path().join("second"), "").unwrap();
    ended_well(&house.client, &[second, waits]);
    assert_eq!(part.stop(), Some(0));
    house.room.stop_supervisor("small/w");
    assert_eq!(house.server.part.stop(), Some(0));
    house.room.wait_empty();
    // Before the folder in which it is mounted.
    drop(disk);
}

#[test]
fn a_server_whose_disk_is_full_acknowledges_nothing_that_is_not_kept_and_leads_again() {
    let room = Room::new();
    let Some(disk) = mounted(&room, "data") else { return };
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let house = House::of(room, server);
    let part = house.worker(&[]);
    let command = wait_for(&house.room, "gate");
    let running = house.submit(&command.each_ref().map(String::as_str));
    until("it runs", || state(&house.client, running) == StateKind::Running);
    disk.fill();
    // Until the store cannot take one more.
    let mut acknowledged = vec![running];
    let script = house.room.write("big.sh", &format!("true\n# {}\n", "x".repeat(60_000)));
    let token = house.token().to_owned();
    let mut refused = 0;
    until("it is refused", || {
        let args = ["submit", "--server", &house.server.url, "--token-file", &token, "--quiet", "--script"];
        let ran = house.room.run(&[&args[..], &[script.to_str().unwrap()]].concat());
        match ran.status {
            Some(0) => acknowledged.push(ran.stdout.trim().parse().unwrap()),
            status => {
                refused += 1;
                assert!(status.is_some_and(|status| status != 0), "{ran:?}");
                assert!(!ran.stderr.contains("panicked"), "{ran:?}");
            }
        }
        refused > 0
    });
    until("it says so", || runtime().block_on(house.client.ready()).is_err());
    // What happens meanwhile is not lost.
    std::fs::write(house.room.path().join("gate"), "").unwrap();
    disk.free();
    until("it leads again", || runtime().block_on(house.client.ready()).is_ok());
    ended_well(&house.client, &acknowledged);
    let room = house.over(part);
    // Before the folder in which it is mounted.
    drop(disk);
    drop(room);
}

#[test]
fn a_server_that_is_started_on_a_full_disk_says_so_waits_and_serves_when_there_is_room() {
    let room = Room::new();
    let Some(disk) = mounted(&room, "data") else { return };
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let token = server.token_file.clone();
    assert_eq!(server.part.stop(), Some(0));
    disk.fill();
    let announced = |name: &str| std::fs::read_to_string(room.path().join(name)).unwrap();
    let start = |name: &str| {
        let mut command = wrapped(&room, &[], &["server", "start", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.stdout(std::fs::File::create(room.path().join(name)).unwrap());
        let part = Part::start(&room, name, command);
        until("it says what it waits for", || said(&room, name).contains("waiting for room"));
        assert_eq!(announced(name), "");
        part
    };
    // It can be stopped meanwhile.
    assert_eq!(start("stopped").stop(), Some(0));
    let waits = start("waits");
    disk.free();
    until("it serves", || announced("waits").contains("token file"));
    let url = announced("waits").lines().find_map(|line| Some(line.strip_prefix("serving at ")?.to_owned()));
    runtime().block_on(client(&url.unwrap(), &token).ready()).unwrap();
    assert_eq!(waits.stop(), Some(0));
    // Before the folder in which it is mounted.
    drop(disk);
    drop(room);
}

#[test]
fn under_up_a_full_disk_ends_nobody_for_good_and_loses_nothing() {
    let room = Room::new();
    let Some(disk) = mounted(&room, "small") else { return };
    let up = room.up(&["--data", "small/data", "--slots", "2"]);
    let (url, token) = (up.url.clone(), up.token_file.to_str().unwrap().to_owned());
    let asks = client(&url, &up.token_file);
    let command = wait_for(&room, "gate");
    let mut acknowledged = vec![try_submit(&room, &url, &token, &command.each_ref().map(String::as_str)).unwrap()];
    until("it runs", || state(&asks, acknowledged[0]) == StateKind::Running);
    disk.fill();
    acknowledged.extend((0..3).filter_map(|_| try_submit(&room, &url, &token, &["true"])));
    // The worker dies, and finds no room when it comes back; again and again, and nobody gives it up.
    for _ in 0..2 {
        let before = process_of(&room, "worker start").expect("the worker runs");
        rustix::process::kill_process(before, rustix::process::Signal::KILL).unwrap();
        until("it is started again", || process_of(&room, "worker start").is_some_and(|now| now != before));
    }
    std::fs::write(room.path().join("gate"), "").unwrap();
    disk.free();
    until("it leads", || runtime().block_on(asks.ready()).is_ok());
    ended_well(&asks, &acknowledged);
    let after = try_submit(&room, &url, &token, &["true"]).expect("there is room again");
    ended_well(&asks, &[after]);
    assert_eq!(up.stop(), Some(0));
    room.wait_empty();
}

#[test]
fn a_failing_probe_makes_a_worker_broken_with_what_it_said() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let house = House::of(room, server);
    let good = house.room.path().join("good");
    // It leaves something behind each time, which goes with it.
    let probe =
        format!("(setsid sleep 300 &); test -e '{}' || {{ echo the licence is gone; exit 3; }}", good.display());
    let part = house.worker(&["--probe", &probe, "--probe-every", "300ms", "--probe-timeout", "5s"]);
    house.becomes_broken("ended with status 3: the licence is gone");
    let waits = house.submit(&["true"]);
    let explained = house.cli(&["explain", &waits.to_string()]);
    assert!(explained.contains("the licence is gone"), "{explained}");
    assert_eq!(state(&house.client, waits), StateKind::Ready);
    std::fs::write(&good, "").unwrap();
    house.becomes_fit();
    ended_well(&house.client, &[waits]);
    std::fs::remove_file(&good).unwrap();
    house.becomes_broken("the licence is gone");
    house.over(part);
}

#[test]
fn a_probe_that_hangs_and_too_little_memory_are_told_too() {
    let room = Room::new();
    let server = ServerPart::start(&room, "127.0.0.1:0", &[]);
    let house = House::of(room, server);
    let part = house.worker(&["--probe", "exec sleep 300", "--probe-timeout", "300ms", "--memory-min", "900TiB"]);
    house.becomes_broken("its probe took too long");
    house.becomes_broken("of memory is available");
    house.over(part);
}
