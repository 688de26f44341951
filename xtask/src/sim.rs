//! `cargo xtask sim`: builds the simulation, with probes and mutants, optimised, and runs it. `cargo xtask test` runs it
//! unoptimised.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tests_run::{cargo, command, run};

/// In `cargo xtask test`: the known seeds. Fresh ones run by hand (`--for`), and join the known ones once what they
/// found is mended.
const BOUNDED: [&str; 3] = ["--known", "--jobs", "2"];

/// Builds all that is needed and becomes it, so that Ctrl-C goes there alone.
pub(crate) fn by_hand(root: &Path, arguments: &[String]) -> Result<()> {
    let mut optimised = build(root);
    optimised.args(["--profile", "sim"]);
    run(&mut optimised).context("building")?;
    let mut sim = program(root, "sim");
    let error = sim.args(arguments).exec();
    bail!("starting {}: {error}", sim.get_program().display())
}

/// Builds it as everything else is built: unoptimised, the known seeds take half a minute; optimising takes four.
pub(crate) fn build(root: &Path) -> Command {
    cargo(root, &["build", "-p", "bowline-sim", "--features", "sim", "--bin", "bowline-sim"])
}

/// What `cargo xtask test` runs, of what it has built.
pub(crate) fn bounded(root: &Path) -> Command {
    let mut sim = program(root, "debug");
    sim.args(BOUNDED);
    sim
}

/// Each known mistake must be caught.
pub(crate) fn mutants(root: &Path) -> Command {
    let mut sim = program(root, "debug");
    sim.args(["--mutants", "--jobs", "2"]);
    sim
}

fn program(root: &Path, profile: &str) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    command(&target.join(profile).join("bowline-sim").to_string_lossy())
}
