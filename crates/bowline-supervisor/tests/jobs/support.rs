//! A supervisor in a temporary folder, and what a test needs to look at it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_supervisor::client::{Error, Supervisor};
use bowline_supervisor::wire::{Event, Exit, Exited, Request, ShutdownMode, Start, StartFailed};
use bowline_supervisor::{Program, Way, boottime};

/// A test and its name.
pub(crate) type Test = (&'static str, fn());

/// Nothing here takes longer unless it is broken.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

thread_local! {
    /// What this thread's supervisors may use.
    pub(crate) static STRONGEST: Cell<Way> = const { Cell::new(Way::Cgroup) };
}

/// Names the tests of a module.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::support::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use tests;

/// A supervisor of this test's own. Told to stop its jobs when it goes.
pub(crate) struct House {
    dir: tempfile::TempDir,
    state: PathBuf,
    pub(crate) client: Supervisor,
    /// Events that nobody has asked for yet.
    unread: VecDeque<Event>,
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        Self::at(dir, state)
    }

    pub(crate) fn at(dir: tempfile::TempDir, state: PathBuf) -> Self {
        let client = connect(&state);
        Self { dir, state, client, unread: VecDeque::new() }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// Where its supervisor keeps its own.
    pub(crate) fn folder(&self) -> PathBuf {
        bowline_supervisor::own_folder(&self.state)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new connection, to a new supervisor where the old one is gone.
    pub(crate) fn reconnect(&mut self) {
        self.client = connect(&self.state);
        self.unread.clear();
    }

    /// A shell script as a job, with this program's PATH.
    pub(crate) fn script(&self, key: &str, script: &str) -> Start {
        let mut start = self.command(key, &["/bin/sh", "-c", script]);
        start.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        start
    }

    pub(crate) fn command(&self, key: &str, argv: &[&str]) -> Start {
        let argv = argv.iter().map(Into::into).collect();
        Start::new(key, argv, self.dir.path().to_owned(), self.path(&format!("out-{key}")))
    }

    pub(crate) fn start(&self, start: Start) {
        self.client.send(&Request::Start(Box::new(start))).unwrap();
    }

    /// Starts a script and waits until it runs.
    pub(crate) fn run(&mut self, key: &str, script: &str) -> u32 {
        self.start(self.script(key, script));
        self.started(key)
    }

    pub(crate) fn kill(&self, key: &str, grace: Duration) {
        self.client.send(&Request::Kill { key: key.into(), grace }).unwrap();
    }

    pub(crate) fn output(&self, key: &str) -> String {
        fs::read_to_string(self.path(&format!("out-{key}"))).unwrap()
    }

    /// The next event that fits; others wait for whoever asks for them.
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let give_up_at = boottime() + BOUND;
        for at in 0..self.unread.len() {
            if let Some(found) = fits(&self.unread[at]) {
                self.unread.remove(at);
                return found;
            }
        }
        loop {
            let left = give_up_at.checked_sub(boottime()).unwrap_or_else(|| panic!("no {what}; {:?}", self.unread));
            if let Some(event) = self.client.receive(Some(left)).unwrap() {
                match fits(&event) {
                    Some(found) => return found,
                    None => self.unread.push_back(event),
                }
            }
        }
    }

    pub(crate) fn started(&mut self, key: &str) -> u32 {
        self.wait_for(&format!("start of {key}"), |event| match event {
            Event::Started { key: of, pid, .. } if of == key => Some(*pid),
            Event::StartFailed(failed) if failed.key == key => panic!("{failed:?}"),
            _ => None,
        })
    }

    pub(crate) fn exited(&mut self, key: &str) -> Exited {
        self.wait_for(&format!("end of {key}"), |event| match event {
            Event::Exited(exited) if exited.key == key => Some(exited.clone()),
            Event::StartFailed(failed) if failed.key == key => panic!("{failed:?}"),
            _ => None,
        })
    }

    pub(crate) fn start_failed(&mut self, key: &str) -> StartFailed {
        self.wait_for(&format!("failed start of {key}"), |event| match event {
            Event::StartFailed(failed) if failed.key == key => Some(failed.clone()),
            Event::Exited(exited) if exited.key == key => panic!("{exited:?}"),
            _ => None,
        })
    }

    /// What `List` says, without the last word.
    pub(crate) fn list(&mut self) -> (Vec<Event>, Event) {
        self.client.send(&Request::List).unwrap();
        let mut events = Vec::new();
        loop {
            match self.client.receive(Some(BOUND)).unwrap().unwrap() {
                last @ Event::Listed { .. } => return (events, last),
                event => events.push(event),
            }
        }
    }

    pub(crate) fn run_to_end(&mut self, key: &str, script: &str) -> Exited {
        self.start(self.script(key, script));
        self.exited(key)
    }

    /// The living processes of this house's jobs.
    pub(crate) fn processes(&self) -> Vec<u32> {
        processes_in(self.dir.path())
    }

    /// KILL for the supervisor itself; returns when it is gone.
    pub(crate) fn kill_supervisor(&self) {
        let pid = self.client.pid();
        signal(pid, rustix::process::Signal::KILL);
        wait_until("the supervisor is gone", || !is_alive(pid));
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let client = Supervisor::connect(&bowline_supervisor::socket_path(&self.state), BOUND);
        if let Ok(client) = client
            && client.send(&Request::Shutdown(ShutdownMode::StopJobs)).is_ok()
        {
            wait_until("the supervisor has left", || !is_alive(client.pid()));
        }
        // One that was killed left something behind.
        bowline_supervisor::sweep_leftovers(&self.state).ok();
    }
}

fn connect(state: &Path) -> Supervisor {
    if STRONGEST.get() != Way::Cgroup {
        // A second one would wait for the first one's end, and outlive the test.
        if let Ok(supervisor) = Supervisor::connect(&bowline_supervisor::socket_path(state), BOUND) {
            return supervisor;
        }
        let mut command = std::process::Command::new("/proc/self/exe");
        command.args(["supervisor", "--detach", "--no-stronger-than", STRONGEST.get().name(), "--state"]).arg(state);
        assert!(command.status().unwrap().success());
        // It may take a moment; nothing else may be started meanwhile.
        let mut connected = None;
        wait_until("the supervisor listens", || {
            connected = Supervisor::connect(&bowline_supervisor::socket_path(state), BOUND).ok();
            connected.is_some()
        });
        return connected.unwrap();
    }
    match Supervisor::ensure(&Program::new("/proc/self/exe", state), BOUND) {
        Ok(client) => client,
        Err(error @ Error::Unreachable { .. }) => {
            panic!(
                "{error}: {error:?}; its log: {:?}",
                fs::read_to_string(bowline_supervisor::own_folder(state).join("log"))
            )
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

pub(crate) fn code(code: i32) -> Exit {
    Exit::Code(code)
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|fields| !fields.starts_with(['Z', 'X'])))
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up_at = boottime() + BOUND;
    while !is_so() {
        assert!(boottime() < give_up_at, "never: {what}");
        rustix::event::poll(&mut [], Some(&LOOK_EVERY.try_into().unwrap())).ok();
    }
}

/// Waits until a job has written a process's number there. Tells the number that the process has here, where the
/// job is in a PID namespace; one that nobody has, where it is gone.
pub(crate) fn pid_in(path: &Path) -> u32 {
    let inner = number_in(path);
    if STRONGEST.get() != Way::Namespace {
        return inner;
    }
    let mut here = processes_in(path.parent().unwrap()).into_iter();
    here.find(|pid| inner_pid(*pid) == Some(inner)).unwrap_or(u32::MAX >> 1)
}

/// Whether this test's jobs are held together in this way: the strongest one that the machine offers and
/// the test allows.
pub(crate) fn is_used(way: Way) -> bool {
    let offers = bowline_supervisor::offers().into_iter();
    let used = offers.filter(|offer| offer.way <= STRONGEST.get() && offer.found.is_ok()).map(|offer| offer.way).next();
    used == Some(way)
}

/// The number that a process has in the innermost namespace that it is in.
fn inner_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}

/// The living processes whose working folder is there: every one that a test's job has started, as long
/// as it stays.
pub(crate) fn processes_in(folder: &Path) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder) && is_alive(*pid))
        .collect()
}

fn number_in(path: &Path) -> u32 {
    let mut found = None;
    wait_until(&format!("a number in {}", path.display()), || {
        found =
            fs::read_to_string(path).ok().filter(|text| text.ends_with('\n')).and_then(|text| text.trim().parse().ok());
        found.is_some()
    });
    found.unwrap()
}
