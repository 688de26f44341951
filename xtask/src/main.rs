//! Every habit of the repo is one command: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask sim`,
//! `cargo xtask chaos`, `cargo xtask bench`, …

mod bench;
mod chaos;
mod fuzz;
mod schema;
mod sim;
mod tests_run;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  test    everything that must pass: formatting, clippy, tidy, unit, property and end-to-end tests
  faults  chaos, fuzz and schema one after the other, each within its bound: some six minutes where nothing else runs
  fuzz    [TARGET…] [--for 10m]: bytes of any kind against everything that reads bytes; without `--for` until stopped.
          `--input FILE` runs one input; `--keep` takes into fuzz/corpus what reached new code
  schema  [--for 5m]: schemathesis against a server's own /openapi.json
  tidy    the rules that no lint knows: module docs, file sizes, who may use whom, no machine's paths
  sim     runs leader, workers and supervisors under one seed, breaks everything around them, and checks every invariant
          after every step; `cargo xtask sim --help` has the options
  bench   [ROW…] [--json FILE] [--quick] [--for 1h]: how fast it is, each row beside what is possible below it in the same
          run; `cargo xtask bench --help` has the rows and the options
  lines   many clients, workers killed at random, and an outside judge of the order in which resources are granted;
          `cargo xtask lines --for 10m`, `--seed N`, `--resume DIR`
  chaos   kills, freezes, cuts, fills, resets and upgrades the built program under load, and judges from
          outside whether it kept its promises; `cargo xtask chaos --help` has the options

All run anywhere in the repository. `test` installs what it needs (Debian packages with apt-get as
root, cargo-nextest with cargo) and says so.";

fn main() -> ExitCode {
    let raw: Vec<_> = std::env::args_os().skip(1).collect();
    if fuzz::is_compiler(raw.first()) {
        return fuzz::wrapped(&raw);
    }
    let mut arguments = raw.iter().map(|argument| argument.to_string_lossy().into_owned());
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match command.as_deref() {
        Some("bench") => return ended(bench::by_hand(&root(), &rest)),
        Some("chaos") => return ended(chaos::by_hand(&root(), &rest)),
        Some("lines") => return ended(chaos::lines_by_hand(&root(), &rest)),
        Some("sim") => return ended(sim::by_hand(&root(), &rest)),
        _ => {}
    }
    let outcome = match (command.as_deref(), rest.first()) {
        (Some("test"), None) => tests_run::all(&root()),
        (Some("faults"), None) => tests_run::faults(&root()),
        (Some("fuzz"), _) => fuzz::run(&root(), &rest),
        (Some("schema"), _) => schema::run_all(&root(), &rest),
        (Some("tidy"), None) => tidy::run(&root()),
        (Some("help" | "--help" | "-h"), _) => {
            say(HELP);
            return ExitCode::SUCCESS;
        }
        _ => {
            say(HELP);
            return ExitCode::from(2);
        }
    };
    ended(outcome)
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: this crate lies right under it.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// Says a line to whoever runs this.
#[expect(clippy::print_stderr, reason = "this is a command line tool; standard output is the test runner's")]
fn say(line: &str) {
    eprintln!("{line}");
}
