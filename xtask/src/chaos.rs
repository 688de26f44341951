//! `cargo xtask chaos`: builds the program, an older one to upgrade from, and what breaks them, and runs it. `cargo xtask
//! lines` is the same program with another load, for the order of lines.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::say;
use crate::tests_run::{cargo, command, install, run};

/// The commit whose program servers and workers are upgraded from, and put back to.
const OLD_COMMIT: &str = "8a084774a031ed400a3ba1a0f4029ea1cffb195d";
/// Programs that chaos calls, and the Debian package that has each.
pub(crate) const PROGRAMS: [(&str, &str); 4] =
    [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2"), ("faketime", "faketime")];
/// In `cargo xtask test`: each kind of fault once, whatever the length, and always the same plan.
const BOUNDED: [&str; 4] = ["--for", "20s", "--seed", "5"];

/// Of the order of lines there: some hundred tasks, and a kill every few seconds.
const LINES_BOUNDED: [&str; 4] = ["--for", "15s", "--seed", "8"];

/// Builds all that is needed and becomes it, so that Ctrl-C goes there alone.
pub(crate) fn by_hand(root: &Path, arguments: &[String]) -> Result<()> {
    install(&PROGRAMS)?;
    run(&mut cargo(root, &["build", "-p", "bowline", "-p", "bowline-chaos"])).context("building")?;
    let mut chaos = chaos(root);
    if upgrades(arguments) {
        chaos.arg("--old").arg(old(root)?);
    }
    let error = chaos.args(arguments).exec();
    bail!("starting {}: {error}", chaos.get_program().display())
}

/// The order of lines, under kills: builds what is needed, and becomes it.
pub(crate) fn lines_by_hand(root: &Path, arguments: &[String]) -> Result<()> {
    install(&PROGRAMS)?;
    run(&mut cargo(root, &["build", "-p", "bowline", "-p", "bowline-chaos"])).context("building")?;
    let mut lines = chaos(root);
    let error = lines.arg("--lines").args(arguments).exec();
    bail!("starting {}: {error}", lines.get_program().display())
}

/// The same in `cargo xtask test`, of what it has built.
pub(crate) fn lines_bounded(root: &Path) -> Command {
    let mut lines = chaos(root);
    lines.arg("--lines").args(LINES_BOUNDED);
    lines
}

/// What `cargo xtask test` runs, of what it has built. To build the older program too would take longer than all the
/// faults: the upgrade is one between two copies there, and a real one by hand.
pub(crate) fn bounded(root: &Path) -> Command {
    let mut chaos = chaos(root);
    chaos.args(BOUNDED);
    chaos
}

fn chaos(root: &Path) -> Command {
    let built = target(root).join("debug");
    let mut chaos = command(&built.join("bowline-chaos").to_string_lossy());
    chaos.arg("--bowline").arg(built.join("bowline"));
    chaos
}

/// Whether upgrades are among the faults that were asked for.
fn upgrades(arguments: &[String]) -> bool {
    let is_told =
        |word: &str| arguments.iter().any(|argument| argument == word || argument.starts_with(&format!("{word}=")));
    let listed = arguments.iter().any(|argument| argument.split([',', '=']).any(|kind| kind == "upgrade"));
    !is_told("--old") && !is_told("--plan") && !is_told("--help") && (listed || !is_told("--faults"))
}

/// The older program: built once, in a worktree of its own below the folder for what is built.
fn old(root: &Path) -> Result<PathBuf> {
    let folder = target(root).join("chaos").join(OLD_COMMIT);
    let (source, out) = (folder.join("source"), folder.join("built"));
    let program = out.join("debug/bowline");
    if program.is_file() {
        return Ok(program);
    }
    say(&format!("xtask: building the program of {OLD_COMMIT}, once"));
    let git = |arguments: &[&str]| {
        let mut git = command("git");
        git.current_dir(root).args(arguments).stdout(Stdio::null());
        git
    };
    // One that broke off before.
    run(&mut git(&["worktree", "prune"])).context("looking after worktrees")?;
    if !source.is_dir() {
        let place = source.to_string_lossy().into_owned();
        run(&mut git(&["worktree", "add", "--detach", "--force", &place, OLD_COMMIT]))
            .with_context(|| format!("checking out {OLD_COMMIT}: a shallow clone does not have it"))?;
    }
    // Nothing is shared with the build of today: cargo tells packages apart by their place in their workspace, and
    // would take the older one's for today's.
    let mut build = cargo(&source, &["build", "-p", "bowline"]);
    build.env("CARGO_TARGET_DIR", &out).env_remove("CARGO_BUILD_BUILD_DIR");
    run(&mut build).context("building the older program")?;
    Ok(program)
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::upgrades;

    #[test]
    fn the_older_program_is_built_where_it_is_needed() {
        let asked = |line: &str| upgrades(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(asked("--for 5m") && asked("--faults kill,upgrade") && asked("--faults=upgrade"));
        assert!(!asked("--faults kill,disk") && !asked("--old x") && !asked("--plan"));
    }
}
