//! `cargo xtask test`: finds or installs what is needed, then runs every check in the order in which
//! a mistake is cheapest to find. The test runner comes last, so that its summary ends the output.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{chaos, fuzz, say, schema, sim, tidy};

/// Programs that tests call, and the Debian package that has each.
const PROGRAMS: [(&str, &str); 5] =
    [("cc", "gcc"), ("find", "findutils"), ("curl", "curl"), ("git", "git"), ("ip", "iproute2")];

/// Runs everything.
pub(crate) fn all(root: &Path) -> Result<()> {
    room(root)?;
    prepare()?;
    step("formatting", cargo(root, &["fmt", "--all", "--", "--check"]))?;
    step("formatting of fuzz/", cargo(&root.join("fuzz"), &["fmt", "--", "--check"]))?;
    say("xtask: tidy");
    tidy::run(root)?;
    step("clippy", cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("build", cargo(root, &["build", "--workspace", "--all-targets"]))?;
    step("building the simulation", sim::build(root))?;
    // From here on each step stands for itself: one that fails does not hide what the others find.
    let outcomes = [
        step("chaos", chaos::bounded(root)),
        step("lines", chaos::lines_bounded(root)),
        timed("fuzz", || fuzz::bounded(root)),
        timed("schema", || schema::bounded(root)),
        step("simulation", sim::bounded(root)),
        step("mutants", sim::mutants(root)),
        step("tests", cargo(root, &["nextest", "run", "--workspace", "--no-fail-fast"])),
    ];
    let failures: Vec<String> =
        outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// What needs a quieter machine than others may have: real faults, fuzzing and the API's description, each within its
/// bound.
pub(crate) fn faults(root: &Path) -> Result<()> {
    install(&[&chaos::PROGRAMS[..], &fuzz::PROGRAMS, &schema::PROGRAMS].concat())?;
    step("build", cargo(root, &["build", "-p", "bowline", "-p", "bowline-chaos"]))?;
    step("chaos", chaos::bounded(root))?;
    timed("fuzz", || fuzz::bounded(root))?;
    timed("schema", || schema::bounded(root))
}

/// GiB that a whole run takes where nothing was built before.
const WHOLE_RUN_GIB: u64 = 12;
/// GiB below which not even a run in which all is built has a chance.
const LEAST_GIB: u64 = 3;

/// Looks at the disk before half an hour is spent on it: one that fills up on the way fails steps that have nothing to
/// do with it.
fn room(root: &Path) -> Result<()> {
    let disk =
        rustix::fs::statvfs(root).with_context(|| format!("asking how full the disk of {} is", root.display()))?;
    let free = (disk.f_bavail * disk.f_frsize) >> 30;
    if free < LEAST_GIB {
        bail!(
            "only {free} GiB are free on the disk of {}, and a whole run writes up to {WHOLE_RUN_GIB}: make room, or \
             have CARGO_TARGET_DIR and TMPDIR name another disk",
            root.display()
        );
    }
    if free < WHOLE_RUN_GIB {
        say(&format!(
            "xtask: {free} GiB are free on this disk; a run where nothing is built takes up to {WHOLE_RUN_GIB}"
        ));
    }
    Ok(())
}

/// Finds what the tests need, or installs it.
fn prepare() -> Result<()> {
    install(&[&PROGRAMS[..], &chaos::PROGRAMS, &fuzz::PROGRAMS, &schema::PROGRAMS].concat())?;
    if !is_there("cargo-nextest") {
        say("xtask: installing cargo-nextest");
        run(command("cargo").args(["install", "cargo-nextest", "--locked"])).context("installing cargo-nextest")?;
    }
    Ok(())
}

/// Finds these programs, or installs their Debian packages.
pub(crate) fn install(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        say(&format!("xtask: installing {} with apt-get", missing.join(", ")));
        run(command("apt-get").arg("update").stdout(Stdio::null())).context("apt-get update")?;
        run(command("apt-get").args(["install", "-y", "--no-install-recommends"]).args(&missing).stdout(Stdio::null()))
            .with_context(|| format!("installing {} (run as root, or install by hand)", missing.join(", ")))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "xtask runs the tools of the trade")]
pub(crate) fn command(program: &str) -> Command {
    Command::new(program)
}

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut cargo = command("cargo");
    cargo.current_dir(root).args(arguments);
    cargo
}

#[expect(clippy::disallowed_methods, reason = "xtask tells how long each step took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Runs one step, and says how long it took.
fn step(what: &str, mut command: Command) -> Result<()> {
    timed(what, || run(&mut command))
}

fn timed(what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    say(&format!("xtask: {what}"));
    let began = now();
    work().with_context(|| what.to_owned())?;
    if what != "tests" {
        say(&format!("xtask: {what} passed in {} s", now().duration_since(began).as_secs()));
    }
    Ok(())
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

/// Whether a program of this name is in PATH.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
