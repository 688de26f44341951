//! Supervisors side by side, as the table keeps them apart.

use std::time::Duration;

use bowline_supervisor::wire::{Event, LostWhy};

use super::table::{Heard, Table};

const OWN: u64 = 4;
const OTHER: u64 = 5;

fn started(key: &str) -> Event {
    Event::Started { key: key.to_owned(), pid: 7, started_at: Duration::ZERO }
}

fn listed(live: u32, damaged: &[&str]) -> Event {
    Event::Listed { live, ended: 1, damaged: damaged.iter().map(|name| (*name).to_owned()).collect() }
}

fn two() -> Table {
    Table::new([(OWN, 100), (OTHER, 200)].into_iter())
}

#[test]
fn what_concerns_a_job_goes_to_who_has_it() {
    let mut table = two();
    assert!(table.is_own(OWN) && !table.is_own(OTHER));
    assert_eq!(table.heard(OTHER, started("old")), Heard::Tell(started("old")));
    table.heard(OWN, started("new"));
    assert_eq!((table.who_has("old"), table.who_has("new"), table.who_has("unknown")), (OTHER, OWN, OWN));
    table.gone(OTHER);
    assert_eq!(table.who_has("old"), OWN);
    assert_eq!(table.heard(OTHER, started("late")), Heard::Nothing);
}

#[test]
fn all_is_told_when_the_last_has_told() {
    let mut table = two();
    table.listing();
    assert_eq!(table.heard(OTHER, listed(2, &["x"])), Heard::Nothing);
    let lost = Event::Lost { key: "a".to_owned(), why: LostWhy::Rebooted };
    assert_eq!(table.heard(OWN, lost.clone()), Heard::Tell(lost));
    let all = Event::Listed { live: 5, ended: 2, damaged: vec!["x".to_owned(), "y".to_owned()] };
    assert_eq!(table.heard(OWN, listed(3, &["y"])), Heard::Tell(all));
    // One that is gone is not waited for.
    table.listing();
    table.gone(OTHER);
    assert_eq!(table.heard(OWN, listed(3, &[])), Heard::Tell(listed(3, &[])));
}

#[test]
fn an_answer_is_no_news_where_nobody_was_silent() {
    let mut table = two();
    table.asked(OWN, Duration::ZERO);
    assert_eq!(table.silent(Duration::from_secs(4)), None);
    assert_eq!(table.heard(OWN, Event::Pong), Heard::Nothing);
}

#[test]
fn who_was_silent_answers_again_also_where_a_job_s_word_comes_before_its_answer() {
    let mut table = two();
    for seconds in [0_u64, 100] {
        let after = |more| Duration::from_secs(seconds + more);
        table.asked(OWN, after(0));
        assert_eq!(table.silent(after(5)), Some((100, Duration::from_secs(5))));
        assert_eq!(table.silent(after(6)), None, "it is told once");
        // It stood still, and its job went on meanwhile.
        assert_eq!(table.heard(OWN, started("job")), Heard::Tell(started("job")));
        assert_eq!(table.heard(OWN, Event::Pong), Heard::TellThatItAnswers);
        assert_eq!(table.heard(OWN, Event::Pong), Heard::Nothing);
    }
}
