//! Namespaces of its own for everything that is started here: network, mounts, processes. They end with the first
//! process inside, and everything in them ends too, however this program ends: nothing is left of it but its folder.
//!
//! Three processes: the one that was called (it hears Ctrl-C and removes the folder), the first one inside (it takes
//! in orphans, as any first process must), and the one that does the work.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use rustix::process::{WaitOptions, geteuid, wait};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::{cgroup, lines, plan, table};

/// The first argument of the first process inside.
pub(crate) const INIT: &str = "inside-first";
/// The first argument of the one that does the work.
pub(crate) const WORLD: &str = "inside-world";

/// Starts the others, passes Ctrl-C on to them, and removes the folder where nothing was found.
pub(crate) fn enter(args: &Args, words: &[OsString]) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| std::process::id().into());
    if args.plan {
        return plan::show(seed, &args.kinds(), args.length).map(|()| ExitCode::SUCCESS);
    }
    let room = match &args.resume {
        Some(folder) => std::path::absolute(folder).context("finding the folder to go on in")?,
        None => tempfile::Builder::new().prefix("bowline-chaos-").tempdir().context("making a folder")?.keep(),
    };
    let mut nest = start(&room, seed, words)?;
    pass_stops_on(&mut nest)?;
    let status = nest.wait().context("waiting for what runs inside")?;
    cgroup::forget(&room);
    let is_left = room.join(lines::STATE_FILE).is_file();
    if status.success() && !args.keep && !is_left {
        std::fs::remove_dir_all(&room).with_context(|| format!("removing `{}`", room.display()))?;
    } else {
        table::say(&format!("kept: {}", room.display()));
    }
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2)))
}

fn start(room: &Path, seed: u64, words: &[OsString]) -> Result<Child> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = program("unshare");
    command.args(["--fork", "--pid", "--kill-child", "--net", "--mount", "--mount-proc", "--propagation", "private"]);
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--").arg(own).arg(INIT).args(words);
    command.arg("--room").arg(room);
    if !words.iter().any(|word| word.to_string_lossy().starts_with("--seed")) {
        command.arg("--seed").arg(seed.to_string());
    }
    // A group of its own: Ctrl-C comes here alone, and is passed on.
    command.stdin(Stdio::piped()).process_group(0);
    command.spawn().context("starting `unshare` (of util-linux)")
}

/// The first Ctrl-C closes what the others read from, which asks them to end in order; the second kills them.
fn pass_stops_on(nest: &mut Child) -> Result<()> {
    let stdin: Arc<Mutex<Option<ChildStdin>>> = Arc::new(Mutex::new(nest.stdin.take()));
    let pid = rustix::process::Pid::from_child(nest);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stops = {
        let _guard = runtime.enter();
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [interrupt, terminate] = &mut stops;
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                let first = stdin.lock().ok().and_then(|mut stdin| stdin.take());
                let Some(mut first) = first else {
                    // It is `unshare`, which takes everything inside with it.
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
                    continue;
                };
                table::say("ending in order; Ctrl-C again to kill everything");
                // Whoever reads it may be gone already.
                first.write_all(b"stop\n").ok();
            }
        });
    });
    Ok(())
}

/// The first process inside: starts the one that works, takes in orphans until that has ended.
pub(crate) fn init(words: &[OsString]) -> Result<ExitCode> {
    let own = std::env::current_exe().context("finding this program")?;
    let room = words.iter().position(|word| word == "--room").and_then(|at| words.get(at + 1));
    // Without one, processes are found by their marks alone.
    room.and_then(|room| cgroup::enter(Path::new(room)));
    let world = program(&own.to_string_lossy()).arg(WORLD).args(words).spawn().context("starting what works inside")?;
    let world = rustix::process::Pid::from_child(&world);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == world => {
                let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
                return Ok(ExitCode::from(code.unwrap_or(2)));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("waiting for processes inside: {error}"),
        }
    }
}

/// Whether somebody asked to end. Also when the process that was called is gone.
pub(crate) fn asked_to_stop() -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut any = [0];
        // A byte, the end, or an error: all mean the same.
        std::io::stdin().read_exact(&mut any).ok();
        told.store(true, Ordering::Relaxed);
    });
    asked
}

/// A command of this machine.
#[expect(clippy::disallowed_methods, reason = "chaos starts what it tests, and the tools that it needs")]
pub(crate) fn program(name: &str) -> Command {
    Command::new(name)
}

/// Runs a tool to its end. An error has what it said.
pub(crate) fn tool(words: &[&str]) -> Result<()> {
    let (name, args) = words.split_first().context("no tool was named")?;
    let sbin = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let output = program(name).args(args).env("PATH", sbin).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting `{name}`"))?;
    if !output.status.success() {
        bail!("`{}`: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The folder of this run.
pub(crate) fn room(args: &Args) -> Result<PathBuf> {
    args.room.clone().context("this process is started by another one of its kind")
}
