//! Server and worker under a service manager: what they tell it, the unit files that are shipped, and
//! how quickly a server stops.

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::harness::{PATIENCE, Room, finish, until};

/// A service manager's ear.
struct Ear {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Ear {
    fn new(room: &Room) -> Self {
        let path = room.path().join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// The next thing said within this time.
    fn heard(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// Waits for something that begins so.
    fn wait_for(&self, begin: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while Instant::now() < deadline {
            match self.heard(Duration::from_secs(1)) {
                Some(text) if text.starts_with(begin) => return text,
                Some(text) => said.push(text),
                None => {}
            }
        }
        panic!("`{begin}` was not said, but {said:?}");
    }

    /// Starts the binary as a service manager does, with a watchdog that wants to hear of it every second.
    fn start(&self, room: &Room, args: &[String]) -> Child {
        room.command(args)
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", "1000000")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(room.path().join("up.stderr")).unwrap())
            .spawn()
            .unwrap()
    }
}

/// The shipped unit file.
fn unit(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The arguments of its `ExecStart`, with this folder in place of the one below /var/lib.
fn exec_start(unit: &str, folder: &Path) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/bowline ")).unwrap();
    line.split(' ')
        .map(|word| if word.starts_with("/var/lib/") { folder.to_str().unwrap().to_owned() } else { word.to_owned() })
        .collect()
}

fn signal(process: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(process), signal).unwrap();
}

/// Fed while it turns, not while it stands still, and then again.
fn is_watched(ear: &Ear, process: &Child) {
    for _ in 0..3 {
        ear.wait_for("WATCHDOG=1");
    }
    signal(process, Signal::STOP);
    // What was under way.
    while ear.heard(Duration::from_millis(300)).is_some() {}
    assert_eq!(ear.heard(Duration::from_millis(1_500)), None, "fed while it stood still");
    signal(process, Signal::CONT);
    ear.wait_for("WATCHDOG=1");
}

fn ends_well(ear: &Ear, mut process: Child) {
    signal(&process, Signal::TERM);
    ear.wait_for("STOPPING=1");
    let mut code = None;
    until("it has ended", || {
        code = process.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
}

#[test]
fn a_server_and_a_worker_tell_a_service_manager_how_they_are() {
    let room = Room::new();
    let (data, state) = (room.work().join("data"), room.work().join("state"));
    let ear = Ear::new(&room);
    let (_, text) = unit("bowline-server.service");
    let mut args = exec_start(&text, &data);
    args.push("--listen=127.0.0.1:0".to_owned());
    let server = ear.start(&room, &args);
    let ready = ear.wait_for("READY=1");
    let url = ready.split("serving at ").nth(1).unwrap().to_owned();
    is_watched(&ear, &server);
    // Its settings are read again where somebody asks for it; wrong ones change nothing.
    signal(&server, Signal::HUP);
    assert!(ear.wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
    ear.wait_for("READY=1");

    let workers = Ear { socket: UnixDatagram::bind(room.path().join("w")).unwrap(), path: room.path().join("w") };
    let (_, text) = unit("bowline-worker.service");
    let mut args = exec_start(&text, &state);
    let token = data.join("token");
    args.extend(["--identity=lab-1", "--server", &url, "--token-file", token.to_str().unwrap()].map(str::to_owned));
    let worker = workers.start(&room, &args);
    assert!(workers.wait_for("READY=1").contains("handoff"));
    is_watched(&workers, &worker);
    // A server that is away is no reason to be started again.
    ends_well(&ear, server);
    for _ in 0..3 {
        workers.wait_for("WATCHDOG=1");
    }
    ends_well(&workers, worker);
    room.stop_supervisor("state");
}

#[test]
fn the_unit_files_are_what_systemd_takes() {
    let room = Room::new();
    for (name, lines) in [
        ("bowline-server.service", &["Type=notify", "WatchdogSec=60", "Restart=always"][..]),
        (
            "bowline-worker.service",
            &["Type=notify", "KillMode=process", "Delegate=yes", "WatchdogSec=60", "Restart=always"],
        ),
    ] {
        let (_, text) = unit(name);
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{name} lacks {line}");
        }
        std::fs::write(room.work().join(name), text.replace("/usr/bin/bowline", env!("CARGO_BIN_EXE_bowline")))
            .unwrap();
    }
    let (_, text) = unit("bowline-worker.service");
    let prevented = text.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).unwrap();
    assert!(prevented.split(' ').any(|status| status == "70"), "{prevented}");
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        anstream::eprintln!("skipped: systemd-analyze is not installed, so nobody has checked the unit files");
        return;
    }
    let units = ["bowline-server.service", "bowline-worker.service"];
    let verify = [&["verify", "--man=no"][..], &units].concat();
    let mut command = room.command_of("/usr/bin/systemd-analyze".into(), &verify);
    let ran = finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), "systemd-analyze");
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    // Older ones do not know that line, and say that they pass over it; the unit's comment says so too.
    let said = ran.stderr.lines().filter(|line| line.contains("bowline") && !line.contains("DelegateSubgroup"));
    assert_eq!(said.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_server_stops_within_a_second_whoever_is_connected() {
    let room = Room::new();
    let data = room.work().join("data");
    let ear = Ear::new(&room);
    let args = ["server", "start", "--listen=127.0.0.1:0", "--data", data.to_str().unwrap()].map(str::to_owned);
    let mut server = ear.start(&room, &args);
    let url = ear.wait_for("READY=1").split("serving at ").nth(1).unwrap().to_owned();
    let token = data.join("token");
    let (url, token) = (url.as_str(), token.to_str().unwrap());
    let to = ["--server", url, "--token-file", token];
    let run = |args: &[&str]| room.good(&[args, &to].concat());
    let workers: Vec<Child> = (0..2)
        .map(|number| {
            let (name, state) = (format!("--identity=lab-{number}"), format!("--state=state-{number}"));
            let args = [&["worker", "start", &name, &state, "--on-term=release", "--slots=2"][..], &to].concat();
            room.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let job = "while :; do echo line; sleep 0.05; done";
    let ids: Vec<String> = (0..4).map(|_| run(&["submit", "--quiet", "--", "sh", "-c", job])).collect();
    until("all run", || {
        let list = run(&["task", "list", "--state=running", "--json"]);
        serde_json::from_str::<serde_json::Value>(&list).unwrap().as_array().unwrap().len() == 4
    });
    // Followers of logs, readers of events, waiters: each has got something before the server stops.
    let mut readers: Vec<Child> = ids
        .iter()
        .map(|id| vec!["logs", "-f", id.trim()])
        .chain([vec!["events"], vec!["events", "--json"]])
        .map(|args| {
            let args = [args.as_slice(), &to].concat();
            room.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for reader in &mut readers[..4] {
        reader.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    }
    run(&["submit", "--quiet", "--delay=1h", "--", "true"]);
    for reader in &mut readers[4..] {
        reader.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    }
    let mut waiter = room.command(&[&["wait", ids[0].trim()][..], &to].concat()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    signal(&server, Signal::TERM);
    let status = server.wait().unwrap();
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(1), "stopping took {took:?}");
    for reader in readers.iter_mut().chain([&mut waiter]) {
        drop(reader.kill());
        reader.wait().unwrap();
    }
    // Nobody has told the jobs: they run on until their workers are told to leave.
    let listen = format!("--listen={}", url.strip_prefix("http://").unwrap());
    let again = args.map(|word| if word.starts_with("--listen") { listen.clone() } else { word });
    let server = ear.start(&room, &again);
    ear.wait_for("READY=1");
    for mut worker in workers {
        signal(&worker, Signal::TERM);
        until("a worker has ended", || worker.try_wait().unwrap().is_some());
    }
    for number in 0..2 {
        room.stop_supervisor(&format!("state-{number}"));
    }
    ends_well(&ear, server);
}
