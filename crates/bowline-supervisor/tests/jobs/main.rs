//! The supervisor as a real process with real jobs. This program is the test, and also the
//! supervisor and the stage that it starts.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests start and look at processes")]

mod basic;
mod client;
mod failures;
mod stopping;
mod support;
mod survival;

use bowline_supervisor::Cgroups;
use libtest_mimic::{Arguments, Trial};

fn trial(name: String, test: fn(), cgroups: Cgroups) -> Trial {
    Trial::test(name, move || {
        support::CGROUPS.set(cgroups);
        test();
        Ok(())
    })
}

fn main() {
    if let Some(status) = bowline_supervisor::dispatch(std::env::args_os()) {
        std::process::exit(i32::from(status));
    }
    let tests = [basic::TESTS, failures::TESTS, stopping::TESTS, survival::TESTS, client::TESTS].concat();
    let mut trials: Vec<Trial> =
        tests.into_iter().map(|(name, test)| trial(name.to_owned(), test, Cgroups::WherePossible)).collect();
    // What finds and kills processes must do so on machines without cgroups too.
    for (name, test) in [stopping::TESTS, survival::TESTS].concat() {
        trials.push(trial(format!("{name}::without_cgroups"), test, Cgroups::Never));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
