//! `cargo xtask sim`: builds the simulation, with probes and mutants, in a profile of its own, and runs it.

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
    run(&mut build(root)).context("building")?;
    let mut sim = program(root);
    let error = sim.args(arguments).exec();
    bail!("starting {}: {error}", sim.get_program().display())
}

/// Builds it.
pub(crate) fn build(root: &Path) -> Command {
    cargo(root, &["build", "--profile", "sim", "-p", "bowline-sim", "--features", "sim", "--bin", "bowline-sim"])
}

/// What `cargo xtask test` runs, of what it has built.
pub(crate) fn bounded(root: &Path) -> Command {
    let mut sim = program(root);
    sim.args(BOUNDED);
    sim
}

/// Each known mistake must be caught.
pub(crate) fn mutants(root: &Path) -> Command {
    let mut sim = program(root);
    sim.arg("--mutants");
    sim
}

fn program(root: &Path) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    command(&target.join("sim").join("bowline-sim").to_string_lossy())
}
