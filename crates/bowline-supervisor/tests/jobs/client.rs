//! The socket: who may speak, long paths, bad frames.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bowline_supervisor::client::{Error, Supervisor};
use bowline_supervisor::wire::{Event, Hello, Refusal, Request, read_frame, version, write_frame};
use bowline_supervisor::{Program, socket_path, spawn_detached};

use crate::support::{BOUND, House, code, is_alive, tests, wait_until};

tests![
    the_newest_connection_wins,
    one_supervisor_a_state_folder,
    a_stale_socket_is_replaced,
    a_long_path_is_no_obstacle,
    another_version_is_told_so,
    garbage_is_cut_off,
    a_request_of_a_later_version_is_refused_and_harms_nothing,
    an_oversized_request_is_refused_before_it_is_sent,
    many_bytes_of_environment_pass,
];

fn the_newest_connection_wins() {
    let mut house = House::new();
    let older = Supervisor::connect(&socket_path(house.state()), BOUND).unwrap();
    house.reconnect();
    assert!(matches!(older.receive(Some(BOUND)), Err(Error::Broken(_))));
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
}

fn one_supervisor_a_state_folder() {
    let mut house = House::new();
    let pid = house.client.pid();
    spawn_detached(&Program::new("/proc/self/exe", house.state())).unwrap();
    let second = std::process::Command::new("/proc/self/exe")
        .args(["supervisor", "--state"])
        .arg(house.state())
        .status()
        .unwrap();
    assert!(second.success(), "it leaves by itself");
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
    house.reconnect();
    assert_eq!(house.client.pid(), pid);
}

fn a_stale_socket_is_replaced() {
    let mut house = House::new();
    house.kill_supervisor();
    assert!(socket_path(house.state()).exists());
    house.reconnect();
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
}

fn a_long_path_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("x".repeat(100)).join("y".repeat(200)).join("state");
    let mut house = House::at(dir, state);
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
    house.reconnect();
    assert_eq!(house.list().0.len(), 1);
}

fn raw(house: &House, version: u32) -> UnixStream {
    let mut stream = UnixStream::connect(socket_path(house.state())).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    write_frame(&mut stream, &Hello { version, pid: 1, boot_id: "x".into() }.encode()).unwrap();
    stream
}

fn another_version_is_told_so() {
    let mut house = House::new();
    let mut stream = raw(&house, version() + 1);
    let theirs = Hello::decode(&read_frame(&mut stream).unwrap().unwrap()).unwrap();
    assert_eq!(theirs.version, version());
    assert!(read_frame(&mut stream).unwrap().is_none(), "then it hangs up");
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0), "the worker's own connection is undisturbed");
}

fn garbage_is_cut_off() {
    let mut house = House::new();
    for bytes in [&b"\x05\0\0\0hello"[..], &u32::MAX.to_le_bytes(), b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = UnixStream::connect(socket_path(house.state())).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.write_all(bytes).unwrap();
        assert!(!matches!(read_frame(&mut stream), Ok(Some(_))), "{bytes:?}");
    }
    let mut stream = raw(&house, version());
    read_frame(&mut stream).unwrap();
    write_frame(&mut stream, &[4]).unwrap();
    assert!(!matches!(read_frame(&mut stream), Ok(Some(_))), "a request that ends too early");
    house.reconnect();
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
}

fn a_request_of_a_later_version_is_refused_and_harms_nothing() {
    let mut house = House::new();
    let mut stream = raw(&house, version());
    read_frame(&mut stream).unwrap();
    write_frame(&mut stream, &[99, 1, 2, 3]).unwrap();
    let said = Event::decode(&read_frame(&mut stream).unwrap().unwrap()).unwrap();
    assert_eq!(said, Event::Refused { key: None, why: Refusal::NotUnderstood });
    write_frame(&mut stream, &[&Request::List.encode()[..], b"and more"].concat()).unwrap();
    let said = Event::decode(&read_frame(&mut stream).unwrap().unwrap()).unwrap();
    assert!(matches!(said, Event::Listed { live: 0, ended: 0, .. }), "{said:?}");
    house.reconnect();
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0));
}

fn an_oversized_request_is_refused_before_it_is_sent() {
    let mut house = House::new();
    let mut start = house.script("a", "exit 0");
    start.env.push(("BIG".into(), "x".repeat(8 << 20).into()));
    assert!(house.client.send(&Request::Start(Box::new(start))).is_err());
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0), "the connection is still good");
}

fn many_bytes_of_environment_pass() {
    let mut house = House::new();
    let mut start = house.script("a", "echo ${#V9}");
    start.env.extend((0..10).map(|i| (format!("V{i}").into(), "x".repeat(100_000).into())));
    house.start(start);
    assert_eq!(house.exited("a").exit, code(0));
    assert_eq!(house.output("a"), "100000\n");
    assert!(matches!(house.list().1, Event::Listed { live: 0, ended: 1, .. }));
    let pid = house.client.pid();
    assert!(is_alive(pid));
    house.client.send(&Request::Shutdown(bowline_supervisor::wire::ShutdownMode::WhenIdle)).unwrap();
    wait_until("it has left", || !is_alive(pid));
    assert!(house.client.receive(Some(Duration::from_secs(1))).is_err());
}
