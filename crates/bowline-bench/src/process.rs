//! A process of the program that is measured: started, read, and looked at through `/proc`.

use std::fs::read_to_string;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{Stopwatch, as_f64, pause};

/// How long a process may take to leave in order.
const STOP_MAX: Duration = Duration::from_mins(1);
/// Between two looks whether it has left.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A line that it said, and when it came.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) at: Stopwatch,
    pub(crate) text: String,
}

/// A process, running. Killed when it is dropped without having been stopped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<Line>,
}

impl Process {
    /// Starts it with an environment of its own: nobody's configuration plays a part.
    #[expect(clippy::disallowed_methods, reason = "the bench starts the program that it measures")]
    pub(crate) fn start(program: &Path, args: &[&str], (room, log): (&Path, &str)) -> Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", room)
            .env("XDG_RUNTIME_DIR", room)
            .env("BOWLINE_LOG", log)
            .env("BOWLINE_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", program.display()))?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            pass_on(out, sender.clone());
        }
        if let Some(err) = child.stderr.take() {
            pass_on(err, sender);
        }
        Ok(Self { child, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of which `find` makes something.
    pub(crate) fn line<T>(&self, within: Duration, mut find: impl FnMut(&Line) -> Option<T>) -> Result<T> {
        let watch = Stopwatch::start();
        let mut said = Vec::new();
        while let Some(left) = within.checked_sub(watch.elapsed()) {
            let Ok(line) = self.lines.recv_timeout(left) else { break };
            if let Some(found) = find(&line) {
                return Ok(found);
            }
            said.push(line.text);
            if said.len() > 20 {
                said.remove(0);
            }
        }
        Err(anyhow!("a line did not come within {within:?}; before it: {}", said.join(" | ")))
    }

    /// Forgets what it has said so far.
    pub(crate) fn hush(&self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// Asks it to leave, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("asking a process to leave")?;
        let watch = Stopwatch::start();
        while self.child.try_wait().context("waiting for a process")?.is_none() {
            ensure!(watch.elapsed() < STOP_MAX, "process {} did not leave within {STOP_MAX:?}", self.child.id());
            self.hush();
            pause(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // What fails here has ended by itself.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Reads lines for as long as they come, so that the program never waits for its output.
fn pass_on(from: impl Read + Send + 'static, to: Sender<Line>) {
    std::thread::spawn(move || {
        for text in BufReader::new(from).lines().map_while(Result::ok) {
            // Nobody may listen any more; what is said must be read all the same.
            to.send(Line { at: Stopwatch::start(), text }).ok();
        }
    });
}

/// Processor time of a process until now, in microseconds, its children that have ended included.
pub(crate) fn cpu_us(pid: u32) -> f64 {
    let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name: the state is the 3rd of all; utime, stime, cutime and cstime are the 14th to the 17th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    as_f64(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Memory that a process has for itself, in bytes.
pub(crate) fn private_bytes(pid: u32) -> f64 {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    as_f64(kib * 1_024)
}

/// Bytes that a process has written towards the disk.
pub(crate) fn written_bytes(pid: u32) -> f64 {
    let io = read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    as_f64(written.unwrap_or_default())
}

/// The supervisors whose state lies somewhere below this folder.
pub(crate) fn supervisors(below: &Path) -> Vec<u32> {
    let below = below.to_string_lossy().into_owned();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        words.get(1).is_some_and(|word| word == "supervisor") && words.iter().any(|word| word.contains(&below))
    };
    pids.filter(is_one).collect()
}

/// Asks these supervisors to leave, and waits until they have.
pub(crate) fn dismiss(below: &Path) -> Result<()> {
    for pid in supervisors(below) {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process has no number")?;
        // It may have left by itself.
        kill_process(raw, Signal::TERM).ok();
    }
    let watch = Stopwatch::start();
    while !supervisors(below).is_empty() {
        ensure!(watch.elapsed() < STOP_MAX, "a supervisor did not leave within {STOP_MAX:?}");
        pause(LOOK_EVERY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{cpu_us, private_bytes};

    #[test]
    fn a_process_is_seen_through_proc() {
        let own = std::process::id();
        assert!(private_bytes(own) > 0.0);
        let before = cpu_us(own);
        let mut turned = 0_u64;
        while cpu_us(own) < before + 20_000.0 {
            turned = std::hint::black_box(turned + 1);
        }
        assert!(turned > 0);
    }
}
