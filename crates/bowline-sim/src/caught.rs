//! Runs a setup so that a panic of the code under test is a finding, not the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::check::{Invariant, Violation};
use crate::drive::{self, Outcome, Setup};

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics are remembered with their place, and not printed.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or("no text").to_owned();
            LAST.with(|last| *last.borrow_mut() = format!("{text} ({place})"));
        }));
    });
}

/// Runs a setup. A panic in it breaks [`Invariant::Sound`].
pub fn run(setup: &Setup) -> Outcome {
    listen();
    catch_unwind(AssertUnwindSafe(|| drive::run(setup))).unwrap_or_else(|_| {
        bowline_core::mutant::set_active(None);
        let what = LAST.with(|last| last.borrow().clone());
        Outcome {
            seed: setup.seed,
            violation: Some(Violation { invariant: Invariant::Sound, what: format!("it panicked: {what}"), at: 0 }),
            inputs: 0,
            virtual_us: 0,
            hash: 0,
            lines: Vec::new(),
            faults: BTreeMap::new(),
            works: BTreeMap::new(),
            paths: bowline_core::probe::counts(),
            happened: setup.only.clone().unwrap_or_else(|| (0..1_000).collect::<BTreeSet<u32>>()),
            tasks: 0,
            jobs: 0,
        }
    })
}
