//! What a server says of its tasks: asked by tests that start, stop and kill its parts themselves.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bowline_api::{NewTask, PageQuery, Task};
use bowline_client::{Client, Write};
use bowline_core::id::TaskRef;
use bowline_core::state::StateKind;

use super::parts::{ServerPart, is_connected, runtime};
use super::{Room, until};

/// A server's tasks, as it tells of them.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) token_file: PathBuf,
}

impl Work {
    /// Of that server.
    pub(crate) fn of(server: &ServerPart) -> Self {
        Self { client: server.client(), url: server.url.clone(), token_file: server.token_file.clone() }
    }

    pub(crate) fn submit(&self, tasks: Vec<NewTask>) -> Vec<TaskRef> {
        runtime().block_on(self.client.submit_many(tasks, &Write::default())).unwrap().ids
    }

    pub(crate) fn one(&self, task: NewTask) -> TaskRef {
        self.submit(vec![task])[0]
    }

    pub(crate) fn task(&self, id: TaskRef) -> Task {
        runtime().block_on(self.client.task(id)).unwrap()
    }

    pub(crate) fn until_connected(&self, worker: &str) {
        until("the worker is connected", || is_connected(&self.client, worker));
    }

    /// Waits for a state, through restarts of the server too.
    pub(crate) fn until_state(&self, id: TaskRef, state: StateKind) {
        let mut seen = None;
        until(&format!("task {id} is {state}; it is {seen:?}"), || {
            seen = runtime().block_on(self.client.task(id)).ok().map(|task| task.state);
            seen == Some(state)
        });
    }

    /// All its attempts.
    pub(crate) fn attempts(&self, id: TaskRef) -> usize {
        runtime().block_on(self.client.attempts(id)).unwrap().items.len()
    }

    /// Attempts whose job began.
    pub(crate) fn begun(&self, id: TaskRef) -> usize {
        let attempts = runtime().block_on(self.client.attempts(id)).unwrap().items;
        attempts.iter().filter(|attempt| attempt.started_at.is_some()).count()
    }

    /// The words of its history.
    pub(crate) fn history(&self, id: TaskRef) -> Vec<String> {
        let page = runtime().block_on(self.client.history(id, &PageQuery::default())).unwrap();
        page.items.into_iter().map(|line| line.what).collect()
    }

    pub(crate) fn log(&self, room: &Room, id: TaskRef) -> String {
        self.good(room, &["logs", &id.to_string()])
    }

    /// A command to this server, which ends well.
    pub(crate) fn good(&self, room: &Room, args: &[&str]) -> String {
        let to = ["--server", &self.url, "--token-file", self.token_file.to_str().unwrap()];
        room.good(&[args, &to].concat())
    }

    /// What `worker show` says.
    pub(crate) fn worker(&self, room: &Room, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.good(room, &["worker", "show", name, "--json"])).unwrap()
    }

    /// Every one of these left the marks `NAME begun` and `NAME ended` once, and nobody else did.
    #[expect(clippy::unused_self, reason = "it is asked of the work, beside all else that is")]
    pub(crate) fn done_once(&self, marks: &Path, names: impl IntoIterator<Item = String>) {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for line in std::fs::read_to_string(marks).unwrap().lines() {
            *seen.entry(line.to_owned()).or_default() += 1;
        }
        for name in names {
            for what in ["begun", "ended"] {
                assert_eq!(seen.remove(&format!("{name} {what}")), Some(1), "`{name}` {what}, and once");
            }
        }
        assert!(seen.is_empty(), "executions that nobody asked for: {seen:?}");
    }

    /// Ends the server, and the supervisor that a worker of the state folder `w` may have left.
    #[expect(clippy::unused_self, reason = "it ends the work, beside all else that is asked of it")]
    pub(crate) fn over(&self, room: &Room, server: ServerPart) {
        room.stop_supervisor("w");
        assert_eq!(server.part.stop(), Some(0));
    }
}

/// How many messages wait in the outbox of the worker of a state folder. The worker alone may open its journal, so a
/// copy is looked at.
pub(crate) fn waiting_in_outbox(room: &Room, state: &str) -> i64 {
    in_journal(room, state, "SELECT count(*) FROM message")
}

/// What a query of one number says in a copy of a worker's journal; -1 where it was copied in the middle of something.
pub(crate) fn in_journal(room: &Room, state: &str, sql: &str) -> i64 {
    let looked = tempfile::tempdir_in(room.path()).unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(room.work().join(state).join(name), looked.path().join(name)).ok();
    }
    let journal = rusqlite::Connection::open(looked.path().join("journal.db"));
    journal.and_then(|journal| journal.query_row(sql, [], |row| row.get(0))).unwrap_or(-1)
}
