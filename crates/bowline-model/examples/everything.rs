//! Two tasks, and every kind of trouble once: too long for each change, some minutes by hand.
#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use bowline_model::{Flaw, Handover, States, Troubles};
use stateright::{Checker, Expectation, Model};

fn main() {
    let model = Handover { states: States::Merged, flaw: Flaw::None, troubles: Troubles::ALL, tasks: &[0, 1] };
    let checker = model.checker().threads(2).spawn_bfs().join();
    println!("{} states, depth {}", checker.unique_state_count(), checker.max_depth());
    for property in checker.model().properties() {
        match property.expectation {
            Expectation::Always => checker.assert_no_discovery(property.name),
            _ => drop(checker.assert_any_discovery(property.name)),
        }
        println!("{:?}: {}", property.expectation, property.name);
    }
}
