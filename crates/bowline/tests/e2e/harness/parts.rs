//! Server and worker as processes of their own, each to be killed, stopped and started by itself, unlike
//! those of an `up`.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bowline_api::ConnectionState;
use bowline_client::Client;
use rustix::process::{Pid, Signal, kill_process};

use super::{Room, until};

/// A process of the room, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    process: Child,
}

/// A server that is ready.
#[derive(Debug)]
pub(crate) struct ServerPart {
    /// Its process.
    pub(crate) part: Part,
    /// `http://HOST:PORT`.
    pub(crate) url: String,
    /// Its administrator's token.
    pub(crate) token_file: PathBuf,
}

impl Part {
    /// Starts a command of a room; its standard error goes to `NAME.stderr` in the room's folder.
    pub(crate) fn start(room: &Room, name: &str, mut command: Command) -> Self {
        let stderr =
            std::fs::File::options().create(true).append(true).open(room.path().join(format!("{name}.stderr")));
        Self { process: command.stderr(stderr.unwrap()).spawn().unwrap() }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits for its end; its exit status.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let mut status = None;
        until("the process has ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Asks it to stop, and waits for its end; its exit status.
    pub(crate) fn stop(self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl ServerPart {
    /// Starts a server of this room on that address, and waits until it says that it is ready. `wrap`
    /// stands before the command: a way into another network namespace, or nothing.
    pub(crate) fn start(room: &Room, listen: &str, wrap: &[String]) -> Self {
        Self::begin(room, ("data", listen), wrap, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(room: &Room, listen: &str, wrap: &[String], more: &[&str]) -> Self {
        Self::begin(room, ("data", listen), wrap, more)
    }

    /// The same, with its data in that folder.
    pub(crate) fn start_in(room: &Room, data: &str, listen: &str) -> Self {
        Self::begin(room, (data, listen), &[], &[])
    }

    fn begin(room: &Room, (data, listen): (&str, &str), wrap: &[String], more: &[&str]) -> Self {
        let args = ["server", "start", "--json", "--data", data, "--insecure", "--listen", listen];
        let mut command = wrapped(room, wrap, &[&args, more].concat());
        let mut part = Part::start(room, "server", {
            command.stdout(Stdio::piped());
            command
        });
        let mut line = String::new();
        BufReader::new(part.process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no server ({error}): {line}{}", said(room, "server")));
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self { part, url: text("server"), token_file: text("token_file").into() }
    }

    /// A client with the administrator's token.
    pub(crate) fn client(&self) -> Client {
        client(&self.url, &self.token_file)
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }
}

/// A client of that server.
pub(crate) fn client(url: &str, token_file: &Path) -> Client {
    let token = std::fs::read_to_string(token_file).unwrap();
    Client::new(url, Some(token.trim())).unwrap()
}

/// Starts a worker of this room: its identity is that name, its state lies in the folder `NAME`, unless
/// `more` names another with `--state`.
pub(crate) fn worker(room: &Room, name: &str, server: (&str, &Path), wrap: &[String], more: &[&str]) -> Part {
    let (url, token) = (server.0, server.1.to_str().unwrap());
    let first = ["worker", "start", "--identity", name, "--server", url, "--token-file", token];
    let state = if more.contains(&"--state") { &[][..] } else { &["--state", name] };
    let mut command = wrapped(room, wrap, &[&first, state, more].concat());
    command.stdout(Stdio::null());
    Part::start(room, name, command)
}

/// The binary with these arguments, behind the words of `wrap`.
pub(crate) fn wrapped<S: AsRef<OsStr>>(room: &Room, wrap: &[String], args: &[S]) -> Command {
    let Some((program, before)) = wrap.split_first() else { return room.command(args) };
    let mut command = room.command_of(program.into(), before);
    command.arg(env!("CARGO_BIN_EXE_bowline")).args(args);
    command
}

/// What a part of the room said on its standard error.
pub(crate) fn said(room: &Room, name: &str) -> String {
    std::fs::read_to_string(room.path().join(format!("{name}.stderr"))).unwrap_or_default()
}

/// A runtime on this thread, to ask a client with.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Whether the server says that the worker is there.
pub(crate) fn is_connected(client: &Client, name: &str) -> bool {
    let worker = runtime().block_on(client.worker(name));
    worker.is_ok_and(|worker| worker.connection == ConnectionState::Connected)
}
