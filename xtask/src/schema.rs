//! `cargo xtask schema`: schemathesis against a server of its own: whether every answer is one that `/openapi.json` tells of,
//! whatever is asked.
//!
//! schemathesis is a Python program, of one version, in a folder under `target/`. The server is the one that ordinary builds make,
//! on a free port, with a data folder that goes away in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::say;
use crate::tests_run::{self, command, now, run};

/// The version, from `PyPI`.
const VERSION: &str = "4.32.5";
/// How long it runs where nothing is said, in seconds.
const SECONDS: u64 = 300;
/// How long it runs within `cargo xtask test`, in seconds.
const BOUNDED_SECONDS: u64 = 25;
/// Programs that it needs, and the Debian package that has each.
pub(crate) const PROGRAMS: [(&str, &str); 1] = [("python3", "python3-venv")];
/// How long the server may take to listen.
const START_WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long any answer may take, in seconds: twice what a question may ask to wait, where it is asked at random.
const ANSWER_SECONDS_MAX: &str = "20";

/// Checks that are left out, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    (
        "positive_data_acceptance",
        "a schema cannot say what fields mean together (one of `command`, `shell` and `action`; a dependency that is there), so what \
         it calls valid may be refused; that each refusal is a documented one is checked",
    ),
    (
        "use_after_free",
        "what was deleted with `dry_run=true` is there as before, and the check does not know; tests of the API look for what they \
         have deleted",
    ),
];
/// Operations that are left out, and why.
const NOT_ASKED: [(&str, &str); 1] = [("/api/v1/events$", "its answer never ends")];

/// All operations, for a while, against a program that was built before.
pub(crate) fn bounded(root: &Path) -> Result<()> {
    against(root, BOUNDED_SECONDS)
}

/// Runs it for as long as the arguments say.
pub(crate) fn run_all(root: &Path, arguments: &[String]) -> Result<()> {
    let seconds = match arguments {
        [] => SECONDS,
        [option, span] if option == "--for" => crate::fuzz::span(span)?.as_secs(),
        _ => bail!("schema knows `--for 5m` and nothing else"),
    };
    run(command("cargo").current_dir(root).args(["build", "--quiet", "--package", "bowline"])).context("building")?;
    against(root, seconds)
}

fn against(root: &Path, seconds: u64) -> Result<()> {
    let program = install(root)?;
    let server = Server::start(root)?;
    say(&format!("schema: {} for {seconds} s", server.address));
    for (what, why) in LEFT_OUT.iter().chain(&NOT_ASKED) {
        say(&format!("schema: without {what}: {why}"));
    }
    let mut schemathesis = command(&program.to_string_lossy());
    schemathesis
        .current_dir(&server.folder)
        .args(["run", &format!("{}/openapi.json", server.address)])
        .args(["--header", &format!("Authorization: Bearer {}", server.token)])
        .args(["--max-time", &seconds.to_string(), "--request-timeout", ANSWER_SECONDS_MAX])
        .args(["--generation-database", "none", "--no-color", "--continue-on-failure", "--workers", "1"])
        .args(["--checks", "all", "--warnings", "off"]);
    for (check, _) in LEFT_OUT {
        schemathesis.args(["--exclude-checks", check]);
    }
    for (path, _) in NOT_ASKED {
        schemathesis.args(["--exclude-path-regex", path]);
    }
    run(&mut schemathesis).context("schemathesis: each failure is told above, with the request that repeats it")?;
    server.still_answers()
}

/// Finds it, or installs it.
fn install(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/schemathesis").join(VERSION);
    let program = folder.join("bin/schemathesis");
    if program.is_file() {
        return Ok(program);
    }
    tests_run::install(&PROGRAMS)?;
    say(&format!("schema: installing schemathesis {VERSION}"));
    let folder = folder.to_string_lossy().into_owned();
    // Debian's Python makes environments only where a further package is.
    let can = command("python3").args(["-c", "import ensurepip, venv"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        tests_run::install(&[("", "python3-venv")])?;
    }
    run(command("python3").args(["-m", "venv", &folder]))
        .context("making a Python environment (Debian: python3-venv)")?;
    let package = format!("schemathesis=={VERSION}");
    run(command(&format!("{folder}/bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", &package]))
        .context("installing schemathesis from PyPI")?;
    Ok(program)
}

/// A server of its own.
struct Server {
    child: Child,
    folder: PathBuf,
    address: String,
    token: String,
}

impl Server {
    fn start(root: &Path) -> Result<Self> {
        let folder = root.join("target/schema").join(std::process::id().to_string());
        let data = folder.join("data");
        fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
        let log = fs::File::create(folder.join("server.log")).context("making the server's log")?;
        let mut server = command(&root.join("target/debug/bowline").to_string_lossy());
        server.args(["server", "start", "--listen", "127.0.0.1:0", "--data"]).arg(&data);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = server.spawn().context("starting the server")?;
        let mut started = Self { child, folder, address: String::new(), token: String::new() };
        started.wait(&data)?;
        Ok(started)
    }

    fn wait(&mut self, data: &Path) -> Result<()> {
        let began = now();
        while now().duration_since(began) < START_WAIT_MAX {
            let written = fs::read_to_string(data.join("server.json")).unwrap_or_default();
            let document: serde_json::Value = serde_json::from_str(&written).unwrap_or_default();
            if let Some(address) = document["address"].as_str() {
                address.clone_into(&mut self.address);
                let token = fs::read_to_string(data.join("token")).context("reading the server's token")?;
                token.trim().clone_into(&mut self.token);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("looking after the server")? {
                bail!("the server ended with {status}: {}", self.log());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        bail!("the server does not listen: {}", self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// Whatever was asked of it, it is there, and nothing in it panicked.
    fn still_answers(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("looking after the server")? {
            bail!("the server ended with {status}: {}", self.log());
        }
        if let Some(line) = self.log().lines().find(|line| line.contains("panicked")) {
            bail!("something in the server panicked: {line}");
        }
        say("schema: the server answers, and nothing in it panicked");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it is gone already, that was told.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}
