//! Building the targets: with coverage in Bowline's own crates, and with what ordinary builds have compiled of all others.
//!
//! `fuzz/` is a workspace of its own with the same versions, features and profile for everything that is not ours, and builds
//! into the same folder: so all that is compiled anew are Bowline's crates, once for all targets. Those have another profile
//! there, and are told apart by it; this program stands before the compiler and adds the flags for coverage to them alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::say;
use crate::tests_run::{command, now, run};

/// What makes the compiler count which code was reached, as cargo-fuzz asks for it.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// What only the profile of Bowline's crates in `fuzz/` asks for.
const OUR_PROFILE: &str = "codegen-units=8";
/// The program that has all targets.
const ALL: &str = "all";

/// The names of all targets.
pub(super) fn targets(root: &Path) -> Result<Vec<String>> {
    let path = root.join("fuzz/Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("reading {}", path.display()))?;
    let bins = manifest.get("bin").and_then(toml::Value::as_array).context("fuzz/Cargo.toml names no targets")?;
    let names = bins.iter().filter_map(|bin| bin.get("name")?.as_str());
    Ok(names.filter(|name| *name != ALL).map(str::to_owned).collect())
}

/// Builds the targets, and says where their program is.
pub(super) fn build(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target");
    let mut cargo = command("cargo");
    cargo
        .current_dir(root.join("fuzz"))
        .args(["build", "--quiet", "--locked", "--bin", ALL, "--target-dir"])
        .arg(&folder);
    cargo.env("RUSTC_WRAPPER", lasting(std::env::current_exe().context("where this program is")?));
    say("fuzz: building the targets");
    let began = now();
    run(&mut cargo).context("building the fuzz targets")?;
    say(&format!("fuzz: built in {} s", now().duration_since(began).as_secs()));
    Ok(folder.join("debug").join(ALL))
}

/// Where a program is that was perhaps built anew since it began: the newer one is as good.
fn lasting(program: PathBuf) -> PathBuf {
    let newer = program.to_str().and_then(|name| name.strip_suffix(" (deleted)")).map(PathBuf::from);
    newer.filter(|newer| !program.exists() && newer.is_file()).unwrap_or(program)
}

/// Whether cargo calls this program in the place of the compiler.
pub(crate) fn is_compiler(first: Option<&OsString>) -> bool {
    first.is_some_and(|first| Path::new(first).file_name().is_some_and(|name| name == "rustc"))
}

/// Calls the compiler, with more flags for Bowline's own crates.
pub(crate) fn wrapped(arguments: &[OsString]) -> ExitCode {
    let Some((compiler, rest)) = arguments.split_first() else { return ExitCode::FAILURE };
    let follows = |flag: &str| {
        let at = rest.iter().position(|argument| argument == flag)?;
        rest.get(at + 1)?.to_str()
    };
    let is_ours = follows("--crate-name").is_some_and(|name| name.starts_with("bowline") || is_target(rest));
    let mut rustc = command(&compiler.to_string_lossy());
    rustc.args(rest);
    if is_ours && rest.iter().any(|argument| argument == OUR_PROFILE) {
        rustc.args(COVERAGE);
    }
    match rustc.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("starting {}: {error}", compiler.to_string_lossy()));
            ExitCode::FAILURE
        }
    }
}

fn is_target(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument.to_string_lossy().starts_with("fuzz_targets/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_built_anew_is_found() {
        let there = std::env::current_exe().unwrap();
        let gone = PathBuf::from(format!("{} (deleted)", there.display()));
        assert_eq!(lasting(gone), there);
        assert_eq!(lasting(there.clone()), there);
        assert_eq!(lasting("/nowhere (deleted)".into()), PathBuf::from("/nowhere (deleted)"));
    }
}
