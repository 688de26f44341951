//! The supervisor as a real process with real jobs. This program is the test, and also the
//! supervisor and the stage that it starts.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests start and look at processes")]

mod basic;
mod client;
mod failures;
mod stopping;
mod support;
mod survival;

use libtest_mimic::{Arguments, Trial};

fn main() {
    if let Some(status) = bowline_supervisor::dispatch(std::env::args_os()) {
        std::process::exit(i32::from(status));
    }
    let tests = [basic::TESTS, failures::TESTS, stopping::TESTS, survival::TESTS, client::TESTS].concat();
    let trials = tests.into_iter().map(|(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}
