//! The supervisor as a real process with real jobs. This program is the test, and also the
//! supervisor that it starts.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests start and look at processes")]

mod basic;
mod client;
mod failures;
mod hostile;
mod leases;
mod stopping;
mod support;
mod survival;
mod ways;

use bowline_supervisor::Way;
use libtest_mimic::{Arguments, Trial};

fn trial(name: String, test: fn(), strongest: Way) -> Trial {
    Trial::test(name, move || {
        support::STRONGEST.set(strongest);
        test();
        Ok(())
    })
}

fn main() {
    if let Some(status) = bowline_supervisor::dispatch(std::env::args_os()) {
        std::process::exit(i32::from(status));
    }
    let tests = [basic::TESTS, client::TESTS, leases::TESTS].concat();
    let mut trials: Vec<Trial> =
        tests.into_iter().map(|(name, test)| trial(name.to_owned(), test, Way::Cgroup)).collect();
    // What starts, finds and kills processes must do so in every way, whatever this machine offers.
    for (name, test) in [failures::TESTS, stopping::TESTS, hostile::TESTS, survival::TESTS, ways::TESTS].concat() {
        for way in Way::ALL {
            trials.push(trial(format!("{name}::by_{way}"), test, way));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
