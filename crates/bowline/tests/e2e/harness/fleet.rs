//! A server that is impatient with its workers, and tasks whose jobs leave marks and wait at a gate.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_api::{Attempt, NewTask, PageQuery, Task, Worker};
use bowline_client::{Client, LogRequest, Write};
use bowline_core::id::TaskRef;
use bowline_core::state::{AttemptEnd, StateKind};
use rustix::process::{Pid, Signal, kill_process};

use super::parts::{Part, ServerPart, is_connected, runtime, worker};
use super::{Room, until};

/// Silence of this length loses an attempt here.
pub(crate) const LOST_AFTER: Duration = Duration::from_secs(2);
const IMPATIENT: [&str; 10] = [
    "--heartbeat",
    "200ms",
    "--suspect-after",
    "700ms",
    "--lost-after",
    "2s",
    "--take-over-grace",
    "1s",
    "--aside-for",
    "1h",
];

/// An impatient server, with a client of it.
pub(crate) struct Fleet {
    pub(crate) room: Room,
    pub(crate) server: ServerPart,
    pub(crate) client: Client,
}

impl Fleet {
    /// A new one.
    pub(crate) fn new() -> Self {
        let room = Room::new();
        let server = ServerPart::start_with(&room, "127.0.0.1:0", &[], &IMPATIENT);
        let client = server.client();
        Self { room, server, client }
    }

    /// Starts a worker under that name, its state in the folder of the same name, and waits for it.
    pub(crate) fn worker(&self, name: &str, more: &[&str]) -> Part {
        let part = worker(&self.room, name, (&self.server.url, &self.server.token_file), &[], more);
        until("the worker is connected", || is_connected(&self.client, name));
        part
    }

    /// Starts a worker with these arguments; its standard error goes to `said.stderr`.
    pub(crate) fn start(&self, said: &str, args: &[&str]) -> Part {
        let token = self.server.token_file.to_str().unwrap();
        let first = ["worker", "start", "--server", &self.server.url, "--token-file", token];
        // What is said last stands.
        let mut command = self.room.command(&[&first, args].concat());
        command.stdout(std::process::Stdio::null());
        Part::start(&self.room, said, command)
    }

    /// A gate: it is open when the file is there.
    pub(crate) fn gate(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// A job that leaves a mark when it begins and when it ends, and waits in between for the gate.
    pub(crate) fn gated(&self, gate: &Path) -> NewTask {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let env = [("MARKS", text(&self.room.work().join("marks"))), ("GATE", text(gate))];
        NewTask {
            shell: Some(
                "echo begun >>\"$MARKS\"\nuntil test -e \"$GATE\"; do sleep 0.05; done\necho ended >>\"$MARKS\"\n"
                    .to_owned(),
            ),
            env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
            ..NewTask::default()
        }
    }

    /// How many jobs have left this mark.
    pub(crate) fn marks(&self, what: &str) -> usize {
        let marks = std::fs::read_to_string(self.room.work().join("marks")).unwrap_or_default();
        marks.lines().filter(|line| *line == what).count()
    }

    pub(crate) fn submit(&self, task: &NewTask) -> TaskRef {
        runtime().block_on(self.client.submit(task, &Write::default())).unwrap().ids[0]
    }

    pub(crate) fn task(&self, id: TaskRef) -> Task {
        runtime().block_on(self.client.task(id)).unwrap()
    }

    pub(crate) fn attempts(&self, id: TaskRef) -> Vec<Attempt> {
        runtime().block_on(self.client.attempts(id)).unwrap().items
    }

    /// How each of its attempts ended, in order.
    pub(crate) fn ends(&self, id: TaskRef) -> Vec<Option<AttemptEnd>> {
        self.attempts(id).into_iter().map(|attempt| attempt.end).collect()
    }

    /// What happened to it, in order.
    pub(crate) fn history(&self, id: TaskRef) -> Vec<String> {
        let page = PageQuery { limit: Some(1_000), ..PageQuery::default() };
        let lines = runtime().block_on(self.client.history(id, &page)).unwrap().items;
        lines.into_iter().map(|line| line.what).collect()
    }

    /// The log of its newest attempt, as it is now.
    pub(crate) fn log(&self, id: TaskRef) -> String {
        let mut log = self.client.log(LogRequest::new(id));
        let mut text = Vec::new();
        runtime().block_on(async {
            while let Some(bytes) = log.next().await.unwrap() {
                text.extend_from_slice(&bytes);
            }
        });
        String::from_utf8(text).unwrap()
    }

    /// Why it is where it is: the names of the reasons.
    pub(crate) fn reasons(&self, id: TaskRef) -> Vec<String> {
        let explained = runtime().block_on(self.client.explain(id)).unwrap();
        explained.reasons.into_iter().map(|reason| reason.reason).collect()
    }

    pub(crate) fn is(&self, id: TaskRef, state: StateKind) {
        until(&format!("task {id} is {state}"), || self.task(id).state == state);
    }

    /// Waits for its end, and wants this one.
    pub(crate) fn ends_as(&self, id: TaskRef, state: StateKind) -> Task {
        until(&format!("task {id} has ended"), || self.task(id).state.is_ended());
        let task = self.task(id);
        assert_eq!(task.state, state, "{task:#?}\n{:#?}", self.attempts(id));
        task
    }

    pub(crate) fn show(&self, name: &str) -> Worker {
        runtime().block_on(self.client.worker(name)).unwrap()
    }

    pub(crate) fn is_connected(&self, name: &str) -> bool {
        is_connected(&self.client, name)
    }

    /// The supervisor of the state folder.
    pub(crate) fn supervisor(&self, state: &str) -> Option<Pid> {
        let words = format!(" supervisor --state {}/supervisor ", self.room.work().join(state).display());
        let processes = self.room.processes();
        processes.into_iter().find(|(_, line)| line.contains(&words)).and_then(|(pid, _)| Pid::from_raw(pid))
    }

    /// Kills a worker and its supervisor, as a power cut does; the jobs die with them.
    pub(crate) fn destroy(&self, part: Part, state: &str) {
        part.kill();
        if let Some(supervisor) = self.supervisor(state) {
            kill_process(supervisor, Signal::KILL).ok();
        }
        until("its supervisor is gone", || self.supervisor(state).is_none());
    }

    /// Stops what was started, in order.
    pub(crate) fn over(self, workers: Vec<Part>) {
        for worker in workers {
            assert_eq!(worker.stop(), Some(0));
        }
        assert_eq!(self.server.part.stop(), Some(0));
    }
}
