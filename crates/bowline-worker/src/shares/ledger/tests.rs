//! Two servers and one worker: what each may use, and who goes first.

use std::collections::BTreeMap;
use std::time::Duration;

use bowline_core::name::Key;

use super::*;

fn slots(slots: u32) -> Room {
    Room { slots, amounts: BTreeMap::new() }
}

fn memory(slots: u32, memory: u64) -> Room {
    Room { slots, amounts: BTreeMap::from([(Key::new("memory").unwrap(), memory)]) }
}

struct Two {
    ledger: Ledger,
    now: Moment,
}

impl Two {
    fn of(total: Room, pace: Pace) -> Self {
        let mut ledger = Ledger::new(total, 2);
        for own in [0, 1] {
            ledger.stands(own, Standing::In, pace);
        }
        Self { ledger, now: Moment::default() }
    }

    fn may(&self, own: usize) -> u32 {
        self.ledger.allowance(own, self.now).slots
    }

    fn begin(&mut self, own: usize, count: u32) {
        for _ in 0..count {
            self.ledger.moved(own, &slots(1), (Weight::Held, Weight::Begun), self.now);
        }
    }

    fn hold(&mut self, own: usize, count: u32) {
        for _ in 0..count {
            self.ledger.moved(own, &slots(1), (Weight::Nothing, Weight::Held), self.now);
        }
    }

    fn end(&mut self, own: usize) {
        self.ledger.moved(own, &slots(1), (Weight::Begun, Weight::Nothing), self.now);
    }
}

#[test]
fn one_server_has_everything() {
    let mut ledger = Ledger::new(memory(4, 100), 1);
    ledger.moved(0, &memory(1, 60), (Weight::Nothing, Weight::Begun), Moment::default());
    assert_eq!(ledger.allowance(0, Moment::default()), memory(4, 100));
    assert!(ledger.may_begin(0, &memory(3, 40)));
    assert!(!ledger.may_begin(0, &memory(4, 0)) && !ledger.may_begin(0, &memory(1, 41)));
}

#[test]
fn what_one_does_not_use_is_the_others() {
    let mut two = Two::of(slots(4), Pace::Long);
    assert_eq!((two.may(0), two.may(1)), (4, 4));
    two.hold(0, 3);
    two.begin(0, 3);
    assert_eq!((two.may(0), two.may(1)), (4, 1));
}

#[test]
fn where_tasks_are_short_each_has_its_share_at_once() {
    let mut two = Two::of(slots(4), Pace::Short);
    two.hold(0, 4);
    two.begin(0, 4);
    assert_eq!(two.may(1), 2);
    // Two of its attempts wait here; the next slots are theirs.
    two.hold(1, 2);
    two.ledger.waits(1, Some(&slots(1)));
    assert_eq!(two.may(0), 2);
    two.end(0);
    assert!(!two.ledger.may_begin(0, &slots(1)) && two.ledger.may_begin(1, &slots(1)));
    two.begin(1, 1);
    two.end(0);
    assert!(two.ledger.may_begin(1, &slots(1)));
    two.begin(1, 1);
    two.ledger.waits(1, None);
    two.end(0);
    assert!(two.ledger.may_begin(0, &slots(1)), "it has its share");
}

#[test]
fn where_tasks_are_long_what_is_given_back_is_offered_to_the_other_first() {
    let mut two = Two::of(slots(4), Pace::Long);
    two.hold(0, 4);
    two.begin(0, 4);
    assert_eq!(two.may(1), 0);
    two.end(0);
    assert_eq!((two.may(0), two.may(1)), (3, 1));
    // It did not want it.
    two.now = two.now.after(TURN).unwrap();
    assert_eq!((two.may(0), two.may(1)), (4, 1));
}

#[test]
fn who_is_away_has_no_share_and_what_it_left_running_counts() {
    let mut two = Two::of(slots(4), Pace::Short);
    two.hold(1, 1);
    two.begin(1, 1);
    two.ledger.stands(1, Standing::Out, Pace::Short);
    assert_eq!(two.may(0), 3);
    two.ledger.stands(0, Standing::In, Pace::Long);
    two.ledger.stands(1, Standing::In, Pace::Long);
    assert_eq!(two.may(0), 3);
    two.ledger.leave(1);
    assert_eq!(two.may(0), 4);
}

#[test]
fn amounts_are_shared_like_slots_and_never_go_beyond_what_is_there() {
    let mut ledger = Ledger::new(memory(4, 100), 2);
    let now = Moment::default();
    for own in [0, 1] {
        ledger.stands(own, Standing::In, Pace::Long);
    }
    ledger.moved(0, &memory(1, 80), (Weight::Nothing, Weight::Begun), now);
    assert_eq!(ledger.allowance(1, now.after(Duration::from_secs(1)).unwrap()), memory(3, 20));
    assert!(!ledger.may_begin(1, &memory(1, 21)) && ledger.may_begin(1, &memory(1, 20)));
}

#[test]
fn slots_are_never_begun_twice_whatever_is_said() {
    // Every order of beginning and ending of two greedy servers.
    let mut seed = 7_u64;
    for _ in 0..200 {
        let mut two = Two::of(slots(3), if seed.is_multiple_of(2) { Pace::Short } else { Pace::Long });
        let mut begun = [0_u32; 2];
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let own = usize::from(seed >> 33 & 1 == 1);
            if seed >> 40 & 1 == 1 && begun[own] > 0 {
                two.end(own);
                begun[own] -= 1;
            } else {
                let may = two.ledger.may_begin(own, &slots(1));
                two.ledger.waits(own, (!may).then_some(&slots(1)));
                if may {
                    two.hold(own, 1);
                    two.begin(own, 1);
                    begun[own] += 1;
                }
            }
            assert!(begun.iter().sum::<u32>() <= 3);
        }
    }
}
