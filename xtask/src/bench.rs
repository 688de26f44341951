//! `cargo xtask bench`: builds the program and what measures it as they are released, and runs that.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::tests_run::{cargo, command, run};

/// Builds both and becomes the one that measures, so that Ctrl-C goes there alone.
pub(crate) fn by_hand(root: &Path, arguments: &[String]) -> Result<()> {
    let mut build = cargo(root, &["build", "--release", "-p", "bowline", "-p", "bowline-bench"]);
    run(build.args(["--bin", "bowline", "--bin", "bowline-bench"])).context("building")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let mut bench = command(&target.join("release/bowline-bench").to_string_lossy());
    let error = bench.args(arguments).exec();
    bail!("starting {}: {error}", bench.get_program().display())
}
