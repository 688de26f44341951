//! `bowline-chaos`: real faults against the shipped binary, judged from outside.
//!
//! | responsibility | module |
//! |---|---|
//! | what can be asked for | `args` |
//! | namespaces and a cgroup of its own, which end with it | `nest`, `cgroup` |
//! | which faults, when: all from one seed | `plan`, `random` |
//! | the processes under test, and who starts them again | `parts`, `site`, `world` |
//! | what faults are done with | `net`, `relay`, `disk`, `faults`, `herd` |
//! | work for them, and the program that is each job | `load`, `job` |
//! | what is heard over REST and events | `rest`, `watch` |
//! | whether all that was promised was kept | `check` |
//! | the order of lines, under kills: with load, judge and table of its own | `lines` |
//! | the table | `table` |
//!
//! The checker shares no code with what it checks: it knows `docs/api.md`, the invariants, and the marks that
//! jobs left on a disk that no fault touches. The herd alone speaks the workers' protocol.

mod act;
mod args;
mod cgroup;
mod check;
mod clock;
mod disk;
mod faults;
mod herd;
mod job;
mod lines;
mod load;
mod nest;
mod net;
mod parts;
mod plan;
mod random;
mod relay;
mod rest;
mod site;
mod table;
mod watch;
mod world;

use std::ffi::OsString;
use std::process::ExitCode;

/// The first argument of a job's process.
const JOB: &str = "job";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let outcome = match words.get(1).and_then(|word| word.to_str()) {
        Some(JOB) => return job::main(&words[2..]),
        Some(nest::INIT) => nest::init(&words[2..]),
        Some(nest::WORLD) => {
            args::parse(&words[1..]).and_then(|args| if args.lines { lines::all(&args) } else { act::all(&args) })
        }
        Some(_) | None => args::parse(&words).and_then(|args| nest::enter(&args, &words[1..])),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            table::say(&format!("bowline-chaos: {error:#}"));
            ExitCode::from(2)
        }
    }
}
