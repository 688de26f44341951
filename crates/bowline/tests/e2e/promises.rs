//! What the documents promise, tried from outside: written by somebody who had read the documents of
//! interface, protocol and model, and not the code of server and worker.

use std::collections::BTreeMap;
use std::path::Path;

use bowline_api::{NewTask, PageQuery, Task, TaskVerbName};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::spec::{OnWorkerLoss, Overlap};
use bowline_core::state::{AttemptEnd, StateKind};
use rustix::process::Signal;

use crate::harness::parts::{Part, ServerPart, is_connected, runtime, said, worker};
use crate::harness::{Room, until};

/// A server and, one after another, workers of it.
struct Fleet {
    server: ServerPart,
    client: Client,
}

impl Fleet {
    fn new(room: &Room) -> Self {
        let server = ServerPart::start(room, "127.0.0.1:0", &[]);
        let client = server.client();
        Self { server, client }
    }

    /// A worker that is connected.
    fn worker(&self, room: &Room, name: &str, more: &[&str]) -> Part {
        let part = self.worker_unseen(room, name, more);
        until("the worker is connected", || is_connected(&self.client, name));
        part
    }

    fn worker_unseen(&self, room: &Room, name: &str, more: &[&str]) -> Part {
        worker(room, name, (&self.server.url, &self.server.token_file), &[], more)
    }

    fn submit(&self, tasks: Vec<NewTask>) -> Vec<TaskRef> {
        runtime().block_on(self.client.submit_many(tasks, &Write::default())).unwrap().ids
    }

    fn one(&self, task: NewTask) -> TaskRef {
        self.submit(vec![task])[0]
    }

    fn task(&self, id: TaskRef) -> Task {
        runtime().block_on(self.client.task(id)).unwrap()
    }

    fn is_in(&self, id: TaskRef, state: StateKind) {
        until(&format!("task {id} is {state}"), || self.task(id).state == state);
    }

    /// The words of its history.
    fn history(&self, id: TaskRef) -> Vec<String> {
        let page = runtime().block_on(self.client.history(id, &PageQuery::default())).unwrap();
        page.items.into_iter().map(|line| line.what).collect()
    }

    /// Attempts whose job began.
    fn begun(&self, id: TaskRef) -> usize {
        let attempts = runtime().block_on(self.client.attempts(id)).unwrap().items;
        attempts.iter().filter(|attempt| attempt.started_at.is_some()).count()
    }

    fn log(&self, room: &Room, id: TaskRef) -> String {
        let token = self.server.token_file.to_str().unwrap();
        room.good(&["logs", &id.to_string(), "--server", &self.server.url, "--token-file", token])
    }

    fn over(self) {
        assert_eq!(self.server.part.stop(), Some(0));
    }
}

fn shell(name: &str, script: String) -> NewTask {
    NewTask { name: Some(name.to_owned()), shell: Some(script), ..NewTask::default() }
}

/// Waits for a file, as a job.
fn wait_for(gate: &Path) -> String {
    format!("until test -e '{}'; do sleep 0.02; done", gate.display())
}

fn lines(room: &Room, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(room.path().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Ends a worker whose supervisor stays behind: nobody is left of it after that.
fn clear(room: &Room, state: &str) {
    room.stop_supervisor(state);
}

#[test]
fn a_killed_workers_jobs_run_on_and_their_output_has_no_gap_and_no_repeat() {
    const LINES: usize = 150;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let mut worker = fleet.worker(&room, "w", &[]);
    let count = format!("i=1; while [ $i -le {LINES} ]; do echo line $i; i=$((i+1)); sleep 0.02; done");
    let id = fleet.one(shell("counts", count));
    fleet.is_in(id, StateKind::Running);
    for part in 1..=3 {
        until("it has said more", || fleet.log(&room, id).lines().count() > part * 20);
        worker.kill();
        worker = fleet.worker_unseen(&room, "w", &[]);
    }
    fleet.is_in(id, StateKind::Succeeded);
    let expected = (1..=LINES).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n") + "\n";
    until("the whole log is there", || fleet.log(&room, id).len() >= expected.len());
    assert_eq!(fleet.log(&room, id), expected);
    assert_eq!(fleet.task(id).attempt, 1, "{}", said(&room, "w"));
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}

#[test]
fn handed_over_under_load_not_one_attempt_is_begun_again() {
    const TASKS: usize = 60;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let more = ["--slots", "4", "--on-term", "handoff"];
    let mut worker = fleet.worker(&room, "w", &more);
    let marks = room.path().join("marks");
    let job = |number| shell(&format!("{number}"), format!("echo {number} >>'{}'; sleep 0.1", marks.display()));
    let ids = fleet.submit((0..TASKS).map(job).collect());
    for part in 1..=4 {
        until("more have begun", || lines(&room, "marks").len() > part * 9);
        assert_eq!(worker.stop(), Some(0), "a handoff ends at once, and well");
        worker = fleet.worker_unseen(&room, "w", &more);
    }
    for id in &ids {
        fleet.is_in(*id, StateKind::Succeeded);
        assert_eq!(fleet.begun(*id), 1, "task {id}: {:?}", fleet.history(*id));
    }
    let mut begun = lines(&room, "marks");
    begun.sort_unstable();
    let mut expected: Vec<String> = (0..TASKS).map(|number| number.to_string()).collect();
    expected.sort_unstable();
    assert_eq!(begun, expected);
    worker.kill();
    clear(&room, "w");
    fleet.over();
}

#[test]
fn a_second_process_of_an_identity_wins_and_the_older_ends_with_70() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let older = fleet.worker(&room, "w", &[]);
    let before = runtime().block_on(fleet.client.worker("w")).unwrap().incarnation;
    // A copied state folder: the key goes with it, what the older one holds does not.
    std::fs::create_dir(room.work().join("copy")).unwrap();
    std::fs::copy(room.work().join("w/key"), room.work().join("copy/key")).unwrap();
    let newer = fleet.worker_unseen(&room, "w", &["--state", "copy"]);
    assert_eq!(older.ended(), Some(70), "{}", said(&room, "w"));
    until("the newer one is connected", || {
        let worker = runtime().block_on(fleet.client.worker("w")).unwrap();
        is_connected(&fleet.client, "w") && worker.incarnation > before
    });
    let id = fleet.one(shell("works", "true".to_owned()));
    fleet.is_in(id, StateKind::Succeeded);
    assert_eq!(newer.stop(), Some(0));
    clear(&room, "w");
    clear(&room, "copy");
    fleet.over();
}

#[test]
fn what_is_given_back_keeps_its_place_before_all_who_came_later() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let more = ["--slots", "1", "--on-term", "release"];
    let worker = fleet.worker(&room, "w", &more);
    let (gate, order) = (room.path().join("gate"), room.path().join("order"));
    let job = |name: &str| shell(name, format!("echo {name} >>'{}'; {}", order.display(), wait_for(&gate)));
    let ids = fleet.submit(["first", "second", "third"].map(job).into());
    fleet.is_in(ids[0], StateKind::Running);
    let ticket = fleet.task(ids[0]).ticket;
    assert_eq!(worker.stop(), Some(0));
    assert_eq!((fleet.task(ids[0]).state, fleet.task(ids[0]).ticket), (StateKind::Ready, ticket));
    let late = fleet.one(job("late"));
    std::fs::write(&gate, "").unwrap();
    let worker = fleet.worker(&room, "w", &more);
    fleet.is_in(late, StateKind::Succeeded);
    assert_eq!(lines(&room, "order"), ["first", "first", "second", "third", "late"]);
    let ends = runtime().block_on(fleet.client.attempts(ids[0])).unwrap().items;
    let ends: Vec<_> = ends.iter().map(|attempt| attempt.end.unwrap()).collect();
    assert_eq!(ends, [AttemptEnd::Released, AttemptEnd::Succeeded]);
    assert_eq!(worker.stop(), Some(0));
    fleet.over();
}

#[test]
fn given_back_after_it_began_what_must_not_rerun_is_in_doubt_until_somebody_says_so() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let more = ["--slots", "1", "--on-term", "release"];
    let worker = fleet.worker(&room, "w", &more);
    let gate = room.path().join("gate");
    let task = NewTask { on_worker_loss: Some(OnWorkerLoss::Fail), ..shell("once", wait_for(&gate)) };
    let id = fleet.one(task);
    fleet.is_in(id, StateKind::Running);
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(fleet.task(id).state, StateKind::InDoubt, "{:?}", fleet.history(id));
    // The next worker is not given it.
    let worker = fleet.worker(&room, "w", &more);
    let other = fleet.one(shell("other", "true".to_owned()));
    fleet.is_in(other, StateKind::Succeeded);
    assert_eq!((fleet.task(id).state, fleet.begun(id)), (StateKind::InDoubt, 1));
    std::fs::write(&gate, "").unwrap();
    runtime().block_on(fleet.client.task_verb(id, TaskVerbName::Retry, None)).unwrap();
    fleet.is_in(id, StateKind::Succeeded);
    assert_eq!(fleet.task(id).round, 1, "a retry from `in_doubt` stays in its round");
    assert_eq!(worker.stop(), Some(0));
    fleet.over();
}

#[test]
fn cancel_and_success_exclude_each_other() {
    const TASKS: usize = 120;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let worker = fleet.worker(&room, "w", &["--slots", "8"]);
    let ids = fleet.submit((0..TASKS).map(|number| shell(&format!("{number}"), "sleep 0.05".to_owned())).collect());
    // Each at another moment of its life: in line, on its way, running, just over.
    let mut refused = 0;
    for id in &ids {
        let cancelled = runtime().block_on(fleet.client.task_verb(*id, TaskVerbName::Cancel, None));
        refused += usize::from(cancelled.is_err());
    }
    let mut good = 0;
    for id in &ids {
        until("the task has ended", || fleet.task(*id).state.is_ended());
        let state = fleet.task(*id).state;
        let ends: Vec<String> = fleet.history(*id).into_iter().filter(|what| is_end(what)).collect();
        assert_eq!(ends, [state.name()], "task {id} has one end");
        assert!(matches!(state, StateKind::Cancelled | StateKind::Succeeded), "task {id}: {state}");
        good += usize::from(state == StateKind::Succeeded);
    }
    assert!(refused <= good, "a cancel is refused only where the task had ended: {refused} refused, {good} succeeded");
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}

fn is_end(what: &str) -> bool {
    StateKind::parse(what).is_some_and(StateKind::is_ended)
}

#[test]
fn sixty_jobs_that_hide_and_do_not_listen_are_cancelled_and_leave_nothing() {
    const TASKS: usize = 60;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let worker = fleet.worker(&room, "w", &["--slots", "60", "--on-term", "release"]);
    // Twice forked, in a session of its own, deaf to TERM, its parents gone.
    let hidden =
        "trap '' TERM; (setsid sh -c \"trap '' TERM HUP; (sleep 611 & sleep 612) &\" &) ; echo begun; sleep 613; true";
    let job =
        |number| NewTask { grace: Some("300ms".parse().unwrap()), ..shell(&format!("{number}"), hidden.to_owned()) };
    let ids = fleet.submit((0..TASKS).map(job).collect());
    let sleeps = || room.processes().iter().filter(|(_, line)| line.starts_with("sleep 61")).count();
    until("all hide", || sleeps() == 3 * TASKS);
    for id in &ids {
        runtime().block_on(fleet.client.task_verb(*id, TaskVerbName::Cancel, None)).unwrap();
    }
    for id in &ids {
        fleet.is_in(*id, StateKind::Cancelled);
    }
    // A task ends only when no process of its job is left.
    assert_eq!(sleeps(), 0);
    assert_eq!(worker.stop(), Some(0));
    fleet.over();
}

#[test]
fn results_of_a_time_without_server_arrive_even_if_the_worker_dies_meanwhile() {
    const TASKS: usize = 40;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let more = ["--slots", "8"];
    let worker = fleet.worker(&room, "w", &more);
    let (gate, marks) = (room.path().join("gate"), room.path().join("marks"));
    let job = |number| {
        let script = format!(
            "{}; echo number={number} >\"$BOWLINE_OUTPUT\"; echo said {number}; echo {number} >>'{}'",
            wait_for(&gate),
            marks.display()
        );
        shell(&format!("{number}"), script)
    };
    let ids: Vec<TaskRef> = fleet.submit((0..TASKS).map(job).collect());
    until("eight run", || ids.iter().filter(|id| fleet.task(**id).state == StateKind::Running).count() == 8);
    let Fleet { server, .. } = fleet;
    let address = server.address().to_owned();
    server.part.kill();
    std::fs::write(&gate, "").unwrap();
    until("what ran has ended", || lines(&room, "marks").len() >= 8);
    worker.kill();
    let worker = self::worker(&room, "w", (&server.url, &server.token_file), &[], &more);
    let server = ServerPart::start(&room, &address, &[]);
    let client = server.client();
    let fleet = Fleet { server, client };
    for (number, id) in ids.iter().enumerate() {
        fleet.is_in(*id, StateKind::Succeeded);
        let result = fleet.task(*id).result.unwrap();
        assert_eq!(result, serde_json::json!({"number": number.to_string()}));
        assert_eq!(fleet.begun(*id), 1, "task {id}: {:?}", fleet.history(*id));
    }
    let mut marks: Vec<usize> = lines(&room, "marks").iter().map(|line| line.parse().unwrap()).collect();
    marks.sort_unstable();
    assert_eq!(marks, (0..TASKS).collect::<Vec<_>>());
    until("a log of that time is there", || fleet.log(&room, ids[0]) == "said 0\n");
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}

#[test]
fn worker_and_supervisor_killed_together_leave_nothing_when_the_next_worker_works() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let worker = fleet.worker(&room, "w", &["--slots", "2"]);
    let marks = room.path().join("marks");
    let script = format!(
        "echo \"$BOWLINE_ATTEMPT begun $(cat '{0}' 2>/dev/null | wc -l)\" >>'{0}'; setsid sleep 614 & sleep 615",
        marks.display()
    );
    let id = fleet.one(shell("hides", script));
    let sleeps = || room.processes().into_iter().filter(|(_, line)| line.starts_with("sleep 61")).collect::<Vec<_>>();
    until("it hides", || sleeps().len() == 2);
    let before = sleeps();
    let supervisor = crate::harness::process_of(&room, " supervisor --state ").unwrap();
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    worker.kill();
    let worker = fleet.worker(&room, "w", &["--slots", "2"]);
    until("it is begun again", || fleet.task(id).attempt == 2 && lines(&room, "marks").len() == 2);
    let now = sleeps();
    assert!(before.iter().all(|old| !now.contains(old)), "of the first attempt: {before:?}; now: {now:?}");
    runtime().block_on(fleet.client.task_verb(id, TaskVerbName::Cancel, None)).unwrap();
    fleet.is_in(id, StateKind::Cancelled);
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}

#[test]
fn server_and_worker_killed_together_in_either_order_begin_nothing_twice_and_lose_nothing() {
    const ROUNDS: usize = 4;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let mut worker = fleet.worker(&room, "w", &["--slots", "3"]);
    let marks = room.path().join("marks");
    let job = |number: usize| NewTask {
        env: BTreeMap::from([("N".to_owned(), number.to_string())]),
        ..shell(&format!("{number}"), format!("echo $N >>'{}'; sleep 0.0$((N % 7)); exit $((N % 2))", marks.display()))
    };
    let ids = fleet.submit((0..90).map(job).collect());
    let Fleet { mut server, mut client } = fleet;
    let address = server.address().to_owned();
    for round in 1..=ROUNDS {
        until("more have begun", || lines(&room, "marks").len() >= round * 12);
        if round % 2 == 0 {
            server.part.kill();
            worker.kill();
            worker =
                self::worker(&room, "w", (&format!("http://{address}"), &server.token_file), &[], &["--slots", "3"]);
            server = ServerPart::start(&room, &address, &[]);
        } else {
            worker.kill();
            server.part.kill();
            server = ServerPart::start(&room, &address, &[]);
            worker =
                self::worker(&room, "w", (&format!("http://{address}"), &server.token_file), &[], &["--slots", "3"]);
        }
        client = server.client();
    }
    let fleet = Fleet { server, client };
    for (number, id) in ids.iter().enumerate() {
        until("the task has ended", || fleet.task(*id).state.is_ended());
        let expected = if number % 2 == 0 { StateKind::Succeeded } else { StateKind::Failed };
        let task = fleet.task(*id);
        assert_eq!(task.state, expected, "{:?} {:?}", task.outcome, fleet.history(*id));
        assert_eq!(fleet.begun(*id), 1, "task {id}: {:?}", fleet.history(*id));
    }
    assert_eq!(lines(&room, "marks").len(), 90);
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}

#[test]
fn frozen_past_every_limit_and_replaced_meanwhile_the_older_stops_its_job_and_ends_with_70() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let older = fleet.worker(&room, "w", &["--slots", "2"]);
    let gate = room.path().join("gate");
    let script = format!("echo $BOWLINE_ATTEMPT >>'{}'; {}", room.path().join("marks").display(), wait_for(&gate));
    let task = NewTask { lost_after: Some("6s".parse().unwrap()), ..shell("task", script) };
    let id = fleet.one(task);
    until("it has begun", || lines(&room, "marks") == ["1"]);
    older.signal(Signal::STOP);
    std::fs::create_dir(room.work().join("copy")).unwrap();
    std::fs::copy(room.work().join("w/key"), room.work().join("copy/key")).unwrap();
    // It has to wait until what the older one holds is lost; nothing is within 30 s of the server's start.
    let newer = fleet.worker_unseen(&room, "w", &["--state", "copy", "--slots", "2"]);
    until("the newer one has begun it", || lines(&room, "marks") == ["1", "2"]);
    older.signal(Signal::CONT);
    assert_eq!(older.ended(), Some(70), "{}", said(&room, "w"));
    let of_the_first = || {
        room.processes()
            .iter()
            .filter(|(pid, _)| {
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                String::from_utf8_lossy(&environ).contains("BOWLINE_ATTEMPT=1\0")
            })
            .count()
    };
    until("its job is gone", || of_the_first() == 0);
    std::fs::write(&gate, "").unwrap();
    fleet.is_in(id, StateKind::Succeeded);
    assert_eq!((fleet.task(id).attempt, fleet.task(id).losses), (2, 1));
    let ends = fleet.history(id).into_iter().filter(|what| is_end(what)).count();
    assert_eq!(ends, 1);
    assert_eq!(newer.stop(), Some(0));
    clear(&room, "w");
    clear(&room, "copy");
    fleet.over();
}

#[test]
fn what_a_forgotten_worker_had_goes_on_elsewhere_at_once() {
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let gone = fleet.worker(&room, "gone", &["--slots", "1"]);
    let gate = room.path().join("gate");
    let id = fleet.one(NewTask { overlap: Some(Overlap::Forbid), ..shell("task", wait_for(&gate)) });
    fleet.is_in(id, StateKind::Running);
    gone.kill();
    clear(&room, "gone");
    let stays = fleet.worker(&room, "stays", &["--slots", "1"]);
    std::fs::write(&gate, "").unwrap();
    assert_eq!(fleet.task(id).state, StateKind::Running, "silence alone loses nothing that must not overlap");
    let token = fleet.server.token_file.to_str().unwrap();
    room.good(&["worker", "forget", "gone", "--yes", "--server", &fleet.server.url, "--token-file", token]);
    fleet.is_in(id, StateKind::Succeeded);
    assert_eq!((fleet.task(id).worker.as_deref(), fleet.task(id).attempt), (Some("stays"), 2));
    assert_eq!(stays.stop(), Some(0));
    clear(&room, "stays");
    fleet.over();
}

#[test]
fn drained_under_load_a_worker_holds_nothing_and_undrained_it_goes_on_where_it_stopped() {
    const TASKS: usize = 30;
    let room = Room::new();
    let fleet = Fleet::new(&room);
    let worker = fleet.worker(&room, "w", &["--slots", "3"]);
    let (marks, token) = (room.path().join("marks"), fleet.server.token_file.to_str().unwrap().to_owned());
    let job = |number| shell(&format!("{number}"), format!("sleep 0.1; echo {number} >>'{}'", marks.display()));
    let ids = fleet.submit((0..TASKS).map(job).collect());
    let verb = |words: &[&str]| {
        room.good(&[words, &["--server", &fleet.server.url, "--token-file", &token]].concat());
    };
    for part in 1..=2 {
        until("more have ended", || lines(&room, "marks").len() > part * 6);
        verb(&["worker", "drain", "w", "--mode", if part == 1 { "finish" } else { "release" }]);
        until("it holds nothing", || runtime().block_on(fleet.client.worker("w")).unwrap().attempts.is_empty());
        let states: Vec<_> = ids.iter().map(|id| fleet.task(*id).state).collect();
        let in_state = |state| states.iter().filter(|one| **one == state).count();
        let waiting = in_state(StateKind::Ready);
        assert!(waiting > 0, "there is still something to do");
        assert_eq!(waiting + in_state(StateKind::Succeeded), TASKS, "what is not done waits: {states:?}");
        verb(&["worker", "undrain", "w"]);
    }
    for id in &ids {
        fleet.is_in(*id, StateKind::Succeeded);
    }
    let mut ended: Vec<usize> = lines(&room, "marks").iter().map(|line| line.parse().unwrap()).collect();
    ended.sort_unstable();
    // A job that was stopped when it had left its mark leaves another one.
    ended.dedup();
    assert_eq!(ended, (0..TASKS).collect::<Vec<_>>());
    assert_eq!(worker.stop(), Some(0));
    clear(&room, "w");
    fleet.over();
}
