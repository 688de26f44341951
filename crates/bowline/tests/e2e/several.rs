//! One worker of two servers: slots are shared, and one server's trouble is never the other's.

use bowline_api::NewTask;
use bowline_core::state::StateKind;

use crate::harness::parts::{Part, ServerPart, said, wrapped};
use crate::harness::worked::Work;
use crate::harness::{Room, until};

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

#[test]
fn two_servers_share_the_slots_evenly_and_each_job_knows_its_own() {
    const EACH: usize = 24;
    let room = Room::new();
    let both = Both::new(&room);
    let (first, second) = both.works();
    let process = both.worker(&room, &["--slots", "3"]);
    first.until_connected("w");
    second.until_connected("w");
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
    let (first, second) = both.works();
    let process = both.worker(&room, &["--slots", "2"]);
    first.until_connected("w");
    second.until_connected("w");
    let gate = room.work().join("gate");
    let script = format!("until test -e '{}'; do sleep 0.02; done; echo through", gate.display());
    let waits = first.one(NewTask { shell: Some(script), ..NewTask::default() });
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

#[test]
fn fenced_off_by_one_server_the_worker_serves_the_other_and_by_both_it_ends_with_70() {
    let room = Room::new();
    let both = Both::new(&room);
    let (first, second) = both.works();
    let process = both.worker(&room, &[]);
    first.until_connected("w");
    second.until_connected("w");
    let gate = room.work().join("gate");
    let script = format!("until test -e '{}'; do sleep 0.02; done; echo through", gate.display());
    let runs = second.one(NewTask { shell: Some(script), ..NewTask::default() });
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
