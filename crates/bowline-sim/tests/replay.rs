//! The same seed gives the same run, event by event; and a shrunk one is still the same run.

use std::collections::BTreeSet;

use bowline_sim::caught;
use bowline_sim::drive::Setup;
use bowline_sim::fault::Fault;
use bowline_sim::trace::Keep;

fn hash(setup: &Setup) -> u64 {
    let outcome = caught::run(&Setup { keep: Keep::Hash, ..setup.clone() });
    assert!(outcome.inputs > 100, "seed {} is a run", setup.seed);
    outcome.hash
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let setup = Setup::new(seed);
        assert_eq!(hash(&setup), hash(&setup), "seed {seed}");
    }
    assert_ne!(hash(&Setup::new(1)), hash(&Setup::new(2)));
}

#[test]
fn what_is_left_out_is_left_out() {
    let without = Fault::ALL.iter().copied().collect::<BTreeSet<_>>();
    let outcome = caught::run(&Setup { without, ..Setup::new(4) });
    assert!(outcome.faults.is_empty());
    assert_eq!(outcome.violation, None);
    let outcome = caught::run(&Setup { only: Some(BTreeSet::new()), ..Setup::new(4) });
    assert_eq!((outcome.tasks, outcome.happened.len()), (0, 0));
}
