//! What every end-to-end test stands on: a room of its own (folder, runtime files, state, home), the
//! binary called in it, an `up` on a free port, bounded waiting, and at the end the check that nothing
//! that was started is left running.
//!
//! A [`Room`] marks every process that it starts by a variable in its environment and by its folder;
//! whatever carries either when the room is dropped is a failure of the test, and is killed.

#![expect(clippy::disallowed_methods, reason = "tests start the binary, read the clock and wait with a bound")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

pub(crate) mod fleet;
pub(crate) mod hung;
pub(crate) mod net;
pub(crate) mod netns;
pub(crate) mod parts;
pub(crate) mod small;
pub(crate) mod worked;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Nothing in these tests takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// The variable by which a room's processes are known. It is handed down to server and worker.
const MARK: &str = "BOWLINE_TEST_ROOM";

/// A folder of its own for one test, in which nothing of the user's is seen.
#[derive(Debug)]
pub(crate) struct Room {
    folder: Option<TempDir>,
}

/// An `up` that is ready.
#[derive(Debug)]
pub(crate) struct Up {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Its administrator's token.
    pub(crate) token_file: PathBuf,
    process: Child,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit status; a signal is `None`.
    pub(crate) status: Option<i32>,
    /// What it said.
    pub(crate) stdout: String,
    /// And on the other side.
    pub(crate) stderr: String,
}

impl Room {
    /// A new one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("bowline-e2e-").tempdir().unwrap();
        for name in ["run", "home", "tmp", "work"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder: Some(folder) }
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().expect("only dropping takes it").path()
    }

    /// Where commands are run.
    pub(crate) fn work(&self) -> PathBuf {
        self.path().join("work")
    }

    /// Writes a file into the folder where commands are run.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary with these arguments, in this room.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_bowline").into(), args)
    }

    /// Any program with these arguments, in this room.
    pub(crate) fn command_of<S: AsRef<OsStr>>(&self, program: OsString, args: &[S]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("TMPDIR", self.path().join("tmp"))
            .env(MARK, self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Ran {
        finish(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(), &format!("{args:?}"))
    }

    /// Runs it, and wants it to end well; what it said.
    pub(crate) fn good<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status, Some(0), "{args:?}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Runs it, wants it to end well, and reads what it said as one JSON document.
    pub(crate) fn json<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> serde_json::Value {
        let text = self.good(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?} said no JSON ({error}): {text}"))
    }

    /// Starts `up` on a free port, and waits until it is ready.
    pub(crate) fn up(&self, more: &[&str]) -> Up {
        let args = [&["up", "--listen", "127.0.0.1:0", "--json"], more].concat();
        let stderr = std::fs::File::create(self.path().join("up.stderr")).unwrap();
        let mut process = self.command(&args).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(sender.send(line));
            }
        });
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            drop(process.kill());
            panic!("`up` did not get ready: {}", self.stories());
        };
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Up { url: text("server"), token_file: text("token_file").into(), process }
    }

    /// What the room's logs say, for a test that fails.
    pub(crate) fn stories(&self) -> String {
        let mut text = String::new();
        for name in ["up.stderr", "work/.bowline/log/server.log", "work/.bowline/log/worker.log"] {
            let log = std::fs::read_to_string(self.path().join(name)).unwrap_or_default();
            text.extend(["\n--- ", name, "\n", &log]);
        }
        text
    }

    /// The room's processes that still run: their ids and command lines.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let own = self.path().to_string_lossy().into_owned();
        let mark = format!("{MARK}={own}");
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter_map(|pid| {
                let read = |what: &str| {
                    let bytes = std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
                    String::from_utf8_lossy(&bytes).replace('\0', " ")
                };
                let line = read("cmdline");
                // Jobs have an environment of their own, and a folder below the room's.
                let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
                let is_own = line.contains(&own) || read("environ").contains(&mark) || folder.starts_with(self.path());
                let lives = !read("stat").rsplit(')').next()?.trim_start().starts_with(['Z', 'X']);
                (is_own && lives).then_some((pid, line))
            })
            .collect()
    }

    /// Asks the supervisor of a worker's state directory to stop: it stays for a while after its worker.
    pub(crate) fn stop_supervisor(&self, state: &str) {
        let words = format!(" supervisor --state {}/supervisor ", self.work().join(state).display());
        for (pid, _) in self.processes().iter().filter(|(_, line)| line.contains(&words)) {
            rustix::process::kill_process(Pid::from_raw(*pid).unwrap(), Signal::TERM).ok();
        }
    }

    /// Waits until nothing of the room runs any more.
    pub(crate) fn wait_empty(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut left = self.processes();
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "left running: {left:#?}");
            std::thread::sleep(Duration::from_millis(20));
            left = self.processes();
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut left = self.processes();
        while !left.is_empty() && Instant::now() < deadline && !std::thread::panicking() {
            std::thread::sleep(Duration::from_millis(20));
            left = self.processes();
        }
        for (pid, _) in &left {
            if let Some(pid) = Pid::from_raw(*pid) {
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
        if std::thread::panicking() {
            anstream::eprintln!("{}", self.stories());
            return;
        }
        assert!(left.is_empty(), "left running: {left:#?}{}", self.stories());
    }
}

impl Up {
    /// Asks it to stop, as Ctrl-C does, and waits for its end; its exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::INT);
        self.ended()
    }

    /// Sends a signal to `up` itself.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        until("`up` has ended", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM).ok();
            let deadline = Instant::now() + Duration::from_secs(20);
            while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}

/// The process of the room whose command line holds these words.
pub(crate) fn process_of(room: &Room, words: &str) -> Option<Pid> {
    room.processes().into_iter().find(|(_, line)| line.contains(words)).and_then(|(pid, _)| Pid::from_raw(pid))
}

/// Waits for a condition, with a bound.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a command's end, with a bound.
pub(crate) fn finish(mut child: Child, what: &str) -> Ran {
    let collect = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                drop(pipe.read_to_end(&mut bytes));
            }
            bytes
        })
    };
    let stdout = collect(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = collect(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            let Output { stdout, stderr, .. } = Output {
                status: child.wait().unwrap(),
                stdout: stdout.join().unwrap(),
                stderr: stderr.join().unwrap(),
            };
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            panic!("{what} did not end within {PATIENCE:?}\nstdout: {}\nstderr: {}", text(stdout), text(stderr));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { status: status.code(), stdout: text(stdout.join().unwrap()), stderr: text(stderr.join().unwrap()) }
}
