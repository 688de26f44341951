//! One worker of two servers: slots are shared, and one server's trouble is never the other's.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bowline_api::NewTask;
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use crate::backup::copy;
use crate::harness::parts::{Part, ServerPart, said, wrapped};
use crate::harness::small::SmallDisk;
use crate::harness::worked::Work;
use crate::harness::{Room, until};

/// A few short jobs take no longer than this, whatever the other server does, on two busy processors.
const UNDISTURBED_MAX: Duration = Duration::from_mins(1);

struct Both {
    first: ServerPart,
    second: ServerPart,
}

impl Both {
    fn new(room: &Room) -> Self {
        let first = ServerPart::start_in(room, "first", "127.0.0.1:0");
        Self { first, second: ServerPart::start_in(room, "second", "127.0.0.1:0") }
    }

    fn works(&self) -> (Work, Work) {
        (Work::of(&self.first), Work::of(&self.second))
    }

    fn worker(&self, room: &Room, more: &[&str]) -> Part {
        let token = |server: &ServerPart| server.token_file.to_str().unwrap().to_owned();
        let (first, second) = (token(&self.first), token(&self.second));
        let to = ["--server", &self.first.url, "--token-file", &first];
        let and = ["--server", &self.second.url, "--token-file", &second];
        let args = ["worker", "start", "--identity", "w", "--state", "w"];
        let mut command = wrapped(room, &[], &[&args[..], &to, &and, more].concat());
        command.stdout(std::process::Stdio::null());
        Part::start(room, "w", command)
    }

    /// A worker that serves both, connected to each.
    fn at_work(&self, room: &Room, more: &[&str]) -> (Part, Work, Work) {
        let (first, second) = self.works();
        let process = self.worker(room, more);
        first.until_connected("w");
        second.until_connected("w");
        (process, first, second)
    }

    fn over(self, room: &Room) {
        room.stop_supervisor("w");
        room.stop_supervisor(&format!("w/servers/{}", self.second.address().replace(':', "_")));
        assert_eq!(self.first.part.stop(), Some(0));
        assert_eq!(self.second.part.stop(), Some(0));
    }
}

/// A second process under the same identity: somebody has copied its key.
fn newer(room: &Room, server: &ServerPart, from: &str, state: &str) -> Part {
    std::fs::create_dir(room.work().join(state)).unwrap();
    std::fs::copy(room.work().join(from).join("key"), room.work().join(state).join("key")).unwrap();
    let args = ["worker", "start", "--identity", "w", "--state", state, "--server", &server.url];
    let mut command = wrapped(room, &[], &args);
    command.stdout(std::process::Stdio::null());
    Part::start(room, state, command)
}

/// Notes how many run at the same time, and which server it was told of.
fn job(room: &Room, name: &str) -> NewTask {
    let (marks, running) = (room.work().join("marks"), room.work().join("running"));
    let script = format!(
        "mkdir -p '{running}'; touch '{running}/{name}'\necho '{name} begun' >>'{marks}'\n\
         ls '{running}' | wc -l >>'{marks}.count'\nsleep 0.15\nrm '{running}/{name}'\n\
         echo server=$BOWLINE_SERVER >\"$BOWLINE_OUTPUT\"\necho '{name} ended' >>'{marks}'\n",
        running = running.display(),
        marks = marks.display(),
    );
    NewTask { name: Some(name.to_owned()), shell: Some(script), ..NewTask::default() }
}

/// A job that ends when this file is there.
fn waits_for(gate: &Path) -> NewTask {
    let script = format!("until test -e '{}'; do sleep 0.02; done; echo through", gate.display());
    NewTask { shell: Some(script), ..NewTask::default() }
}

#[test]
fn two_servers_share_the_slots_evenly_and_each_job_knows_its_own() {
    const EACH: usize = 24;
    let room = Room::new();
    let both = Both::new(&room);
    let (process, first, second) = both.at_work(&room, &["--slots", "3"]);
    let jobs = |letter: &str| (0..EACH).map(|number| job(&room, &format!("{letter}{number}"))).collect::<Vec<_>>();
    let ids = [first.submit(jobs("a")), second.submit(jobs("b"))];
    for (work, ids) in [&first, &second].into_iter().zip(&ids) {
        for id in ids {
            work.until_state(*id, StateKind::Succeeded);
            let result = work.task(*id).result.unwrap();
            assert_eq!(result["server"], work.url, "the job was told of the wrong server");
        }
    }
    let names = ["a", "b"].into_iter().flat_map(|letter| (0..EACH).map(move |number| format!("{letter}{number}")));
    first.done_once(&room.work().join("marks"), names);
    let counts = std::fs::read_to_string(room.work().join("marks.count")).unwrap();
    let most = counts.lines().map(|line| line.trim().parse::<u32>().unwrap()).max();
    assert!(most <= Some(3), "more ran than there are slots: {most:?}");
    // Neither had to wait for the other's end: among the first half of all ends there are many of both.
    let marks = std::fs::read_to_string(room.work().join("marks")).unwrap();
    let ended: Vec<_> = marks.lines().filter(|line| line.ends_with("ended")).take(EACH).collect();
    let of_first = ended.iter().filter(|line| line.starts_with('a')).count();
    assert!((EACH / 4..=EACH * 3 / 4).contains(&of_first), "{of_first} of {EACH}: {ended:?}");
    assert_eq!(process.stop(), Some(0));
    both.over(&room);
}

#[test]
fn one_server_s_absence_is_not_the_other_s_trouble() {
    let room = Room::new();
    let mut both = Both::new(&room);
    let (process, first, second) = both.at_work(&room, &["--slots", "2"]);
    let gate = room.work().join("gate");
    let waits = first.one(waits_for(&gate));
    first.until_state(waits, StateKind::Running);
    let address = both.first.address().to_owned();
    both.first.part.kill();
    for number in 0..6 {
        let id = second.one(job(&room, &format!("b{number}")));
        second.until_state(id, StateKind::Succeeded);
    }
    // Its job ends meanwhile, under the same worker process, and is delivered to it when it is back.
    std::fs::write(&gate, "").unwrap();
    both.first = ServerPart::start_in(&room, "first", &address);
    first.until_state(waits, StateKind::Succeeded);
    assert_eq!(first.attempts(waits), 1);
    // Started anew with the servers in another order, each finds what was kept for it.
    assert_eq!(process.stop(), Some(0));
    std::mem::swap(&mut both.first, &mut both.second);
    let process = both.worker(&room, &["--slots", "2"]);
    let id = second.one(job(&room, "again"));
    second.until_state(id, StateKind::Succeeded);
    first.until_connected("w");
    assert_eq!(process.stop(), Some(0));
    std::mem::swap(&mut both.first, &mut both.second);
    both.over(&room);
}

/// What listens where a server was.
#[derive(Debug, Clone, Copy)]
enum Impostor {
    /// Takes connections, and says nothing.
    Hangs,
    /// Closes them at once.
    Closes,
    /// Sends what is no protocol.
    Babbles,
    /// Speaks HTTP, and refuses everything.
    Refuses,
}

/// Listens in a server's place while it lives.
struct Listener {
    address: String,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u32>>,
}

impl Listener {
    fn at(address: &str, how: Impostor) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (mut held, mut heard) = (Vec::new(), 0);
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if told.load(Ordering::SeqCst) {
                    break;
                }
                heard += 1;
                // Whoever has left already hears nothing.
                match how {
                    Impostor::Hangs => {}
                    Impostor::Closes => continue,
                    Impostor::Babbles => drop(stream.write_all(&[0xff; 4096])),
                    Impostor::Refuses => {
                        drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"));
                    }
                }
                held.push(stream);
            }
            heard
        });
        Self { address: address.to_owned(), over, thread: Some(thread) }
    }

    /// How many have connected.
    fn close(mut self) -> u32 {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.address).unwrap());
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn an_impostor_in_one_server_s_place_disturbs_nobody_s_work() {
    let room = Room::new();
    let mut both = Both::new(&room);
    let (process, first, second) = both.at_work(&room, &["--slots", "2"]);
    let gate = room.work().join("gate");
    let waits = second.one(waits_for(&gate));
    second.until_state(waits, StateKind::Running);
    let address = both.second.address().to_owned();
    both.second.part.kill();
    for how in [Impostor::Hangs, Impostor::Closes, Impostor::Babbles, Impostor::Refuses] {
        let impostor = Listener::at(&address, how);
        let began = Instant::now();
        for number in 0..4 {
            let id = first.one(job(&room, &format!("{how:?}{number}")));
            first.until_state(id, StateKind::Succeeded);
            assert_eq!(first.attempts(id), 1);
        }
        assert!(began.elapsed() < UNDISTURBED_MAX, "{how:?}: {:?}", began.elapsed());
        impostor.close();
    }
    // What ran for the true one is delivered to it.
    std::fs::write(&gate, "").unwrap();
    both.second = ServerPart::start_in(&room, "second", &address);
    second.until_state(waits, StateKind::Succeeded);
    assert_eq!(second.attempts(waits), 1);
    assert_eq!(process.stop(), Some(0));
    both.over(&room);
}

#[test]
fn a_full_disk_under_one_server_disturbs_nobody_s_work() {
    let room = Room::new();
    let Some(disk) = SmallDisk::mount(&room.work().join("second"), 48) else { return };
    let both = Both::new(&room);
    let (process, first, second) = both.at_work(&room, &["--slots", "2"]);
    let gate = room.work().join("gate");
    let waits = second.one(waits_for(&gate));
    second.until_state(waits, StateKind::Running);
    disk.fill();
    // Its end cannot be taken down there.
    std::fs::write(&gate, "").unwrap();
    let began = Instant::now();
    for number in 0..6 {
        let id = first.one(job(&room, &format!("a{number}")));
        first.until_state(id, StateKind::Succeeded);
        assert_eq!(first.attempts(id), 1);
    }
    assert!(began.elapsed() < UNDISTURBED_MAX, "{:?}", began.elapsed());
    disk.free();
    second.until_state(waits, StateKind::Succeeded);
    assert_eq!(second.attempts(waits), 1);
    assert_eq!(process.stop(), Some(0));
    both.over(&room);
    drop(disk);
}

#[test]
fn one_server_that_was_put_back_stops_what_it_knows_nothing_of_and_the_other_is_not_disturbed() {
    let room = Room::new();
    let mut both = Both::new(&room);
    let (process, first, second) = both.at_work(&room, &["--slots", "4", "--on-term", "handoff"]);
    let gate = room.work().join("gate");
    let gated = |name: &str| {
        let script = format!(
            "echo '{name} begun' >>'{marks}'; until test -e '{gate}'; do sleep 0.02; done; echo '{name} ended' >>'{marks}'",
            marks = room.work().join("long").display(),
            gate = gate.display(),
        );
        NewTask { shell: Some(script), ..NewTask::default() }
    };
    let (other, kept) = (first.one(gated("other")), second.one(gated("kept")));
    first.until_state(other, StateKind::Running);
    second.until_state(kept, StateKind::Running);
    let (address, data) = (both.second.address().to_owned(), room.work().join("second"));
    assert_eq!(both.second.part.stop(), Some(0));
    copy(&data, &room.work().join("snapshot"));
    both.second = ServerPart::start_in(&room, "second", &address);
    second.until_connected("w");
    // All of this is after the copy, and the worker has seen it.
    let late = second.one(gated("late"));
    second.until_state(late, StateKind::Running);
    assert_eq!(both.second.part.stop(), Some(0));
    std::fs::rename(&data, room.work().join("newest")).unwrap();
    copy(&room.work().join("snapshot"), &data);
    both.second = ServerPart::start_in(&room, "second", &address);
    let to_second = |args: &[&str]| {
        let token = both.second.token_file.to_str().unwrap().to_owned();
        room.run(&[args, &["--server", &second.url, "--token-file", &token]].concat())
    };
    until("it leads no more", || to_second(&["status"]).stderr.contains("bowline server accept-rollback"));
    until("the worker says so", || said(&room, "w").contains("accept-rollback"));
    let began = Instant::now();
    for number in 0..6 {
        let id = first.one(job(&room, &format!("a{number}")));
        first.until_state(id, StateKind::Succeeded);
        assert_eq!(first.attempts(id), 1);
    }
    assert!(began.elapsed() < UNDISTURBED_MAX, "{:?}", began.elapsed());
    // Nobody has decided yet: whatever runs for it runs on.
    let place = format!("servers/{}", address.replace(':', "_"));
    let of = |place: &str, id: TaskRef| format!("/w/{place}jobs/t{id}-g0-a1/script");
    let scripts = [of("", other), of(&format!("{place}/"), kept), of(&format!("{place}/"), late)];
    let run = || {
        let processes = room.processes();
        scripts.each_ref().map(|script| processes.iter().any(|(_, line)| line.contains(script)))
    };
    assert_eq!(run(), [true; 3], "{:#?}", room.processes());
    let accepted = to_second(&["server", "accept-rollback", "--json"]);
    assert!(accepted.status == Some(0) && accepted.stdout.contains("\"generation\": 1"), "{accepted:?}");
    second.until_connected("w");
    until("what it knows nothing of is stopped", || run() == [true, true, false]);
    assert_eq!(to_second(&["task", "show", &late.to_string()]).status, Some(3));
    // The same number, another task.
    let newest = second.one(job(&room, "newest"));
    assert_eq!(newest, late);
    second.until_state(newest, StateKind::Succeeded);
    assert_eq!(run(), [true, true, false]);
    std::fs::write(&gate, "").unwrap();
    for (work, id) in [(&first, other), (&second, kept)] {
        work.until_state(id, StateKind::Succeeded);
        assert_eq!((work.attempts(id), work.history(id).iter().filter(|what| *what == "succeeded").count()), (1, 1));
    }
    let marks = std::fs::read_to_string(room.work().join("long")).unwrap();
    let mut marks: Vec<_> = marks.lines().collect();
    marks.sort_unstable();
    assert_eq!(marks, ["kept begun", "kept ended", "late begun", "other begun", "other ended"]);
    assert_eq!(process.stop(), Some(0));
    both.over(&room);
}

#[test]
fn fenced_off_by_one_server_the_worker_serves_the_other_and_by_both_it_ends_with_70() {
    let room = Room::new();
    let both = Both::new(&room);
    let (process, _, second) = both.at_work(&room, &[]);
    let gate = room.work().join("gate");
    let runs = second.one(waits_for(&gate));
    second.until_state(runs, StateKind::Running);
    let newer = newer(&room, &both.first, "w", "newer");
    until("it is told", || said(&room, "w").contains("the others are served on"));
    // What runs for the other is not touched, and it is given more.
    let more = second.one(job(&room, "b"));
    second.until_state(more, StateKind::Succeeded);
    std::fs::write(&gate, "").unwrap();
    second.until_state(runs, StateKind::Succeeded);
    assert_eq!(second.attempts(runs), 1);
    let place = format!("w/servers/{}", both.second.address().replace(':', "_"));
    let newest = self::newer(&room, &both.second, &place, "newest");
    assert_eq!(process.ended(), Some(70));
    for (process, state) in [(newer, "newer"), (newest, "newest")] {
        assert_eq!(process.stop(), Some(0));
        room.stop_supervisor(state);
    }
    both.over(&room);
}

#[test]
fn a_command_that_goes_to_one_server_refuses_two() {
    let room = Room::new();
    let ran = room.run(&["status", "--server", "http://127.0.0.1:1", "--server", "http://127.0.0.1:2"]);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("name it with --server"), "{}", ran.stderr);
    let twice = ["worker", "start", "--server", "http://127.0.0.1:1", "--server", "http://127.0.0.1:1/"];
    let ran = room.run(&twice);
    assert_eq!(ran.status, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("named twice"), "{}", ran.stderr);
}
