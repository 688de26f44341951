//! The processes under test, as a service manager keeps them: what dies is started again after a moment, what is
//! replaced is started from another program. One thread looks after all of them.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Stopwatch, pause};
use crate::nest::program;

/// The variable by which all processes under test are known.
pub(crate) const MARK: &str = "BOWLINE_CHAOS";
/// How often the keeper looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What has died is started again after so long.
const RESTART_AFTER: Duration = Duration::from_millis(150);
/// What is asked to end has so long.
const END_WITHIN: Duration = Duration::from_mins(1);

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// The process whose network it is in; else that of chaos itself.
    pub(crate) network_of: Option<u32>,
    pub(crate) room: PathBuf,
}

/// A process that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Part(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    spec: Spec,
    child: Option<Child>,
    is_wanted: bool,
    died: Option<Stopwatch>,
    starts: u64,
    /// It ended so by itself: status and signal are in the text.
    ends: Vec<String>,
}

/// Looks after the parts until it is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    parts: Arc<Mutex<Vec<Part>>>,
    over: Arc<AtomicBool>,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        let keeper = Self { parts: Arc::default(), over: Arc::default() };
        let (parts, over) = (Arc::clone(&keeper.parts), Arc::clone(&keeper.over));
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let all = parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                all.iter().for_each(Part::look);
                pause(LOOK_EVERY);
            }
        });
        keeper
    }

    /// Starts a part and keeps it.
    pub(crate) fn keep(&self, spec: Spec) -> Result<Part> {
        let kept = Kept { spec, child: None, is_wanted: true, died: None, starts: 0, ends: Vec::new() };
        let part = Part(Arc::new(Mutex::new(kept)));
        part.with(Kept::start)?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part.clone());
        Ok(part)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for part in self.parts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            part.with(|kept| {
                kept.is_wanted = false;
                kept.kill();
            });
        }
    }
}

impl Part {
    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self) {
        self.with(Kept::look);
    }

    /// Its process, while it has one.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.with(|kept| kept.child.as_ref().map(Pid::from_child))
    }

    pub(crate) fn name(&self) -> String {
        self.with(|kept| kept.spec.name.clone())
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u64 {
        self.with(|kept| kept.starts)
    }

    /// How it ended by itself, each time.
    pub(crate) fn ends(&self) -> Vec<String> {
        self.with(|kept| kept.ends.clone())
    }

    /// Sends a signal. Whether there was somebody.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.pid().is_some_and(|pid| kill_process(pid, signal).is_ok())
    }

    /// Asks it to end, waits for that, and does not start it again. Whoever does not end in time is killed.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.with(|kept| kept.is_wanted = false);
        self.signal(Signal::TERM);
        let watch = Stopwatch::start();
        while self.with(Kept::lives) {
            if watch.elapsed() > END_WITHIN {
                self.with(Kept::kill);
                anyhow::bail!("`{}` did not end within {} s after SIGTERM", self.name(), END_WITHIN.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Starts it again, from what `change` makes of it.
    pub(crate) fn start(&self, change: impl FnOnce(&mut Spec)) -> Result<()> {
        self.with(|kept| {
            ensure!(!kept.lives(), "`{}` runs already", kept.spec.name);
            change(&mut kept.spec);
            kept.is_wanted = true;
            kept.start()
        })
    }
}

impl Kept {
    fn start(&mut self) -> Result<()> {
        let log = self.spec.room.join("said").join(format!("{}.log", self.spec.name));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let mut command = match self.spec.network_of {
            None => program(&self.spec.program.to_string_lossy()),
            Some(pid) => {
                let mut command = program("/usr/bin/nsenter");
                command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--").arg(&self.spec.program);
                command
            }
        };
        command
            .args(&self.spec.args)
            .current_dir(&self.spec.room)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.spec.room.join("home"))
            .env("XDG_RUNTIME_DIR", self.spec.room.join("run"))
            .env("TMPDIR", self.spec.room.join("tmp"))
            .env(MARK, &self.spec.room)
            .envs(self.spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing the log")?)
            .stderr(log)
            .process_group(0);
        self.child = Some(command.spawn().with_context(|| format!("starting `{}`", self.spec.name))?);
        self.died = None;
        self.starts += 1;
        Ok(())
    }

    /// Whether its process lives. What has ended is taken in.
    fn lives(&mut self) -> bool {
        let Some(child) = &mut self.child else { return false };
        match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                if self.is_wanted {
                    self.ends.push(status.to_string());
                }
                self.child = None;
                self.died = Some(Stopwatch::start());
                false
            }
            Err(_) => {
                self.child = None;
                false
            }
        }
    }

    fn look(&mut self) {
        let is_due = self.died.is_none_or(|died| died.elapsed() >= RESTART_AFTER);
        if !self.lives() && self.is_wanted && is_due && self.died.is_some() {
            // It is tried again at the next look.
            drop(self.start());
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A process, as `/proc` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) pid: Pid,
    pub(crate) line: String,
    /// Whether it is a job's, or left by one.
    pub(crate) is_job: bool,
}

/// All processes under test that live, zombies left out.
pub(crate) fn processes(room: &Path) -> Vec<Seen> {
    let own = room.to_string_lossy().into_owned();
    let marked = format!("{MARK}={own}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let me = std::process::id();
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != 1 && *pid != me)
        .filter_map(|pid| {
            let read = |what: &str| {
                let bytes = std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let (line, environ) = (read("cmdline"), read("environ"));
            let is_job = environ.contains(" BOWLINE_MARK=") || environ.starts_with("BOWLINE_MARK=");
            let is_own = is_job || environ.contains(&marked) || line.contains(&own);
            let lives = !read("stat").rsplit(')').next()?.trim_start().starts_with(['Z', 'X']);
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            (is_own && lives && !line.is_empty()).then_some(Seen { pid, line, is_job })
        })
        .collect()
}
